"""Coefficients are read off as they are, and a map that is not the linear one is not mistaken for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nudged import finding

from verification.guard import SubjectError
from verification.identification import (
    COLUMNS,
    Known,
    Probe,
    applied,
    as_input,
    at_every_t,
    compare_linear,
    known,
    moments_at_every_t,
    probe,
)
from verification.oracle import U64, exact
from verification.protocol import Array
from verification.reference import ReferenceSubject


@pytest.fixture
def subject() -> ReferenceSubject:
    return ReferenceSubject("linear", 20)


@pytest.fixture
def inputs(subject: ReferenceSubject) -> Probe:
    return probe(subject, np.random.default_rng(1))


def test_unit_inputs_return_the_coefficients(subject: ReferenceSubject, inputs: Probe) -> None:
    output = at_every_t(subject, "q_sample", inputs.first, inputs.second)
    np.testing.assert_array_equal(output[:, 0], np.sqrt(subject.alpha_bar))
    np.testing.assert_array_equal(output[:, 1], np.sqrt(1 - subject.alpha_bar))


def test_rows_come_back_in_the_order_of_t_and_are_handed_over_in_another() -> None:
    seen = []

    class Spy(ReferenceSubject):
        def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
            seen.append((t.copy(), x_prev.shape))
            return t.reshape(-1, 1, 1, 1) * np.ones(x_prev.shape)

    rows = np.zeros((20, COLUMNS))
    np.testing.assert_array_equal(at_every_t(Spy(num_timesteps=20), "q_step", rows, rows)[:, 0], np.arange(20))
    ((order, shape),) = seen
    assert shape == (20, 1, 2, 2)
    assert sorted(order) == list(range(20)) != order.tolist()


def test_variance_is_repeated_for_every_number_of_its_image(subject: ReferenceSubject, inputs: Probe) -> None:
    _, variance = moments_at_every_t(subject, "q_posterior", inputs.first, inputs.second)
    np.testing.assert_array_equal(variance, np.repeat(subject.posterior_variance[:, None], COLUMNS, axis=1))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1), (3, 1, 1), (1, 3, 4)])
def test_variance_of_any_other_shape_is_the_subject_s_fault(shape: tuple[int, ...]) -> None:
    class Wrong(ReferenceSubject):
        def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
            return x_0, np.zeros(shape)

    x = np.zeros((2, 3, 4))
    with pytest.raises(SubjectError, match=r"variance of shape .* instead of \(2, 1, 1\)"):
        applied(Wrong(), "q_posterior", x, np.zeros(2, int), x)


def evidence(subject: ReferenceSubject, inputs: Probe, output: Array) -> Any:
    schedule = exact(subject)
    return compare_linear(
        output,
        inputs,
        (known(schedule, "sqrt_alpha_bar"), known(schedule, "sqrt_one_minus_alpha_bar")),
        subject=subject,
        names=("q_sample", "x_0", "eps"),
        roundings=5,
        reason="",
    )


def test_place_and_formula_of_a_wrong_coefficient_are_named(subject: ReferenceSubject, inputs: Probe) -> None:
    output = at_every_t(subject, "q_sample", inputs.first, inputs.second)
    assert evidence(subject, inputs, output).passed
    output[3, 1] *= 1 + 1e-6
    found = evidence(subject, inputs, output)
    assert (found.passed, found.where) == (False, "q_sample, t=3, coefficient of eps")
    assert found.diagnosis.startswith("coefficient of eps right except at t=3")


def test_map_that_is_not_linear_is_seen_on_random_inputs(subject: ReferenceSubject, inputs: Probe) -> None:
    output = at_every_t(subject, "q_sample", inputs.first, inputs.second)
    product = inputs.first * inputs.second  # 0 for unit inputs
    found = evidence(subject, inputs, output + 1e-9 * product)
    assert (found.passed, found.where.endswith("random inputs")) == (False, True)


def test_offset_is_seen(subject: ReferenceSubject, inputs: Probe) -> None:
    output = at_every_t(subject, "q_sample", inputs.first, inputs.second)
    assert not evidence(subject, inputs, output + 1e-9).passed


def test_errors_of_known_coefficients_add_up() -> None:
    a, b = Known("a", np.array([4.0]), np.array([1e-3])), Known("b", np.array([2.0]), np.array([1e-4]))
    quotient = -(a / b).sqrt().inverse()
    assert quotient.formula == "(-1 / sqrt(a / b))"
    np.testing.assert_allclose(quotient.value, -(0.5**0.5))
    np.testing.assert_allclose(quotient.relative, 1.1e-3 / 2 + 2.5 * U64, rtol=1e-9)


def test_inputs_are_exact_in_the_subject_s_type() -> None:
    values = np.array([1.0, 1 + 2.0**-7, np.pi, -np.pi])

    class BFloat16(ReferenceSubject):
        dtype = "bfloat16"

        def __init__(self) -> None:
            pass

    rounded = as_input(BFloat16(), values)
    assert rounded.dtype == np.float32
    assert not (rounded.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_allclose(rounded, values, rtol=2**-7)
    np.testing.assert_array_equal(rounded[:2], values[:2])
    assert as_input(ReferenceSubject(dtype="float32"), values).dtype == np.float32


def test_wrong_shape_is_a_finding_not_a_crash() -> None:
    class Transposed(ReferenceSubject):
        def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
            return super().q_sample(x_0, t, eps).T

    found = finding("FWD-1", Transposed(num_timesteps=10))
    assert (found.status, "instead of" in found.reason) == ("failed", True)
