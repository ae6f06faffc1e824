"""Steps in a history: where did the times jump, and by how much, when neighbours in time resemble each other?

A series y_t, the logarithm of one cell's seconds a call in session after session, is a level with steps plus noise that
remembers the session before:

    y_t = μ + δ·[t ≥ k] + e_t,      e_t = ρ e_{t−1} + ε_t

For each place k with at least `LEAST` points on both sides, δ is estimated by generalised least squares: subtract ρ
times the point before from each point (Cochrane and Orcutt 1949), the first point scaled by √(1 − ρ²) instead (Prais
and Winsten 1954). A step is where T_k = δ̂_k / se(δ̂_k) is largest, if |T_k| exceeds what noise without a step reaches
in one series of a hundred. On both sides of a step the search goes on (binary segmentation, Vostrikova 1981).

Two things make the usual detectors jumpy, and are met here. The residuals' lag-one correlation, of a fit that was free
to choose k, is far below ρ; so it is raised by `RAISE` / n, too far for white noise, and the threshold makes up for
it. And the largest of many correlated T_k has no law in a book; so `CRITICAL` are its 99 % quantiles by simulation
(`calibrate`), the largest over white, strongly skewed, heavy-tailed and AR(0.5) noise. How much is found is in
docs/clock.md: a step of three standard deviations within five points, in 95 of 100 white series of 60 points or more.

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

RAISE = 8
"""What ρ̂ is raised by, times the number of points. Of 0, 1, 2, 5, 8 and 12, each with thresholds of its own, this finds
most steps of three standard deviations in the last five of 30 to 60 points."""

MOST_MEMORY = 0.8
"""The largest ρ̂: beyond, a step and a slow drift cannot be told apart in a history of a hundred points."""

CRITICAL: dict[int, float] = {
    15: 4.35, 20: 4.39, 25: 4.4, 30: 4.41, 40: 4.21, 50: 4.17, 60: 4.13, 80: 4.09, 100: 4.07, 150: 4.26, 200: 4.39,
}  # fmt: skip
"""Points of a series to the |T| that is exceeded with probability `RATE` without a step; `calibrate` makes them,
rounded up."""

KEPT_BACK = 0.1
"""Share of `RATE` kept back for what simulation and interpolation of the thresholds get wrong: 40 000 series fix a 99 %
quantile to 0.02, which is a fifteenth of the rate."""

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
    statistic: float
    """T: the logarithm of the ratio over its standard error"""
    critical: float
    """what |T| had to exceed"""
    correlation: float
    """lag-one correlation of the noise that was reckoned with"""


@dataclass(frozen=True)
class Scan:
    """What every place k of (N, n) series says, arrays (N, places)."""

    places: NDArray[np.int64]
    """(places,): index of the first point after the step"""
    correlation: Array
    shift: Array
    error: Array
    """standard error of `shift`"""
    variance: Array
    """of the innovations"""

    @property
    def statistic(self) -> Array:
        """T; 0 where nothing varies and nothing is shifted."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.nan_to_num(self.shift / self.error, nan=0.0, posinf=np.inf, neginf=-np.inf))


def find(seconds: Sequence[float] | Array) -> list[Step]:
    """The steps of a series of times, in its order; none in fewer than `SHORTEST` points.

    Raises `ValueError` for times that are not finite and positive.
    """
    times = np.asarray(seconds, np.float64)
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError("a history of times must be finite and positive")
    return sorted(_search(np.log(times), 0), key=lambda step: step.index)


def critical(points: int) -> float:
    """What |T| must exceed in a series of so many points: between two calibrated lengths, linear in 1/n."""
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
    """The most pronounced step of one series, if it exceeds the threshold."""
    scan = scanned(series[np.newaxis])
    size = np.abs(scan.statistic[0])
    best = int(np.argmax(size))
    if not size[best] > critical(len(series)):
        return None
    shift, error = float(scan.shift[0, best]), float(scan.error[0, best])
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(series) - 3)) * error
    first, last = _whereabouts(series, scan, best)
    return Step(
        index=offset + int(scan.places[best]),
        ratio=math.exp(shift),
        interval=(math.exp(shift - half), math.exp(shift + half)),
        between=(offset + first, offset + last),
        statistic=float(scan.statistic[0, best]),
        critical=critical(len(series)),
        correlation=float(scan.correlation[0, best]),
    )


