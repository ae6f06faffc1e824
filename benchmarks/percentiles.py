"""Percentiles of a latency, only where the sample can bound them. Pure: numbers in, numbers out.

Let x_(1) ≤ … ≤ x_(n) be a sample and q the p-quantile of its law. How many of the n fall below q is binomial(n, p), for
any law without a jump there, so with K that number (David and Nagaraja 2003, *Order Statistics*, Section 7.1)

    P(x_(l) ≤ q < x_(u)) = P(l ≤ K < u)          1 ≤ l < u ≤ n

No shape is assumed; independence is: rounds of one process that drift together bound less than this says. The upper
bound is the first to be had for a high percentile: P(q < x_(n)) = 1 − pⁿ, at least 95 % from n = 299 on for p = .99.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binom

CONFIDENCE = 0.95
"""That the bounds hold, each percentile for itself."""

SHARES = (0.5, 0.9, 0.99)
"""p50, p90, p99."""


@dataclass(frozen=True)
class Percentile:
    """A quantile of a sample with its bounds, or why there is none."""

    share: float
    calls: int
    """in the sample"""
    value: float | None = None
    """the smallest x that at least this share of the sample does not exceed"""
    low: float | None = None
    """one-sided where both ends cannot be had: then None, and `high` alone holds with the stated confidence"""
    high: float | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        """As "p99"."""
        return f"p{100 * self.share:g}"


def calls_needed(share: float, confidence: float = CONFIDENCE) -> int:
    """The fewest calls whose largest bounds the quantile from above: the first n with share**n ≤ 1 − confidence."""
    n = 1
    while share**n > 1 - confidence:
        n += 1
    return n


def percentile(seconds: Sequence[float], share: float, confidence: float = CONFIDENCE) -> Percentile:
    """The quantile `share` of `seconds`, with order statistics that bound it, or the reason why none do.

    Two-sided, (1 − confidence)/2 at each end, where the sample has both; else from above only. Raises `ValueError`
    unless 0 < share < 1 and 0 < confidence < 1.
    """
    if not (0 < share < 1 and 0 < confidence < 1):
        raise ValueError(f"a share and a confidence lie between 0 and 1, not {share} and {confidence}")
    x, n = sorted(seconds), len(seconds)
    needed = calls_needed(share, confidence)
    if n < needed:
        return Percentile(share, n, reason=f"n/a: {n} calls cannot bound it, {needed} could")
    value = x[_rank(share, n) - 1]
    low, high = _low(n, share, (1 - confidence) / 2), _high(n, share, (1 - confidence) / 2)
    if low is not None and high is not None:
        return Percentile(share, n, value, x[low - 1], x[high - 1])
    only = _high(n, share, 1 - confidence)
    return Percentile(share, n, value, None, x[only - 1] if only else None)


def percentiles(seconds: Sequence[float]) -> tuple[Percentile, ...]:
    """p50, p90 and p99 of `seconds`."""
    return tuple(percentile(seconds, share) for share in SHARES)


def _rank(share: float, n: int) -> int:
    """The least k with k/n ≥ share; by counting, since share·n rounds."""
    k = max(1, int(share * n) - 1)
    while k / n < share:
        k += 1
    return k


def _low(n: int, share: float, alpha: float) -> int | None:
    """The largest l with P(K < l) ≤ alpha, or None."""
    rank = int(binom.ppf(alpha, n, share)) + 1  # the quantile is the least k with P(K ≤ k) ≥ alpha
    while rank > 0 and binom.cdf(rank - 1, n, share) > alpha:
        rank -= 1
    return rank if rank >= 1 else None


def _high(n: int, share: float, alpha: float) -> int | None:
    """The smallest u with P(K ≥ u) ≤ alpha, or None."""
    rank = int(binom.isf(alpha, n, share)) + 1
    return rank if rank <= n and binom.sf(rank - 1, n, share) <= alpha else None
