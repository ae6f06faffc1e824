"""Wrong training runs for `subject_mutants`: an optimiser, a moving average or a checkpoint not as it should be.

Each is `MindSporeSubject` with one name of `train_step` replaced, or one step of the way through a checkpoint left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ddpm_bench import train_step
from ddpm_bench.config import TrainConfig
from ddpm_bench.subject import Array, MindSporeSubject
from ddpm_bench.subject_mutants import patched, wrong_subject

if TYPE_CHECKING:  # plots and progress bars come with it
    from ddpm_bench.train import Trainer


class OtherStep(MindSporeSubject):
    """A training whose step has other constants or functions."""

    names: dict[str, Any] = {}  # noqa: RUF012 - a class's own constant

    def training_run(self, x_0: Array, t: Array, eps: Array, **choices: Any) -> dict[str, Any]:
        with patched(train_step, **self.names):
            return super().training_run(x_0, t, eps, **choices)


@wrong_subject("S61", "squares of gradients are forgotten ten times as fast", "OPT-1.recursion")
class ShortMemory(OtherStep):
    names = {"BETA_2": float(np.float32(0.99))}  # noqa: RUF012 - as above


@wrong_subject("S62", "decay and 1 - decay are swapped while training", "EMA-1.warm_up", "EMA-2")
class SwappedAverage(OtherStep):
    names = {"moving_average": lambda average, value, decay: (1 - decay) * average + decay * value}  # noqa: RUF012 - as above


@wrong_subject("S63", "the warm-up of the average counts its updates from 0", "EMA-1.warm_up")
class LateWarmUp(OtherStep):
    names = {"average_decay": lambda step, decay: min(decay, step / (9 + step))}  # noqa: RUF012 - as above


@wrong_subject("S64", "the gradient is cut to a norm of 0.1", "OPT-1.recursion")
class Clipped(MindSporeSubject):
    def _train_config(self) -> TrainConfig:
        return replace(super()._train_config(), clip_norm=0.1)


@wrong_subject("S65", "a checkpoint holds no moments", "OPT-2")
class NoMoments(MindSporeSubject):
    def _continued(self, trainer: Trainer) -> Trainer:
        saved, other = trainer.snapshot(), self._new_trainer(trainer.config)
        zeros = {name: np.zeros_like(weight) for name, weight in saved.weights.items()}
        other.restore(replace(saved, moment_1=zeros, moment_2=zeros))
        return other


@wrong_subject("S66", "a continued run corrects its moments as a new one does", "OPT-2")
class CountsAnew(MindSporeSubject):
    def _continued(self, trainer: Trainer) -> Trainer:
        other = super()._continued(trainer)
        other._train_step.step = 0
        return other


@wrong_subject("S67", "training starts from the weights that are evaluated", "GRD-3")
class OtherStart(MindSporeSubject):
    def initial_weights(self) -> dict[str, Array]:
        return self.weights()
