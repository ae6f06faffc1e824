"""The checks of the forward process accept every correct one and read wrong coefficients off, by t."""

from __future__ import annotations

import numpy as np
import pytest
from nudged import NUDGE, NudgedMethod, Undeclared, false_alarms, finding, many_correct

from verification.mutants import load_mutants
from verification.protocol import Array
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()

CHECKS = ("FWD-1", "FWD-2", "FWD-3", "FWD-4", "FWD-6", "FWD-7")


@pytest.mark.parametrize("check", CHECKS)
def test_correct_processes_pass(check: str) -> None:
    assert not false_alarms(check, many_correct())


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize(
    ("check", "method", "argument", "name"),
    [
        ("FWD-1", "q_sample", 0, "x_0"),
        ("FWD-1", "q_sample", 2, "eps"),
        ("FWD-3", "q_step", 0, "x_{t-1}"),
        ("FWD-3", "q_step", 2, "eps"),
    ],
)
def test_one_coefficient_off_is_noticed_and_named(
    check: str, method: str, argument: int, name: str, dtype: str
) -> None:
    for schedule, T in (("linear", 10), ("cosine", 200)):
        for t in (0, 7, T - 1):
            found = finding(check, NudgedMethod(schedule, T, dtype=dtype).nudge(method, argument, t))
            assert found.status == "failed"
            assert found.where == f"{method}, t={t}, coefficient of {name}"


@pytest.mark.parametrize(
    ("number", "check", "formula"),
    [
        ("M04", "FWD-1", "alpha"),
        ("M12", "FWD-1", "alpha"),
        ("M13", "FWD-1", "square root missing"),
        ("M14", "FWD-1", "square root missing"),
        ("P04", "FWD-1", "index off by one"),
        ("M16", "FWD-3", "square root missing"),
    ],
)
def test_wrong_formula_is_named(number: str, check: str, formula: str) -> None:
    found = finding(check, MUTANTS[number].make())
    assert found.status == "failed"
    assert formula in found.diagnosis


def test_wrong_formula_is_noticed_without_a_declared_schedule() -> None:
    class Wrong(Undeclared):
        def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
            return super().q_sample(x_0, np.minimum(t + 1, self.num_timesteps - 1), eps)

    assert finding("FWD-1", Wrong("linear", 100, dtype="float32")).status == "failed"


@pytest.mark.parametrize("number", ["M09", "M12", "M13", "M14", "M16"])
def test_steps_that_do_not_compose_are_noticed(number: str) -> None:
    assert finding("FWD-4", MUTANTS[number].make()).status == "failed"


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize("method", ["q_step", "q_sample"])
def test_one_step_that_does_not_compose_is_noticed_where_it_is(method: str, dtype: str) -> None:
    found = finding("FWD-4", NudgedMethod("linear", 50, dtype=dtype).nudge(method, 0, 17))
    assert found.status == "failed"
    assert found.where.endswith(("t=17", "t=18"))


class RowForTimeStep(ReferenceSubject):
    """Uses the row of the batch for its time step."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().q_sample(x_0, np.arange(len(t)) % self.num_timesteps, eps)


class FirstTimeStep(ReferenceSubject):
    """Uses the first image's time step for all of them."""

    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        return super().q_step(x_prev, np.full_like(t, t[0]), eps)


class Standardised(ReferenceSubject):
    """Subtracts the batch's mean noise: each image depends on its neighbours."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().q_sample(x_0, t, (eps - eps.mean(axis=0)).astype(self.dtype))


@pytest.mark.parametrize("mutant", [RowForTimeStep, FirstTimeStep, Standardised])
def test_time_steps_that_are_not_each_image_s_own_are_noticed(mutant: type[ReferenceSubject]) -> None:
    assert finding("FWD-2", mutant()).status == "failed"


def test_time_step_taken_from_the_row_is_noticed_by_identification_too() -> None:
    assert finding("FWD-1", RowForTimeStep(num_timesteps=50)).status == "failed"


def test_time_step_on_the_wrong_axis_is_noticed() -> None:
    assert {finding(check, MUTANTS["M17"].make()).status for check in ("FWD-2", "FWD-6", "FWD-7")} == {"failed"}


class ChannelScaled(ReferenceSubject):
    """Twice the noise in the first channel: right for nothing that has channels."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        eps = eps.copy()
        eps[:, 0] *= 2
        return super().q_sample(x_0, t, eps)


def test_direction_that_is_preferred_is_noticed() -> None:
    assert finding("FWD-6", ChannelScaled()).status == "failed"


class Clamped(ReferenceSubject):
    """Clamps the noise to three standard deviations."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().q_sample(x_0, t, np.clip(eps, -3, 3))


class Offset(ReferenceSubject):
    """Adds a small constant."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return np.asarray(super().q_sample(x_0, t, eps) + np.asarray(1e-9, self.dtype))


@pytest.mark.parametrize("mutant", [Clamped, Offset])
def test_corner_that_is_not_linear_is_noticed(mutant: type[ReferenceSubject]) -> None:
    assert finding("FWD-7", mutant()).status == "failed"


@pytest.mark.parametrize("number", ["M04", "M12", "M13", "M14"])
def test_wrong_corner_is_noticed(number: str) -> None:
    assert finding("FWD-7", MUTANTS[number].make()).status == "failed"


class Flattened(ReferenceSubject):
    """Returns rows instead of images."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().q_sample(x_0, t, eps).reshape(len(t), -1)


@pytest.mark.parametrize("check", ["FWD-1", "FWD-2", "FWD-7"])
def test_wrong_shape_fails_and_names_both(check: str) -> None:
    found = finding(check, Flattened(num_timesteps=10))
    assert found.status == "failed"
    assert "instead of" in found.reason
