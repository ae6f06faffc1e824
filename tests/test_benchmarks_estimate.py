"""Estimates over processes: their error rates by simulation with fixed seeds, and what they could have seen.

Rates are stated as bounds that right code passes with more than 99.9 % chance: with n trials of a true rate p the count
is binomial, and the bound is its 99.9 % quantile.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from noise import autoregressive
from scipy import stats

from benchmarks import intervals
from benchmarks.compare import judge
from benchmarks.estimate import (
    ALPHA,
    CONFIDENCE,
    POWER,
    independent_estimate,
    minimum_detectable_effect,
    paired_estimate,
    power,
    processes_needed,
)

TRIALS = 4000


def at_most(rate: float, trials: int = TRIALS) -> float:
    """Largest share that `trials` of the true `rate` show but once in a thousand."""
    return float(stats.binom.ppf(0.999, trials, rate)) / trials


def at_least(rate: float, trials: int = TRIALS) -> float:
    return float(stats.binom.ppf(0.001, trials, rate)) / trials


def labels(processes: int, slowdown: float, *, paired: bool, noise: str = "normal", seed: int = 0) -> list[str]:
    """The labels of `TRIALS` comparisons whose processes differ by 1 % and whose new arm is slower by `slowdown`.

    Paired arms also share a drift of 5 % from pair to pair.
    """
    random = np.random.default_rng(seed)
    drift = 0.05 * random.standard_normal((TRIALS, 1, processes)) if paired else 0.0
    spread = {
        "normal": lambda shape: random.standard_normal(shape),
        "heavy": lambda shape: random.standard_t(3, shape) / math.sqrt(3),
        "bimodal": lambda shape: random.choice((-1.0, 1.0), shape) + 0.1 * random.standard_normal(shape),
        "ar0.5": lambda shape: autoregressive(0.5, shape, random),
    }[noise]((TRIALS, 2, processes))
    logs = drift + 0.01 * spread + np.array([[0.0], [math.log1p(slowdown)]])
    estimate = paired_estimate if paired else independent_estimate
    return [judge(estimate(np.exp(old), np.exp(new)), 0.03) for old, new in logs]


def share(found: list[str], *wanted: str) -> float:
    return sum(label in wanted for label in found) / len(found)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("processes", [3, 6, 20])
def test_program_against_itself_is_called_slower_at_most_once_in_a_hundred(processes: int, paired: bool) -> None:
    found = labels(processes, 0.0, paired=paired)
    assert share(found, "slower") <= at_most(ALPHA)
    assert share(found, "faster") <= at_most(ALPHA)


@pytest.mark.parametrize("noise", ["heavy", "bimodal"])
def test_noise_that_is_not_normal_raises_no_more_alarms(noise: str) -> None:
    assert share(labels(10, 0.0, paired=True, noise=noise), "slower") <= at_most(ALPHA)


def test_stated_number_of_pairs_finds_three_percent_with_95_percent_chance() -> None:
    """A pair of two processes that each vary by 1 % varies by 1.41 %."""
    pairs = processes_needed(0.03, 0.01 * math.sqrt(2), "paired")
    assert pairs is not None
    assert share(labels(pairs, 0.03, paired=True, seed=1), "slower") >= at_least(POWER)
    assert share(labels(pairs - 2, 0.03, paired=True, seed=1), "slower") < POWER


def test_stated_number_of_processes_finds_three_percent_though_they_remember() -> None:
    processes = processes_needed(0.03, 0.01, "independent")
    assert processes is not None
    assert share(labels(processes, 0.03, paired=False, noise="ar0.5", seed=1), "slower") >= at_least(POWER)
    assert share(labels(processes - 3, 0.03, paired=False, noise="ar0.5", seed=1), "slower") < POWER


@pytest.mark.parametrize("processes", [3, 6, 20])
def test_session_in_another_mood_is_called_slower_at_most_once_in_a_hundred(processes: int) -> None:
    """AR(0.5) processes. Welch's interval, which knows of no memory, would say so in 4 to 9 %."""
    assert share(labels(processes, 0.0, paired=False, noise="ar0.5", seed=6), "slower") <= at_most(ALPHA)


