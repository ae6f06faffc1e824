"""What the tables and the posterior owe to each other, whatever the schedule is: orderings, products, sums.

Nothing is compared with a formula for beta here. ā_t is a product, so ā between two steps is the product of what lies
between; x_{t−1} given x_t and x_0 must, averaged over x_t, be x_{t−1} given x_0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from hypothesis import strategies

from verification.check import Evidence, check, generator
from verification.checks_schedule import ROUNDINGS_OF_ENTRY, VARIANCE_FLOOR
from verification.identification import ROUNDINGS_OF_FORMULA, at_every_t, known, moments_at_every_t, probe
from verification.oracle import SCHEDULES, U64, exact
from verification.properties import hold_for_all
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, holds, smallest, unit_roundoff


@check(
    "SCH-7",
    claim="The posterior and the marginals fit: from x_t's mean and variance given x_0 it recovers those of x_{t-1}.",
    source="Ho et al. 2020, Eqs. 4 and 7; the laws of total expectation and variance",
    needs=("q_sample", "q_posterior", "tables"),
    level=2,
    kills=("M09", "M10", "M12", "M13", "M14", "M24"),
    tolerance="T3: each coefficient with its eight roundings and what float64 leaves in its table, times the terms.",
)
def sum_rule(subject: Subject) -> Iterator[Evidence]:
    """coef_x_0 + coef_x_t sqrt(ā_t) = sqrt(ā_{t−1}) and coef_x_t² (1 − ā_t) + variance = 1 − ā_{t−1}, as computed."""
    inputs, schedule = probe(subject, generator("SCH-7")), exact(subject)
    marginal = at_every_t(subject, "q_sample", inputs.first, inputs.second).astype(np.float64)
    mean, wide = moments_at_every_t(subject, "q_posterior", inputs.first, inputs.second)
    of_x_0, of_x_t = mean.astype(np.float64)[:, :2].T
    variance, (signal, noise) = wide.astype(np.float64)[:, 0], marginal[:, :2].T
    own = ROUNDINGS_OF_FORMULA * unit_roundoff(dtype_of(subject)) + 2 * U64
    names = ("posterior_coef_x_0", "posterior_coef_x_t", "posterior_variance", *MARGINAL)
    errors = {name: own + known(schedule, name).relative for name in names}
    first = schedule.posterior_coef_x_t == 0  # where coefficient and variance are 0 and relative errors say nothing
    yield _sum(
        "mean",
        (of_x_0, errors["posterior_coef_x_0"]),
        (of_x_t * signal, errors["posterior_coef_x_t"] + errors[MARGINAL[0]]),
        _shifted(1.0, signal, errors[MARGINAL[0]]),
        np.where(first, own, 0),
    )
    yield _sum(
        "variance",
        (variance, errors["posterior_variance"]),
        (of_x_t**2 * noise**2, 2 * errors["posterior_coef_x_t"] + 2 * errors[MARGINAL[1]]),
        _shifted(0.0, noise**2, 2 * errors[MARGINAL[1]]),
        np.where(first, own**2 + VARIANCE_FLOOR, 0),
    )


MARGINAL = ("sqrt_alpha_bar", "sqrt_one_minus_alpha_bar")
_Term = tuple[Array, Array]  # (T,) values, and their relative errors


def _shifted(first: float, values: Array, errors: Array) -> _Term:
    """The same a step earlier; at t = 0 the exact value `first`."""
    return np.append(first, values[:-1]), np.append(0.0, errors[:-1])


def _sum(what: str, one: _Term, other: _Term, total: _Term, vanishing: Array) -> Evidence:
    """Evidence that `one` + `other` is the `total`, each with its relative error, and `vanishing` besides."""
    bound = sum(np.abs(values) * error for values, error in (one, other, total))
    reason = f"the {what} at t - 1 from that at t: each term with the errors of its factors"
    return compare(one[0] + other[0], total[0], bound + vanishing, where=what, labels=("t",), reason=reason)


@check(
    "SCH-4",
    claim="0 < beta < 1; alpha_bar falls, between any two steps by the product of 1 - beta; the posterior variance is "
    "at most beta, and 0 at the first step.",
    source="Ho et al. 2020, Eqs. 2, 4 and 7",
    needs=("tables",),
    level=2,
    kills=("M09", "M08"),
    tolerance="T2: a product of n factors; each table entry rounded twice, each stored beta once.",
)
def invariants(subject: Subject) -> Iterator[Evidence]:
    """On the subject's tables, between steps that Hypothesis picks, and for schedules that it picks."""
    tables = {name: np.asarray(table, np.float64) for name, table in subject.tables().items()}
    yield from _orderings(subject, tables)
    t = strategies.integers(0, subject.num_timesteps - 1)
    yield hold_for_all(
        strategies.tuples(t, t), lambda ends: _product_between(subject, tables, min(ends), max(ends) + 1), examples=40
    )
    if hasattr(subject, "variant"):
        others = strategies.tuples(strategies.sampled_from(SCHEDULES), strategies.integers(1, 300))
        yield hold_for_all(others, partial(_worst_of_variant, subject), examples=15)


