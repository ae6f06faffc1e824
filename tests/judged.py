"""What a few checks say of a subject, for tests of the checks."""

from __future__ import annotations

from verification.check import Finding, load_checks, run_checks
from verification.protocol import Subject
from verification.report import sentence


def judge(subject: Subject, *ids: str) -> list[Finding]:
    """The findings of the checks `ids` on `subject`."""
    known = load_checks()
    return run_checks(subject, [known[each] for each in ids])


def complaints(subject: Subject, *ids: str) -> list[str]:
    """What is wrong with `subject` according to the checks `ids`, in sentences."""
    return [f"{each.check} {each.status}: {sentence(each)}" for each in judge(subject, *ids) if each.status != "passed"]


def failure(subject: Subject, check: str) -> Finding:
    """The finding of one check that must have failed."""
    (found,) = judge(subject, check)
    assert found.status == "failed", f"{check} {found.status}: {sentence(found)}"
    return found
