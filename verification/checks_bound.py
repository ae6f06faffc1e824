"""The bound is a bound: no term of it missing, halved or of the wrong sign could keep it above the exact likelihood.

    -log p(x_0) <= E [L_T + sum of L_{t-1} + L_0], and the difference is KL(q(x_{1:T} | x_0) || p(x_{1:T} | x_0))
                                                                                     Ho et al. 2020, Eqs. 3 and 5

In one dimension p(x_0) is known for any model: the density of the sampler's chain by quadrature, and the decoder's bins
over it (`oracle_mixture.model_bits`). So the inequality is tested level by level, on a mixture whose best model is not
linear. The expectation over the noise is taken by Gauss-Hermite quadrature, not by sampling: each term of the bound
depends on one normal number, so images with one level and different nodes are all it takes, and nothing is random.

Equality holds where every reverse step is exact: Gaussian data with the variance that the sampler has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.special import roots_hermitenorm

from verification.check import Evidence, check
from verification.draws import MIXTURE, STEPS, with_few_steps
from verification.identification import as_input
from verification.likelihood_rounding import decoder_bound, kl_bound, prior_bound
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, GaussianChain, Integers, step_variance
from verification.oracle_likelihood import LEVELS, expected_continuous_decoder, gap_identity, to_bits
from verification.oracle_mixture import model_bits
from verification.protocol import EpsModel, Subject, dtype_of
from verification.step_rounding import mean_bounds, sigma_error
from verification.tolerance import compare, gamma, unit_roundoff

NODES = 40
"""Of the quadrature over the noise: twice as many change no expectation by more than 1e-4 bits."""

QUADRATURE = 1e-3
"""Bits that the quadrature over the noise may be off: ten times what it was seen to be."""

POINTS = np.array([0.0, 2.0, -2.0, 0.0, 0.0])
WEIGHTS = np.array([1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 8])
"""Five points in (x_0, eps) that give the mean of every quadratic: see `vlb_probe.py`. The second reads them rolled."""


@check(
    "VLB-3",
    claim="The bound is nowhere below the exact -log p(x_0), on average above the data's entropy, and tight if it can be.",
    source="Ho et al. 2020, Eqs. 3 and 5; p(x_0) by quadrature of the chain's density",
    needs=("vlb_terms", "variant", "num_timesteps", "variance"),
    level=4,
    kills=("M49", "R18", "R19", "R23"),
    tolerance="T1 and T4: the rounding of the terms, and 0.001 bits for the quadrature over the noise; nothing is random.",
)
def bound_on_likelihood(subject: Subject) -> Iterator[Evidence]:
    """A mixture level by level and on average; and Gaussian data N(0, 1) where the variance is beta."""
    few = with_few_steps(subject)
    tables = exact(few)
    chances = MIXTURE.bins()
    likely = np.flatnonzero(chances > chances.max() * 1e-9)
    bound, rounding = expected_bound(few, LEVELS[likely])
    exact_bits = model_bits(tables, MIXTURE, few.variance)[likely]
    yield compare(
        np.maximum(exact_bits - bound, 0.0),
        np.zeros(len(likely)),
        rounding + QUADRATURE,
        where=lambda index: f"mixture, x_0 at level {likely[index[0]]}",
        reason="the bound, averaged over the noise, is not below -log2 p(x_0) of the model",
        diagnosis="a term of the bound is missing, too small or of the wrong sign",
    )
    share = chances[likely] / chances[likely].sum()
    entropy = float(-np.sum(share * np.log2(share)))
    yield compare(
        max(entropy - float(share @ bound), 0.0),
        0.0,
        float(share @ rounding) + QUADRATURE,
        where="mixture, average over the data",
        reason="no code for the data is shorter than their entropy",
    )
    if few.variance == "beta":
        yield tight(few, tables)


def expected_bound(subject: Subject, levels: Array) -> tuple[Array, Array]:
    """The bound of each level averaged over the noise, and what rounding may do to it, both in bits, (levels,)."""
    tables = exact(subject)
    nodes, weights = roots_hermitenorm(NODES)
    nodes = as_input(subject, nodes).astype(np.float64)
    x_0 = as_input(subject, np.repeat(levels, NODES)).astype(np.float64).reshape(-1, 1, 1, 1)
    eps = np.tile(nodes, len(levels)).reshape(-1, 1, 1, 1)
    best = partial(MIXTURE.eps_hat, tables)
    terms = subject.vlb_terms(model(subject, best), x_0, np.broadcast_to(eps, (STEPS, *eps.shape)).copy())
    total = np.asarray(terms["total"], dtype=np.float64).reshape(len(levels), NODES)
    each = rounding_of_total(subject, tables, x_0.ravel(), eps.ravel(), best).reshape(len(levels), NODES)
    weights = weights / weights.sum()
    return total @ weights, to_bits(each @ weights) + gamma(STEPS + 8, unit_roundoff(dtype_of(subject))) * (
        np.abs(total) @ weights
    )


def model(subject: Subject, best: object) -> EpsModel:
    """A model on NumPy arrays that answers `best(x_t, t)` for the single t that all images of a call have."""

    def answer(x_t: Array, t: Integers) -> Array:
        eps_hat = best(np.asarray(x_t, np.float64), int(np.asarray(t)[0]))  # type: ignore[operator]  # a callable
        return as_input(subject, np.asarray(eps_hat))

    return answer


def rounding_of_total(subject: Subject, tables: ExactSchedule, x_0: Array, eps: Array, best: object) -> Array:
    """What rounding may do to the bound of images of one number, `x_0` and `eps` (n,) at all t, in nats, (n,)."""
    root, noise = tables.sqrt_alpha_bar[:, None], tables.sqrt_one_minus_alpha_bar[:, None]
    x_t = root * x_0 + noise * eps
    eps_hat = np.stack([best(x_t[t], t) for t in range(STEPS)])  # type: ignore[operator]  # a callable
    miss = noise / root * (eps_hat - eps)
    of_kl = kl_bound(subject, tables, np.broadcast_to(x_0, x_t.shape), x_t, eps_hat, miss).sum(axis=0)
    of_prior = prior_bound(tables, dtype_of(subject), x_0**2)
    of_x_t, of_eps = (each[0] for each in mean_bounds(tables, dtype_of(subject)))
    log_scale = np.full_like(x_0, math.log(step_variance(tables, subject.variance)[0]) / 2)
    of_decoder = decoder_bound(
        x_0,
        x_0 - miss[0],
        log_scale,
        dtype_of(subject),
        mean_error=of_x_t * np.abs(x_t[0]) + of_eps * np.abs(eps_hat[0]),
        scale_error=float(sigma_error(tables, subject.variance, dtype_of(subject))[0]),
    )
    return np.asarray(of_kl + of_prior + of_decoder)


def tight(subject: Subject, tables: ExactSchedule) -> Evidence:
    """Evidence that for data N(0, 1) with variance beta the bound is the entropy: every step is the exact one.

    With a density in the place of the decoder's bins. Prior and KL terms are quadratic in (x_0, eps): five points.
    """
    chain = GaussianChain(tables, np.zeros(1), np.ones(1))
    x_0, eps = POINTS.reshape(-1, 1, 1, 1), np.roll(POINTS, 2).reshape(-1, 1, 1, 1)
    terms = subject.vlb_terms(model(subject, chain.eps_hat), x_0, np.broadcast_to(eps, (STEPS, *eps.shape)).copy())
    total, decoder = (np.asarray(terms[name], dtype=np.float64) for name in ("total", "decoder"))
    observed = float((total - decoder) @ WEIGHTS) * math.log(2)
    root, noise = tables.sqrt_alpha_bar[:, None], tables.sqrt_one_minus_alpha_bar[:, None]
    x_t = root * x_0.ravel() + noise * eps.ravel()
    eps_hat = chain.eps_gain * x_t
    miss = noise / root * (eps_hat - eps.ravel())
    of_kl = kl_bound(subject, tables, np.broadcast_to(x_0.ravel(), x_t.shape), x_t, eps_hat, miss).sum(axis=0)
    of_prior = prior_bound(tables, dtype_of(subject), x_0.ravel() ** 2)
    of_sum = gamma(STEPS + 8, unit_roundoff(dtype_of(subject))) * math.log(2)
    expected = float(gap_identity(chain, "beta")[0] - expected_continuous_decoder(chain, "beta")[0])
    return compare(
        observed,
        expected,
        float((of_kl + of_prior + of_sum * np.abs(total)) @ WEIGHTS),
        where="N(0, 1) with variance beta, nats",
        reason="all but the decoder is the entropy less the last step's: no reverse step gives anything away",
    )
