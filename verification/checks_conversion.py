"""eps, x_0, v and the score are four ways to say the same about x_t; here each is turned into each other.

    x_0 = (x_t − sqrt(1 − ā) eps)/sqrt(ā)            eps = (x_t − sqrt(ā) x_0)/sqrt(1 − ā)        Ho et al. 2020, Eq. 4
    v = sqrt(ā) eps − sqrt(1 − ā) x_0                x_0 = sqrt(ā) x_t − sqrt(1 − ā) v            Salimans & Ho 2022
    score = −eps/sqrt(1 − ā)

Dividing by sqrt(ā) or sqrt(1 − ā) magnifies whatever rounding x_t carries, 157 times at the end of the paper's
schedule, 100 times at its beginning; the bounds follow that for each t.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from verification.check import Evidence, check, generator
from verification.identification import (
    COLUMNS,
    ROUNDINGS_OF_FORMULA,
    Known,
    as_input,
    at_every_t,
    compare_linear,
    known,
    probe,
)
from verification.oracle import U64, exact
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, smallest, unit_roundoff

INPUTS = {
    "predict_x_0": ("x_t", "eps"),
    "predict_eps": ("x_t", "x_0"),
    "velocity": ("x_0", "eps"),
    "predict_x_0_from_v": ("x_t", "v"),
    "score": ("x_t", "eps"),
}
"""The methods, and the two arrays that each combines."""


def coefficients(subject: Subject) -> dict[str, tuple[Known, Known]]:
    """What each method multiplies its two arrays with."""
    schedule = exact(subject)
    signal, noise = known(schedule, "sqrt_alpha_bar"), known(schedule, "sqrt_one_minus_alpha_bar")
    nothing = Known("0", np.zeros(schedule.T), np.zeros(schedule.T))
    return {
        "predict_x_0": (signal.inverse(), -(noise / signal)),
        "predict_eps": (noise.inverse(), -(signal / noise)),
        "velocity": (-noise, signal),
        "predict_x_0_from_v": (signal, -noise),
        "score": (nothing, -noise.inverse()),
    }


@check(
    "CONV-1",
    claim="eps, x_0, v and the score convert into each other: every formula at every t, all twelve pairs, round trips.",
    source="Ho et al. 2020, Eq. 4; Salimans & Ho 2022, section 4; score = grad ln q(x_t | x_0)",
    needs=(*INPUTS, "tables"),
    level=2,
    kills=("M12", "M47", "P06"),
    tolerance="T3: eight roundings of each term, magnified by 1/sqrt(alpha_bar) or 1/sqrt(1 - alpha_bar).",
)
def conversions(subject: Subject) -> Iterator[Evidence]:
    """Coefficients with unit inputs; then values that belong together, sent along every route."""
    inputs, u = probe(subject, generator("CONV-1")), unit_roundoff(dtype_of(subject))
    of_noise = exact(subject).one_minus_alpha_bar[:, None]
    for method, (first, second) in coefficients(subject).items():
        # A score that goes by way of x_0 has x_t twice, with coefficients that cancel: 1 − sqrt(ā)/sqrt(ā), over 1 − ā.
        cancelled = ROUNDINGS_OF_FORMULA * u * np.abs(inputs.first) / of_noise if method == "score" else 0.0
        yield compare_linear(
            at_every_t(subject, method, inputs.first, inputs.second),
            inputs,
            (first, second),
            subject=subject,
            names=(method, *INPUTS[method]),
            roundings=ROUNDINGS_OF_FORMULA,
            reason=f"{first.formula} and {second.formula}: 8 u of each term",
            vanishing=cancelled,
        )
    yield from _routes(subject)


@dataclass(frozen=True)
class _Value:
    """An array (T, 4) that the subject computed, and how far rounding may have taken it from the truth."""

    seen: Array
    error: Array


@dataclass(frozen=True)
class _Truth:
    """x_t and the four quantities that belong to it, (T, 4) float64 each, related exactly as far as float64 goes."""

    x_t: Array
    quantities: dict[str, Array]


def _truth(subject: Subject) -> _Truth:
    """x_t and eps are exact inputs; the rest follows from them."""
    random, schedule = generator("CONV-1.routes"), exact(subject)
    signal, noise = schedule.sqrt_alpha_bar[:, None], schedule.sqrt_one_minus_alpha_bar[:, None]
    drawn = random.normal(size=(2, subject.num_timesteps, COLUMNS))
    eps = as_input(subject, drawn[0]).astype(np.float64)
    x_t = as_input(subject, signal * drawn[1] + noise * eps).astype(np.float64)
    x_0 = (x_t - noise * eps) / signal
    quantities = {"eps": eps, "x_0": x_0, "v": signal * eps - noise * x_0, "score": -eps / noise}
    return _Truth(x_t, quantities)


def _routes(subject: Subject) -> Iterator[Evidence]:
    """From each of the four to each other, and back to itself, by way of x_0 and eps."""
    truth, noise = _truth(subject), exact(subject).sqrt_one_minus_alpha_bar[:, None]
    u = unit_roundoff(dtype_of(subject))
    for source in ("eps", "x_0", "v", "score"):
        start = _given(subject, truth.quantities[source])
        if source == "score":  # the protocol has no way back from the score; the judge's is exact to two roundings
            start = _given(subject, -start.seen * noise, error=start.error * noise + 2 * u * np.abs(start.seen * noise))
        x_0 = start
        if source != "x_0":
            method = "predict_x_0_from_v" if source == "v" else "predict_x_0"
            x_0 = _applied(subject, method, _exactly(truth.x_t), start)
        eps = _applied(subject, "predict_eps", _exactly(truth.x_t), x_0)
        back = _applied(subject, "predict_x_0", _exactly(truth.x_t), eps)
        ends = {
            "x_0": back if source == "x_0" else x_0,
            "eps": eps,
            "v": _applied(subject, "velocity", x_0, eps),
            "score": _applied(subject, "score", _exactly(truth.x_t), eps),
        }
        for end, value in ends.items():
            yield _arrived(truth.quantities[end], value, f"from {source} to {end}")


def _exactly(values: Array) -> _Value:
    return _Value(values, np.zeros_like(values))


def _given(subject: Subject, values: Array, *, error: Array | float = 0.0) -> _Value:
    """`values` as an input of the subject's dtype, with the rounding that this costs."""
    rounded = as_input(subject, values).astype(np.float64)
    return _Value(rounded, error + unit_roundoff(dtype_of(subject)) * np.abs(values) + 4 * U64 * np.abs(values))


