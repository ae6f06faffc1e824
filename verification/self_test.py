"""The judge judged: every planted mistake against the checks that promise to notice it.

A run makes the matrix mutant × check of `kill_matrix.py` in three rounds: each mutant by the checks that name it or are
named by it; the same checks on the same subjects without the mistakes; and every check that has noticed nothing so far
on all mutants, until it notices one. Each trial is a job for one of several fresh processes, because mutants of a
framework must not share its state with ours, and because there are a thousand of them.

Mutants come from modules with a function `load_mutants() -> {id: mutant}` (`kill_matrix.Planted`). This judge knows of
one, `verification.mutants`; whoever has a subject of his own may name another.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from verification.check import QUICK_LEVEL, Check, load_checks, run_checks, select
from verification.kill_matrix import Planted, Verdict, faults, kills, matrix, promises
from verification.protocol import VerificationError
from verification.report import own_environment, strict
from verification.sensitivity import Dose, doses_of, trials

SCHEMA = 1
OWN = "verification.mutants"
"""Where the judge's own mutants are."""

MOST_PROCESSES = 4
"""A process that holds a framework takes a gigabyte."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trial:
    """A job: `checks` on the mutant called `mutant` of `source`; with `right`, on the same without the mistake."""

    source: str
    mutant: str
    checks: tuple[str, ...]
    right: bool = False


@dataclass(frozen=True)
class SelfTest:
    """What a run found. `unavailable` maps sources that could not be loaded to the reason."""

    mutants: Mapping[str, Planted]
    checks: Sequence[Check]
    verdicts: list[Verdict]
    doses: list[Dose]
    unavailable: dict[str, str]
    seconds: float
    faults: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 if the suite holds, 4 if a mutant survives, a check kills nothing, or a promise is broken."""
        return 4 if self.faults else 0


def run(
    sources: Sequence[str] = (OWN,),
    *,
    processes: int | None = None,
    on_progress: Progress | None = None,
    with_doses: bool = True,
) -> SelfTest:
    """Judge the suite by the mutants of all `sources`, of which the first must load.

    `on_progress` is called with jobs done and jobs in all. Raises `VerificationError` if two sources plant one id, or
    if a process dies.
    """
    start = time.perf_counter()
    loaded, unavailable = load_sources(sources)
    mutants = joined(loaded)
    checks = select("full")
    try:
        with _pool(processes) as pool:
            verdicts, doses = _rounds(pool, loaded, checks, on_progress or (lambda _, __: None), with_doses)
    except BrokenProcessPool:
        raise VerificationError(
            "a process of the self-test died (out of memory, or a crash inside a framework); "
            "run it again with nothing else running"
        ) from None
    wrong = [*faults(mutants, checks, verdicts), *(dose.fault for dose in doses if dose.fault)]
    return SelfTest(mutants, checks, verdicts, doses, unavailable, time.perf_counter() - start, wrong)


def load_sources(sources: Sequence[str]) -> tuple[dict[str, dict[str, Planted]], dict[str, str]]:
    """The mutants of each source, and for each that does not import the reason; the first must."""
    loaded: dict[str, dict[str, Planted]] = {}
    unavailable: dict[str, str] = {}
    for source in sources:
        try:
            loaded[source] = dict(importlib.import_module(source).load_mutants())
        except ImportError as error:  # noqa: PERF203 - two or three sources
            if source == sources[0]:
                raise
            unavailable[source] = f"unavailable: {error}"
    return loaded, unavailable


def joined(loaded: Mapping[str, Mapping[str, Planted]]) -> dict[str, Planted]:
    """All mutants by id; raises `VerificationError` if two sources have the same."""
    mutants: dict[str, Planted] = {}
    for source, found in loaded.items():
        twice = sorted(mutants.keys() & found.keys())
        if twice:
            raise VerificationError(f"the mutant {twice[0]} of {source} exists already; give it another id")
        mutants |= found
    return mutants


def plan(loaded: Mapping[str, Mapping[str, Planted]], checks: Sequence[Check]) -> list[Trial]:
    """The trials of the first two rounds: what is promised, and the same on right subjects. Slow sources come first."""
    trials: list[Trial] = []
    for source, mutants in reversed(list(loaded.items())):
        promised = promises(joined(loaded), checks)
        controls: dict[str, tuple[str, dict[str, None]]] = {}
        for name, entry in mutants.items():
            trials.append(Trial(source, name, tuple(promised[name])))
            controls.setdefault(entry.control, (name, {}))[1].update(dict.fromkeys(promised[name]))
        for name, wanted in controls.values():
            trials += [Trial(source, name, some, right=True) for some in _shares(wanted, checks)]
    return [trial for trial in trials if trial.checks]


