"""Where the middle of a few values lies, with as few assumptions as they allow.

From `enough(alpha)` values on, the interval is that of the signed-rank test (Wilcoxon 1945; Walsh 1949; Hodges and
Lehmann 1963): of the n(n + 1)/2 averages of two values, each also with itself, sorted,

    low = A_(k),   high = A_(N+1−k),   centre = median A,     k the largest with P(W < k) ≤ alpha

where W, the sum of the ranks of the positive values among n that are symmetric about 0, has the law of Σ i·b_i with
fair coins b_i. It holds at *every* n for *every* symmetric noise, heavy-tailed and bimodal too, and exchanging two
arms that are alike changes nothing but the sign of their log-ratios: symmetry is what a comparison of a program with
itself has.

Student's t does not do there: when processes fall into two modes, the first five pairs lie in the same one with
probability 2⁻⁴, spread far less than pairs do, and "slower" is said for 3 % of programs compared with themselves
where 1 % is stated (docs/clock.md). No interval helps below `enough` values: of n symmetric values all n lie on one
side with probability 2⁻ⁿ. For fewer, the interval is Student's, and its name says that it takes the noise for normal.

All that is for pairs. **One arm alone** (`one_arm`) has no partner that met the same moment, and its processes are not
symmetric about anything. Its interval is for the cell's level on this machine over the sessions in which it stays as it
is: the mean of the logarithm of a process's time, over the machine's moods and not only those of the minutes when it
was measured. (A change from then on is what `steps.py` finds.) Processes that remember the one before, as an AR(1) with
ρ = `MEMORY`, have a mean of larger variance and a sample variance s² that is too small and has fewer degrees of
freedom. With their correlations C, and centred ones P C, where P = I − 11ᵀ/n,

    half-width = t(ν) s √(f / n),      f = (1ᵀC 1 / n) / m,      m = tr(P C) / (n − 1),      ν = tr(P C)² / tr(P C P C)

ν by matching the first two moments of s² (Satterthwaite 1946); exact for two. f is about 3.1 from three processes on:
the interval is 1.7 to 2 times Student's, and no estimate of ρ from a handful of processes could tell when it need not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

SIGNED_RANKS = "signed ranks"
STUDENT = "Student's t"
REMEMBERED = "Student's t with memory"
UNMET = "two speeds"

MEMORY = 0.5
"""Lag-one correlation that the processes of one arm may have. One look at a few processes cannot tell it from none."""

SPEEDS = 0.035
"""How far apart a process's speeds may be, in logarithms: two modes 3 % apart, and what varies within a mode.

Five processes are all in the same of two modes with probability 2⁻⁴, and with `MEMORY` 0.32: then they agree, about the
wrong time. So the interval of one arm reaches at least half of this to either side or, from ten processes on, as far as
the mean of so many at two such speeds may be off.
"""

SERIAL = math.sqrt((1 + math.sqrt(2)) / 2)
"""What widens the interval of pairs whose processes ran one after the other, in ABBA order.