def _applied(subject: Subject, method: str, first: _Value, second: _Value) -> _Value:
    """The method's output, and what the errors of its inputs become."""
    u, dtype = unit_roundoff(dtype_of(subject)), dtype_of(subject)
    output = at_every_t(subject, method, as_input(subject, first.seen), as_input(subject, second.seen))
    error: Array = np.zeros_like(first.seen)
    for coefficient, value in zip(coefficients(subject)[method], (first, second), strict=True):
        size = np.abs(coefficient.value)[:, None]
        own = coefficient.relative[:, None] + ROUNDINGS_OF_FORMULA * u + 3 * U64
        error = error + size * (own * (np.abs(value.seen) + value.error) + value.error)
    if method == "score":
        error = error + ROUNDINGS_OF_FORMULA * u * np.abs(first.seen) / exact(subject).one_minus_alpha_bar[:, None]
    return _Value(output.astype(np.float64), error + ROUNDINGS_OF_FORMULA * smallest(dtype))


def _arrived(truth: Array, value: _Value, route: str) -> Evidence:
    """Evidence for one route. The truth is float64 too; what it lost to cancellation the route's error allows for."""
    return compare(
        value.seen,
        truth,
        value.error + 16 * U64 * np.abs(truth),
        where=route,
        labels=("t", "column"),
        reason="8 u of each term at every stop, magnified by the stops after it",
    )


@check(
    "CONV-2",
    claim="The mean of the reverse step is the same from eps, from x_0, from v and from the score.",
    source="Ho et al. 2020, Eqs. 7 and 11; Tweedie's formula for the score",
    needs=("p_mean_variance", "q_posterior", "predict_x_0", "predict_x_0_from_v", "score", "tables"),
    level=2,
    kills=("M10", "M24", "M32", "M34", "M47"),
    tolerance="T3: eight roundings of each term; an error of x_0 counts by its weight in the mean.",
)
def mean_forms(subject: Subject) -> Iterator[Evidence]:
    """Five ways to the mean, for images inside [−1, 1], where clipping changes nothing that matters."""
    case = _mean_case(subject)
    x_t, eps, v = (as_input(subject, values) for values in (case.x_t, case.eps, case.v))
    x_0 = as_input(subject, case.x_0)
    method = partial(at_every_t, subject)
    score = np.asarray(method("score", x_t, eps), np.float64)
    means = {
        "eps, p_mean_variance": method("p_mean_variance", x_t, eps),
        "eps, predict_x_0 and q_posterior": method("q_posterior", method("predict_x_0", x_t, eps), x_t),
        "x_0, q_posterior": method("q_posterior", x_0, x_t),
        "v, predict_x_0_from_v and q_posterior": method("q_posterior", method("predict_x_0_from_v", x_t, v), x_t),
        "the score": (case.x_t + case.beta * score) / np.sqrt(case.alpha),
    }
    for form, mean in means.items():
        yield compare(
            mean,
            case.mean,
            case.bound,
            where=f"mean from {form}",
            labels=("t", "column"),
            reason="8 u of each term in x_0, by its weight in the mean, and of each term of the mean",
        )


