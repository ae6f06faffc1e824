"""Each planted mistake is noticed by the very checks that promise to, and the reference without mistakes by none."""

from __future__ import annotations

from typing import Any

import pytest
from planted import PLANTED, planted

from verification.check import load_checks, run_checks, select
from verification.reference import ReferenceSubject
from verification.report import sentence

CORRECT: dict[str, dict[str, Any]] = {
    "linear": {"network": True},
    "clipped, fixed large": {"clip_x_0": True, "variance": "beta"},
    "cosine": {"schedule": "cosine"},
    "float32": {"dtype": "float32", "network": True},
}
PAIRS = [(number, check) for number, entry in PLANTED.items() for check in entry.killed_by]


@pytest.mark.parametrize(("number", "obligation"), PAIRS, ids=lambda value: str(value))
def test_planted_mistake_fails_the_check_that_promises_to_notice(number: str, obligation: str) -> None:
    checks = select("full", obligation)
    assert checks, f"no check {obligation}"
    findings = run_checks(planted(number), checks)
    assert "failed" in {finding.status for finding in findings}, [sentence(finding) for finding in findings]


@pytest.mark.parametrize("choices", CORRECT.values(), ids=CORRECT.keys())
def test_correct_ddpm_passes_every_check(choices: dict[str, Any]) -> None:
    findings = run_checks(ReferenceSubject(**choices), select("full"))
    wrong = [f"{f.check} {f.status}: {sentence(f)}" for f in findings if f.status not in ("passed", "skipped")]
    assert not wrong, "\n".join(wrong)


def test_mutants_that_checks_promise_to_kill_are_planted() -> None:
    """A check may name further mutants of its own; those of the catalogue that are planted must agree both ways."""
    for number, entry in PLANTED.items():
        for check in load_checks().values():
            if check.obligation in entry.killed_by and number.startswith("M"):
                named = {
                    kill
                    for each in load_checks().values()
                    if each.obligation == check.obligation
                    for kill in each.kills
                }
                assert number.rstrip("b") in {name.rstrip("b") for name in named}, f"{check.id} does not list {number}"
