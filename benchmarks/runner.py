"""A run: fresh worker processes over cases, devices, modes and tunings, in an order that is fair, within a budget.

The process is the sample. So a run goes through all arms (what one worker does) in rounds, every other round in
reverse order: A B C, C B A, … Whatever drifts with time, a machine growing warm, meets every arm alike. A budget is
looked at before each round: what does not fit any more is dropped, what matters least first, and no further round is
begun, so that arms differ by one process at most. What was dropped is said in the record's notes.

The machine's peak is measured at the start and at the end; the first worker also says which devices there are.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.cases import Case
from benchmarks.layer_times import layers
from benchmarks.measurement import SCHEMA, BenchmarkError, Measurement, Record, now
from benchmarks.plans import Plan, Tunings
from benchmarks.resume import Run
from benchmarks.worker import Answer, Job, run_worker, worker_variables

WORKER_SECONDS = 900.0
"""After so long a worker is stopped: compiling the paper's training step takes a tenth of it on two cores."""

FIRST_GUESS = 10.0
"""Seconds that the first worker is expected to take."""

OnWorker = Callable[[Record], None]
"""Called with the record of what one worker left."""

OnProgress = Callable[[int, int, float, str], None]
"""Called with workers done, workers in all, seconds left, and what runs now."""


def run(
    plan: Plan,
    *,
    reference: str,
    tunings: Tunings | None = None,
    on_progress: OnProgress | None = None,
    on_worker: OnWorker | None = None,
    earlier: Run | None = None,
    variables: Mapping[str, str] | None = None,
    timeout: float = WORKER_SECONDS,
) -> Record:
    """Measure what `plan` says; returns the record (`measurement.py`).

    `reference`: "module:function" of the network's float64 reference, which every worker holds its outputs against.
    `tunings`: settings to measure under, by default "stock", which sets nothing. `on_worker` gets what every worker of
    the plan leaves, at once. `earlier`: an interrupted run of this plan, to go on from. `variables`: of the workers, by
    default this process's own.

    Raises `BenchmarkError` when variables are set that would disguise the measurement, and when this is no more the
    code or the machine of the `earlier` run. A worker that dies or takes
    longer than `timeout` seconds becomes the reason in its rows.
    """
    settings = dict(tunings or {"stock": {}})
    inherited = dict(os.environ if variables is None else variables)
    for setting in settings.values():
        environment.refuse_disguises(worker_variables(inherited, setting))
    owned = {name for setting in settings.values() for name in setting}
    base = {name: value for name, value in inherited.items() if name not in owned}
    session = _Session(plan, reference, settings, base, on_progress or (lambda *_: None), timeout, on_worker)
    if earlier:
        session.take_up(earlier)
    with tempfile.TemporaryDirectory(prefix="ddpm-bench-graphs-") as graphs:
        session.graphs = Path(graphs) if plan.compile_cache else None
        session.go()
    return session.as_record()


