"""A comparison or a sweep ended at any moment goes on: the same set of cells, none lost, none twice.

Pairs and workers are fake, the store is real.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_worker import case

from benchmarks import duel, history, runner
from benchmarks.arms import Arm
from benchmarks.cases import Case
from benchmarks.duel import Bout, fight
from benchmarks.environment import CODE_KEYS
from benchmarks.measurement import BenchmarkError, Record, from_record, measurements
from benchmarks.plans import Plan
from benchmarks.resume import find, find_sweep
from benchmarks.worker import Answer, Job

BOUT = Bout((Arm("old"), Arm("new")), tuple((case(f"fake[{name}]"), "graph") for name in "abc"), most_pairs=3)
WANTED = sorted((arm, f"fake[{name}]", i) for arm in ("old", "new") for name in "abc" for i in range(3))


class Pairs:
    """Stands for `run_pair`: every pair is marked, so that halves of two different ones are noticed."""

    code = "1"

    def __call__(self, jobs: Sequence[Job], *_: object, **__: object) -> list[Answer]:
        time.sleep(0.001)
        mark = random.SystemRandom().random() + 1.0
        return [
            Answer((self.row(job, mark),), {"environment": dict.fromkeys(CODE_KEYS, self.code)}, 0.001) for job in jobs
        ]

    @staticmethod
    def row(job: Job, mark: float) -> Any:
        params = {"device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": 2}
        fields = {"case": job.cases[0].id, "params": params, "process": job.process, "seconds": [mark, mark]}
        absent = ("first_call_seconds", "flops", "peak_rss_bytes", "cpu_over_wall", "import_seconds")
        rest = {"work": 1, "unit": "images", "proof": {}, **dict.fromkeys(absent)}
        return from_record({**fields, **rest, "interleaved": True})


@pytest.fixture(autouse=True)
def fake_pairs(monkeypatch: pytest.MonkeyPatch) -> Pairs:
    fake = Pairs()
    monkeypatch.setattr(duel, "run_pair", fake)
    return fake


def go(store: Path, *, die_after: int | None = None) -> dict[str, Record]:
    """The comparison, resumed if it can be; with `die_after` this process is killed after so many appends."""
    appended = 0

    def keep(fresh: Mapping[str, Record]) -> None:
        nonlocal appended
        for record in fresh.values():
            history.append(store, record)
            appended += 1
            if appended == die_after:
                os.kill(os.getpid(), signal.SIGKILL)

    return fight(BOUT, reference="json:loads", on_pair=keep, earlier=find(store, BOUT.plan, ["old", "new"]))


def killed(store: Path, *, after: float = 10.0, die_after: int | None = None) -> int:
    """Run it in a process of its own and kill that `after` seconds; the signal it ended by, or 0."""
    return forked(lambda: go(store, die_after=die_after), after if die_after is None else None)


def forked(work: Callable[[], object], after: float | None) -> int:
    """Do the work in a process of its own, killed `after` seconds if that is given; the signal it ended by, or 0."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def length(run: Callable[[Path], object], folder: Path) -> float:
    """Seconds of a whole run, the least of three: a cold or crowded one would put the kills behind most ends."""
    seconds = []
    for i in range(3):
        begun = time.perf_counter()
        run(folder / f"whole{i}")
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def check_complete(store: Path, records: Mapping[str, Record]) -> None:
    """In the store and in the records every cell once, and the two of each pair measured together."""
    kept = [(str(record["arm"]), row) for record in history.read(store).records for row in measurements(record)]
    for rows in (kept, [(arm, row) for arm, record in records.items() for row in measurements(record)]):
        assert sorted((arm, row.case, row.process) for arm, row in rows) == WANTED
        marks = {arm: {(row.case, row.process): row.seconds for a, row in rows if a == arm} for arm in ("old", "new")}
        assert marks["old"] == marks["new"]


def test_run_killed_at_50_random_moments_ends_with_every_cell_once(tmp_path: Path) -> None:
    moments = random.Random(20)  # noqa: S311 - moments to be killed at are no secret
    whole = length(go, tmp_path)
    ended = 0
    for i in range(50):
        store = tmp_path / str(i)
        ended += killed(store, after=moments.uniform(0.0, 1.2 * whole)) == signal.SIGKILL
        check_complete(store, go(store))
    assert ended >= 25


