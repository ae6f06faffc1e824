"""The variational bound as a whole: its expectation, the identities it must satisfy, its floors, and that it repeats.

    -log p(x_0) <= L_T + sum of L_{t-1} + L_0                                    Ho et al. 2020, Eq. 5

On Gaussian data with the best model every expectation is known. It is taken exactly, at five weighted points instead of
by sampling (`vlb_probe.py`), and the sum of all terms is what information theory says it must be: the entropy of the
data and what each step of the sampler gives away (`oracle_likelihood.gap_identity`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verification.check import Evidence, check
from verification.checks_likelihood import kl_evidence, pixel_mean_bound
from verification.identification import as_input
from verification.likelihood_rounding import decoder_bound, normal_kl_bound, prior_bound, transition_errors
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, posterior_coefficients, step_variance
from verification.oracle_likelihood import (
    HALF_BIN,
    decoder_log_likelihood_exact,
    expected_continuous_decoder,
    expected_kl,
    gap_identity,
    kl_floor,
    prior_nats,
    to_bits,
)
from verification.protocol import Subject, dtype_of
from verification.step_rounding import ROUNDINGS, relative
from verification.tolerance import compare, exactly, gamma, holds, unit_roundoff
from verification.vlb_probe import DEVIATIONS, FLOOR, GAUSSIAN, MEANS, ON_LEVELS, WEIGHTS, VlbProbe, vlb_probe

TERMS = ("prior", "kl", "decoder", "total")


@check(
    "VLB-1",
    claim="On Gaussian data with the best model, the expectation of every term of the bound is the closed form.",
    source="Ho et al. 2020, Eq. 5; expectations of squares by the law of total variance",
    needs=("vlb_terms", "num_timesteps", "variance"),
    level=2,
    kills=("M09", "M24", "M27", "M49", "M58"),
    tolerance="T1 and T4: the bounds of KL-3 and KL-4, weighted as the five points are; no sampling.",
)
def gaussian_bound(subject: Subject) -> Iterator[Evidence]:
    """Weighted means of `prior` and `kl` over the five points."""
    found, tables = vlb_probe(subject), exact(subject)
    square = MEANS**2 + DEVIATIONS**2
    yield compare(
        WEIGHTS @ np.asarray(found.terms["prior"]).astype(float)[GAUSSIAN],
        to_bits(prior_nats(tables, square.mean())),
        to_bits(prior_bound(tables, dtype_of(subject), square.mean())),
        where="expected prior",
        reason="E L_T for pixels of known mean square",
    )
    rows = expected_rows(found)
    if subject.num_timesteps > 1 and rows.shape == (subject.num_timesteps - 1,):
        yield compare(
            rows,
            to_bits(expected_kl(found.chain, subject.variance).mean(axis=1))[1:],
            to_bits(pixel_mean_bound(subject, found)[:, GAUSSIAN] @ WEIGHTS)[1:],
            where=lambda index: f"expected kl, t={index[0] + 1}",
            reason="E L_{t-1}: the variances' KL, and the posterior's x_0 coefficient squared times Var(x_0 | x_t)",
        )
    else:
        yield kl_evidence(
            subject, found, GAUSSIAN, np.zeros((subject.num_timesteps, 5)), "one row a time step from t=1"
        )


def expected_rows(found: VlbProbe) -> Array:
    """The expectation of each KL term over the Gaussian pixels, (T - 1,) bits, as the subject has it."""
    return np.asarray(np.asarray(found.terms["kl"]).astype(float)[:, GAUSSIAN] @ WEIGHTS)


@check(
    "VLB-2",
    claim="The total is prior plus KL terms plus decoder, each once; on Gaussian data they sum to what entropy asks.",
    source="Ho et al. 2020, Eq. 5; gap identity: bound = entropy + KL at the start + KL of the variances at each step",
    needs=("vlb_terms", "num_timesteps", "variance"),
    level=2,
    kills=("M09", "M49", "M52"),
    tolerance="T2: the sum of the terms' bounds, and of T + 1 additions.",
)
def terms_add_up(subject: Subject) -> Iterator[Evidence]:
    """Totals of eight images; and the sum over all terms for Gaussian pixels, with a density for the decoder's bins."""
    found, tables = vlb_probe(subject), exact(subject)
    prior, kl, decoder, total = (np.asarray(found.terms[name]).astype(float) for name in TERMS)
    parts = prior + kl.sum(axis=0) + decoder
    finite = bool(np.isfinite(parts).all())
    yield holds(finite, where="terms", reason="prior, kl and decoder are finite numbers")
    if not finite:
        return
    rounding = gamma(subject.num_timesteps + 2, unit_roundoff(dtype_of(subject)))
    size = np.abs(prior) + np.abs(kl).sum(axis=0) + np.abs(decoder)
    yield compare(
        total,
        parts,
        rounding * size,
        where="total",
        labels=("image",),
        reason="prior + sum of kl + decoder",
        diagnosis=lambda: wrong_total(total, prior, kl, decoder),
    )
    density = expected_continuous_decoder(found.chain, subject.variance).mean()
    square = (MEANS**2 + DEVIATIONS**2).mean()
    bound = (
        prior_bound(tables, dtype_of(subject), square) + (pixel_mean_bound(subject, found)[:, GAUSSIAN] @ WEIGHTS).sum()
    )
    yield compare(
        WEIGHTS @ prior[GAUSSIAN] * math.log(2) + expected_rows(found).sum() * math.log(2) + density,
        gap_identity(found.chain, subject.variance).mean(),
        bound + 4 * subject.num_timesteps * unit_roundoff("float64"),
        where="expected bound, nats a pixel",
        reason="entropy + KL(q(x_T) || N(0, 1)) + KL(V_t || sigma_t^2) summed over t",
    )


