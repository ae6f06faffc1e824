"""Everything a DDPM does to Gaussian data, exactly: denoisers, reverse kernels, samplers' output laws, bounds.

For x_0 ~ N(m, diag(λ)) every distribution of a DDPM is Gaussian, so the best possible network is a formula and a whole
sampler is a recursion of two numbers a coordinate. Nothing here repeats a formula that an implementation uses. Each
result comes from moving a mean and a covariance through one linear step at a time:

* forward, x_t = sqrt(alpha_t) x_{t-1} + sqrt(beta_t) n gives the marginals and Cov(x_0, x_t) (`GaussianChain`);
* backward, conditioning a joint Gaussian gives the optimal denoiser, the exact reverse kernel and, as a Kalman update
  that adds precisions, the posterior of Ho et al. 2020, Eqs. 6-7 (`ancestral_coefficients`);
* a sampler's step is affine in (x_t, eps_hat, z), so its output law is the composition of those maps (`output_law`).

Sums and products below have positive terms only, except where a comment says otherwise: that is what keeps a float64
oracle accurate to a few units of rounding although 1 - alpha_bar is 1e-4 at the first step and alpha_bar 4e-5 at the
last.

Time steps are 0-based indices, so row 0 is the paper's t = 1; arrays over t have shape (T,) or, with d coordinates,
(T, d).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import log1p

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]


class ExactTables(Protocol):
    """What is needed of an exact schedule (`oracle.ExactSchedule` is one): correctly rounded float64 tables (T,)."""

    @property
    def alpha(self) -> Array: ...
    @property
    def beta(self) -> Array: ...
    @property
    def alpha_bar(self) -> Array: ...
    @property
    def one_minus_alpha_bar(self) -> Array: ...
    @property
    def alpha_bar_prev(self) -> Array: ...
    @property
    def one_minus_alpha_bar_prev(self) -> Array: ...
    @property
    def posterior_variance(self) -> Array: ...


class StepCoefficients(NamedTuple):
    """A sampler's step as an affine map, x_{t-1} = x_t * `x_t` + eps_hat * `eps_hat` + z * `z`; one entry a step."""

    x_t: Array
    eps_hat: Array
    z: Array


class DdimCoefficients(NamedTuple):
    """A DDIM step in its own terms, one entry a step: `signal` * x̂_0 + `direction` * eps_hat + `z` * z.

    x̂_0 is what (x_t, eps_hat) imply: `per_x_t` * x_t - `per_eps` * eps_hat.
    """

    signal: Array
    direction: Array
    z: Array
    per_x_t: Array
    per_eps: Array

    @property
    def affine(self) -> StepCoefficients:
        """The step in terms of x_t, eps_hat and z. The coefficient of eps_hat is a difference, as DDIM defines it."""
        return StepCoefficients(self.signal * self.per_x_t, self.direction - self.signal * self.per_eps, self.z)


class PosteriorCoefficients(NamedTuple):
    """The posterior q(x_{t-1} | x_t, x_0): its mean is `x_0` * x_0 + `x_t` * x_t."""

    x_0: Array
    x_t: Array
    variance: Array


def posterior_coefficients(tables: ExactTables) -> PosteriorCoefficients:
    """Mean and variance of q(x_{t-1} | x_t, x_0) by a Kalman update; Ho et al. 2020, Eqs. 6-7.

    Prior x_{t-1} ~ N(sqrt(alpha_bar_{t-1}) x_0, v), with v = 1 - alpha_bar_{t-1}; observation x_t = sqrt(alpha)
    x_{t-1} + noise of variance beta. The gain is v sqrt(alpha) / (alpha v + beta). At the first step v = 0: the prior
    is the answer.
    """
    v = tables.one_minus_alpha_bar_prev
    innovation = tables.alpha * v + tables.beta
    kept = tables.beta / innovation  # 1 - gain * sqrt(alpha), without the subtraction
    return PosteriorCoefficients(
        x_0=np.asarray(np.sqrt(tables.alpha_bar_prev) * kept),
        x_t=v * np.sqrt(tables.alpha) / innovation,
        variance=v * kept,
    )


def step_variance(tables: ExactTables, variance: str) -> Array:
    """sigma_t^2 of the reverse step, (T,), for "posterior" (fixed small) or "beta" (fixed large); Ho et al. 2020, 3.2.

    The first entry is the second of the posterior variance in both cases: that is the width of the decoder, and no
    noise is added there. With a single step there is no second entry, and it is beta.
    """
    if variance not in ("posterior", "beta"):
        raise ValueError(f"variance {variance!r} has no closed form here: known are posterior and beta")
    sigma_squared = np.array(tables.posterior_variance if variance == "posterior" else tables.beta, dtype=np.float64)
    sigma_squared[0] = tables.posterior_variance[1] if len(sigma_squared) > 1 else tables.beta[0]
    return sigma_squared


