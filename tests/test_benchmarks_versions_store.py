"""A sweep ended at any moment goes on to the same table; what another machine stored beside it is never taken for its.

Fake pairs, a real store. Their times follow from build, case and process alone, so tables can be compared to the bit.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_worker import case
from sweeps import OUTPUT, rounded

from benchmarks import duel, history, implementations, versions, versions_builds, versions_store
from benchmarks.builds import Build
from benchmarks.measurement import BenchmarkError, from_record, measurements
from benchmarks.versions import Keeping, Question
from benchmarks.worker import Answer, Job

LABELS = ("2.8.0", "2.9.0", "2.10.0")
CASES = tuple(case(f"fake[{name}]") for name in "ab")
QUESTION = Question(tuple((each, "graph") for each in CASES), pairs=3, verify=False)
WANTED = sorted((label, each.id, i) for label in LABELS for each in CASES for i in range(3))
CELL = ("fake[a]", "CPU", "graph")


class Pairs:
    """Stands for `run_pair`, with a row a build; counts them, and can end this process in the middle of keeping one."""

    def __init__(self) -> None:
        self.asked = 0
        self.seconds = 0.001
        self.noise = 0.0
        self.environment: dict[str, Any] = {"host": "a", "code": "c0de", "ddpm_bench": "1"}

    def __call__(self, jobs: Sequence[Job], *_: object, **__: object) -> list[Answer]:
        self.asked += 1
        time.sleep(self.seconds)
        return [self.answer(job) for job in jobs]

    def answer(self, job: Job) -> Answer:
        label, case_id = job.side.label, job.cases[0].id
        output = rounded() if label == "2.9.0" else OUTPUT
        seen = {"environment": {**self.environment, "mindspore": label}}
        outputs = {case_id: (output,)} if job.outputs else {}
        return Answer((self.row(job, label, case_id),), seen, 0.001, outputs=outputs)

    def row(self, job: Job, label: str, case_id: str) -> Any:
        seconds = LABELS.index(label) + 1 + ord(case_id[-2]) / 100 + job.process / 1000
        if self.noise:  # builds that are alike, and rows that do not tell
            seconds = 1 + self.noise * ((job.process + LABELS.index(label)) % 2)
        params = {"device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": 2}
        absent = ("first_call_seconds", "flops", "peak_rss_bytes", "cpu_over_wall", "import_seconds")
        return from_record(
            {
                "case": case_id, "params": params, "process": job.process, "seconds": [seconds, seconds], "work": 1,
                "unit": "images", "proof": {"gate": {"error": 1e-6, "allowed": 1e-5}}, "interleaved": True,
                "split": {"rounds": 0.05}, **dict.fromkeys(absent),
            }
        )  # fmt: skip


@pytest.fixture(autouse=True)
def pairs(monkeypatch: pytest.MonkeyPatch) -> Pairs:
    fake = Pairs()
    monkeypatch.setattr(duel, "run_pair", fake)
    monkeypatch.setattr(implementations, "ask", lambda *_, **__: implementations.Kernels("oneDNN", {}))
    monkeypatch.setattr(versions, "contents", lambda _: versions_builds.Contents("the packages"))
    monkeypatch.setattr(versions_store, "here", lambda: {"host": "a", "code": "c0de", "ddpm_bench": "1"})
    return fake


def go(store: Path | None, *, question: Question = QUESTION, again: bool = False, told: list[str] | None = None) -> Any:
    builds = [Build(label, Path("/opt") / label, label) for label in LABELS]
    keeping = Keeping(store, again, (told if told is not None else []).append)
    return versions.sweep(builds, question, reference="json:loads", keeping=keeping)


def killed(
    store: Path, *, after: float = 10.0, at: str | None = None, times: int = 1, question: Question = QUESTION
) -> int:
    """Sweep in a process of its own, killed `after` seconds or at the end of the `times`-th call that stores `at`."""
    child = os.fork()
    if child == 0:
        try:
            if at:
                owner: Any = history if at == "append" else versions_store
                inner, left = getattr(owner, at), [times]

                def deadly(*arguments: Any) -> Any:
                    found = inner(*arguments)
                    left[0] -= 1
                    if not left[0]:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return found

                setattr(owner, at, deadly)
            go(store, question=question)
        finally:
            os._exit(0)
    if at is None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def seconds(store: Path) -> float:
    """How long a sweep takes that nobody interrupts."""
    begun = time.perf_counter()
    go(store)
    return time.perf_counter() - begun


def table(record: Any) -> Any:
    """All that is told of a sweep, but for its identity, its date, and who compiled: whoever goes on first."""
    rows = {
        label: sorted(map(_without_compiling, arm["measurements"]), key=lambda r: (r["case"], r["process"]))
        for label, arm in record["arms"].items()
    }
    return rows, record["verdicts"], record["numbers"], record["steps"], record["headline"], record["builds"]


def _without_compiling(row: Any) -> Any:
    return {**row, "params": {name: value for name, value in row["params"].items() if name != "compile_cache"}}


def stored(store: Path) -> list[tuple[str, str, int]]:
    records = history.read(store).records
    return sorted((record["arm"], row.case, row.process) for record in records for row in measurements(record))


def test_sweep_killed_at_20_random_moments_ends_with_the_same_table(tmp_path: Path) -> None:
    moments = random.Random(5)  # noqa: S311 - moments to be killed at are no secret
    whole = table(go(tmp_path / "whole"))
    length = min(seconds(tmp_path / f"timed{i}") for i in range(3))  # the caches are full, as in a child
    ended = 0
    for i in range(20):
        store = tmp_path / str(i)
        ended += killed(store, after=moments.uniform(0.0, 1.2 * length)) == signal.SIGKILL
        assert table(go(store)) == whole
        assert stored(store) == WANTED
    assert ended >= 8


ROWS = Question(QUESTION.picks, pairs=8, verify=False)
"""Steps are open after the first three rows, so five more are measured, of both cases together or one by one."""


@pytest.mark.parametrize(("at", "times"), [("append", times) for times in (4, 9, 18, 19, 21, 30, 47)])
def test_rows_that_were_added_are_found_again_wherever_it_was_killed(tmp_path: Path, at: str, times: int) -> None:
    """In the first rows, between them and the added ones, in the middle of a row of these, and near the end."""
    assert killed(tmp_path / "store", at=at, times=times, question=ROWS) == signal.SIGKILL
    told: list[str] = []
    assert table(go(tmp_path / "store", question=ROWS, told=told)) == table(go(None, question=ROWS))
    assert any("going on with the sweep" in each for each in told)
    assert len(stored(tmp_path / "store")) == len(LABELS) * len(CASES) * 8


def test_more_pairs_go_on_with_the_rows_that_there_are(tmp_path: Path, pairs: Pairs) -> None:
    go(tmp_path)
    measured = pairs.asked
    go(tmp_path, question=ROWS)
    assert pairs.asked - measured == 5 * len(CASES)


@pytest.mark.parametrize(("before", "after"), [(10, 14), (7, 8), (14, 10)])
def test_rows_count_wherever_an_earlier_command_ended(tmp_path: Path, pairs: Pairs, before: int, after: int) -> None:
    """Also between two looks."""
    pairs.noise = 0.2
    first, second = (Question(QUESTION.picks, pairs=most, verify=False) for most in (before, after))
    go(tmp_path, question=first)
    assert pairs.asked == before * len(CASES)
    go(tmp_path, question=second)
    assert pairs.asked == max(before, after) * len(CASES)


def test_sweep_begun_anew_takes_up_none_of_the_old_ones_added_rows(tmp_path: Path, pairs: Pairs) -> None:
    """Also when it is ended before it has added any, and gone on with."""
    go(tmp_path, question=ROWS)
    measured = pairs.asked
    go(tmp_path, question=QUESTION, again=True)
    go(tmp_path, question=ROWS)
    assert pairs.asked == 2 * measured


def test_budget_that_ends_among_added_rows_spoils_none(tmp_path: Path, pairs: Pairs) -> None:
    """What would not fit is not begun: a worker that is killed late would leave a row without a number."""
    pairs.seconds = 0.05
    told = []
    for budget in (0.35, 0.5, 0.65):
        found = go(None, question=Question(QUESTION.picks, pairs=8, budget=budget, verify=False))
        rows = [row for arm in found["arms"].values() for row in arm["measurements"]]
        assert all(row["seconds"] for row in rows)
        assert len(rows) < len(LABELS) * len(CASES) * 8
        told += found["notes"]
    assert any("the budget was used up before it was decided between 2.8.0, 2.9.0, 2.10.0" in note for note in told)


@pytest.mark.parametrize(
    ("at", "times"), [("_write", 1), ("_write", 3), ("_write", 4), ("append", 1), ("append", 3), ("append", 4)]
)
def test_whichever_write_was_the_last_the_table_is_the_same(tmp_path: Path, at: str, times: int) -> None:
    """Between the outputs of two builds, between outputs and rows, between the rows of two builds."""
    assert killed(tmp_path / "store", at=at, times=times) == signal.SIGKILL
    assert table(go(tmp_path / "store")) == table(go(None))


def test_numbers_of_the_whole_sweep_are_told_after_going_on(tmp_path: Path) -> None:
    killed(tmp_path, at="append", times=len(LABELS) * len(CASES))
    labels = [number["label"] for number in go(tmp_path)["numbers"]]
    assert labels == ["rounding"] * 4


def test_finished_sweep_is_not_measured_again_unless_asked(tmp_path: Path, pairs: Pairs) -> None:
    first, told = go(tmp_path), []
    measured = pairs.asked
    second = go(tmp_path, told=told)
    assert pairs.asked == measured
    assert {**second, "environment": {}} == {**first, "environment": {}}
    assert f"going on with the sweep of {first['created']}" in told[0]
    third = go(tmp_path, again=True)
    assert pairs.asked == 2 * measured
    assert third["session"] != first["session"]


@pytest.mark.parametrize("changed", ["effect", "pairs", "packages", "code"])
def test_another_question_is_another_sweep(
    tmp_path: Path, pairs: Pairs, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = go(tmp_path)
    measured, question = pairs.asked, QUESTION
    if changed == "effect":
        question = Question(QUESTION.picks, 0.05, 3, verify=False)
    if changed == "pairs":
        question = Question(QUESTION.picks, pairs=2, verify=False)
    if changed == "packages":
        monkeypatch.setattr(versions, "contents", lambda _: versions_builds.Contents("others"))
    if changed == "code":
        monkeypatch.setattr(versions_store, "here", lambda: {"host": "a", "code": "other"})
    other = go(tmp_path, question=question)
    assert other["session"] != first["session"]
    assert pairs.asked > measured
    assert other["notes"] == []


def test_what_another_machine_stored_is_left_alone_and_named(
    tmp_path: Path, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One store, two machines with half of a sweep each: neither takes up the other's rows, and both are named."""
    killed(tmp_path, at="append", times=len(LABELS))
    monkeypatch.setattr(versions_store, "here", lambda: {"host": "b", "code": "c0de"})
    pairs.environment = {"host": "b", "code": "c0de", "ddpm_bench": "1"}
    found = go(tmp_path)
    assert pairs.asked == 6, "nothing of the other machine's was taken for this one's"
    assert {arm["environment"]["host"] for arm in found["arms"].values()} == {"b"}
    (note,) = found["notes"]
    assert "is not compared with this one: host: a → b" in note


