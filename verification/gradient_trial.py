"""One subject's network gradient, and how far a right one may be from it.

No formula is at hand for the rounding of a whole backward pass, so it is measured as in `network_rounding`: the reverse
mode of `reference_network` runs in float64 on the subject's weights, and every array on the way forward and every
adjoint on the way back is given a normal error. Its size is the array's root mean square times the largest of what one
operation may do: SiLU's kernel error (rule T4) or sqrt(n) roundoffs for its longest sum (rule T2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from verification.affine import remembered
from verification.check import generator
from verification.network_layout import Architecture
from verification.network_rounding import DEVIATIONS, DRAWS, Exact, MonteCarlo, kernel_error
from verification.network_trial import config_of, network_dtype
from verification.network_truth import kept
from verification.oracle_network import predict
from verification.protocol import Subject
from verification.reference_network import ReferenceNetwork
from verification.reverse_mode import Array, Tape, Value
from verification.tolerance import unit_roundoff

BATCH = 4
DIRECTIONS = 3

Gradients = Mapping[str, Array]


@dataclass(frozen=True)
class GradientTruth:
    """The mean squared error of the network on images `x`, `t` against `target`: what is known without a subject."""

    config: Mapping[str, Any]
    weights: Gradients
    dtype: str
    x: Array
    t: Array
    target: Array
    _losses: dict[tuple[int, float], float] = field(default_factory=dict, repr=False)

    @cached_property
    def exact(self) -> dict[str, Array]:
        """The gradients by `reverse_mode`, in float64."""
        return ReferenceNetwork(self.config, weights=self.weights).gradient(self.x, self.t, self.target)

    @cached_property
    def score(self) -> tuple[float, float]:
        """The mean squared error itself, and how far from it rounding may lead: as `network_rounding` has it, image by
        image. Errors of pixels cancel in an image's sum as they do in the draws; those of images are not granted to.
        """  # fmt: skip
        exact = self._squares(Exact())
        errors = np.stack([self._squares(MonteCarlo(self.dtype, seed)) - exact for seed in range(DRAWS)])
        return float(exact.mean()), DEVIATIONS * root_mean_square(errors)

    def _squares(self, rounding: Exact) -> Array:
        """Mean squared error of each image, (B,), with these errors in `x`, network, difference and sum.

        `x` and `target` are a x_0 + b eps with pixels up to 1, so their terms are at most 2 larger than they are; each
        is rounded in coefficient, product and sum. The sum is rounded as part of the whole batch's.
        """

        def of_terms(array: Array) -> Array:
            return 3 * (np.abs(array) + 2)

        x = rounding.error(self.x.astype(float), lambda: of_terms(self.x))
        residual = predict(self.config, self.weights, x, self.t, rounding=rounding) - self.target
        residual = rounding.error(residual, lambda: np.abs(residual) + of_terms(self.target)).reshape(len(x), -1)
        total = rounding.dot((residual**2).sum(axis=1), residual.size, lambda: (residual**4).sum(axis=1))
        return np.asarray(total / residual.shape[1])

    @cached_property
    def deviation(self) -> dict[str, float]:
        """Root mean square error that rounding may cause in an entry of each parameter's gradient."""
        draws = [_NoisyNetwork(self.config, self.weights, self.dtype, seed) for seed in range(DRAWS)]
        noisy = [draw.gradient(self.x, self.t, self.target) for draw in draws]
        return {name: _root_mean_square([each[name] - exact for each in noisy]) for name, exact in self.exact.items()}

    def bound(self, name: str) -> float:
        """Allowed error of each entry of a parameter's gradient."""
        return DEVIATIONS * self.deviation[name]

    @cached_property
    def living(self) -> dict[str, Array]:
        """Where the gradient is not zero by its very form, as a mask of each parameter.

        Attention's key biases never count: they add the same to all scores of a query, and softmax does not see it.
        With groups of one channel, neither does a bias before a normalisation; where an image is one pixel wide,
        neither do the outer taps of a kernel. All that is found by reverse mode, in a network with generic weights.
        """
        generic = ReferenceNetwork(self.config, seed=1).gradient(self.x, self.t, self.target)
        largest = max(float(np.abs(gradient).max()) for gradient in generic.values())
        return {name: np.abs(gradient) > 1e-10 * largest for name, gradient in generic.items()}

    @cached_property
    def directions(self) -> list[dict[str, Array]]:
        """Random directions in which every parameter's rounding counts alike, so that none is drowned by another.

        Scaled so that no parameter moves by more than its own size (or 1, if it is zero) at step 1.
        """
        random = generator("GRD-2")
        return [self._direction(random) for _ in range(DIRECTIONS)]

    def _direction(self, random: np.random.Generator) -> dict[str, Array]:
        erring = {name: size for name, size in self.deviation.items() if size}
        raw = {name: random.standard_normal(self.weights[name].shape) / size for name, size in erring.items()}
        even = {name: step / step.size**0.5 for name, step in raw.items()}
        moved = max(
            root_mean_square(step) / (root_mean_square(self.weights[name]) or 1.0) for name, step in even.items()
        )
        return {name: step / moved for name, step in even.items()}

    def loss(self, direction: int, step: float) -> float:
        """The mean squared error by the oracle, with the weights moved by `step` along one of the directions."""
        if (direction, step) not in self._losses:
            along = self.directions[direction]
            moved = {name: np.add(value, step * along.get(name, 0.0)) for name, value in self.weights.items()}
            error = predict(self.config, moved, self.x, self.t) - self.target
            self._losses[direction, step] = float(np.mean(error**2))
        return self._losses[direction, step]


@dataclass(frozen=True)
class GradientTrial:
    """The subject's `gradients`, beside the truth."""

    truth: GradientTruth
    gradients: Gradients


def gradient_trial_of(subject: Subject) -> GradientTrial:
    """The subject's gradient trial, made at the first call and kept as long as the subject lives."""

    def made() -> GradientTrial:
        truth = gradient_truth_of(subject)
        return GradientTrial(truth, subject.network_gradient(truth.x, truth.t, truth.target))

    return remembered(subject, "gradient trial", made)


def gradient_truth_of(subject: Subject) -> GradientTruth:
    """The truth about the gradient of the subject's network, on images and a target of noise at four time steps."""
    config, weights, dtype = config_of(subject), subject.weights(), network_dtype(subject)
    a = Architecture.parse(config)
    shape = (2, BATCH, a.in_channels, a.image_size, a.image_size)
    x, target = generator("NET-3").standard_normal(shape).astype(dtype)
    last = subject.num_timesteps - 1
    t = np.array([0, last // 3, 2 * last // 3, last])
    arrays = {**weights, "images x": x, "images t": t}
    return kept("gradient", config, arrays, lambda: GradientTruth(config, weights, dtype.name, x, t, target))


def _root_mean_square(errors: list[Array]) -> float:
    """Over the entries that err at all: of a learned time embedding only the rows that were looked up do."""
    squares = np.square(errors)
    return float(np.sqrt(squares.sum() / max(np.count_nonzero(squares), 1)))


def root_mean_square(array: Array) -> float:
    """Over all entries."""
    return float(np.sqrt(np.mean(np.square(array, dtype=float)))) if np.size(array) else 0.0


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
