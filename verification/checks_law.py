"""The laws that the noise a subject draws and the formulas it applies to it must produce together.

The maps themselves are identified exactly elsewhere (FWD-1 to 4, SMP-1 to 3), with noise that the judge gives. Here the
subject draws, and the whole is held against the exact law of its result: what is caught is wiring. A number used twice,
a loop that noises all steps alike, a loss whose noise is not that of its x_t, all pass every exact check.

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, in one step or in t      Ho et al. 2020, Eqs. 2 and 4
    x_0 by T steps from N(0, I)                                                       Algorithm 2
    E |eps - E[eps | x_t]|^2 = alpha_bar tr(Sigma S^-1)                               Eq. 14 at its optimum

Laws are those of the finite chain, not of the data, so nothing is allowed for T. `significance.py` has the error rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy.special import comb, ndtr, roots_hermitenorm

from verification.check import Evidence, check
from verification.draws import (
    COORDINATE_DEVIATIONS,
    COORDINATE_MEANS,
    IMAGES,
    MIXTURE,
    PIXELS,
    ROTATION,
    SAMPLED,
    SHAPE,
    STEPS,
    Draws,
    draws,
    rows,
    step_of,
)
from verification.identification import as_input
from verification.oracle_gaussian import Array, GaussianChain, Integers, ancestral_coefficients, ancestral_law
from verification.oracle_mixture import sampler_cdf
from verification.protocol import Subject, dtype_of
from verification.significance import Account, cdf_design, cdf_gap, counts_design, pearson, squares_design
from verification.step_rounding import ancestral_bounds
from verification.tolerance import unit_roundoff
from verification.whiteness import white_evidence

TOLERANCE = "T5: exact critical values for a false alarm budget shared by all random checks; see significance.py"

RANKED_FROM, RANKED_STEPS, COPIES, ROUNDS = 3 * STEPS // 4, 3, 16, 4
"""SMP-8: where the way back begins, how far it goes, how many go it from one x_t, and how often all is done."""

NORMAL_SIZE = 2.0
"""No x_t or eps_hat of the loops here has a larger root mean square."""


@check(
    "FWD-5",
    claim="With the noise that training draws, x_t by t steps and x_t in one step both have the law of q(x_t | x_0).",
    source="Ho et al. 2020, Eqs. 2 and 4",
    needs=("q_step", "q_sample", "training_batches", "variant", "num_timesteps"),
    level=4,
    kills=("M04", "M12", "M16", "R01", "R02", "R03"),
    tolerance=TOLERANCE,
)
def forward_law(subject: Subject) -> Iterator[Evidence]:
    """What is left of x_T when its mean is taken out, over its deviation; the same for x_t at the drawn t."""
    account, drawn = Account("FWD-5"), draws(subject)
    few, tables = drawn.subject, drawn.tables
    x_0, t, eps = drawn.training
    x = x_0[0]
    for step in range(STEPS):
        x = step_of(few, "q_step", x, np.full(IMAGES, step), eps[step])
    last = np.full(IMAGES, STEPS - 1)
    u = unit_roundoff(dtype_of(few))
    for where, result, at, roundings in (
        ("iterated q_step", x, last, 8 * STEPS),
        ("q_sample", step_of(few, "q_sample", x_0[0], t[0], eps[0]), t[0], 8),
    ):
        away = rows(result) - tables.sqrt_alpha_bar[at, None] * rows(x_0[0])
        scale = tables.sqrt_one_minus_alpha_bar[at, None]
        # In one step the signal is rounded too, and there is less noise to hide it: sizes are |x_0| < 1 and the noise.
        rounding = roundings * u * float(np.sqrt(np.mean(((1 + scale) / scale) ** 2)))
        yield from white_evidence(
            away / scale,
            account,
            0.5,
            where=where,
            rounding=rounding,
            diagnosis="the noise is not what Eq. 4 asks for: dependent, of another size, or shared",
        )


@check(
    "SMP-4",
    claim="What the sampler makes of its own noise has the law of the T-step chain: Gaussian data and a mixture.",
    source="Ho et al. 2020, Algorithm 2; the chain's law by recursion, for the mixture by quadrature of its density",
    needs=("sample", "sampling_noise", "variant", "num_timesteps", "variance"),
    level=4,
    kills=("M09", "M30", "R04", "R06", "R08", "R20", "R21"),
    tolerance=TOLERANCE,
)
def sampler_law(subject: Subject) -> Iterator[Evidence]:
    """One run of `sample` with the best model: twelve pixels of full covariance, and four of a mixture."""
    account, drawn = Account("SMP-4"), draws(subject)
    few, (x_T, z) = drawn.subject, drawn.sampling
    mixed = cdf_design(IMAGES * 4, gap=0.024, alpha=account.spend(0.2))
    yield mixed.sound()
    made = rows(step_of(few, "sample", sampled_model(drawn), x_T, z))
    chain = coordinates(drawn)
    mean, variance = ancestral_law(chain, few.variance)
    white = (made[:, SAMPLED] @ ROTATION.T - mean) / np.sqrt(variance)
    rounding = sampler_rounding(drawn)
    yield from white_evidence(
        white,
        account,
        0.8,
        where="output, Gaussian data",
        rounding=rounding / float(np.sqrt(variance.min())),
        diagnosis="the sampler's own noise is dependent from step to step or not of variance 1, or a sigma is wrong",
    )
    values = sampler_cdf(drawn.tables, MIXTURE, few.variance, made[:, SAMPLED.stop :])
    narrowest = min(MIXTURE.deviations) / 2  # no component of the output is narrower: 0.4 / this is its density
    yield mixed.judge(
        cdf_gap(values), slack=2.4 * rounding / narrowest, where="output, mixture, distribution over all pixels"
    )


def coordinates(drawn: Draws) -> GaussianChain:
    """The Gaussian data of the sampler's batch in the coordinates where they are independent."""
    return GaussianChain(drawn.tables, COORDINATE_MEANS, COORDINATE_DEVIATIONS**2)


