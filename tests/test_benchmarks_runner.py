"""A run: fair order, budget, devices, tunings, progress; with fake workers, and real ones that need no MindSpore."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_worker
import pytest
from fake_worker import case

from benchmarks import runner
from benchmarks.cases import Case
from benchmarks.measurement import BenchmarkError, check_record, from_record, invalid_measurement, measurements
from benchmarks.plans import Plan
from benchmarks.runner import run
from benchmarks.worker import Answer, Job

DEVICES = {"CPU": None, "GPU": "unavailable: none here", "Ascend": "unavailable: no driver"}
PEAK = (
    Case("matmul[numpy]", {"library": "numpy"}, "fake_timed:make", 1, "products", 3),
    Case("matmul[mindspore]", {"library": "mindspore"}, "fake_timed:make", 1, "products", 3),
)
A, B, C = case("a[x]"), case("b[x]"), case("c[y]")


class Workers:
    """Stands for `run_worker` with a clock of its own: each worker takes `cost` seconds by its first case's name."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, cost: Mapping[str, float], devices: Mapping[str, str | None] = DEVICES
    ) -> None:
        self.now = 0.0
        self.cost, self.devices = cost, dict(devices)
        self.jobs: list[Job] = []
        self.variables: list[dict[str, str]] = []
        self.options: list[dict[str, Any]] = []
        monkeypatch.setattr(runner, "run_worker", self)
        monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def __call__(self, job: Job, variables: Mapping[str, str], **options: Any) -> Answer:
        self.jobs.append(job)
        self.variables.append(dict(variables))
        self.options.append(options)
        cost = self.cost.get(job.cases[0].id, 5.0)
        seconds = min(cost, options["timeout"])
        self.now += seconds
        options["on_heartbeat"]()
        rows = tuple(self.row(job, c, None if seconds == cost else options["late"]) for c in job.cases)
        return Answer(rows, {"devices": self.devices}, seconds)

    @staticmethod
    def row(job: Job, c: Case, invalid: str | None) -> Any:
        params = {**c.params, "device": job.device, "mode": job.mode, "tuning": job.tuning}
        empty = invalid_measurement(c.id, params, job.process, invalid or "", work=c.work, unit=c.unit)
        return empty if invalid else replace(empty, seconds=(0.25, 0.5), flops=1000, invalid=None)

    @property
    def order(self) -> list[tuple[str, int]]:
        """First case and process of each worker of the plan, in the order they ran."""
        return [(job.cases[0].id, job.process) for job in self.jobs if not job.cases[0].id.startswith("matmul")]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workers]:
    return lambda cost=None, **options: Workers(monkeypatch, cost or {}, **options)


def given(*cases: Case, **choices: Any) -> Plan:
    return Plan(tuple((c, "graph") for c in cases), peaks=PEAK, **choices)


def test_arms_take_turns_in_reversed_order(workers: Callable[..., Workers]) -> None:
    """A B C, C B A, A B C: what drifts meets every arm alike."""
    used = workers()
    run(given(A, B, C, processes=3), reference="m:f", variables={})
    assert [name[0] for name, _ in used.order] == list("abccbaabc")
    assert [process for _, process in used.order] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_peak_is_measured_at_the_start_and_at_the_end(workers: Callable[..., Workers]) -> None:
    used = workers()
    record = run(given(A, processes=1), reference="m:f", variables={})
    assert [job.cases[0].id for job in used.jobs] == ["matmul[numpy]", "a[x]", "matmul[numpy]"]
    assert record["peaks"]["matmul[mindspore]"] == {"start": 4000.0, "end": 4000.0, "best": 4000.0}


def test_copies_are_a_peak_in_bytes_a_second(workers: Callable[..., Workers]) -> None:
    workers()
    copied = Case("copy[numpy]", {"library": "numpy"}, "fake_timed:make", 800, "bytes", 3)
    record = run(Plan(((A, "graph"),), peaks=(*PEAK, copied), processes=1), reference="m:f", variables={})
    assert record["peaks"]["copy[numpy]"] == {"start": 3200.0, "end": 3200.0, "best": 3200.0}
    assert record["peaks"]["matmul[numpy]"]["best"] == 4000.0


def test_every_process_of_every_cell_is_in_the_record(workers: Callable[..., Workers]) -> None:
    workers()
    record = check_record(run(given(A, B, processes=4), reference="m:f", variables={}), source="run")
    found = [(m.case, m.process) for m in measurements(record)]
    assert sorted(found) == [(name, i) for name in ("a[x]", "b[x]") for i in range(4)]
    assert record["notes"] == []


def test_absent_device_is_unavailable_with_the_reason(workers: Callable[..., Workers]) -> None:
    workers()
    record = run(given(A, processes=1), reference="m:f", variables={})
    assert record["unavailable"] == [
        {"device": "GPU", "mode": "graph", "reason": "unavailable: none here"},
        {"device": "Ascend", "mode": "graph", "reason": "unavailable: no driver"},
    ]


