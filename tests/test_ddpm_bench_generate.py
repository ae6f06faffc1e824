from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image

from ddpm_bench import checkpoint
from ddpm_bench import generate as generating
from ddpm_bench.checkpoint import Arrays, Checkpoint
from ddpm_bench.config import DiffusionConfig, TrainConfig
from ddpm_bench.device import MODES
from ddpm_bench.errors import ConfigError
from ddpm_bench.generate import batches, generate, samples
from ddpm_bench.images import grid, to_uint8
from ddpm_bench.progress import Progress
from ddpm_bench.schedule import strided_timesteps
from ddpm_bench.unet import UNet, preset

T = 6
BIAS = 0.25


def config(mode: str = "pynative", **diffusion: Any) -> TrainConfig:
    network = preset("digits", base_channels=4, groups=2, channel_mult=(1,), attention_at=())
    process = DiffusionConfig(**{"num_timesteps": T, "beta_end": 0.5, "clip_x_0": False, **diffusion})
    return TrainConfig(network=network, diffusion=process, mode=mode)


def weights(bias: float = BIAS) -> Arrays:
    """An untrained network, whose output is zero but for the last bias: it answers `bias` to everything."""
    arrays = {name: p.asnumpy() for name, p in UNet(config().network).parameters_and_names()}
    return {**arrays, "conv_out.bias": np.full(1, bias, np.float32)}


@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize("mode", MODES)
def test_ddim_samples_of_a_constant_network_are_the_closed_form(mode: str, steps: int | None) -> None:
    """x ← sqrt(ā') (x − sqrt(1−ā) c)/sqrt(ā) + sqrt(1−ā') c from x_T, in float64; at most 6 steps of 4 roundings of
    numbers below 10, so 3e-5 is generous, and any slip of a coefficient is above 1e-2."""
    made = samples(config(mode), weights(), 3, sampler="ddim", steps=steps, seed=9)
    alpha_bar = config().diffusion.build().schedule.alpha_bar
    visited = strided_timesteps(T, steps or T)
    x = np.random.default_rng([9, 0]).standard_normal((3, 1, 8, 8), dtype=np.float32).astype(np.float64)
    for now, after in zip(visited, [*visited[1:], None], strict=True):
        a, b = alpha_bar[now], 1.0 if after is None else alpha_bar[after]
        x = np.sqrt(b) * (x - np.sqrt(1 - a) * BIAS) / np.sqrt(a) + np.sqrt(1 - b) * BIAS
    assert made.shape == (3, 1, 8, 8)
    assert np.abs(made - x).max() < 3e-5


@pytest.mark.parametrize("steps", [None, 3])
def test_ddpm_samples_of_a_constant_network_are_algorithm_2(steps: int | None) -> None:
    """The same in Algorithm 2's form, on the process seen at the visited steps alone, with the noise of the seed."""
    made = samples(config(), weights(), 2, steps=steps, seed=4)
    alpha_bar = config().diffusion.build().schedule.alpha_bar[np.sort(strided_timesteps(T, steps or T))]
    rng = np.random.default_rng([4, 0])
    x = rng.standard_normal((2, 1, 8, 8), dtype=np.float32).astype(np.float64)
    for t in range(len(alpha_bar) - 1, -1, -1):
        before = alpha_bar[t - 1] if t else 1.0
        alpha = alpha_bar[t] / before
        variance = (1 - alpha) * (1 - before) / (1 - alpha_bar[t])
        z = rng.standard_normal(x.shape)
        x = (x - (1 - alpha) / np.sqrt(1 - alpha_bar[t]) * BIAS) / np.sqrt(alpha) + np.sqrt(variance) * z
    assert np.abs(made - x).max() < 3e-5


def test_network_is_asked_for_the_steps_of_the_whole_process() -> None:
    asked = generating._renumbered(lambda _, t: t, strided_timesteps(1000, 4))
    positions = Tensor(np.arange(4), mindspore.int32)
    assert asked(Tensor(0.0), positions).asnumpy().tolist() == [0, 333, 666, 999]