def wrong_total(total: Array, prior: Array, kl: Array, decoder: Array) -> str:
    """Which term a total lacks or has twice."""
    parts = prior + kl.sum(axis=0) + decoder
    named = {"prior": prior, "decoder": decoder, "sum of the KL terms": kl.sum(axis=0)}
    if len(kl):
        named |= {"first KL term": kl[0], "last KL term": kl[-1]}
    for name, values in named.items():
        for sign, what in ((-1, "is missing"), (1, "is counted twice")):
            if np.allclose(total - parts, sign * values, rtol=1e-2, atol=1e-7):
                return f"the {name} {what}"
    return ""


@check(
    "VLB-2.telescoping",
    claim="KL from the posterior to the exact reverse kernel is on average the information that a step destroys.",
    source="Ho et al. 2020, Eqs. 5-7; I(x_0; x_{t-1}) - I(x_0; x_t) = E KL(q(x_{t-1} | x_t, x_0) || q(x_{t-1} | x_t))",
    needs=("q_posterior", "normal_kl", "num_timesteps"),
    level=2,
    kills=("M09", "M24", "M49"),
    tolerance="T1 and T4: the rounding of the posterior mean in units of the kernel's deviation, and of normal_kl.",
)
def telescoping(subject: Subject) -> Iterator[Evidence]:
    """The subject's posterior and KL at five points for each t, against mutual information."""
    found, tables = vlb_probe(subject), exact(subject)
    if subject.num_timesteps == 1:
        yield holds(True, where="T=1", reason="a single time step has no posterior with a variance")
        return
    arguments, bound = telescoping_inputs(subject, found, tables)
    observed = np.asarray(subject.normal_kl(*(as_input(subject, each) for each in arguments))).astype(float)
    expected = found.chain.information[:-1] - found.chain.information[1:]
    if observed.shape == arguments[0].shape:
        observed = np.einsum("p,tpd->td", WEIGHTS, observed)
    yield compare(
        observed,
        expected,
        np.einsum("p,tpd->td", WEIGHTS, bound),
        where=lambda index: f"t={index[0] + 1}, pixel {index[1]}",
        reason="I(x_0; x_{t-1}) - I(x_0; x_t) in nats",
    )


