"""Where a worker's seconds went: each part where it belongs, and all of them the wall time seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import fake_worker
import pytest

from benchmarks.cases import Case, select
from benchmarks.lifetime import PARTS, age, first_calls, whole
from benchmarks.measurement import Measurement
from benchmarks.worker import Job, run_worker, worker_variables


def measured(case: Case, mode: str, reference: str | None = None) -> tuple[Measurement, float]:
    """The row of a real worker, and how long it took by this test's own watch."""
    variables = worker_variables(os.environ, {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    start = time.monotonic()
    answer = run_worker(Job((case,), "CPU", mode, "tuned", 0), variables, reference=reference, timeout=300, late="late")
    return answer.measurements[0], time.monotonic() - start


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_compile_is_the_first_call_less_a_steady_one() -> None:
    assert first_calls([10.0, 1.5], [1.0, 9.0, 2.0], compiled=True) == {"compile": 8.0, "first_run": 3.5}


def test_nothing_compiled_is_no_compile_however_slow_the_first_call() -> None:
    assert first_calls([10.0, 1.5, 1.0], [1.0], compiled=False) == {"compile": 0.0, "first_run": 12.5}


def test_first_call_faster_than_the_rounds_compiled_in_no_time() -> None:
    assert first_calls([1.0, 1.0], [2.0], compiled=True) == {"compile": 0.0, "first_run": 2.0}


def test_rest_of_the_wall_time_is_other() -> None:
    parts = dict.fromkeys(PARTS[:-1], 1.0)
    found = whole(parts, 10.0)
    assert tuple(found) == PARTS
    assert found["other"] == pytest.approx(3.0)


def test_age_counts_from_the_birth_of_the_process() -> None:
    code = "import time; time.sleep(0.5); from benchmarks.lifetime import age; print(age())"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.5 <= float(done.stdout) <= time.monotonic() - start + 0.02  # a tick, down and up
    assert age() > 0


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("part", ["build", "compile", "gate"])
def test_second_spent_in_one_part_is_that_parts_alone(part: str) -> None:
    """The rounds, a sleep of 1 ms each, never see it: their median keeps to within that sleep's own overrun."""
    row, wall = measured(fake_worker.case(rounds=9, slow=part), "graph")
    assert row.invalid is None
    steady = row.value if part == "compile" else 0.0  # is taken from the first call, which may have had a shorter one
    assert 1.0 - steady <= row.split[part] < 1.3
    assert sum(row.split[name] for name in ("build", "compile", "gate") if name != part) < 0.3
    assert row.value < 0.3
    assert sum(row.split.values()) == pytest.approx(wall, rel=0.02)


@pytest.mark.usefixtures("fake")
def test_invalid_row_has_no_split() -> None:
    row, _ = measured(fake_worker.case(behaviour="wrong"), "graph")
    assert (bool(row.invalid), row.split) == (True, {})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_parts_of_a_real_workers_life_sum_to_its_wall_time(mode: str) -> None:
    """Within 2 %; and what no part explains is less than half of it: the proof that waiting waits, mostly."""
    (case,) = select("unet_forward[digits,b64]")
    row, wall = measured(case, mode, "verification.oracle_network:predict")
    assert row.invalid is None
    assert tuple(row.split) == PARTS
    assert min(row.split.values()) >= 0
    assert sum(row.split.values()) == pytest.approx(wall, rel=0.02)
    assert row.split["other"] < wall / 2
    assert row.split["import"] == row.import_seconds
    assert row.split["rounds"] == pytest.approx(sum(row.seconds), rel=0.02)
    assert (row.split["compile"] > 0) == (mode == "graph")
