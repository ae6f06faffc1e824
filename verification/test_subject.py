"""The judge's door for pytest: one test a check, see `conftest.py`."""

from __future__ import annotations

import pytest

from verification.check import Check, run_checks
from verification.protocol import Subject, SubjectSpec
from verification.randomness import Randomness
from verification.report import sentence


def test_check(check: Check, subject: Subject, spec: SubjectSpec, chance: Randomness) -> None:
    """The subject fulfils the claim of the check; a check that cannot run is a skipped test with the reason."""
    (finding,) = run_checks(subject, [check], spec=spec.text, seed=chance.seed, profile=chance.profile.name)
    if finding.status == "skipped":
        pytest.skip(finding.reason)
    if finding.status != "passed":
        pytest.fail(f"{check.claim} ({check.source})\n{sentence(finding)}\n{finding.reproduce}", pytrace=False)