def _orderings(subject: Subject, tables: Mapping[str, Array]) -> Iterator[Evidence]:
    """Everything about single entries and neighbours, for all t."""
    u, tiny = unit_roundoff(dtype_of(subject)), smallest(dtype_of(subject))
    beta, alpha_bar = tables["beta"], tables["alpha_bar"]
    yield _everywhere((beta > 0) & (beta < 1), "0 < beta < 1", beta)
    yield _everywhere((alpha_bar > 0) & (alpha_bar <= 1), "0 < alpha_bar <= 1", alpha_bar)
    # A beta below the rounding of its table cannot move it.
    falls = (np.diff(alpha_bar) < 0) | (beta[1:] <= 4 * u)
    yield _everywhere(np.append(True, falls), "alpha_bar[t] < alpha_bar[t-1]", alpha_bar)
    before = np.append(1.0, alpha_bar[:-1])
    step = (1 - beta) * before
    # An alpha_bar kept as a sum of logarithms carries roundings of that sum, which is up to 80.
    own = 8 * U64 * (1 + np.abs(np.log(np.maximum(step, tiny))))
    bound = (2 * ROUNDINGS_OF_ENTRY * u + own) * step + u * beta * before + 2 * tiny
    reason = "alpha_bar_t = (1 - beta_t) alpha_bar_{t-1}: three stored numbers, each rounded"
    yield compare(alpha_bar, step, bound, where="alpha_bar", labels=("t",), reason=reason)
    if "posterior_variance" in tables:
        excess = np.maximum(tables["posterior_variance"] - beta, 0)
        bound, reason = ROUNDINGS_OF_ENTRY * u * beta + 8 * U64 * beta, "at most beta, to two roundings"
        yield compare(excess, np.zeros_like(beta), bound, where="posterior_variance", labels=("t",), reason=reason)
        first = float(tables["posterior_variance"][0])
        yield Evidence(abs(first), VARIANCE_FLOOR, "posterior_variance, t=0", "x_0 is known: nothing is left to guess")


def _everywhere(condition: Array, claim: str, values: Array) -> Evidence:
    """Evidence that `condition` (T,) holds at every t, naming the first t where it does not."""
    failing = np.flatnonzero(~condition)
    if not len(failing):
        return holds(True, where=claim, reason="at every t")
    t = int(failing[0])
    return holds(
        False, where=f"{claim}, t={t}", reason=f"{len(failing)} of {len(values)} violate it, first {values[t]!r}"
    )


def _product_between(subject: Subject, tables: Mapping[str, Array], start: int, stop: int) -> Evidence:
    """ā after `stop` steps is ā after `start` steps (0: 1) times the alphas between."""
    u, beta = unit_roundoff(dtype_of(subject)), tables["beta"][start:stop]
    alpha_bar = np.append(1.0, tables["alpha_bar"])
    product = alpha_bar[start] * math.exp(math.fsum(np.log1p(-beta)))
    betas = float(np.sum((u * beta + 8 * U64) / (1 - beta)))
    relative = 2 * ROUNDINGS_OF_ENTRY * u + betas + (8 + len(beta)) * U64 * abs(math.log(product))
    bound = relative * product + 2 * smallest(dtype_of(subject))
    where, reason = f"alpha_bar from step {start} to step {stop}", "the ends are rounded twice, each beta between once"
    return compare(alpha_bar[stop], product, bound, where=where, reason=reason)


def _worst_of_variant(subject: Subject, choice: tuple[str, int]) -> Evidence:
    """The invariants on the subject's tables for another schedule and T; a refusal is SCH-10's affair."""
    name, T = choice
    try:
        other = subject.variant(schedule=name, num_timesteps=T)
    except Exception as error:  # noqa: BLE001 - any exception is a refusal
        return holds(True, where=f"{name}, T = {T}", reason=f"refused: {error}")
    tables = {table: np.asarray(values, np.float64) for table, values in other.tables().items()}
    found = [*_orderings(other, tables), _product_between(other, tables, 0, T)]
    return max(found, key=lambda evidence: (not evidence.passed, evidence.ratio))
