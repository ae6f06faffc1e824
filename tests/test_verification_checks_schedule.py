"""The checks of the tables accept every correct table and notice every entry that is off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nudged import NUDGE, NudgedTable, Undeclared, false_alarms, finding, many_correct

from verification.mutants import load_mutants
from verification.protocol import Array
from verification.reference import ReferenceSubject, declared

MUTANTS = load_mutants()

CHECKS = ("SCH-1", "SCH-2", "SCH-3", "SCH-5", "SCH-6")
TABLES = tuple(ReferenceSubject().tables())


@pytest.mark.parametrize("check", CHECKS)
def test_correct_tables_pass(check: str) -> None:
    assert not false_alarms(check, many_correct())


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize("table", TABLES)
def test_one_entry_off_is_noticed_and_named(table: str, dtype: str) -> None:
    right = ReferenceSubject("linear", 10, dtype=dtype).tables()[table]
    for t in np.flatnonzero(right):
        found = finding("SCH-2" if table == "beta" else "SCH-6", NudgedTable("linear", 10, dtype=dtype).nudge(table, t))
        assert (found.status, found.where) == ("failed", f"{table}, t={t}"), found


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_one_entry_off_in_a_long_chain_is_noticed_and_named(schedule: str, dtype: str) -> None:
    for table in TABLES:
        for t in (1, 500, 999):
            subject = NudgedTable(schedule, 1000, dtype=dtype).nudge(table, t)
            found = finding("SCH-2" if table == "beta" else "SCH-6", subject)
            assert (found.status, found.where) == ("failed", f"{table}, t={t}"), found


def test_one_entry_off_is_noticed_without_a_declared_schedule() -> None:
    class Nudged(NudgedTable, Undeclared):
        pass

    found = finding("SCH-6", Nudged("linear", 100, dtype="float32").nudge("alpha_bar", 17))
    assert (found.status, found.where) == ("failed", "alpha_bar, t=17")


class Longer(ReferenceSubject):
    """alpha_bar with its alpha_bar_0 = 1 in front."""

    def tables(self) -> dict[str, Array]:
        tables = super().tables()
        return {**tables, "alpha_bar": np.append(1.0, tables["alpha_bar"])}


class StoredFromOne(ReferenceSubject):
    """alpha_bar_prev in the place of alpha_bar: entry 0 is the paper's t = 0."""

    def tables(self) -> dict[str, Array]:
        tables = super().tables()
        return {**tables, "alpha_bar": tables["alpha_bar_prev"]}


class OneBased(ReferenceSubject):
    """Draws 1 … T."""

    def draw_timesteps(self, n: int, seed: int) -> Array:
        return super().draw_timesteps(n, seed) + 1


@pytest.mark.parametrize("mutant", [Longer, StoredFromOne, OneBased])
def test_index_convention_is_noticed(mutant: type[ReferenceSubject]) -> None:
    assert finding("SCH-1", mutant()).status == "failed"


def test_steps_of_the_wrong_length_are_named() -> None:
    found = finding("SCH-2", MUTANTS["M05"].make())
    assert "linear in t/T" in found.diagnosis
    assert found.status == "failed"


class WithoutCap(ReferenceSubject):
    """The cosine schedule as its formula has it, but for a last beta that must be below 1."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(np.where(beta == 0.999, 1 - 1e-6, beta))


class Float32Cosine(ReferenceSubject):
    """The cosine schedule with the cosines in float32."""

    def _make_tables(self, beta: Array) -> None:
        T = np.float32(len(beta))
        angle = (np.arange(len(beta) + 1, dtype=np.float32) / T + np.float32(0.008)) / np.float32(1.008)
        signal = np.cos(angle * np.float32(np.pi / 2)) ** 2
        super()._make_tables(np.minimum(1 - signal[1:] / signal[:-1], 0.999).astype(np.float64))


class CappedTooLow(ReferenceSubject):
    """A cap of 0.99 where 0.999 is declared."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(np.minimum(beta, 0.99))


@pytest.mark.parametrize("mutant", [WithoutCap, Float32Cosine, CappedTooLow])
@pytest.mark.parametrize("dtype", NUDGE)
def test_wrong_cosine_is_noticed(mutant: type[ReferenceSubject], dtype: str) -> None:
    assert finding("SCH-3", mutant("cosine", 100, dtype=dtype)).status == "failed"


def test_cosine_of_a_subject_with_another_schedule_is_judged_through_its_variant() -> None:
    assert finding("SCH-3", Float32Cosine("jsd", 100)).status == "failed"


class Steeper(ReferenceSubject):
    """A ramp that goes beyond its declared end."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta * 1.5)


def test_betas_beyond_the_declared_end_are_noticed() -> None:
    found = finding("SCH-3", Steeper("warmup10", 100))
    assert found.status == "failed"


class Rescaled(ReferenceSubject):
    """Announces betas scaled by 1000/T and uses the unscaled ones: T was reduced, the betas were not."""

    def __init__(self, *args: Any, **choices: Any) -> None:
        super().__init__(*args, **choices)
        scale = 1000 / self.num_timesteps
        self.schedule = {"name": "linear", "beta_start": 1e-4 * scale, "beta_end": 0.02 * scale}


def test_fewer_steps_without_the_announced_betas_do_not_reach_the_prior() -> None:
    found = finding("SCH-5", Rescaled(num_timesteps=200))
    assert found.status == "failed"
    np.testing.assert_allclose(found.observed, 0.1023, rtol=1e-3)


def test_short_chain_that_declares_nothing_must_reach_the_prior() -> None:
    found = finding("SCH-5", Undeclared(num_timesteps=200))
    assert found.status == "failed"
    assert "declare the schedule" in found.reason
    assert finding("SCH-5", Undeclared(num_timesteps=1000)).status == "passed"


def test_declared_short_chain_passes_at_its_limit_and_is_told_what_it_leaves() -> None:
    found = finding("SCH-5", ReferenceSubject(num_timesteps=200))
    assert found.status == "passed"
    assert found.ratio is not None
    assert found.ratio > 0.999
    assert "0.102 bits/dim" in found.reason
    assert "1000/T" in found.reason


def test_prior_term_of_the_paper_s_schedule() -> None:
    np.testing.assert_allclose(finding("SCH-5", ReferenceSubject()).observed, 2.9112945e-5, rtol=1e-7)


@pytest.mark.parametrize(
    ("number", "check"), [("M08", "SCH-6"), ("M09", "SCH-1"), ("M09", "SCH-6"), ("M10", "SCH-1"), ("M24", "SCH-6")]
)
def test_catalogued_mistakes_fail(number: str, check: str) -> None:
    assert finding(check, MUTANTS[number].make()).status == "failed"


def test_declared_names_are_those_of_the_reference() -> None:
    """The oracle and the reference mean the same by every name; neither has one that the other has not."""
    for name in ("linear", "cosine", "jsd", "constant"):
        assert finding("SCH-2", ReferenceSubject(name, 30)).status == "passed"
        assert declared(name)["name"] == name
