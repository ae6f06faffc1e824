"""What the subject says it draws is, bit for bit, what sampling and training draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mindspore import ops

from ddpm_bench import generate as generating
from ddpm_bench import train as training
from ddpm_bench.config import DiffusionConfig, TrainConfig
from ddpm_bench.data import Dataset
from ddpm_bench.device import MODES
from ddpm_bench.errors import ShapeError
from ddpm_bench.generate import samples
from ddpm_bench.presets import preset
from ddpm_bench.subject import MindSporeSubject
from ddpm_bench.train import Batch, Trainer, draw_batch
from ddpm_bench.unet import UNet

T = 4


@pytest.fixture(scope="module")
def subject() -> MindSporeSubject:
    return MindSporeSubject(num_timesteps=T, mode="pynative")


def test_noise_is_that_of_the_images_which_sample_makes(
    subject: MindSporeSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five images in batches of two, under a network that says 0: the same noise through the subject's own loop."""
    monkeypatch.setattr(generating, "BATCH", 2)
    config = TrainConfig(
        network=preset("digits", base_channels=4, groups=2, channel_mult=(1,), attention_at=()),
        diffusion=DiffusionConfig(num_timesteps=T, clip_x_0=False),
        mode="pynative",
    )
    silent = {name: 0 * p.asnumpy() for name, p in UNet(config.network).parameters_and_names()}
    made = samples(config, silent, 5, seed=7)
    x_T, z = subject.sampling_noise((5, 1, 8, 8), T, seed=7)
    assert np.array_equal(subject.sample(lambda x, _: 0 * x, x_T, z), made)
    assert len(np.unique(x_T)) == x_T.size


def test_batches_are_those_of_a_training_run(subject: MindSporeSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of a run with the subject's preset and seed 5: images, t and noise that its steps are given."""
    given: list[Batch] = []

    def noted(*arguments: Any, **options: Any) -> Batch:
        given.append(draw_batch(*arguments, **options))
        return given[-1]

    monkeypatch.setattr(training, "draw_batch", noted)
    images = np.random.default_rng(0).standard_normal((6, 1, 8, 8), dtype=np.float32)
    config = TrainConfig(
        network=preset("digits"), diffusion=DiffusionConfig(num_timesteps=T), batch_size=3, seed=5, mode="pynative"
    )
    trainer = Trainer(config, Dataset("six", images))
    for _ in range(2):
        trainer.advance()
    monkeypatch.undo()
    drawn = subject.training_batches(images, 3, 2, seed=5)
    for step, batch in enumerate(given):
        for name in ("x_0", "t", "eps"):
            assert np.array_equal(drawn[name][step], getattr(batch, name)), (name, step)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_draws_have_the_subjects_type_and_are_alike_in_every_mode(dtype: str, mode: str) -> None:
    x_T, z = MindSporeSubject(num_timesteps=T, mode=mode, dtype=dtype).sampling_noise((3, 2), 2, seed=1)
    again, _ = MindSporeSubject(num_timesteps=T, mode="pynative").sampling_noise((3, 2), 2, seed=1)
    assert (x_T.dtype, z.dtype, x_T.shape, z.shape) == (dtype, dtype, (3, 2), (2, 3, 2))
    assert np.array_equal(x_T, again)
    drawn = MindSporeSubject(num_timesteps=T, mode=mode, dtype=dtype).training_batches(np.zeros((2, 3)), 5, 2, seed=1)
    assert {name: values.dtype for name, values in drawn.items()} == {"x_0": dtype, "t": "int32", "eps": dtype}


def test_training_time_steps_reach_both_ends_and_repeat(subject: MindSporeSubject) -> None:
    t = subject.draw_timesteps(1000, seed=3)
    assert set(t.tolist()) == set(range(T))
    np.testing.assert_array_equal(t, subject.draw_timesteps(1000, seed=3))
    assert not np.array_equal(t, subject.draw_timesteps(1000, seed=4))


def test_no_steps_are_no_noise(subject: MindSporeSubject) -> None:
    x_T, z = subject.sampling_noise((2, 1, 8, 8), 0, seed=1)
    assert (x_T.shape, z.shape, z.dtype) == ((2, 1, 8, 8), (0, 2, 1, 8, 8), np.float32)


def test_no_images_are_refused(subject: MindSporeSubject) -> None:
    with pytest.raises(ShapeError, match=r"shape is \(0, 4\); give at least one image"):
        subject.sampling_noise((0, 4), 1, seed=0)


def test_seed_of_mindspore_decides_nothing(subject: MindSporeSubject) -> None:
    """Numbers come from the seed given; MindSpore's own generator may be anywhere."""
    before = subject.sampling_noise((2, 3), 1, seed=3)[0]
    ops.standard_normal((5,))
    assert np.array_equal(subject.sampling_noise((2, 3), 1, seed=3)[0], before)
