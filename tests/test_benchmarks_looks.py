"""Stopping early keeps the error rate, and decides soon; simulated with pairs whose law is known.

Rates: bounds are the 1e-4 quantile of the binomial law of the stated rate, so right code fails a test once in 1e4
seeds. With 400 trials an alarm rate of 4 % is caught in 95 % of runs, with the 10 000 of the slow tests one of 1.5 %.
"""

from __future__ import annotations

import math

import noise
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks import intervals
from benchmarks.compare import judge
from benchmarks.estimate import ALPHA, POWER, estimate_of_pairs
from benchmarks.looks import EARLY, EARLY_SPENDING, GROSS, LOOKS, SPENDING, level, schedule

TRIALS = 400
EFFECT = 0.03
LAWS = ["normal", "heavy", "bimodal", "skewed processes"]

Outcomes = list[tuple[str, int]]


def gross(pairs: NDArray[np.float64]) -> int:
    """How many of the rows of pairs are called a gross change: all of them beyond a factor of two."""
    return int(np.sum((pairs.min(axis=1) > GROSS) | (pairs.max(axis=1) < -GROSS)))


def outcome(pairs: NDArray[np.float64], look: int) -> str:
    return judge(estimate_of_pairs(pairs[:look], level(look, ALPHA)), EFFECT)


def decided(pairs: NDArray[np.float64], looks: tuple[int, ...] = LOOKS) -> tuple[str, int]:
    """Label and pairs used of one comparison."""
    labels = ((outcome(pairs, look), look) for look in looks)
    return next((found for found in labels if found[0] != "inconclusive"), ("inconclusive", looks[-1]))


def trials(law: str, spread: float, slowdown: float, seed: int = 0, count: int = TRIALS) -> Outcomes:
    drawn = spread * noise.draw(law, (count, LOOKS[-1]), seed) + math.log1p(slowdown)
    return [decided(row) for row in drawn]


def share(found: Outcomes, label: str) -> float:
    return sum(one == label for one, _ in found) / len(found)


def at_most(rate: float, count: int = TRIALS) -> float:
    return float(stats.binom.isf(1e-4, count, rate)) / count


def at_least(rate: float, count: int = TRIALS) -> float:
    return float(stats.binom.ppf(1e-4, count, rate)) / count


def test_all_looks_together_spend_no_more_than_the_whole_rate() -> None:
    early = EARLY_SPENDING * ALPHA
    assert early + sum(level(look, ALPHA) for look in LOOKS) <= ALPHA * (1 + 1e-12)
    assert EARLY_SPENDING + sum(SPENDING.values()) == pytest.approx(1)


def test_share_of_the_gross_changes_costs_the_first_look_no_rank() -> None:
    assert all(intervals.rank(n, SPENDING[8] * ALPHA) == intervals.rank(n, 0.8 * ALPHA) for n in range(1, 14))


def test_going_on_after_the_usual_end_spends_nothing_twice() -> None:
    """A sweep that ended after 8 rows and is asked again with more has judged them by the same bound."""
    assert intervals.rank(8, level(8, ALPHA, 8)) == intervals.rank(8, level(8, ALPHA))


@pytest.mark.parametrize("law", [*LAWS, "skewed", "skewed down"])
def test_no_noise_is_called_a_gross_change(law: str) -> None:
    """At the spread that the share is stated for, in 200 000 comparisons of code with itself. Cantelli's bound is two
    false ones; of the law that reaches it, two seeds in a million would give ten."""
    assert gross(0.1 * noise.draw(law, (200_000, EARLY), seed=1)) == 0


def test_share_of_gross_changes_is_cantellis_bound() -> None:
    """By the law that reaches it: two values, so far apart that the larger one is exactly a factor of two."""
    sigma = 0.1
    probability = sigma**2 / (sigma**2 + GROSS**2)
    values, chances = np.array([GROSS, -(sigma**2) / GROSS]), np.array([probability, 1 - probability])
    assert values @ chances == pytest.approx(0, abs=1e-12)
    assert values**2 @ chances == pytest.approx(sigma**2)
    assert probability**EARLY <= EARLY_SPENDING * ALPHA


@pytest.mark.parametrize("law", LAWS)
def test_gross_changes_are_found_at_once(law: str) -> None:
    drawn = noise.draw(law, (TRIALS, EARLY), seed=9)
    assert gross(0.05 * drawn + math.log(30)) == TRIALS
    assert gross(0.05 * drawn - math.log(30)) == TRIALS


