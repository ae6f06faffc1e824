"""The clock's own trial: what it records, and that an alarm or a miss is a hole. Comparisons are made up here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

from benchmarks import proof
from benchmarks.cases import select
from benchmarks.measurement import SCHEMA

QUESTION = proof.Question(select("unet_forward[digits,b64]")[0], "graph", {})


def fights(monkeypatch: pytest.MonkeyPatch, seen: Any = None, notices: bool = True) -> list[Any]:
    """Put comparisons in the place of real ones that measure what was planted, or nothing if it is not to `notice`."""
    bouts: list[Any] = []

    def fight(bout: Any, *, reference: str, undecided: Any) -> dict[str, Any]:
        bouts.append(bout)
        if seen is not None:
            seen()
        return {arm.label: record(1 + arm.planted * notices) for arm in bout.arms}

    monkeypatch.setattr(proof.duel, "fight", fight)
    return bouts


def record(factor: float) -> dict[str, Any]:
    rows = [
        {
            "case": QUESTION.case.id, "params": {"device": "CPU", "mode": "graph", "tuning": "tuned"}, "process": i,
            "seconds": [factor * 0.1 * (1 + 1e-4 * i)] * 4, "first_call_seconds": 1.0, "flops": None, "work": 1,
            "peak_rss_bytes": None, "cpu_over_wall": None, "unit": "images", "import_seconds": 1.0, "proof": {},
            "interleaved": True, "conditions": {"load": 0.1},
        }
        for i in range(8)
    ]  # fmt: skip
    return {"schema": SCHEMA, "kind": "bench", "session": "s", "environment": {}, "measurements": rows}


def test_half_of_the_trials_are_slowed_and_all_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    bouts = fights(monkeypatch)
    kept: list[int] = []
    found = proof.prove(QUESTION, 3, reference="m:f", on_trial=lambda r: kept.append(len(r["trials"])))
    assert [trial["planted"] for trial in found["trials"]] == [0.0, 0.03] * 3
    assert [[arm.planted for arm in bout.arms] for bout in bouts] == [[0.0, 0.0], [0.0, 0.03]] * 3
    assert [trial["disturbed"] for trial in found["trials"]] == [True] * 2 + [False] * 4
    assert kept == [1, 2, 3, 4, 5, 6]
    assert len(found["trials"][0]["pairs"]) == 8
    assert found["trials"][0]["pairs"][0]["old"] == [0.1] * 4
    assert proof.exit_code(found) == 0
    json.dumps(found, allow_nan=False)


def test_slowdown_that_is_not_noticed_is_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    fights(monkeypatch, notices=False)
    found = proof.prove(QUESTION, 2, reference="m:f")
    assert proof.missed(found) == [1, 3]
    assert proof.exit_code(found) == 4
    assert "slowed on purpose: 0 of 2 called slower" in proof.lines(found)


@pytest.mark.parametrize("label", ["slower", "faster"])
def test_alarm_at_equal_code_is_a_hole(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    fights(monkeypatch)
    found = proof.prove(QUESTION, 1, reference="m:f")
    found["trials"][0]["verdict"]["label"] = label
    assert proof.alarms(found) == [0]
    assert proof.exit_code(found) == 4


def test_disturbance_runs_during_the_trial_and_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[int] = []
    fights(monkeypatch, seen=lambda: during.append(len(psutil.Process().children())))
    before = len(psutil.Process().children())
    proof.prove(QUESTION, 3, reference="m:f")
    assert during == [before + 1] * 2 + [before] * 4
    assert len(psutil.Process().children()) == before


def test_disturbance_burns_a_core_about_half_of_the_time_and_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", proof.DISTURB, "1"], stdin=subprocess.PIPE) as process:
        time.sleep(3)
        used = sum(psutil.Process(process.pid).cpu_times()[:2])
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    assert used > 0.05
