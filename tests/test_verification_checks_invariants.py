"""The identities between tables, posterior and marginal hold for what is right and break for what is not."""

from __future__ import annotations

import numpy as np
import pytest
from nudged import NUDGE, NudgedMethod, NudgedTable, false_alarms, few_correct, finding, many_correct

from verification.mutants import load_mutants
from verification.protocol import Array
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()


def test_correct_subjects_obey_the_sum_rule() -> None:
    assert not false_alarms("SCH-7", many_correct())


def test_correct_subjects_obey_the_invariants() -> None:
    assert not false_alarms("SCH-4", few_correct())


@pytest.mark.parametrize(
    ("method", "argument"),
    [("q_sample", 0), ("q_sample", 2), ("q_posterior", 0), ("q_posterior", 1), ("q_posterior", -1)],
)
def test_sum_rule_notices_one_coefficient(method: str, argument: int) -> None:
    """At t = 17, or at the neighbour that the identity ties to it."""
    found = finding("SCH-7", NudgedMethod("linear", 50).nudge(method, argument, 17))
    assert found.status == "failed"
    assert found.where.endswith(("t=17", "t=18"))


@pytest.mark.parametrize("dtype", NUDGE)
def test_product_notices_one_entry(dtype: str) -> None:
    found = finding("SCH-4", NudgedTable("linear", 50, dtype=dtype).nudge("alpha_bar", 17))
    assert found.status == "failed"


class Variants(ReferenceSubject):
    """Right as it stands; wrong for some other choices, so that only the property over choices can see it."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        if self.num_timesteps in range(2, 100):
            self.alpha_bar = np.exp(-np.cumsum(beta))


def test_property_over_schedules_finds_a_small_counterexample() -> None:
    found = finding("SCH-4", Variants("linear", 1000))
    assert found.status == "failed"
    assert "smallest example ('linear', 2)" in found.reason


class Rising(ReferenceSubject):
    """alpha_bar stops falling in the middle."""

    def tables(self) -> dict[str, Array]:
        tables = super().tables()
        tables["alpha_bar"][5] = tables["alpha_bar"][4]
        return tables


class OutsideTheInterval(ReferenceSubject):
    """A beta of 0: legal for no schedule."""

    def tables(self) -> dict[str, Array]:
        tables = super().tables()
        tables["beta"][3] = 0
        return tables


class AboveBeta(ReferenceSubject):
    """A posterior variance larger than beta."""

    def tables(self) -> dict[str, Array]:
        tables = super().tables()
        tables["posterior_variance"][4] = 1.01 * tables["beta"][4]
        return tables


@pytest.mark.parametrize(
    ("mutant", "t"), [(Rising, "t=5"), (OutsideTheInterval, "t=3"), (AboveBeta, "t=4")], ids=lambda value: str(value)
)
def test_broken_invariant_is_noticed_and_named(mutant: type[ReferenceSubject], t: str) -> None:
    found = finding("SCH-4", mutant("linear", 10))
    assert found.status == "failed"
    assert t in found.where or "more comparisons failed" in found.reason


@pytest.mark.parametrize(("number", "check"), [(n, c) for c in ("SCH-4", "SCH-7") for n in ("M08", "M09", "M10")])
def test_catalogued_mistakes_fail(number: str, check: str) -> None:
    assert finding(check, MUTANTS[number].make()).status == "failed"


def test_swapped_posterior_coefficients_break_the_sum_rule() -> None:
    assert finding("SCH-7", MUTANTS["M24"].make()).status == "failed"