@pytest.mark.parametrize("die_after", [1, 3, 17])
def test_half_a_pair_is_measured_again_and_said(tmp_path: Path, die_after: int) -> None:
    assert killed(tmp_path, die_after=die_after) == signal.SIGKILL
    records = go(tmp_path)
    check_complete(tmp_path, records)
    assert "half a pair" in " ".join(records["new"]["notes"])


def test_finished_comparison_measures_nothing_more(tmp_path: Path) -> None:
    first = go(tmp_path)
    assert go(tmp_path)["new"]["measurements"] == first["new"]["measurements"]


def test_other_code_than_before_is_refused(tmp_path: Path, fake_pairs: Pairs) -> None:
    killed(tmp_path, die_after=4)
    fake_pairs.code = "2"
    with pytest.raises(BenchmarkError, match="no longer what the earlier pairs measured"):
        go(tmp_path)


SWEEP = Plan(
    tuple((case(name), "graph") for name in ("a[x]", "b[x]", "c[y]")),
    processes=3,
    shared=True,
    peaks=(Case("matmul[numpy]", {"library": "numpy"}, "fake_timed:make", 1, "products", 3),),
)
CELLS = sorted((name, i) for name in ("a[x]", "b[x]", "c[y]") for i in range(3))


class Workers:
    """Stands for `run_worker`: the rows of one worker have one mark, and those that ran are remembered."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __call__(self, job: Job, *_: object, **__: object) -> Answer:
        time.sleep(0.001)
        self.jobs.append(job)
        mark = random.SystemRandom().random() + 1.0
        rows = tuple(Pairs.row(replace(job, cases=(c,)), mark) for c in job.cases)
        flops = 1000 if job.cases[0].id.startswith("matmul") else None
        seen = {"devices": {"CPU": None, "GPU": "unavailable: none here"}}
        return Answer(tuple(replace(row, flops=flops, interleaved=False) for row in rows), seen, 0.001)

    @property
    def order(self) -> list[tuple[str, int]]:
        return [(job.cases[0].id, job.process) for job in self.jobs]


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    fake = Workers()
    monkeypatch.setattr(runner, "run_worker", fake)
    return fake


def sweep(store: Path, *, die_after: int | None = None, plan: Plan = SWEEP, **variables: str) -> Record:
    """The sweep, resumed if it can be; with `die_after` this process is killed after so many appends."""
    appended = 0

    def keep(record: Record) -> None:
        nonlocal appended
        history.append(store, record)
        appended += 1
        if appended == die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    earlier = find_sweep(store, plan.as_record(["stock"]))
    return runner.run(plan, reference="json:loads", variables=variables, on_rows=keep, earlier=earlier)


def check_sweep(store: Path, record: Record) -> None:
    """In the store and in the record every cell once, workers whole, and what is known of the run itself."""
    (stored,) = history.read(store).records
    for found in (stored, record):
        rows = measurements(found)
        assert sorted((row.case, row.process) for row in rows) == CELLS
        marks = {(row.case, row.process): row.seconds for row in rows}
        assert all(marks["a[x]", i] == marks["b[x]", i] for i in range(3))
        assert found["unavailable"] == [{"device": "GPU", "mode": "graph", "reason": "unavailable: none here"}]
        assert set(found["peaks"]["matmul[numpy]"]) == {"start", "end", "best"}
        assert found["ended"] >= found["created"]
        assert found["notes"] == found["interruptions"]


def test_sweep_killed_at_50_random_moments_ends_with_every_cell_once(tmp_path: Path) -> None:
    moments = random.Random(21)  # noqa: S311 - moments to be killed at are no secret
    whole = length(sweep, tmp_path)
    ended = 0
    for i in range(50):
        store = tmp_path / str(i)
        ended += forked(lambda store=store: sweep(store), moments.uniform(0.0, 1.2 * whole)) == signal.SIGKILL  # type: ignore[misc]  # mypy infers no default's type
        check_sweep(store, sweep(store))
    assert ended >= 25


@pytest.mark.parametrize("die_after", range(1, 10))
def test_sweep_loses_no_worker_that_ended(tmp_path: Path, workers: Workers, die_after: int) -> None:
    """Appends are those of the peak, six workers, the peak, and the end: only what came after the last one is done."""
    assert forked(lambda: sweep(tmp_path, die_after=die_after), None) == (signal.SIGKILL if die_after < 10 else 0)
    check_sweep(tmp_path, sweep(tmp_path))
    order = ["matmul[numpy]", "a[x]", "c[y]", "c[y]", "a[x]", "a[x]", "c[y]", "matmul[numpy]"]
    assert [name for name, _ in workers.order] == order[die_after:]


def test_store_cut_anywhere_is_completed_with_whole_workers(tmp_path: Path) -> None:
    """What a power cut leaves: a worker's last case may be missing, and is measured again with its mates."""
    whole = sweep(tmp_path / "whole")
    (path,) = (tmp_path / "whole").glob("*.jsonl")
    content = path.read_bytes()
    left_out = 0
    for length in range(0, len(content), len(content) // 25):
        store = tmp_path / str(length)
        store.mkdir()
        (store / path.name).write_bytes(content[:length])
        record = sweep(store)
        check_sweep(store, record)
        left_out += "was not stored whole" in " ".join(record["notes"])
    assert left_out >= 1
    assert whole["interruptions"] == []


def test_interruption_is_a_note_of_the_record_and_stays_one(tmp_path: Path) -> None:
    forked(lambda: sweep(tmp_path, die_after=3), None)
    forked(lambda: sweep(tmp_path, die_after=2), None)
    record = sweep(tmp_path)
    assert [note.partition(" workers ")[0][-1] for note in record["notes"]] == ["2", "4"]
    assert history.read(tmp_path).records[0]["notes"] == record["notes"]


def test_interrupted_sweep_says_in_the_store_that_it_had_not_ended(tmp_path: Path) -> None:
    forked(lambda: sweep(tmp_path, die_after=3), None)
    (stored,) = history.read(tmp_path).records
    assert stored["notes"] == [runner.UNFINISHED]
    assert "ended" not in stored


def test_finished_sweep_measures_nothing_more(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep(tmp_path)
    workers.jobs.clear()
    monkeypatch.setattr(runner, "now", lambda: "2099-01-01T00:00:00+00:00")
    assert sweep(tmp_path) == first
    assert workers.jobs == []


def test_sweep_that_its_budget_ended_is_completed_within_another(tmp_path: Path, workers: Workers) -> None:
    assert sweep(tmp_path, plan=replace(SWEEP, budget=1e-6))["measurements"] == []
    workers.jobs.clear()
    record = sweep(tmp_path)
    check_sweep(tmp_path, record)
    assert [name for name, _ in workers.order].count("matmul[numpy]") == 1, "the peak of the end is a later one"


def test_sweep_in_another_environment_is_refused_with_both_values(tmp_path: Path, workers: Workers) -> None:
    forked(lambda: sweep(tmp_path, die_after=4, OMP_NUM_THREADS="1"), None)
    with pytest.raises(BenchmarkError, match=r"env\.OMP_NUM_THREADS: 1 → 2\): start a run of its own"):
        sweep(tmp_path, OMP_NUM_THREADS="2")
    assert workers.jobs == []


@pytest.mark.parametrize(
    "changes",
    [
        {"processes": 2},
        {"shared": False},
        {"picks": SWEEP.picks[:2]},
        {"picks": ((case("a[x]", rounds=9), "graph"), *SWEEP.picks[1:])},
        {"devices": ("CPU",)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_plan_is_another_sweep(tmp_path: Path, changes: dict[str, Any]) -> None:
    sweep(tmp_path)
    assert find_sweep(tmp_path, SWEEP.as_record(["stock"])) is not None
    assert find_sweep(tmp_path, replace(SWEEP, **changes).as_record(["stock"])) is None
    assert find_sweep(tmp_path, SWEEP.as_record(["tuned"])) is None


def test_graphs_compiled_before_the_interruption_are_gone_and_the_rows_say_so(tmp_path: Path) -> None:
    """Killed after process 0 of both arms and process 1 of the second: each arm compiles once more."""
    cached = replace(SWEEP, compile_cache=True)
    forked(lambda: sweep(tmp_path, plan=cached, die_after=4), None)
    record = sweep(tmp_path, plan=cached)
    check_sweep(tmp_path, record)
    found = {(row.case, row.process): row.params["compile_cache"] for row in measurements(record)}
    assert [found["a[x]", i] for i in range(3)] == ["cold", "cold", "warm"]
    assert [found["c[y]", i] for i in range(3)] == ["cold", "warm", "cold"]


def test_last_sweep_of_a_plan_is_gone_on_with(tmp_path: Path) -> None:
    forked(lambda: sweep(tmp_path, die_after=3), None)
    second = runner.run(SWEEP, reference="json:loads", variables={})
    history.append(tmp_path, second)
    found = find_sweep(tmp_path, SWEEP.as_record(["stock"]))
    assert found is not None
    assert (found.record["session"], found.finished) == (second["session"], True)