@pytest.mark.parametrize("parameterization", ["x_0", "v"])
def test_other_parameterisations_are_turned_into_noise(parameterization: str) -> None:
    """A network that answers zero: as x_0 it means the image 0, as v it means x_0 = sqrt(ā_T) x_T in one step."""
    made = samples(config(parameterization=parameterization), weights(0.0), 2, sampler="ddim", steps=1, seed=1)
    x_T = np.random.default_rng([1, 0]).standard_normal((2, 1, 8, 8), dtype=np.float32)
    alpha_bar = config().diffusion.build().schedule.alpha_bar
    expected = 0 * x_T if parameterization == "x_0" else np.sqrt(alpha_bar[-1]) * x_T
    assert np.abs(made - expected).max() < 3e-6


def test_images_stay_in_range_where_the_run_clips_them_and_leave_it_where_not() -> None:
    """One step to x_0 = x_T / sqrt(ā_T), which is far beyond the range."""
    clipped, free = (samples(config(clip_x_0=clip), weights(0.0), 2, sampler="ddim", steps=1) for clip in (True, False))
    assert np.array_equal(clipped, free.clip(-1, 1))
    assert np.abs(free).max() > 2


def test_batches_together_make_the_count_and_each_has_its_own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "BATCH", 2)
    seen: list[Progress] = []
    made = samples(config(), weights(), 5, sampler="ddim", steps=2, report=seen.append)
    assert made.shape == (5, 1, 8, 8)
    assert len(np.unique(made.reshape(5, -1), axis=0)) == 5
    assert [(now.done, now.total) for now in seen] == [(done, 6) for done in range(1, 7)]


def test_batches_are_of_one_size_and_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "BATCH", 2)
    drawn = [(x_T, rng.standard_normal(3)) for x_T, rng in batches(5, (3,), seed=1)]
    assert [x_T.shape for x_T, _ in drawn] == [(2, 3)] * 3
    assert len(np.unique(np.concatenate([np.ravel(each) for pair in drawn for each in pair]))) == 3 * (6 + 3)
    assert [x_T.shape for x_T, _ in batches(1, (3,), seed=1)] == [(1, 3)]


def test_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    one, same, other = (samples(config(), weights(), 2, steps=2, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"sampler": "dimm"}, "unknown sampler 'dimm': did you mean ddim"),
        ({"count": 0}, "number of images is 0, expected at least 1"),
        ({"steps": T + 1}, f"{T + 1} steps"),
        ({"steps": 0}, "0"),
    ],
)
def test_impossible_choices_are_a_sentence(choices: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        samples(config(), weights(), **{"count": 2, **choices})


def test_weights_of_another_network_are_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"it has no tensor conv_out\.bias"):
        samples(config(), {name: a for name, a in weights().items() if name != "conv_out.bias"}, 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A checkpoint whose average answers BIAS and whose weights answer something else."""
    state = dict(np.random.default_rng().bit_generator.state)
    zeros = {name: np.zeros_like(array) for name, array in weights().items()}
    path = tmp_path / "run.safetensors"
    checkpoint.save(
        path,
        Checkpoint(
            step=0,
            config=config(),
            data="digits",
            data_digest="",
            weights=weights(-1.0),
            average=weights(),
            moment_1=zeros,
            moment_2=zeros,
            losses=np.zeros(0),
            random_state=state,
        ),
    )
    return path


def test_images_come_from_the_average_and_are_written_as_they_are(file: Path, tmp_path: Path) -> None:
    made = generate(file, tmp_path / "out", count=3, sampler="ddim", steps=2, seed=5)
    assert np.array_equal(made.images, samples(config(), weights(), 3, sampler="ddim", steps=2, seed=5))
    with Image.open(made.grid) as picture:
        assert np.array_equal(np.asarray(picture)[::4, ::4], grid(made.images)[..., 0])
    assert [path.name for path in made.files] == ["00000.png", "00001.png", "00002.png"]
    for path, image in zip(made.files, made.images, strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), to_uint8(image[0]))


def test_samples_are_not_overwritten_unasked(file: Path, tmp_path: Path) -> None:
    made = generate(file, tmp_path / "out", count=1, sampler="ddim", steps=1)
    before = made.grid.read_bytes()
    with pytest.raises(ConfigError, match="already holds samples: name another folder"):
        generate(file, tmp_path / "out", count=2, sampler="ddim", steps=1)
    assert made.grid.read_bytes() == before


def test_impossible_choice_leaves_no_folder_behind(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0"):
        generate(file, tmp_path / "out", steps=0)
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_written_is_noticed_before_the_work(file: Path) -> None:
    with pytest.raises(ConfigError, match="it is a file; name a folder"):
        generate(file, file, count=10**9)
