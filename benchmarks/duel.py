"""A comparison: pairs of workers, until every cell is decided, or its pairs or the time are used up.

The arms are measured in one session, pair by pair (`pairs.py`), cell by cell, the small cells of one network together;
every other pair begins with the other arm. At certain numbers of pairs somebody may be asked whether a cell is decided
(`looks.py` says at which, and what looking costs); a decided cell gets no more pairs, so the time goes where it is
needed. A cell whose next pair does not fit into the budget is left as it is.

Each arm leaves a bench record of its own, all with one session, and `compare.py` pairs their processes.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks import compiled, environment, pairs
from benchmarks.arms import Arm
from benchmarks.cases import Case
from benchmarks.layer_times import layers
from benchmarks.measurement import SCHEMA, BenchmarkError, Measurement, Record, now
from benchmarks.pairs import count_rounds, run_pair
from benchmarks.resume import Earlier
from benchmarks.runner import WORKER_SECONDS, OnProgress
from benchmarks.worker import Answer, Job, worker_variables

Cell = tuple[str, str, str]
"""Case, device, mode."""

Each = TypeVar("Each")

Group = dict[Cell, Case]
"""Cells of one mode that share the workers of a pair."""

FIRST_GUESS = 15.0
"""Seconds that the first pair is expected to take."""

MOST_MISHAPS = 2
"""Pairs of a cell that are measured again since a signal ended a worker, or it raised an error where no gate refused:
starting a framework fails now and then. After that it is the reason in the rows."""

Undecided = Callable[[Mapping[str, Record], Cell], bool]
"""Whether a cell needs more pairs, from the records so far."""

OnOutputs = Callable[[str, Cell, Sequence[NDArray[Any]]], None]
"""Called with an arm's label, a cell and the outputs of its first timed calls in the first pair."""

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
    expected: float = 0.0
    """seconds of a pair, before the first one says"""
    timeout: float = WORKER_SECONDS
    small_pairs: int | None = None
    """of small cases, where they only explain others; None for as many as of all"""
    shared: bool = False
    """whether the cases of a network share the workers of a pair, as small ones always do: quicker"""
    compile_cache: bool = False
    """whether later workers of an arm may load what its first one compiled"""
    about: Mapping[str, Any] = field(default_factory=dict)
    """what else makes it this comparison and no other, as JSON: entries of its `plan`"""

    def timed(self, case: Case, mode: str, ready: float) -> float:
        """Seconds that a worker's rounds of a `case` are to take, when all took `ready` seconds to get there."""
        if not case.small:
            least = pairs.PYNATIVE_SECONDS if mode == "pynative" else pairs.TIMED_SECONDS
            return max(least, pairs.TIMED_SHARE * ready / len(self.arms))
        return pairs.SMALL_SECONDS if self.small_pairs is None else pairs.EXPLAINING_SECONDS

    @property
    def plan(self) -> Record:
        """What is compared, as JSON: the same command has the same plan, by which `resume.py` finds its session."""
        return {
            "cases": [[case.id, mode] for case, mode in self.picks],
            "device": self.device,
            "most_pairs": self.most_pairs,
            "small_pairs": self.small_pairs,
            "shared": self.shared,
            "compile_cache": self.compile_cache,
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
    with compiled.kept(bout.compile_cache) as session.graphs:
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
    graphs: compiled.Graphs | None = None
    """None where every worker compiles"""
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
    mishaps: dict[Cell, int] = field(default_factory=dict)
    """pairs that are measured again"""
    cost: dict[Cell, float] = field(default_factory=dict)
    """seconds of the last pair"""
    counts: dict[Cell, Mapping[str, int]] = field(default_factory=dict)
    """rounds of each arm, as the first pair found them right: all pairs of a cell time the same numbers"""
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
        self.counts = _counted(self.rows)

    def go(self) -> None:
        """Pairs of every open group of cells in turn."""
        waiting = [group for group in self._groups() if self._next(group)]
        while waiting:
            for group in list(waiting):
                cells = self._next(group)
                others = [self._next(other) for other in waiting if other is not group]
                if cells and self._fits(cells) and self._pair(cells, others):
                    continue
                waiting.remove(group)
                self.notes += [self._too_little_time(cell) for cell in cells]
        self.on_progress(sum(self.done.values()), sum(self.done.values()), 0.0, "done")

    def _groups(self) -> list[Group]:
        """The cells of the plan: one each, or those of a network together that share their workers."""
        groups: dict[tuple[str, str, bool], Group] = {}
        for case, mode in self.bout.picks:
            name = case.group if case.small or self.bout.shared else case.id
            groups.setdefault((name, mode, case.small), {})[case.id, self.bout.device, mode] = case
        return list(groups.values())

    def _next(self, group: Group) -> Group:
        """The cells that the next pair of a `group` measures: of those that need more, the ones with the fewest."""
        open_ = [cell for cell in group if cell not in self.done or not self._closed(cell)]
        fewest = min((self.done.get(cell, 0) for cell in open_), default=0)
        return {cell: group[cell] for cell in open_ if self.done.get(cell, 0) == fewest}

    def _too_little_time(self, cell: Cell) -> str:
        return (
            f"{cell[0]} in {cell[2]} mode on {cell[1]} ended after {self.done.get(cell, 0)} of {self._most(cell)} "
            "pairs, because the budget was used up"
        )

    def records(self) -> dict[str, Record]:
        """What came of it, an arm a record."""
        return {arm.label: self._record(arm, self.rows.get(arm.label, [])) for arm in self.bout.arms}

    def _record(self, arm: Arm, rows: Sequence[Measurement]) -> Record:
        collected = self.seen.get(arm.label) or environment.collect(worker_variables(self.variables, arm.variables))
        explained = layers(rows)
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
            **({"layers": explained} if explained else {}),
        }

    def _fits(self, cells: Group) -> bool:
        if self.bout.budget is None:
            return True
        left = self.bout.budget - (time.perf_counter() - self.started)
        return left > self._cost(cells)

    def _cost(self, cells: Group) -> float:
        """Seconds of the last pair that the `cells` were in; before there was one, of the longest so far."""
        longest = max(self.cost.values(), default=self.bout.expected)
        return max((self.cost[cell] for cell in cells if cell in self.cost), default=longest)

    def _closed(self, cell: Cell) -> bool:
        pairs = self.done[cell]
        if pairs >= self._most(cell):
            return True
        return self.undecided is not None and pairs in self.bout.looks and not self.undecided(self.records(), cell)

    def _pair(self, cells: Group, others: Sequence[Group]) -> bool:
        """One more pair of `cells`, which have had equally many; its rows are kept whole or not at all.

        Returns whether there was time for it: what the end of the budget cut short says nothing about any arm.
        """
        (first, *_), cases = cells, tuple(cells.values())
        mode, process = first[2], self.done.get(first, 0)
        wanted = self.on_outputs is not None and process == 0
        jobs = [Job(cases, self.bout.device, mode, arm.tuning, process, arm, wanted) for arm in self.bout.arms]
        began, allowed = time.perf_counter(), self._allowed()

        def report() -> None:
            spent = time.perf_counter() - began
            left = self._expected(cells, spent) + sum(map(self._expected, others))
            finished = sum(self.done.values())
            ahead = self._pairs_ahead(cells) + sum(map(self._pairs_ahead, others))
            self.on_progress(finished, finished + ahead, left, jobs[0].label)

        def rounds(name: str, seconds: Mapping[str, float], ready: float) -> Mapping[str, int]:
            cell = (name, self.bout.device, mode)
            return self.counts.setdefault(cell, count_rounds(seconds, self.bout.timed(cells[cell], mode, ready)))

        report()
        graphs = self.graphs if self.graphs and compiled.safe(cases) else None
        states = [graphs.state(job) for job in jobs] if graphs else []
        ready = [self._keeping(graphs, job) for job in jobs] if graphs else jobs
        answers = run_pair(
            _turned(ready, process),
            self.variables,
            reference=self.reference,
            timeout=allowed,
            late=f"the pair was stopped after {allowed:.0f} s, longer than it may take",
            rounds=rounds,
            on_heartbeat=report,
        )
        found = [answers[i] for i in np.argsort(_turned(range(len(jobs)), process))]  # in the order of the arms again
        spent = time.perf_counter() - began
        if spent >= allowed < self.bout.timeout and any(row.invalid for each in found for row in each.measurements):
            return False
        for cell in cells:
            self.cost[cell] = spent
        if self._again(first, jobs, found):
            return True
        for cell in cells:
            self.done[cell] = process + 1
        noted = (
            [compiled.noting(answer, state) for answer, state in zip(found, states, strict=True)] if states else found
        )
        self._keep(jobs, noted)
        return True

    def _again(self, cell: Cell, jobs: Sequence[Job], answers: Sequence[Answer]) -> bool:
        """Whether a pair with this `cell` is to be measured again, since a worker had a mishap; a note says so."""
        met = {job.side.label: one.mishap for job, one in zip(jobs, answers, strict=True) if one.mishap}
        if not met or self.mishaps.get(cell, 0) >= MOST_MISHAPS:
            return False
        self.mishaps[cell] = self.mishaps.get(cell, 0) + 1
        who = " and ".join(f"the worker of {label} {mishap}" for label, mishap in met.items())
        self.notes.append(f"{cell[0]} in {cell[2]} mode on {cell[1]}: {who}; its pair was measured again")
        if self.graphs:
            for job in jobs:
                self.graphs.forget(job)
        return True

    def _keeping(self, graphs: compiled.Graphs, job: Job) -> Job:
        """The `job` with the variables of its compiled `graphs`."""
        return replace(job, side=replace(job.side, variables={**job.side.variables, **graphs.variables(job)}))

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
                for case in job.cases:
                    self.on_outputs(label, (case.id, job.device, job.mode), found.outputs.get(case.id, []))
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

    def _most(self, cell: Cell) -> int:
        small = next(case.small for case, _ in self.bout.picks if case.id == cell[0])
        return self.bout.small_pairs or self.bout.most_pairs if small else self.bout.most_pairs

    def _pairs_ahead(self, cells: Group) -> int:
        return sum(self._most(cell) - self.done.get(cell, 0) for cell in cells)

    def _expected(self, cells: Group, spent: float = 0.0) -> float:
        """Seconds that `cells` may still take, if nobody finds them decided; the budget is an end, too.

        A pair that was `spent` seconds on takes that long at least, however little was expected.
        """
        ahead = max((self._most(cell) - self.done.get(cell, 0) for cell in cells), default=0)
        whole = max(self._cost(cells) or FIRST_GUESS, spent) * ahead - spent
        if self.bout.budget is None:
            return whole
        return min(whole, max(0.0, self.bout.budget - (time.perf_counter() - self.started)))


def _turned(jobs: Sequence[Each], process: int) -> list[Each]:
    """The arms' order in a pair: there and back, and then begun one further."""
    first = process // 2 % len(jobs)
    turned = [*jobs[first:], *jobs[:first]]
    return turned if process % 2 == 0 else turned[::-1]


def _counted(rows: Mapping[str, Sequence[Measurement]]) -> dict[Cell, Mapping[str, int]]:
    """The rounds of each arm in the cells of which every arm has a number."""
    found: dict[Cell, dict[str, int]] = {}
    for arm, measured in rows.items():
        for row in measured:
            if row.invalid is None:
                found.setdefault(row.cell[:3], {})[arm] = row.params["rounds"]
    return {cell: counts for cell, counts in found.items() if counts.keys() == rows.keys()}
