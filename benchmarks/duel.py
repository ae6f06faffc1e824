"""A comparison: pairs of workers, until every cell is decided, or its pairs or the time are used up.

The arms are measured in one session, pair by pair (`pairs.py`), cell by cell; every other pair begins with the other
arm. At certain numbers of pairs somebody may be asked whether a cell is decided (`looks.py` says at which, and what
looking costs); a decided cell gets no more pairs, so the time goes where it is needed. A cell whose next pair does not
fit into the budget is left as it is.

Each arm leaves a bench record of its own, all with one session, and `compare.py` pairs their processes.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from benchmarks import environment
from benchmarks.arms import Arm
from benchmarks.cases import Case
from benchmarks.measurement import SCHEMA, BenchmarkError, Measurement, Record, now
from benchmarks.pairs import count_rounds, run_pair
from benchmarks.resume import Earlier
from benchmarks.runner import WORKER_SECONDS, OnProgress
from benchmarks.worker import Answer, Job, worker_variables

Cell = tuple[str, str, str]
"""Case, device, mode."""

Undecided = Callable[[Mapping[str, Record], Cell], bool]
"""Whether a cell needs more pairs, from the records so far."""

OnOutputs = Callable[[str, Cell, Sequence[NDArray[Any]]], None]
"""Called with an arm's label, a cell and the outputs of its last timed calls in the first pair."""

OnPair = Callable[[Mapping[str, Record]], None]
"""Called after each pair with the rows it gave, a record an arm, so that nothing measured is lost."""


@dataclass(frozen=True)
class Bout:
    """What is compared, how, and for how long."""

    arms: tuple[Arm, ...]
    picks: tuple[tuple[Case, str], ...]
    """cases with the mode each runs in, the ones that matter most first"""
    most_pairs: int
    device: str = "CPU"
    looks: tuple[int, ...] = ()
    """numbers of pairs after which a cell may be found decided"""
    budget: float | None = None
    """seconds for all; None for as long as it takes"""
    timeout: float = WORKER_SECONDS
    about: Mapping[str, Any] = field(default_factory=dict)
    """what else makes it this comparison and no other, as JSON: entries of its `plan`"""

    @property
    def plan(self) -> Record:
        """What is compared, as JSON: the same command has the same plan, by which `resume.py` finds its session."""
        return {
            "cases": [[case.id, mode] for case, mode in self.picks],
            "device": self.device,
            "most_pairs": self.most_pairs,
            "arms": [[arm.label, arm.tuning, arm.planted] for arm in self.arms],
            **self.about,
        }


def fight(
    bout: Bout,
    *,
    reference: str,
    undecided: Undecided | None = None,
    on_progress: OnProgress | None = None,
    on_pair: OnPair | None = None,
    on_outputs: OnOutputs | None = None,
    variables: Mapping[str, str] | None = None,
    earlier: Earlier | None = None,
) -> dict[str, Record]:
    """Measure what `bout` says; a bench record for each arm by its label.

    `reference`: "module:function" of the network's float64 reference. `variables`: of the workers, by default this
    process's own. `earlier`: what an interrupted session of this bout had measured, to go on from.

    Raises `BenchmarkError` for fewer than two arms, for equal labels, when variables are set that would disguise the
    measurement, and when an arm is no more what it was in the `earlier` session. A worker that dies or hangs becomes
    the reason in the rows of its pair.
    """
    labels = [arm.label for arm in bout.arms]
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise BenchmarkError(f"a comparison needs at least two arms with names of their own, not {', '.join(labels)}")
    base = dict(os.environ if variables is None else variables)
    for arm in bout.arms:
        environment.refuse_disguises(worker_variables(base, arm.variables, code=arm.code))
    session = _Session(bout, reference, base, undecided, on_progress or (lambda *_: None), on_pair, on_outputs)
    if earlier:
        session.take_up(earlier)
    session.go()
    return session.records()


