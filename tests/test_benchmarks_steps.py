"""Steps are found where they are and not where a machine merely wanders; rates by seeded simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import steps
from benchmarks.steps import FALSE_STEPS, NULL, SHORTEST, drawn, find

SERIES = 400
NOISE = 0.01


def at_most(rate: float) -> float:
    """What a share of SERIES exceeds with a chance of 1e-4 when the true rate is this."""
    return float(stats.binom.isf(1e-4, SERIES, rate)) / SERIES


def at_least(rate: float) -> float:
    """What a share of SERIES falls below with a chance of 1e-4 when the true rate is this."""
    return float(stats.binom.ppf(1e-4, SERIES, rate)) / SERIES


@pytest.mark.parametrize("kind", NULL)
@pytest.mark.parametrize("points", [30, 60, 120])
def test_series_without_a_step_have_none_but_for_one_in_a_hundred(kind: str, points: int) -> None:
    """Fails once in 1e4 for a rate of 1 %; a detector with false steps in 4 % is caught in 99 % of runs."""
    random = np.random.default_rng(points)
    found = [find(np.exp(NOISE * series)) for series in drawn(kind, SERIES, points, random)]
    assert sum(map(bool, found)) / SERIES <= at_most(FALSE_STEPS)


@pytest.mark.parametrize("points", [60, 100, 200])
def test_three_percent_at_one_percent_noise_are_found_at_the_fifth_point(points: int) -> None:
    """Detected and at most two points off; in 95 % of white series, tested against that rate at a chance of 1e-4."""
    series = NOISE * drawn("white", SERIES, points, np.random.default_rng(points))
    series[:, -5:] += math.log1p(0.03)
    found = [find(np.exp(one)) for one in series]
    right = [any(abs(step.index - (points - 5)) <= 2 for step in one) for one in found]
    assert np.mean(right) >= at_least(0.95)


def test_place_size_and_interval_of_a_step() -> None:
    series = NOISE * drawn("white", SERIES, 80, np.random.default_rng(1))
    series[:, 40:] -= math.log1p(0.05)
    found = [step for one in series for step in find(np.exp(one))[:1]]
    assert np.mean([abs(step.index - 40) <= 1 for step in found]) > 0.95
    covered = [step.interval[0] <= 1 / 1.05 <= step.interval[1] for step in found]
    assert np.mean(covered) >= at_least(0.93)


def test_two_steps_are_found_in_their_order() -> None:
    levels = np.repeat([0.0, 0.10, 0.03], 30)
    series = levels + NOISE * drawn("white", 1, 90, np.random.default_rng(2))[0]
    found = find(np.exp(series))
    assert [abs(step.index - place) <= 1 for step, place in zip(found, (30, 60), strict=True)] == [True, True]
    assert found[0].ratio > 1 > found[1].ratio


def test_correlated_series_do_not_hide_a_large_step_for_ever() -> None:
    """At ρ = 0.5 a step of 3 % needs more than five points; with forty on either side it is found."""
    series = NOISE * drawn("correlated", SERIES, 80, np.random.default_rng(3))
    series[:, 40:] += math.log1p(0.03)
    assert np.mean([bool(find(np.exp(one))) for one in series]) > 0.95


def test_levels_without_any_noise_are_told_apart() -> None:
    (step,) = find([1.0] * 15 + [1.1] * 15)
    assert (step.index, round(step.ratio, 9)) == (15, 1.1)
    assert find([1.0] * 30) == []


def test_short_series_claim_nothing() -> None:
    assert find([1.0] * 9 + [2.0] * (SHORTEST - 10)) == []


@pytest.mark.parametrize("times", [[1.0, math.nan] * 20, [0.0] * 30, [-1.0] * 30])
def test_what_is_no_time_is_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        find(times)


@pytest.mark.slow
@pytest.mark.parametrize("points", [20, 60, 200])
def test_critical_values_are_those_of_a_fresh_simulation(points: int) -> None:
    """With another seed; the quantile's own error at 8000 series is about 0.1."""
    again = steps.calibrated(points, count=8000, seed=99)
    assert steps.CRITICAL[points] - 0.25 < again < steps.CRITICAL[points] + 0.12
