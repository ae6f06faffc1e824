"""The self-test tries what is promised, the same without the mistake, and what has noticed nothing; in processes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import planted
import pytest

from verification import report, self_test
from verification.check import select
from verification.kill_matrix import promises
from verification.mutants import load_mutants
from verification.protocol import VerificationError
from verification.self_test import SelfTest, Trial, joined, judge, load_sources, plan, processes_here

SOURCE = "planted"
FEW = [check for check in select("full") if check.id in ("FWD-1", "FWD-3", "FWD-7", "SCH-6")]


def test_plan_tries_every_promise_and_every_right_counterpart_once() -> None:
    mutants = load_mutants()
    trials = plan({"verification.mutants": mutants}, select("full"))
    wrong = {trial.mutant: trial.checks for trial in trials if not trial.right}
    assert {name: list(checks) for name, checks in wrong.items()} == promises(mutants, select("full"))
    controls = [trial for trial in trials if trial.right]
    tried = [(mutants[trial.mutant].control, check) for trial in controls for check in trial.checks]
    assert len(tried) == len(set(tried))
    assert len({control for control, _ in tried}) < 40
    assert {check for trial in controls for check in trial.checks} == {check.id for check in select("full")}


def test_long_statistical_checks_of_right_subjects_are_jobs_of_their_own() -> None:
    checks = [replace(each, level=4) if each.id in ("FWD-3", "SCH-6") else each for each in FEW]
    entry = replace(planted.load_mutants()["T1"], killed_by=("FWD-1", "FWD-3", "FWD-7", "SCH-6"))
    trials = [trial for trial in plan({SOURCE: {"T1": entry}}, checks) if trial.right]
    assert [trial.checks for trial in trials] == [("FWD-1", "FWD-7"), ("FWD-3",), ("SCH-6",)]


def test_trial_is_a_verdict_for_each_of_its_checks() -> None:
    wrong = judge(Trial(SOURCE, "T1", ("FWD-1", "FWD-3")))
    assert [(each.check, each.status, each.killed) for each in wrong] == [
        ("FWD-1", "failed", True),
        ("FWD-3", "passed", False),
    ]
    right = judge(Trial(SOURCE, "T1", ("FWD-1",), right=True))
    assert [(each.status, each.killed) for each in right] == [("passed", False)]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "select", lambda _: FEW)


@pytest.mark.usefixtures("few")
def test_run_in_fresh_processes_finds_the_holes_of_a_bad_suite(tmp_path: Path) -> None:
    """T2 is no mistake and survives; a check that names nothing planted here is searched for a kill."""
    seen: list[tuple[int, int]] = []
    result = self_test.run(
        (SOURCE, "no_such_module"), processes=2, on_progress=lambda *step: seen.append(step), with_doses=False
    )
    assert result.exit_code == 4
    assert "T2 (nothing is wrong) survives FWD-3, FWD-7, SCH-6" in said(result)
    assert "SCH-6 kills nothing: it passes 2 mutants" in said(result)
    assert not any(fault.startswith("FWD-7 kills") for fault in result.faults), (
        "FWD-7 notices T1, which it does not name"
    )
    assert "no_such_module" in result.unavailable["no_such_module"]
    assert seen[-1][0] == seen[-1][1] == len(seen)
    file = tmp_path / "self_test.json"
    report.write_json(file, self_test.record(result, {"python": "3"}))
    made = json.loads(file.read_text())
    assert (made["schema"], made["kind"], made["environment"]) == (1, "self-test", {"python": "3"})
    assert {row["id"] for row in made["mutants"]} == {"T1", "T2"}
    assert next(row for row in made["checks"] if row["id"] == "FWD-1")["kills"] == ["T1"]
    assert made["faults"] == result.faults


def said(result: SelfTest) -> str:
    return "\n".join(result.faults)


def test_own_mutants_must_load_and_others_may_be_unavailable() -> None:
    loaded, unavailable = load_sources((SOURCE, "no_such_module"))
    assert set(loaded) == {SOURCE}
    assert unavailable["no_such_module"].startswith("unavailable: ")
    with pytest.raises(ImportError):
        load_sources(("no_such_module",))


def test_one_id_in_two_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("planted_again")
    module.load_mutants = planted.load_mutants
    monkeypatch.setitem(sys.modules, "planted_again", module)
    loaded, _ = load_sources((SOURCE, "planted_again"))
    with pytest.raises(VerificationError, match="T1"):
        joined(loaded)


def test_a_suite_without_faults_exits_with_0() -> None:
    assert SelfTest({}, [], [], [], {}, 1.0).exit_code == 0
    assert 1 <= processes_here() <= self_test.MOST_PROCESSES


class Died:
    def __enter__(self) -> None:
        raise self_test.BrokenProcessPool("gone")

    def __exit__(self, *_: object) -> None: ...


def test_process_that_dies_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "_pool", lambda _: Died())
    with pytest.raises(VerificationError, match="a process of the self-test died"):
        self_test.run((SOURCE,))
