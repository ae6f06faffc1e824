"""One step back: the posterior q(x_{t−1} | x_t, x_0), and the variance that the reverse process uses.

    mean = sqrt(ā_{t−1}) beta_t/(1 − ā_t) x_0 + sqrt(alpha_t) (1 − ā_{t−1})/(1 − ā_t) x_t,
    variance = beta_t (1 − ā_{t−1})/(1 − ā_t)                                           Ho et al. 2020, Eqs. 6 and 7

Three routes to the same numbers. The oracle multiplies two Gaussians by adding precisions. SciPy's densities must
satisfy Bayes' rule at every t. And along any path x_0 … x_T the chain rule must give the same log-density forwards and
backwards, which ties kernel, marginal, posterior mean and posterior variance together (`paths.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.stats import norm

from verification.check import Evidence, check, generator
from verification.checks_schedule import ROUNDINGS_OF_ENTRY, VARIANCE_FLOOR
from verification.diagnosis import diagnose
from verification.identification import (
    COLUMNS,
    ROUNDINGS_OF_FORMULA,
    as_input,
    compare_linear,
    from_second_row,
    known,
    moments_at_every_t,
    probe,
    relative_variance_error,
)
from verification.oracle import U64, ExactSchedule, exact
from verification.paths import PATHS, both_ways
from verification.properties import hold_for_all
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, holds, smallest, unit_roundoff


@check(
    "POST-1",
    claim="q_posterior is the product of q(x_t | x_{t-1}) and q(x_{t-1} | x_0), in mean and variance, at every t.",
    source="Ho et al. 2020, Eqs. 6 and 7",
    needs=("q_posterior", "tables"),
    level=1,
    kills=("M10", "M24", "P05"),
    tolerance="T3: eight roundings of each term, and what float64 leaves uncertain in each coefficient.",
)
def posterior_coefficients(subject: Subject) -> Iterator[Evidence]:
    """Coefficients of the mean with unit inputs, the variance of every row, and Bayes' rule in SciPy's densities."""
    inputs, schedule, u = probe(subject, generator("POST-1")), exact(subject), unit_roundoff(dtype_of(subject))
    mean, variance = moments_at_every_t(subject, "q_posterior", inputs.first, inputs.second)
    # At t = 0 the coefficient of x_t is 0, for some implementations as the difference of two numbers near 1.
    nothing = np.where(schedule.posterior_coef_x_t == 0, ROUNDINGS_OF_FORMULA * u, 0.0)
    yield compare_linear(
        mean,
        inputs,
        (known(schedule, "posterior_coef_x_0"), known(schedule, "posterior_coef_x_t")),
        subject=subject,
        names=("q_posterior mean", "x_0", "x_t"),
        roundings=ROUNDINGS_OF_FORMULA,
        reason="Eq. 7: 8 u of each term",
        vanishing=nothing[:, None] * np.abs(inputs.second),
    )
    yield _variance_by_row(subject, "q_posterior variance", variance, "posterior_variance")
    if subject.num_timesteps > 1:
        yield from _bayes(subject, schedule)


def _variance_by_row(subject: Subject, name: str, variance: Array, table: str) -> Evidence:
    """The returned variance, for every number of every row, against the table; 0 may be `VARIANCE_FLOOR`."""
    schedule = exact(subject)
    truth, relative = schedule.table(table), relative_variance_error(subject, table)
    bound = np.where(truth == 0, VARIANCE_FLOOR, relative * truth) + smallest(dtype_of(subject))
    return compare(
        variance,
        np.repeat(truth[:, None], COLUMNS, axis=1),
        bound[:, None],
        where=name,
        labels=("t", "column"),
        reason="8 u, and |ln v| u for one that is kept as a logarithm",
        diagnosis=lambda: diagnose(variance[:, 0], table, schedule, truth=truth),
    )


WIDTH = 1.5
"""Bayes' rule is looked at in the posterior mean and this many standard deviations to either side."""