def telescoping_inputs(
    subject: Subject, found: VlbProbe, tables: ExactSchedule
) -> tuple[tuple[Array, Array, Array, Array], Array]:
    """Arguments of `normal_kl`, (T - 1, 5, 6) each, from t = 1 on, and the bound on its result in nats.

    The posterior's mean and variance are the subject's own; the exact reverse kernel is the judge's.
    """
    T, chain, u = subject.num_timesteps, found.chain, unit_roundoff(dtype_of(subject))
    t = np.arange(T)
    x_0 = np.broadcast_to(found.x_0[None, GAUSSIAN].reshape(1, 5, 6), (T, 5, 6))
    x_t = as_input(subject, found.x_t[:, GAUSSIAN].reshape(T, 5, 6)).astype(float)
    mean, variance = (np.asarray(each).astype(float) for each in subject.q_posterior(x_0.copy(), x_t, t))
    reverse = chain.marginal_mean[:-1, None] + chain.reverse_gain[:, None] * (x_t - chain.marginal_mean[1:, None])
    log_1 = np.broadcast_to(np.log(variance[1:]), mean[1:].shape)
    log_2 = np.broadcast_to(np.log(chain.reverse_variance)[1:, None], mean[1:].shape)
    posterior = posterior_coefficients(tables)
    of_mean = posterior.x_0[1:, None, None] * np.abs(x_0[1:]) * per_step(relative(tables, "posterior_coef_x_0"), u)
    of_mean += posterior.x_t[1:, None, None] * np.abs(x_t[1:]) * per_step(relative(tables, "posterior_coef_x_t"), u)
    of_mean += 2 * u * (np.abs(mean[1:]) + np.abs(reverse[1:])) + u * np.abs(x_t[1:])
    gap = np.abs(mean - reverse)[1:]
    of_logs = per_step(relative(tables, "posterior_variance"), u) + u * (np.abs(log_1) + np.abs(log_2))
    slope = 1 + np.exp(log_1 - log_2) + gap**2 * np.exp(-log_2)
    bound = normal_kl_bound(gap, log_1, log_2, dtype_of(subject)) + (2 * gap + of_mean) * of_mean * np.exp(-log_2)
    return (mean[1:], log_1, reverse[1:], log_2), bound + of_logs * slope


def per_step(error: Array, u: float) -> Array:
    """A table's relative error with the roundings of a product and a sum, from t = 1 on, shaped for (T - 1, 5, 6)."""
    return (error + ROUNDINGS * u)[1:, None, None]


@check(
    "VLB-4",
    claim="The term for t = 1 is the decoder's -log p(x_0 | x_1), a probability of bins around the model's x_0.",
    source="Ho et al. 2020, Eqs. 5 and 13",
    needs=("vlb_terms", "num_timesteps", "variance"),
    level=2,
    kills=("M54", "M55", "M58", "P12"),
    tolerance="T1 and T4: the bound of DEC-1, with the rounding of the mean and of sigma_1 in units of the bin.",
)
def decoder_term(subject: Subject) -> Iterator[Evidence]:
    """`decoder` of three images on grey levels; and that there are T - 1 KL terms beside it."""
    found, T = vlb_probe(subject), subject.num_timesteps
    x_0, mean = (each[ON_LEVELS] for each in (found.x_0, found.x_0 - found.miss[0]))
    sigma_squared = step_variance(exact(subject), subject.variance)[0]
    log_scale = np.full_like(mean, math.log(sigma_squared) / 2)
    expected = -decoder_log_likelihood_exact(x_0, mean, log_scale).mean(axis=(1, 2, 3))
    bound = decoder_bound(x_0, mean, log_scale, dtype_of(subject), **transition_errors(subject, found, ON_LEVELS))
    density = ((x_0 - mean) ** 2 / sigma_squared + math.log(2 * math.pi * sigma_squared)).mean(axis=(1, 2, 3)) / 2
    observed = np.asarray(found.terms["decoder"]).astype(float)[ON_LEVELS]
    yield compare(
        observed,
        to_bits(expected),
        to_bits(bound.mean(axis=(1, 2, 3)) + gamma(8, unit_roundoff(dtype_of(subject))) * expected),
        where="decoder",
        labels=("image",),
        reason="the bins' log-probability around the model's x_0, of width sigma_1",
        diagnosis=lambda: wrong_decoder_term(found, observed, density),
    )
    shape = np.shape(found.terms["kl"])
    yield holds(shape == (T - 1, 8), where="kl", reason=f"kl has shape {shape}: rows for t = 2 to T, here {(T - 1, 8)}")


