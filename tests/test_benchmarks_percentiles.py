"""Percentiles: when a sample bounds one, by which of its values, and how often those bounds hold."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.percentiles import CONFIDENCE, Percentile, calls_needed, percentile, percentiles


@pytest.mark.parametrize(("share", "calls"), [(0.5, 5), (0.9, 29), (0.99, 299), (0.999, 2995)])
def test_calls_needed_are_the_known_ones(share: float, calls: int) -> None:
    assert calls_needed(share) == calls


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_one_call_too_few_gives_a_reason_and_no_number(share: float) -> None:
    n = calls_needed(share)
    found = percentile(range(n - 1), share)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.reason == f"n/a: {n - 1} calls cannot bound it, {n} could"
    assert percentile(range(n), share).high == n - 1


def test_empty_sample_has_no_percentile() -> None:
    assert all(each.reason and each.value is None for each in percentiles([]))


def held(n: int, share: Fraction, found: Percentile) -> Fraction:
    """P(low ≤ q < high) exactly, in rationals, for the sample 1, 2, …, n: a value is its own rank."""
    low, high = int(found.low or 0), int(found.high or n + 1)
    return sum(
        (math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(low, high)), start=Fraction(0)
    )  # fmt: skip


@pytest.mark.parametrize("n", [5, 6, 20, 29, 45, 46, 47, 100, 299, 400, 473])
@pytest.mark.parametrize("share", ["1/2", "9/10", "99/100"])
def test_bounds_hold_as_often_as_stated_and_no_narrower_ones_do(n: int, share: str) -> None:
    exact = Fraction(share)
    found = percentile(range(1, n + 1), float(exact))
    if found.reason:
        assert n < calls_needed(float(exact))
        return
    assert held(n, exact, found) >= CONFIDENCE
    alpha = Fraction(1, 20) if found.low is None else Fraction(1, 40)
    above = Percentile(float(exact), n, low=found.high and found.high - 1)
    assert held(n, exact, above) > alpha  # one place lower misses from above too often
    if found.low is not None:
        below = Percentile(float(exact), n, high=found.low + 1)
        assert held(n, exact, below) > alpha


def test_one_sided_until_the_sample_bounds_both_ends() -> None:
    assert percentile(range(299), 0.99).low is None
    assert percentile(range(473), 0.99).low is not None


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.9, 90)])
def test_value_is_the_smallest_that_the_share_does_not_exceed(share: float, value: float) -> None:
    assert percentile(range(1, 101), share).value == value


def test_order_of_the_rounds_does_not_matter() -> None:
    seconds = np.random.default_rng(0).exponential(size=400).tolist()
    assert percentiles(seconds) == percentiles(sorted(seconds))


def test_bounds_cover_a_heavy_tailed_law_as_often_as_stated() -> None:
    """2000 samples of 300 from a Pareto law, whose p90 is 10 exactly; right code fails once in 1e7 runs (5.2 sd)."""
    draws = 1 / (1 - np.random.default_rng(1).random((2000, 300)))
    covered = sum(p.low <= 10 < p.high for p in (percentile(x.tolist(), 0.9) for x in draws))  # type: ignore[operator]  # 300 calls bound a p90 at both ends
    assert covered / 2000 >= CONFIDENCE - 5.2 * math.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(("share", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.5, 0.0), (0.5, 1.0)])
def test_share_that_is_none_is_refused(share: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="lie between 0 and 1"):
        percentile([1.0], share, confidence)


def test_percentiles_are_named_as_usual() -> None:
    assert [each.name for each in percentiles([1.0])] == ["p50", "p90", "p99"]