def test_rows_of_two_machines_under_one_session_are_refused(tmp_path: Path, pairs: Pairs) -> None:
    """Even if what is asked says the same of both, as behind an interpreter that is a shell of another machine."""
    killed(tmp_path, at="append", times=len(LABELS))
    pairs.environment = {"host": "b", "code": "c0de", "ddpm_bench": "1"}
    with pytest.raises(BenchmarkError, match=r"host changed.*--again"):
        go(tmp_path)


def test_damaged_outputs_are_incomparable_and_not_identical(tmp_path: Path) -> None:
    go(tmp_path)
    for file in (tmp_path / "outputs").rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    found = go(tmp_path)
    assert {number["label"] for number in found["numbers"]} == {"incomparable"}
    assert {number["why"] for number in found["numbers"]} == {"neither build has an output"}
    assert versions.exit_code(found) != 0


def test_outputs_come_back_to_the_bit(tmp_path: Path) -> None:
    arrays = [np.array([np.nan, -0.0, 1e-45], np.float32), np.zeros((2, 0, 3)), np.float16([[1.5]])]
    versions_store.Outputs(tmp_path, "s").keep("2.8.0", CELL, arrays)
    found = versions_store.Outputs(tmp_path, "s").of("2.8.0", CELL)
    assert found is not None
    assert [(a.shape, a.dtype, a.tobytes()) for a in found] == [(a.shape, a.dtype, a.tobytes()) for a in arrays]
    assert versions_store.Outputs(tmp_path, "another").of("2.8.0", CELL) is None
    assert [path.suffix for path in (tmp_path / "outputs" / "s").iterdir()] == [".npz"]


def test_outputs_of_another_schema_are_refused(tmp_path: Path) -> None:
    outputs = versions_store.Outputs(tmp_path, "s")
    outputs.keep("2.8.0", CELL, [OUTPUT])
    (file,) = (tmp_path / "outputs" / "s").iterdir()
    np.savez(file, schema=np.int64(99), output0=OUTPUT)
    with pytest.raises(BenchmarkError, match="schema 99"):
        versions_store.Outputs(tmp_path, "s").of("2.8.0", CELL)


def test_two_sweeps_do_not_share_a_store_at_once(tmp_path: Path) -> None:
    with versions_store.claimed(tmp_path), pytest.raises(BenchmarkError, match="another sweep is measuring"):
        go(tmp_path)
    go(tmp_path)


def test_store_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchmarkError, match="cannot write into"):
        go(tmp_path / "file")
    with pytest.raises(BenchmarkError, match="cannot write"):
        versions_store.Outputs(tmp_path / "file", "s").keep("2.8.0", CELL, [OUTPUT])
