"""KL between Gaussians, and the KL terms of the variational bound with their weights.

    KL(N_1 || N_2) = (ln v_2/v_1 - 1 + v_1/v_2 + (m_1 - m_2)^2 / v_2) / 2
    L_{t-1} = (SNR_{t-1} - SNR_t) / 2 |x_0 - x̂_0|^2                   Kingma et al. 2021, Eq. 13
            = beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) |eps - eps_hat|^2    Ho et al. 2020, Eq. 12

The KL itself is compared with 60-digit arithmetic and with quadrature of its integral; the terms of the bound with
what a known error of the model must cost (`vlb_probe.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from verification.check import Evidence, check, generator
from verification.checks_loss import batch, exact_target
from verification.identification import as_input
from verification.likelihood_rounding import kl_bound, normal_kl_bound, prior_bound
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array
from verification.oracle_likelihood import (
    kl_floor,
    kl_weight,
    normal_kl_exact,
    normal_kl_quadrature,
    prior_nats,
    simple_weight,
    to_bits,
)
from verification.protocol import Subject, dtype_of
from verification.tolerance import compare, gamma, holds, unit_roundoff
from verification.vlb_probe import OFF, ON_LEVELS, VlbProbe, offset, vlb_probe

PAIRS = 120  # pairs of Gaussians; every array given to `normal_kl` has this one shape, (120,)
QUADRATURE_PAIRS = 12
QUADRATURE_ERROR = 1e-10  # asked of `quad`: 1e-12 of values up to 100
SAME, SWAPPED = 0, 1  # pair 0: twice the same Gaussian; pair 1: one for which the order of arguments matters most

KL_TOLERANCE = "T1: four roundings of each term that is added; T4: the kernel of exp and the rounding of its argument."


def gaussian_pairs() -> tuple[Array, Array, Array, Array]:
    """Arguments of `normal_kl`, (120,) each, on a grid of 1/64 that every floating-point type holds exactly.

    Log variances run from -10, the paper's first, to 2.
    """
    random = generator("KL-1")

    def draw(low: float, high: float) -> Array:
        return np.asarray(np.round(random.uniform(low, high, PAIRS) * 64) / 64)

    mean_1, log_1, mean_2, log_2 = draw(-1, 1), draw(-10, 2), draw(-1, 1), draw(-10, 2)
    mean_1[SAME], log_1[SAME] = mean_2[SAME], log_2[SAME]
    mean_1[SWAPPED], log_1[SWAPPED], mean_2[SWAPPED], log_2[SWAPPED] = 0.25, -3.0, -0.5, 0.5
    return mean_1, log_1, mean_2, log_2


def kl_of(subject: Subject, *arguments: Array) -> Array:
    """What `normal_kl` returns, in float64."""
    return np.asarray(subject.normal_kl(*(as_input(subject, each) for each in arguments))).astype(np.float64)


def swapped(observed: Array, mean_1: Array, log_1: Array, mean_2: Array, log_2: Array) -> str:
    """The wrong formula that `observed` follows, if it is one that people write."""
    right, other = (normal_kl_exact(*each) for each in ((mean_1, log_1, mean_2, log_2), (mean_2, log_2, mean_1, log_1)))
    candidates = {
        "the arguments are swapped: this is KL(N_2 || N_1)": other,
        "twice the KL: the factor 1/2 is missing": 2 * right,
        "a standard deviation is taken for a variance": normal_kl_exact(mean_1, 2 * log_1, mean_2, 2 * log_2),
        "log variances are taken for log standard deviations halved": normal_kl_exact(
            mean_1, log_1 / 2, mean_2, log_2 / 2
        ),
        "in bits, not nats": right / math.log(2),
        "the -1 is missing": right + 0.5,
    }
    for sentence, values in candidates.items():
        if np.allclose(observed, values, rtol=1e-4, atol=1e-5):
            return sentence
    return ""


@check(
    "KL-1",
    claim="normal_kl is KL(N_1 || N_2) in nats, in that order; 0 between equals, never negative.",
    source="the KL divergence of two Gaussians; Ho et al. 2020, Eq. 5",
    needs=("normal_kl",),
    level=1,
    kills=("M49",),
    tolerance=KL_TOLERANCE,
)
def gaussian_kl(subject: Subject) -> Iterator[Evidence]:
    """120 pairs against 60-digit arithmetic, 12 of them against quadrature of p (log p - log q)."""
    pairs = gaussian_pairs()
    observed, expected = kl_of(subject, *pairs), normal_kl_exact(*pairs)
    bound = normal_kl_bound(pairs[0] - pairs[2], pairs[1], pairs[3], dtype_of(subject))

    def place(index: tuple[int, ...]) -> str:
        return "m_1={:g}, log v_1={:g}, m_2={:g}, log v_2={:g}".format(*(each[index[-1]] for each in pairs))

    diagnosis = lambda: swapped(observed, *pairs)  # noqa: E731 - only read if a comparison fails
    yield compare(observed, expected, bound, where=place, reason="against 60-digit arithmetic", diagnosis=diagnosis)
    integral = np.array([normal_kl_quadrature(*(float(each[i]) for each in pairs)) for i in range(QUADRATURE_PAIRS)])
    yield compare(
        observed[:QUADRATURE_PAIRS],
        integral,
        bound[:QUADRATURE_PAIRS] + QUADRATURE_ERROR,
        where=place,
        reason="against the integral of p (log p - log q)",
        diagnosis=diagnosis,
    )
    below = np.maximum(-observed, 0.0)
    yield compare(below, np.zeros(PAIRS), bound, where=place, reason="a KL divergence is never negative")


@check(
    "KL-2",
    claim="normal_kl does not change when both Gaussians are moved or stretched, and adds up over dimensions.",
    source="invariance of KL under invertible maps, and its chain rule",
    needs=("normal_kl",),
    level=2,
    kills=("M49",),
    tolerance=KL_TOLERANCE + " Twice, since two results are compared; and the cast of the stretched log variances.",
)
def kl_invariances(subject: Subject) -> Iterator[Evidence]:
    """The same pairs, all means moved by 1/4; all stretched fourfold; ten at a time as one joint Gaussian."""
    pairs, dtype = gaussian_pairs(), dtype_of(subject)
    mean_1, log_1, mean_2, log_2 = pairs
    observed = kl_of(subject, *pairs)
    bound = normal_kl_bound(mean_1 - mean_2, log_1, log_2, dtype)
    moved = kl_of(subject, mean_1 + 0.25, log_1, mean_2 + 0.25, log_2)
    yield compare(moved, observed, 2 * bound, labels=("pair",), reason="both means moved by 1/4")
    stretch = math.log(16)
    stretched = kl_of(subject, 4 * mean_1, log_1 + stretch, 4 * mean_2, log_2 + stretch)
    slope = 1 + np.exp(log_1 - log_2) + (mean_1 - mean_2) ** 2 * np.exp(-log_2)
    cast = unit_roundoff(dtype) * (np.abs(log_1 + stretch) + np.abs(log_2 + stretch)) * slope
    yield compare(stretched, observed, 2 * bound + cast, labels=("pair",), reason="both Gaussians stretched fourfold")
    groups = np.arange(PAIRS).reshape(-1, 10)
    joint = np.array([joint_kl(*(each[rows] for each in pairs)) for rows in groups])
    yield compare(
        observed[groups].sum(axis=1),
        joint,
        bound[groups].sum(axis=1) + 1e-13 * joint,
        labels=("ten pairs",),
        reason="the sum over ten dimensions is the KL of the joint Gaussians, by determinant, trace and inverse",
    )


def joint_kl(mean_1: Array, log_1: Array, mean_2: Array, log_2: Array) -> float:
    """KL of two Gaussians with diagonal covariance, by the matrix formula."""
    first, second = np.diag(np.exp(log_1)), np.diag(np.exp(log_2))
    difference, inverse = mean_1 - mean_2, np.linalg.inv(second)
    log_determinants = np.linalg.slogdet(second)[1] - np.linalg.slogdet(first)[1]
    quadratic = difference @ inverse @ difference
    return float(np.trace(inverse @ first) + quadratic - len(mean_1) + log_determinants) / 2


@check(
    "KL-3",
    claim="The prior term is KL(q(x_T | x_0) || N(0, 1)), a mean over the pixels, in bits.",
    source="Ho et al. 2020, Eq. 5, L_T",
    needs=("vlb_terms", "num_timesteps"),
    level=2,
    kills=("M49", "M52", "M58"),
    tolerance="T1 relative to its terms, which are near 1 and nearly cancel; T4: the kernels of log and exp.",
)
def prior_term(subject: Subject) -> Iterator[Evidence]:
    """`prior` of eight images, each with its own mean square."""
    found, tables = vlb_probe(subject), exact(subject)
    square = (found.x_0**2).mean(axis=(1, 2, 3))
    yield compare(
        found.terms["prior"],
        to_bits(prior_nats(tables, square)),
        to_bits(prior_bound(tables, dtype_of(subject), square)),
        where="prior",
        labels=("image",),
        reason="(v - 1 - ln v + a x_0^2) / (2 ln 2) with a = alpha_bar_T and v = 1 - a",
    )


def kl_evidence(subject: Subject, found: VlbProbe, images: Any, expected: Array, reason: str) -> Evidence:
    """Evidence that `kl` of some images is `expected` nats a pixel, (T, images): rows 1 to T - 1 count."""
    bound = pixel_mean_bound(subject, found)[1:, images]
    if subject.num_timesteps == 1:
        empty = np.shape(found.terms["kl"]) == (0, len(found.x_0))
        return holds(empty, where="kl", reason="a single time step has a prior and a decoder, and no KL term")
    rows = np.asarray(found.terms["kl"])
    if rows.shape == (subject.num_timesteps - 1, len(found.x_0)):
        rows = rows[:, images]
    return compare(
        rows,
        to_bits(expected[1:]),
        to_bits(bound),
        where=lambda index: f"kl, t={index[0] + 1}, image {np.arange(len(found.x_0))[images][index[1]]}",
        reason=reason,
    )


def pixel_mean_bound(subject: Subject, found: VlbProbe) -> Array:
    """The rounding of a mean over pixels of KL terms, (T, 8) nats: that of the terms, and of a sum of six."""
    tables = found.tables
    each = kl_bound(subject, tables, found.x_0[None], found.x_t, found.eps_hat, found.miss).mean(axis=(2, 3, 4))
    return np.asarray(each + gamma(8, unit_roundoff(dtype_of(subject))) * expected_kl(subject, found))


def expected_kl(subject: Subject, found: VlbProbe) -> Array:
    """KL terms for what the model said, (T, 8) nats a pixel: their floor, and the weight times |x_0 - x̂_0|^2."""
    tables, variance = found.tables, subject.variance
    square = (found.miss**2).mean(axis=(2, 3, 4))
    return np.asarray(kl_floor(tables, variance)[:, None] + kl_weight(tables, variance)[:, None] * square)


@check(
    "KL-4",
    claim="Each KL term is half the fall of the SNR times |x_0 - x̂_0|^2, plus what the variances cost.",
    source="Ho et al. 2020, Eqs. 5 and 8; Kingma et al. 2021, Eq. 13",
    needs=("vlb_terms", "num_timesteps", "variance"),
    level=2,
    kills=("M09", "M24", "M27", "M49", "M58"),
    tolerance="T1: two nearly equal means, rounded relative to their terms in units of sigma; T4: exp and log.",
)
def kl_terms(subject: Subject) -> Iterator[Evidence]:
    """`kl` for models that are right, and off by a known amount; and where the model was asked."""
    found, tables = vlb_probe(subject), exact(subject)
    T = subject.num_timesteps
    yield holds(sorted(found.asked) == list(range(T)), where="model", reason=f"the model is asked at each of {T} steps")
    if len(found.asked) == T:
        u, error = unit_roundoff(dtype_of(subject)), tables.error("alpha_bar") + tables.error("one_minus_alpha_bar")
        size = np.abs(found.x_0).max() + np.abs(found.eps).max()
        yield compare(
            np.stack([found.asked[t] for t in range(T)]),
            found.x_t,
            (8 * u + error / (2 * tables.one_minus_alpha_bar))[:, None, None, None, None] * size,
            where=lambda index: f"x_t given to the model, t={index[0]}, image {index[1]}",
            reason="x_t is q_sample(x_0, t, eps[t])",
        )
    yield kl_evidence(subject, found, ON_LEVELS, expected_kl(subject, found)[:, ON_LEVELS], "SNR form of L_{t-1}")


@check(
    "KL-5",
    claim="A KL term over L_simple is beta^2 / (2 sigma^2 alpha (1 - alpha_bar)), with the subject's own loss below.",
    source="Ho et al. 2020, Eqs. 12 and 14",
    needs=("vlb_terms", "loss", "num_timesteps", "variance"),
    level=2,
    kills=("M27", "M58", "M62"),
    tolerance="T3: the bound of KL-4, over the loss; the loss is a square of one number, rounded eight times.",
)
def simple_weights(subject: Subject) -> Iterator[Evidence]:
    """The weight at the first, the middle and the last KL term, from a model whose eps is off by one number."""
    found, tables, T = vlb_probe(subject), exact(subject), subject.num_timesteps
    if T == 1:
        yield holds(True, where="T=1", reason="a single time step has no KL term, so no weight")
        return
    steps = np.unique([1, T // 2, T - 1]) if T > 2 else np.array([1])
    loss = np.array([loss_when_off(subject, tables, int(t)) for t in steps])
    rows = np.asarray(found.terms["kl"]).astype(np.float64)[steps - 1, OFF] * math.log(2)
    weight, square = simple_weight(tables, subject.variance)[steps], offset(tables)[steps] ** 2
    bound = pixel_mean_bound(subject, found)[steps, OFF] / square + 16 * unit_roundoff(dtype_of(subject)) * weight
    yield compare(
        (rows - kl_floor(tables, subject.variance)[steps]) / loss,
        weight,
        bound,
        where=lambda index: f"t={steps[index[0]]}",
        reason="(L_{t-1} less its floor) / L_simple",
    )


def loss_when_off(subject: Subject, tables: ExactSchedule, t: int) -> float:
    """`loss` at index t of a model whose answer is off by `offset`, whatever it is that the model predicts."""
    x_0, rows, eps = batch(subject)  # that of LOS-1: one shape less to compile
    rows = np.full_like(rows, t)
    target = exact_target(tables, getattr(subject, "parameterization", "eps"), x_0, rows, eps)
    said = as_input(subject, target + offset(tables)[t])
    return float(np.asarray(subject.loss(lambda *_: said, x_0, rows, eps)).item())
