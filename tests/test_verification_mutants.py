"""Each planted mistake is noticed by the very checks that promise to, and the reference without mistakes by none."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from verification.check import CHECKS, Finding, run_checks, select
from verification.mutants import load_mutants
from verification.reference import ReferenceSubject
from verification.report import sentence

MUTANTS = load_mutants()

CORRECT: dict[str, dict[str, Any]] = {
    "linear": {"network": True},
    "clipped, fixed large": {"clip_x_0": True, "variance": "beta"},
    "cosine": {"schedule": "cosine"},
    "float32": {"dtype": "float32"},
}
PROMISED = [(number, obligation) for number, entry in MUTANTS.items() for obligation in entry.killed_by]
FORMS = {number.rstrip("b") for number in MUTANTS}
NAMED = [(check.id, kill) for check in select("full") for kill in check.kills if kill in FORMS]


@functools.cache
def verdict(number: str, check_id: str) -> Finding:
    """What the check says of the mutant; each pair is judged once."""
    return run_checks(MUTANTS[number].make(), [CHECKS[check_id]])[0]


@pytest.mark.parametrize(("number", "obligation"), PROMISED)
def test_planted_mistake_fails_the_check_that_the_catalogue_names(number: str, obligation: str) -> None:
    checks = select("full", obligation)
    assert checks, f"no check {obligation}"
    findings = [verdict(number, check.id) for check in checks]
    assert "failed" in {finding.status for finding in findings}, [sentence(finding) for finding in findings]


@pytest.mark.parametrize(("check_id", "kill"), NAMED)
def test_check_kills_the_planted_mistake_that_it_names(check_id: str, kill: str) -> None:
    """One of the forms in which the mistake is planted: M54 is planted as M54 and as M54b."""
    findings = [verdict(number, check_id) for number in MUTANTS if number.rstrip("b") == kill]
    assert "failed" in {finding.status for finding in findings}, [sentence(finding) for finding in findings]


@pytest.mark.parametrize("choices", CORRECT.values(), ids=CORRECT.keys())
def test_correct_ddpm_passes_every_check(choices: dict[str, Any]) -> None:
    findings = run_checks(ReferenceSubject(**choices), select("full"))
    wrong = [f"{f.check} {f.status}: {sentence(f)}" for f in findings if f.status not in ("passed", "skipped")]
    assert not wrong, "\n".join(wrong)


def test_reference_with_a_network_lacks_nothing_but_other_execution_modes() -> None:
    subject = ReferenceSubject(network=True, num_timesteps=2)
    lacking = {(check.id, need) for check in select("full") for need in check.needs if not hasattr(subject, need)}
    assert {need for _, need in lacking} <= {"counterparts"}, lacking