def test_level_between_two_looks_is_that_of_the_next() -> None:
    assert level(9, 1.0) == level(14, 1.0) == SPENDING[14]
    assert level(2, 1.0) == SPENDING[8]
    assert level(40, 1.0) == pytest.approx(SPENDING[27])


@pytest.mark.parametrize("most", range(7, 28))
def test_comparison_with_another_end_spends_the_whole_rate_and_can_speak_at_each_look(most: int) -> None:
    shares = schedule(most)
    assert max(shares) == most
    assert EARLY_SPENDING + sum(shares.values()) == pytest.approx(1)
    assert all(intervals.rank(look, level(look, ALPHA, most)) >= 1 for look in shares)
    assert schedule(27) == pytest.approx(SPENDING)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("spread", [0.01, 0.02, 0.05])
def test_code_against_itself_raises_no_more_alarms_than_stated(law: str, spread: float) -> None:
    found = trials(law, spread, 0.0)
    assert share(found, "slower") <= at_most(ALPHA)
    assert share(found, "faster") <= at_most(ALPHA)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("spread", [0.01, 0.015, 0.02, 0.03, 0.05])
def test_code_against_itself_raises_no_more_alarms_at_length(law: str, spread: float) -> None:
    found = trials(law, spread, 0.0, seed=1, count=10_000)
    assert share(found, "slower") <= at_most(ALPHA, 10_000)
    assert share(found, "faster") <= at_most(ALPHA, 10_000)


@pytest.mark.parametrize("law", ["skewed", "skewed down"])
@pytest.mark.parametrize("spread", [0.01, 0.015, 0.02])
def test_skewed_pairs_raise_no_more_alarms_at_the_usual_spread(law: str, spread: float) -> None:
    """No A/A comparison has such pairs, as exchanging its arms changes their sign; at 2 % and less it would not
    matter."""
    found = trials(law, spread, 0.0)
    assert share(found, "slower") + share(found, "faster") <= at_most(ALPHA)


@pytest.mark.parametrize("law", [*LAWS, "skewed", "skewed down"])
@pytest.mark.parametrize("spread", [0.01, 0.015])
def test_three_percent_are_found_before_the_last_look(law: str, spread: float) -> None:
    assert share(trials(law, spread, EFFECT, seed=1), "slower") >= at_least(POWER)


@pytest.mark.slow
@pytest.mark.parametrize("law", [*LAWS, "skewed", "skewed down"])
@pytest.mark.parametrize("spread", [0.01, 0.015])
def test_three_percent_are_found_at_length(law: str, spread: float) -> None:
    assert share(trials(law, spread, EFFECT, seed=1, count=10_000), "slower") >= POWER


@pytest.mark.parametrize("law", LAWS)
def test_slowdown_by_the_effect_is_called_equivalent_no_more_often_than_stated(law: str) -> None:
    assert share(trials(law, 0.01, EFFECT, seed=3), "equivalent") <= at_most(ALPHA)


@pytest.mark.parametrize(("spread", "pairs"), [(0.01, 8.2), (0.015, 9.0), (0.02, 12.5)])
def test_comparisons_end_as_soon_as_the_page_says(spread: float, pairs: float) -> None:
    for slowdown in (0.0, EFFECT):
        assert np.mean([count for _, count in trials("normal", spread, slowdown, seed=2)]) <= pairs


def test_stopping_at_the_full_level_each_time_would_break_the_promise() -> None:
    """The mistake that the spending avoids: with looks after every pair and 1 % each, far more than 1 % are alarms."""
    alarms = 0
    for row in 0.03 * noise.draw("normal", (TRIALS, LOOKS[-1]), seed=3):
        labels = [judge(estimate_of_pairs(row[:n], ALPHA), EFFECT) for n in range(7, LOOKS[-1] + 1)]
        alarms += next((label for label in labels if label != "inconclusive"), "") in ("slower", "faster")
    assert alarms / TRIALS > at_most(2 * ALPHA)


def test_student_at_five_pairs_would_break_it_where_noise_has_two_modes() -> None:
    """The mistake that signed ranks avoid: five pairs in one mode look certain, and are, once in 16 times."""
    alarms = 0
    for row in 0.05 * noise.draw("bimodal", (10 * TRIALS, 5), seed=4):
        found = intervals.student(row, 0.3 * ALPHA)
        alarms += found.low > 0
    assert alarms / (10 * TRIALS) > at_most(ALPHA, 10 * TRIALS)
    assert intervals.enough(0.3 * ALPHA) > 5
