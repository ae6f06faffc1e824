"""Steps are found soon, and noise that remembers itself is not taken for one.

Rates: a test of at most 1 % false steps allows the 1e-4 quantile of its binomial law, so right code fails once in 1e4
seeds; with the 3000 series of the default tests a rate of 2 % or more is caught in 99 % of them, with the 20 000 of
the slow ones 1.3 %.
"""

from __future__ import annotations

import math

import noise
import numpy as np
import pytest
from clock_figures import exceeds
from numpy.typing import NDArray
from scipy import stats

from benchmarks import steps
from benchmarks.steps import critical, find, scanned

PERCENT = 0.01


def found_share(series: NDArray[np.float64]) -> float:
    """Share of series with at least one step, as the first search of `find` decides it."""
    return float(exceeds(series).mean())


def found_within_five(law: str, trials: int, points: int) -> float:
    """Share of series whose step of three deviations is seen after its fourth or its fifth point, the last of them."""
    series = noise.draw(law, (trials, points), seed=points)
    series[:, -5:] += 3
    return float((exceeds(series) | exceeds(series[:, :-1])).mean())


def at_most(rate: float, trials: int) -> float:
    return float(stats.binom.isf(1e-4, trials, rate)) / trials


@pytest.mark.parametrize("points", [30, 70, 120])
@pytest.mark.parametrize("law", ["normal", "skewed", "skewed down", "ar0.5", "heavy", "bimodal"])
def test_series_without_a_step_has_none(law: str, points: int) -> None:
    assert found_share(noise.draw(law, (3000, points), seed=points)) <= at_most(steps.RATE, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("points", [15, 30, 45, 70, 90, 120, 175, 200])
@pytest.mark.parametrize("law", ["normal", "skewed", "skewed down", "ar0.25", "ar0.5", "heavy", "bimodal"])
def test_series_without_a_step_has_none_at_length(law: str, points: int) -> None:
    assert found_share(noise.draw(law, (20_000, points), seed=points)) <= at_most(steps.RATE, 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("points", steps.CRITICAL)
def test_thresholds_are_those_that_calibration_makes(points: int) -> None:
    """With another seed: the quantile of 40 000 series has a standard deviation of about 0.02."""
    assert steps.CRITICAL[points] == pytest.approx(steps.calibrate(points, seed=1), abs=0.1)


def test_threshold_between_two_lengths_lies_between_theirs() -> None:
    assert critical(60) == steps.CRITICAL[60]
    assert steps.CRITICAL[80] <= critical(70) <= steps.CRITICAL[60]
    assert critical(1000) == steps.CRITICAL[200]


@pytest.mark.parametrize("points", [60, 100, 200])
def test_step_of_three_deviations_is_found_within_five_points(points: int) -> None:
    """3 % at 1 % white noise: 95 %, less what 2000 series fall short of it once in 1e4 seeds."""
    assert found_within_five("normal", 2000, points) >= float(stats.binom.ppf(1e-4, 2000, 0.95)) / 2000


@pytest.mark.slow
@pytest.mark.parametrize("points", [60, 80, 120, 200])
def test_step_of_three_deviations_is_found_within_five_points_at_length(points: int) -> None:
    assert found_within_five("normal", 20_000, points) >= 0.95


@pytest.mark.parametrize(("law", "points", "least"), [("normal", 30, 0.94), ("ar0.5", 60, 0.95)])
def test_step_in_the_middle_is_found(law: str, points: int, least: float) -> None:
    """Where five points do not hold enough, later ones do: short series, and noise with memory."""
    series = noise.draw(law, (2000, points), seed=7)
    series[:, points // 2 :] += 3
    assert found_share(series) >= least


def test_detector_that_believes_in_white_noise_takes_memory_for_steps() -> None:
    """The mistake of the usual ones: with ρ set to 0 more than a quarter of AR(0.5) series would have a step."""
    series = noise.draw("ar0.5", (2000, 60))
    naive = np.abs(scanned(series, correlation=0.0).statistic).max(axis=1)
    white = np.quantile(np.abs(scanned(noise.draw("normal", (2000, 60)), correlation=0.0).statistic).max(axis=1), 0.99)
    assert (naive > white).mean() > 0.25


def test_estimates_are_those_of_least_squares_on_transformed_series() -> None:
    """Against numpy.linalg.lstsq with the whitening matrix written out, at every place."""
    series, rho = noise.draw("ar0.5", (3, 20), seed=1), 0.4
    whiten = np.eye(20) - rho * np.eye(20, k=-1)
    whiten[0, 0] = math.sqrt(1 - rho**2)
    scan = scanned(series, correlation=rho)
    for j, k in enumerate(scan.places):
        design = np.column_stack([np.ones(20), np.arange(20) >= k])
        beta, residual, *_ = np.linalg.lstsq(whiten @ design, whiten @ series.T, rcond=None)
        covariance = np.linalg.inv((whiten @ design).T @ (whiten @ design))
        assert scan.shift[:, j] == pytest.approx(beta[1], rel=1e-9)
        assert scan.error[:, j] == pytest.approx(np.sqrt(residual / 17 * covariance[1, 1]), rel=1e-9)


def test_correlation_is_that_of_residuals_of_two_means_raised() -> None:
    series = noise.draw("ar0.5", (2, 40), seed=3)
    scan = scanned(series)
    for j, k in enumerate(scan.places):
        residual = series - np.where(
            np.arange(40) < k, series[:, :k].mean(1, keepdims=True), series[:, k:].mean(1, keepdims=True)
        )
        lag = (residual[:, 1:] * residual[:, :-1]).sum(1) / (residual**2).sum(1)
        assert scan.correlation[:, j] == pytest.approx(np.clip(lag + steps.RAISE / 40, 0, steps.MOST_MEMORY), rel=1e-9)


def test_place_and_ratio_of_a_step_are_told_with_their_intervals() -> None:
    """300 series: the stated 95 % less four standard deviations; place within one point in most."""
    held = [0, 0, 0]
    for series in PERCENT * noise.draw("normal", (300, 80), seed=5):
        series[50:] += math.log(1.03)
        (step,) = [one for one in find(np.exp(series)) if abs(one.index - 50) < 10]
        held[0] += step.interval[0] <= 1.03 <= step.interval[1]
        held[1] += step.between[0] <= 50 <= step.between[1]
        held[2] += abs(step.index - 50) <= 1
    least = 0.95 - 4 * math.sqrt(0.95 * 0.05 / 300)
    assert held[0] / 300 >= least
    assert held[1] / 300 >= least
    assert held[2] / 300 >= 0.9


def test_several_steps_are_found_in_order_of_time() -> None:
    series = PERCENT * noise.draw("normal", (120,), seed=6)
    series[40:] += math.log(1.05)
    series[80:] += math.log(0.92)
    found = find(np.exp(series))
    assert [abs(step.index - at) <= 1 for step, at in zip(found, (40, 80), strict=True)] == [True, True]
    assert [step.ratio for step in found] == pytest.approx([1.05, 0.92], abs=0.01)
    assert all(step.between[0] <= step.index <= step.between[1] for step in found)
    assert all(abs(step.statistic) > step.critical for step in found)


def test_short_series_has_no_steps() -> None:
    assert find([1.0] * 7 + [2.0] * 7) == []


def test_series_without_any_noise_is_no_trouble() -> None:
    assert find([0.5] * 40) == []
    (step,) = find([1.0] * 20 + [1.1] * 20)
    assert (step.index, step.between) == (20, (20, 20))
    assert step.ratio == pytest.approx(1.1)


def test_unit_and_level_change_nothing() -> None:
    series = PERCENT * noise.draw("normal", (60,), seed=8)
    series[30:] += 0.05
    (one,), (other,) = find(np.exp(series)), find(1000 * np.exp(series))
    assert (one.index, one.ratio) == (other.index, pytest.approx(other.ratio))


def test_slowing_down_is_a_ratio_above_one() -> None:
    series = PERCENT * noise.draw("normal", (60,), seed=9)
    series[30:] += 0.05
    assert find(np.exp(series))[0].ratio > 1
    assert find(np.exp(-series))[0].ratio < 1


def test_second_step_does_not_hide_the_first() -> None:
    """Levels 0, +10 % and +3 %, 30 points each: at each step the other looks like noise that remembers itself."""
    for series in PERCENT * noise.draw("normal", (50, 90), seed=10) + np.repeat([0.0, 0.10, 0.03], 30):
        found = find(np.exp(series))
        assert {30, 60} <= {place for step in found for place in range(step.between[0], step.between[1] + 1)}


@pytest.mark.parametrize("times", [[1.0, math.nan] * 20, [0.0] * 30, [-1.0] * 30, [math.inf] * 30])
def test_what_is_no_time_is_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        find(times)
