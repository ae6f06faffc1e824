"""Steps in a history: where did the times jump, and by how much, when neighbours in time resemble each other?

A series y_t, the logarithm of one cell's seconds a call in session after session, is a level with steps plus noise that
remembers the session before:

    y_t = μ + δ·[t ≥ k] + e_t,      e_t = ρ e_{t−1} + ε_t

How likely a series is without a step, at a given ρ, follows by integrating level and scale out of the normal law, with
Jeffreys' priors (Zellner 1971). Subtract ρ times the point before from each point (Cochrane and Orcutt 1949), the first
point scaled by √(1 − ρ²) instead (Prais and Winsten 1954). Let L be the level's column times itself, Q the squares of
the series about it, and u and G the step's column times the series and times itself, each without its part along the
level's. With a step δ of variance `SIZE`² σ², which is τ times that of ε_t,

    p(y | ρ)     ∝ √((1 − ρ²) / L) · Q^(−(n−1)/2)
    p(y | ρ, k)  = p(y | ρ) · (1 + τ G)^(−1/2) · (1 − u² / (Q (G + 1/τ)))^(−(n−1)/2)

Nobody knows ρ or k, so both are averaged over what they may be (`MEMORIES`, `WITHOUT`, `WITH`, `FRESH`), and a step is
told when

    Λ = log [ Σ_k w_k Σ_ρ p₁(ρ) p(y | ρ, k)  /  Σ_ρ p₀(ρ) p(y | ρ) ]

exceeds what noise without a step reaches in one series of a hundred. It is at the likeliest k. On both sides of it the
search goes on (binary segmentation, Vostrikova 1981).

Two things make the usual detectors jumpy, and are met here. A fit that is free to choose k leaves residuals whose
lag-one correlation is far below ρ; so ρ is not estimated: noise with memory is a rival explanation of the whole
series. And Λ has no law in a book; so `CRITICAL` are its 99 % quantiles by simulation (`calibrate`), the largest over
white, strongly skewed, heavy-tailed and AR(0.5) noise. How much is found is in docs/clock.md: a step of three standard
deviations within five points, in 95 of 100 white series of 30 points or more.

Where it lies is told by the likelihood ratio: of a two-sided random walk with drift, the maximum beyond the true place
is that of two exponential variables (Siegmund 1988), so places with n log(s²_k / s²_min) < −2 log(1 − √0.95) hold it
in 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

Array = NDArray[np.float64]

RATE = 0.01
"""False steps a series without one."""

CONFIDENCE = 0.95
"""Of the interval of a step's ratio and of its place."""

LEAST = 4
"""Points on either side of a step. With fewer, one or two outliers of skewed noise look like a level."""

SIZE = 3.0
"""Standard deviation that a step is expected to have, in those of the noise."""

FRESH = 0.55
"""Weight of the two places with `LEAST` points or one more after them: whoever looks after every new point meets each
step there first. The rest is spread evenly over all places. The more, the sooner a step is found in 30 points, and the
more easily it is lost among later ones; this is what 95 % within five points take."""

MEMORIES = (0.0, 0.25, 0.5, 0.75)
"""What ρ may be."""

WITHOUT = (0.33, 0.33, 0.33, 0.01)
"""p₀, their weights without a step. Without the last, a third of long AR(0.85) series would have a step; a larger one
hides steps in AR(0.5)."""

WITH = (0.65, 0.25, 0.098, 0.002)
"""p₁, their weights with a step: what is one should not need memory, too. Of those tried, with p₀ and `FRESH`, these
find most in 30 to 60 points (docs/clock.md)."""

CRITICAL: dict[int, float] = {
    15: 2.84, 20: 2.78, 25: 2.66, 30: 2.61, 40: 2.22, 50: 2.51, 60: 2.65, 80: 2.95, 100: 3.41, 150: 4.06,
    200: 4.45,
}  # fmt: skip
"""Points of a series to the Λ that is exceeded with probability `RATE` without a step; `calibrate` makes them,
rounded up."""

KEPT_BACK = 0.1
"""Share of `RATE` kept back for what simulation and interpolation of the thresholds get wrong: 40 000 series know a
rate of 0.9 % to a twentieth."""

