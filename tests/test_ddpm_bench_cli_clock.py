"""The verb `bench`: what is stored while it measures, how it goes on, and what a person can get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import records

from benchmarks import runner
from benchmarks.measurement import from_record
from benchmarks.worker import Answer, Job
from ddpm_bench import remedy
from ddpm_bench.cli import run_command

BENCH = ["bench", "--only", "unet_forward[digits,*]", "--mode", "graph", "--processes", "3", "--device", "CPU"]


class Workers:
    """Stands for `run_worker`: notes its jobs and is interrupted, as by a person, after so many."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.interrupted_after: int | None = None

    def __call__(self, job: Job, *_: object, **__: object) -> Answer:
        timed = [job for job in self.jobs if "forward" in job.cases[0].id]
        if self.interrupted_after is not None and len(timed) == self.interrupted_after:
            raise KeyboardInterrupt
        self.jobs.append(job)
        where = {"device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": 3}
        rows = [records.measurement(case.id, job.process, params=where, unit=case.unit) for case in job.cases]
        return Answer(tuple(from_record(row) for row in rows), {"devices": {"CPU": None}}, 0.01)

    @property
    def timed(self) -> list[str]:
        return [f"{job.cases[0].id} {job.process}" for job in self.jobs if "forward" in job.cases[0].id]


@pytest.fixture(autouse=True)
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    monkeypatch.chdir(tmp_path)
    fake = Workers()
    monkeypatch.setattr(runner, "run_worker", fake)
    monkeypatch.setattr(remedy, "settings", lambda tuning, _=None: {tuning: {}})
    return fake


def test_interrupted_run_goes_on_where_it_was(workers: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    workers.interrupted_after = 2
    assert run_command([*BENCH, "--history", "store"]) == 130
    assert len(workers.timed) == 2
    workers.interrupted_after = None
    workers.jobs.clear()
    capsys.readouterr()
    assert run_command([*BENCH, "--history", "store", "--resume", "--json", "all.json"]) == 0
    assert "going on after 2 measurements" in capsys.readouterr().err
    assert workers.timed == ["unet_forward[digits,b64] 2"]
    found = json.loads(Path("all.json").read_text())["measurements"]
    assert sorted(row["process"] for row in found) == [0, 1, 2]


def test_finished_run_is_not_measured_again_when_resumed(workers: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*BENCH, "--history", "store"]) == 0
    workers.jobs.clear()
    assert run_command([*BENCH, "--history", "store", "--resume", "--json", "again.json"]) == 0
    assert workers.jobs == []
    assert "came to its end" in capsys.readouterr().err
    assert len(json.loads(Path("again.json").read_text())["measurements"]) == 3
    assert run_command([*BENCH, "--history", "store"]) == 0  # without --resume it is another session
    assert len(workers.timed) == 3


def test_nothing_to_resume_is_said_and_begun(workers: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*BENCH, "--history", "store", "--resume"]) == 0
    assert "nothing of this run is stored: starting it" in capsys.readouterr().err
    assert len(workers.timed) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--resume"], 3, "--resume goes on with what is in a store: give --history as before"),
        (["--jit-level", "O1"], 2, "--jit-level is of graph mode only: give --mode graph with it"),
        (["--jit-level", "O9", "--mode", "graph"], 2, "O9"),
        (["--batch", "0"], 2, "--batch"),
        (["--against", ".", "--tuning", "both"], 2, "a comparison runs under one setting"),
        (
            ["--against", ".", "--mode", "graph", "--jit-level", "O0", "--jit-level", "O1"],
            2,
            "under one setting, not 2",
        ),
        (["--only", "unet_fourward*"], 3, "no case matches 'unet_fourward*'"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both: dict[str, Any] = {"stock": {}, "tuned": {}}
    monkeypatch.setattr(remedy, "settings", lambda tuning, _=None: both if tuning == "both" else {tuning: {}})
    assert run_command(["bench", *arguments]) == code
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_levels_of_graph_mode_are_settings_of_their_own(workers: Workers) -> None:
    assert run_command([*BENCH, "--jit-level", "O0", "--jit-level", "O1", "--json", "levels.json"]) == 0
    record = json.loads(Path("levels.json").read_text())
    assert {row["params"]["tuning"] for row in record["measurements"]} == {"tuned, O0", "tuned, O1"}
    assert record["environment"]["tuning.tuned, O1"] == "DDPM_BENCH_JIT_LEVEL=O1"
    assert len(workers.timed) == 6


def test_layers_are_listed_with_the_case_they_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["bench", "--only", "unet_forward[digits,*]", "--layers", "--list"]) == 0
    assert "1 cases, and 44 of single operators" in capsys.readouterr().out
