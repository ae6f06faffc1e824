"""Everything a DDPM does to one-dimensional mixtures of Gaussians, by quadrature: a law that is not Gaussian.

For x_0 ~ sum_k w_k N(m_k, v_k) every x_t is a mixture too, so the best denoiser is a formula: within a component
precisions add, and components are weighed by how well they explain x_t, on a logarithmic scale. A sampler's output then
has no closed form, but each of its steps is simple on a density: x goes to mean(x), a rising function, and a normal
number is added. The first moves the density by a change of variable, the second multiplies its Fourier transform by
exp(-sigma^2 k^2 / 2), both on a grid (`sampler_density`). What comes out is the exact law of the T-step sampler, which
is not the law of the data, so samples can be held against it without any tolerance for T.

Grids are far finer than any feature: the spline's error falls with the fourth power of (spacing / width), which is 1e-8
here, and the transform of a smooth density on an interval far wider than its support has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import log_ndtr, logsumexp, ndtr, softmax

from verification.oracle import ExactSchedule
from verification.oracle_gaussian import Array, posterior_coefficients, step_variance
from verification.oracle_likelihood import HALF_BIN, LEVELS, OPEN_END

REACH = 8.5
"""Grids cover [-8.5, 8.5]: beyond, a standard normal number is found once in 5e16 draws."""

POINTS = 2**14
"""Of a grid: 0.001 apart, a sixtieth of the narrowest component in use."""


@dataclass(frozen=True)
class Mixture:
    """Numbers x_0 ~ sum_k weights[k] N(means[k], deviations[k]^2); hashable, so tuples."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def posterior(self, tables: ExactSchedule, x_t: Array, t: int) -> tuple[Array, Array]:
        """Mean and variance of x_0 given `x_t` at index `t`, in the shape of x_t."""
        share, centre, within = self._components(tables, x_t, t)
        mean = np.sum(share * centre, axis=0)
        return mean, np.sum(share * (within + (centre - mean) ** 2), axis=0)

    def _components(self, tables: ExactSchedule, x_t: Array, t: int) -> tuple[Array, Array, Array]:
        """For each component its share in what explains `x_t`, and mean and variance of x_0 within it, (K, ...)."""
        a, v = float(tables.alpha_bar[t]), float(tables.one_minus_alpha_bar[t])
        weights, means, deviations = (
            np.reshape(each, (-1, *[1] * x_t.ndim)) for each in (self.weights, self.means, self.deviations)
        )
        variances = deviations**2
        marginal = a * variances + v
        log_share = np.log(weights) - ((x_t - math.sqrt(a) * means) ** 2 / marginal + np.log(marginal)) / 2
        within = 1 / (1 / variances + a / v)
        centre = within * (means / variances + math.sqrt(a) / v * x_t)
        return softmax(log_share, axis=0), centre, within

    def eps_hat(self, tables: ExactSchedule, x_t: Array, t: int) -> Array:
        """The best eps at index `t` for `x_t`, E[eps | x_t]: what is left of x_t without the expected x_0."""
        share, centre, _ = self._components(tables, x_t, t)
        kept = np.sqrt(tables.alpha_bar[t]) * np.sum(share * centre, axis=0)
        return np.asarray((x_t - kept) / np.sqrt(tables.one_minus_alpha_bar[t]))

    def bins(self) -> Array:
        """The probability of each of the 256 levels, (256,): of the bin around it, the outer two without end."""
        means, deviations = np.array(self.means)[:, None], np.array(self.deviations)[:, None]
        high = np.where(LEVELS > OPEN_END, np.inf, LEVELS + HALF_BIN)
        low = np.where(LEVELS < -OPEN_END, -np.inf, LEVELS - HALF_BIN)
        masses = ndtr((high - means) / deviations) - ndtr((low - means) / deviations)
        return np.asarray(np.array(self.weights) @ masses)


@dataclass(frozen=True, eq=False)
class Density:
    """A density on the points `x`, equally spaced, with the values `p`."""

    x: Array
    p: Array

    def cdf(self) -> Array:
        """The distribution function at the points, (POINTS,)."""
        rising = CubicSpline(self.x, self.p).antiderivative()(self.x)
        return np.asarray(rising / rising[-1])


def grid() -> Array:
    """The points of every density."""
    return np.linspace(-REACH, REACH, POINTS, endpoint=False)


