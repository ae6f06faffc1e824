"""Null laws against simulation, enumeration and SciPy; and the rates they promise, at rates that can be counted."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import ks_2samp, mannwhitneyu

from verification.fidelity_measures import frechet, frechet_distance, gaussian_moments, moments
from verification.fidelity_null import (
    critical_excess,
    critical_gap,
    excess,
    frechet_deviation,
    frechet_null,
    gap,
    permutation,
)

EIGENVALUES = np.array([4.0, 1.0, 1.0, 0.25, 0.01, 0.0])


def drawn(random: np.random.Generator, n: int) -> np.ndarray:
    return random.standard_normal((n, len(EIGENVALUES))) * np.sqrt(EIGENVALUES)


def test_frechet_null_of_one_dimension_is_elementary() -> None:
    """λ/n for the mean and λ/(2n) for the deviation: E = 1.5 λ c, and Var = 2 (λ c)² (1 + 1/4)."""
    mean, spread = frechet_null(np.array([2.0]), 50, 50)
    assert mean == pytest.approx(1.5 * 2 / 25)
    assert spread == pytest.approx(math.sqrt(2.5) * 2 / 25)


@pytest.mark.parametrize("m", [300, math.inf])
def test_frechet_null_is_what_simulation_finds(m: float) -> None:
    """400 repeats: mean and deviation within five standard errors and the remainder of relative order d/n."""
    random, law = np.random.default_rng(2), gaussian_moments(np.zeros(6), np.diag(EIGENVALUES))
    found = np.array(
        [
            frechet(moments(drawn(random, 200)), law if m == math.inf else moments(drawn(random, int(m))))
            for _ in range(400)
        ]
    )
    mean, spread = frechet_null(EIGENVALUES, 200, m)
    assert found.mean() == pytest.approx(mean, abs=5 * spread / 20 + mean * 6 / 200)
    assert found.std() == pytest.approx(spread, rel=0.2)


def test_frechet_null_agrees_with_the_double_sum() -> None:
    """(1/n + 1/m) [Σ λ_i + Σ_ij λ_i λ_j (1 + δ_ij) / (2 (λ_i + λ_j))], written out."""
    e = EIGENVALUES[:-1]
    double = sum(e[i] * e[j] * (1 + (i == j)) / (2 * (e[i] + e[j])) for i in range(5) for j in range(5))
    assert frechet_null(EIGENVALUES, 100, 50)[0] == pytest.approx(0.03 * (e.sum() + double))


def test_root_of_frechet_distance_moves_no_further_than_the_images() -> None:
    """The Lipschitz property behind `frechet_deviation`, for random moves, large and small, along bad directions."""
    random, n = np.random.default_rng(4), 30
    law = gaussian_moments(np.zeros(6), np.diag(EIGENVALUES))
    for size in (1e-6, 1e-2, 1.0, 30.0):
        for _ in range(50):
            images = random.standard_normal((n, 6)) * random.uniform(0, 3, 6)
            moved = images + size * random.standard_normal((n, 6)) * random.uniform(0, 1, (n, 1))
            change = abs(math.sqrt(frechet(moments(moved), law)) - math.sqrt(frechet(moments(images), law)))
            assert change <= np.linalg.norm(moved - images) / math.sqrt(n - 1) * (1 + 1e-9) + 1e-9


def test_no_smaller_step_would_bound_the_root() -> None:
    """Spreading centred images out by a part in a thousand moves the root by all that the bound allows."""
    images, law = np.random.default_rng(3).standard_normal((10, 6)), gaussian_moments(np.zeros(6), np.zeros((6, 6)))
    images -= images.mean(axis=0)
    change = math.sqrt(frechet(moments(1.001 * images), law)) - math.sqrt(frechet(moments(images), law))
    assert change == pytest.approx(0.001 * np.linalg.norm(images) / math.sqrt(9), rel=1e-9)


def test_frechet_deviation_is_that_of_a_difference_of_one_and_a_mean() -> None:
    """exp(−r²/(2 L²)) = alpha, where L² adds up what the one root and the four others can move: λ/9 and λ/(9·4)."""
    r = frechet_deviation(2.0, 10, 4, 1e-3)
    assert math.exp(-(r**2) / (2 * (2 / 9 + 2 / 36))) == pytest.approx(1e-3, rel=1e-9)


def test_frechet_deviation_is_exceeded_no_more_often_than_it_says() -> None:
    """At alpha = 0.2 in 500 trials, against the mean of four; a right bound fails this test at a rate below 1e-9."""
    random, law = np.random.default_rng(7), gaussian_moments(np.zeros(6), np.diag(EIGENVALUES))
    roots = np.sqrt([[frechet(moments(drawn(random, 40)), law) for _ in range(5)] for _ in range(500)])
    allowed = frechet_deviation(EIGENVALUES.max(), 40, 4, 0.2)
    assert np.sum(roots[:, 0] - roots[:, 1:].mean(axis=1) > allowed) < 160


def test_rank_sum_law_is_that_of_all_orders() -> None:
    """By enumeration of the 126 ways to mix four and five."""
    us = sorted(
        sum(sum(place > other for other in range(9) if other not in chosen) for place in chosen)
        for chosen in combinations(range(9), 4)
    )
    for alpha in (0.5, 0.1, 0.05, 0.01, 1 / 126):
        allowed = critical_excess(4, 5, alpha) + 10
        beyond = sum(u > allowed for u in us)
        assert beyond <= alpha * 126 < sum(u >= allowed for u in us)


def scores_with(u: int) -> tuple[np.ndarray, np.ndarray]:
    """Twenty suspects and twenty known scores, without ties, of which exactly `u` pairs are in the wrong order."""
    above = np.full(20, u // 20) + (np.arange(20) < u % 20)  # how many known ones each suspect is above
    return above - 0.5 + np.arange(20) * 1e-6, np.arange(20.0)


def test_rank_sum_bound_is_scipys() -> None:
    """The exact p-value at the bound is above alpha, and just beyond it below."""
    allowed = critical_excess(20, 20, 1e-8) + 200
    p = {}
    for u in (int(allowed), int(allowed) + 1):
        suspects, known = scores_with(u)
        assert excess(suspects, known) == u - 200
        p[u - allowed] = mannwhitneyu(suspects, known, alternative="greater", method="exact").pvalue
    assert p[1] <= 1e-8 < p[0]


def test_innocence_has_the_benefit_of_ties_and_nan_has_not() -> None:
    assert excess(np.zeros(3), np.zeros(4)) == 0
    assert excess(np.ones(3), np.zeros(4)) == 6
    assert excess(np.full(3, np.nan), np.zeros(4)) == 6
    assert excess(np.zeros(3), np.ones(4)) == 0


def test_no_order_is_condemned_when_alpha_is_too_small_for_the_blocks() -> None:
    assert critical_excess(2, 2, 1e-8) == 2.0  # all four pairs: nothing exceeds it


def test_gap_is_smirnovs() -> None:
    random = np.random.default_rng(8)
    first, second = random.standard_normal(70), random.standard_normal(50).round(1)
    assert gap(first, second) == pytest.approx(ks_2samp(first, second).statistic, abs=1e-15)


def test_critical_gap_bounds_the_exact_law() -> None:
    """SciPy's exact two-sample p-value at the bound is at most alpha."""
    n, alpha = 500, 1e-3
    k = math.floor(critical_gap(n, alpha) * n) + 1  # the least multiple of 1/n beyond the bound
    shifted = np.arange(n) + k - 0.5
    assert gap(np.arange(n, dtype=float), shifted) == pytest.approx(k / n)
    assert ks_2samp(np.arange(n, dtype=float), shifted, method="exact").pvalue <= alpha
    with pytest.raises(ValueError, match="458"):
        critical_gap(100, alpha)


def test_permutation_p_values_are_uniform_for_sets_of_one_law() -> None:
    """Of 300 tests at 5 % a right one rejects 4 to 28 times, at a failure rate below 1e-3 on either side."""
    random, rejected = np.random.default_rng(9), 0
    for _ in range(300):
        rows = random.standard_normal((24, 2))

        def distance(first: np.ndarray, second: np.ndarray, rows: np.ndarray = rows) -> np.ndarray:
            return np.array([frechet_distance(rows[first], rows[second])])

        value, null = permutation(distance, 12, 12, times=19, random=random)
        rejected += bool((null >= value).sum() == 0)
    assert 4 <= rejected <= 28


def test_permutation_hands_out_every_image_once() -> None:
    seen = []
    permutation(
        lambda first, second: seen.append(np.concatenate([first, second])) or np.zeros(1),
        3,
        4,
        times=5,
        random=np.random.default_rng(0),
    )
    assert len(seen) == 6
    assert all(sorted(order) == list(range(7)) for order in seen)
    np.testing.assert_array_equal(seen[0], np.arange(7))