If a process's effect remembers the one before it as an AR(1) with ρ, the mean of the differences has a variance larger
than that of independent ones by f(ρ) = 1 + ρ(1 − ρ)/(1 + ρ²): differences k pairs apart have the covariance
−ρ^(2k−1) (1 − ρ)² times the alternating sign of ABBA, and a variance of 2(1 − ρ); the rest is a geometric sum. f is
largest at ρ = √2 − 1, where it is (1 + √2)/2. Pairs side by side, whose turns alternate, meet the same moment twice.
"""

_DRAWS = 4000
_MOST_DRAWN = 60


@dataclass(frozen=True)
class Interval:
    """A middle with its two-sided interval at confidence 1 − 2 alpha."""

    centre: float
    low: float
    high: float
    method: str
    """`SIGNED_RANKS` (any symmetric noise), `STUDENT` (normal noise), `REMEMBERED` (normal noise with memory) or
    `UNMET` (as wide as `SPEEDS` ask)"""

    def stretched(self, factor: float) -> Interval:
        """The interval made wider by `factor` about its centre."""
        low, high = (self.centre + factor * (bound - self.centre) for bound in (self.low, self.high))
        return Interval(self.centre, low, high, self.method)


def interval(values: Sequence[float] | NDArray[np.float64], alpha: float) -> Interval:
    """The middle of at least two `values`; each bound errs at the rate `alpha`."""
    array = np.asarray(values, np.float64)
    return signed_ranks(array, alpha) if len(array) >= enough(alpha) else student(array, alpha)


def signed_ranks(values: NDArray[np.float64], alpha: float) -> Interval:
    """The interval of the signed-rank test. Raises `ValueError` for fewer than `enough(alpha)` values."""
    k = rank(len(values), alpha)
    if k == 0:
        raise ValueError(f"{len(values)} values bound nothing at the rate {alpha}: {enough(alpha)} are the least")
    averages = np.sort(walsh(values))
    return Interval(float(np.median(averages)), float(averages[k - 1]), float(averages[-k]), SIGNED_RANKS)


def student(values: NDArray[np.float64], alpha: float) -> Interval:
    """Mean and interval by Student (1908)."""
    count, mean = len(values), float(values.mean())
    half = float(stats.t.ppf(1 - alpha, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, STUDENT)


def one_arm(logs: Sequence[float] | NDArray[np.float64], alpha: float) -> Interval:
    """The level of a cell from the logarithms of the times of at least two processes; each bound errs at `alpha`.

    Where processes vary too little to have met both of two speeds, `SPEEDS` decide, and the method is `UNMET`.
    """
    values = np.asarray(logs, np.float64)
    count, mean = len(values), float(values.mean())
    inflation, degrees = remembered(count)
    half = float(stats.t.ppf(1 - alpha, degrees)) * float(values.std(ddof=1)) * math.sqrt(inflation / count)
    least = unmet(count, alpha)
    return Interval(mean, mean - max(half, least), mean + max(half, least), REMEMBERED if half >= least else UNMET)


@cache
def unmet(count: int, alpha: float) -> float:
    """The least half-width of one arm: `SPEEDS` / 2, or what the mean of so many processes at two speeds may be off."""
    deviations = float(stats.norm.ppf(1 - alpha)) * math.sqrt(_memory(count).sum()) / count
    return SPEEDS / 2 * min(1.0, deviations)


@cache
def remembered(count: int) -> tuple[float, float]:
    """How much larger the variance of the mean of so many is than s²/n, f, and the degrees of freedom of s², ν."""
    memory = _memory(count)
    centred = memory - memory.mean(axis=0)
    trace = float(np.trace(centred))
    return float(memory.sum()) / count * (count - 1) / trace, trace**2 / float((centred * centred.T).sum())


def _memory(count: int) -> NDArray[np.float64]:
    """C: correlations of processes one after the other."""
    order = np.arange(count)
    return np.asarray(MEMORY ** np.abs(order - order[:, np.newaxis]), np.float64)


def walsh(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, n) → (…, n(n + 1)/2): the averages of two values, each also with itself."""
    i, j = np.triu_indices(values.shape[-1])
    averages: NDArray[np.float64] = (values[..., i] + values[..., j]) / 2
    return averages


def enough(alpha: float) -> int:
    """The fewest values of symmetric noise that bound their middle at the rate `alpha`: 2⁻ⁿ ≤ alpha."""
    return math.ceil(-math.log2(alpha) - 1e-9)


@cache
def rank(count: int, alpha: float) -> int:
    """Which of the sorted averages is the lower bound, from 1; 0 where there are too few values."""
    below = _signed_rank_cdf(count)
    return int(np.searchsorted(below, alpha * (1 + 1e-9), side="right"))


@lru_cache(maxsize=64)
def _signed_rank_cdf(count: int) -> NDArray[np.float64]:
    """P(W ≤ w) for w = 0 … n(n + 1)/2, by adding one rank's fair coin after the other."""
    law = np.zeros(count * (count + 1) // 2 + 1)
    law[0] = 1.0
    for i in range(1, count + 1):
        shifted = np.concatenate([np.zeros(i), law[:-i]])
        law = (law + shifted) / 2
    return np.cumsum(law)


@cache
def detectable(count: int, alpha: float, power: float) -> float | None:
    """The shift that signed ranks tell from 0 with chance `power`, in standard deviations of normal noise.

    None for too few values. The lower bound of values shifted by s exceeds 0 when A_(k) of the noise alone exceeds −s,
    so the answer is a quantile of −A_(k): exact at k = 1, where A_(1) is the smallest value, else from 4000 seeded
    draws (to about 1 %). Beyond 60 values it falls as 1/√n.
    """
    if count > _MOST_DRAWN:
        known = detectable(_MOST_DRAWN, alpha, power)
        return None if known is None else known * math.sqrt(_MOST_DRAWN / count)
    k = rank(count, alpha)
    if k == 0:
        return None
    if k == 1:
        return float(stats.norm.ppf(power ** (1 / count)))
    drawn = np.random.default_rng(count).standard_normal((_DRAWS, count))
    return float(np.quantile(-np.partition(walsh(drawn), k - 1)[:, k - 1], power))
