"""Stopping early keeps the error rate, and decides soon; simulated with pairs whose law is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks.compare import ALPHA, POWER, estimate_of_pairs, judge
from benchmarks.looks import LOOKS, SPENDING, level

TRIALS = 400
EFFECT = 0.03

NOISE = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "heavy": lambda random, shape: random.standard_t(3, shape) / math.sqrt(3),
    "bimodal": lambda random, shape: (
        (random.choice((-1.0, 1.0), shape) - random.choice((-1.0, 1.0), shape)) / math.sqrt(2)
    ),
    "skewed": lambda random, shape: (random.exponential(1.0, shape) - random.exponential(1.0, shape)) / math.sqrt(2),
}
"""Log-ratios of a pair of standard deviation 1; the last two are differences of processes that vary so."""


def outcomes(log_ratios: NDArray[np.float64]) -> list[tuple[str, int]]:
    """Label and pairs used of each comparison, a row of pairs each."""
    return [outcome(row) for row in log_ratios]


def outcome(pairs: NDArray[np.float64]) -> tuple[str, int]:
    for look in LOOKS:
        label = judge(estimate_of_pairs(pairs[:look], level(look, ALPHA)), EFFECT)
        if label != "inconclusive":
            return label, look
    return "inconclusive", LOOKS[-1]


def trials(noise: str, spread: float, slowdown: float, seed: int = 0) -> list[tuple[str, int]]:
    drawn = NOISE[noise](np.random.default_rng(seed), (TRIALS, LOOKS[-1]))
    return outcomes(math.log1p(slowdown) + spread * drawn)


def share(found: list[tuple[str, int]], label: str) -> float:
    return sum(one == label for one, _ in found) / len(found)


def at_most(rate: float) -> float:
    """What a share of TRIALS exceeds with a chance of 1e-4 when the true rate is this."""
    return float(stats.binom.isf(1e-4, TRIALS, rate)) / TRIALS


def test_all_looks_together_spend_no_more_than_the_whole_rate() -> None:
    assert sum(level(look, ALPHA) for look in LOOKS) <= ALPHA * (1 + 1e-12)
    assert sum(SPENDING.values()) == pytest.approx(1)


def test_level_between_two_looks_is_that_of_the_next() -> None:
    assert level(6, 1.0) == level(8, 1.0) == SPENDING[8]
    assert level(2, 1.0) == SPENDING[5]
    assert level(40, 1.0) == SPENDING[27]


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("spread", [0.01, 0.02])
def test_code_against_itself_raises_no_more_alarms_than_stated(noise: str, spread: float) -> None:
    """Fails once in 1e4 for a rate of 1 %; a rate of 3.3 % or more is caught in 95 % of runs."""
    found = trials(noise, spread, 0.0)
    assert share(found, "slower") <= at_most(ALPHA)
    assert share(found, "faster") <= at_most(ALPHA)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("spread", [0.01, 0.015])
def test_three_percent_are_found_before_the_last_look(noise: str, spread: float) -> None:
    assert share(trials(noise, spread, EFFECT, seed=1), "slower") >= POWER


@pytest.mark.parametrize(("spread", "pairs"), [(0.01, 6.5), (0.015, 8.8), (0.02, 12.2)])
def test_comparisons_end_as_soon_as_the_page_says(spread: float, pairs: float) -> None:
    for slowdown in (0.0, EFFECT):
        used = [count for _, count in trials("normal", spread, slowdown, seed=2)]
        assert np.mean(used) <= pairs


def test_stopping_at_the_full_level_each_time_would_break_the_promise() -> None:
    """The mistake that the spending avoids: with looks after every pair and 1 % each, far more than 1 % are alarms."""
    drawn = 0.03 * np.random.default_rng(3).standard_normal((TRIALS, LOOKS[-1]))
    alarms = 0
    for row in drawn:
        labels = [judge(estimate_of_pairs(row[:n], ALPHA), EFFECT) for n in range(3, LOOKS[-1] + 1)]
        first = next((label for label in labels if label != "inconclusive"), "inconclusive")
        alarms += first in ("slower", "faster")
    assert alarms / TRIALS > at_most(2 * ALPHA)