@dataclass
class _Session:
    """A run in motion."""

    plan: Plan
    reference: str
    tunings: Tunings
    variables: Mapping[str, str]
    """of the workers, but for those that tell the tunings apart"""
    on_progress: OnProgress
    timeout: float
    on_worker: OnWorker | None = None
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: str = field(default_factory=now)
    earlier: Run | None = None
    graphs: Path | None = None
    """folder for compiled graphs, an arm a folder; None where every process compiles"""
    started: float = 0.0
    measurements: list[Measurement] = field(default_factory=list)
    unavailable: list[dict[str, str]] = field(default_factory=list)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    """peak: name to "start" and "end", in FLOP/s or bytes/s"""
    spent: dict[Any, float] = field(default_factory=dict)
    """arm to the seconds its last worker took"""
    waiting: list[Job] = field(default_factory=list)
    """what has not begun"""
    dropped: list[Job] = field(default_factory=list)
    done: int = 0

    def take_up(self, earlier: Run) -> None:
        """Go on where an interrupted run ended."""
        changed = environment.differences(earlier.environment, self.environment)
        if changed:
            raise BenchmarkError(
                f"this is no longer what the interrupted run measured ({'; '.join(changed)}): start a run of its own, "
                "without --resume"
            )
        self.identity, self.created, self.earlier = earlier.session, earlier.created, earlier

    @cached_property
    def environment(self) -> Record:
        """What this run's numbers depend on."""
        return {**environment.collect(self.variables), **_spelled_out(self.tunings)}

    def go(self) -> None:
        """The peak, every arm in rounds, the peak again."""
        self.started = time.perf_counter()
        self.waiting = [_peak_job(self.plan, "CPU", self.tunings)] * 2
        devices = self._devices(self._measure_peak("CPU", "start").get("devices", {"CPU": None}))
        elsewhere = [device for device in devices if device != "CPU"]
        rounds = self._without_earlier(_in_rounds(self._arms(devices), self.plan.processes))
        self.waiting += [_peak_job(self.plan, device, self.tunings) for device in elsewhere for _ in range(2)]
        self.waiting += [job for jobs in rounds for job in jobs]
        for device in elsewhere:
            self._measure_peak(device, "start")
        for i, jobs in enumerate(rounds):
            self._measure_round(jobs, reverse=i % 2 == 1)
        for device in ("CPU", *elsewhere):
            self._measure_peak(device, "end")
        self.on_progress(self.done, self.done, 0.0, "done")

    def _without_earlier(self, rounds: list[list[Job]]) -> list[list[Job]]:
        """What an earlier part of this run has not measured; what it has is taken over."""
        if self.earlier is None:
            return rounds
        wanted = {pair for jobs in rounds for job in jobs for pair in _pairs(job)}
        self.measurements += [row for row in self.earlier.rows if (row.cell, row.process) in wanted]
        there = {(row.cell, row.process) for row in self.measurements}
        rest = [[_without(job, there) for job in jobs] for jobs in rounds]
        return [[job for job in jobs if job.cases] for jobs in rest]

    def as_record(self) -> Record:
        """What came of it."""
        return self._record(self.measurements)

    def _record(self, rows: Sequence[Measurement]) -> Record:
        explained = layers(rows)
        return {
            "schema": SCHEMA,
            "kind": "bench",
            "created": self.created,
            "session": self.identity,
            "plan": self.plan.as_record(self.tunings),
            "environment": self.environment,
            "measurements": [row.as_record() for row in rows],
            "unavailable": self.unavailable + self._never_ran(),
            "peaks": {name: {**rate, "best": max(rate.values())} for name, rate in self.rates.items()},
            "notes": self._notes(),
            **({"layers": explained} if explained else {}),
        }

    def _devices(self, known: Mapping[str, str | None]) -> list[str]:
        """The devices to measure on; for each other one that was wanted, rows in `unavailable`."""
        wanted = self.plan.devices or tuple(known)
        reasons = {device: known.get(device, "unavailable: the framework does not know it") for device in wanted}
        modes = list(dict.fromkeys(mode for _, mode in self.plan.picks))
        self.unavailable += [
            {"device": device, "mode": mode, "reason": reason}
            for device, reason in reasons.items()
            for mode in modes
            if reason is not None
        ]
        return [device for device, reason in reasons.items() if reason is None]

    def _arms(self, devices: Iterable[str]) -> list[Job]:
        """The first worker of every arm, those that matter most first."""
        return [
            Job(cases, device, mode, tuning, 0)
            for device in devices
            for tuning in self.tunings
            for cases, mode in _grouped(self.plan)
        ]

    def _measure_round(self, jobs: Sequence[Job], *, reverse: bool) -> None:
        """One process of every arm for which the budget has room; of none once an earlier round had to drop one."""
        left = 0.0 if self.dropped else self._left()
        fitting = []
        for job in jobs:
            left -= self._at_least(job)
            if left > 0:
                fitting.append(job)
            else:
                self._drop(job)
        for job in reversed(fitting) if reverse else fitting:
            if self._left() > self._at_least(job):
                self._keep(self._run(job, min(self.timeout, self._left())).measurements)
            else:
                self._drop(job)

    def _keep(self, rows: Sequence[Measurement]) -> None:
        self.measurements += rows
        if self.on_worker:
            self.on_worker(self._record(rows))

    def _at_least(self, job: Job) -> float:
        """Seconds without which a worker need not be started: its arm's last, and for a new arm those of the peak's."""
        return self.spent.get(job.arm, self._peak_seconds)

    def _drop(self, job: Job) -> None:
        self.waiting.remove(job)
        self.dropped.append(job)

    def _measure_peak(self, device: str, moment: str) -> dict[str, Any]:
        """Time the peak of a device at the `moment` "start" or "end"; what the worker saw of the machine."""
        answer = self._run(_peak_job(self.plan, device, self.tunings), self.timeout)
        for row in answer.measurements:
            amount = row.work if row.unit == "bytes" else row.flops
            if row.invalid is None and amount:
                name = row.case if device == "CPU" else f"{row.case} on {device}"
                fastest = amount / min(row.seconds)  # not the median: a neighbour only ever takes from a peak
                self.rates.setdefault(name, {})[moment] = fastest
        return answer.seen

    def _run(self, job: Job, allowed: float) -> Answer:
        self.waiting.remove(job)
        began = time.perf_counter()

        def report() -> None:
            rest = max(0.0, self._expected(job) - (time.perf_counter() - began))
            left = rest + sum(self._expected(other) for other in self.waiting)
            self.on_progress(self.done, self.done + 1 + len(self.waiting), left, job.label)

        report()
        state, cache = self._compiled_graphs(job)
        answer = run_worker(
            job,
            worker_variables(self.variables, {**self.tunings.get(job.tuning, {}), **cache}),
            reference=self.reference,
            timeout=allowed,
            late=_too_late(allowed, self.timeout, self.plan.budget),
            on_heartbeat=report,
        )
        self.spent[job.arm] = answer.seconds
        self.done += 1
        return _noting(answer, state) if state else answer

    def _compiled_graphs(self, job: Job) -> tuple[str | None, dict[str, str]]:
        """Whether a worker finds its graphs compiled, "warm", or not, "cold"; and MindSpore's variables for it."""
        if self.graphs is None or job.mode != "graph":
            return None, {}
        folder = self.graphs / hashlib.sha256(repr(job.arm).encode()).hexdigest()[:16]
        state = "warm" if folder.exists() else "cold"
        folder.mkdir(exist_ok=True)
        return state, {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(folder)}

    def _left(self) -> float:
        """Seconds of the budget for workers of the plan; what the peak at the end needs is kept back."""
        if self.plan.budget is None:
            return math.inf
        return self.plan.budget - (time.perf_counter() - self.started) - self._peak_seconds

    @property
    def _peak_seconds(self) -> float:
        return self.spent[_peak_job(self.plan, "CPU", self.tunings).arm]

    def _expected(self, job: Job) -> float:
        """Seconds a worker will take: as long as the last of its arm, or else as workers took on average."""
        average = sum(self.spent.values()) / len(self.spent) if self.spent else FIRST_GUESS
        return self.spent.get(job.arm, average)

    def _never_ran(self) -> list[dict[str, str]]:
        """A row for every case that got no process at all."""
        return [
            {"device": job.device, "mode": job.mode, "case": case.id, "reason": _used_up(self.plan.budget)}
            for job in self.dropped
            for case in job.cases
            if job.process == 0
        ]

    def _notes(self) -> list[str]:
        """One sentence for every arm that got fewer processes than planned."""
        ran: dict[Any, int] = {}
        for job in self.dropped:
            ran[job.arm] = min(job.process, ran.get(job.arm, job.process))
        return [
            f"{', '.join(cases)} in {mode} mode on {device} ({tuning}) ran in {count} of {self.plan.processes} "
            f"processes, because {_used_up(self.plan.budget)}"
            for (cases, device, mode, tuning), count in ran.items()
        ]


