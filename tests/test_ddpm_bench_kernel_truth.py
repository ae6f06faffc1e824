"""The exact answers are exact: both routes to them agree, and each operator is asked where kernels go wrong."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from ddpm_bench.kernel_truth import TRIALS, Trial, answers, errors, sizes

EACH = pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.op}-{trial.reach:g}")


@EACH
def test_float64_and_mpmath_agree_to_float64s_rounding(trial: Trial) -> None:
    """To 64 roundings, and 1e-13 of the argument's for softmax and softplus: 1e6 times less than float32's rounding."""
    arguments = trial.arguments(200)
    rough, exact = (answers(trial, arguments, precise=precise) for precise in (False, True))
    assert rough.shape == exact.shape
    assert (errors(rough, exact) <= 1e-13 * np.maximum(sizes(trial, arguments, exact), 1e-300)).all()


@EACH
def test_arguments_stay_within_reach_and_are_about_as_many_as_asked(trial: Trial) -> None:
    """Sums of products have a size of their own."""
    arguments = trial.arguments(8000)
    assert all(np.isfinite(argument).all() for argument in arguments)
    if trial.size is None:
        assert np.abs(arguments[0]).max() <= trial.reach
        assert 7000 <= arguments[0].size <= 9000


@pytest.mark.parametrize("op", ["log1p", "expm1", "tanh"])
def test_functions_that_vanish_at_zero_are_asked_near_it_on_both_sides(op: str) -> None:
    (trial,) = (each for each in TRIALS if each.op == op)
    (x,) = trial.arguments(8000)
    for side in (x, -x):
        assert ((side > 0) & (side < 1e-6)).sum() > 100


def test_logarithm_is_asked_near_one() -> None:
    (trial,) = (each for each in TRIALS if each.op == "log")
    (x,) = trial.arguments(8000)
    assert ((x != 1) & (np.abs(x - 1) < 1e-6)).sum() > 500


def test_error_is_taken_before_it_is_rounded() -> None:
    """A third has no float64: its error is 1.85e-17, which a difference of float64s would call 0."""
    truth = np.array([mpmath.mpf(1) / 3], dtype=object)
    assert errors(np.array([1 / 3]), truth)[0] == 0  # mpmath's own third, at 15 digits
    with mpmath.workdps(50):
        truth = np.array([mpmath.mpf(1) / 3], dtype=object)
    assert errors(np.array([1 / 3]), truth)[0] == pytest.approx(1.85e-17, rel=0.01)


def test_what_is_no_number_is_infinitely_wrong() -> None:
    assert errors(np.array([np.nan, np.inf, 1.0]), np.ones(3)).tolist() == [np.inf, np.inf, 0.0]


def test_sums_are_measured_against_the_magnitudes_of_their_terms() -> None:
    (trial,) = (each for each in TRIALS if each.op == "matmul")
    a, b = np.array([[1.0, 1.0]]), np.array([[1.0], [-1.0]])
    assert answers(trial, (a, b), precise=False).item() == 0
    assert sizes(trial, (a, b), np.zeros((1, 1))).item() == 2
