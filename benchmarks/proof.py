"""What the clock can prove, proved on this machine: trials whose answer is known.

Half of the trials compare the code with itself, where anything but "equivalent" would be an alarm; the other half with
a planted slowdown (`plant.py`), which has to be found. During every third trial another program burns a core in bursts.
Each trial is a whole comparison, as `bench --against` makes it: fresh processes, turns, looks, stopped when decided.

The record keeps every round, so that other thresholds, and other instruments, can be tried on the same noise later:

    {"schema": 1, "kind": "proof", "created", "environment", "effect", "case", "mode",
     "trials": [{"planted": 0.03 or 0, "disturbed": bool, "seconds": of the trial, "verdict": {…},
                 "pairs": [{"old": [seconds a round], "new": […], "conditions": [{…}, {…}]}]}]}
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks import duel, environment
from benchmarks.arms import Arm
from benchmarks.cases import Case
from benchmarks.compare import compare_records
from benchmarks.environment import CODE_KEYS
from benchmarks.looks import LOOKS
from benchmarks.measurement import SCHEMA, Record, measurements, now

STUDIED = (*CODE_KEYS, "planted")
"""Keys of the environment in which the arms of a trial may differ."""

DISTURB = """
import random, select, sys, time
random.seed(int(sys.argv[1]))
while True:
    end = time.perf_counter() + random.expovariate(2)
    while time.perf_counter() < end:
        pass
    if select.select([sys.stdin], [], [], random.expovariate(2))[0]:
        break
"""
"""Busy for half a second and idle for half a second on average, both exponential, until its input ends."""

OnTrial = Callable[[Record], None]


@dataclass(frozen=True)
class Question:
    """What is compared in every trial."""

    case: Case
    mode: str
    variables: Mapping[str, str | None]
    tuning: str = "tuned"
    effect: float = 0.03


def prove(
    question: Question,
    trials: int,
    *,
    reference: str,
    on_progress: Callable[[int, int, float, str], None] | None = None,
    on_trial: OnTrial | None = None,
) -> Record:
    """The record of `trials` comparisons of each kind, in turn; `on_trial` gets the record so far after each."""
    record: Record = {
        "schema": SCHEMA, "kind": "proof", "created": now(), "environment": environment.collect(),
        "effect": question.effect, "case": question.case.id, "mode": question.mode, "trials": [],
    }  # fmt: skip
    began = time.perf_counter()
    for i in range(2 * trials):
        planted, disturbed = (0.0, question.effect)[i % 2], i % 6 < 2
        record["trials"].append(_trial(question, reference, planted, disturbed=disturbed, seed=i))
        spent = time.perf_counter() - began
        if on_trial:
            on_trial(record)
        if on_progress:
            on_progress(i + 1, 2 * trials, spent / (i + 1) * (2 * trials - i - 1), question.case.id)
    return record


def _trial(question: Question, reference: str, planted: float, *, disturbed: bool, seed: int) -> Record:
    arms = tuple(
        Arm(label, variables=question.variables, tuning=question.tuning, planted=share)
        for label, share in (("old", 0.0), ("new", planted))
    )
    bout = duel.Bout(arms, ((question.case, question.mode),), most_pairs=LOOKS[-1], looks=LOOKS)

    def verdict(records: Mapping[str, Record]) -> dict[str, Any]:
        compared = compare_records(records["old"], records["new"], question.effect, studied=STUDIED, most=LOOKS[-1])
        found: dict[str, Any] = compared["verdicts"][0]
        return found

    began = time.perf_counter()
    with _disturbance(seed) if disturbed else contextlib.nullcontext():
        records = duel.fight(
            bout, reference=reference, undecided=lambda so_far, _: verdict(so_far)["label"] == "inconclusive"
        )
    return {
        "planted": planted, "disturbed": disturbed, "seconds": round(time.perf_counter() - began, 3),
        "verdict": verdict(records), "pairs": _pairs(records),
    }  # fmt: skip


def _pairs(records: Mapping[str, Record]) -> list[Record]:
    """The rounds of each pair, to a tenth of a microsecond, and what the machine did to both."""
    arms = [{row.process: row for row in measurements(record)} for record in records.values()]
    return [
        {
            "old": [round(s, 7) for s in old.seconds],
            "new": [round(s, 7) for s in arms[1][process].seconds],
            "conditions": [old.conditions, arms[1][process].conditions],
        }
        for process, old in arms[0].items()
    ]


@contextlib.contextmanager
def _disturbance(seed: int) -> Iterator[None]:
    """Another program that burns a core in bursts while the block runs; it ends by itself if this process dies."""
    command = [sys.executable, "-c", DISTURB, str(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:  # noqa: S603 - our own code in our own interpreter
        try:
            yield
        finally:
            process.kill()


def alarms(record: Record) -> list[int]:
    """The trials of the code with itself that were called slower or faster."""
    same = [(i, t["verdict"]["label"]) for i, t in enumerate(record["trials"]) if not t["planted"]]
    return [i for i, label in same if label in ("slower", "faster")]


def missed(record: Record) -> list[int]:
    """The trials with a planted slowdown that were not called slower."""
    return [i for i, t in enumerate(record["trials"]) if t["planted"] and t["verdict"]["label"] != "slower"]


def lines(record: Record) -> list[str]:
    """What came of it, for a person."""
    trials = record["trials"]
    same = [t for t in trials if not t["planted"]]
    slowed = [t for t in trials if t["planted"]]
    undecided = [t for t in same if t["verdict"]["label"] == "inconclusive"]
    seconds = [t["seconds"] for t in trials]
    pairs = [len(t["pairs"]) for t in trials]
    disturbed = f"{sum(t['disturbed'] for t in trials)} of {len(trials)} trials disturbed"
    took = f"{statistics.median(seconds):.0f} s (median; {min(seconds):.0f} … {max(seconds):.0f} s)"
    needed = f"{statistics.median(pairs):g} pairs (median; {min(pairs)} … {max(pairs)})"
    return [
        f"{record['case']} in {record['mode']} mode, slowdowns of {record['effect']:.1%}, {disturbed}",
        f"with itself: {len(alarms(record))} of {len(same)} called slower or faster, {len(undecided)} inconclusive",
        f"slowed on purpose: {len(slowed) - len(missed(record))} of {len(slowed)} called slower",
        f"a verdict took {took}, {needed}",
    ]


def exit_code(record: Record) -> int:
    """0 when nothing was alarmed at or missed, else 4: the clock has a hole."""
    return 4 if alarms(record) or missed(record) else 0
