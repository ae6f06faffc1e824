"""Reading coefficients off: what is put in, what is read, and that nothing is asked twice."""

from __future__ import annotations

import numpy as np
import pytest
from judged import failure

from verification.affine import (
    ALL,
    COLUMNS,
    EPS_HAT_OUTSIDE,
    X_T_OUTSIDE,
    affine_output,
    probe,
    read_ancestral,
    read_ddim,
    remembered,
)
from verification.guard import guarded
from verification.oracle import exact
from verification.oracle_gaussian import StepCoefficients
from verification.protocol import Array
from verification.reference import ReferenceSubject

SUBJECT = ReferenceSubject("cosine", 100)
TABLES = exact(SUBJECT)


def implied_x_0(column: int) -> Array:
    inputs = probe(TABLES, np.arange(100))
    a, v = TABLES.sqrt_alpha_bar, TABLES.sqrt_one_minus_alpha_bar
    return np.abs(inputs.x_t[:, column] - v * inputs.eps_hat[:, column]) / a


def test_inputs_imply_an_x_0_inside_the_range_except_where_they_must_not() -> None:
    for column in range(COLUMNS):
        x_0 = implied_x_0(column)
        if column in (X_T_OUTSIDE, EPS_HAT_OUTSIDE):
            assert ((x_0 >= 2) & (x_0 <= 4)).all()
        else:
            assert (x_0 < 0.75).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inputs_are_exact_in_the_subjects_type(dtype: type) -> None:
    for values in vars(probe(TABLES, np.arange(100))).values():
        np.testing.assert_array_equal(values, values.astype(dtype))


def test_reading_returns_the_coefficients_that_made_the_output() -> None:
    t = np.arange(100)
    made = StepCoefficients(np.linspace(1, 2, 100), -np.linspace(0.1, 3, 100), np.linspace(0, 1, 100))

    class Affine(ReferenceSubject):
        def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
            return affine_output(made, probe(TABLES, np.asarray(t)))

    seen = read_ancestral(Affine("cosine", 100))
    for name in StepCoefficients._fields:
        np.testing.assert_allclose(getattr(seen, name), getattr(made, name), rtol=1e-15)
    assert (seen.output[:, ALL] != 0).all()
    assert len(t) == len(seen.output)


def test_any_number_of_pairs_is_read_in_calls_of_one_shape() -> None:
    shapes = set()

    class Counts(ReferenceSubject):
        def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
            shapes.add(np.shape(x_t))
            return super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)

    t = np.repeat(np.arange(1, 100), 3)
    seen = read_ddim(Counts("cosine", 100), t, t // 2, 0.5)
    assert shapes == {(100, COLUMNS)}
    assert len(seen.x_t) == len(t)
    np.testing.assert_allclose(seen.x_t, np.sqrt(TABLES.alpha_bar[t // 2] / TABLES.alpha_bar[t]), rtol=1e-10)


def test_what_was_asked_of_a_subject_is_remembered_for_it_and_no_other() -> None:
    first, second, calls = ReferenceSubject("linear", 2), ReferenceSubject("linear", 2), []

    def compute() -> int:
        calls.append(1)
        return len(calls)

    assert remembered(first, "a", compute) == remembered(guarded(first), "a", compute) == 1
    assert remembered(first, "b", compute) == 2
    assert remembered(second, "a", compute) == 3


def test_a_subject_that_cannot_be_remembered_is_asked_again() -> None:
    class Unhashable(ReferenceSubject):
        __hash__ = None  # type: ignore[assignment]  # as a dataclass with eq has it

    subject, calls = Unhashable("linear", 2), []
    for _ in range(2):
        remembered(subject, "a", lambda: calls.append(1))
    assert len(calls) == 2


class WrongShapes(ReferenceSubject):
    """Its steps have the wrong shape in one of the ways that broadcast."""

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        return super().p_step(x_t, t, eps_hat, z)[:, :1]

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        mean, variance = super().p_mean_variance(x_t, t, eps_hat)
        return mean, variance[:, None]

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        return super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)[None]


@pytest.mark.parametrize(
    ("check", "method"), [("SMP-1.mean", "p_mean_variance"), ("SMP-6", "ddim_step"), ("STR-3", "ddim_step")]
)
def test_outputs_of_the_wrong_shape_fail(check: str, method: str) -> None:
    found = failure(WrongShapes("linear", 20), check)
    assert method in found.where
    assert "shape" in found.reason


def test_a_step_of_the_wrong_shape_fails() -> None:
    class OneColumn(ReferenceSubject):
        def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
            return super().p_step(x_t, t, eps_hat, z)[:, :1]

    assert "returned shape (20, 1)" in failure(OneColumn("linear", 20), "SMP-2").reason