def _whereabouts(series: Array, scan: Scan, best: int) -> tuple[int, int]:
    """The first and the last place whose likelihood is near enough to the best one's, at that one's correlation."""
    same = scanned(series[np.newaxis], correlation=float(scan.correlation[0, best]))
    variance = same.variance[0]
    if not variance[best] > 0:
        return (int(scan.places[best]),) * 2
    likely = len(series) * np.log(variance / variance[best]) < -2 * math.log(1 - math.sqrt(CONFIDENCE))
    return int(scan.places[likely][0]), int(scan.places[likely][-1])


def scanned(series: Array, correlation: float | None = None) -> Scan:
    """Every place of (N, n) series; at the `correlation` given, or at that of the residuals at each place."""
    count = series.shape[1]
    k = np.arange(LEAST, count - LEAST + 1)
    y = series - series.mean(axis=1, keepdims=True)
    rho = _correlation(y, k) if correlation is None else np.full((len(y), len(k)), correlation)
    return _generalised(y, k, rho)


def _correlation(y: Array, k: NDArray[np.int64]) -> Array:
    """Lag-one correlation of the residuals of two means, raised; from cumulative sums, (N, places)."""
    count = y.shape[1]
    sums = np.cumsum(y, axis=1)
    lagged = np.pad(np.cumsum(y[:, 1:] * y[:, :-1], axis=1), ((0, 0), (1, 0)))
    before, after = sums[:, k - 1], sums[:, -1:] - sums[:, k - 1]
    low, high = before / k, after / (count - k)
    squares = (y**2).sum(axis=1, keepdims=True) - k * low**2 - (count - k) * high**2
    left = lagged[:, k - 1] - low * (2 * before - y[:, :1] - y[:, k - 1]) + (k - 1) * low**2
    right = lagged[:, -1:] - lagged[:, k] - high * (2 * after - y[:, k] - y[:, -1:]) + (count - k - 1) * high**2
    across = (y[:, k - 1] - low) * (y[:, k] - high)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.nan_to_num((left + right + across) / squares, posinf=0.0, neginf=0.0)
    return np.asarray(np.clip(found + RAISE / count, 0.0, MOST_MEMORY))


def _generalised(y: Array, k: NDArray[np.int64], rho: Array) -> Scan:
    """Generalised least squares of level and step at each k: normal equations of the transformed series, 2 × 2.

    Transformed, the level's column is √(1 − ρ²), q, q, …, with q = 1 − ρ, and the step's 0, …, 0, 1, q, q, …
    """
    count = y.shape[1]
    sums = np.cumsum(y, axis=1)
    total, first, last = sums[:, -1:], y[:, :1], y[:, -1:]
    q, head = 1 - rho, 1 - rho**2
    level_level = head + (count - 1) * q**2
    step_step = 1 + (count - k - 1) * q**2
    level_step = q + (count - k - 1) * q**2
    level_y = head * first + q * (total - first - rho * (total - last))
    after = total - sums[:, k] - rho * (total - last - sums[:, k - 1])
    step_y = y[:, k] - rho * y[:, k - 1] + q * after
    squares = (y**2).sum(axis=1, keepdims=True)
    lagged = (y[:, 1:] * y[:, :-1]).sum(axis=1, keepdims=True)
    y_y = head * first**2 + squares - first**2 - 2 * rho * lagged + rho**2 * (squares - last**2)
    determinant = level_level * step_step - level_step**2
    shift = (level_level * step_y - level_step * level_y) / determinant
    level = (step_step * level_y - level_step * step_y) / determinant
    variance = np.maximum(y_y - level * level_y - shift * step_y, 0.0) / (count - 3)
    return Scan(k, rho, shift, np.sqrt(variance * level_level / determinant), variance)


def calibrate(points: int, series: int = 40_000, seed: int = 0) -> float:
    """What max |T| exceeds at 0.9 `RATE` in series of so many points without a step, for the worst of `LAWS`."""
    quantiles = []
    for law in LAWS:
        random = np.random.default_rng((seed, points, LAWS.index(law)))
        largest = [
            np.abs(scanned(noise(law, (block, points), random)).statistic).max(axis=1)
            for block in [2000] * (series // 2000)
        ]
        quantiles.append(float(np.quantile(np.concatenate(largest), 1 - (1 - KEPT_BACK) * RATE)))
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
