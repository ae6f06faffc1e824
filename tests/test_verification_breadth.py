"""The reference passes every exact check at any length of chain, on both schedules that people use, in both dtypes."""

from __future__ import annotations

import pytest

from verification.check import QUICK_LEVEL, run_checks, select
from verification.reference import ReferenceSubject
from verification.report import sentence

EXACT = [check for check in select("full") if check.level <= QUICK_LEVEL]
LENGTHS = [2, 10, 200, *(pytest.param(T, marks=pytest.mark.slow) for T in (1000, 4000))]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("T", LENGTHS)
def test_right_ddpm_passes(schedule: str, T: int, dtype: str) -> None:
    findings = run_checks(ReferenceSubject(schedule, T, dtype=dtype), EXACT)
    wrong = [f"{f.check} {f.status}: {sentence(f)}" for f in findings if f.status not in ("passed", "skipped")]
    assert not wrong, "\n".join(wrong)
    assert sum(f.status == "passed" for f in findings) >= 50
