"""One subject's network gradient, and how far a right one may be from it.

No formula is at hand for the rounding of a whole backward pass, so it is measured as in `network_rounding`: the reverse
mode of `reference_network` runs in float64 on the subject's weights, and every array on the way forward and every
adjoint on the way back is given a normal error. Its size is the array's root mean square times the largest of what one
operation may do: SiLU's kernel error (rule T4) or sqrt(n) roundoffs for its longest sum (rule T2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from verification.check import generator
from verification.network_layout import Architecture
from verification.network_rounding import DEVIATIONS, DRAWS, kernel_error
from verification.network_trial import config_of, numpy_type, unguarded
from verification.oracle_network import predict
from verification.protocol import Subject, dtype_of
from verification.reference_network import ReferenceNetwork
from verification.reverse_mode import Array, Tape, Value
from verification.tolerance import unit_roundoff

BATCH = 4

Gradients = Mapping[str, Array]


@dataclass(frozen=True)
class GradientTrial:
    """The subject's `gradients` of the mean squared error of its network on images `x`, `t` against `target`."""

    config: Mapping[str, Any]
    weights: Gradients
    dtype: str
    x: Array
    t: Array
    target: Array
    gradients: Gradients

    @cached_property
    def exact(self) -> dict[str, Array]:
        """The gradients by `reverse_mode`, in float64."""
        return ReferenceNetwork(self.config, weights=self.weights).gradient(self.x, self.t, self.target)

    @cached_property
    def deviation(self) -> dict[str, float]:
        """Root mean square error that rounding may cause in an entry of each parameter's gradient."""
        draws = [_NoisyNetwork(self.config, self.weights, self.dtype, seed) for seed in range(DRAWS)]
        noisy = [draw.gradient(self.x, self.t, self.target) for draw in draws]
        return {name: _root_mean_square([each[name] - exact for each in noisy]) for name, exact in self.exact.items()}

    def bound(self, name: str) -> float:
        """Allowed error of each entry of a parameter's gradient."""
        return DEVIATIONS * self.deviation[name]

    def loss(self, direction: Gradients, step: float) -> float:
        """The mean squared error by the oracle, with the weights moved by `step` times `direction`."""
        moved = {name: self.weights[name].astype(float) + step * direction.get(name, 0.0) for name in self.weights}
        return float(np.mean((predict(self.config, moved, self.x, self.t) - self.target) ** 2))


_TRIALS: WeakKeyDictionary[Any, GradientTrial] = WeakKeyDictionary()


def gradient_trial_of(subject: Subject) -> GradientTrial:
    """The subject's gradient trial, made at the first call and kept as long as the subject lives."""
    judged = unguarded(subject)
    if judged not in _TRIALS:
        config, weights = config_of(subject), subject.weights()
        x, t, target = training_batch(subject, Architecture.parse(config))
        gradients = subject.network_gradient(x, t, target)
        _TRIALS[judged] = GradientTrial(config, weights, dtype_of(subject), x, t, target, gradients)
    return _TRIALS[judged]


def training_batch(subject: Subject, architecture: Architecture) -> tuple[Array, Array, Array]:
    """Images, time steps over the whole range, and a target: noise of the subject's type."""
    random = generator("NET-3")
    shape = (BATCH, architecture.in_channels, architecture.image_size, architecture.image_size)
    x, target = random.standard_normal((2, *shape)).astype(numpy_type(subject))
    last = subject.num_timesteps - 1
    return x, np.array([0, last // 3, 2 * last // 3, last]), target


def living(config: Mapping[str, Any], x: Array, t: Array, target: Array) -> dict[str, Array]:
    """Where the gradient is not zero by its very form, as a mask of each parameter.

    Attention's key biases never count: they add the same to all scores of a query, and softmax does not see it. With
    groups of one channel, neither does a bias before a normalisation; where an image is one pixel wide, neither do the
    outer taps of a kernel. All that is found by the reverse mode, in a network with generic weights.
    """
    generic = ReferenceNetwork(config, seed=1).gradient(x, t, target)
    largest = max(float(np.abs(gradient).max()) for gradient in generic.values())
    return {name: np.abs(gradient) > 1e-10 * largest for name, gradient in generic.items()}


def _root_mean_square(errors: list[Array]) -> float:
    """Over the entries that err at all: of a learned time embedding only the rows that were looked up do."""
    squares = np.square(errors)
    return float(np.sqrt(squares.sum() / max(np.count_nonzero(squares), 1)))


class _NoisyNetwork(ReferenceNetwork):
    """The reference with the rounding errors of `dtype`."""

    def __init__(self, config: Mapping[str, Any], weights: Gradients, dtype: str, seed: int) -> None:
        super().__init__(config, weights=weights)
        longest = max(int(np.prod(weight.shape[1:])) for weight in weights.values())
        self._roundoff = unit_roundoff(dtype)
        self._size = max(kernel_error("silu", dtype), self._roundoff * longest**0.5)
        self._random = np.random.default_rng(seed)

    def tape(self) -> Tape:
        return _NoisyTape(self._random, self._size, self._roundoff)


class _NoisyTape(Tape):
    """Every array errs when it is made, and every adjoint before it is passed on."""

    def __init__(self, random: np.random.Generator, size: float, roundoff: float) -> None:
        super().__init__()
        self.random = random
        self.size = size
        self.roundoff = roundoff

    def constant(self, array: Array, error: Array) -> Value:
        return Value(array + self.roundoff * error * self.random.standard_normal(array.shape))

    def _record(self, out: Value, adjoint: Callable[[], None]) -> Value:
        out.array = self._noisy(out.array)

        def noisy_adjoint() -> None:
            out.gradient = self._noisy(out.gradient)
            adjoint()

        return super()._record(out, noisy_adjoint)

    def _noisy(self, array: Array) -> Array:
        size = self.size * np.sqrt(np.mean(array**2))
        return np.asarray(array + size * self.random.standard_normal(array.shape))
