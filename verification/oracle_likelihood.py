"""Likelihoods in closed form: Gaussian KL, the discretised decoder, and every term of the variational bound.

Three roads lead to each number, none of them an implementation's: 60-digit arithmetic (mpmath), quadrature of the
defining integral (SciPy's `quad` over `norm.logpdf`), and, for the bound as a whole, information theory. For data x_0
~ N(m, λ) the terms of Ho et al. 2020, Eq. 5 are expectations of squares, so they follow from two variances:

* `E |posterior mean - model mean|^2 = Var(x_{t-1} | x_t) - Var(x_{t-1} | x_t, x_0)`, the law of total variance;
* the sum of all terms is the entropy of the data plus what the sampler gives away at each step (`gap_identity`).

Terms are in nats a coordinate unless a name says bits. Index 0 is the paper's t = 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import numpy as np
import numpy.typing as npt
from scipy.integrate import quad
from scipy.special import log_ndtr
from scipy.stats import norm

from verification.oracle_gaussian import (
    Array,
    ExactTables,
    GaussianChain,
    posterior_coefficients,
    step_variance,
)

HALF_BIN = 1 / 255  # half the width of an 8-bit level when 0…255 is laid over [-1, 1]; Ho et al. 2020, Eq. 13
OPEN_END = 0.999  # |x_0| beyond this is the first or last level, whose bin reaches to infinity
LEVELS = np.arange(256) / 127.5 - 1  # what an 8-bit pixel can be

_mp = mpmath.mp.clone()  # our own context: nobody else's precision is changed, nor ours by them
_mp.dps = 60


def normal_kl_exact(mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
    """KL(N_1 || N_2) elementwise in nats, by 60-digit arithmetic; all arguments of one shape."""
    elementwise = np.vectorize(_normal_kl, otypes=[float])
    return np.asarray(elementwise(mean_1, log_variance_1, mean_2, log_variance_2))


@lru_cache(maxsize=4096)
def _normal_kl(mean_1: float, log_variance_1: float, mean_2: float, log_variance_2: float) -> float:
    difference = _mp.mpf(mean_1) - _mp.mpf(mean_2)
    log_ratio = _mp.mpf(log_variance_1) - _mp.mpf(log_variance_2)
    square = difference**2 * _mp.exp(-_mp.mpf(log_variance_2))
    return float((_mp.expm1(log_ratio) - log_ratio + square) / 2)


@lru_cache(maxsize=64)
def normal_kl_quadrature(mean_1: float, log_variance_1: float, mean_2: float, log_variance_2: float) -> float:
    """KL(N_1 || N_2) in nats as the integral of p (log p - log q), over ten standard deviations each way.

    What is left outside weighs 2e-23 and cannot be seen; `quad` is asked for 1e-12.
    """
    first = norm(mean_1, math.exp(log_variance_1 / 2))
    second = norm(mean_2, math.exp(log_variance_2 / 2))

    def integrand(x: float) -> float:
        return float(first.pdf(x) * (first.logpdf(x) - second.logpdf(x)))

    reach = 10 * first.std()
    value, _ = quad(integrand, mean_1 - reach, mean_1 + reach, epsabs=1e-12, epsrel=1e-12, limit=200)
    return float(value)


def decoder_edges(x_0: Array, mean: Array, log_scale: Array, *, half_bin: float = HALF_BIN) -> tuple[Array, Array]:
    """The bin around `x_0` in standard deviations from `mean`: lower and upper edge, infinite for the end levels."""
    scale = np.exp(log_scale)
    lower = np.where(x_0 < -OPEN_END, -np.inf, (x_0 - mean - half_bin) / scale)
    upper = np.where(x_0 > OPEN_END, np.inf, (x_0 - mean + half_bin) / scale)
    return lower, upper


def decoder_log_likelihood_exact(x_0: Array, mean: Array, log_scale: Array, *, half_bin: float = HALF_BIN) -> Array:
    """Log-probability of the bin around `x_0`, elementwise in nats, from differences of `scipy.special.log_ndtr`.

    Bins above the mean are reflected below it first, where the normal distribution function is small and keeps all its
    digits; Ho et al. 2020, Eq. 13. Arguments broadcast. Another `half_bin` gives a wrong decoder, for diagnosis.
    """
    lower, upper = decoder_edges(*np.broadcast_arrays(x_0, mean, log_scale), half_bin=half_bin)
    reflect = lower > 0
    low = np.where(reflect, -upper, lower)
    high = np.where(reflect, -lower, upper)
    log_high = log_ndtr(high)
    return np.asarray(log_high + np.log(-np.expm1(log_ndtr(low) - log_high)))


def decoder_log_likelihood_mp(x_0: Array, mean: Array, log_scale: Array) -> Array:
    """The same as `decoder_log_likelihood_exact` in 60-digit arithmetic, from the complementary error function."""
    return np.asarray(np.vectorize(_log_bin, otypes=[float])(*np.broadcast_arrays(x_0, mean, log_scale)))


@lru_cache(maxsize=8192)
def _log_bin(x_0: float, mean: float, log_scale: float) -> float:
    centre, scale = abs(_mp.mpf(x_0) - _mp.mpf(mean)), _mp.exp(_mp.mpf(log_scale))
    half = _mp.mpf(1) / 255
    near, far = _beyond((centre - half) / scale), _beyond((centre + half) / scale)
    if abs(x_0) <= OPEN_END:
        return float(_mp.log(near - far))
    opens_outward = (x_0 > 0) == (x_0 >= mean)
    return float(_mp.log(near if opens_outward else 1 - far))


def _beyond(z: Any) -> Any:
    """The probability of a normal number above z."""
    return _mp.erfc(z / _mp.sqrt(2)) / 2


def decoder_tanh(x_0: Array, mean: Array, log_scale: Array) -> Array:
    """The decoder with Phi replaced by the tanh curve that much public code uses: a wrong answer, for diagnosis."""

    def log_phi(z: Array) -> Array:
        argument = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
        return np.asarray(-np.logaddexp(0, -2 * argument))

    lower, upper = decoder_edges(*np.broadcast_arrays(x_0, mean, log_scale))
    reflect = lower > 0
    log_high = log_phi(np.where(reflect, -lower, upper))
    log_low = log_phi(np.where(reflect, -upper, lower))
    return np.asarray(log_high + np.log(-np.expm1(log_low - log_high)))


class Sensitivity(NamedTuple):
    """How strongly rounding moves the log-probability p of a bin: non-negative arrays, edges in units of the scale."""

    edge: Array
    """|dp / d edge| summed over the edges: each edge rounded on its own"""
    shift: Array
    """|dp / d shift| of both edges by the same: what an error of the mean does, nothing where the bin lies around it"""
    relative: Array
    """|edge * dp / d edge| summed: a relative error of the scale moves an edge by itself times that"""
    tails: Array
    """the two (reflected) tails over the bin they enclose: a relative error of the distribution function"""


def decoder_sensitivity(x_0: Array, mean: Array, log_scale: Array) -> Sensitivity:
    """The sensitivities of the bins around `x_0`; arguments broadcast."""
    x_0, mean, log_scale = np.broadcast_arrays(x_0, mean, log_scale)
    log_p = decoder_log_likelihood_exact(x_0, mean, log_scale)
    edges = np.stack(decoder_edges(x_0, mean, log_scale))
    finite = np.isfinite(edges)
    safe = np.where(finite, edges, 0.0)
    density = np.exp(np.where(finite, norm.logpdf(safe) - log_p, -np.inf))
    above = edges[0] > 0
    tails = np.exp(log_ndtr(np.where(above, -edges, edges)) - log_p).sum(axis=0)
    return Sensitivity(
        density.sum(axis=0), np.abs(density[1] - density[0]), (density * np.abs(safe)).sum(axis=0), tails
    )


def excess(r: Any, r_minus_1: Any) -> Array:
    """Elementwise r - 1 - ln r, given `r_minus_1` without cancellation: twice the KL of two variances of ratio r."""
    near = np.abs(r_minus_1) < 0.5
    log_r = np.where(near, np.log1p(np.where(near, r_minus_1, 0.0)), np.log(np.where(near, 1.0, r)))
    return np.asarray(r_minus_1 - log_r)


def prior_nats(tables: ExactTables, mean_square: Any) -> Array:
    """L_T a coordinate, for data whose squares average `mean_square`; Ho et al. 2020, Eq. 5, first term.

    KL(N(sqrt(a) x_0, v) || N(0, 1)) with a = alpha_bar_T and v = 1 - a: half of (v - 1 - ln v) + a x_0^2, and
    v - 1 is -a exactly.
    """
    a, v = tables.alpha_bar[-1], tables.one_minus_alpha_bar[-1]
    return np.asarray((excess(v, -a) + a * np.asarray(mean_square)) / 2)


def kl_floor(tables: ExactTables, variance: str) -> Array:
    """The KL of row t when the model's mean is right, (T,): only variances differ, posterior against sigma^2.

    Row 0 is 0, because the first term is the decoder. For "beta" the ratio is v_{t-1} / v_t, whose distance from 1 is
    -alpha_bar_{t-1} beta_t / v_t.
    """
    floor = np.zeros(len(tables.beta))
    if variance == "beta":
        r = tables.one_minus_alpha_bar_prev / tables.one_minus_alpha_bar
        from_1 = -tables.alpha_bar_prev * tables.beta / tables.one_minus_alpha_bar
        floor[1:] = excess(r[1:], from_1[1:]) / 2
    return floor


def kl_weight(tables: ExactTables, variance: str) -> Array:
    """What multiplies |x_0 - x̂_0|^2 in row t of the bound, (T,): half the fall of the signal-to-noise ratio.

    SNR_{t-1} - SNR_t = alpha_bar_{t-1} beta_t / (v_{t-1} v_t), times the posterior variance over sigma^2 where those
    differ (Kingma et al. 2021, Eq. 13). Row 0 is 0.
    """
    weight = np.zeros(len(tables.beta))
    v, v_prev = tables.one_minus_alpha_bar[1:], tables.one_minus_alpha_bar_prev[1:]
    fall = tables.alpha_bar_prev[1:] * tables.beta[1:] / (v_prev * v)
    ratio = posterior_coefficients(tables).variance[1:] / step_variance(tables, variance)[1:]
    weight[1:] = fall * ratio / 2
    return weight


def simple_weight(tables: ExactTables, variance: str) -> Array:
    """What multiplies |eps - eps_hat|^2 in row t of the bound, (T,): beta^2 / (2 sigma^2 alpha (1 - alpha_bar)).

    Ho et al. 2020, Eq. 12.
    """
    sigma_squared = step_variance(tables, variance)
    return np.asarray(tables.beta**2 / (2 * sigma_squared * tables.alpha * tables.one_minus_alpha_bar))


def expected_kl(chain: GaussianChain, variance: str) -> Array:
    """E L_{t-1} with the best network on Gaussian data, (T, d); row 0 is 0.

    The means differ by the posterior's x_0 coefficient times x_0 - E[x_0 | x_t].
    """
    x_0 = posterior_coefficients(chain.tables).x_0[:, None]
    sigma_squared = step_variance(chain.tables, variance)[:, None]
    rows = kl_floor(chain.tables, variance)[:, None] + x_0**2 * chain.x_0_variance / (2 * sigma_squared)
    rows[0] = 0.0
    return np.asarray(rows)


def expected_continuous_decoder(chain: GaussianChain, variance: str) -> Array:
    """E L_0 with the best network and a density for bins, (d,): a Gaussian of width sigma_1 around E[x_0 | x_1]."""
    sigma_squared = step_variance(chain.tables, variance)[0]
    return np.asarray((math.log(2 * math.pi * sigma_squared) + chain.x_0_variance[0] / sigma_squared) / 2)


def gap_identity(chain: GaussianChain, variance: str) -> Array:
    """The whole bound (prior, all KL terms, continuous decoder) by information theory, (d,).

    Entropy of the data, plus KL(q(x_T) || N(0, 1)), plus for every step the KL between the exact reverse kernel's
    variance and the sampler's.
    """
    s, m = chain.marginal_variance[-1], chain.marginal_mean[-1]
    start = (excess(s, s - 1) + m**2) / 2
    ratio = chain.reverse_variance / step_variance(chain.tables, variance)[:, None]
    return np.asarray(chain.entropy + start + (excess(ratio, ratio - 1) / 2).sum(axis=0))


def to_bits(nats: npt.ArrayLike) -> Array:
    """Nats as bits."""
    return np.asarray(nats, dtype=np.float64) / math.log(2)
