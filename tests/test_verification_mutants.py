"""Each planted mistake is noticed by the very checks that promise to, and the reference without mistakes by none.

Mutants of the network are tested with the network's checks, those of single coefficients with their diagnoses; the
whole matrix is the self-test, which is the slow test here.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from verification import self_test
from verification.check import CHECKS, Finding, run_checks, select
from verification.kill_matrix import answering, promises
from verification.mutants import forms, load_mutants, mutant
from verification.mutants_coefficients import SAYS
from verification.network_mutants import NETWORK_MUTANTS
from verification.reference import ReferenceSubject
from verification.report import sentence

MUTANTS = load_mutants()
ELSEWHERE = {each.id for each in NETWORK_MUTANTS} | set(SAYS)
HERE = {number: entry for number, entry in MUTANTS.items() if number not in ELSEWHERE}

CORRECT: dict[str, dict[str, Any]] = {
    "linear": {"network": True},
    "clipped, fixed large": {"clip_x_0": True, "variance": "beta"},
    "cosine": {"schedule": "cosine"},
    "float32": {"dtype": "float32"},
}
PROMISED = [(number, obligation) for number, entry in HERE.items() for obligation in entry.killed_by]
NAMED = [(check.id, kill) for check in select("full") for kill in check.kills if set(forms(kill, HERE))]


KEPT = promises(MUTANTS, select("full"))


@functools.cache
def verdicts(number: str) -> dict[str, Finding]:
    """What all the checks that promise to notice the mutant say of it: one subject, which they share as in a run."""
    found = run_checks(MUTANTS[number].make(), [CHECKS[each] for each in KEPT[number]])
    return {each.check: each for each in found}


def verdict(number: str, check_id: str) -> Finding:
    """What the check says of the mutant."""
    made = verdicts(number)
    return made[check_id] if check_id in made else run_checks(MUTANTS[number].make(), [CHECKS[check_id]])[0]


@pytest.mark.parametrize(("number", "obligation"), PROMISED)
def test_planted_mistake_fails_the_check_that_it_names(number: str, obligation: str) -> None:
    checks = answering(obligation, select("full"))
    assert checks, f"no check {obligation}"
    findings = [verdict(number, check) for check in checks]
    assert "failed" in {finding.status for finding in findings}, [sentence(finding) for finding in findings]


@pytest.mark.parametrize(("check_id", "kill"), NAMED)
def test_check_kills_the_planted_mistake_that_it_names(check_id: str, kill: str) -> None:
    """One of the forms in which the mistake is planted: M54 is planted as M54 and as M54b."""
    findings = [verdict(number, check_id) for number in forms(kill, MUTANTS)]
    assert "failed" in {finding.status for finding in findings}, [sentence(finding) for finding in findings]


def test_every_mistake_that_a_check_names_is_planted() -> None:
    unplanted = {(check.id, kill) for check in select("full") for kill in check.kills if not forms(kill, MUTANTS)}
    assert not unplanted


def test_every_check_has_a_mistake_to_notice_and_every_mistake_a_check() -> None:
    promised = promises(MUTANTS, select("full"))
    assert all(promised.values())
    assert {check for checks in promised.values() for check in checks} == {check.id for check in select("full")}


def test_there_are_enough_of_them() -> None:
    assert len(NETWORK_MUTANTS) >= 25
    assert len(MUTANTS) - len(NETWORK_MUTANTS) >= 100


@pytest.mark.parametrize("choices", CORRECT.values(), ids=CORRECT.keys())
def test_correct_ddpm_passes_every_check(choices: dict[str, Any]) -> None:
    findings = run_checks(ReferenceSubject(**choices), select("full"))
    wrong = [f"{f.check} {f.status}: {sentence(f)}" for f in findings if f.status not in ("passed", "skipped")]
    assert not wrong, "\n".join(wrong)


def test_reference_with_a_network_lacks_nothing_but_other_execution_modes() -> None:
    subject = ReferenceSubject(network=True, num_timesteps=2)
    lacking = {(check.id, need) for check in select("full") for need in check.needs if not hasattr(subject, need)}
    assert {need for _, need in lacking} <= {"counterparts"}, lacking


def test_right_counterpart_is_the_same_without_the_mistake() -> None:
    wrong, right = MUTANTS["M39"].make(), MUTANTS["M39"].right()
    assert type(right) is ReferenceSubject
    assert (right.name, right.clip_x_0) == (wrong.name, True)
    assert MUTANTS["Q01"].right().counterparts()  # type: ignore[attr-defined]  # the reference has none
    assert MUTANTS["Q01"].control == MUTANTS["Q02"].control != MUTANTS["Q03"].control


def test_id_is_given_once() -> None:
    with pytest.raises(ValueError, match="M13"):
        mutant("M13", "again", ())(ReferenceSubject)


def test_forms_of_a_mistake_share_its_number() -> None:
    assert forms("M54", MUTANTS) == ["M54", "M54b"]
    assert forms("M5", MUTANTS) == []


@pytest.mark.slow
def test_whole_suite_has_no_hole() -> None:
    result = self_test.run(with_doses=False)
    assert result.faults == []
    assert result.exit_code == 0