def _bayes(subject: Subject, schedule: ExactSchedule) -> Iterator[Evidence]:
    """Ln q(x_t | x_{t−1}) + ln q(x_{t−1} | x_0) − ln q(x_{t−1} | x_t, x_0) does not depend on x_{t−1}, for t ≥ 1.

    An error d of the posterior mean tilts it, by 2 · 1.5 d over the standard deviation from side to side; a relative
    error r of the variance bends it, by 1.5² r.
    """
    x_0, x_t = _belonging(subject, schedule)
    mean, variance = moments_at_every_t(subject, "q_posterior", as_input(subject, x_0), as_input(subject, x_t))
    middle, deviation = mean.astype(np.float64)[1:], np.sqrt(variance.astype(np.float64))[1:]
    x_0, x_t, zero = x_0[1:], x_t[1:], np.zeros_like(middle)
    points = [middle + side * WIDTH * deviation for side in (-1, 0, 1)]
    left, centre, right = (
        _log_joint(schedule, x_0, x_t, point) - norm.logpdf(point, middle, deviation) for point in points
    )
    # The judge's own float64: distances over a standard deviation carry the rounding of the numbers subtracted.
    sizes = (np.abs(x_t) + np.abs(middle) + np.abs(x_0) + deviation) / deviation
    own = 256 * U64 * (sizes + np.abs(centre) + 1)
    relative = relative_variance_error(subject, "posterior_variance")[1:, None]
    tilt_bound = 2 * WIDTH * _mean_error(subject, schedule, x_0, x_t) / deviation
    where = from_second_row("Bayes' rule")
    yield compare(right - left, zero, tilt_bound + own, where=where, reason="the posterior mean: 8 u of each term")
    bend, reason = right + left - 2 * centre, "the posterior variance: 8 u and |ln v| u"
    yield compare(bend, zero, WIDTH**2 * relative + own, where=where, reason=reason)


def _belonging(subject: Subject, schedule: ExactSchedule) -> tuple[Array, Array]:
    """x_0 and an x_t that it may have become, (T, 4) float64, both exact inputs."""
    x_0, noise = generator("POST-1.bayes").normal(size=(2, subject.num_timesteps, COLUMNS))
    x_t = schedule.sqrt_alpha_bar[:, None] * x_0 + schedule.sqrt_one_minus_alpha_bar[:, None] * noise
    return as_input(subject, x_0).astype(np.float64), as_input(subject, x_t).astype(np.float64)


def _log_joint(schedule: ExactSchedule, x_0: Array, x_t: Array, x: Array) -> Array:
    """Ln q(x_t | x_{t−1}) + ln q(x_{t−1} | x_0) at x_{t−1} = `x`, from t = 1 on."""
    beta, signal = (np.sqrt(table)[1:, None] for table in (schedule.beta, schedule.alpha))
    signal_prev = np.sqrt(schedule.alpha_bar_prev)[1:, None]
    noise_prev = np.sqrt(schedule.one_minus_alpha_bar_prev)[1:, None]
    return np.asarray(norm.logpdf(x_t, signal * x, beta) + norm.logpdf(x, signal_prev * x_0, noise_prev))


def _mean_error(subject: Subject, schedule: ExactSchedule, x_0: Array, x_t: Array) -> Array:
    """How far rounding may take the posterior mean, from t = 1 on."""
    own, error = ROUNDINGS_OF_FORMULA * unit_roundoff(dtype_of(subject)), np.zeros_like(x_0)
    for table, values in (("posterior_coef_x_0", x_0), ("posterior_coef_x_t", x_t)):
        coefficient = known(schedule, table)
        error += ((coefficient.relative + own) * coefficient.value)[1:, None] * np.abs(values)
    return error


@check(
    "POST-2",
    claim="Along any path the log-density is the same forwards, step by step, and backwards by the posterior.",
    source="Ho et al. 2020, Eqs. 2, 4, 6 and 7; the chain rule, as in their appendix A",
    needs=("q_step", "q_sample", "q_posterior", "tables"),
    level=2,
    kills=("M09", "M12", "M13", "M14", "M16", "M24", "P05"),
    tolerance="T2: each log-density with the errors of its mean and variance; they add up over the terms.",
)
def pathwise_bayes(subject: Subject) -> Iterator[Evidence]:
    """Paths that Hypothesis picks: ones the process would take, and ones it never would."""
    yield hold_for_all(PATHS, partial(both_ways, subject), examples=10)


@check(
    "POST-3",
    claim="The posterior variance is positive from the second step on, and the stored log variance is its logarithm.",
    source="Ho et al. 2020, Eq. 7, and their code's posterior_log_variance_clipped",
    needs=("tables", "q_posterior"),
    level=0,
    kills=("M27", "P05"),
    tolerance="T4: exp and log are the judge's, in float64; a rounding of ln v is |ln v| u of v.",
)
def log_variance(subject: Subject) -> Iterator[Evidence]:
    """What q_posterior returns against what the tables store."""
    inputs = probe(subject, generator("POST-3"))
    _, wide = moments_at_every_t(subject, "q_posterior", inputs.first, inputs.second)
    variance = wide.astype(np.float64)[:, 0]
    place = "q_posterior variance"
    yield holds(bool((variance[1:] > 0).all()), where=place, reason="positive for all t >= 1")
    yield holds(
        bool(0 <= variance[0] <= VARIANCE_FLOOR), where=place, reason=f"0 at t = 0, where it is {variance[0]!r}"
    )
    stored = subject.tables().get("posterior_log_variance")
    if stored is not None and subject.num_timesteps > 1:
        logarithm, u = np.asarray(stored, np.float64), unit_roundoff(dtype_of(subject))
        relative = relative_variance_error(subject, "posterior_variance")
        relative = (
            relative + exact(subject).error("posterior_log_variance") + ROUNDINGS_OF_ENTRY * u * np.abs(logarithm)
        )
        yield compare(
            np.exp(logarithm[1:]),
            variance[1:],
            (relative * variance)[1:],
            where=from_second_row("exp(posterior_log_variance)"),
            reason="the same variance, once as a logarithm",
        )
        first, bound = logarithm[:1], ROUNDINGS_OF_ENTRY * u * np.abs(logarithm[1:2])
        yield compare(
            first, logarithm[1:2], bound, where="posterior_log_variance, t=0", reason="the second entry again"
        )