def test_device_that_is_not_asked_for_is_not_missed(workers: Callable[..., Workers]) -> None:
    workers()
    assert run(given(A, processes=1, devices=("CPU",)), reference="m:f", variables={})["unavailable"] == []


def test_only_absent_devices_give_a_record_without_measurements(workers: Callable[..., Workers]) -> None:
    workers()
    record = run(given(A, processes=1, devices=("GPU",)), reference="m:f", variables={})
    assert record["measurements"] == []
    assert [row["device"] for row in record["unavailable"]] == ["GPU"]


def test_every_device_that_is_there_is_measured_with_its_own_peak(workers: Callable[..., Workers]) -> None:
    used = workers(devices={"CPU": None, "Ascend": None})
    record = run(given(A, processes=1), reference="m:f", variables={})
    assert [m.params["device"] for m in measurements(record)] == ["CPU", "Ascend"]
    assert set(record["peaks"]) == {"matmul[numpy]", "matmul[mindspore]", "matmul[mindspore] on Ascend"}
    assert len(used.jobs) == 6


def test_cases_of_one_network_share_a_worker_when_the_plan_says_so(workers: Callable[..., Workers]) -> None:
    used = workers()
    run(given(A, B, C, processes=1, shared=True), reference="m:f", variables={})
    assert [[c.id for c in job.cases] for job in used.jobs[1:-1]] == [["a[x]", "b[x]"], ["c[y]"]]


def test_budget_drops_processes_evenly_and_says_so(workers: Callable[..., Workers]) -> None:
    """Peaks take 5 s each, arms 20 s each: of 130 s there is room for 120 / 20 = 6 of 3 × 4 workers."""
    used = workers({"a[x]": 20.0, "b[x]": 20.0, "c[y]": 20.0})
    record = run(given(A, B, C, processes=4, budget=131.0), reference="m:f", variables={})
    counts = [sum(name == arm for name, _ in used.order) for arm in ("a[x]", "b[x]", "c[y]")]
    assert counts == [2, 2, 2]
    assert used.now <= 131.0
    assert len(record["notes"]) == 3
    assert (
        "a[x] in graph mode on CPU (stock) ran in 2 of 4 processes, because the budget of 131 s was used up"
        in record["notes"]
    )


def test_what_matters_least_is_dropped_first(workers: Callable[..., Workers]) -> None:
    """After a first round of 60 s there is room for 40 s: for the first two arms, in reversed order."""
    used = workers({"a[x]": 20.0, "b[x]": 20.0, "c[y]": 20.0})
    record = run(given(A, B, C, processes=3, budget=10.0 + 60.0 + 45.0), reference="m:f", variables={})
    assert used.order == [("a[x]", 0), ("b[x]", 0), ("c[y]", 0), ("b[x]", 1), ("a[x]", 1)]
    assert [note.partition(" in ")[0] for note in record["notes"]] == ["c[y]", "a[x]", "b[x]"]
    assert [note.partition(" ran in ")[2][0] for note in record["notes"]] == ["1", "2", "2"]


@pytest.mark.parametrize("budget", range(15, 240, 7))
def test_arms_differ_by_one_process_at_most_and_the_budget_holds(workers: Callable[..., Workers], budget: int) -> None:
    used = workers({"a[x]": 3.0, "b[x]": 10.0, "c[y]": 25.0})
    record = run(given(A, B, C, processes=5, budget=float(budget)), reference="m:f", variables={})
    counts = {arm: sum(name == arm for name, _ in used.order) for arm in ("a[x]", "b[x]", "c[y]")}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert used.now <= budget
    missing = {row["case"] for row in record["unavailable"] if "case" in row}
    assert missing == {arm for arm, count in counts.items() if count == 0}


def test_worker_that_exceeds_the_budget_is_stopped_with_that_reason(workers: Callable[..., Workers]) -> None:
    used = workers({"a[x]": 1000.0})
    record = run(given(A, processes=1, budget=60.0), reference="m:f", variables={})
    assert used.now == 60.0
    (row,) = record["measurements"]
    assert row["seconds"] == []
    assert row["invalid"] == "it was stopped after 50 s because the budget of 60 s was used up"


def test_worker_that_takes_too_long_without_a_budget_is_stopped_too(workers: Callable[..., Workers]) -> None:
    workers({"a[x]": 5000.0})
    record = run(given(A, processes=1), reference="m:f", variables={}, timeout=77.0)
    assert record["measurements"][0]["invalid"] == "it was stopped after 77 s, longer than a worker may take"