def wrong_decoder_term(found: VlbProbe, observed: Array, density: Array) -> str:
    """What stands where the decoder belongs."""
    first = np.asarray(found.terms["kl"]).astype(float)[:1, ON_LEVELS]
    if len(first) and np.allclose(observed, first[0], rtol=1e-3):
        return "the KL term of the next step, not the decoder"
    return "a density, not the probability of bins" if np.allclose(observed, to_bits(density), rtol=1e-3) else ""


@check(
    "NLL-1",
    claim="The same images and noise give the same bound, bit for bit.",
    source="every random number is an argument",
    needs=("vlb_terms", "num_timesteps"),
    level=2,
    kills=("Q08",),
    tolerance="T0: bits.",
)
def repeatable(subject: Subject) -> Iterator[Evidence]:
    """A second call of `vlb_terms` on the same inputs."""
    first, second = vlb_probe(subject).terms, vlb_probe(subject, again=True).terms
    for name in TERMS if subject.num_timesteps > 1 else ("prior", "decoder", "total"):
        yield exactly(second[name], first[name], where=name, labels=("row",), reason="the same call again")


@check(
    "NLL-2",
    claim="A model that knows the noise pays only the floors: the decoder's width, and KL 0 or that of variance beta.",
    source="Ho et al. 2020, Eqs. 5 and 13; for the linear schedule 1.305378 bits, and 0 or 0.486419 bits",
    needs=("vlb_terms", "num_timesteps", "variance"),
    level=2,
    kills=("M24", "M27", "M54", "M58"),
    tolerance="T1 and T4: the bounds of VLB-4 and KL-4, summed over t.",
)
def floors(subject: Subject) -> Iterator[Evidence]:
    """Decoder and sum of KL terms of the image whose noise the model knows, all pixels on inner levels."""
    found, tables = vlb_probe(subject), exact(subject)
    scale = math.sqrt(step_variance(tables, subject.variance)[0])
    inside = -math.log(math.erf(HALF_BIN / scale / math.sqrt(2)))
    one = slice(FLOOR, FLOOR + 1)
    x_0, log_scale = found.x_0[one], np.full_like(found.x_0[one], math.log(scale))
    bound = decoder_bound(x_0, x_0, log_scale, dtype_of(subject), **transition_errors(subject, found, one)).mean()
    rounding = gamma(8, unit_roundoff(dtype_of(subject))) * inside
    yield compare(
        float(found.terms["decoder"][FLOOR]),
        to_bits(inside),
        to_bits(bound + rounding),
        where="decoder",
        reason="-log2(2 Phi(1 / (255 sigma_1)) - 1)",
    )
    yield compare(
        float(np.asarray(found.terms["kl"]).astype(float)[:, FLOOR].sum()),
        to_bits(kl_floor(tables, subject.variance).sum()),
        to_bits(pixel_mean_bound(subject, found)[:, FLOOR].sum()),
        where="sum of kl",
        reason="only the variances differ: 0 for posterior, (r - 1 - ln r) / 2 summed for beta, r = v_{t-1} / v_t",
    )
