from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddpm_bench import checkpoint
from ddpm_bench import train as training
from ddpm_bench.checkpoint import FILE_NAME, GROUPS, Checkpoint
from ddpm_bench.config import DiffusionConfig, TrainConfig
from ddpm_bench.data import Dataset, load
from ddpm_bench.device import MODES
from ddpm_bench.errors import ConfigError, DdpmBenchError
from ddpm_bench.progress import Progress
from ddpm_bench.train import Trainer, TrainingInterrupted, draw_batch, train
from ddpm_bench.unet import preset

TINY = TrainConfig(
    network=preset("digits", base_channels=4, groups=2, channel_mult=(1,), attention_at=(), dropout=0.1),
    diffusion=DiffusionConfig(num_timesteps=4, beta_end=0.5),
    steps=4,
    batch_size=4,
    checkpoint_every=100,
    mode="pynative",
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a tiny run; one test asks for it."""
    if "pictures" not in request.keywords.get("fixturenames", request.fixturenames):
        monkeypatch.setattr(training, "write_loss_curve", lambda path, _: path)
        monkeypatch.setattr(training, "write_grid", lambda path, _: path)
        monkeypatch.setattr(training, "samples", lambda *_, **__: None)


@pytest.fixture
def pictures() -> None:
    """Asks for them."""


def assert_same_bits(one: Checkpoint, other: Checkpoint) -> None:
    assert one.step == other.step
    assert one.random_state == other.random_state
    assert one.losses.tolist() == other.losses.tolist()
    for group in GROUPS:
        first, second = getattr(one, group), getattr(other, group)
        assert first.keys() == second.keys()
        assert not [name for name in first if first[name].tobytes() != second[name].tobytes()]


@pytest.mark.parametrize("mode", MODES)
def test_run_continued_from_a_checkpoint_is_the_uninterrupted_one(mode: str, digits: Dataset, tmp_path: Path) -> None:
    whole = Trainer(replace(TINY, mode=mode), digits)
    whole.advance()
    whole.advance()
    checkpoint.save(tmp_path / FILE_NAME, whole.snapshot())
    whole.advance()
    whole.advance()

    continued = Trainer(replace(TINY, mode=mode), digits)
    continued.restore(checkpoint.load(tmp_path / FILE_NAME))
    continued.advance()
    continued.advance()
    assert_same_bits(continued.snapshot(), whole.snapshot())


def test_one_seed_repeats_a_run_and_another_does_not(digits: Dataset) -> None:
    snapshots = []
    for seed in (0, 0, 1):
        trainer = Trainer(replace(TINY, seed=seed), digits)
        trainer.advance()
        snapshots.append(trainer.snapshot())
    assert_same_bits(snapshots[0], snapshots[1])
    assert snapshots[0].losses.tolist() != snapshots[2].losses.tolist()
    assert snapshots[0].random_state != snapshots[2].random_state


def test_snapshot_is_not_changed_by_later_steps(digits: Dataset) -> None:
    trainer = Trainer(TINY, digits)
    trainer.advance()
    taken = trainer.snapshot()
    kept = {group: {n: a.copy() for n, a in getattr(taken, group).items()} for group in GROUPS}
    state = trainer.snapshot().random_state
    trainer.advance()
    for group in GROUPS:
        assert not [n for n, a in getattr(taken, group).items() if not np.array_equal(a, kept[group][n])]
    assert taken.random_state == state


def test_run_leaves_checkpoint_curve_and_grid(digits: Dataset, tmp_path: Path, pictures: None) -> None:
    result = train(TINY, digits, tmp_path / "new" / "run")
    assert result.losses.shape == (4,)
    assert checkpoint.load(result.checkpoint).step == 4
    assert {path.name for path in (tmp_path / "new" / "run").iterdir()} == {
        "checkpoint.safetensors",
        "loss.png",
        "samples.png",
    }
    with Image.open(result.grid) as picture:
        assert picture.size == (
            292,
            292,
        )  # 8 × 8 images of 8 pixels with a line between and around, four times as large
    assert result.loss_curve.name == "loss.png"


def test_every_step_is_reported_with_its_loss(digits: Dataset, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = train(TINY, digits, tmp_path, report=seen.append)
    assert [(now.done, now.total) for now in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [now.loss for now in seen] == pytest.approx(np.cumsum(result.losses) / [1, 2, 3, 4])


def test_checkpoints_come_every_so_many_steps_and_at_the_end(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(checkpoint, "save", lambda _, taken: steps.append(taken.step))
    train(replace(TINY, steps=5, checkpoint_every=2), digits, tmp_path)
    assert steps == [2, 4, 5]


def test_run_is_not_overwritten_unasked(digits: Dataset, tmp_path: Path) -> None:
    file = train(replace(TINY, steps=1), digits, tmp_path).checkpoint
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="already holds a run: continue it with --resume, or name another folder"):
        train(TINY, digits, tmp_path)
    assert file.read_bytes() == before


def test_nothing_to_continue_is_a_sentence(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint at"):
        train(TINY, digits, tmp_path, resume=True)


def test_continued_run_may_be_longer_and_is_then_the_longer_run(digits: Dataset, tmp_path: Path) -> None:
    train(replace(TINY, steps=2), digits, tmp_path / "a")
    result = train(TINY, digits, tmp_path / "a", resume=True)
    whole = train(TINY, digits, tmp_path / "b")
    assert_same_bits(checkpoint.load(result.checkpoint), checkpoint.load(whole.checkpoint))


def test_finished_run_continued_takes_no_step_and_keeps_its_file(digits: Dataset, tmp_path: Path) -> None:
    file = train(TINY, digits, tmp_path).checkpoint
    before = file.read_bytes()
    assert train(TINY, digits, tmp_path, resume=True).losses.shape == (4,)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 5}, "batch_size is 5 and was 4"),
        ({"mode": "graph"}, "mode is graph and was pynative"),
        ({"network": replace(TINY.network, base_channels=8)}, "network.base_channels is 8 and was 4"),
        ({"diffusion": replace(TINY.diffusion, schedule="cosine")}, "diffusion.schedule is cosine and was linear"),
    ],
)
def test_another_run_is_not_continued(digits: Dataset, tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    file = train(replace(TINY, steps=1), digits, tmp_path).checkpoint
    before = file.read_bytes()
    with pytest.raises(ConfigError, match=sentence):
        train(replace(TINY, **change), digits, tmp_path, resume=True)
    assert file.read_bytes() == before


def test_run_on_other_images_is_not_continued(digits: Dataset, tmp_path: Path) -> None:
    train(replace(TINY, steps=1), digits, tmp_path)
    with pytest.raises(ConfigError, match="the data is digits and was digits, with other images"):
        train(TINY, Dataset("digits", digits.images[1:]), tmp_path, resume=True)
    with pytest.raises(ConfigError, match="the data is gaussian and was digits"):
        train(TINY, load("gaussian"), tmp_path, resume=True)


def test_checkpoint_of_another_network_is_not_restored(digits: Dataset) -> None:
    wider = Trainer(replace(TINY, network=replace(TINY.network, base_channels=8)), digits)
    with pytest.raises(ConfigError, match="does not fit this network"):
        Trainer(TINY, digits).restore(wider.snapshot())


def test_data_of_another_shape_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mnist holds .* \(1, 28, 28\), but the network takes \(1, 8, 8\)"):
        train(TINY, load("mnist"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_diverged_run_stops_and_leaves_the_checkpoint_from_before(digits: Dataset, tmp_path: Path) -> None:
    config = replace(TINY, learning_rate=1e30, checkpoint_every=1)
    with pytest.raises(DdpmBenchError, match=r"diverged at step \d: the loss is .* a learning_rate below 1e\+30"):
        train(config, digits, tmp_path)
    saved = checkpoint.load(tmp_path)
    assert np.isfinite(saved.losses).all()
    assert saved.step == len(saved.losses) >= 1


def ctrl_c(*, at: int, times: int = 1) -> Callable[[Progress], None]:
    def press(now: Progress) -> None:
        if now.done == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return press


def test_interrupted_run_saves_its_step_and_says_how_to_go_on(digits: Dataset, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted) as caught:
        train(TINY, digits, tmp_path / "a", report=ctrl_c(at=3))
    assert "stopped after step 3 of 4" in str(caught.value)
    assert f"ddpm-bench train --resume --out {tmp_path / 'a'}" in str(caught.value)
    assert checkpoint.load(tmp_path / "a").step == 3
    assert signal.getsignal(signal.SIGINT) is handler

    continued = train(TINY, digits, tmp_path / "a", resume=True)
    whole = train(TINY, digits, tmp_path / "b")
    assert_same_bits(checkpoint.load(continued.checkpoint), checkpoint.load(whole.checkpoint))


def test_interruption_is_a_keyboard_interrupt_to_those_who_do_not_know_it() -> None:
    assert issubclass(TrainingInterrupted, KeyboardInterrupt)


def test_second_interruption_stops_at_once_and_the_last_checkpoint_is_usable(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(replace(TINY, checkpoint_every=1), digits, tmp_path, report=ctrl_c(at=3, times=2))
    assert checkpoint.load(tmp_path).step == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_interruption_on_the_last_step_is_a_finished_run(digits: Dataset, tmp_path: Path) -> None:
    assert train(TINY, digits, tmp_path, report=ctrl_c(at=4)).losses.shape == (4,)


def test_training_in_another_thread_leaves_ctrl_c_alone(digits: Dataset, tmp_path: Path) -> None:
    before, seen = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(
        target=lambda: train(TINY, digits, tmp_path, report=lambda _: seen.append(signal.getsignal(signal.SIGINT)))
    )
    thread.start()
    thread.join()
    assert seen == [before] * 4


def test_batch_is_one_of_the_images_with_its_own_step_and_noise() -> None:
    """Draws of a batch of n = 40 000 single-pixel images 0…7.

    Counts of images and of steps are binomial; each of the 8 + 5 is within 6 standard deviations of its mean but for
    2e-9. A last step that is never drawn, or one drawn 10 % too often, is more than 9 away. Mean and variance of the
    noise: 6 standard errors, 2e-9; noise of standard deviation 1.05 is 14 away.
    """
    n, images = 40_000, np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1)
    batch = draw_batch(np.random.default_rng(0), images, n, 5, dropouts=3)
    dtypes = [array.dtype.name for array in (batch.x_0, batch.t, batch.eps, batch.dropout_keys)]
    assert dtypes == ["float32", "int32", "float32", "int32"]
    assert len(set(batch.dropout_keys.tolist())) == 3
    assert (batch.x_0.shape, batch.t.shape, batch.eps.shape) == ((n, 1, 1, 1), (n,), (n, 1, 1, 1))
    for drawn, kinds in ((batch.x_0.ravel().astype(int), 8), (batch.t, 5)):
        counts = np.bincount(drawn, minlength=kinds)
        assert len(counts) == kinds
        assert np.abs(counts - n / kinds).max() < 6 * np.sqrt(n / kinds * (1 - 1 / kinds))
    assert abs(batch.eps.mean()) < 6 / np.sqrt(n)
    assert abs(batch.eps.var() - 1) < 6 * np.sqrt(2 / n)


def test_batches_follow_one_another_in_the_generator() -> None:
    images = np.arange(64, dtype=np.float32).reshape(64, 1, 1, 1)
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    first, second = draw_batch(rng, images, 16, 9), draw_batch(rng, images, 16, 9)
    repeated = draw_batch(again, images, 16, 9)
    for name in ("x_0", "t", "eps"):
        assert np.array_equal(getattr(first, name), getattr(repeated, name))
        assert not np.array_equal(getattr(first, name), getattr(second, name))