def _shares(wanted: Iterable[str], checks: Sequence[Check]) -> list[tuple[str, ...]]:
    """The exact checks, which share what they ask of a subject, as one job; each of the statistical, which are long."""
    exact = {check.id for check in checks if check.level <= QUICK_LEVEL}
    together = tuple(each for each in wanted if each in exact)
    return [together, *((each,) for each in wanted if each not in exact)]


def judge(trial: Trial) -> list[Verdict]:
    """Do one trial, in this process."""
    known = load_checks()
    mutant: Planted = importlib.import_module(trial.source).load_mutants()[trial.mutant]
    subject = mutant.right() if trial.right else mutant.make()
    findings = run_checks(subject, [known[name] for name in trial.checks])
    return [
        Verdict(trial.mutant, f.check, f.status, f.ratio, f.where, f.diagnosis, f.reason, trial.right) for f in findings
    ]


def processes_here() -> int:
    """How many processes this machine can run at once, at most `MOST_PROCESSES`."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_PROCESSES)


def _pool(processes: int | None) -> ProcessPoolExecutor:
    # Fresh interpreters: a framework with threads of its own does not survive a fork.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes or processes_here(), mp_context=context)


def _rounds(
    pool: ProcessPoolExecutor,
    loaded: Mapping[str, Mapping[str, Planted]],
    checks: Sequence[Check],
    on_progress: Progress,
    with_doses: bool,
) -> tuple[list[Verdict], list[Dose]]:
    planned = plan(loaded, checks)
    wanted = trials() if with_doses else []
    jobs: list[Future[Any]] = [pool.submit(judge, trial) for trial in planned]
    jobs += [pool.submit(doses_of, each) for each in wanted]
    results: list[Any] = [item for job in _finished(pool, jobs, on_progress) for item in job.result()]
    verdicts = [each for each in results if isinstance(each, Verdict)]
    order = {name: i for i, name in enumerate(joined(loaded))}
    verdicts += _search(pool, loaded, checks, verdicts)
    verdicts.sort(key=lambda each: (order[each.mutant], each.right, each.check))
    doses = [each for each in results if isinstance(each, Dose)]
    return verdicts, sorted(doses, key=lambda each: wanted.index((each.coefficient, each.dtype)))


def _finished(pool: ProcessPoolExecutor, jobs: Sequence[Future[Any]], on_progress: Progress) -> Iterator[Future[Any]]:
    """The jobs as they are done; an interruption drops those that have not begun."""
    try:
        for done, job in enumerate(as_completed(jobs), start=1):
            on_progress(done, len(jobs))
            yield job
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _search(
    pool: ProcessPoolExecutor,
    loaded: Mapping[str, Mapping[str, Planted]],
    checks: Sequence[Check],
    verdicts: Sequence[Verdict],
) -> list[Verdict]:
    """For each check without a kill: all mutants that it has not seen, until one dies."""
    found: list[Verdict] = []
    idle = [check.id for check in checks if check.id not in kills(verdicts)]
    seen = {(verdict.mutant, verdict.check) for verdict in verdicts}
    everything = [(source, name) for source, mutants in loaded.items() for name in mutants]
    for check in idle:
        left = [Trial(source, name, (check,)) for source, name in everything if (name, check) not in seen]
        for some in (left[start : start + BATCH] for start in range(0, len(left), BATCH)):
            made = [verdict for job in pool.map(judge, some) for verdict in job]
            found += made
            if any(verdict.killed for verdict in made):
                break
    return found


BATCH = 16
"""Mutants that a check without a kill is tried on at once."""


def record(result: SelfTest, environment: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON record of a run, of kind "self-test" and `schema` 1."""
    found = kills(result.verdicts)
    return {
        "schema": SCHEMA,
        "kind": "self-test",
        "created": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "environment": dict(environment) if environment is not None else own_environment(),
        "seconds": round(result.seconds, 1),
        "unavailable": result.unavailable,
        "mutants": strict(matrix(result.mutants, result.verdicts)),
        "checks": [
            {"id": each.id, "level": each.level, "claim": each.claim, "kills": found.get(each.id, [])}
            for each in result.checks
        ],
        "doses": [strict(dataclasses.asdict(dose)) for dose in result.doses],
        "faults": result.faults,
    }
