"""A run: fresh worker processes over cases, devices, modes and tunings, in an order that is fair, within a budget.

The process is the sample. So a run goes through all arms (what one worker does) in rounds, every other round in
reverse order: A B C, C B A, … Whatever drifts with time, a machine growing warm, meets every arm alike. A budget is
looked at before each round: what does not fit any more is dropped, what matters least first, and no further round is
begun, so that arms differ by one process at most. What was dropped is said in the record's notes.

The machine's peak is measured at the start and at the end; the first worker also says which devices there are.

What a worker delivered is handed on when it ends, so that an interrupted run loses the worker in flight at most, and
can be taken up again (`resume.py`): workers that delivered are not run again, and a budget is one of the new attempt.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks import compiled, environment, shortfall
from benchmarks.layer_times import layers
from benchmarks.measurement import SCHEMA, Measurement, Record, measurements, now
from benchmarks.peaks import Peaks
from benchmarks.plans import Plan, Tunings
from benchmarks.resume import Sweep
from benchmarks.worker import Answer, Job, run_worker, worker_variables

WORKER_SECONDS = 900.0
"""After so long a worker is stopped: compiling the paper's training step takes a tenth of it on two cores."""

FIRST_GUESS = 10.0
"""Seconds that the first worker is expected to take."""

OnProgress = Callable[[int, int, float, str], None]
"""Called with workers done, workers in all, seconds left, and what runs now."""

OnRows = Callable[[Record], None]
"""Called after each worker with a record of the run that has the worker's rows alone: none, where it timed the peak."""

UNFINISHED = "the run had not ended when this was stored"