@pytest.mark.parametrize("paired", [True, False])
def test_slowdown_by_the_effect_is_called_equivalent_at_most_once_in_a_hundred(paired: bool) -> None:
    assert share(labels(10, 0.03, paired=paired, seed=2), "equivalent", "faster") <= at_most(ALPHA)


def test_equal_programs_are_called_equivalent_once_the_interval_is_narrow_enough() -> None:
    assert share(labels(12, 0.0, paired=True, seed=3), "equivalent") >= 0.95


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("noise", ["normal", "heavy", "bimodal"])
def test_interval_covers_what_it_says(paired: bool, noise: str) -> None:
    random = np.random.default_rng(4)
    draw = {"normal": random.standard_normal, "heavy": lambda s: random.standard_t(3, s),
            "bimodal": lambda s: random.choice((-1.0, 1.0), s)}[noise]  # fmt: skip
    estimate = paired_estimate if paired else independent_estimate
    covered = 0
    for old, new in 0.01 * draw((TRIALS, 2, 8)):
        low, high = estimate(np.exp(old), np.exp(new + 0.02)).interval
        covered += low <= 0.02 <= high
    assert covered / TRIALS >= at_least(CONFIDENCE)


def test_alarm_rate_is_that_of_processes_and_pooling_their_rounds_would_not_keep_it() -> None:
    """Two processes an arm that differ by 1 %, ten rounds each: the mistake that measurement.md opens with."""
    random = np.random.default_rng(5)
    process = 0.01 * random.standard_normal((500, 2, 2, 1))
    rounds = np.exp(process + 0.002 * random.standard_normal((500, 2, 2, 10)))
    by_process = [independent_estimate(*np.median(arms, axis=2)).interval for arms in rounds]
    pooled = [independent_estimate(*arms.reshape(2, -1)).interval for arms in rounds]
    assert alarms(by_process) <= at_most(2 * ALPHA, 500)
    assert alarms(pooled) > 0.3


def alarms(intervals: list[tuple[float, float]]) -> float:
    """Share of intervals without 0."""
    return sum(low > 0 or high < 0 for low, high in intervals) / len(intervals)


def test_pairs_needed_are_those_of_the_design() -> None:
    """measurement.md: 5, 10, 19, 47 pairs for a log-ratio of 0.03 at 1, 2, 3, 5 % by Student's t; ranks take a few
    more."""
    effect, spreads = math.expm1(0.03), (0.01, 0.02, 0.03, 0.05)
    student = [
        next(n for n in range(2, 100) if power(effect, spread / math.sqrt(n), n - 1) >= POWER) for spread in spreads
    ]
    assert student == [5, 10, 19, 47]
    assert [processes_needed(effect, spread, "paired") for spread in spreads] == [7, 11, 20, 49]


def test_minimum_detectable_effect_is_detected_with_the_stated_power() -> None:
    effect = minimum_detectable_effect(0.005, 8)
    assert effect is not None
    assert power(effect, 0.005, 8) == pytest.approx(POWER, abs=1e-4)
    assert power(0.0, 0.005, 8) == pytest.approx(ALPHA, abs=1e-9)


def test_hopeless_noise_has_no_detectable_effect_and_no_number_of_processes() -> None:
    assert minimum_detectable_effect(10.0, 1) is None
    assert processes_needed(0.03, 10.0, "independent") is None


def test_paired_estimate_is_that_of_scipy() -> None:
    old, new = np.array([1.0, 1.1, 0.9, 1.05]), np.array([1.02, 1.15, 0.93, 1.04])
    ours = paired_estimate(old, new)
    theirs = stats.ttest_rel(np.log(new), np.log(old)).confidence_interval(CONFIDENCE)
    assert ours.interval == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_independent_estimate_is_welchs_where_nothing_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "remembered", lambda count: (1.0, count - 1.0))
    old, new = np.array([1.0, 1.1, 0.9, 1.05]), np.array([1.02, 1.5, 0.93, 1.04, 1.2, 1.1])
    ours = independent_estimate(old, new)
    theirs = stats.ttest_ind(np.log(new), np.log(old), equal_var=False).confidence_interval(CONFIDENCE)
    assert ours.interval == pytest.approx((theirs.low, theirs.high), rel=1e-12)
