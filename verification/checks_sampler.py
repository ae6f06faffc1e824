"""The ancestral sampler and the DDIM step, identified without statistics.

With the noise given, a sampler's step is an affine map of (x_t, eps_hat, z). Its coefficients are read off for every
t at once (`affine.py`) and compared with those that conditioning Gaussians gives (`oracle_gaussian.py`), so a sigma
that is wrong by one part in a hundred thousand is as plain as a missing square root. Whole loops are watched through
the model they call (`loops.py`), step by step.

    x_{t-1} = mean(x_t, eps_hat) + sigma_t z, no noise at t = 1       Ho et al. 2020, Algorithm 2 and Eqs. 7, 11
    x_prev = sqrt(a') x_0 + sqrt(1 - a' - sigma^2) eps_hat + sigma z  Song et al. 2021 (DDIM), Eqs. 12 and 16
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verification.affine import (
    ALL,
    EPS_HAT_OUTSIDE,
    NOISE,
    NOTHING,
    WITHOUT_NOISE,
    X_T_OUTSIDE,
    Reading,
    read_ancestral,
    read_mean,
    read_neighbours,
)
from verification.check import Evidence, check
from verification.diagnosis import diagnose
from verification.loops import GAUSSIAN, OUTSIDE, REAL, Loop, ancestral_loop
from verification.oracle import U64, ExactSchedule, exact
from verification.oracle_empirical import digits, empirical_mean
from verification.oracle_gaussian import Array, GaussianChain, ancestral_coefficients, output_law, step_variance
from verification.protocol import Subject, dtype_of
from verification.step_evidence import (
    MEAN_NAMES,
    SIGMA_NAMES,
    VARIANCE_NAMES,
    affine_evidence,
    ancestral_next,
    coefficient_evidence,
    column,
    ddim_next,
    order_evidence,
    steps_evidence,
)
from verification.step_rounding import (
    ancestral_bounds,
    ddim_bounds,
    fitting_sigma,
    propagated,
    root_error,
    sigma_error,
)
from verification.tolerance import compare, exactly, unit_roundoff

CERTAIN = 1e-12
"""The empirical model says one image when its average is this close to it: other images weigh less than rounding."""

STEP_TOLERANCE = "T1: eight roundings of what the step adds up; T3: the cancellation in 1 - alpha_bar in float64; "


@check(
    "SMP-1",
    claim="One ancestral step has the posterior mean's coefficients of x_t and of eps_hat at every t, and no offset.",
    source="Ho et al. 2020, Algorithm 2 and Eqs. 7, 11",
    needs=("p_step", "num_timesteps", "variance"),
    level=3,
    kills=("M09", "M10", "M12", "M24", "M32", "M34"),
    tolerance=STEP_TOLERANCE + "relative to each coefficient, because nothing cancels.",
)
def ancestral_step(subject: Subject) -> Iterator[Evidence]:
    """Coefficients of the mean, read off `p_step`."""
    tables, seen = exact(subject), read_ancestral(subject)
    step, bounds = ancestral_coefficients(tables, subject.variance), ancestral_bounds(subject, tables)
    yield from coefficient_evidence(seen, step, bounds, tables, MEAN_NAMES, "p_step")
    yield from affine_evidence(seen, step, bounds, "p_step")


@check(
    "SMP-1.mean",
    claim="p_mean_variance has the same mean as the step, at every t, and the variance that the step's noise has.",
    source="Ho et al. 2020, Eqs. 7, 11 and section 3.2",
    needs=("p_mean_variance", "num_timesteps", "variance"),
    level=3,
    kills=("M09", "M24", "M27", "M32", "M34"),
    tolerance=STEP_TOLERANCE + "the variance may come from a logarithm (T4).",
)
def reverse_transition(subject: Subject) -> Iterator[Evidence]:
    """Coefficients of the mean, and the variance, read off `p_mean_variance`; at t = 0 VAR-1 and VAR-2 judge it."""
    tables, (seen, observed) = exact(subject), read_mean(subject)
    step = ancestral_coefficients(tables, subject.variance)._replace(z=np.zeros(len(tables.beta)))
    bounds = ancestral_bounds(subject, tables)._replace(z=np.zeros(len(tables.beta)))
    yield from coefficient_evidence(seen, step, bounds, tables, MEAN_NAMES, "mean")
    yield from affine_evidence(seen, step, bounds, "mean")
    truth = step_variance(tables, subject.variance)
    truth[0] = 0.0 if observed[0] == 0 else truth[0]
    expected = np.append(observed[:1] if np.isfinite(observed[0]) else truth[:1], truth[1:])
    narrow, wide = (
        2 * np.abs(expected) * error(tables, subject.variance, dtype_of(subject)) for error in (root_error, sigma_error)
    )
    yield compare(
        observed,
        expected,
        fitting_sigma(observed, expected, narrow, wide),
        where="variance",
        labels=("t",),
        reason="sigma^2 from t = 1 on",
        diagnosis=lambda: diagnose(observed, VARIANCE_NAMES[subject.variance], tables, truth=truth),
    )


@check(
    "SMP-2",
    claim="The noise enters each step times sigma_t, into its own pixel only, and not at all at the last step, t = 0.",
    source="Ho et al. 2020, Algorithm 2, lines 3 and 4, and section 3.2",
    needs=("p_step", "num_timesteps", "variance"),
    level=3,
    kills=("M27", "M29", "M30"),
    tolerance="T0 at t = 0; else T1 and T4: sigma may be the exponential of half a stored log variance.",
)
def noise_of_a_step(subject: Subject) -> Iterator[Evidence]:
    """The coefficient of z read off `p_step`."""
    tables, seen = exact(subject), read_ancestral(subject)
    yield exactly(
        seen.output[:1, [NOISE, ALL]],
        seen.output[:1, [NOTHING, WITHOUT_NOISE]],
        where="p_step, last step",
        labels=("t",),
        reason="z = 0 if t = 1 (Algorithm 2): the last step returns the mean, to the bit",
        diagnosis="noise is added at the last step, t = 0",
    )
    step, bounds = ancestral_coefficients(tables, subject.variance), ancestral_bounds(subject, tables)
    narrow = step.z * root_error(tables, subject.variance, dtype_of(subject))
    bounds = bounds._replace(z=fitting_sigma(seen.z, step.z, narrow, bounds.z))
    names = {"z": SIGMA_NAMES[subject.variance]}
    yield from coefficient_evidence(seen, step, bounds, tables, names, "p_step")


@check(
    "SMP-3",
    claim="The whole loop takes each step from t = T-1 down to 0 once, from the last one's result, with its own noise.",
    source="Ho et al. 2020, Algorithm 2",
    needs=("sample", "num_timesteps", "variance"),
    level=3,
    kills=("M29", "M30", "M35", "M37"),
    tolerance="T0 for the order; T1 for each recorded step: the bounds of SMP-1 and SMP-2 times its inputs.",
)
def whole_loop(subject: Subject) -> Iterator[Evidence]:
    """Order and steps of `sample`, seen by the model it calls."""
    loop, timesteps = ancestral_loop(subject), np.arange(subject.num_timesteps)[::-1]
    order = order_evidence(loop, timesteps, "sample")
    yield order
    if order.passed:
        yield exactly(loop.x_t[0], loop.x_T, where="first x_t", reason="the loop starts from the x_T it was given")
        yield loop_evidence(subject, loop, GAUSSIAN, "x_{t-1} is the step of x_t, the model's eps_hat and z[i]")


def loop_evidence(subject: Subject, loop: Loop, images: slice, reason: str, diagnosis: str = "") -> Evidence:
    """Evidence that for `images` each result of a complete ancestral loop is the exact step of what the model saw."""
    tables = exact(subject)
    x_t, eps_hat, z = (values[::-1, images] for values in (loop.x_t, loop.eps_hat, loop.z))  # rows t = 0 … T-1
    sigma = ancestral_coefficients(tables, subject.variance).z
    expected = ancestral_next(subject, tables, x_t, eps_hat) + column(sigma, z) * z
    allowed = propagated(ancestral_bounds(subject, tables), x_t, eps_hat, z)
    return steps_evidence(
        loop, images, expected[::-1], allowed[::-1], what="sample", reason=reason, diagnosis=diagnosis
    )


@check(
    "SMP-5",
    claim="Both solvable corners: with variance beta unit Gaussian data stay unit, else a single point comes back.",
    source="Ho et al. 2020, section 3.2",
    needs=("p_step", "num_timesteps", "variance"),
    level=3,
    kills=("M09", "M24", "M30"),
    tolerance="T2: the bounds of the coefficients, propagated through gain^2 times variance plus sigma^2.",
)
def solvable_corners(subject: Subject) -> Iterator[Evidence]:
    """The law that the subject's own coefficients give under the best model, where it is known without recursion.

    With beta, data N(0, 1): every x_t has variance 1, and the output alpha_1. With the posterior variance, data at one
    point m: x_t - sqrt(alpha_bar) m has variance 1 - alpha_bar, and the output is m.
    """
    tables, seen, unit = exact(subject), read_ancestral(subject), subject.variance == "beta"
    chain = GaussianChain(tables, np.zeros(1), np.array([1.0 if unit else 0.0]))
    gain = seen.x_t + seen.eps_hat * chain.eps_gain[:, 0]
    before, after = chain.marginal_variance[1:, 0], chain.marginal_variance[:-1, 0].copy()
    after[0] = tables.alpha[0] if unit else 0.0
    allowed, of_first_gain = corner_bounds(subject, tables, chain)
    yield compare(
        gain**2 * before + seen.z**2,
        after,
        allowed,
        where="variance after the step",
        labels=("t",),
        reason="variance 1 stays 1, alpha_1 at the end" if unit else "variance 1 - alpha_bar, and 0 at the end",
    )
    # Errors of earlier steps reach the output through gains below 1, and at last through the first gain.
    carried = (chain.reverse_gain[0, 0] + of_first_gain) ** 2 * (allowed[1:].sum() + (not unit))
    yield compare(
        output_law(gain[:, None], seen.z, np.zeros(1), np.ones(1))[1],
        after[:1],
        allowed[0] + carried,
        where="variance of the output",
        reason="all steps composed, from x_T ~ N(0, 1)",
    )


def corner_bounds(subject: Subject, tables: ExactSchedule, chain: GaussianChain) -> tuple[Array, float]:
    """What rounding does to gain^2 times the variance plus sigma^2, (T,), and to the gain at t = 0."""
    step, bounds = ancestral_coefficients(tables, subject.variance), ancestral_bounds(subject, tables)
    weight, before = chain.eps_gain[:, 0], chain.marginal_variance[1:, 0]
    of_gain = bounds.x_t + bounds.eps_hat * weight + 4 * U64 * step.x_t
    of_square = (2 * chain.reverse_gain[:, 0] + of_gain) * of_gain
    allowed = before * of_square + (2 * step.z + bounds.z) * bounds.z + 4 * U64 * before
    return allowed, float(of_gain[0])


@check(
    "SMP-7",
    claim="With clip_x_0 the x_0 behind every step is clipped to [-1, 1] and used, eps with it; without, none is.",
    source="Ho et al. 2020, Eqs. 7 and 9 (the code clips x_0); Song et al. 2021, Eq. 12",
    needs=("p_step", "num_timesteps", "variance", "clip_x_0"),
    level=3,
    kills=("M39",),
    tolerance=STEP_TOLERANCE + "clipping adds nothing.",
)
def clipping(subject: Subject) -> Iterator[Evidence]:
    """Steps whose implied x_0 lies between 2 and 4, and loops under a model that says x_0 = 2 and x_0 = -2."""
    tables, bounds = exact(subject), ancestral_bounds(subject, exact(subject))
    inputs = read_ancestral(subject).probe
    expected = ancestral_next(subject, tables, inputs.x_t, inputs.eps_hat)
    allowed = propagated(bounds, inputs.x_t, inputs.eps_hat, np.zeros_like(inputs.z))
    yield outside_evidence(subject, read_ancestral(subject), expected, allowed, "p_step")
    if hasattr(subject, "p_mean_variance"):
        yield outside_evidence(subject, read_mean(subject)[0], expected, allowed, "p_mean_variance")
    if hasattr(subject, "ddim_step"):
        yield ddim_outside(subject, tables)
    if hasattr(subject, "sample") and len(ancestral_loop(subject).t) == subject.num_timesteps:
        said = "the model says x_0 = 2 and x_0 = -2"
        yield loop_evidence(subject, ancestral_loop(subject), OUTSIDE, said, wrong_clip(subject))


def ddim_outside(subject: Subject, tables: ExactSchedule) -> Evidence:
    """Evidence about clipping in `ddim_step` from t to t - 1, without noise."""
    t = np.arange(subject.num_timesteps)
    seen = read_neighbours(subject, 0.0)
    inputs = seen.probe
    expected = ddim_next(subject, tables, (t, t - 1), 0.0, inputs.x_t, inputs.eps_hat)
    # Clipped or not is no matter of the last digits, so the widest way of programming a step is allowed.
    allowed = propagated(ddim_bounds(subject, tables, t, t - 1, 0.0)[-1], inputs.x_t, inputs.eps_hat, inputs.z)
    return outside_evidence(subject, seen, expected, allowed, "ddim_step")


def outside_evidence(subject: Subject, seen: Reading, expected: Array, allowed: Array, what: str) -> Evidence:
    """Evidence about the two columns of a reading whose implied x_0 is outside [-1, 1]."""
    outside = [X_T_OUTSIDE, EPS_HAT_OUTSIDE]
    return compare(
        seen.output[:, outside],
        expected[:, outside],
        allowed[:, outside],
        where=lambda index: f"{what}, t={index[0]}, x_0 outside by {('x_t', 'eps_hat')[index[1]]}",
        reason="x_0 is clipped to [-1, 1], and eps follows it" if subject.clip_x_0 else "x_0 is not clipped",
        diagnosis=wrong_clip(subject),
    )


def wrong_clip(subject: Subject) -> str:
    """What a wrong result outside [-1, 1] most likely means."""
    if subject.clip_x_0:
        return "clip_x_0 is set, but the clipped x_0 is not what the step uses (in a DDIM step: for x_0 and for eps)"
    return "something is clipped although clip_x_0 is not set"


@check(
    "SMP-10",
    claim="With the best model for real digits, the whole loop returns the very images that the model knows.",
    source="Ho et al. 2020, Algorithm 2; empirical data, where E[x_0 | x_t] is a softmax average of the images",
    needs=("sample", "num_timesteps", "variance"),
    level=3,
    kills=("M09", "M29", "M35"),
    tolerance="T1: the bounds of the last step, and the cast of the model's answer.",
)
def real_digits(subject: Subject) -> Iterator[Evidence]:
    """Two samples of the empirical law of 360 digits, by `sample`."""
    loop, tables = ancestral_loop(subject), exact(subject)
    order = order_evidence(loop, np.arange(subject.num_timesteps)[::-1], "sample")
    yield order
    if not order.passed:
        return
    yield loop_evidence(subject, loop, REAL, "each step of two real images in the making")
    output, x_t, eps_hat = (values[REAL].reshape(2, 64) for values in (loop.output, loop.x_t[-1], loop.eps_hat[-1]))
    nearest = digits()[((output[:, None] - digits()) ** 2).sum(axis=2).argmin(axis=1)]
    said = empirical_mean(tables, digits(), x_t, 0)
    # Only after a large first beta is the model still in doubt at t = 0, and says an average of several images.
    expected = np.where(np.abs(said - nearest).max(axis=1, keepdims=True) < CERTAIN, nearest, said)
    bounds, u = ancestral_bounds(subject, tables), unit_roundoff(dtype_of(subject))
    allowed = bounds.x_t[0] * np.abs(x_t) + bounds.eps_hat[0] * np.abs(eps_hat)
    cast = 2 * u * tables.sqrt_one_minus_alpha_bar[0] / tables.sqrt_alpha_bar[0] * np.abs(eps_hat)
    yield compare(
        output,
        expected,
        allowed + cast + CERTAIN,
        where=lambda index: f"sample {index[0]}, pixel {index[1]}",
        reason="the output is one of the 360 digits",
    )
