"""The gate under each build: judged once, kept, and what does not pass is said first and counts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import records
import sweeps

from benchmarks import announce_versions, versions, versions_gate, versions_page, versions_text
from benchmarks.arms import Arm
from benchmarks.errand import ErrandError
from benchmarks.measurement import BenchmarkError
from benchmarks.versions_words import headline

ARMS = tuple(Arm(label) for label in ("2.9.0", "2.10.0"))


class Judge:
    """Stands for the errand: leaves the record that its build deserves."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, tuple[str, ...]]] = []
        self.findings: dict[str, list[Any]] = {}
        self.error: ErrandError | None = None

    def __call__(self, arm: Arm, arguments: Sequence[str], *, folder: Path, **_: Any) -> Any:
        self.sent.append((arm.label, tuple(arguments[2:])))
        if self.error:
            raise self.error
        if arm.label not in self.findings:
            return subprocess.CompletedProcess((), 139, "", "Segmentation fault\n\n")
        (folder / "verify.json").write_text(json.dumps(records.verify(*self.findings[arm.label])))
        return subprocess.CompletedProcess((), 0, "", "")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    fake = Judge()
    fake.findings = {
        "2.9.0": [records.finding(f"CHK-{i}") for i in range(3)],
        "2.10.0": [records.finding("FWD-1"), records.finding("FWD-2", "failed"), records.finding("FWD-3", "skipped")],
    }
    monkeypatch.setattr(versions_gate, "errand", fake)
    return fake


def gates(store: Path | None = None) -> list[dict[str, Any]]:
    return versions_gate.gates(ARMS, mode="both", store=store, session="s", tell=lambda _: None)


def test_every_build_has_its_gate_run_by_itself(judge: Judge) -> None:
    good, bad = gates()
    verify = ("verify", "--mode", "both", "--json", "verify.json")
    assert sorted(judge.sent) == sorted((arm.label, verify) for arm in ARMS)  # side by side, so in any order
    assert (good["passed"], good["findings"], good["failed"], good["reason"]) == (3, 3, [], None)
    assert (bad["passed"], bad["findings"]) == (1, 3)
    assert bad["failed"] == ["FWD-2 on linear-1000", "FWD-3 on linear-1000"]  # skipping is not passing


def test_a_build_that_cannot_be_judged_has_its_reason(judge: Judge) -> None:
    del judge.findings["2.10.0"]
    assert gates()[1]["reason"] == "judging ended with exit code 139: Segmentation fault"
    judge.error = ErrandError("took longer than 900 s")
    assert gates()[0]["reason"] == "judging took longer than 900 s"


def test_what_gave_no_answer_is_asked_again(judge: Judge, tmp_path: Path) -> None:
    """A judge that was killed, for memory or by a time limit, says nothing about the build."""
    judge.error = ErrandError("took longer than 900 s")
    assert all(gate["reason"] for gate in gates(tmp_path))
    judge.error = None
    assert [gate["reason"] for gate in gates(tmp_path)] == [None, None]


def test_nobody_is_judged_twice_unless_the_answer_was_damaged(judge: Judge, tmp_path: Path) -> None:
    first = gates(tmp_path)
    assert gates(tmp_path) == first
    assert len(judge.sent) == 2
    kept = sorted((tmp_path / "gate" / "s").glob("*.json"))
    kept[0].write_text('{"schema": 1, "bui')
    assert gates(tmp_path) == first
    assert len(judge.sent) == 3
    kept[0].write_text(json.dumps({**json.loads(kept[1].read_text()), "schema": 99}))
    with pytest.raises(BenchmarkError, match="has schema 99"):
        gates(tmp_path)


def swept(**gate: Any) -> dict[str, Any]:
    """A steady sweep whose newest build had this come of its gate."""
    good = {"build": "2.9.0", "passed": 410, "findings": 410, "failed": [], "reason": None}
    record = sweeps.sweep(sweeps.steady())
    record = {**record, "gates": [good, {**good, "build": "2.10.0", **gate}]}
    return {**record, "headline": headline(record)}


def test_failing_gate_counts_and_is_said_first() -> None:
    record = swept(passed=408, failed=["FWD-1 on linear-1000", "FWD-2 on linear-1000"])
    assert versions.exit_code(record) == 1
    assert record["headline"].startswith("WRONG under MindSpore 2.10.0: 2 of 410 checks fail. MindSpore 2.10.0 is as")
    assert "408 of 410 checks pass; not FWD-1 on linear-1000" in versions_text.markdown(record)
    assert "FWD-2 on linear-1000" in versions_page.html(record)
    assert '<failure message="408 of 410 checks pass' in announce_versions.junit(record)
    assert any(line.startswith("::error") and "408 of 410" in line for line in announce_versions.github(record))


def test_build_that_could_not_be_judged_is_undecided() -> None:
    record = swept(passed=0, findings=0, reason="judging took longer than 900 s")
    assert versions.exit_code(record) == 3
    assert record["headline"].startswith("UNVERIFIED under MindSpore 2.10.0: judging took longer than 900 s. ")
    assert "* 2.10.0: UNVERIFIED, judging took longer" in versions_text.markdown(record)
    assert "<skipped" in announce_versions.junit(record)


def test_passing_gates_are_one_line_and_change_nothing() -> None:
    record = swept()
    assert versions.exit_code(record) == 0
    assert "The DDPM passes all of its 410 checks under every build." in versions_text.markdown(record)
    assert record["headline"].startswith("MindSpore 2.10.0 is as fast as 2.9.0")
