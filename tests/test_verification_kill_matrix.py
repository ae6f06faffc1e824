"""What a kill matrix says of a suite: each kind of hole is found, and a suite without one is not blamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from verification.check import Check, Evidence, select
from verification.coverage import mistakes, page
from verification.kill_matrix import Verdict, answering, faults, kills, matrix, promises
from verification.mutants import load_mutants
from verification.protocol import Subject

COVERAGE = Path(__file__).parent.parent / "docs" / "coverage.md"


@dataclass(frozen=True)
class Wrong:
    id: str
    killed_by: tuple[str, ...]
    mistake: str = "something is wrong"
    control: str = ""

    def make(self) -> Any: ...

    def right(self) -> Any: ...


def nothing(_: Subject) -> Iterator[Evidence]:
    return iter(())


def check(name: str, *named: str, level: int = 1) -> Check:
    return Check(name, "a claim", "a source", (), nothing, level, named, "")


def verdict(mutant: str, check_id: str, status: str = "failed", **more: Any) -> Verdict:
    return Verdict(mutant, check_id, status, 2.0, "t=3", "", "because", **more)


CHECKS = [check("FWD-1", "A"), check("FWD-2", "B"), check("SMP-4", level=4)]
MUTANTS = {each.id: each for each in (Wrong("A", ("FWD-1",)), Wrong("B", ("FWD-2", "SMP-4")))}
GOOD = [
    verdict("A", "FWD-1"),
    verdict("B", "FWD-2"),
    verdict("B", "SMP-4"),
    verdict("A", "FWD-1", "passed", right=True),
]


def test_suite_without_a_hole_is_not_blamed() -> None:
    assert faults(MUTANTS, CHECKS, GOOD) == []


def test_survivor_is_a_fault_that_says_what_it_survived() -> None:
    found = faults(MUTANTS, CHECKS, [verdict("A", "FWD-1", "passed"), *GOOD[1:]])
    assert any(each.startswith("A (something is wrong) survives FWD-1") for each in found)


def test_mutant_that_nothing_was_tried_on_survives() -> None:
    found = faults({**MUTANTS, "C": Wrong("C", ())}, CHECKS, GOOD)
    assert any("C" in each and "no check was tried" in each for each in found)


def test_check_that_kills_nothing_is_a_fault() -> None:
    found = faults(MUTANTS, [*CHECKS, check("FWD-9")], [*GOOD, verdict("A", "FWD-9", "passed")])
    assert found == ["FWD-9 kills nothing: it passes 1 mutants"]


def test_check_that_every_mutant_skips_kills_nothing_and_says_why() -> None:
    (found,) = faults(MUTANTS, [*CHECKS, check("FID-1")], [*GOOD, verdict("A", "FID-1", "skipped")])
    assert "FID-1 kills nothing" in found
    assert "because" in found


def test_check_that_breaks_off_has_not_noticed_anything() -> None:
    found = faults(MUTANTS, CHECKS, [verdict("A", "FWD-1", "error"), *GOOD[1:]])
    assert any("survives" in each for each in found)


def test_mistake_noticed_by_statistics_alone_is_a_fault_if_an_exact_check_names_it() -> None:
    found = faults(MUTANTS, CHECKS, [GOOD[0], verdict("B", "FWD-2", "passed"), *GOOD[2:]])
    assert any("B is noticed only by statistics (SMP-4), and FWD-2 should notice it" in each for each in found)


def test_mistake_that_only_statistics_can_notice_is_none() -> None:
    mutants = {**MUTANTS, "C": Wrong("C", ("SMP-4",))}
    assert faults(mutants, CHECKS, [*GOOD, verdict("C", "SMP-4")]) == []


def test_broken_promise_of_a_mutant_is_a_fault() -> None:
    mutants = {**MUTANTS, "A": Wrong("A", ("FWD-1", "FWD-2"))}
    found = faults(mutants, CHECKS, [*GOOD, verdict("A", "FWD-2", "passed")])
    assert found == ["A (something is wrong) names FWD-2, which does not notice it"]


def test_broken_promise_of_a_check_is_a_fault() -> None:
    checks = [check("FWD-1", "A", "B"), *CHECKS[1:]]
    assert faults(MUTANTS, checks, GOOD) == ["FWD-1 names B (something is wrong) and does not notice it"]
    checks = [check("FWD-1", "A", "Z"), *CHECKS[1:]]
    assert faults(MUTANTS, checks, GOOD) == ["FWD-1 names Z, which is not planted"]


def test_one_form_of_a_mistake_is_enough_for_a_check() -> None:
    mutants = {**MUTANTS, "Ab": Wrong("Ab", ("FWD-2",))}
    assert faults(mutants, CHECKS, [*GOOD, verdict("Ab", "FWD-2"), verdict("Ab", "FWD-1", "passed")]) == []


@pytest.mark.parametrize("status", ["failed", "error"])
def test_check_that_fails_without_the_mistake_is_a_fault(status: str) -> None:
    found = faults(MUTANTS, CHECKS, [*GOOD, verdict("A", "FWD-1", status, right=True)])
    assert found == ["FWD-1 fails on the right counterpart of A at t=3: because"]
    assert "FWD-1" not in kills([verdict("A", "FWD-1", status, right=True)])


def test_obligation_is_the_check_of_that_name_or_else_all_that_share_it() -> None:
    checks = [check("NET-2"), check("NET-2.gradient"), check("NET-11.padding"), check("NET-11.eps")]
    assert answering("NET-2", checks) == ["NET-2"]
    assert answering("NET-11", checks) == ["NET-11.padding", "NET-11.eps"]
    assert answering("NET-99", checks) == []


def test_matrix_has_a_row_for_every_mutant_and_what_each_check_said() -> None:
    rows = {row["id"]: row for row in matrix(MUTANTS, GOOD)}
    assert set(rows) == {"A", "B"}
    assert rows["B"]["checks"]["SMP-4"]["status"] == "failed"
    assert rows["A"]["checks"] == {"FWD-1": {"status": "failed", "ratio": 2.0, "where": "t=3", "diagnosis": ""}}


REAL, REAL_CHECKS = load_mutants(), select("full")
KEPT = [verdict(name, each) for name, promised in promises(REAL, REAL_CHECKS).items() for each in promised]
"""What a run finds if every promise is kept."""


def test_if_all_promises_are_kept_the_real_suite_has_no_hole() -> None:
    assert faults(REAL, REAL_CHECKS, KEPT) == []


@pytest.mark.parametrize("gone", [each.id for each in REAL_CHECKS])
def test_no_check_can_be_pulled_out_unnoticed(gone: str) -> None:
    """The page of what is covered is another then, and mistakes that name the check find nobody to notice them.

    A mistake that names NET-2 may be left to NET-2.gradient, which shares the obligation: then only the page tells.
    """
    left = [each for each in REAL_CHECKS if each.id != gone]
    assert mistakes(REAL_CHECKS, REAL)[gone]
    assert page(left, REAL) != COVERAGE.read_text()
    found = faults(REAL, left, [each for each in KEPT if each.check != gone])
    named = [f"{name} ({entry.mistake}) names {gone}," for name, entry in REAL.items() if gone in entry.killed_by]
    assert answering(gone, left) or all(any(fault.startswith(start) for fault in found) for start in named)


def test_check_that_no_longer_names_what_it_kills_changes_the_page() -> None:
    bare = [replace(each, kills=()) if each.id == "FWD-7" else each for each in REAL_CHECKS]
    assert page(bare, REAL) != COVERAGE.read_text()