def step_mean(tables: ExactSchedule, mixture: Mixture, t: int, x: Array) -> tuple[Array, Array]:
    """The mean of the sampler's step from `x` at index `t` with the best model, and its derivative.

    The model's x_0 enters the posterior's mean, and d E[x_0 | x] / dx = sqrt(a) / (1 - a) Var(x_0 | x).
    """
    posterior = posterior_coefficients(tables)
    mean, spread = mixture.posterior(tables, x, t)
    slope = math.sqrt(tables.alpha_bar[t]) / tables.one_minus_alpha_bar[t] * spread
    moved = posterior.x_0[t] * mean + posterior.x_t[t] * x
    return np.asarray(moved), np.asarray(posterior.x_0[t] * slope + posterior.x_t[t])


def moved(density: Density, to: Array, slope: Array) -> Density:
    """The density of y = to(x), a rising function with derivative `slope` at the points, on the same grid."""
    inside = np.concatenate([[True], np.diff(to) > 0])  # rounding may stop it from rising in the far tails
    spline = CubicSpline(to[inside], (density.p / slope)[inside])
    x = density.x
    outside = (x < to[inside][0]) | (x > to[inside][-1])
    return Density(x, np.where(outside, 0.0, np.maximum(spline(x), 0.0)))


def blurred(density: Density, sigma: float) -> Density:
    """The density after a normal number of deviation `sigma` is added."""
    frequency = 2 * math.pi * np.fft.rfftfreq(POINTS, d=2 * REACH / POINTS)
    transformed = np.fft.rfft(density.p) * np.exp(-(sigma**2) * frequency**2 / 2)
    return Density(density.x, np.maximum(np.fft.irfft(transformed, POINTS), 0.0))


@lru_cache(maxsize=8)
def sampler_density(tables: ExactSchedule, mixture: Mixture, variance: str) -> Density:
    """The density of the ancestral sampler's x at index 0, the input of its last step, from x_T ~ N(0, 1).

    With the best model for `mixture` and the step variance `variance`; Ho et al. 2020, Algorithm 2.
    """
    x = grid()
    density = Density(x, np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))
    sigma = np.sqrt(step_variance(tables, variance))
    for t in range(len(tables.beta) - 1, 0, -1):
        density = blurred(moved(density, *step_mean(tables, mixture, t, x)), float(sigma[t]))
    return density


def sampler_cdf(tables: ExactSchedule, mixture: Mixture, variance: str, values: Array) -> Array:
    """The distribution function of what the ancestral sampler returns, at `values`: its last step adds no noise."""
    density = sampler_density(tables, mixture, variance)
    to, _ = step_mean(tables, mixture, 0, density.x)
    inside = np.concatenate([[True], np.diff(to) > 0])
    between = PchipInterpolator(to[inside], density.cdf()[inside])
    return np.asarray(between(np.clip(values, to[inside][0], to[inside][-1])))


def model_bits(tables: ExactSchedule, mixture: Mixture, variance: str) -> Array:
    """-log2 p(x_0) of each of the 256 levels under the sampler's own law, with the discretised decoder, (256,).

    The integral of p(x_1) times the decoder's probability of the level; Ho et al. 2020, Eqs. 1 and 13.
    """
    density = sampler_density(tables, mixture, variance)
    mean, _ = step_mean(tables, mixture, 0, density.x)
    sigma = math.sqrt(step_variance(tables, variance)[0])
    mass = np.log(np.maximum(density.p / density.p.sum(), 1e-300))
    return np.array([-logsumexp(mass + _log_bin(level, mean, sigma)) / math.log(2) for level in LEVELS])


def _log_bin(level: float, mean: Array, sigma: float) -> Array:
    """The logarithm of the mass of N(mean, sigma^2) on the bin around `level`, from the nearer tail."""
    low = -math.inf if level < -OPEN_END else level - HALF_BIN
    high = math.inf if level > OPEN_END else level + HALF_BIN
    below, above = (low - mean) / sigma, (high - mean) / sigma
    mirrored = below + above > 0
    below, above = np.where(mirrored, -above, below), np.where(mirrored, -below, above)
    inner, outer = log_ndtr(below), log_ndtr(above)
    return np.asarray(outer + np.log1p(-np.exp(np.minimum(inner - outer, -1e-300))))