def test_tunings_are_arms_and_set_their_variables_only(workers: Callable[..., Workers]) -> None:
    used = workers()
    tunings = {"stock": {"ONEDNN_MAX_CPU_ISA": None}, "tuned": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}
    own = {"ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "2"}
    record = run(given(A, processes=2), reference="m:f", tunings=tunings, variables=own)
    seen = [(job.tuning, v.get("ONEDNN_MAX_CPU_ISA")) for job, v in zip(used.jobs, used.variables, strict=True)]
    stock, tuned = ("stock", None), ("tuned", "AVX2")
    assert seen == [tuned, stock, tuned, tuned, stock, tuned], "the peak is measured under the last"
    environment = record["environment"]
    assert environment["tuning.tuned"] == "ONEDNN_MAX_CPU_ISA=AVX2"
    assert environment["tuning.stock"] == ""
    assert environment["env.OMP_NUM_THREADS"] == "2"
    assert "env.ONEDNN_MAX_CPU_ISA" not in environment, "what a tuning decides is not the run's environment"


def test_environment_does_not_depend_on_a_remedy_set_by_the_caller(workers: Callable[..., Workers]) -> None:
    workers()
    tunings = {"tuned": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}
    records = [
        run(given(A, processes=1), reference="m:f", tunings=tunings, variables=own)
        for own in ({}, {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    ]
    assert records[0]["environment"] == records[1]["environment"]


def test_disguise_is_refused_before_anything_runs(workers: Callable[..., Workers]) -> None:
    used = workers()
    with pytest.raises(BenchmarkError, match="MS_KERNEL_LAUNCH_SKIP=ALL is set"):
        run(given(A), reference="m:f", variables={"MS_KERNEL_LAUNCH_SKIP": "ALL"})
    assert used.jobs == []


def test_disguise_in_a_tuning_is_refused_too(workers: Callable[..., Workers]) -> None:
    workers()
    with pytest.raises(BenchmarkError, match="MS_JIT=0 is set"):
        run(given(A), reference="m:f", tunings={"quick": {"MS_JIT": "0"}}, variables={})


def test_progress_counts_up_to_all_and_ends_with_nothing_left(workers: Callable[..., Workers]) -> None:
    workers()
    seen: list[tuple[int, int, float, str]] = []
    run(given(A, B, processes=2), reference="m:f", variables={}, on_progress=lambda *report: seen.append(report))
    done = [report[0] for report in seen]
    assert done == sorted(done)
    assert seen[-1] == (6, 6, 0.0, "done")
    assert all(total == 6 for _, total, _, _ in seen[2:])
    assert all(left >= 0 for _, _, left, _ in seen)
    assert "a[x] graph on CPU, process 1" in {report[3] for report in seen}


def test_time_left_is_what_remains_once_every_arm_has_run(workers: Callable[..., Workers]) -> None:
    workers({"a[x]": 10.0, "b[x]": 30.0})
    seen: list[tuple[int, int, float, str]] = []
    run(given(A, B, processes=2), reference="m:f", variables={}, on_progress=lambda *report: seen.append(report))
    left = {(label, done): left for done, _, left, label in reversed(seen)}
    assert left["b[x] graph on CPU, process 2", 3] == 30 + 10 + 5
    assert left["a[x] graph on CPU, process 2", 4] == 10 + 5


def test_real_workers_make_a_record_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    died = case("b[x]", "die")
    record = run(given(case("a[x]"), died, processes=2, devices=("CPU", "GPU")), reference="math:sqrt")
    rows = [from_record(row) for row in check_record(record, source="run")["measurements"]]
    assert [(m.case, m.process, m.invalid) for m in rows] == [
        ("a[x]", 0, None),
        ("b[x]", 0, "the worker was ended by SIGKILL"),
        ("b[x]", 1, "the worker was ended by SIGKILL"),
        ("a[x]", 1, None),
    ]
    assert record["unavailable"] == [{"device": "GPU", "mode": "graph", "reason": "unavailable: this test has none"}]
    assert record["peaks"]["matmul[numpy]"]["best"] > 0
    assert len(record["session"]) == 32


def test_later_processes_of_an_arm_find_what_its_first_one_compiled(workers: Callable[..., Workers]) -> None:
    used = workers()
    record = run(given(A, B, processes=3, devices=("CPU",), compile_cache=True), reference="m:f", variables={})
    states = {(m.case, m.process): m.params["compile_cache"] for m in measurements(record)}
    assert states == {(name, i): "warm" if i else "cold" for name in ("a[x]", "b[x]") for i in range(3)}
    folders = [v.get("MS_COMPILER_CACHE_PATH") for v in used.variables]
    assert (folders[0], folders[-1]) == (None, None)  # the peaks compile nothing
    by_case = {(job.cases[0].id, folder) for job, folder in zip(used.jobs, folders, strict=True) if folder}
    assert len(by_case) == len({folder for _, folder in by_case}) == 2
    assert not any(Path(str(folder)).exists() for _, folder in by_case)


def test_nothing_is_cached_in_pynative_mode_or_unasked(workers: Callable[..., Workers]) -> None:
    used = workers()
    run(replace(given(A, processes=2), picks=((A, "pynative"),), compile_cache=True), reference="m:f", variables={})
    run(given(A, processes=2), reference="m:f", variables={})
    assert not any("MS_COMPILER_CACHE_PATH" in variables for variables in used.variables)
