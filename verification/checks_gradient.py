"""Obligations of the network's gradient: every parameter is used, every skip is live, every derivative is right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verification.check import Evidence, check, generator
from verification.gradient_trial import GradientTrial, gradient_trial_of, living
from verification.network_layout import Architecture
from verification.network_rounding import DEVIATIONS
from verification.protocol import Subject
from verification.reverse_mode import Array
from verification.tolerance import compare, holds

NEEDS = ("network", "weights", "network_config", "network_gradient")
DIRECTIONS = 3
STEP = 2e-3
"""Of the differences, relative to the weights. Richardson's extrapolation leaves a remainder of order STEP^4, 2e-11."""


@check(
    "NET-3",
    claim="Every parameter of the network, and every channel of it, has a finite gradient that is not zero.",
    source="Ho et al. 2020, appendix B: every layer lies on a path from the input or t to the output",
    needs=NEEDS,
    level=2,
    kills=("M03", "N01", "N02", "N03", "N22"),
    tolerance="T0: a derivative is not exactly 0 in floating point, except where its form makes it so; see living",
)
def every_parameter_has_a_gradient(subject: Subject) -> Iterator[Evidence]:
    """NET-3; a dead layer, a detached branch or an unused channel has gradient exactly 0."""
    trial = gradient_trial_of(subject)
    alive = living(trial.config, trial.x, trial.t, trial.target)
    yield holds(
        set(trial.gradients) == set(alive),
        where=", ".join(sorted(set(trial.gradients) ^ set(alive))[:3]),
        reason="the gradients' names are those of the parameters",
    )
    for name, gradient in trial.gradients.items():
        if name in alive:
            yield _alive(name, gradient, alive[name])


def _alive(name: str, gradient: Array, mask: Array) -> Evidence:
    if np.shape(gradient) != mask.shape or not np.isfinite(gradient).all():
        return holds(False, where=name, reason=f"the gradient is finite, of shape {mask.shape}")
    dead = [place for place, seen, due in _channels(name, gradient != 0, mask) if due and not seen]
    return holds(not dead, where=dead[0] if dead else name, reason=f"{len(dead)} channels have no gradient at all")


def _channels(name: str, seen: Array, due: Array) -> Iterator[tuple[str, bool, bool]]:
    """Every output channel, then every input channel: its name, and whether each of the masks is set anywhere."""
    for axis, kind in zip(range(min(seen.ndim, 2)), ("output", "input"), strict=False):
        others = tuple(i for i in range(seen.ndim) if i != axis)
        for i, (one, other) in enumerate(zip(seen.any(axis=others), due.any(axis=others), strict=True)):
            yield f"{name}, {kind} channel {i}", bool(one), bool(other)


@check(
    "NET-2.gradient",
    claim="The time embedding learns: the dense layers behind it and every block's projection of it have a gradient.",
    source="Ho et al. 2020, appendix B: t is given to every residual block",
    needs=NEEDS,
    level=2,
    kills=("M03", "N01"),
    tolerance="T6: the gradient's size is above what rounding alone could make of a zero",
)
def time_layers_have_a_gradient(subject: Subject) -> Iterator[Evidence]:
    """NET-2, from the side of training."""
    trial = gradient_trial_of(subject)
    for name, gradient in trial.gradients.items():
        if (name.startswith("time_embedding.") or ".time_proj." in name) and np.any(trial.exact.get(name, 0.0)):
            yield _above_rounding(trial, name, gradient, name)


@check(
    "NET-4.skips",
    claim="Every skip connection is live: the weights that read it on the way up have a gradient.",
    source="Ho et al. 2020, appendix B; Ronneberger et al. 2015, Fig. 1",
    needs=NEEDS,
    level=2,
    kills=("M64", "N02", "N03"),
    tolerance="T6: the gradient's size is above what rounding alone could make of a zero",
)
def skips_are_live(subject: Subject) -> Iterator[Evidence]:
    """NET-4; what a block reads from below and what it reads from the skip stand in order in its first convolution."""
    trial = gradient_trial_of(subject)
    for level, i, below, _ in Architecture.parse(trial.config).blocks_up():
        name = f"up.{level}.blocks.{i}.conv_1.weight"
        gradient = np.asarray(trial.gradients[name])
        yield _above_rounding(trial, name, gradient[:, below:], f"{name}, channels from the skip")
        yield _above_rounding(trial, name, gradient[:, :below], f"{name}, channels from below")


def _above_rounding(trial: GradientTrial, name: str, gradient: Array, where: str) -> Evidence:
    """Evidence that a gradient's root mean square is beyond rounding: here `allowed` is what was seen."""
    size = float(np.sqrt(np.mean(np.square(gradient, dtype=float)))) if np.size(gradient) else 0.0
    return Evidence(trial.bound(name), size, where, "a zero with rounding is smaller than the gradient seen")


@check(
    "GRD-2",
    claim="The gradient of every parameter is the derivative of the mean squared error.",
    source="Ho et al. 2020, Algorithm 1, line 5",
    needs=NEEDS,
    level=2,
    kills=("M62", "N23", "N24", "N25"),
    tolerance="T6: Richardson differences, remainder 1 % of their first correction; T2 and T4 by imitated rounding",
)
def gradient_is_the_derivative(subject: Subject) -> Iterator[Evidence]:
    """GRD-2: along random directions against differences of the oracle, then each entry against reverse mode."""
    trial = gradient_trial_of(subject)
    random = generator("GRD-2")
    for number in range(DIRECTIONS):
        yield _along(trial, _direction(trial, random), f"random direction {number}")
    for name, exact in trial.exact.items():
        reason = "rounding of the backward pass, imitated in float64; see gradient_trial"
        yield compare(trial.gradients.get(name), exact, trial.bound(name), where=name, reason=reason)


def _direction(trial: GradientTrial, random: np.random.Generator) -> dict[str, Array]:
    """A direction in which every parameter's rounding counts alike, so that none is drowned by another.

    Scaled so that no parameter moves by more than its own size (or 1, if it is zero) at step 1.
    """
    raw = {
        name: random.standard_normal(exact.shape) / (max(trial.deviation[name], np.finfo(float).tiny) * exact.size**0.5)
        for name, exact in trial.exact.items()
        if trial.deviation[name]
    }
    moved = max(_size(step) / (_size(trial.weights[name]) or 1.0) for name, step in raw.items())
    return {name: step / moved for name, step in raw.items()}


def _size(array: Array) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=float))))


def _along(trial: GradientTrial, direction: dict[str, Array], where: str) -> Evidence:
    coarse, fine = (_difference(trial, direction, step) for step in (STEP, STEP / 2))
    derivative = (4 * fine - coarse) / 3
    observed = sum(float(np.sum(trial.gradients[name].astype(float) * step)) for name, step in direction.items())
    rounding = DEVIATIONS * sum(trial.deviation[name] ** 2 * np.sum(step**2) for name, step in direction.items()) ** 0.5
    loss = trial.loss(direction, 0.0)
    # The float64 losses round by about as many units as there are layers; the difference divides that by the step.
    remainder = 0.01 * abs(fine - coarse) + 1000 * np.finfo(float).eps * loss / STEP
    return compare(observed, derivative, rounding + remainder, where=where, reason="differences of the oracle's loss")


def _difference(trial: GradientTrial, direction: dict[str, Array], step: float) -> float:
    return (trial.loss(direction, step) - trial.loss(direction, -step)) / (2 * step)
