"""Each measure against a closed form, another library's arithmetic, or the definition written out."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy.linalg import sqrtm

from verification.fidelity_measures import (
    covered,
    cubic_kernel,
    frechet,
    frechet_distance,
    gaussian_moments,
    inception_score,
    kernel_distance,
    kernel_distance_to,
    moments,
    nearest,
    precedence,
    precision_recall,
    radii,
)
from verification.protocol import VerificationError


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def wishart(seed: int, d: int, n: int) -> np.ndarray:
    root = normal(seed, n, d)
    return root.T @ root / n


def test_frechet_distance_of_commuting_gaussians_is_that_of_their_deviations() -> None:
    axes = np.linalg.qr(normal(101, 4, 4))[0]
    one, other = np.array([4.0, 1.0, 0.25, 0.0]), np.array([1.0, 1.0, 9.0, 0.0])
    found = frechet(
        gaussian_moments(np.array([1.0, 0, 0, 2]), axes @ np.diag(one) @ axes.T),
        gaussian_moments(np.zeros(4), axes @ np.diag(other) @ axes.T),
    )
    assert found == pytest.approx(5 + ((np.sqrt(one) - np.sqrt(other)) ** 2).sum(), rel=1e-12)


def test_frechet_distance_agrees_with_matrix_roots_in_fifty_digits() -> None:
    one, other = wishart(1, 3, 5), wishart(2, 3, 7)
    with mpmath.workdps(50):
        product = mpmath.matrix(one.tolist()) * mpmath.matrix(other.tolist())
        trace = sum(mpmath.sqrt(root) for root in mpmath.eig(product)[0])
        exact = float(mpmath.re(np.trace(one) + np.trace(other) - 2 * trace))
    found = frechet(gaussian_moments(np.zeros(3), one), gaussian_moments(np.zeros(3), other))
    assert found == pytest.approx(exact, rel=1e-13)
    assert found == pytest.approx(np.trace(one + other) - 2 * np.trace(sqrtm(one @ other)).real, rel=1e-10)


def test_frechet_distance_is_exact_for_covariances_of_low_rank() -> None:
    """Two lines in sixty dimensions: tr (S_1 S_2)^(1/2) is |a·b|; eigenvalues of the product would miss it by 1e-6."""
    a, b = normal(102, 2, 60)
    found = frechet(gaussian_moments(np.zeros(60), np.outer(a, a)), gaussian_moments(np.zeros(60), np.outer(b, b)))
    assert found == pytest.approx(a @ a + b @ b - 2 * abs(a @ b), rel=1e-7)
    lines = np.outer([1.0, -1.0], a), np.outer([1.0, -1.0], b)  # the same from rows, where no root of 1e-16 is taken
    assert frechet_distance(*lines) == pytest.approx(2 * (a @ a + b @ b - 2 * abs(a @ b)), rel=1e-13)


def test_identical_sets_have_no_distance_and_full_precision_and_recall() -> None:
    rows = normal(103, 50, 64)  # fewer rows than columns: the covariance has no inverse
    assert 0 <= frechet_distance(rows, rows) < 1e-12
    assert precision_recall(rows, rows) == (1.0, 1.0)
    assert kernel_distance(rows, rows).value < 0  # unbiased: a set is nearer to itself than a fresh one would be


def test_moments_are_the_unbiased_ones() -> None:
    rows = normal(104, 20, 5)
    found = moments(rows)
    np.testing.assert_allclose(found.root.T @ found.root, np.cov(rows, rowvar=False), atol=1e-14)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0))


def test_kernel_distance_is_the_mean_over_pairs() -> None:
    x, y = normal(105, 6, 3), normal(106, 5, 3) + 1

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within_x = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 30
    within_y = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 20
    exact = within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / 30
    assert kernel_distance(x, y).value == pytest.approx(exact, rel=1e-13)
    assert kernel_distance_to(y)(x) == pytest.approx(exact, rel=1e-13)


def test_kernel_distance_error_is_the_jackknife_written_out() -> None:
    x, y = normal(107, 7, 2), normal(108, 9, 2)
    without_x = [kernel_distance(np.delete(x, i, axis=0), y).value for i in range(7)]
    without_y = [kernel_distance(x, np.delete(y, i, axis=0)).value for i in range(9)]
    variance = 6 * np.var(without_x) + 8 * np.var(without_y)
    assert kernel_distance(x, y).error == pytest.approx(math.sqrt(variance), rel=1e-10)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 1.0, 1.7), (0.7, 0.85, 1.25)])
def test_kernel_distance_error_covers_the_spread_of_repeats(shift: float, low: float, high: float) -> None:
    """Over 200 repeats: right to a quarter where the sets differ, too large by up to root 2 where they do not."""
    random = np.random.default_rng(5)
    found = [
        kernel_distance(random.standard_normal((60, 4)), random.standard_normal((80, 4)) + shift) for _ in range(200)
    ]
    spread = np.std([each.value for each in found])
    assert low < np.sqrt(np.mean([each.error**2 for each in found])) / spread < high


def test_kernel_distance_is_unbiased() -> None:
    """Its mean over 400 repeats is within six standard errors of the exact value for two unit Gaussians, d = 1.

    With X ~ N(0, 1), Y ~ N(1, 1): E(XX' + 1)³ = 1 + 3, E(XY + 1)³ = 1 + 3·2, E(YY' + 1)³ = 1 + 3 + 3·4 + 16.
    """
    random = np.random.default_rng(6)
    found = [
        kernel_distance(random.standard_normal((40, 1)), random.standard_normal((40, 1)) + 1).value for _ in range(400)
    ]
    assert abs(np.mean(found) - (4 + 32 - 2 * 7)) < 6 * np.std(found) / math.sqrt(400)


def test_cubic_kernel_divides_by_the_number_of_features() -> None:
    assert cubic_kernel(np.ones((1, 8)), np.ones((1, 8)))[0, 0] == 8.0


def test_inception_score_runs_from_one_to_the_number_of_classes() -> None:
    certain = 100.0 * np.eye(5)
    assert inception_score(certain) == pytest.approx(5, rel=1e-12)
    assert inception_score(np.tile(certain[:1], (4, 1))) == pytest.approx(1, rel=1e-12)
    assert inception_score(np.zeros((4, 5))) == pytest.approx(1, rel=1e-12)


def test_inception_score_is_its_definition() -> None:
    logits = normal(109, 9, 4)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    kl = (p * np.log(p / p.mean(axis=0))).sum(axis=1)
    assert inception_score(logits) == pytest.approx(math.exp(kl.mean()), rel=1e-13)


def test_radii_skip_the_point_itself() -> None:
    np.testing.assert_array_equal(radii(np.array([[0.0], [1], [3], [7]]), 1), [1, 1, 2, 4])
    np.testing.assert_array_equal(radii(np.array([[0.0], [1], [3], [7]]), 2), [3, 2, 3, 6])


def test_mode_collapse_keeps_precision_and_loses_recall() -> None:
    reference = normal(110, 400, 2)
    collapsed = reference[:1] + 0.05 * normal(111, 400, 2)
    precision, recall = precision_recall(collapsed, reference)
    assert precision > 0.9
    assert recall < 0.1


def test_precision_and_recall_swap_with_their_arguments() -> None:
    wide, narrow = 3 * normal(112, 200, 2), normal(113, 150, 2)
    precision, recall = precision_recall(wide, narrow)
    assert precision < 0.7 < 0.9 < recall
    assert precision_recall(narrow, wide) == (recall, precision)


def test_coverage_counts_points_on_the_edge_of_a_ball() -> None:
    assert covered(np.array([[1.0], [1.5]]), np.array([[0.0]]), np.array([1.0])) == 0.5


def test_distances_in_chunks_are_those_of_all_at_once() -> None:
    points, rows = normal(114, 2500, 3), normal(115, 7, 3)
    exact = np.sqrt(((points[:, None] - rows) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(nearest(points, rows), exact, rtol=1e-12)
    assert nearest(rows, rows).max() == 0.0


def test_precedence_counts_pairs_and_halves_ties() -> None:
    first, second = np.array([1.0, 2, 2, 5]), np.array([2.0, 3])
    pairs = [(a < b) + (a == b) / 2 for a in first for b in second]
    assert precedence(first, second) == pytest.approx(np.mean(pairs))
    assert precedence(np.zeros(3), np.ones(4)) == 1.0


@pytest.mark.parametrize("measure", [moments, lambda rows: radii(rows, 3), lambda rows: kernel_distance(rows, rows)])
def test_too_few_images_are_refused(measure: object) -> None:
    with pytest.raises(VerificationError, match="too few"):
        measure(np.zeros((1, 2)))  # type: ignore[operator]  # a callable by construction
