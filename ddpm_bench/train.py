"""Training: Algorithm 1 of Ho et al. 2020, with what their code adds to it.

Each step draws images x_0, time steps t ~ Uniform{0, …, T−1} and noise eps ~ N(0, I), and moves the weights down the
gradient of L_simple (Eq. 14); `train_step.py` has that step. Samples are drawn from the moving average of the weights.

All randomness comes from one NumPy generator and is passed into the step, because re-seeding MindSpore does not restart
the noise of what is already compiled. So the weights, their average, Adam's moments, the number of steps and the state
of that generator are the whole state of a run, and a run continued from a checkpoint is the uninterrupted one, bit for
bit; with other operators (`operators.py`), or on another machine, but for rounding.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpm_bench import checkpoint, operators
from ddpm_bench.checkpoint import Arrays, Checkpoint
from ddpm_bench.config import TrainConfig, difference
from ddpm_bench.data import Dataset
from ddpm_bench.device import current_device
from ddpm_bench.errors import ConfigError, DdpmBenchError
from ddpm_bench.exchange import exchanged
from ddpm_bench.files import output_folder
from ddpm_bench.generate import samples
from ddpm_bench.images import write_grid, write_loss_curve
from ddpm_bench.interruption import held
from ddpm_bench.progress import Pace, Report
from ddpm_bench.train_step import TrainStep
from ddpm_bench.unet import UNet

__all__ = [
    "Batch",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "TrainingInterrupted",
    "draw_batch",
    "generator",
    "train",
]

GRID_COUNT = 64
"""Images in the grid at the end of a run."""

GRID_STEPS = 100
"""DDIM steps for that grid: a look at the run, an order of magnitude cheaper than the whole chain."""

MAY_CHANGE = ("steps", "checkpoint_every")
"""The fields of `TrainConfig` that a continued run may choose anew: what a step does is not among them."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves: its files, the `losses` (steps,) float64, and the `seconds` this call trained."""

    checkpoint: Path
    loss_curve: Path
    grid: Path
    losses: NDArray[np.float64]
    seconds: float


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training. The message says what was kept and how to go on."""


@dataclass(frozen=True)
class Batch:
    """All that is random in one step.

    `x_0` and `eps`: (B, C, H, W) float32. `t`: (B,) int32. `dropout_keys`: (dropouts,) int32.
    """

    x_0: NDArray[np.float32]
    t: NDArray[np.int32]
    eps: NDArray[np.float32]
    dropout_keys: NDArray[np.int32]


def generator(seed: int) -> np.random.Generator:
    """All the randomness of a run: named, because a checkpoint keeps its state."""
    return np.random.Generator(np.random.PCG64(seed))


def draw_batch(
    rng: np.random.Generator,
    images: NDArray[np.float32],
    batch_size: int,
    num_timesteps: int,
    *,
    dropouts: int = 0,
) -> Batch:
    """`batch_size` of the `images` (N, C, H, W), each with its own t in 0…`num_timesteps`−1 and its own noise.

    `dropouts`: how many layers need a key. Images are drawn with replacement: then `rng` is all there is to remember
    between two steps.
    """
    x_0 = images[rng.integers(len(images), size=batch_size)]
    t = rng.integers(num_timesteps, size=batch_size, dtype=np.int32)
    eps = rng.standard_normal(x_0.shape, dtype=np.float32)
    return Batch(x_0, t, eps, rng.integers(-(2**31), 2**31, size=dropouts, dtype=np.int32))


def train(
    config: TrainConfig, data: Dataset, out: Path | str, *, resume: bool = False, report: Report | None = None
) -> TrainResult:
    """Train on `data` and leave checkpoint, loss curve and a grid of samples in the folder `out`.

    With `resume` the run in `out` goes on until `config.steps`; all else in `config`, and the data, must be as it was.
    `report` is told of every step.

    Raises `ConfigError` when `out` holds a run already and `resume` is not given, when it holds none or another one and
    `resume` is, when data and network do not fit, and when `out` cannot be written; `DdpmBenchError` when the loss is
    no longer finite; `TrainingInterrupted` on Ctrl-C, after the step at hand is saved.
    """
    file = output_folder(out) / checkpoint.FILE_NAME
    if file.exists() and not resume:
        raise ConfigError(f"{out} already holds a run: continue it with --resume, or name another folder with --out")
    trainer = Trainer(config, data)
    if resume:
        trainer.restore(_run_to_continue(file, config, data))
    began = time.perf_counter()
    _loop(trainer, file, report)
    seconds = time.perf_counter() - began
    return TrainResult(
        checkpoint=file,
        loss_curve=write_loss_curve(file.with_name("loss.png"), trainer.losses),
        grid=write_grid(file.with_name("samples.png"), _look(trainer)),
        losses=np.array(trainer.losses),
        seconds=seconds,
    )


def _run_to_continue(file: Path, config: TrainConfig, data: Dataset) -> Checkpoint:
    """The checkpoint at `file`, if to continue it with `config` and `data` is to continue the same run."""
    found = checkpoint.load(file)
    changed = difference(config, found.config, ignore=MAY_CHANGE)
    if changed is None and data.digest != found.data_digest:
        changed = f"the data is {data.name} and was {found.data}{', with other images' * (data.name == found.data)}"
    if changed is not None:
        raise ConfigError(f"cannot continue the run in {file}: {changed}; leave that as it was, or use another --out")
    return found


def _look(trainer: Trainer) -> NDArray[np.float32]:
    """A grid's worth of samples from the average, the same noise in every run of one seed."""
    config = trainer.config
    steps = min(GRID_STEPS, config.diffusion.num_timesteps)
    return samples(config, trainer.average(), GRID_COUNT, sampler="ddim", steps=steps, seed=config.seed)