def run(
    plan: Plan,
    *,
    reference: str,
    tunings: Tunings | None = None,
    on_progress: OnProgress | None = None,
    on_rows: OnRows | None = None,
    earlier: Sweep | None = None,
    variables: Mapping[str, str] | None = None,
    timeout: float = WORKER_SECONDS,
) -> Record:
    """Measure what `plan` says; returns the record (`measurement.py`).

    `reference`: "module:function" of the network's float64 reference, which every worker holds its outputs against.
    `tunings`: settings to measure under, by default "stock", which sets nothing. `variables`: of the workers, by
    default this process's own. `earlier`: what an interrupted run of this plan had measured, to go on from.

    Raises `BenchmarkError` when variables are set that would disguise the measurement, and when `earlier` was measured
    in another environment. A worker that dies or takes longer than `timeout` seconds becomes the reason in its rows.
    """
    settings = dict(tunings or {"stock": {}})
    inherited = dict(os.environ if variables is None else variables)
    for setting in settings.values():
        environment.refuse_disguises(worker_variables(inherited, setting))
    owned = {name for setting in settings.values() for name in setting}
    base = {name: value for name, value in inherited.items() if name not in owned}
    around = {**environment.collect(base), **_spelled_out(settings)}
    callbacks = (on_progress or (lambda *_: None), on_rows or (lambda _: None))
    session = _Session(plan, reference, settings, base, around, *callbacks, timeout, Peaks(plan.peaks, settings))
    if earlier:
        session.take_up(earlier)
    with compiled.kept(plan.compile_cache) as session.graphs:
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
    environment: environment.Environment
    on_progress: OnProgress
    on_rows: OnRows
    timeout: float
    peaks: Peaks
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: str = field(default_factory=now)
    graphs: compiled.Graphs | None = None
    """None where every process compiles"""
    started: float = 0.0
    ended: str | None = None
    interruptions: list[str] = field(default_factory=list)
    devices: list[str] | None = None
    """to measure on; None until the first worker has said which there are"""
    measurements: list[Measurement] = field(default_factory=list)
    unavailable: list[dict[str, str]] = field(default_factory=list)
    spent: dict[Any, float] = field(default_factory=dict)
    """arm to the seconds its last worker took"""
    waiting: list[Job] = field(default_factory=list)
    """what has not begun"""
    dropped: list[Job] = field(default_factory=list)
    done: int = 0

    def take_up(self, earlier: Sweep) -> None:
        """Begin where an interrupted run ended."""
        earlier.refuse_another(self.environment)
        record = earlier.record
        self.identity, self.created, self.ended = record["session"], record["created"], record.get("ended")
        self.measurements = measurements(record)
        self.devices = record.get("devices")
        self.unavailable = [row for row in record["unavailable"] if "case" not in row]
        self.peaks.take_up(record["peaks"])
        self.interruptions = [*record["interruptions"], *([] if earlier.finished else [earlier.sentence])]

    def go(self) -> None:
        """The peak, every arm in rounds, the peak again; of it what has not been done."""
        self.started = time.perf_counter()
        if self.devices is None:
            self.waiting = [self.peaks.job("CPU")]
            self.devices = self._find_devices(self._measure_peak("CPU", "start").get("devices", {"CPU": None}))
            self._keep()
        rounds = self._missing(self.devices)
        if any(rounds):  # what was measured at an end is followed by more
            self.peaks.forget_end()
        elif self.ended:
            return
        self.ended = None
        elsewhere = [device for device in self.devices if device != "CPU"]
        starts = [device for device in elsewhere if not self.peaks.known(device, "start")]
        ends = [device for device in ("CPU", *elsewhere) if not self.peaks.known(device, "end")]
        self.waiting = [*map(self.peaks.job, (*starts, *ends)), *(job for jobs in rounds for job in jobs)]
        self._measure_peaks(starts, "start")
        for i, jobs in enumerate(rounds):
            self._measure_round(jobs, reverse=i % 2 == 1)
        self._measure_peaks(ends, "end")
        self.ended = now()
        self._keep()
        self.on_progress(self.done, self.done, 0.0, "done")

    def as_record(self) -> Record:
        """What came of it."""
        explained = layers(self.measurements)
        return {**self._record(self.measurements), **({"layers": explained} if explained else {})}

    def _record(self, rows: Sequence[Measurement]) -> Record:
        """What is known of the run, with these `rows` of it."""
        left_out = (self.dropped, self.plan.processes, self.plan.budget)
        return {
            "schema": SCHEMA,
            "kind": "bench",
            "created": self.created,
            "session": self.identity,
            "plan": self.plan.as_record(self.tunings),
            **({} if self.devices is None else {"devices": self.devices}),
            **({"ended": self.ended} if self.ended else {}),
            "interruptions": list(self.interruptions),
            "environment": self.environment,
            "measurements": [row.as_record() for row in rows],
            "unavailable": self.unavailable + shortfall.never_ran(*left_out),
            "peaks": self.peaks.as_record(),
            "notes": [*self.interruptions, *shortfall.notes(*left_out), *([] if self.ended else [UNFINISHED])],
        }

    def _keep(self, rows: Sequence[Measurement] = ()) -> None:
        self.measurements += rows
        self.on_rows(self._record(rows))

    def _find_devices(self, known: Mapping[str, str | None]) -> list[str]:
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
            for cases, mode in self.plan.workers
        ]

    def _missing(self, devices: Sequence[str]) -> list[list[Job]]:
        """The workers of each round that have not delivered; how long others of their arms took is remembered."""
        there = {(*row.cell, row.process): row for row in self.measurements}
        rounds: list[list[Job]] = []
        for jobs in _in_rounds(self._arms(devices), self.plan.processes):
            rounds.append([])
            for job in jobs:
                row = there.get((job.cases[0].id, job.device, job.mode, job.tuning, job.process))
                if row is None:
                    rounds[-1].append(job)
                elif row.split:
                    self.spent[job.arm] = sum(row.split.values())
        return rounds

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

    def _at_least(self, job: Job) -> float:
        """Seconds without which a worker need not be started: its arm's last, and for a new arm those of the peak's."""
        return self.spent.get(job.arm, self._peak_seconds)

    def _drop(self, job: Job) -> None:
        self.waiting.remove(job)
        self.dropped.append(job)

    def _measure_peaks(self, devices: Iterable[str], moment: str) -> None:
        for device in devices:
            self._measure_peak(device, moment)
            self._keep()

    def _measure_peak(self, device: str, moment: str) -> dict[str, Any]:
        """Time the peak of a device at the `moment` "start" or "end"; what the worker saw of the machine."""
        answer = self._run(self.peaks.job(device), self.timeout)
        self.peaks.add(answer.measurements, device, moment)
        return answer.seen

    def _run(self, job: Job, allowed: float) -> Answer:
        self.waiting.remove(job)
        began = time.perf_counter()

        def report() -> None:
            rest = max(0.0, self._expected(job) - (time.perf_counter() - began))
            left = rest + sum(self._expected(other) for other in self.waiting)
            self.on_progress(self.done, self.done + 1 + len(self.waiting), left, job.label)

        report()
        graphs = self.graphs if job.mode == "graph" and compiled.safe(job.cases) else None
        state, kept = (graphs.state(job), graphs.variables(job)) if graphs else (None, {})
        answer = run_worker(
            job,
            worker_variables(self.variables, {**self.tunings.get(job.tuning, {}), **kept}),
            reference=self.reference,
            timeout=allowed,
            late=shortfall.too_late(allowed, self.timeout, self.plan.budget),
            on_heartbeat=report,
        )
        self.spent[job.arm] = answer.seconds
        self.done += 1
        return compiled.noting(answer, state) if state else answer

    def _left(self) -> float:
        """Seconds of the budget for workers of the plan; what the peak at the end needs is kept back."""
        if self.plan.budget is None:
            return math.inf
        return self.plan.budget - (time.perf_counter() - self.started) - self._peak_seconds

    @property
    def _peak_seconds(self) -> float:
        return self.spent.get(self.peaks.job("CPU").arm, FIRST_GUESS)

    def _expected(self, job: Job) -> float:
        """Seconds a worker will take: as long as the last of its arm, or else as workers took on average."""
        average = sum(self.spent.values()) / len(self.spent) if self.spent else FIRST_GUESS
        return self.spent.get(job.arm, average)


def _in_rounds(arms: Sequence[Job], processes: int) -> list[list[Job]]:
    """For each process index the jobs with it, the arms that matter most first."""
    return [[replace(arm, process=process) for arm in arms] for process in range(processes)]


def _spelled_out(tunings: Tunings) -> dict[str, str]:
    """What each tuning sets, as entries of the environment."""
    return {
        f"tuning.{name}": " ".join(f"{key}={value}" for key, value in sorted(setting.items()) if value is not None)
        for name, setting in tunings.items()
    }
