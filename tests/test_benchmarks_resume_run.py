"""A run ended at any moment goes on: every process of every cell once. Fake workers, a real store."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from fake_worker import case

from benchmarks import history, runner
from benchmarks.measurement import BenchmarkError, Record, from_record, measurements
from benchmarks.plans import Plan
from benchmarks.resume import find_run
from benchmarks.worker import Answer, Job

CASES = tuple(case(f"fake[n,b{i}]") for i in range(3))
PLAN = Plan(tuple((one, "graph") for one in CASES), processes=3, peaks=(case("matmul[numpy]"),))
SHARED = Plan(tuple((case(f"fake{i}[n,b1]"), "graph") for i in range(3)), processes=3, shared=True, peaks=PLAN.peaks)
TUNINGS = {"tuned": {}}


def answer(job: Job, *_: object, **__: object) -> Answer:
    """Stands for `run_worker`; no two measurements are the same, so that a second one would be noticed."""
    time.sleep(0.001)
    rows = tuple(_row(job, one.id) for one in job.cases)
    return Answer(rows, {"devices": {"CPU": None}}, 0.001)


def _row(job: Job, name: str) -> Any:
    params = {"device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": 2}
    seconds = [random.SystemRandom().random() + 1.0] * 2
    fields = {"case": name, "params": params, "process": job.process, "seconds": seconds, "flops": 10**9}
    absent = ("first_call_seconds", "peak_rss_bytes", "cpu_over_wall", "import_seconds")
    return from_record({**fields, "work": 1, "unit": "images", "proof": {}, **dict.fromkeys(absent)})


@pytest.fixture(autouse=True)
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "run_worker", answer)
    monkeypatch.setattr(runner.environment, "collect", lambda *_: {"code": "1", "ddpm_bench": "1"})


def go(store: Path, plan: Plan = PLAN) -> Record:
    """The run, resumed if it can be."""
    earlier = find_run(store, plan.as_record(TUNINGS))
    if earlier and earlier.finished:
        return earlier.record
    record = runner.run(
        plan, reference="m:f", tunings=TUNINGS, variables={}, earlier=earlier,
        on_worker=lambda fresh: history.append(store, fresh) and None,
    )  # fmt: skip
    history.finish(store, record)
    return record


def killed(store: Path, after: float, plan: Plan) -> int:
    """Run it in a process of its own and kill that `after` seconds; the signal it ended by, or 0."""
    child = os.fork()
    if child == 0:
        try:
            go(store, plan)
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def check_complete(store: Path, record: Record, plan: Plan) -> None:
    """In the store and in the record the same rows, every process of every cell once."""
    (stored,) = history.read(store).records
    wanted = sorted((one.id, i) for one, _ in plan.picks for i in range(plan.processes))
    rows = [[(row.case, row.process, row.seconds) for row in measurements(one)] for one in (stored, record)]
    assert sorted(rows[0]) == sorted(rows[1])
    assert sorted((name, i) for name, i, _ in rows[0]) == wanted
    assert stored["peaks"] == record["peaks"]
    assert stored["finished"]


@pytest.mark.parametrize("plan", [PLAN, SHARED], ids=["a worker a case", "shared workers"])
def test_run_killed_at_50_random_moments_ends_with_every_cell_once(tmp_path: Path, plan: Plan) -> None:
    moments = random.Random(30)  # noqa: S311 - moments to be killed at are no secret
    begun = time.perf_counter()
    go(tmp_path / "whole", plan)
    whole = time.perf_counter() - begun
    ended = 0
    for i in range(50):
        store = tmp_path / str(i)
        ended += killed(store, moments.uniform(0.0, 0.7 * whole), plan) == signal.SIGKILL
        check_complete(store, go(store, plan), plan)
    assert ended >= 20  # or it was hardly ever interrupted


def test_half_of_a_worker_s_rows_are_kept_and_the_others_measured(tmp_path: Path) -> None:
    """As a power cut in the middle of a line leaves them."""
    killed_after = runner.run(SHARED, reference="m:f", tunings=TUNINGS, variables={})
    path = history.append(tmp_path, {**killed_after, "measurements": killed_after["measurements"][:5]})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 40])
    check_complete(tmp_path, go(tmp_path, SHARED), SHARED)


def test_finished_run_measures_nothing_more_and_another_plan_is_another_run(tmp_path: Path) -> None:
    first = go(tmp_path)
    assert go(tmp_path)["measurements"] == first["measurements"]
    assert go(tmp_path, SHARED)["session"] != first["session"]


def test_other_code_or_machine_than_before_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.append(tmp_path, {**runner.run(PLAN, reference="m:f", tunings=TUNINGS, variables={}), "notes": []})
    monkeypatch.setattr(runner.environment, "collect", lambda *_: {"code": "2", "ddpm_bench": "1"})
    with pytest.raises(BenchmarkError, match="no longer what the interrupted run measured"):
        go(tmp_path)


def test_store_that_is_not_there_yet_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    assert find_run(tmp_path / "none", PLAN.as_record(TUNINGS)) is None