class sampled_model:  # noqa: N801 - a function with a memory: what is asked is the judge's own affair
    """The best eps for the data of the sampler's batch."""

    def __init__(self, drawn: Draws) -> None:
        self._drawn, self._chain = drawn, coordinates(drawn)

    def __call__(self, x_t: Array, t: Integers) -> Array:
        """eps_hat for x_t (B, 1, 4, 4), all at t[0]."""
        flat, step = rows(x_t), int(np.asarray(t)[0])
        gaussian = self._chain.eps_hat(flat[:, SAMPLED] @ ROTATION.T, step) @ ROTATION
        mixture = MIXTURE.eps_hat(self._drawn.tables, flat[:, SAMPLED.stop :], step)
        return as_input(self._drawn.subject, np.concatenate([gaussian, mixture], axis=1).reshape(x_t.shape))


def sampler_rounding(drawn: Draws) -> float:
    """A bound on the root mean square error of a sampled number: the steps' bounds, whose gains are below 1, add up."""
    few, tables = drawn.subject, drawn.tables
    bounds, step = ancestral_bounds(few, tables), ancestral_coefficients(tables, few.variance)
    cast = 2 * unit_roundoff(dtype_of(few)) * np.abs(step.eps_hat)
    return float(np.sum(NORMAL_SIZE * (bounds.x_t + bounds.eps_hat + cast) + bounds.z))


@check(
    "SMP-8",
    claim="Back through the exact reverse kernel one is where the way forth began: no rank among copies is favoured.",
    source="Ho et al. 2020, Eqs. 6 and 11; simulation-based calibration, Talts et al. 2018",
    needs=("p_step", "q_step", "q_sample", "training_batches", "sampling_noise", "variant", "variance"),
    level=4,
    kills=("M24", "M27", "R04", "R08"),
    tolerance=TOLERANCE,
)
def joint_law(subject: Subject) -> Iterator[Evidence]:
    """The rank of x_s among 16 results of going from x_s to x_t and back.

    Where the reverse kernel is exact, x_s and each of the results have one law given x_t, whatever it is, so all 17
    ranks are equally likely. It is exact given x_0 with the posterior variance, if the model knows x_0, and for data
    N(0, I) with variance beta, where the best model says sqrt(1 - alpha_bar) x_t.
    """
    account, drawn = Account("SMP-8"), draws(subject)
    size = ROUNDS * IMAGES // COPIES * PIXELS
    named = "a variance of x_s given x_t 1.1 times as large or as small"
    design = counts_design(
        size, outcomes=COPIES + 1, effect=rank_effect(1.1, COPIES), alpha=account.spend(1.0), named=named
    )
    yield design.sound()
    ranks = np.concatenate([ranks_of(drawn, number) for number in range(ROUNDS)])
    yield design.judge(
        pearson(np.bincount(ranks.ravel(), minlength=COPIES + 1)),
        where=f"ranks at t={RANKED_FROM - RANKED_STEPS} after {RANKED_STEPS} steps forth and back",
        diagnosis="way forth and way back are not of one process: variance, mean or noise of the steps differ",
    )