LAWS = ("white", "skewed", "skewed down", "heavy", "autoregressive")
"""Noise for which the threshold holds: normal, exponential, its mirror image, Student's t with 3 degrees of
freedom, AR(0.5)."""

SHORTEST = 15
"""Points of a series below which no step is told."""


@dataclass(frozen=True)
class Step:
    """A place where the level changed."""

    index: int
    """of the first point after it"""
    ratio: float
    """level after over level before: above 1 is slower"""
    interval: tuple[float, float]
    """of the ratio, at `CONFIDENCE`"""
    between: tuple[int, int]
    """the first and last index that it may have, at `CONFIDENCE`"""
    evidence: float
    """Λ of the series that it was found in"""
    critical: float
    """what Λ had to exceed"""
    correlation: float
    """lag-one correlation of the noise that was reckoned with"""


@dataclass(frozen=True)
class Evidence:
    """What (N, n) series say of a step, and of each place k that it may have."""

    places: NDArray[np.int64]
    """(places,): index of the first point after the step"""
    total: Array
    """Λ, (N,)"""
    place: Array
    """log-likelihood of each place with its weight, up to what all have in common, (N, places)"""
    correlation: Array
    """mean of ρ given the place, (N, places)"""


@dataclass(frozen=True)
class Scan:
    """Generalised least squares of level and step at every place k of (N, n) series, at one ρ; arrays (N, places)."""

    shift: Array
    error: Array
    """standard error of `shift`"""
    variance: Array
    """of the innovations"""


def find(seconds: Sequence[float] | Array) -> list[Step]:
    """The steps of a series of times, in its order; none in fewer than `SHORTEST` points.

    Raises `ValueError` for times that are not finite and positive.
    """
    times = np.asarray(seconds, np.float64)
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError("a history of times must be finite and positive")
    return sorted(_search(np.log(times), 0), key=lambda step: step.index)


def critical(points: int) -> float:
    """What Λ must exceed in a series of so many points: between two calibrated lengths, linear in 1/n."""
    known = sorted(CRITICAL, reverse=True)
    return float(np.interp(1 / points, [1 / n for n in known], [CRITICAL[n] for n in known]))


def _search(series: Array, offset: int) -> list[Step]:
    if len(series) < SHORTEST or np.ptp(series) == 0:
        return []
    step = _largest(series, offset)
    if step is None:
        return []
    cut = step.index - offset
    return [step, *_search(series[:cut], offset), *_search(series[cut:], step.index)]


def _largest(series: Array, offset: int) -> Step | None:
    """The most pronounced step of one series, if there is evidence enough."""
    found = weighed(series[np.newaxis])
    if not found.total[0] > critical(len(series)):
        return None
    best = int(np.argmax(found.place[0]))
    correlation = float(found.correlation[0, best])
    scan = scanned(series[np.newaxis], correlation)
    shift, error = float(scan.shift[0, best]), float(scan.error[0, best])
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(series) - 3)) * error
    first, last = found.places[_likely(scan.variance[0], best, len(series))][[0, -1]]
    return Step(
        index=offset + int(found.places[best]),
        ratio=math.exp(shift),
        interval=(math.exp(shift - half), math.exp(shift + half)),
        between=(offset + int(first), offset + int(last)),
        evidence=float(found.total[0]),
        critical=critical(len(series)),
        correlation=correlation,
    )


def _likely(variance: Array, best: int, count: int) -> NDArray[np.bool_]:
    """Which places have a likelihood near enough to that of the best one, which is always among them."""
    near = variance <= variance[best]  # also where nothing varies
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(near | (count * np.log(variance / variance[best]) < -2 * math.log(1 - math.sqrt(CONFIDENCE))))


def weighed(series: Array) -> Evidence:
    """The evidence for a step in each of (N, n) series, none of them constant."""
    y = series - series.mean(axis=1, keepdims=True)
    k = _places(series.shape[1])
    at = [_log_likelihoods(y, k, rho) for rho in MEMORIES]
    with np.errstate(divide="ignore"):
        without = np.logaddexp.reduce([one[0] + weight for one, weight in zip(at, np.log(WITHOUT), strict=True)])
        each = np.stack([one[1] + weight for one, weight in zip(at, np.log(WITH), strict=True)])
    place = np.logaddexp.reduce(each) + _log_weights(len(k))
    shares = np.exp(each - each.max(axis=0))
    correlation = np.tensordot(MEMORIES, shares, axes=1) / shares.sum(axis=0)
    return Evidence(k, np.logaddexp.reduce(place, axis=1) - without[:, 0], place, correlation)


