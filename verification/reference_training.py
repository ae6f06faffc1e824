"""How the reference trains its network: Algorithm 1 of Ho et al. 2020, Adam, a moving average, and a checkpoint.

With g the gradient of the loss, n the number of the step (Kingma and Ba 2015, Algorithm 1),

    m <- b_1 m + (1 - b_1) g        v <- b_2 v + (1 - b_2) g^2
    w <- w - rate (m / (1 - b_1^n)) / (sqrt(v / (1 - b_2^n)) + epsilon)

and the average follows as a <- decay a + (1 - decay) w, with one decay from the first step on. Moments are float64;
weights and average are rounded to the subject's dtype after every step. What is worth getting wrong on purpose is a
method of its own.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from verification.protocol import Array
from verification.reference_network import ReferenceNetwork

if TYPE_CHECKING:  # which has one of these
    from verification.reference import ReferenceSubject

Arrays = dict[str, Array]


@dataclass(frozen=True)
class Run:
    """A training run at rest after `step` steps; every mapping goes from parameter name to array."""

    step: int
    weights: Arrays
    average: Arrays
    moment_1: Arrays
    moment_2: Arrays


GROUPS = ("weights", "average", "moment_1", "moment_2")


class TrainingRuns:
    """The training of the network that `subject` has."""

    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, subject: ReferenceSubject) -> None:
        self.subject = subject

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
        """One step on each of the K batches; `save_after` of them, the run goes through a file."""
        run, losses = self.start(), []
        for number, batch in enumerate(zip(x_0, t, eps, strict=True)):
            if number == save_after:
                run = self.loaded(self.saved(run))
            loss, gradients = self.loss_and_gradients(run.weights, *batch)
            run = self.stepped(run, gradients, learning_rate, ema_decay)
            losses.append(loss)
        return {"weights": run.weights, "average": run.average, "losses": np.array(losses)}

    def start(self) -> Run:
        """Before the first step: moments are 0, and the average is the weights."""
        weights = self.subject.initial_weights()
        zeros = {name: np.zeros(weight.shape) for name, weight in weights.items()}
        return Run(0, weights, dict(weights), zeros, dict(zeros))

    def loss_and_gradients(self, weights: Arrays, x_0: Array, t: Array, eps: Array) -> tuple[float, Arrays]:
        """Eq. 14 at one batch, before the step, and its gradient."""
        subject = self.subject
        network = ReferenceNetwork(subject.network_config, weights=weights, dtype=subject.dtype)
        x_t, target = subject.q_sample(x_0, t, eps), subject.target(x_0, t, eps)
        loss = float(np.mean((network(x_t, t).astype(float) - target) ** 2))
        return loss, network.gradient(x_t, t, target)

    def stepped(self, run: Run, gradients: Mapping[str, Array], learning_rate: float, ema_decay: float) -> Run:
        """The run after one more step."""
        g = {name: np.asarray(gradient, np.float64) for name, gradient in gradients.items()}
        m = {name: self.beta_1 * run.moment_1[name] + (1 - self.beta_1) * g[name] for name in g}
        v = {name: self.beta_2 * run.moment_2[name] + (1 - self.beta_2) * g[name] ** 2 for name in g}
        n = run.step + 1
        along = {name: self.direction(run.weights[name], m[name], v[name], n) for name in g}
        w = {name: self._rounded(run.weights[name] - learning_rate * along[name]) for name in g}
        a = {name: self._rounded(self.averaged(run.average[name], w[name], ema_decay, n)) for name in g}
        return Run(n, w, a, m, v)

    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:  # noqa: ARG002 - weight decay would look at w
        """What the learning rate is multiplied by in the `n`-th step (1, 2, ...)."""
        return np.asarray((m / (1 - self.beta_1**n)) / (np.sqrt(v / (1 - self.beta_2**n)) + self.epsilon))

    def averaged(self, average: Array, weight: Array, decay: float, n: int) -> Array:  # noqa: ARG002 - a warm-up would look at n
        """The average after the `n`-th step."""
        return np.asarray(decay * average + (1 - decay) * weight)

    def saved(self, run: Run) -> bytes:
        """The run as a file."""
        file = io.BytesIO()
        arrays = {f"{group}/{name}": array for group in GROUPS for name, array in getattr(run, group).items()}
        np.savez(file, step=np.array(run.step), **arrays)
        return file.getvalue()

    def loaded(self, file: bytes) -> Run:
        """The run that was saved."""
        with np.load(io.BytesIO(file)) as arrays:
            groups: dict[str, Arrays] = {group: {} for group in GROUPS}
            for key in arrays.files:
                group, _, name = key.partition("/")
                if name:
                    groups[group][name] = arrays[key]
            return Run(int(arrays["step"]), **groups)

    def _rounded(self, array: Array) -> Array:
        return np.asarray(array, self.subject.dtype)