def ancestral_coefficients(tables: ExactTables, variance: str) -> StepCoefficients:
    """One ancestral step for every t, Ho et al. 2020, Algorithm 2, as an affine map; no noise in row 0.

    The mean is that of the posterior at the x_0 which (x_t, eps_hat) imply, so no cancellation: x_t enters twice with
    a plus sign.
    """
    posterior = posterior_coefficients(tables)
    per_x_0 = posterior.x_0 / np.sqrt(tables.alpha_bar)
    from_eps = -per_x_0 * np.sqrt(tables.one_minus_alpha_bar)
    z = np.sqrt(step_variance(tables, variance))
    z[0] = 0.0
    return StepCoefficients(per_x_0 + posterior.x_t, from_eps, z)


def ddim_coefficients(tables: ExactTables, t: Integers, t_prev: Integers, eta: float) -> DdimCoefficients:
    """One step of Song et al. 2021, Eqs. 12 and 16, from the indices `t` (n,) to `t_prev` (n,), where -1 is x_0.

    With v = 1 - alpha_bar and r = alpha_bar_t / alpha_bar_prev, the jump t_prev -> t is Gaussian with gain sqrt(r) and
    variance 1 - r, so the posterior of x_prev given x_0 and x_t has variance v_prev (1 - r) / v_t (precisions add), and
    sigma is eta times its root. What sigma leaves of v_prev is v_prev ((1 - eta^2) v_t + eta^2 r v_prev) / v_t.
    """
    a_t, v_t = tables.alpha_bar[t], tables.one_minus_alpha_bar[t]
    a_prev = np.where(t_prev < 0, 1.0, tables.alpha_bar[t_prev])
    v_prev = np.where(t_prev < 0, 0.0, tables.one_minus_alpha_bar[t_prev])
    log_r = log_ratio(tables, t, t_prev)
    return DdimCoefficients(
        signal=np.sqrt(a_prev),
        direction=np.sqrt(v_prev * ((1 - eta**2) * v_t + eta**2 * np.exp(log_r) * v_prev) / v_t),
        z=eta * np.sqrt(v_prev * -np.expm1(log_r) / v_t),
        per_x_t=np.sqrt(1 / a_t),
        per_eps=np.sqrt(v_t / a_t),
    )


def log_ratio(tables: ExactTables, t: Integers, t_prev: Integers) -> Array:
    """log(alpha_bar_t / alpha_bar_prev), accurate relative to itself however close the two steps are.

    Differences of a plain running sum of log(1 - beta) would lose what the sum has gathered so far; the sum is kept in
    two float64 numbers (Knuth's TwoSum), so the difference is good to two units of rounding.
    """
    high, low = _running_sum(np.log1p(-tables.beta))
    return np.asarray((high[t + 1] - high[t_prev + 1]) + (low[t + 1] - low[t_prev + 1]))


def _running_sum(values: Array) -> tuple[Array, Array]:
    """Prefix sums of `values` with a leading 0, as an unevaluated sum of two float64 arrays (n + 1,)."""
    high, low = np.zeros(len(values) + 1), np.zeros(len(values) + 1)
    for i, value in enumerate(values.tolist()):
        total = high[i] + value
        part = total - high[i]
        error = (high[i] - (total - part)) + (value - part)
        high[i + 1], low[i + 1] = total, low[i] + error
    return high, low


