"""How far a correctly programmed sampler step may be from its exact coefficients, and why.

Rule T1 of `tolerance.py`: the products and sums of a step round relative to what is added, whatever order they are
done in. To that comes what float64 does to the tables (`ExactSchedule.rounding`, rule T3: mostly the cancellation in
1 - alpha_bar) and, for sigma, the kernel of an exponential, because half the log variance is a usual way to store it
(rule T4).

The roundings a step may take, whichever of the usual forms it has: the table entry, its cast, the product, twice over
(x_0 first, then the posterior), the sum of two means, the sum with the noise. Eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from verification.oracle import U64, ExactSchedule
from verification.oracle_gaussian import (
    Array,
    Integers,
    ddim_coefficients,
    log_ratio,
    posterior_coefficients,
    step_variance,
)
from verification.protocol import Subject, dtype_of
from verification.tolerance import kernel_bound, smallest, unit_roundoff

ROUNDINGS = 8  # see above
TELLING = 20.0  # see `keeps`
ENOUGH = 12
MANY = 100  # see `fitting_sigma`


class StepBounds(NamedTuple):
    """Absolute bounds on the coefficients of x_t, eps_hat and z, one entry a step."""

    x_t: Array
    eps_hat: Array
    z: Array


def relative(tables: ExactSchedule, name: str) -> Array:
    """Relative error, (T,), of a table in a correct float64 program, undeclared betas included."""
    return np.asarray(tables.rounding[name] + tables.delta[name])


def log_snr_error(tables: ExactSchedule) -> Array:
    """Relative error, (T,), of the posterior variance in a float64 program that keeps the log signal-to-noise ratio.

    There the variance is (1 - alpha_bar_s) c with c = 1 - exp(lambda_t - lambda_s), s = t - 1 and lambda = ln alpha_bar
    - ln(1 - alpha_bar) (Kingma et al. 2021). Each lambda is stored with half a unit of its own size and made of two
    logarithms, one of them a running sum that is rounded to its size once more from s to t. An error of the difference
    is one of (1 - c) / c times as much of c: rule T3.
    """
    t = np.arange(1, len(tables.beta))
    logs = np.log(tables.alpha_bar), np.log(tables.one_minus_alpha_bar)
    sizes = [np.abs(signal - noise) + 1 for signal, noise in (tuple(x[t] for x in logs), tuple(x[t - 1] for x in logs))]
    of_difference = U64 * (sizes[0] + sizes[1] + 2 * np.abs(logs[0][t]) + 2)
    forgotten = tables.beta[t] / tables.one_minus_alpha_bar[t]  # c, exactly: SNR_t / SNR_s = 1 - beta / (1 - alpha_bar)
    return np.append(0.0, of_difference * (1 - forgotten) / forgotten)


def exp_error(dtype: str, reach: float) -> float:
    """Relative error of `exp` for arguments up to `reach`; half precision types compute it wider and round."""
    if dtype in ("float64", "float32"):
        return float(kernel_bound("exp", 1.0, dtype=dtype, reach=reach))
    return 4 * unit_roundoff(dtype)


def sigma_error(tables: ExactSchedule, variance: str, dtype: str) -> Array:
    """Relative error of sigma, (T,): a stored root, or the exponential of half a stored log variance.

    The logarithm is rounded when it is stored and again when it is halved: u times its size, which becomes a relative
    error of the exponential.
    """
    reach = float(np.abs(np.log(step_variance(tables, variance))).max() / 2)
    return root_error(tables, variance, dtype) + exp_error(dtype, reach)


def root_error(tables: ExactSchedule, variance: str, dtype: str) -> Array:
    """The same, (T,), where the exponential is as good as a square root is."""
    u = unit_roundoff(dtype)
    half_log = np.abs(np.log(step_variance(tables, variance))) / 2
    posterior = variance == "posterior"
    of_table = (
        relative(tables, "posterior_variance") + log_snr_error(tables) if posterior else relative(tables, "beta")
    ) / 2
    if posterior and len(of_table) > 1:
        of_table = np.append(of_table[1], of_table[1:])  # the first entry is the second's
    return np.asarray(of_table + 2 * u * half_log + ROUNDINGS * u)


def fitting_sigma(observed: Array, expected: Array, narrow: Array, wide: Array) -> Array:
    """The bound on sigma, or its square, that fits how it is evidently made: by a good root or a poor exponential.

    Errors of a poor exponential come and go with its argument, so they break the narrow bound for a whole range of t:
    among a hundred different values or more, a single breach is a wrong entry.
    """
    broken = np.sum(np.abs(observed - expected) > narrow)
    return narrow if broken <= 1 and len(np.unique(expected)) >= MANY else wide


def mean_bounds(tables: ExactSchedule, dtype: str) -> tuple[Array, Array]:
    """Absolute bounds on the coefficients of x_t and eps_hat in the mean of the reverse step, (T,) each."""
    u, a, v = unit_roundoff(dtype), relative(tables, "alpha_bar"), relative(tables, "one_minus_alpha_bar")
    of_x_0, of_x_t = relative(tables, "posterior_coef_x_0"), relative(tables, "posterior_coef_x_t")
    posterior = posterior_coefficients(tables)
    per_x_0 = posterior.x_0 / tables.sqrt_alpha_bar
    x_t = per_x_0 * (of_x_0 + a / 2 + ROUNDINGS * u) + posterior.x_t * (of_x_t + ROUNDINGS * u)
    eps_hat = per_x_0 * tables.sqrt_one_minus_alpha_bar * (of_x_0 + (a + v) / 2 + ROUNDINGS * u)
    return x_t + smallest(dtype), eps_hat + smallest(dtype)


def ancestral_bounds(subject: Subject, tables: ExactSchedule) -> StepBounds:
    """Bounds for `p_step` at every t; at t = 0 there is no noise, to the bit."""
    dtype = dtype_of(subject)
    z = np.sqrt(step_variance(tables, subject.variance)) * sigma_error(tables, subject.variance, dtype)
    z[0] = 0.0
    return StepBounds(*mean_bounds(tables, dtype), z)


def ddim_bounds(
    subject: Subject, tables: ExactSchedule, t: Integers, t_prev: Integers, eta: float
) -> tuple[StepBounds, StepBounds, StepBounds]:
    """Bounds for `ddim_step` on pairs (t, t_prev), (n,) each, for three correct ways to program it, the most exact
    first.

    1. The coefficients of x_t and eps_hat are made in float64 and cast once: rounding is relative to each.
    2. x_0 is formed on the way: rounding is relative to the parts whose difference the coefficient of eps_hat is.
    3. As 2, and all is computed in the subject's own type from its stored alpha_bar, where 1 - alpha_bar and 1 - r,
       r = alpha_bar_t / alpha_bar_prev, cancel. Rule T3: an error of alpha_bar is magnified by alpha_bar / (1 -
       alpha_bar) and by r / (1 - r).
    """
    u = unit_roundoff(dtype_of(subject))
    through_x_0 = _through_x_0(subject, tables, t, t_prev, eta, U64)
    at_once = _through_x_0(subject, tables, t, t_prev, eta, U64, arithmetic=U64)
    step = ddim_coefficients(tables, t, t_prev, eta).affine
    return (
        StepBounds(*(b + ROUNDINGS * u * np.abs(c) for b, c in zip(at_once, step, strict=True))),
        through_x_0,
        _through_x_0(subject, tables, t, t_prev, eta, u),
    )


def _through_x_0(
    subject: Subject,
    tables: ExactSchedule,
    t: Integers,
    t_prev: Integers,
    eta: float,
    made_in: float,
    arithmetic: float = 0,
) -> StepBounds:
    """Bounds when x_0 is formed in a type of roundoff `arithmetic` (0: its own), coefficients in `made_in`."""
    u = arithmetic or unit_roundoff(dtype_of(subject))
    step, off = ddim_coefficients(tables, t, t_prev, eta), _pair_errors(tables, t, t_prev, made_in)
    x_t = step.signal * step.per_x_t * (off.a + ROUNDINGS * u)
    eps_hat = step.signal * step.per_eps * (off.a + off.v / 2 + ROUNDINGS * u)
    # v_prev - sigma^2 with sigma^2 = eta^2 v_prev (1 - r) / v: an error of v_prev scales both parts, the others one.
    left, taken = step.direction**2, step.z**2
    of_left = left * off.v_prev + taken * (off.v + off.jump) + ROUNDINGS * made_in * (left + 2 * taken)
    direction = np.sqrt(left + of_left) - np.sqrt(np.maximum(left - of_left, 0.0)) + ROUNDINGS * u * step.direction
    if subject.clip_x_0:  # eps is derived anew, (x_t - sqrt(a) x_0) / sqrt(v): rounding is relative to both parts
        own = unit_roundoff(dtype_of(subject))
        anew = direction + step.direction * (off.a + off.v / 2 + ROUNDINGS * own)
        x_t, direction = x_t + 2 * anew * step.per_x_t / step.per_eps, direction + 2 * anew
    tiny = smallest(dtype_of(subject))
    z = step.z * ((off.v + off.v_prev + off.jump) / 2 + ROUNDINGS * u)
    return StepBounds(x_t + tiny, eps_hat + direction + tiny, z)


class _PairErrors(NamedTuple):
    """Relative errors for pairs (t, t_prev): of alpha_bar (the larger), of v = 1 - alpha_bar at each, and of 1 - r."""

    a: Array
    v: Array
    v_prev: Array
    jump: Array


def _pair_errors(tables: ExactSchedule, t: Integers, t_prev: Integers, u: float) -> _PairErrors:
    """What a type of roundoff `u` does to the quantities of a pair, formed from alpha_bar stored in that type."""
    of_a, of_v = relative(tables, "alpha_bar"), relative(tables, "one_minus_alpha_bar")
    if u > U64:  # alpha_bar is cast, then subtracted from 1
        of_v = of_v + u * (1 + tables.alpha_bar / tables.one_minus_alpha_bar)
        of_a = of_a + u
    start = t_prev < 0
    a = np.maximum(of_a[t], np.where(start, 0.0, of_a[t_prev]))
    log_r = log_ratio(tables, t, t_prev)
    own = 2 * tables.rounding["alpha_bar"][t] + 3 * u  # r is a quotient of two of them
    jump = own * np.exp(log_r) / -np.expm1(log_r) + u + tables.delta["beta"].max()
    return _PairErrors(a, of_v[t], np.where(start, 0.0, of_v[t_prev]), jump)


def keeps(error: Array, bound: Array, wider: Array) -> bool | None:
    """Whether `error` is that of a program that rounds as `bound` allows, not only as `wider` does; None: cannot tell.

    Entries tell where the wider bound is more than twenty times the narrower: a program that needs the wider bound
    breaks the narrower one there more often than not. So at most one breach, or one in ten, among twelve entries or
    more is a wrong entry and no such program; more breaches are such a program, and fewer entries say nothing.
    """
    telling = wider > TELLING * bound
    broken, count = np.sum((error > bound) & telling), np.sum(telling)
    if broken > max(1, count // 10):
        return False
    return True if count >= ENOUGH else None


def bound_of_way(ways: Sequence[Array], way: int) -> Array:
    """The bound, entry by entry, for a program that keeps the bounds `ways[way:]`, which go from narrow to wide.

    The widest of those that are less than twenty times as wide as the first: entries there do not show by which way
    they were made. It is at most twenty times eight roundings, 1e-5 in float32.
    """
    allowed = ways[way]
    for wider in ways[way + 1 :]:
        allowed = np.where(wider < TELLING * ways[way], wider, allowed)
    return allowed


def propagated(bounds: StepBounds, x_t: Array, eps_hat: Array, z: Array) -> Array:
    """What bounds on the coefficients, (n,), allow of the output for inputs (n, ...)."""

    def over(bound: Array) -> Array:
        return bound.reshape(-1, *[1] * (x_t.ndim - 1))

    return np.asarray(
        over(bounds.x_t) * np.abs(x_t) + over(bounds.eps_hat) * np.abs(eps_hat) + over(bounds.z) * np.abs(z)
    )
