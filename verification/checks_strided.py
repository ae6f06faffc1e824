"""DDIM and samplers that take fewer steps: every step of every stride, and the law of what comes out.

A strided sampler visits `timesteps(n)`, T - 1 first and 0 last, and from each goes to the next with `ddim_step`. All
different pairs (t, t_prev) of all n are some tens of thousands for T = 1000, so all of them are identified, in a few
dozen calls of one shape, and the output variance for Gaussian data follows for every n by composing what was read off.

    x_prev = sqrt(a') x_0 + sqrt(1 - a' - sigma^2) eps_hat + sigma z,
    sigma^2 = eta^2 (1 - a') / (1 - a) (1 - a / a')                     Song et al. 2021 (DDIM), Eqs. 12 and 16
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from verification.affine import ALL, NOISE, NOTHING, WITHOUT_NOISE, Reading, read_ddim, read_neighbours, remembered
from verification.check import Evidence, check
from verification.loops import Loop, strided_loop
from verification.oracle import U64, ExactSchedule, exact
from verification.oracle_gaussian import (
    Array,
    GaussianChain,
    Integers,
    StepCoefficients,
    ancestral_coefficients,
    ddim_coefficients,
    log_ratio,
)
from verification.protocol import Subject
from verification.step_evidence import (
    ETAS,
    affine_evidence,
    coefficient_evidence,
    column,
    ddim_next,
    fitting_bounds,
    neighbours,
    order_evidence,
    short_list,
    steps_evidence,
)
from verification.step_rounding import StepBounds, ddim_bounds, propagated
from verification.tolerance import compare, exactly, holds

NAMES = {"x_t": "recip_sqrt_alpha", "eps_hat": "p_mean_coef_eps", "z": "sqrt_posterior_variance"}
WATCHED_STEPS = (1, 2, 10, 25)
"""Numbers of steps for which the loop itself is run; all others differ from them only in the list they follow."""

COMPOSED_STEPS = 64
"""The output law is composed for every n up to this and as many beyond; the steps of all n are identified."""

VARIANCES = np.array([0.25, 1.0, 4.0])


@check(
    "SMP-6",
    claim="One DDIM step to t - 1 has its coefficients at every t; eta = 1 is the ancestral step, eta = 0 ignores z.",
    source="Song et al. 2021, Eqs. 12 and 16",
    needs=("ddim_step", "num_timesteps"),
    level=3,
    kills=("M09", "M32", "M43", "M45"),
    tolerance="T1: eight roundings, relative to the parts of a coefficient that is a difference unless the subject is "
    "evidently better; T3 for 1 - alpha_bar, and for 1 - alpha_bar_t / alpha_bar_prev in its own type.",
)
def ddim_step(subject: Subject) -> Iterator[Evidence]:
    """Coefficients of `ddim_step` between neighbours for three values of eta."""
    tables = exact(subject)
    for eta in ETAS:
        seen, step, bounds = neighbours(subject, tables, eta)
        yield from coefficient_evidence(seen, step, bounds, tables, NAMES, f"ddim_step, eta={eta:g}")
        yield from affine_evidence(seen, step, bounds, f"ddim_step, eta={eta:g}")
    seen, _, bounds = neighbours(subject, tables, 1.0)
    ancestral = ancestral_coefficients(tables, "posterior")
    yield from coefficient_evidence(seen, ancestral, bounds, tables, NAMES, "ddim_step, eta=1, as an ancestral step")
    yield from ddim_noise(subject)


def ddim_noise(subject: Subject) -> Iterator[Evidence]:
    """Evidence that z does nothing where sigma is 0: for eta = 0, and in the step to x_0."""
    deterministic, last = read_neighbours(subject, 0.0).output, read_neighbours(subject, 1.0).output[:1]
    for output, where in ((deterministic, "ddim_step, eta=0"), (last, "ddim_step to x_0, eta=1")):
        yield exactly(
            output[:, [NOISE, ALL]],
            output[:, [NOTHING, WITHOUT_NOISE]],
            where=where,
            labels=("t",),
            reason="sigma is 0, so z changes nothing, to the bit",
            diagnosis="noise is added although sigma is 0",
        )


@dataclass(frozen=True)
class Strides:
    """The steps of every strided sampler of a subject: the lists for n = 1 … T, and the different pairs in them.

    `pair_of[n - 1]` are the numbers of the pairs that n steps use, in the order they are taken.
    """

    lists: list[Integers]
    t: Integers
    t_prev: Integers
    pair_of: list[Integers]


def strides(subject: Subject) -> Strides:
    """All of `timesteps(n)`, which must be well formed, and the pairs (t, t_prev) in them; the last goes to x_0, -1."""

    def collect() -> Strides:
        T = subject.num_timesteps
        lists = [np.asarray(subject.timesteps(n)) for n in range(1, T + 1)]
        codes = np.concatenate([each * (T + 1) + np.append(each[1:], -1) + 1 for each in lists])
        pairs, numbers = np.unique(codes, return_inverse=True)
        ends = np.cumsum([len(each) for each in lists])[:-1]
        return Strides(lists, pairs // (T + 1), pairs % (T + 1) - 1, np.split(numbers, ends))

    return remembered(subject, "strides", collect)


def well_formed(timesteps: Integers, n: int, T: int) -> bool:
    """Whether `timesteps` are n strictly decreasing whole numbers from T - 1 down to 0 (n = 1: T - 1 alone)."""
    if timesteps.shape != (n,) or timesteps.dtype.kind not in "iu" or timesteps[0] != T - 1:
        return False
    return bool((np.diff(timesteps.astype(np.int64)) < 0).all()) and (n == 1 or timesteps[-1] == 0)


def malformed(subject: Subject) -> list[str]:
    """The lists that are not what STR-1 says, each in words."""
    T = subject.num_timesteps
    lists = ((n, np.asarray(subject.timesteps(n))) for n in range(1, T + 1))
    return [
        f"timesteps({n}) is {short_list(each.ravel())} with shape {each.shape}"
        for n, each in lists
        if not well_formed(each, n, T)
    ]


def no_strides(subject: Subject) -> Iterator[Evidence]:
    """Evidence, only if it fails, that there are lists whose steps can be judged."""
    wrong = malformed(subject)
    if wrong:
        yield holds(False, where=wrong[0], reason=f"{len(wrong)} lists are not n steps from T-1 down to 0, see STR-1")


@check(
    "STR-1",
    claim="For every n from 1 to T, timesteps(n) is n strictly decreasing indices, T-1 first and 0 last (n = 1: T-1).",
    source="Song et al. 2021, section 4.2 (a sub-sequence of 1 ... T); the first step must start from pure noise",
    needs=("timesteps", "num_timesteps"),
    level=1,
    kills=("P08",),
    tolerance="T0: whole numbers.",
)
def strided_timesteps(subject: Subject) -> Iterator[Evidence]:
    """Every list there is."""
    wrong, T = malformed(subject), subject.num_timesteps
    yield holds(
        not wrong,
        where=wrong[0] if wrong else f"n=1 to {T}",
        reason=f"{len(wrong)} of {T} lists are not n whole numbers falling from {T - 1} to 0",
    )


@check(
    "STR-2",
    claim="A strided loop visits its own list in order and goes from each entry to the next one, to x_0 only last.",
    source="Song et al. 2021, Eq. 12 and section 4.2",
    needs=("sample_strided", "timesteps", "num_timesteps", "clip_x_0"),
    level=3,
    kills=("M35", "M37", "P09"),
    tolerance="T0 for the order; T1 for each recorded step: the bounds of SMP-6 times its inputs.",
)
def strided_loops(subject: Subject) -> Iterator[Evidence]:
    """Runs of `sample_strided` with few steps, seen by the model they call, with eta = 0.5 so that all parts matter."""
    for n in sorted({min(n, subject.num_timesteps) for n in WATCHED_STEPS}):
        loop, timesteps = strided_loop(subject, n, 0.5), np.asarray(subject.timesteps(n))
        order = order_evidence(loop, timesteps, f"sample_strided, {n} steps")
        yield order
        if order.passed:
            yield exactly(loop.x_t[0], loop.x_T, where="first x_t", reason="the loop starts from the x_T it was given")
            yield strided_steps(subject, loop, f"sample_strided, {n} steps")


def strided_steps(subject: Subject, loop: Loop, what: str) -> Evidence:
    """Evidence that each result of a strided loop, for all images, is the DDIM step of what the model saw."""
    tables, images = exact(subject), slice(0, len(loop.x_T))
    t = loop.t[:, 0].astype(np.int64)
    pairs = (t, np.append(t[1:], -1))
    # One step of a loop is too little to see how its coefficients are made, so the widest correct way is allowed.
    bounds = ddim_bounds(subject, tables, *pairs, 0.5)[-1]
    sigma = ddim_coefficients(tables, *pairs, 0.5).z
    expected = ddim_next(subject, tables, pairs, 0.5, loop.x_t, loop.eps_hat) + column(sigma, loop.z) * loop.z
    allowed = propagated(bounds, loop.x_t, loop.eps_hat, loop.z)
    reason = "x_prev is the DDIM step of x_t to the next entry of timesteps(n), with the model's eps_hat and z[i]"
    return steps_evidence(loop, images, expected, allowed, what=what, reason=reason)


def identified(subject: Subject, eta: float) -> tuple[Reading, StepCoefficients, StepBounds]:
    """Every step of every strided sampler: what the subject does, what it should, and how exactly."""

    def read() -> tuple[Reading, StepCoefficients, StepBounds]:
        tables, every = exact(subject), strides(subject)
        pairs = (every.t, every.t_prev)
        seen, step = read_ddim(subject, *pairs, eta), ddim_coefficients(tables, *pairs, eta).affine
        return seen, step, fitting_bounds(subject, tables, ddim_bounds(subject, tables, *pairs, eta))

    return remembered(subject, f"strides {eta}", read)


@check(
    "STR-3",
    claim="For every n and eta 0, 0.5, 1 each step has its coefficients, and Gaussian data give the output's variance.",
    source="Song et al. 2021, Eqs. 12 and 16",
    needs=("ddim_step", "timesteps", "num_timesteps", "clip_x_0"),
    level=3,
    kills=("M09", "M43", "M45"),
    tolerance="T1 and T3 for the steps, as in SMP-6; T2 for the law: their bounds, propagated through the recursion.",
)
def strided_law(subject: Subject) -> Iterator[Evidence]:
    """All different pairs of neighbours in all lists, then the law of the output under the best model."""
    wrong = list(no_strides(subject))
    yield from wrong
    if wrong:
        return
    every = strides(subject)
    for eta in ETAS:
        seen, step, bounds = identified(subject, eta)
        for name in StepBounds._fields:
            yield compare(
                getattr(seen, name),
                getattr(step, name),
                getattr(bounds, name),
                where=partial(step_place, every, f"coefficient of {name}, eta={eta:g}"),
                reason=f"{len(every.t)} different steps of the {len(every.lists)} lists",
            )
        yield output_variances(subject, every, eta)


def step_place(every: Strides, what: str, index: tuple[int, ...]) -> str:
    """A step of a strided sampler in words."""
    return f"{what}, t={every.t[index[0]]} to {every.t_prev[index[0]]}"


def output_variances(subject: Subject, every: Strides, eta: float) -> Evidence:
    """Evidence about the variance of the output for three Gaussian data laws and many n."""
    tables, T = exact(subject), len(every.lists)
    counts = np.unique(
        np.append(np.arange(1, min(T, COMPOSED_STEPS) + 1), np.linspace(1, T, COMPOSED_STEPS).astype(int))
    )
    weight = GaussianChain(tables, np.zeros(3), VARIANCES).eps_gain[every.t]
    seen, step, bounds = identified(subject, eta)
    gains = [of.x_t[:, None] + of.eps_hat[:, None] * weight for of in (seen, step)]
    slack = bounds.x_t[:, None] + bounds.eps_hat[:, None] * weight + 4 * U64 * step.x_t[:, None]
    pairs = np.full((int(counts[-1]), len(counts)), -1)  # -1: this n has no such step
    for column_of_n, n in enumerate(counts):
        pairs[:n, column_of_n] = every.pair_of[n - 1]
    observed, expected, allowed = composed_variance(pairs, gains, slack, (seen.z, step.z, bounds.z))
    return compare(
        observed,
        expected,
        allowed,
        where=lambda index: f"n={counts[index[0]]}, eta={eta:g}, data variance {VARIANCES[index[1]]:g}",
        reason="variance of the output from x_T ~ N(0, 1) with the best model, composed from the steps",
    )


def composed_variance(
    pairs: Integers, gains: list[Array], slack: Array, noise: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """Output variances (n, d) by observed and by exact coefficients, and how far apart rounding may drive them.

    `pairs` (steps, n): what each of n samplers takes as its i-th step, -1 for none. For every pair, `gains` are the
    observed and the exact gain (pairs, d), `slack` bounds their difference, and `noise` is observed and exact sigma
    and its bound.
    """

    def padded(values: Array, neutral: float) -> Array:  # one more entry, which -1 finds
        return np.concatenate([values, np.full_like(values[:1], neutral)])

    of_seen, of_exact, off = padded(gains[0], 1.0), padded(gains[1], 1.0), padded(slack, 0.0)
    sigma_seen, sigma, off_sigma = (padded(values[:, None], 0.0) for values in noise)
    off_square = off * (2 * np.abs(of_exact) + off)
    added = (2 * sigma + off_sigma) * off_sigma
    observed, expected = (np.ones((pairs.shape[1], gains[0].shape[1])) for _ in range(2))
    error = np.zeros_like(observed)
    for now in pairs:
        error = (of_exact[now] ** 2 + off_square[now]) * error + expected * (off_square[now] + 4 * U64) + added[now]
        observed = of_seen[now] ** 2 * observed + sigma_seen[now] ** 2
        expected = of_exact[now] ** 2 * expected + sigma[now] ** 2
    return observed, expected, error + 4 * U64 * expected


@check(
    "STR-4",
    claim="For every n a strided sampler starts where the schedule leaves least of the image: at alpha_bar_T.",
    source="Ho et al. 2020, section 4 (x_T ~ N(0, I)); starting earlier feeds the model noise it never saw",
    needs=("timesteps", "num_timesteps"),
    level=1,
    kills=("P08",),
    tolerance="T0: it is the same entry of the same table.",
)
def strided_start(subject: Subject) -> Iterator[Evidence]:
    """The largest alpha_bar at which any of the strided samplers starts from pure noise."""
    alpha_bar, T = exact(subject).alpha_bar, subject.num_timesteps
    first = np.array([int(np.ravel(subject.timesteps(n))[0]) for n in range(1, T + 1)])
    yield exactly(
        alpha_bar[first],
        np.full(T, alpha_bar[-1]),
        where=lambda index: f"n={index[0] + 1}",
        reason="alpha_bar at the first step taken is that of the last time step, T - 1",
    )


@check(
    "SCH-9",
    claim="Respacing keeps alpha_bar at the steps it keeps: its betas are 1 - alpha_bar_t / alpha_bar_prev.",
    source="Song et al. 2021, section 4.2; Nichol and Dhariwal 2021, section 4",
    needs=("ddim_step", "timesteps", "num_timesteps"),
    level=2,
    kills=("M09", "M43"),
    tolerance="T2: the bounds of the steps, summed over a chain of n for the product of their gains.",
)
def respacing(subject: Subject) -> Iterator[Evidence]:
    """Gains telescope to 1 / sqrt(alpha_bar_T); with eta = 1 sigma^2 is the new schedule's posterior variance."""
    wrong = list(no_strides(subject))
    yield from wrong
    if wrong:
        return
    tables, every = exact(subject), strides(subject)
    seen, _, bounds = identified(subject, 0.0)
    relative = bounds.x_t / np.abs(seen.x_t)
    n = np.arange(1, len(every.lists) + 1)
    yield compare(
        np.array([np.log(np.abs(seen.x_t[pairs])).sum() for pairs in every.pair_of]),
        np.full(len(n), -np.log(tables.alpha_bar[-1]) / 2),
        np.array([2 * relative[pairs].sum() + 4 * U64 * len(pairs) for pairs in every.pair_of]) + 1e3 * U64,
        where=lambda index: f"n={n[index[0]]}",
        reason="the product of the steps' gains is 1 / sqrt(alpha_bar_T), whatever steps are left out",
    )
    yield from respaced_variance(subject, tables, every)


def respaced_variance(subject: Subject, tables: ExactSchedule, every: Strides) -> Iterator[Evidence]:
    """Evidence that sigma at eta = 1 is that of the respaced schedule's posterior, as in ancestral sampling on it."""
    seen, _, bounds = identified(subject, 1.0)
    beta = -np.expm1(log_ratio(tables, every.t, every.t_prev))
    before = np.where(every.t_prev < 0, 0.0, tables.one_minus_alpha_bar[every.t_prev])
    variance = beta * before / (beta + (1 - beta) * before)  # precisions 1 / before and (1 - beta) / beta add up
    yield compare(
        seen.z**2,
        variance,
        (2 * np.sqrt(variance) + bounds.z) * bounds.z + 16 * U64 * variance,
        where=partial(step_place, every, "sigma^2, eta=1"),
        reason="sigma^2 at eta = 1 is the posterior variance with beta = 1 - alpha_bar_t / alpha_bar_prev",
    )
