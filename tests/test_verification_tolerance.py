"""The comparator sees what it must, and the rounding rules are neither broken by right code nor wider than they say."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verification.guard import SubjectError
from verification.kernel_ledger import LEDGER
from verification.tolerance import (
    compare,
    conditioned,
    exactly,
    expect_raises,
    gamma,
    holds,
    kappa_one_minus,
    kernel_bound,
    probabilistic_gamma,
    smallest,
    terms_bound,
    unit_roundoff,
)

zeros = np.zeros(4)


def test_error_at_its_bound_passes_and_just_above_fails() -> None:
    assert compare(np.array([1.5]), np.array([1.0]), 0.5, reason="").passed
    assert not compare(np.array([np.nextafter(1.5, 2)]), np.array([1.0]), 0.5, reason="").passed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_among_good_ones_fails_and_is_located(bad: float) -> None:
    evidence = compare(np.array([0, 0, bad, 0]), zeros, 1e300, labels=("t",), reason="")
    assert not evidence.passed
    assert evidence.ratio == math.inf
    assert evidence.where == "t=2"


def test_nan_is_worse_than_any_number() -> None:
    assert compare(np.array([1e9, np.nan, 1e9, 0]), zeros, 1.0, labels=("t",), reason="").where == "t=1"


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (1,), (), (2, 2), (5,)])
def test_shapes_that_would_broadcast_do_not_compare(shape: tuple[int, ...]) -> None:
    evidence = compare(np.zeros(shape), zeros, 1.0, reason="")
    assert not evidence.passed
    assert f"shape {shape} instead of (4,)" in evidence.reason
    assert not exactly(np.zeros(shape), zeros, reason="").passed


def test_empty_arrays_are_no_evidence() -> None:
    assert not compare(np.zeros(0), np.zeros(0), 1.0, reason="").passed
    assert not exactly(np.zeros(0), np.zeros(0), reason="").passed


@pytest.mark.parametrize("observed", [None, "1", [0.0] * 4, np.zeros(4, complex), np.zeros(4, object)])
def test_what_is_no_array_of_real_numbers_fails(observed: Any) -> None:
    assert not compare(observed, zeros, 1.0, reason="").passed


def test_bound_does_not_grow_with_the_number_of_entries() -> None:
    wrong = np.zeros(1_000_000)
    wrong[123_456] = 1.1
    evidence = compare(wrong, np.zeros(1_000_000), 1.0, labels=("t",), reason="")
    assert not evidence.passed
    assert evidence.where == "t=123456"


def test_each_entry_is_held_to_its_own_bound() -> None:
    evidence = compare(np.array([0, 5.0, 0.2, 0]), zeros, np.array([1, 10, 0.1, 1]), labels=("t",), reason="")
    assert (evidence.passed, evidence.where, evidence.observed, evidence.allowed) == (False, "t=2", 0.2, 0.1)


def test_bound_of_another_shape_is_the_judges_mistake() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        compare(zeros, zeros, np.ones(3), reason="")


@pytest.mark.parametrize("bound", [np.nan, np.inf, -1.0])
def test_bound_that_allows_everything_or_nothing_sensible_is_the_judges_mistake(bound: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        compare(zeros, zeros, bound, reason="")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_expectation_that_is_not_finite_is_the_judges_mistake(bad: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        compare(zeros, np.array([0, 0, 0, bad]), 1.0, reason="")


def test_zero_bound_demands_equality() -> None:
    assert compare(zeros, zeros, 0, reason="").passed
    assert not compare(np.array([0, 0, 0, 5e-324]), zeros, 0, reason="").passed


def test_scalars_compare_as_scalars() -> None:
    assert compare(1.0, 1.0, 0, where="loss", reason="").passed
    assert not compare(np.array([1.0]), 1.0, 0, reason="").passed


def test_failure_shows_count_and_both_values_in_full() -> None:
    evidence = compare(np.array([0.1, 7, 0, 0]), zeros, 0.01, reason="because")
    assert "2 of 4 beyond the bound" in evidence.reason
    assert "got 7.0 for 0.0" in evidence.reason
    assert evidence.reason.endswith("because")


def test_place_is_told_by_labels_by_prefix_or_by_function() -> None:
    wrong, right = np.array([[0, 1.0]]), np.zeros((1, 2))
    assert compare(wrong, right, 0, labels=("t", "j"), reason="").where == "t=0, j=1"
    assert compare(wrong, right, 0, where=("t", "j"), reason="").where == "t=0, j=1"
    assert compare(wrong, right, 0, where="mean", labels=("t", "j"), reason="").where == "mean, t=0, j=1"
    assert compare(wrong, right, 0, where=lambda index: f"at {index}", reason="").where == "at (0, 1)"


def test_diagnosis_is_asked_for_only_on_failure() -> None:
    asked = []

    def diagnosis() -> str:
        asked.append(1)
        return "found"

    assert compare(zeros, zeros, 0, reason="", diagnosis=diagnosis).diagnosis == ""
    assert not asked
    assert compare(zeros + 1, zeros, 0, reason="", diagnosis=diagnosis).diagnosis == "found"


def test_exact_comparison_sees_dtype_one_bit_and_nan() -> None:
    assert exactly(np.arange(3), np.arange(3), reason="").passed
    assert not exactly(np.arange(3, dtype=np.int32), np.arange(3), reason="").passed
    assert not exactly(np.array([1, np.nan]), np.array([1, np.nan]), reason="").passed
    evidence = exactly(np.array([1, 1 + 2.0**-52]), np.ones(2), labels=("t",), reason="")
    assert (evidence.passed, evidence.observed, evidence.where) == (False, 1, "t=1")


def test_refusal_must_mention_what_it_refuses() -> None:
    def refuse() -> None:
        raise KeyError("unknown schedule 'x': known are linear, cosine")

    assert expect_raises(refuse, ["linear", "cosine"]).passed
    evidence = expect_raises(refuse, ["sigmoid"])
    assert not evidence.passed
    assert "not mentioned: ['sigmoid']" in evidence.reason
    assert not expect_raises(lambda: 3).passed


def test_breach_of_the_protocol_does_not_pass_for_a_refusal() -> None:
    def breach() -> None:
        raise SubjectError("q_sample", "changed its argument 1")

    with pytest.raises(SubjectError):
        expect_raises(breach)


def test_claims_hold_or_do_not() -> None:
    assert holds(True, where="", reason="").passed
    assert not holds(False, where="", reason="").passed


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_unit_roundoff_is_half_a_unit_in_the_last_place(dtype: str) -> None:
    info = np.finfo(dtype)
    assert unit_roundoff(dtype) == info.eps / 2
    assert smallest(np.dtype(dtype)) == info.smallest_subnormal


def test_roundoff_of_bfloat16_is_known_and_of_integers_refused() -> None:
    assert unit_roundoff("bfloat16") == 2**-8
    with pytest.raises(ValueError, match="int64"):
        unit_roundoff("int64")


def exact_terms(coefficients: list[Any], values: list[Any]) -> list[Fraction]:
    columns = zip(*[np.broadcast_arrays(*coefficients)[i].tolist() for i in range(2)], strict=True)
    pairs = zip(columns, zip(*[v.tolist() for v in values], strict=True), strict=True)
    return [sum((Fraction(c) * Fraction(x) for c, x in zip(cs, xs, strict=True)), Fraction(0)) for cs, xs in pairs]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_terms_rule_holds_for_rounded_tables_and_is_nearly_reached(dtype: str) -> None:
    """Sums of two products from tables cast once: never beyond the bound in 20 000, at worst above a fifth of it."""
    random = np.random.default_rng(0)
    c, d = random.uniform(-1, 1, (2, 20_000))
    x, y = random.normal(size=(2, 20_000)).astype(dtype)
    computed = c.astype(dtype) * x + d.astype(dtype) * y
    truth = [float(value) for value in exact_terms([c, d], [x, y])]
    evidence = compare(computed, np.array(truth), terms_bound([c, d], [x, y], dtype=dtype), reason="T1")
    assert evidence.passed
    assert evidence.ratio > 0.2


def test_terms_rule_is_relative_to_the_terms_that_cancel() -> None:
    bound = terms_bound([np.array([1.0, 1.0]), np.array([-1.0, 1.0])], [np.ones(2), np.ones(2)], dtype="float64")
    assert bound[0] == bound[1] > 0


def test_terms_rule_sees_a_square_root_missing_by_far() -> None:
    c = np.array([0.99])
    evidence = compare(c**2, c, terms_bound([c], [np.ones(1)], dtype="float32"), reason="T1")
    assert evidence.ratio > 1e4


def test_gamma_bounds_a_long_product_and_refuses_where_there_is_no_bound() -> None:
    factors = np.random.default_rng(1).uniform(0.99, 1, 1000).astype(np.float32)
    exact = math.prod(Fraction(float(factor)) for factor in factors)
    error = abs(Fraction(float(np.prod(factors))) / exact - 1)
    assert 0 < error <= probabilistic_gamma(1000, 2.0**-24) < gamma(1000, 2.0**-24)
    with pytest.raises(ValueError, match="no error bound"):
        gamma(3000, 2.0**-11)


def test_stated_values_of_the_two_chain_rules() -> None:
    assert gamma(1000, 2.0**-24) == pytest.approx(6.0e-5, rel=0.01)
    assert probabilistic_gamma(1000, 2.0**-24) == pytest.approx(1.13e-5, rel=0.01)


def test_condition_number_of_one_minus_alpha_bar_at_the_first_step() -> None:
    assert kappa_one_minus(0.9999) == pytest.approx(9999)
    assert conditioned(kappa_one_minus(0.9999), u=2.0**-24) == pytest.approx(9999 * 2.0**-24)


def test_ledger_row_is_the_narrowest_that_covers_the_arguments() -> None:
    assert kernel_bound("exp", 2.0, dtype="float32") == pytest.approx(2 * 5.3e-6)
    assert kernel_bound("exp", 2.0, dtype="float32", reach=30) == pytest.approx(2 * 2.5e-5)
    with pytest.raises(ValueError, match="measure it"):
        kernel_bound("exp", 1.0, dtype="float32", reach=1000)
    with pytest.raises(ValueError, match="measure it"):
        kernel_bound("gelu", 1.0, dtype="float32")


def test_ledger_allows_at_least_a_correctly_rounded_kernel() -> None:
    for row in LEDGER:
        assert row.relative >= unit_roundoff(row.dtype), row


@pytest.mark.parametrize("op", ["exp", "log", "log1p", "expm1", "sin", "cos", "sqrt", "tanh"])
def test_numpy_float64_kernels_are_within_the_ledger(op: str) -> None:
    """Against long double, over the arguments of the row."""
    z = np.linspace(1e-3, 7.9, 10_001)
    truth = getattr(np, op)(z.astype(np.longdouble))
    error = (getattr(np, op)(z) - truth).astype(float)  # long double minus float64, exact to its own rounding
    bound = kernel_bound(op, truth, dtype="float64").astype(float)
    assert compare(error, np.zeros_like(z), bound, reason="T4").passed
