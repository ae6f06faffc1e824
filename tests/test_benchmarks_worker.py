"""A worker process: its answer when it behaves, and the reason in its rows when it does not."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import fake_worker
import psutil
import pytest
from fake_worker import case

from benchmarks.cases import Case
from benchmarks.measurement import BenchmarkError, Measurement
from benchmarks.worker import Answer, Job, run_worker, worker_variables


@pytest.fixture(autouse=True)
def timed_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def run(*cases: Case, mode: str = "graph", timeout: float = 60.0, **options: Any) -> Answer:
    job = Job(cases, "CPU", mode, "tuned", 3)
    variables = worker_variables(os.environ, {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    return run_worker(job, variables, reference=None, timeout=timeout, late="the time was up", **options)


def only(answer: Answer) -> Measurement:
    (measurement,) = answer.measurements
    return measurement


@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_worker_that_behaves_leaves_its_rounds_and_its_proof(mode: str) -> None:
    answer = run(case(rounds=4), mode=mode)
    measurement = only(answer)
    assert measurement.invalid is None
    assert len(measurement.seconds) == 4
    assert min(measurement.seconds) >= 0.001
    assert (measurement.process, measurement.work, measurement.unit, measurement.flops) == (3, 2, "images", 1000)
    assert measurement.params == {
        "behaviour": "good", "device": "CPU", "mode": mode, "tuning": "tuned", "rounds": 4, "shared_worker": False,
    }  # fmt: skip
    assert measurement.proof["compiled_by_first_call"] == (mode == "graph")
    assert measurement.proof["gate"] == {"kept": 2}
    assert measurement.proof["settings"] == {"launch_blocking": "on"}
    assert measurement.import_seconds == 0.25
    assert measurement.conditions.keys() >= {"load", "involuntary_switches", "stolen_seconds"}
    assert answer.seen["devices"] == {"CPU": None, "GPU": "unavailable: this test has none"}


def test_cases_that_share_a_worker_say_so() -> None:
    answer = run(case("fake[a]"), case("fake[b]"), mode="pynative")
    assert [(m.case, m.params["shared_worker"]) for m in answer.measurements] == [("fake[a]", True), ("fake[b]", True)]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("die", "the worker was ended by SIGKILL"),
        ("leave", "the worker ended with exit code 7; its last words: the last words"),
        ("raise", "ValueError: no such preset"),
        ("wrong", "eps_hat is off by 1 where 0.1 is allowed (its size is 1)"),
    ],
)
def test_worker_that_fails_leaves_the_reason_and_no_number(behaviour: str, reason: str) -> None:
    measurement = only(run(case(behaviour=behaviour)))
    assert measurement.seconds == ()
    assert measurement.invalid == reason
    assert (measurement.case, measurement.process) == ("fake[a]", 3)
    assert measurement.params["mode"] == "graph"


def test_worker_that_takes_too_long_is_stopped_and_says_so() -> None:
    start = time.perf_counter()
    measurement = only(run(case(behaviour="hang"), timeout=4.0))
    assert time.perf_counter() - start < 30
    assert (measurement.seconds, measurement.invalid) == ((), "the time was up")


def test_case_that_fails_does_not_take_its_neighbour_along() -> None:
    answer = run(case("fake[a]", "raise"), case("fake[b]"), mode="pynative")
    assert [bool(m.invalid) for m in answer.measurements] == [True, False]


def test_worker_refuses_to_measure_under_a_disguise() -> None:
    job = Job((case(),), "CPU", "graph", "stock", 0)
    variables = {**worker_variables(os.environ, {}), "MS_JIT": "0"}
    (measurement,) = run_worker(job, variables, reference=None, timeout=60, late="late").measurements
    assert measurement.seconds == ()
    assert "MS_JIT=0 is set" in str(measurement.invalid)


def test_worker_leaves_no_files_behind(tmp_path: Path) -> None:
    here = set(Path.cwd().iterdir())
    run(case())
    assert set(Path.cwd().iterdir()) == here
    assert {path.name for path in tmp_path.iterdir()} <= {"conftest.py", "fake_timed.py", "__pycache__"}


def test_progress_is_reported_while_the_worker_runs() -> None:
    beats: list[float] = []
    run(case(sleep=0.2), on_heartbeat=lambda: beats.append(time.perf_counter()))
    assert len(beats) >= 2


def test_interruption_ends_the_worker_too() -> None:
    before = set(psutil.Process().children(recursive=True))  # other tests' libraries keep helpers of their own
    started: list[psutil.Process] = []

    def interrupt() -> None:
        started.extend(set(psutil.Process().children(recursive=True)) - before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(case(behaviour="hang"), on_heartbeat=interrupt)
    assert started
    _, alive = psutil.wait_procs(started, timeout=10)  # what the worker itself started is reaped by the system
    assert not alive


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells a process that its parent is gone")
@pytest.mark.parametrize("hanging", [True, False])
def test_worker_ends_when_the_clock_is_killed(hanging: bool) -> None:
    """Else it would go on to compute beside whatever is timed next. Also when it has only just been started."""
    clock = os.fork()
    if clock == 0:
        try:
            run(case(behaviour="hang"))
        finally:
            os._exit(0)
    worker = _first_child(clock)
    if hanging:
        time.sleep(5)
    os.kill(clock, signal.SIGKILL)
    os.waitpid(clock, 0)
    assert worker.wait(20) is None  # psutil knows no exit code of what is not a child of its own


def _first_child(parent: int) -> psutil.Process:
    """The worker, as soon as there is one."""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline:
        children = psutil.Process(parent).children()
        if children and Path(f"/proc/{children[0].pid}/cwd").joinpath("job.json").exists():
            return children[0]
        time.sleep(0.05)
    raise AssertionError("no worker was started")


def test_unknown_timed_module_is_one_sentence() -> None:
    with pytest.raises(BenchmarkError, match="the timed module absent_module cannot be found"):
        run(Case("x", {}, "absent_module:make", 1, "images", 1))


def test_worker_gets_the_tuning_and_nothing_of_pytests() -> None:
    base = {
        "PATH": "/bin",
        "PYTEST_ADDOPTS": "-x",
        "PYTEST_CURRENT_TEST": "t",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "KEPT": "1",
    }
    found = worker_variables(base, {"ONEDNN_MAX_CPU_ISA": None, "MS_X": "2"})
    assert "ONEDNN_MAX_CPU_ISA" not in found
    assert (found["MS_X"], found["KEPT"], found["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]) == ("2", "1", "1")
    assert not {"PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST"} & found.keys()