@dataclass(frozen=True, eq=False)
class GaussianChain:
    """A DDPM over data x_0 ~ N(`mean`, diag(`variance`)), both (d,), and every Gaussian that follows from it.

    Arrays over t have a row for each index 0…T-1; `marginal_variance` and `marginal_mean` have T + 1 rows, row 0
    being the data, so their row i is the law of x at index i - 1.
    """

    tables: ExactTables
    mean: Array
    variance: Array

    @cached_property
    def marginal_variance(self) -> Array:
        """Variance of x_0, x_1, …, x_T, (T + 1, d): s_t = alpha_t s_{t-1} + beta_t, the data first."""
        rows = [np.asarray(self.variance, dtype=np.float64)]
        for alpha, beta in zip(self.tables.alpha, self.tables.beta, strict=True):
            rows.append(alpha * rows[-1] + beta)
        return np.stack(rows)

    @cached_property
    def marginal_mean(self) -> Array:
        """Mean of x_0, x_1, …, x_T, (T + 1, d): m_t = sqrt(alpha_t) m_{t-1}."""
        shrink = np.concatenate([[1.0], np.cumprod(np.sqrt(self.tables.alpha))])
        return np.outer(shrink, self.mean)

    @cached_property
    def eps_gain(self) -> Array:
        """Gain w with E[eps | x_t] = w (x_t - its mean), (T, d): Cov = sqrt(1 - alpha_bar_t), over Var(x_t)."""
        root = np.sqrt(self.tables.one_minus_alpha_bar)[:, None]
        return np.asarray(root / self.marginal_variance[1:])

    @cached_property
    def x_0_gain(self) -> Array:
        """Gain g with E[x_0 | x_t] = mean + g (x_t - its mean), (T, d): Cov(x_0, x_t) falls by sqrt(alpha_t) a step."""
        covariance = np.outer(np.cumprod(np.sqrt(self.tables.alpha)), self.variance)
        return np.asarray(covariance / self.marginal_variance[1:])

    @cached_property
    def x_0_variance(self) -> Array:
        """Var(x_0 | x_t), (T, d): 1 / Var = 1 / lambda + alpha_bar / (1 - alpha_bar), so that lambda may be 0."""
        v, a = self.tables.one_minus_alpha_bar[:, None], self.tables.alpha_bar[:, None]
        return np.asarray(self.variance * v / (v + a * self.variance))

    @cached_property
    def loss_floor(self) -> Array:
        """The least E |eps - f(x_t, t)|^2 per coordinate that any network can reach, (T, d): Var(eps | x_t)."""
        ratio = self.tables.alpha_bar / self.tables.one_minus_alpha_bar  # x_t fixed, eps and x_0 vary together
        return np.asarray(ratio[:, None] * self.x_0_variance)

    @cached_property
    def reverse_gain(self) -> Array:
        """A with E[x_{t-1} | x_t] = its mean + A (x_t - its mean), (T, d): Cov = sqrt(alpha_t) s_{t-1}, over s_t."""
        s = self.marginal_variance
        return np.asarray(np.sqrt(self.tables.alpha)[:, None] * s[:-1] / s[1:])

    @cached_property
    def reverse_variance(self) -> Array:
        """V = Var(x_{t-1} | x_t), (T, d): precisions 1 / s_{t-1} and alpha_t / beta_t add up."""
        s = self.marginal_variance
        return np.asarray(self.tables.beta[:, None] * s[:-1] / s[1:])

    @cached_property
    def information(self) -> Array:
        """I(x_0; x_t) in nats, (T, d): half the log of Var(x_t) over its variance given x_0."""
        a, v = self.tables.alpha_bar[:, None], self.tables.one_minus_alpha_bar[:, None]
        return np.asarray(0.5 * log1p(a * self.variance / v))

    @cached_property
    def entropy(self) -> Array:
        """H(x_0) in nats, (d,)."""
        return np.asarray(0.5 * np.log(2 * math.pi * math.e * self.variance))

    def eps_hat(self, x_t: Array, t: int) -> Array:
        """The best eps at index `t` for x_t (..., d): E[eps | x_t]."""
        return np.asarray(self.eps_gain[t] * (x_t - self.marginal_mean[t + 1]))


def output_law(gain: Array, noise: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance (d,) after the affine steps x -> gain x + noise z, from the last row of `gain` to the first.

    `gain` (n, d); `noise` (n,) or (n, d) standard deviations. For a sampler's law feed it deviations from the data's
    own path: the optimal denoiser keeps sqrt(alpha_bar_t) m on that path, so the offset is carried by `mean` alone.
    """
    noise = np.broadcast_to(noise if noise.ndim == 2 else noise[:, None], gain.shape)
    for a, sigma in zip(gain[::-1], noise[::-1], strict=True):
        mean, variance = a * mean, a**2 * variance + sigma**2
    return mean, variance


def ancestral_law(chain: GaussianChain, variance: str) -> tuple[Array, Array]:
    """Mean and variance (d,) of what the ancestral sampler returns with the best network, from x_T ~ N(0, I).

    This is not the data's law: with T steps the sampler is off by what `step_variance` differs from the reverse
    variance.
    """
    step = ancestral_coefficients(chain.tables, variance)
    gain = step.x_t[:, None] + step.eps_hat[:, None] * chain.eps_gain
    start = np.zeros_like(chain.mean) - chain.marginal_mean[-1]
    deviation, spread = output_law(gain, step.z, start, np.ones_like(chain.mean))
    return chain.mean + deviation, spread


def ddim_law(chain: GaussianChain, timesteps: Integers, eta: float) -> tuple[Array, Array]:
    """Mean and variance (d,) of a DDIM sampler over the decreasing indices `timesteps`, from x_T ~ N(0, I)."""
    ascending = np.asarray(timesteps)[::-1]
    step = ddim_coefficients(chain.tables, ascending, np.append(-1, ascending[:-1]), eta).affine
    gain = step.x_t[:, None] + step.eps_hat[:, None] * chain.eps_gain[ascending]
    start = np.zeros_like(chain.mean) - chain.marginal_mean[ascending[-1] + 1]
    deviation, spread = output_law(gain, step.z, start, np.ones_like(chain.mean))
    return chain.mean + deviation, spread
