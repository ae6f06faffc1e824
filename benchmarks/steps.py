"""Where did a long history change its level? A step detector that a slowly varying machine does not fool.

Sessions on one machine are not independent: it stays fast or slow for a while. With y_1 … y_n the logarithms of the
times, ρ their correlation from one to the next and R = (ρ^|i−j|) that of all, every split k is asked for

    T_k = |c_kᵀ y| / (s sqrt(c_kᵀ R c_k)),        c_kᵀ y = mean(y_{k+1} … y_n) − mean(y_1 … y_k),

the difference of levels over its standard deviation, which R makes wider for few points and strong correlation. s and
ρ come from what the best splits leave over, so that a step does not pass for noise; ρ̂ is raised by (2 + 4ρ̂)/n, as two
fitted levels and the short series bias it down (Marriott and Pope 1954). A step is where T_k is largest, if it exceeds

    a(n) + ρ̂

with a(n) such that at most 1 % of series without a step have one: normal, skewed (exponential) and heavy-tailed (t with
3 degrees of freedom) ones without correlation, and normal ones with ρ = 0.25 and 0.5. The numbers are found by
simulation (`calibrated`). The term ρ̂ asks more of series that look correlated, whose ρ̂ says least about ρ.

On both sides of a step the search goes on (binary segmentation, Scott and Knott 1974). A step of 3 % at 1 % of noise is
found at its fifth point in 95 % of white series of 60 points or more and in 79 % of 40; at ρ = 0.5 five points hold the
information of two, and 40 to 50 % are found by then. Shorter than `SHORTEST` nothing is claimed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FEWEST = 5
"""Points on either side of a step."""

SHORTEST = 20
"""Length of the shortest series that is searched."""

MOST_CORRELATED = 0.9
"""Largest ρ̂ that is used: beyond, a series wanders and has no level."""

FALSE_STEPS = 0.01
"""Share of series without a step in which one is found."""

CONFIDENCE = 0.95
"""Of a step's interval."""

