"""The log-density of a whole path x_0 … x_T, forwards and backwards.

    Σ_{t≥1} ln q(x_t | x_{t−1})  =  ln q(x_T | x_0) + Σ_{t≥2} ln q(x_{t−1} | x_t, x_0)

holds for every path and every schedule, because both sides are ln q(x_1 … x_T | x_0). The left side is made of
`q_step`, the right side of `q_sample` and `q_posterior`, each with the mean and the variance it really has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies

from verification.check import Evidence
from verification.identification import (
    COLUMNS,
    ROUNDINGS_OF_FORMULA,
    ROUNDINGS_OF_TABLE,
    as_input,
    at_every_t,
    known,
    moments_at_every_t,
    relative_variance_error,
)
from verification.oracle import U64, exact
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, unit_roundoff


class Path(NamedTuple):
    """How to make a path: what kind, of what size, from which seed."""

    kind: str
    size: float
    seed: int


PATHS = strategies.builds(
    Path,
    kind=strategies.sampled_from(("taken by the process", "straight line", "white noise")),
    size=strategies.sampled_from((1.0, 0.0, 0.1, 4.0)),
    seed=strategies.integers(0, 2**16),
)
"""Likely and impossible paths. Simplest first: what fails on every kind is reported on one that the process takes."""


class _Factors(NamedTuple):
    """Gaussian factors of a density at the path's points: what the subject says, and how wrong rounding may make it."""

    x: Array  # (n, 3)
    mean: Array  # (n, 3)
    variance: Array  # (n, 1)
    mean_error: Array  # (n, 3), absolute
    variance_error: Array  # (n, 1), relative


def both_ways(subject: Subject, how: Path) -> Evidence:
    """Evidence that the two sums agree for three paths made as `how` says."""
    x = _points(subject, how)
    forward, forward_error = _log_density(_steps(subject, x))
    marginal, marginal_error = _log_density(_marginal(subject, x))
    backward, backward_error = _log_density(_back(subject, x))
    return compare(
        forward,
        marginal + backward,
        forward_error + marginal_error + backward_error,
        where=f"paths {how.kind}, size {how.size}, seed {how.seed}",
        labels=("path",),
        reason="ln q(x_1 ... x_T | x_0) forwards and backwards: each factor with the errors of its mean and variance",
    )


def _points(subject: Subject, how: Path) -> Array:
    """(T + 1, 3): three paths, exactly representable in the subject's dtype."""
    T, random, schedule = subject.num_timesteps, np.random.default_rng(how.seed), exact(subject)
    noise = how.size * random.normal(size=(T + 1, COLUMNS - 1))
    if how.kind == "straight line":
        noise = np.linspace(noise[0], noise[-1], T + 1)
    if how.kind == "taken by the process":
        for t in range(T):
            noise[t + 1] = np.sqrt(schedule.alpha[t]) * noise[t] + np.sqrt(schedule.beta[t]) * noise[t + 1]
    return as_input(subject, noise).astype(np.float64)


def _log_density(factors: _Factors) -> tuple[Array, Array]:
    """Sum of the factors' logarithms for each path, (3,), and how wrong it may be."""
    distance = factors.x - factors.mean
    square = distance**2 / factors.variance
    logs = -(square + np.log(2 * np.pi * factors.variance)) / 2
    by_mean = (np.abs(distance) + factors.mean_error) * factors.mean_error / factors.variance
    by_variance = factors.variance_error * (1 + square) / 2 * (1 + 2 * factors.variance_error)
    # The judge's own sum, in float64: pairwise, but n roundings are allowed for.
    own = U64 * (8 + len(logs)) * (np.abs(logs) + square)
    return logs.sum(axis=0), (by_mean + by_variance + own).sum(axis=0)


def _with_unit(subject: Subject, values: Array) -> tuple[Array, Array]:
    """Inputs (T, 4) for a mean at `values` (T, 3) and, in the last column, the scale of the noise."""
    rows = len(values)
    first = np.hstack([values, np.zeros((rows, 1))])
    second = np.hstack([np.zeros_like(values), np.ones((rows, 1))])
    return as_input(subject, first), as_input(subject, second)


def _kernel(subject: Subject, method: str, start: Array, end: Array, tables: tuple[str, str]) -> _Factors:
    """`q_step` or `q_sample` from `start` (T, 3), as factors at `end` (T, 3)."""
    schedule, own = exact(subject), ROUNDINGS_OF_TABLE * unit_roundoff(dtype_of(subject)) + 2 * U64
    first, second = _with_unit(subject, start)
    output = at_every_t(subject, method, first, second).astype(np.float64)
    signal, noise = (known(schedule, table).relative[:, None] for table in tables)
    mean = output[:, :-1]
    return _Factors(end, mean, output[:, -1:] ** 2, (signal / 2 + own) * np.abs(mean), noise + 2 * own)


def _steps(subject: Subject, x: Array) -> _Factors:
    return _kernel(subject, "q_step", x[:-1], x[1:], ("alpha", "beta"))


def _marginal(subject: Subject, x: Array) -> _Factors:
    """The last row only; the others are asked for so that the call has the shape of the rest."""
    start, end = np.repeat(x[:1], len(x) - 1, axis=0), np.repeat(x[-1:], len(x) - 1, axis=0)
    every = _kernel(subject, "q_sample", start, end, ("alpha_bar", "one_minus_alpha_bar"))
    return _Factors(*(part[-1:] for part in every))


def _back(subject: Subject, x: Array) -> _Factors:
    """`q_posterior` for t >= 1; at t = 0 it has variance 0 and no density."""
    T, schedule, u = subject.num_timesteps, exact(subject), unit_roundoff(dtype_of(subject))
    x_0 = np.repeat(x[:1], T, axis=0)
    first, second = (_with_unit(subject, values)[0] for values in (x_0, x[1:]))
    mean, variance = moments_at_every_t(subject, "q_posterior", first, second)
    error = np.zeros_like(x_0)
    for table, values in (("posterior_coef_x_0", x_0), ("posterior_coef_x_t", x[1:])):
        coefficient = known(schedule, table)
        relative = coefficient.relative + ROUNDINGS_OF_FORMULA * u + 2 * U64
        error += (relative * coefficient.value)[:, None] * np.abs(values)
    spread = relative_variance_error(subject, "posterior_variance")[1:, None]
    return _Factors(x[1:-1], mean.astype(np.float64)[1:, :-1], variance.astype(np.float64)[1:, :1], error[1:], spread)
