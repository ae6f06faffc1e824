"""The checks of execution, on subjects whose modes differ or whose calls leave something behind."""

from __future__ import annotations

import pytest

from verification.check import Finding, run_checks, select
from verification.mutants import load_mutants
from verification.mutants_execution import TwoModes
from verification.protocol import Identity
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()
KILLED = {
    "Q01": "MODE-1",
    "Q02": "MODE-1.gradient",
    "Q03": "MODE-3",
    "Q04": "MODE-3",
    "Q05": "MODE-3",
    "Q06": "MODE-1",
    "Q07": "MODE-3",
}


def finding(subject: Identity, check_id: str) -> Finding:
    (check,) = [each for each in select("full") if each.id == check_id]
    return run_checks(subject, [check])[0]


@pytest.mark.parametrize(("number", "check_id"), KILLED.items())
def test_mistake_of_execution_is_noticed_by_the_check_for_it(number: str, check_id: str) -> None:
    assert finding(MUTANTS[number].make(), check_id).status == "failed"
    (check,) = [each for each in select("full") if each.id == check_id]
    assert number in check.kills


@pytest.mark.parametrize("check_id", ["MODE-1", "MODE-1.gradient", "MODE-3"])
def test_right_subject_in_two_modes_passes(check_id: str) -> None:
    assert finding(TwoModes(), check_id).status == "passed"


def test_place_names_mode_and_method() -> None:
    assert finding(MUTANTS["Q01"].make(), "MODE-1").where.startswith("network in other")
    assert finding(MUTANTS["Q02"].make(), "MODE-1.gradient").where.startswith("conv_in.bias in other")
    assert finding(MUTANTS["Q06"].make(), "MODE-1").where.startswith("p_step in other")
    assert finding(MUTANTS["Q07"].make(), "MODE-3").where.startswith("tables")


def test_subject_without_network_is_still_held_to_purity() -> None:
    assert finding(ReferenceSubject(), "MODE-3").status == "passed"
    assert finding(ReferenceSubject(), "MODE-1").status == "skipped"