def _places(count: int) -> NDArray[np.int64]:
    return np.arange(LEAST, count - LEAST + 1)


def _log_weights(places: int) -> Array:
    """The logarithms of w_k."""
    weights = np.full(places, (1 - FRESH) / places)
    weights[-2:] += FRESH / 2
    return np.asarray(np.log(weights))


def _log_likelihoods(y: Array, k: NDArray[np.int64], rho: float) -> tuple[Array, Array]:
    """The logarithms of p(y | ρ), (N, 1), and of p(y | ρ, k), (N, places)."""
    level, u, step, squares = _reduced(y, k, rho)
    half = (y.shape[1] - 1) / 2
    tau = SIZE**2 / (1 - rho**2)
    without = 0.5 * math.log((1 - rho**2) / level) - half * np.log(squares)
    gain = -0.5 * np.log1p(tau * step) - half * np.log1p(-(u**2) / (squares * (step + 1 / tau)))
    return without, without + gain


def scanned(series: Array, correlation: float) -> Scan:
    """Every place of (N, n) series by generalised least squares."""
    _, u, step, squares = _reduced(series - series.mean(axis=1, keepdims=True), _places(series.shape[1]), correlation)
    variance = np.maximum(squares - u**2 / step, 0.0) / (series.shape[1] - 3)
    return Scan(u / step, np.sqrt(variance / step), variance)


def _reduced(y: Array, k: NDArray[np.int64], rho: float) -> tuple[float, Array, Array, Array]:
    """L, u (N, places), G (places,) and Q (N, 1) of series without their mean, from cumulative sums.

    Transformed, the level's column is √(1 − ρ²), q, q, …, with q = 1 − ρ, and the step's 0, …, 0, 1, q, q, …
    """
    count = y.shape[1]
    sums = np.cumsum(y, axis=1)
    total, first, last = sums[:, -1:], y[:, :1], y[:, -1:]
    q, head = 1 - rho, 1 - rho**2
    level = head + (count - 1) * q**2
    level_step = q + (count - k - 1) * q**2
    level_y = head * first + q * (total - first - rho * (total - last))
    after = total - sums[:, k] - rho * (total - last - sums[:, k - 1])
    step_y = y[:, k] - rho * y[:, k - 1] + q * after
    y_y = head * first**2 + ((y[:, 1:] - rho * y[:, :-1]) ** 2).sum(axis=1, keepdims=True)
    step_step = 1 + (count - k - 1) * q**2
    return level, step_y - level_step * level_y / level, step_step - level_step**2 / level, y_y - level_y**2 / level


def calibrate(points: int, series: int = 40_000, seed: int = 0) -> float:
    """What Λ exceeds at 0.9 `RATE` in series of so many points without a step, for the worst of `LAWS`."""
    quantiles = []
    for law in LAWS:
        random = np.random.default_rng((seed, points, LAWS.index(law)))
        totals = [weighed(noise(law, (block, points), random)).total for block in [2000] * (series // 2000)]
        quantiles.append(float(np.quantile(np.concatenate(totals), 1 - (1 - KEPT_BACK) * RATE)))
    return max(quantiles)


def noise(law: str, shape: tuple[int, int], random: np.random.Generator) -> Array:
    """Series of one of `LAWS`."""
    if law == "white":
        return np.asarray(random.standard_normal(shape))
    if law == "heavy":
        return np.asarray(random.standard_t(3, shape))
    if law == "autoregressive":
        innovations = random.standard_normal(shape)
        innovations[:, 0] /= math.sqrt(1 - 0.5**2)  # stationary from the first point on
        return np.asarray(signal.lfilter([1.0], [1.0, -0.5], innovations, axis=1))
    return np.asarray((1 if law == "skewed" else -1) * random.standard_exponential(shape))
