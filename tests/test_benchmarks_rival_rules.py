"""The rules of pytest-benchmark and asv: theirs, to the last comparison.

pytest-benchmark itself is asked. asv is not among the dependencies: its test is SciPy's, where SciPy has the same one.
"""

from __future__ import annotations

import math
from typing import Any

import noise
import numpy as np
import pytest
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import parse_compare_fail
from scipy import stats

from benchmarks import rival_rules

EFFECT = 0.03
STATISTICS: dict[str, Any] = {"min": np.min, "median": np.median, "mean": np.mean}


def processes(count: int, calls: int, seed: int = 0) -> list[rival_rules.Array]:
    """Calls that differ by 5 %, of processes that do, too."""
    random = np.random.default_rng(seed)
    return list(
        np.exp(0.05 * (noise.draw("normal", (count, calls), random) + noise.draw("normal", (count, 1), random)))
    )


def one_each(count: int) -> rival_rules.Draw:
    """Comparisons of one process with the next."""
    old = np.arange(0, count, 2)[:, np.newaxis]
    return old, old + 1


def stat(calls: rival_rules.Array) -> dict[str, float]:
    """What pytest-benchmark stores of a process."""
    found = Stats()
    for seconds in calls:
        found.update(float(seconds))
    return dict(found.as_dict())


@pytest.mark.parametrize("name", STATISTICS)
def test_pytest_benchmark_says_the_same_of_a_process_against_a_stored_one(name: str) -> None:
    ran = processes(400, 9)
    check = parse_compare_fail(f"{name}:2%")
    for slowed, ratios in enumerate(rival_rules.pytest_benchmark(STATISTICS[name])(ran, EFFECT)(one_each(400))):
        theirs = [
            bool(check.fails(stat(new * (1 + EFFECT * slowed)), stat(old)))
            for old, new in zip(ran[::2], ran[1::2], strict=True)
        ]
        assert list(ratios > 1.02) == theirs
        assert 0 < sum(theirs) < 200


def test_statistic_of_several_processes_is_that_of_their_statistics() -> None:
    ran = [np.array([1.0, 2.0, 6.0]), np.array([4.0, 5.0, 9.0]), np.array([7.0, 8.0, 12.0]), np.array([1.0, 1.0, 1.0])]
    draw = (np.array([[3, 3, 3]]), np.array([[0, 1, 2]]))
    found = {n: float(rival_rules.pytest_benchmark(f)(ran, 0.5)(draw)[0][0]) for n, f in STATISTICS.items()}
    assert found == {"min": 1.0, "median": 5.0, "mean": 6.0}


@pytest.mark.parametrize(("calls", "k"), [(5, 2), (5, 4)])
def test_asv_differs_where_mann_and_whitney_do_exactly(calls: int, k: int) -> None:
    """Continuous noise has no ties, and up to 20 calls an arm p is exact."""
    ran = processes(30, calls)
    drawn = np.random.default_rng(1).permuted(np.tile(np.arange(30), (300, 1)), axis=1)
    draw = (drawn[:, :k], drawn[:, k : 2 * k])
    for shift, ratios in zip((1.0, 1.1), rival_rules.asv(ran, 0.1)(draw), strict=True):
        for i, ratio in enumerate(ratios):
            old, new = (np.concatenate([ran[j] for j in arm[i]]) for arm in draw)
            p = stats.mannwhitneyu(old, shift * new, method="exact").pvalue
            assert ratio == pytest.approx(shift * np.median(new) / np.median(old) if p < 0.002 else 0.0)
        assert 0 < np.count_nonzero(ratios) < 300


def test_asv_differs_where_the_normal_law_says_so_with_many_calls() -> None:
    """asv/_stats.py has neither a correction for continuity nor one for ties."""
    ran = processes(40, 30)
    draw = (np.arange(20).reshape(10, 2), np.arange(20, 40).reshape(10, 2))
    for shift, ratios in zip((1.0, 1.03), rival_rules.asv(ran, 0.03)(draw), strict=True):
        for i, ratio in enumerate(ratios):
            old, new = (np.concatenate([ran[j] for j in arm[i]]) for arm in draw)
            found = stats.mannwhitneyu(old, shift * new, method="asymptotic", use_continuity=False)
            assert (ratio > 0) == (found.pvalue < 0.002)


@pytest.mark.parametrize(("wins", "differs"), [(153, True), (154, False)])
def test_normal_law_ends_between_two_numbers_of_wins(wins: int, differs: bool) -> None:
    """25 calls against 25: 312.5 − 3.090 · √(625 · 51 / 12) = 153.2 wins of the old ones."""
    old = np.array([min(25, max(0, wins - 25 * i)) for i in range(25)]) + 0.5
    same, _ = rival_rules.asv([old, np.arange(1.0, 26.0)], EFFECT)((np.array([[0]]), np.array([[1]])))
    assert (same[0] > 0) == differs


def test_ties_are_broken_in_the_least_significant_way() -> None:
    """22 calls of 1 s against 11 of 1 s and 11 of 2 s: half of the wins is sure, and the ties may be the other half."""
    ran = [np.ones(22), np.repeat([1.0, 2.0], 11), np.full(22, 2.0)]
    same, _ = rival_rules.asv(ran, EFFECT)((np.array([[0], [0]]), np.array([[1], [2]])))
    assert list(same) == [0.0, 2.0]


def test_processes_with_different_numbers_of_calls_are_pooled_as_they_are() -> None:
    ran = [np.array([1.0, 2.0, 3.0]), np.arange(10.0, 30.0), np.arange(100.0, 130.0)]
    same, _ = rival_rules.asv(ran, EFFECT)((np.array([[0, 1]]), np.array([[2, 2]])))
    assert same[0] == np.median(np.concatenate([ran[2], ran[2]])) / np.median(np.concatenate(ran[:2]))


@pytest.mark.parametrize(("m", "n"), [(10, 10), (5, 15), (20, 20)])
def test_critical_value_is_the_last_one_that_differs(m: int, n: int) -> None:
    """The law of U by adding up: how often each number of wins occurs among all orders of m and n values."""
    ways = np.zeros(m * n + 1)
    ways[0] = 1
    for i in range(1, m + 1):  # Gaussian binomial coefficient: times (1 − q^(n+i)), by (1 − q^i)
        ways[n + i :] = ways[n + i :] - ways[: -n - i]
        for j in range(i, m * n + 1):
            ways[j] += ways[j - i]
    p = 2 * np.cumsum(ways) / math.comb(m + n, m)
    bound = rival_rules.critical(m, n)
    assert p[bound] < 0.002 <= p[bound + 1]


def test_five_calls_an_arm_are_too_few_to_differ() -> None:
    assert rival_rules.critical(5, 5) == -1