def ranks_of(drawn: Draws, number: int) -> Integers:
    """The ranks of one round, (1024, 16): one x_s for each image and pixel, and `COPIES` ways back to it."""
    few, tables = drawn.subject, drawn.tables
    posterior = few.variance == "posterior"
    (_, z), (corner, _, eps) = drawn.sampling, drawn.training
    bases, used = IMAGES // COPIES, number * (RANKED_STEPS + 1)

    def same(values: Array) -> Array:
        """The first image of each group in the place of all."""
        return np.repeat(values[::COPIES], COPIES, axis=0)

    x_0 = same(corner[number] if posterior else z[STEPS - 1 - number])  # fresh data in each round
    x = begun = step_of(few, "q_sample", x_0, np.full(IMAGES, RANKED_FROM - RANKED_STEPS), same(eps[used]))
    for i in range(RANKED_STEPS):
        t = np.full(IMAGES, RANKED_FROM - RANKED_STEPS + 1 + i)
        x = step_of(few, "q_step", x, t, same(eps[used + 1 + i]))
    for i in range(RANKED_STEPS):
        step = RANKED_FROM - i
        v, seen = tables.sqrt_one_minus_alpha_bar[step], np.asarray(x, dtype=np.float64)
        eps_hat = (seen - tables.sqrt_alpha_bar[step] * x_0) / v if posterior else v * seen
        x = step_of(few, "p_step", x, np.full(IMAGES, step), as_input(few, eps_hat), z[used + i])
    groups = rows(x).reshape(bases, COPIES, PIXELS)
    return np.asarray((groups < rows(begun)[::COPIES, None]).sum(axis=1))


@lru_cache(maxsize=4)
def rank_effect(factor: float, copies: int) -> float:
    """How far from equal ranks are, as `counts_design` takes it, when x has `factor` times the variance of its copies.

    Given x, a copy is below it with probability Phi(x): the rank is binomial, and x is integrated by Gauss-Hermite.
    """
    nodes, weights = roots_hermitenorm(200)
    below = ndtr(math.sqrt(factor) * nodes)
    k = np.arange(copies + 1)[:, None]
    chances = comb(copies, k) * below**k * (1 - below) ** (copies - k) @ (weights / weights.sum())
    return float(np.sum((chances - 1 / (copies + 1)) ** 2) * (copies + 1))


@check(
    "GRD-4",
    claim="On what training draws the best model scores the loss floor alpha_bar Var(x_0) / Var(x_t), averaged over t.",
    source="Ho et al. 2020, Algorithm 1 and Eq. 14; Var(eps | x_t) of Gaussian data",
    needs=("loss", "training_batches", "variant", "num_timesteps"),
    level=4,
    kills=("M01", "M04", "M12", "R09"),
    tolerance=TOLERANCE,
)
def loss_floor(subject: Subject) -> Iterator[Evidence]:
    """The loss of one batch of 16384 images of two values a pixel, whose floor is met image by image.

    The best linear model leaves f eps - b (x_0 - m), with f the floor at t; (x_0 - m)^2 is the variance in every image,
    so the expected square is f whatever images are drawn, and a noncentral one.
    """
    account, drawn = Account("GRD-4"), draws(subject)
    few, chain = drawn.subject, drawn.pixels
    x_0, t, eps = (each[0] for each in drawn.training)
    floor = chain.loss_floor[t]
    design = squares_design(floor**2 / floor.size, 1 / floor - 1, factor=1.07, alpha=account.spend(1.0))
    yield design.sound()

    def best(x_t: Array, at: Integers) -> Array:
        flat, step = rows(x_t), np.asarray(at)
        eps_hat = chain.eps_gain[step] * (flat - chain.marginal_mean[step + 1])
        return as_input(few, eps_hat.reshape(x_t.shape))

    score = few.loss(best, x_0, t, eps)
    rounding = 8 * NORMAL_SIZE * unit_roundoff(dtype_of(few)) / math.sqrt(floor.mean())
    yield design.judge(
        float(score) / float(floor.mean()) - 1,
        slack=(2 + rounding) * rounding,
        where=f"loss of {SHAPE[0]} images over its floor {floor.mean():.6g}",
        diagnosis=noise_mismatch(float(score), chain, t),
    )


def noise_mismatch(score: float, chain: GaussianChain, t: Integers) -> str:
    """Whether the loss is that of a model which is asked about one noise and judged by another."""
    apart = 1 + np.mean(chain.eps_gain[t] ** 2 * chain.marginal_variance[t + 1])
    return "the noise in the target is independent of that in x_t" if abs(score / apart - 1) < 0.05 else ""
