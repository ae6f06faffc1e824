"""Obligations of the network's gradient: every parameter is used, every skip is live, every derivative is right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verification.check import Evidence, check
from verification.gradient_trial import DIRECTIONS, GradientTrial, gradient_trial_of, root_mean_square
from verification.network_rounding import DEVIATIONS
from verification.protocol import Subject
from verification.reverse_mode import Array
from verification.tolerance import compare, holds

NEEDS = ("network", "weights", "network_config", "network_gradient")
STEP = 2e-3
"""Of the differences, relative to the weights. Richardson's extrapolation leaves a remainder of order STEP^4, 2e-11."""


@check(
    "NET-3",
    claim="Every parameter of the network, and every channel of it, has a finite gradient that is not zero.",
    source="Ho et al. 2020, appendix B: every layer lies on a path from the input or t to the output",
    needs=NEEDS,
    level=2,
    kills=("M03", "N19", "N25"),
    tolerance="T0: a derivative is not exactly 0 in floating point, except where its form makes it so; see living",
)
def every_parameter_has_a_gradient(subject: Subject) -> Iterator[Evidence]:
    """NET-3; a dead layer, a detached branch or an unused channel has gradient exactly 0."""
    trial = gradient_trial_of(subject)
    alive = trial.truth.living
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
    kills=("M03", "N25"),
    tolerance="T6: the gradient's size is above what rounding alone could make of a zero",
)
def time_layers_have_a_gradient(subject: Subject) -> Iterator[Evidence]:
    """NET-2, from the side of training."""
    trial = gradient_trial_of(subject)
    for name, gradient in trial.gradients.items():
        if (name.startswith("time_embedding.") or ".time_proj." in name) and trial.truth.living[name].any():
            yield _above_rounding(trial, name, gradient, name)


def _above_rounding(trial: GradientTrial, name: str, gradient: Array, where: str) -> Evidence:
    """Evidence that a gradient's root mean square is beyond rounding: here `allowed` is what was seen."""
    return Evidence(
        trial.truth.bound(name),
        root_mean_square(gradient),
        where,
        "a zero with rounding is smaller than the gradient seen",
    )


@check(
    "GRD-2",
    claim="The gradient of every parameter is the derivative of the mean squared error.",
    source="Ho et al. 2020, Algorithm 1, line 5",
    needs=NEEDS,
    level=2,
    kills=("N22", "N23", "N24", "N25"),
    tolerance="T6: Richardson differences, remainder 1 % of their first correction; T2 and T4 by imitated rounding",
)
def gradient_is_the_derivative(subject: Subject) -> Iterator[Evidence]:
    """GRD-2: each entry against reverse mode, then along random directions against differences of the oracle."""
    trial = gradient_trial_of(subject)
    for name, exact in trial.truth.exact.items():
        reason = "rounding of the backward pass, imitated in float64; see gradient_trial"
        yield compare(trial.gradients.get(name), exact, trial.truth.bound(name), where=name, reason=reason)
    for number in range(DIRECTIONS):
        yield _along(trial, number)


def _along(trial: GradientTrial, number: int) -> Evidence:
    """The derivative along a direction: Richardson's extrapolation of the oracle's central differences."""
    truth, direction = trial.truth, trial.truth.directions[number]
    coarse, fine = (_difference(trial, number, step) for step in (STEP, STEP / 2))
    derivative = (4 * fine - coarse) / 3
    observed = sum(float(np.sum(trial.gradients[name].astype(float) * step)) for name, step in direction.items())
    rounding = DEVIATIONS * sum(truth.deviation[name] ** 2 * np.sum(step**2) for name, step in direction.items()) ** 0.5
    # The float64 losses round by about as many units as there are layers; the difference divides that by the step.
    remainder = 0.01 * abs(fine - coarse) + 1000 * np.finfo(float).eps * truth.loss(number, 0.0) / STEP
    where = f"random direction {number}"
    return compare(observed, derivative, rounding + remainder, where=where, reason="differences of the oracle's loss")


def _difference(trial: GradientTrial, number: int, step: float) -> float:
    return (trial.truth.loss(number, step) - trial.truth.loss(number, -step)) / (2 * step)
