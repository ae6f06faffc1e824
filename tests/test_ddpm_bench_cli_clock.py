"""The verb `bench`: how it is interrupted and gone on with, and what a person can get wrong.

Workers are fake, the store is real.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import arms, duel, environment, gates, history, runner
from benchmarks.measurement import Measurement, invalid_measurement, measurements
from benchmarks.worker import Answer, Job
from ddpm_bench import cli, cli_clock, operators, precision

ONE = ("bench", "--only", "unet_forward[digits,b64]", "--mode", "graph", "--tuning", "stock")


class Workers:
    """Stands for `run_worker` and `run_pair`; a signal comes in place of the worker with the number `interrupted`."""

    def __init__(self) -> None:
        self.begun = 0
        self.interrupted: int | None = None
        self.seconds = 0.0

    def one(self, job: Job, *_: object, **__: object) -> Answer:
        self.begin()
        return self.answer(job)

    def pair(self, jobs: Sequence[Job], *_: object, **__: object) -> list[Answer]:
        self.begin()
        return [self.answer(job) for job in jobs]

    def begin(self) -> None:
        self.begun += 1
        time.sleep(self.seconds)
        if self.begun == self.interrupted:
            os.kill(os.getpid(), signal.SIGINT)

    @staticmethod
    def answer(job: Job) -> Answer:
        def row(case: Any) -> Measurement:
            params = {"device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": 2}
            empty = invalid_measurement(case.id, params, job.process, "", work=case.work, unit=case.unit)
            seconds = tuple(random.SystemRandom().uniform(0.999, 1.001) for _ in range(2))
            return replace(empty, seconds=seconds, flops=1000, cpu_over_wall=1.0, invalid=None, interleaved=True)

        seen = {"devices": {"CPU": None}, "environment": {"code": "c0de", "cpu": "A"}}
        return Answer(tuple(map(row, job.cases)), seen, 0.001)


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    fake = Workers()
    monkeypatch.setattr(runner, "run_worker", fake.one)
    monkeypatch.setattr(duel, "run_pair", fake.pair)
    monkeypatch.setattr(arms, "checkout", Path)
    return fake


def run(*arguments: str | Path) -> int:
    return cli.run_command([str(argument) for argument in arguments])


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was said on stderr, but for the progress."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line and not line.startswith(("timing: ", "comparing: ", "note: "))]


def kept(store: Path, *, arm: str | None = None) -> list[int]:
    """The processes of the only session in the store."""
    (record,) = [record for record in history.read(store).records if record.get("arm") == arm]
    return sorted(row.process for row in measurements(record))


def test_interrupted_sweep_is_gone_on_with(
    tmp_path: Path, workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    """The peak, then processes 0 and 1, and a signal in place of process 2."""
    store, command = tmp_path / "store", (*ONE, "--processes", "4", "--history", tmp_path / "store")
    workers.interrupted = 4
    assert run(*command) == 130
    (sentence,) = told(capsys)
    assert sentence == (
        f"ddpm-bench: interrupted: what was measured is kept in {store}, and the same command with --resume goes on"
    )
    assert kept(store) == [0, 1]
    assert run(*command, "--resume", "--json", tmp_path / "all.json") == 0
    said = told(capsys)
    assert said[0].endswith("which ended early after 2 workers")
    assert said[1].startswith(f"kept in {store}")
    assert kept(store) == [0, 1, 2, 3]
    record = json.loads((tmp_path / "all.json").read_text())
    assert sorted(row["process"] for row in record["measurements"]) == [0, 1, 2, 3]
    assert workers.begun == 4 + 2 + 1, "what is missing, and the peak at the end"


def test_finished_sweep_measures_nothing_and_says_so(
    tmp_path: Path, workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (*ONE, "--processes", "2", "--history", tmp_path, "--json", tmp_path / "all.json", "--resume")
    assert run(*command) == 0
    assert told(capsys)[0] == "nothing of this run is stored: starting it"
    first, workers.begun = (tmp_path / "all.json").read_text(), 0
    assert run(*command) == 0
    assert told(capsys)[0].endswith("which has ended: nothing is left to measure")
    assert (tmp_path / "all.json").read_text() == first
    assert workers.begun == 0


def test_sweep_is_refused_when_the_code_has_changed(
    tmp_path: Path, workers: Workers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*ONE, "--processes", "2", "--history", tmp_path)
    workers.interrupted = 3
    assert run(*command) == 130
    collect = environment.collect
    monkeypatch.setattr(environment, "collect", lambda variables: {**collect(variables), "code": "another"})
    told(capsys)
    assert run(*command, "--resume") == 2
    sentence = told(capsys)[-1]
    assert sentence.startswith("ddpm-bench: this is no longer what the earlier workers measured (code: ")
    assert sentence.endswith("→ another): start a run of its own, without --resume")
    assert workers.begun == 3


def test_interrupted_comparison_is_gone_on_with(
    tmp_path: Path, workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    command = (*ONE, "--against", tmp_path, "--processes", "3", "--history", store)
    workers.interrupted = 3
    assert run(*command) == 130
    assert "the same command with --resume goes on" in told(capsys)[0]
    assert kept(store, arm="old") == kept(store, arm="new") == [0, 1]
    assert run(*command, "--resume") == 0
    assert told(capsys)[0] == "going on after 2 pairs"
    assert kept(store, arm="old") == kept(store, arm="new") == [0, 1, 2]
    assert workers.begun == 3 + 1


@pytest.mark.parametrize("against", [True, False])
def test_interruption_without_a_store_says_what_would_have_kept_it(
    tmp_path: Path, workers: Workers, capsys: pytest.CaptureFixture[str], against: bool
) -> None:
    workers.interrupted = 2
    assert run(*ONE, *(("--against", tmp_path) if against else ())) == 130
    assert told(capsys) == [
        "ddpm-bench: interrupted, and what was measured is lost: with --history it is kept as it comes"
    ]


def test_notes_at_the_end_of_a_comparison_are_stored(tmp_path: Path, workers: Workers) -> None:
    """Of a budget of 1 s two pairs of 0.4 s take so much that a third does not fit."""
    workers.seconds = 0.4
    run(*ONE, "--against", tmp_path, "--processes", "9", "--budget", "1", "--history", tmp_path / "store")
    (told,) = {note for record in history.read(tmp_path / "store").records for note in record["notes"]}
    assert told.endswith("ended after 2 of 9 pairs, because the budget was used up")


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        ([], "--resume goes on with what `bench --history` stored: give --history as before"),
        (["--against", "."], "--resume goes on with what `bench --history` stored: give --history as before"),
        (
            ["--history", "s", "--self-test"],
            "a self-test compares this code with itself and is not stored: leave out --resume",
        ),
    ],
)
def test_resume_of_what_is_not_stored_is_one_sentence(
    capsys: pytest.CaptureFixture[str], workers: Workers, rest: list[str], sentence: str
) -> None:
    assert run(*ONE, "--resume", *rest) == 3
    assert told(capsys) == [f"ddpm-bench: {sentence}"]
    assert workers.begun == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--jit-level", "O1"], 2, "--jit-level is of graph mode only: give --mode graph with it"),
        (["--jit-level", "O9", "--mode", "graph"], 2, "O9"),
        (["--batch", "0"], 2, "--batch"),
        (["--against", ".", "--tuning", "both"], 2, "a comparison runs under one setting"),
        (
            ["--against", ".", "--mode", "graph", "--jit-level", "O0", "--jit-level", "O1"],
            2,
            "under one setting, not 2",
        ),
        (["--self-test", "--against", "."], 3, "compares this code with itself and is not stored: leave out --against"),
        (["--self-test", "--history", "s"], 3, "compares this code with itself and is not stored: leave out --history"),
        (["--only", "unet_fourward*"], 3, "no case matches 'unet_fourward*'"),
        (
            ["--only", "unet_forward training_step[cifar10,b16]"],
            3,
            "no case matches 'training_step[cifar10,b16]'; give --batch 16, or see",
        ),
        (["--only", "unet_fourward[cifar10,b16]"], 3, "no case matches 'unet_fourward[cifar10,b16]'; see"),
        (["--only", ""], 3, "no case matches ''"),
        (["--only", "unet_forward silu*", "--dtype", "float16"], 3, "no case matches 'silu*' in float16"),
        (["--dtype", "int8"], 2, "int8"),
        (
            ["--only", "training_step", "--dtype", "float16"],
            3,
            "no case matches 'training_step' in float16: training and single operators are float32; see",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both: dict[str, Any] = {"stock": {}, "tuned": {}}
    monkeypatch.setattr(operators, "settings", lambda tuning, _=None: both if tuning == "both" else {tuning: {}})
    assert run("bench", *arguments) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said


def test_types_are_those_of_the_network() -> None:
    assert tuple(precision.DTYPES) == cli_clock.DTYPES == tuple(gates.ROUNDOFFS)


def test_levels_of_graph_mode_are_settings_of_their_own(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "settings", lambda tuning, _=None: {tuning: {}})
    levels = ("--processes", "3", "--jit-level", "O0", "--jit-level", "O1")
    assert run(*ONE, *levels, "--json", tmp_path / "levels.json") == 0
    record = json.loads((tmp_path / "levels.json").read_text())
    assert {row["params"]["tuning"] for row in record["measurements"]} == {"stock, O0", "stock, O1"}
    assert record["environment"]["tuning.stock, O1"] == "DDPM_BENCH_JIT_LEVEL=O1"
    assert workers.begun == 6 + 2, "with the peak at the start and at the end"


def test_layers_are_listed_with_the_case_they_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "--only", "unet_forward[digits,*]", "--layers", "--list") == 0
    assert "1 cases, and 44 of single operators" in capsys.readouterr().out