CRITICAL = {20: 6.01, 30: 5.29, 40: 4.93, 60: 4.35, 80: 4.07, 100: 4.00, 150: 4.12, 200: 4.19, 400: 4.40}
"""n to a(n), what `calibrated` finds and 0.05 for the error of 20 000 series; between two lengths linear in log n."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """A change of level."""

    index: int
    """the first point of the new level"""
    ratio: float
    """new level over old: above 1 is slower"""
    interval: tuple[float, float]
    """of the ratio, at `CONFIDENCE`, for a step at this place"""
    statistic: float
    """T at the step"""
    critical: float
    """what it had to exceed"""


def find(seconds: Sequence[float]) -> list[Step]:
    """The steps in a series of times, in its order; empty for fewer than `SHORTEST` points.

    Raises `ValueError` for times that are not finite and positive.
    """
    times = np.asarray(seconds, np.float64)
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError("a history of times must be finite and positive")
    return sorted(_search(np.log(times), 0), key=lambda step: step.index)


def _search(y: Array, offset: int) -> list[Step]:
    if len(y) < SHORTEST:
        return []
    found = _largest(y[None, :])
    critical = _critical(len(y)) + float(found.rho[0])
    if not found.statistic[0] > critical:
        return []
    k, width = int(found.split[0]), float(found.deviation[0])
    change = float(y[k:].mean() - y[:k].mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(y) - 2)) * width
    step = Step(
        index=offset + k,
        ratio=math.exp(change),
        interval=(math.exp(change - half), math.exp(change + half)),
        statistic=float(found.statistic[0]),
        critical=critical,
    )
    return [step, *_search(y[:k], offset), *_search(y[k:], offset + k)]


@dataclass(frozen=True)
class _Largest:
    """The best split of each of N series."""

    statistic: Array
    split: NDArray[np.int64]
    rho: Array
    deviation: Array
    """standard deviation of the difference of levels there"""


def _largest(series: Array) -> _Largest:
    """The largest T of each series, (N, n) float64."""
    n = series.shape[1]
    splits, contrasts, widths = _contrasts(n)
    differences = series @ contrasts.T
    residuals = np.array([_without_levels(one) for one in series])
    energy = (residuals**2).sum(axis=1)
    safe = np.where(
        energy > 0, energy, 1.0
    )  # a series of two exact levels leaves nothing over, and correlates with nothing
    rho = (residuals[:, 1:] * residuals[:, :-1]).sum(axis=1) / safe
    rho = np.clip(rho + (2 + 4 * np.clip(rho, 0, 1)) / n, 0, MOST_CORRELATED)
    deviations = np.sqrt(energy / (n - 2))[:, None] * widths[np.rint(rho * 100).astype(int)]
    with np.errstate(divide="ignore", invalid="ignore"):  # levels without noise: T is infinite where they differ
        statistic = np.where(deviations > 0, np.abs(differences) / deviations, np.where(differences != 0, np.inf, 0.0))
    best = np.argmax(statistic, axis=1)
    rows = np.arange(len(series))
    return _Largest(statistic[rows, best], splits[best], rho, deviations[rows, best])


def _without_levels(y: Array) -> Array:
    """What the levels of one series leave over: of its best split, and of further ones that each halve what is left.

    A second step that large would otherwise count as noise, and hide the first; noise itself is hardly ever halved.
    """
    edges = [0, len(y)]
    left: Array = y - y.mean()
    while True:
        gains = [_gain(left[i:j]) for i, j in itertools.pairwise(edges)]
        best = int(np.argmax([gain for gain, _ in gains]))
        if len(edges) > 2 and not gains[best][0] > 0.5 * float(left @ left):
            return left
        if gains[best][1] == 0:
            return left
        edges.insert(best + 1, edges[best] + gains[best][1])
        left = np.concatenate([y[i:j] - y[i:j].mean() for i, j in itertools.pairwise(edges)])


def _gain(part: Array) -> tuple[float, int]:
    """By how much the best split of a part lowers its sum of squares, and where it is; 0 and 0 if it is too short."""
    n = len(part)
    if n < 2 * FEWEST:
        return 0.0, 0
    splits = np.arange(FEWEST, n - FEWEST + 1)
    sums = np.cumsum(part)
    change = (sums[-1] - sums[splits - 1]) / (n - splits) - sums[splits - 1] / splits
    gains = change**2 * splits * (n - splits) / n
    best = int(np.argmax(gains))
    return float(gains[best]), int(splits[best])


@lru_cache(maxsize=32)
def _contrasts(n: int) -> tuple[NDArray[np.int64], Array, Array]:
    """The splits k of n points, their c_k (K, n), and sqrt(c_kᵀ R c_k) for ρ = 0, .01, …, .9, (91, K)."""
    splits = np.arange(FEWEST, n - FEWEST + 1)
    place = np.arange(n)
    after = place[None, :] >= splits[:, None]
    contrasts = np.where(after, 1 / (n - splits)[:, None], -1 / splits[:, None])
    apart = np.abs(place[:, None] - place[None, :])
    rhos = np.arange(round(100 * MOST_CORRELATED) + 1) / 100
    widths = [np.sqrt(((contrasts @ rho**apart) * contrasts).sum(axis=1)) for rho in rhos]
    return splits, contrasts, np.array(widths)


def _critical(n: int) -> float:
    """a(n)."""
    return float(np.interp(math.log(n), np.log(list(CRITICAL)), list(CRITICAL.values())))


NULL = {
    "white": (0.0, lambda random, shape: random.standard_normal(shape)),
    "skewed": (0.0, lambda random, shape: random.exponential(1.0, shape)),
    "heavy": (0.0, lambda random, shape: random.standard_t(3, shape)),
    "slightly correlated": (0.25, lambda random, shape: random.standard_normal(shape)),
    "correlated": (0.5, lambda random, shape: random.standard_normal(shape)),
}
"""Series without a step: ρ, and what drives them."""


def drawn(kind: str, count: int, n: int, random: np.random.Generator) -> Array:
    """`count` series of `NULL` with n points, (count, n); an AR(1) is started where it is stationary."""
    rho, draw = NULL[kind]
    shocks = draw(random, (count, n + 64))  # type: ignore[no-untyped-call]  # a table of lambdas
    values = np.empty_like(shocks)
    values[:, 0] = shocks[:, 0]
    for i in range(1, n + 64):
        values[:, i] = rho * values[:, i - 1] + math.sqrt(1 - rho**2) * shocks[:, i]
    return np.asarray(values[:, 64:], np.float64)


def calibrated(n: int, *, count: int = 20_000, seed: int = 0) -> float:
    """a(n) by simulation: the largest, over the kinds of `NULL`, of the quantile of T − ρ̂ that `FALSE_STEPS` exceed."""
    random = np.random.default_rng(seed)
    quantiles = []
    for kind in NULL:
        found = _largest(drawn(kind, count, n, random))
        quantiles.append(float(np.quantile(found.statistic - found.rho, 1 - FALSE_STEPS)))
    return max(quantiles)
