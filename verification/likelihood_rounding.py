"""How far correctly programmed likelihood terms may be from the exact ones.

Every bound is the sum of what each part of the formula rounds (T1), of what float64 leaves uncertain in the tables
(T3), and of the kernels of exp, log and erfc from the ledger (T4). A bound for a KL term is in nats and for each
coordinate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verification.oracle import U64, ExactSchedule
from verification.oracle_gaussian import Array, posterior_coefficients, step_variance
from verification.oracle_likelihood import HALF_BIN, decoder_log_likelihood_exact, decoder_sensitivity
from verification.protocol import Subject, dtype_of
from verification.step_rounding import ROUNDINGS, exp_error, mean_bounds, relative, sigma_error
from verification.tolerance import kernel_bound, unit_roundoff
from verification.vlb_probe import VlbProbe


def log_error(dtype: str, logarithm: Array) -> Array:
    """Absolute error of a logarithm whose exact value is `logarithm`; half precision computes it wider and rounds."""
    if dtype in ("float64", "float32"):
        return kernel_bound("log", logarithm, dtype=dtype)
    return np.asarray(2 * unit_roundoff(dtype) * np.abs(logarithm))


def normal_kl_bound(difference: Array, log_variance_1: Array, log_variance_2: Array, dtype: str) -> Array:
    """T1 and T4: the rounding of `normal_kl` on exact arguments, in nats, elementwise.

    Five terms are added, each rounded a few times; the two exponentials have the kernel's error, and the rounding of
    their arguments becomes a relative error of them. `difference` is that of the means.
    """
    u, log_ratio = unit_roundoff(dtype), log_variance_1 - log_variance_2
    reach = float(max(np.abs(log_ratio).max(), np.abs(log_variance_2).max()))
    kernel = exp_error(dtype, reach)
    ratio, square = np.exp(log_ratio), difference**2 * np.exp(-log_variance_2)
    added = np.abs(log_variance_1) + np.abs(log_variance_2) + 1 + ratio + square
    exponentials = ratio * (kernel + u * np.abs(log_ratio)) + square * (kernel + 4 * u)
    return np.asarray((4 * u * added + exponentials) / 2 + 4 * U64 * added)


def prior_bound(tables: ExactSchedule, dtype: str, mean_square: Array) -> Array:
    """The rounding of L_T, in nats a coordinate, for data of this mean square: KL(N(sqrt(a) x_0, v) || N(0, 1))."""
    u, a, v = unit_roundoff(dtype), tables.alpha_bar[-1], tables.one_minus_alpha_bar[-1]
    log_v = np.abs(np.log(v))
    of_log = float(log_error(dtype, log_v) + relative(tables, "one_minus_alpha_bar")[-1] + 2 * u * log_v)
    square = a * mean_square * (ROUNDINGS * u + relative(tables, "alpha_bar")[-1])
    exponential = v * (exp_error(dtype, float(log_v)) + of_log)
    return np.asarray((of_log + exponential + square + ROUNDINGS * u * (1 + v + log_v + a * mean_square)) / 2)


def kl_bound(subject: Subject, tables: ExactSchedule, x_0: Array, x_t: Array, eps_hat: Array, miss: Array) -> Array:
    """The rounding of row t of the bound, in nats a coordinate, (T, ...): all arrays (T, ...), `miss` = x_0 - x̂_0.

    The means of posterior and model nearly cancel, so their rounding is relative to what each adds up, in units of
    sigma. Row 0 is not a KL term; it is 0.
    """
    dtype = dtype_of(subject)
    u, posterior = unit_roundoff(dtype), posterior_coefficients(tables)

    def over(values: Array) -> Array:
        return values.reshape(-1, *[1] * (x_t.ndim - 1))

    of_x_t, of_eps = mean_bounds(tables, dtype)
    of_posterior = posterior.x_0 * (relative(tables, "posterior_coef_x_0") + ROUNDINGS * u)
    of_means = over(2 * of_x_t) * np.abs(x_t) + over(of_eps) * np.abs(eps_hat) + over(of_posterior) * np.abs(x_0)
    sigma_squared, gap = step_variance(tables, subject.variance), over(posterior.x_0) * np.abs(miss)
    log_1, log_2 = (np.abs(np.log(v)) for v in (step_variance(tables, "posterior"), sigma_squared))
    of_log = relative(tables, "posterior_variance") + relative(tables, "beta") + 4 * u + 2 * u * (log_1 + log_2)
    of_log = of_log + log_error(dtype, log_1) + log_error(dtype, log_2)
    of_means_term = ((2 * gap + of_means) * of_means + gap**2 * (over(of_log) + exp_error(dtype, 20) + 4 * u)) / over(
        sigma_squared
    )
    of_variances = 2 * of_log + exp_error(dtype, 8) + 4 * u * (log_1 + log_2 + 2)
    bound = np.asarray((of_means_term + over(of_variances)) / 2)
    bound[0] = 0.0
    return bound


def decoder_bound(
    x_0: Array, mean: Array, log_scale: Array, dtype: str, *, mean_error: Array | float = 0.0, scale_error: float = 0.0
) -> Array:
    """The rounding of the decoder's log-probability in nats, elementwise; `scale_error` is relative.

    The edges of a bin are sums of x_0, mean and half a bin over the scale, each rounded on its own, while an error of
    the mean moves both: by d, in units of the scale, the log-probability changes by at most d times its slope and
    d^2 / 2, for its curvature is Var(z | bin) - 1, which is between -1 and 0. The probability is a difference of two
    tails, so an error of a tail counts as often as the tail is larger than the bin; and the logarithm has its kernel.
    """
    u = unit_roundoff(dtype)
    log_p = np.abs(decoder_log_likelihood_exact(x_0, mean, log_scale))
    per, width = decoder_sensitivity(x_0, mean, log_scale), np.exp(log_scale)
    rounded, moved = u * (2 * np.abs(x_0) + 2 * np.abs(mean) + 4 * HALF_BIN) / width, mean_error / width
    shift = per.edge * rounded + per.shift * moved + moved**2 / 2
    scale = exp_error(dtype, float(np.max(np.abs(log_scale)))) + 4 * u + scale_error
    of_tail = (float(kernel_bound("erfc", 1.0, dtype=dtype)) if dtype in ("float64", "float32") else 0.0) + 4 * u
    return np.asarray(
        shift + per.relative * scale + per.tails * (of_tail + u * log_p) + 2 * u * log_p + log_error(dtype, log_p)
    )


def transition_errors(subject: Subject, found: VlbProbe, images: slice) -> dict[str, Any]:
    """What rounding does to mean (absolute) and scale (relative) of p(x_0 | x_1) before the decoder sees them."""
    of_x_t, of_eps = (each[0] for each in mean_bounds(found.tables, dtype_of(subject)))
    x_1, eps_hat = (np.abs(each[0, images]) for each in (found.x_t, found.eps_hat))
    of_scale = sigma_error(found.tables, subject.variance, dtype_of(subject))[0]
    return {"mean_error": of_x_t * x_1 + of_eps * eps_hat, "scale_error": float(of_scale)}