def _noting(answer: Answer, state: str) -> Answer:
    """The `answer` whose rows say whether their graphs were compiled already."""
    rows = (replace(row, params={**row.params, "compile_cache": state}) for row in answer.measurements)
    return replace(answer, measurements=tuple(rows))


def _peak_job(plan: Plan, device: str, tunings: Tunings) -> Job:
    """The peak, under the run's last setting: a convolution stuck in a reference loop is no peak. NumPy is for CPUs."""
    cases = tuple(case for case in plan.peaks if device == "CPU" or case.params.get("library") != "numpy")
    return Job(cases, device, "pynative", list(tunings)[-1], 0)


def _grouped(plan: Plan) -> list[tuple[tuple[Case, ...], str]]:
    """The cases that each worker of a round takes, with their mode: one each, or all of one network that may share."""
    groups: dict[tuple[str, str, bool], list[Case]] = {}
    for case, mode in plan.picks:
        together = plan.shared or case.small
        groups.setdefault((case.group if together else case.id, mode, case.small), []).append(case)
    return [(tuple(cases), mode) for (_, mode, _), cases in groups.items()]


Pair = tuple[tuple[str, str, str, str], int]
"""Cell and process."""


def _pairs(job: Job) -> list[Pair]:
    """The cells and the process that a worker measures, in the order of its cases."""
    return [((case.id, job.device, job.mode, job.tuning), job.process) for case in job.cases]


def _without(job: Job, there: Collection[Pair]) -> Job:
    """The `job` without the cases that are `there` already."""
    return replace(job, cases=tuple(c for c, pair in zip(job.cases, _pairs(job), strict=True) if pair not in there))


def _in_rounds(arms: Sequence[Job], processes: int) -> list[list[Job]]:
    """For each process index the jobs with it, the arms that matter most first."""
    return [[replace(arm, process=process) for arm in arms] for process in range(processes)]


def _spelled_out(tunings: Tunings) -> dict[str, str]:
    """What each tuning sets, as entries of the environment."""
    return {
        f"tuning.{name}": " ".join(f"{key}={value}" for key, value in sorted(setting.items()) if value is not None)
        for name, setting in tunings.items()
    }


def _used_up(budget: float | None) -> str:
    return f"the budget of {budget:g} s was used up"


def _too_late(allowed: float, timeout: float, budget: float | None) -> str:
    """Why a worker is stopped after the seconds it is `allowed`."""
    if allowed < timeout:
        return f"it was stopped after {allowed:.0f} s because {_used_up(budget)}"
    return f"it was stopped after {timeout:.0f} s, longer than a worker may take"
