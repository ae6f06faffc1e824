"""Mistakes in a training run: the optimiser, the moving average, the checkpoint, and what a step must leave alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from verification.mutants import mutant
from verification.protocol import Array
from verification.reference import ReferenceSubject
from verification.reference_training import Arrays, Run, TrainingRuns

Training = type[TrainingRuns]


def wrong_training(
    id: str,  # noqa: A002 - the field's name
    mistake: str,
    *killed_by: str,
) -> Callable[[Training], Training]:
    """Register the reference that trains as the decorated class does."""

    def register(training: Training) -> Training:
        def make(**choices: Any) -> ReferenceSubject:
            made = ReferenceSubject(**choices)
            made.training_run = training(made).training_run
            return made

        mutant(id, mistake, killed_by, network=True)(make)
        return training

    return register


# The optimiser.


@wrong_training("O01", "plain gradient descent for Adam", "OPT-1")
class GradientDescent(TrainingRuns):
    def stepped(self, run: Run, gradients: Mapping[str, Array], learning_rate: float, ema_decay: float) -> Run:
        made = super().stepped(run, gradients, learning_rate, ema_decay)
        return replace(made, weights={name: run.weights[name] - learning_rate * gradients[name] for name in gradients})


@wrong_training("O02", "Adam's two decays are swapped", "OPT-1.recursion")
class SwappedBetas(TrainingRuns):
    beta_1, beta_2 = 0.999, 0.9


@wrong_training("O03", "Adam's moments are not corrected for their start at 0", "OPT-1")
class Uncorrected(TrainingRuns):
    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:
        return np.asarray(m / (np.sqrt(v) + self.epsilon))


@wrong_training("O04", "weights decay by 1 % of the learning rate in every step", "OPT-1", "OPT-1.recursion")
class WeightDecay(TrainingRuns):
    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:
        return np.asarray(super().direction(w, m, v, n) + 0.01 * w)


@wrong_training("O05", "the loss is climbed", "OPT-1")
class Ascent(TrainingRuns):
    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:
        return -super().direction(w, m, v, n)


@wrong_training("O06", "Adam's epsilon is 1e-6", "OPT-1")
class LargeEpsilon(TrainingRuns):
    epsilon = 1e-6


@wrong_training("O07", "every step is corrected as the first", "OPT-1.recursion")
class AlwaysFirst(TrainingRuns):
    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:
        return super().direction(w, m, v, 1)


@wrong_training("O08", "the gradient is cut to a norm of 0.1", "OPT-1.recursion")
class Clipped(TrainingRuns):
    def stepped(self, run: Run, gradients: Mapping[str, Array], learning_rate: float, ema_decay: float) -> Run:
        norm = sum(float(np.sum(np.square(g, dtype=float))) for g in gradients.values()) ** 0.5
        cut = {name: g * min(1.0, 0.1 / norm) for name, g in gradients.items()}
        return super().stepped(run, cut, learning_rate, ema_decay)


@wrong_training("O09", "one bias is left out of training", "OPT-1.recursion")
class Frozen(TrainingRuns):
    def stepped(self, run: Run, gradients: Mapping[str, Array], learning_rate: float, ema_decay: float) -> Run:
        made = super().stepped(run, gradients, learning_rate, ema_decay)
        return replace(made, weights={**made.weights, "conv_in.bias": run.weights["conv_in.bias"]})


@wrong_training("O10", "each loss that is reported is that of the step before", "LOS-1.training")
class LateLoss(TrainingRuns):
    def training_run(self, x_0: Array, t: Array, eps: Array, **choices: Any) -> dict[str, Any]:
        made = super().training_run(x_0, t, eps, **choices)
        return {**made, "losses": np.append(made["losses"][:1], made["losses"][:-1])}


# The checkpoint.


@wrong_training("O11", "a checkpoint holds no moments", "OPT-2")
class NoMoments(TrainingRuns):
    def loaded(self, file: bytes) -> Run:
        run = super().loaded(file)
        zeros = {name: np.zeros(weight.shape) for name, weight in run.weights.items()}
        return replace(run, moment_1=zeros, moment_2=zeros)


@wrong_training("O12", "a continued run counts its steps from 0", "OPT-2")
class CountsAnew(TrainingRuns):
    def loaded(self, file: bytes) -> Run:
        return replace(super().loaded(file), step=0)


@wrong_training("O13", "the average of a continued run starts at its weights", "OPT-2")
class AverageAnew(TrainingRuns):
    def loaded(self, file: bytes) -> Run:
        run = super().loaded(file)
        return replace(run, average=dict(run.weights))


@wrong_training("O14", "a checkpoint keeps the second moments in single precision", "OPT-2")
class SingleCheckpoint(TrainingRuns):
    def loaded(self, file: bytes) -> Run:
        run = super().loaded(file)
        return replace(run, moment_2={name: _single(value) for name, value in run.moment_2.items()})


def _single(array: Array) -> Array:
    return array.astype(np.float32).astype(float)


# What a step must leave alone.


@wrong_training("O15", "the betas are trained with the weights", "GRD-3")
class LearntTable(TrainingRuns):
    def stepped(self, run: Run, gradients: Mapping[str, Array], learning_rate: float, ema_decay: float) -> Run:
        self.subject.beta = self.subject.beta * (1 - 1e-3 * learning_rate)
        return super().stepped(run, gradients, learning_rate, ema_decay)


@wrong_training("O16", "a table of the schedule is among the weights", "GRD-3")
class TableAmongWeights(TrainingRuns):
    def training_run(self, x_0: Array, t: Array, eps: Array, **choices: Any) -> dict[str, Any]:
        made = super().training_run(x_0, t, eps, **choices)
        table = {"diffusion.alpha_bar": self.subject.alpha_bar}
        return {**made, "weights": {**made["weights"], **table}, "average": {**made["average"], **table}}


@wrong_training("O17", "training starts from other weights than it says", "GRD-3")
class OtherStart(TrainingRuns):
    def start(self) -> Run:
        return replace(super().start(), weights=self.subject.weights(), average=self.subject.weights())


# The average.


@wrong_training("O18", "decay and 1 - decay are swapped while training", "EMA-1.warm_up", "EMA-2")
class SwappedAverage(TrainingRuns):
    def averaged(self, average: Array, weight: Array, decay: float, n: int) -> Array:
        return super().averaged(average, weight, 1 - decay, n)


@wrong_training("O19", "the warm-up of the average counts its updates from 0", "EMA-1.warm_up")
class LateWarmUp(TrainingRuns):
    def averaged(self, average: Array, weight: Array, decay: float, n: int) -> Array:
        return super().averaged(average, weight, min(decay, n / (9 + n)), n)


@wrong_training("O20", "training goes on from the average", "EMA-2")
class TrainsTheAverage(TrainingRuns):
    def stepped(self, run: Run, gradients: Mapping[str, Array], learning_rate: float, ema_decay: float) -> Run:
        made = super().stepped(run, gradients, learning_rate, ema_decay)
        return replace(made, weights=dict(made.average))


@wrong_training("O21", "the average starts at 0", "EMA-2", "GRD-3")
class AverageFromZero(TrainingRuns):
    def start(self) -> Run:
        run = super().start()
        return replace(run, average={name: 0 * weight for name, weight in run.weights.items()})


@wrong_training("O22", "the average takes the weights from before the step", "EMA-2")
class LaggingAverage(TrainingRuns):
    def stepped(self, run: Run, gradients: Mapping[str, Array], learning_rate: float, ema_decay: float) -> Run:
        made = super().stepped(run, gradients, learning_rate, ema_decay)
        late: Arrays = {
            name: self._rounded(self.averaged(run.average[name], weight, ema_decay, made.step))
            for name, weight in run.weights.items()
        }
        return replace(made, average=late)


@wrong_training("O23", "the network that is evaluated gets the trained weights", "GRD-3")
class TrainsInPlace(TrainingRuns):
    def training_run(self, x_0: Array, t: Array, eps: Array, **choices: Any) -> dict[str, Any]:
        made = super().training_run(x_0, t, eps, **choices)
        self.subject.weights = lambda: made["weights"]
        return made