@dataclass(frozen=True)
class _MeanCase:
    """Inputs (T, 4) float64 that belong together, the mean they imply, and what every way to it may be off by."""

    x_t: Array
    eps: Array
    x_0: Array
    v: Array
    mean: Array
    bound: Array
    alpha: Array
    beta: Array


def _mean_case(subject: Subject) -> _MeanCase:
    random, s, u = generator("CONV-2"), exact(subject), unit_roundoff(dtype_of(subject))
    shape = (subject.num_timesteps, COLUMNS)
    alpha, beta = s.alpha[:, None], s.beta[:, None]
    signal, noise = s.sqrt_alpha_bar[:, None], s.sqrt_one_minus_alpha_bar[:, None]
    image = random.uniform(-0.9, 0.9, size=shape)
    eps = as_input(subject, random.normal(size=shape)).astype(np.float64)
    x_t = as_input(subject, signal * image + noise * eps).astype(np.float64)
    # x_t is rounded, so the x_0 that belongs to it and eps is not quite the image, and far from it where x_t forgot it.
    x_0 = (x_t - noise * eps) / signal
    v = signal * eps - noise * x_0
    weight, kept = s.posterior_coef_x_0[:, None], s.posterior_coef_x_t[:, None]
    tables = ("sqrt_alpha_bar", "sqrt_one_minus_alpha_bar", "posterior_coef_x_0", "posterior_coef_x_t", "beta")
    # Three stops at most (an input rounded, x_0, the mean), each with the roundings of a formula.
    of_tables = np.sum([known(s, table).relative for table in tables], axis=0)[:, None]
    own = 2 * ROUNDINGS_OF_FORMULA * u + 16 * U64 + of_tables
    in_x_0 = (np.abs(x_t) + noise * np.abs(eps)) / signal + np.abs(x_0) + np.abs(v)
    bound = own * (weight * in_x_0 + (kept + weight) * np.abs(x_t))
    mean = (x_t - beta / noise * eps) / np.sqrt(alpha)
    return _MeanCase(x_t, eps, x_0, v, mean, bound + 32 * smallest(dtype_of(subject)), alpha, beta)


@check(
    "CONV-3",
    claim="(x_t, v) is (x_0, eps) rotated, by the angle whose cosine is sqrt(alpha_bar_t).",
    source="Salimans & Ho 2022, section 4 and appendix D",
    needs=("q_sample", "velocity", "tables"),
    level=2,
    kills=("P06", "M12", "M13", "M14"),
    tolerance="T1: eight roundings of the terms of x_t and of v, times what they are multiplied with.",
)
def velocity_is_a_rotation(subject: Subject) -> Iterator[Evidence]:
    """Squares add up to the same; the oriented area that two pairs span is the same, which a wrong sign turns over."""
    inputs, schedule, u = probe(subject, generator("CONV-3")), exact(subject), unit_roundoff(dtype_of(subject))
    x_0, eps = inputs.first.astype(np.float64), inputs.second.astype(np.float64)
    x_t = np.asarray(at_every_t(subject, "q_sample", inputs.first, inputs.second), np.float64)
    v = np.asarray(at_every_t(subject, "velocity", inputs.first, inputs.second), np.float64)
    tables = ("sqrt_alpha_bar", "sqrt_one_minus_alpha_bar")
    of_tables = np.sum([known(schedule, table).relative for table in tables], axis=0)[:, None]
    # Neither coefficient exceeds 1, so the terms are at most the inputs.
    error = (ROUNDINGS_OF_FORMULA * u + 4 * U64 + of_tables) * (np.abs(x_0) + np.abs(eps))
    yield compare(
        x_t**2 + v**2,
        x_0**2 + eps**2,
        2 * error * (np.abs(x_t) + np.abs(v)) + 2 * error**2,
        where="x_t^2 + v^2",
        labels=("t", "column"),
        reason="a rotation keeps lengths: 8 u of each term",
    )
    turned = [np.roll(array, 1, axis=1) for array in (x_t, v, x_0, eps, error)]
    yield compare(
        x_t * turned[1] - v * turned[0],
        x_0 * turned[3] - eps * turned[2],
        error * (np.abs(turned[0]) + np.abs(turned[1])) + turned[4] * (np.abs(x_t) + np.abs(v)) + 2 * error * turned[4],
        where="oriented area of two pairs (x_t, v)",
        labels=("t", "column"),
        reason="a rotation keeps orientation: 8 u of each term",
    )