@check(
    "VAR-1",
    claim="The reverse process has the variance it names: finite, positive, between the posterior variance and beta.",
    source="Ho et al. 2020, section 3.2",
    needs=("p_mean_variance", "tables", "variance"),
    level=1,
    kills=("M27", "P07"),
    tolerance="T1: eight roundings, and |ln v| roundings for a variance that is kept as a logarithm.",
)
def named_variance(subject: Subject) -> Iterator[Evidence]:
    """At every t >= 1, for random images and answers of the model; at t = 0 it is 0 or the replaced entry (VAR-2)."""
    inputs, schedule = probe(subject, generator("VAR-1")), exact(subject)
    _, variance = moments_at_every_t(subject, "p_mean_variance", inputs.first, inputs.second)
    yield _first_variance(subject, variance[:1])
    if subject.num_timesteps == 1:
        return
    lowest, highest = schedule.posterior_variance[1:, None], schedule.beta[1:, None]
    seen = variance[1:].astype(np.float64)
    outside = np.maximum(lowest - seen, seen - highest).clip(min=0)
    tables = {"posterior": "posterior_variance", "beta": "beta"}
    table = tables.get(subject.variance, "beta")
    bound = (relative_variance_error(subject, table) * schedule.beta)[1:, None]
    rows = from_second_row("p_mean_variance")
    yield compare(outside, np.zeros_like(seen), bound, where=rows, reason="posterior variance <= variance <= beta")
    if subject.variance in tables:
        truth = np.repeat(schedule.table(table)[1:, None], COLUMNS, axis=1)
        allowed = relative_variance_error(subject, table)[1:, None] * truth
        reason = f'the variance called "{subject.variance}": 8 u, and |ln v| u for one that is kept as a logarithm'
        yield compare(variance[1:], truth, allowed, where=rows, reason=reason)


@check(
    "VAR-2",
    claim="The first log variance is that of the second posterior variance, for the fixed large variance too.",
    source="Ho et al. 2020, section 3.3, and their code: the decoder's width is sqrt(posterior variance at t = 2)",
    needs=("tables", "p_mean_variance"),
    level=0,
    kills=("P01",),
    tolerance="T3: ln of the second posterior variance as float64 leaves it; two roundings of the entry.",
)
def first_log_variance(subject: Subject) -> Iterator[Evidence]:
    """The stored table's first entry, and the variance of p(x_0 | x_1); ln beta_1 where there is no second step."""
    schedule, dtype = exact(subject), dtype_of(subject)
    stored = subject.tables().get("posterior_log_variance")
    if stored is not None:
        truth = schedule.posterior_log_variance[:1]
        bound = schedule.error("posterior_log_variance")[:1] + ROUNDINGS_OF_ENTRY * unit_roundoff(dtype) * np.abs(truth)
        reason = "the logarithm of the second posterior variance, as the first is 0"
        named = "the variance was kept above 1e-20 instead" if abs(float(stored[0]) - np.log(1e-20)) < 0.1 else ""
        yield compare(
            np.asarray(stored)[:1], truth, bound, where="posterior_log_variance, t=0", reason=reason, diagnosis=named
        )
    inputs = probe(subject, generator("VAR-2"))
    _, variance = moments_at_every_t(subject, "p_mean_variance", inputs.first, inputs.second)
    yield _first_variance(subject, variance[:1])


def _first_variance(subject: Subject, seen: Array) -> Evidence:
    """The variance of p(x_0 | x_1), (1, 4): the replaced entry, or 0 by which some say that no noise is added."""
    first = float(np.exp(exact(subject).posterior_log_variance[0]))
    table, step = ("posterior_variance", 1) if subject.num_timesteps > 1 else ("beta", 0)
    relative = float(relative_variance_error(subject, table)[step]) + 16 * U64
    zero = np.shape(seen) == (1, COLUMNS) and bool((np.abs(seen) <= VARIANCE_FLOOR).all())
    expected = np.full((1, COLUMNS), 0.0 if zero else first)
    bound = VARIANCE_FLOOR if zero else relative * first
    return compare(seen, expected, bound, where="p_mean_variance, t=0", reason="0, or the second posterior variance")
