"""A training run on batches that somebody else has drawn: the part of `MindSporeSubject` that trains.

The steps are those of `ddpm-bench train`: its `Trainer`, its compiled step, its checkpoint. Only two of its choices are
made here. The network drops nothing out, because the masks would be random numbers that the caller does not have; and
the gradient may be as long as it likes, because how it is cut is a choice of the run and not part of the optimiser.
"""

from __future__ import annotations

import functools
import tempfile
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from mindspore import Tensor

from ddpm_bench import checkpoint
from ddpm_bench.checkpoint import Checkpoint
from ddpm_bench.config import DiffusionConfig, TrainConfig
from ddpm_bench.data import Dataset
from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.presets import preset

if TYPE_CHECKING:  # plots and progress bars come with it
    from ddpm_bench.train import Batch, Trainer

Array = npt.NDArray[Any]

UNCLIPPED = 1e30
"""A bound on the gradient's norm that none reaches: the factor is exactly 1."""


class TrainingRuns(ABC):
    """The method of the Subject protocol that trains; for a class with these attributes."""

    mode: str
    _choices: dict[str, Any]
    _setting: dict[str, Any]

    @abstractmethod
    def _steps(self, t: Array, *, lowest: int = 0) -> Tensor:
        """`t` as a tensor, or an exception where it is no time step."""

    def training_run(
        self,
        x_0: Array,
        t: Array,
        eps: Array,
        *,
        learning_rate: float,
        ema_decay: float,
        save_after: int | None = None,
    ) -> dict[str, Any]:
        """`weights`, their `average` and the `losses` (K,) after a step on each batch; all float32 but the losses.

        `x_0`, `eps`: (K, B, C, H, W). `t`: (K, B). With `save_after` the run goes through a checkpoint after so many
        steps, into a new trainer. Raises `ShapeError` or `ConfigError` for arguments that do not fit, and
        `DdpmBenchError` for a loss that is not finite.
        """
        batches = self._batches(x_0, t, eps)
        if save_after is not None and not 0 <= save_after < len(batches):
            raise ConfigError(f"save_after is {save_after}; give a number from 0 to {len(batches) - 1}")
        trainer, start = self._at_rest
        trainer.config = replace(trainer.config, learning_rate=learning_rate, ema_decay=ema_decay)
        trainer.restore(start)
        for step, batch in enumerate(batches):
            if step == save_after:
                trainer = self._continued(trainer)
            trainer.take(batch)
        end = trainer.snapshot()
        return {"weights": end.weights, "average": end.average, "losses": end.losses}

    def _batches(self, x_0: Array, t: Array, eps: Array) -> list[Batch]:
        from ddpm_bench.train import Batch  # as above

        network = preset(self._setting["preset"])
        image = (network.in_channels, network.image_size, network.image_size)
        if np.shape(x_0) != np.shape(eps) or np.shape(x_0) != (*np.shape(t), *image) or np.ndim(t) != 2:
            raise ShapeError(
                f"x_0 {np.shape(x_0)}, t {np.shape(t)} and eps {np.shape(eps)} do not fit; give (K, B, C, H, W), "
                f"(K, B), and eps like x_0, with (C, H, W) {image}"
            )
        images, noise = np.asarray(x_0, np.float32), np.asarray(eps, np.float32)
        steps = self._steps(np.ravel(t)).asnumpy().reshape(np.shape(t))
        no_keys = np.empty(0, np.int32)
        return [Batch(*drawn, no_keys) for drawn in zip(images, steps, noise, strict=True)]

    @functools.cached_property
    def _at_rest(self) -> tuple[Trainer, Checkpoint]:
        """A trainer and its state before the first step. It serves every run: the rate and the decay of the average
        are arguments of its compiled step.
        """  # fmt: skip
        trainer = self._new_trainer(self._train_config())
        return trainer, trainer.snapshot()

    def _train_config(self) -> TrainConfig:
        names = ("schedule", "num_timesteps", "variance", "clip_x_0", "parameterization")
        return TrainConfig(
            network=replace(preset(self._setting["preset"]), dropout=0.0),
            diffusion=DiffusionConfig(**{name: self._choices[name] for name in names}),
            clip_norm=UNCLIPPED,
            seed=self._setting["seed"],
            mode="pynative" if self.mode == "pynative" else "graph",
        )

    def _new_trainer(self, config: TrainConfig) -> Trainer:
        """A trainer before its first step; what it would draw its batches from is never looked at."""
        from ddpm_bench.train import Trainer  # as above

        network = config.network
        nothing = np.zeros((1, network.in_channels, network.image_size, network.image_size), np.float32)
        return Trainer(config, Dataset("batches drawn elsewhere", nothing))

    def _continued(self, trainer: Trainer) -> Trainer:
        """Another trainer, at the place to which `trainer` has come, by way of a file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / checkpoint.FILE_NAME
            checkpoint.save(file, trainer.snapshot())
            other = self._new_trainer(trainer.config)
            other.restore(checkpoint.load(file))
        return other