def _loop(trainer: Trainer, file: Path, report: Report | None) -> None:
    """Step until the end or Ctrl-C, saving on the way; every checkpoint is of a step that was completed."""
    steps, first, pace = trainer.config.steps, trainer.step, Pace(report, trainer.config.steps)
    with held() as interrupted:
        while trainer.step < steps and not interrupted():
            trainer.advance()
            pace.at(trainer.step, float(np.mean(trainer.losses[-100:])))
            if trainer.step % trainer.config.checkpoint_every == 0:
                checkpoint.save(file, trainer.snapshot())
                write_loss_curve(file.with_name("loss.png"), trainer.losses)
        if trainer.step > first:
            checkpoint.save(file, trainer.snapshot())
    if trainer.step < steps:
        raise TrainingInterrupted(
            f"stopped after step {trainer.step} of {steps}, which is saved in {file}: "
            f"continue with `ddpm-bench train --resume --out {file.parent}`"
        )


class Trainer:
    """A run in motion: `advance` takes a step, `take` one on a given batch; `snapshot` and `restore` turn it into a
    checkpoint and back.
    """  # fmt: skip

    def __init__(self, config: TrainConfig, data: Dataset) -> None:
        """At step 0, with weights drawn from `config.seed`. Raises `ConfigError` if `data` does not fit the network."""
        _check_fit(config, data)
        self.config, self.data = config, data
        self.losses: list[float] = []
        self._rng = generator(config.seed)
        ways = operators.current(current_device(), config.mode)
        network = exchanged(UNet(config.network, seed=config.seed), ways)
        network.set_train(True)
        self._train_step = TrainStep(network, config.diffusion.build(), clip_norm=config.clip_norm, mode=config.mode)

    @property
    def step(self) -> int:
        """Optimiser steps taken so far."""
        return len(self.losses)

    def advance(self) -> None:
        """Take one step on a batch drawn for it. Raises `DdpmBenchError` as `take` does."""
        config = self.config
        self.take(
            draw_batch(
                self._rng,
                self.data.images,
                config.batch_size,
                config.diffusion.num_timesteps,
                dropouts=self._train_step.dropouts,
            )
        )

    def take(self, batch: Batch) -> None:
        """Take one step on `batch`. Raises `DdpmBenchError` when its loss or gradient is not finite: nothing good can
        follow.
        """  # fmt: skip
        config = self.config
        loss, norm = self._train_step(
            batch.x_0,
            batch.t,
            batch.eps,
            batch.dropout_keys,
            learning_rate=config.learning_rate,
            ema_decay=config.ema_decay,
        )
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DdpmBenchError(
                f"training diverged at step {self.step + 1}: the loss is {loss} and the gradient's norm {norm}; "
                f"the last checkpoint is from before; start again with a learning_rate below {config.learning_rate}"
            )
        self.losses.append(loss)

    def average(self) -> Arrays:
        """The moving average of the weights: parameter name to float32 array."""
        return self._train_step.arrays()["average"]

    def snapshot(self) -> Checkpoint:
        """The run as it stands, as copies that later steps do not change."""
        return Checkpoint(
            step=self.step,
            config=self.config,
            data=self.data.name,
            data_digest=self.data.digest,
            losses=np.array(self.losses),
            random_state=dict(self._rng.bit_generator.state),
            **self._train_step.arrays(),
        )

    def restore(self, saved: Checkpoint) -> None:
        """Stand where `saved` does. Raises `ConfigError` if its tensors are not those of this network."""
        arrays = {group: getattr(saved, group) for group in checkpoint.GROUPS}
        for group in arrays.values():
            checkpoint.check_fits(group, self._train_step.shapes())
        self._train_step.restore(saved.step, arrays)
        self._rng.bit_generator.state = saved.random_state
        self.losses = saved.losses.tolist()


def _check_fit(config: TrainConfig, data: Dataset) -> None:
    wanted = (config.network.in_channels, config.network.image_size, config.network.image_size)
    if data.images.shape[1:] != wanted:
        raise ConfigError(
            f"{data.name} holds images of shape {data.images.shape[1:]}, but the network takes {wanted} "
            f"(channels, height, width): choose a preset or data that fit each other"
        )
