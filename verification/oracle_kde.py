"""Real images with a known density: the digits, each blurred by the same Gaussian, equally likely.

For data x_0 = c_k + h n, with k uniform over the centres c_k and n ~ N(0, I), everything a DDPM meets is a mixture of
Gaussians with one common covariance. x_t given k is N(a c_k, s I), with a = sqrt(alpha_bar_t) and s = a² h² + 1 −
alpha_bar_t, so

    E[x_0 | x_t] = c̄ + (a h² / s) (x_t − a c̄),   c̄ = Σ_k r_k c_k,   r_k ∝ exp((a x_t·c_k − a² |c_k|² / 2) / s):

which digit, and then where in its blur (regression of x_0 on x_t). It is what training without end would reach on such
data, neither a network that memorises (h = 0, `oracle_empirical.py`) nor one that saw only noise (h large).
"""

from __future__ import annotations

import numpy as np

from verification.oracle_gaussian import Array, ExactTables


def kde_mean(tables: ExactTables, centres: Array, bandwidth: float, x_t: Array, t: int) -> Array:
    """E[x_0 | x_t], (B, d), at index `t` for `x_t` (B, d) and data around `centres` (n, d)."""
    a, v = np.sqrt(tables.alpha_bar[t]), tables.one_minus_alpha_bar[t]
    s = a**2 * bandwidth**2 + v
    weights = (x_t * (a / s)) @ centres.T  # the largest array by far: changed in place from here on
    weights -= a**2 / (2 * s) * (centres**2).sum(axis=1)
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    average = weights @ centres / weights.sum(axis=1, keepdims=True)
    # c̄ + g (x_t − a c̄) with g = a h² / s, and 1 − a g = v / s without the subtraction
    return np.asarray((v / s) * average + (a * bandwidth**2 / s) * x_t)


def kde_eps(tables: ExactTables, x_t: Array, mean: Array, t: int) -> Array:
    """E[eps | x_t], (B, d): what is left of `x_t` when the expected image `mean` is taken out."""
    return np.asarray((x_t - np.sqrt(tables.alpha_bar[t]) * mean) / np.sqrt(tables.one_minus_alpha_bar[t]))


def kde_draw(centres: Array, bandwidth: float, count: int, random: np.random.Generator) -> Array:
    """`count` independent images (count, d)."""
    chosen = centres[random.integers(len(centres), size=count)]
    return np.asarray(chosen + bandwidth * random.standard_normal(chosen.shape))