@dataclass
class _Session:
    """A comparison in motion."""

    bout: Bout
    reference: str
    variables: Mapping[str, str]
    undecided: Undecided | None
    on_progress: OnProgress
    on_pair: OnPair | None
    on_outputs: OnOutputs | None
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: str = field(default_factory=now)
    started: float = field(default_factory=lambda: time.perf_counter())
    rows: dict[str, list[Measurement]] = field(default_factory=dict)
    """by arm"""
    seen: dict[str, environment.Environment] = field(default_factory=dict)
    """by arm, as its workers saw it"""
    earlier_seen: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """by arm, as the workers of the interrupted session saw it"""
    done: dict[Cell, int] = field(default_factory=dict)
    """pairs"""
    cost: dict[Cell, float] = field(default_factory=dict)
    """seconds of the last pair"""
    counts: dict[Cell, int] = field(default_factory=dict)
    """rounds, as the first pair found them right: all pairs of a cell time the same number"""
    notes: list[str] = field(default_factory=list)

    def take_up(self, earlier: Earlier) -> None:
        """Begin where an interrupted session ended."""
        self.identity, self.created = earlier.session, earlier.created
        self.rows = {label: list(rows) for label, rows in earlier.rows.items()}
        self.seen = {label: dict(seen) for label, seen in earlier.environments.items()}
        self.earlier_seen = earlier.environments
        self.notes += earlier.notes
        for row in self.rows[self.bout.arms[0].label]:
            cell = row.cell[:3]
            self.done[cell] = self.done.get(cell, 0) + 1
        for row in (row for rows in self.rows.values() for row in rows if row.invalid is None):
            self.counts.setdefault(row.cell[:3], row.params["rounds"])

    def go(self) -> None:
        """Pairs of every open cell in turn."""
        picks = {(case.id, self.bout.device, mode): (case, mode) for case, mode in self.bout.picks}
        waiting = [cell for cell in picks if cell not in self.done or not self._closed(cell)]
        while waiting:
            for cell in list(waiting):
                if not self._fits(cell):
                    waiting.remove(cell)
                    self.notes.append(
                        f"{cell[0]} in {cell[2]} mode on {cell[1]} ended after {self.done.get(cell, 0)} pairs, "
                        f"because the budget of {self.bout.budget:g} s was used up"
                    )
                    continue
                self._pair(cell, *picks[cell], others=[other for other in waiting if other != cell])
                if self._closed(cell):
                    waiting.remove(cell)
        self.on_progress(sum(self.done.values()), sum(self.done.values()), 0.0, "done")

    def records(self) -> dict[str, Record]:
        """What came of it, an arm a record."""
        return {arm.label: self._record(arm, self.rows.get(arm.label, [])) for arm in self.bout.arms}

    def _record(self, arm: Arm, rows: Sequence[Measurement]) -> Record:
        collected = self.seen.get(arm.label) or environment.collect(worker_variables(self.variables, arm.variables))
        return {
            "schema": SCHEMA,
            "kind": "bench",
            "created": self.created,
            "session": self.identity,
            "arm": arm.label,
            "plan": self.bout.plan,
            "environment": dict(collected),
            "measurements": [row.as_record() for row in rows],
            "unavailable": [],
            "peaks": {},
            "notes": list(self.notes),
        }

    def _fits(self, cell: Cell) -> bool:
        if self.bout.budget is None:
            return True
        left = self.bout.budget - (time.perf_counter() - self.started)
        return left > self.cost.get(cell, max(self.cost.values(), default=0.0))

    def _closed(self, cell: Cell) -> bool:
        pairs = self.done[cell]
        if pairs >= self.bout.most_pairs:
            return True
        return self.undecided is not None and pairs in self.bout.looks and not self.undecided(self.records(), cell)

    def _pair(self, cell: Cell, case: Case, mode: str, others: Sequence[Cell]) -> None:
        """One more pair of a cell; its rows are kept whole or not at all."""
        process = self.done.get(cell, 0)
        wanted = self.on_outputs is not None and process == 0
        jobs = [Job((case,), self.bout.device, mode, arm.tuning, process, arm, wanted) for arm in self.bout.arms]
        began = time.perf_counter()

        def report() -> None:
            spent = time.perf_counter() - began
            left = max(0.0, self._expected(cell, process) - spent)
            left += sum(self._expected(other, self.done.get(other, 0)) for other in others)
            finished = sum(self.done.values())
            self.on_progress(finished, finished + self._pairs_ahead(process, others), left, jobs[0].label)

        report()
        answers = run_pair(
            jobs if process % 2 == 0 else jobs[::-1],
            self.variables,
            reference=self.reference,
            timeout=self._allowed(),
            late=f"the pair was stopped after {self._allowed():.0f} s, longer than it may take",
            rounds=lambda _, seconds: self.counts.setdefault(cell, count_rounds(seconds)),
            on_heartbeat=report,
        )
        self.cost[cell] = time.perf_counter() - began
        self.done[cell] = process + 1
        self._keep(jobs, answers if process % 2 == 0 else answers[::-1])

    def _keep(self, jobs: Sequence[Job], answers: Sequence[Answer]) -> None:
        fresh = {}
        for job, found in zip(jobs, answers, strict=True):
            self._refuse_another(job.side.label, found.seen.get("environment"))
        for job, found in zip(jobs, answers, strict=True):
            label = job.side.label
            if label not in self.seen and "environment" in found.seen:
                self.seen[label] = found.seen["environment"]
            self.rows.setdefault(label, []).extend(found.measurements)
            fresh[label] = self._record(job.side, found.measurements)
            if self.on_outputs and job.outputs:
                self.on_outputs(label, (job.cases[0].id, job.device, job.mode), found.outputs.get(job.cases[0].id, []))
        if self.on_pair:
            self.on_pair(fresh)

    def _refuse_another(self, label: str, environment: environment.Environment | None) -> None:
        """Raise when a worker sees another environment than the interrupted session did: code or packages changed."""
        before = self.earlier_seen.get(label)
        if before is None or environment is None:
            return
        changed = sorted(k for k in {*before, *environment} if before.get(k) != environment.get(k))
        if not changed:
            return
        raise BenchmarkError(
            f"{label} is no longer what the earlier pairs measured ({', '.join(changed)} changed): "
            "start a comparison of its own, `bench` without --resume and `versions` with --again"
        )

    def _allowed(self) -> float:
        """Seconds that a pair may take."""
        if self.bout.budget is None:
            return self.bout.timeout
        return min(self.bout.timeout, max(1.0, self.bout.budget - (time.perf_counter() - self.started)))

    def _pairs_ahead(self, process: int, others: Sequence[Cell]) -> int:
        most = self.bout.most_pairs
        return most - process + sum(most - self.done.get(other, 0) for other in others)

    def _expected(self, cell: Cell, done: int) -> float:
        """Seconds that a cell may still take, if nobody finds it decided; the budget is an end, too."""
        one = self.cost.get(cell, max(self.cost.values(), default=15.0))
        whole = one * (self.bout.most_pairs - done)
        if self.bout.budget is None:
            return whole
        return min(whole, max(0.0, self.bout.budget - (time.perf_counter() - self.started)))
