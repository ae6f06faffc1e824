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
    """`SIGNED_RANKS` (any symmetric noise) or `STUDENT` (normal noise)"""

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
