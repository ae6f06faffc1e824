"""The same cases under several MindSpore builds: measured by turns in one session, judged from each to the next.

Every pair of workers becomes a row of them, one for each build, whose rounds take turns; so any two builds can be
compared pair by pair, whatever the machine did meanwhile. What is asked is which *step* from one build to the next made
a case slower or faster, and whether the newest build is worse than the one before it.

The record, as JSON:

    {"schema": 1, "kind": "versions", "created", "environment" of this program, "effect",
     "builds": [{"label", "mindspore", "reason": why it is not among the arms, or null}],
     "arms": {label: a bench record}, "verdicts": [those of compare.py, with "old" and "new": labels of neighbours],
     "numbers": [those of drift.py, with "device", "mode", "old" and "new"], "notes": [sentences]}
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from numpy.typing import NDArray

from benchmarks import drift, duel, environment
from benchmarks.arms import Arm
from benchmarks.builds import Build
from benchmarks.cases import Case
from benchmarks.compare import compare_records
from benchmarks.formats import seconds
from benchmarks.looks import LOOKS
from benchmarks.measurement import SCHEMA, BenchmarkError, Measurement, Record, measurements, now
from benchmarks.runner import OnProgress

STUDIED = ("mindspore",)
"""The key of the environment in which builds may differ; in any other they are not compared."""


@dataclass(frozen=True)
class Question:
    """What is measured in every build, and what is worth knowing."""

    picks: tuple[tuple[Case, str], ...]
    effect: float = 0.03
    pairs: int | None = None
    """None for as many as the verdicts need"""
    budget: float | None = None
    """seconds; None for as long as it takes"""


def sweep(
    builds: Sequence[Build], question: Question, *, reference: str, on_progress: OnProgress | None = None
) -> Record:
    """The record of all `builds`, the oldest first. Those that do not work are rows with their reason.

    Nothing is tuned: what is measured is what people get. Raises `BenchmarkError` unless two builds work.
    """
    usable = [build for build in builds if build.reason is None and build.python is not None]
    if len(usable) < 2:
        reasons = "; ".join(f"{build.label} {build.reason}" for build in builds if build.reason)
        raise BenchmarkError(
            f"{len(usable)} of {len(builds)} builds can be used, and a comparison needs two: {reasons}"
        )
    arms = tuple(Arm(build.label, python=str(build.python), tuning="stock") for build in usable)
    bout = duel.Bout(
        arms, question.picks, question.pairs or LOOKS[-1], looks=() if question.pairs else LOOKS, budget=question.budget
    )

    def undecided(records: Mapping[str, Record], cell: duel.Cell) -> bool:
        return any(
            verdict["label"] == "inconclusive"
            for verdict in _verdicts(records, question)
            if (verdict["case"], verdict["params"]["device"], verdict["params"]["mode"]) == cell
        )

    outputs: dict[str, dict[duel.Cell, Sequence[NDArray[Any]]]] = {build.label: {} for build in usable}

    def keep(label: str, cell: duel.Cell, arrays: Sequence[NDArray[Any]]) -> None:
        outputs[label][cell] = arrays

    records = duel.fight(bout, reference=reference, undecided=undecided, on_progress=on_progress, on_outputs=keep)
    return {
        "schema": SCHEMA,
        "kind": "versions",
        "created": now(),
        "environment": environment.collect(),
        "effect": question.effect,
        "builds": [{"label": b.label, "mindspore": b.mindspore, "reason": b.reason} for b in builds],
        "arms": records,
        "verdicts": _verdicts(records, question),
        "numbers": _numbers(records, outputs),
        "notes": next(iter(records.values()))["notes"],
    }


def _verdicts(records: Mapping[str, Record], question: Question) -> list[Record]:
    """Every step from one build to the next, cell by cell."""
    found = []
    for old, new in pairwise(records):
        compared = compare_records(
            records[old], records[new], question.effect, studied=STUDIED, looks=question.pairs is None
        )
        found += [{**verdict, "old": old, "new": new} for verdict in compared["verdicts"]]
    return found


def _numbers(
    records: Mapping[str, Record], outputs: Mapping[str, Mapping[duel.Cell, Sequence[NDArray[Any]]]]
) -> list[Record]:
    """What every step did to the numbers, cell by cell: the same calls' outputs, bit against bit (`drift.py`)."""
    found = []
    for old, new in pairwise(records):
        gates = [_gates(records[label]) for label in (old, new)]
        for cell in dict.fromkeys([*outputs[old], *outputs[new]]):
            case, device, mode = cell
            evidence = (gates[0].get(cell, {}), gates[1].get(cell, {}))
            change = drift.compare(case, outputs[old].get(cell), outputs[new].get(cell), evidence)
            found.append({**dataclasses.asdict(change), "device": device, "mode": mode, "old": old, "new": new})
    return found


def _gates(record: Record) -> dict[duel.Cell, Mapping[str, Any]]:
    """The evidence of each cell's gate in its first process."""
    return {
        (row.case, str(row.params["device"]), str(row.params["mode"])): row.proof.get("gate", {})
        for row in reversed(measurements(record))
    }


def exit_code(record: Record) -> int:
    """1 when in any cell the newest build is slower than the one before it, or its numbers changed beyond rounding.

    Otherwise 3 when either is not decided, else 0.
    """
    newest = list(record["arms"])[-1]
    labels = {verdict["label"] for verdict in record["verdicts"] if verdict["new"] == newest}
    numbers = {number["label"] for number in record["numbers"] if number["new"] == newest}
    if "slower" in labels or "changed" in numbers:
        return 1
    if "incomparable" in numbers:
        return 3
    return 0 if labels and labels <= {"equivalent", "faster"} else 3


def markdown(record: Record, command: str) -> str:
    """The sweep as text that can be pasted into an issue tracker; `command` is what reproduces it."""
    labels = list(record["arms"])
    rows = {label: _by_cell(arm) for label, arm in record["arms"].items()}
    cells = list(dict.fromkeys(cell for by_cell in rows.values() for cell in by_cell))
    steps = {(_cell_of(v), v["new"]): v for v in record["verdicts"]}
    lines = [
        f"# MindSpore builds side by side, {record['created']}",
        "",
        f"Median seconds a call, and each build against the one before it ({record['effect']:.0%} is worth knowing).",
        "",
        "| case | mode | " + " | ".join(labels) + " |",
        "|---|---|" + "---|" * len(labels),
    ]
    for cell in cells:
        entries = [_entry(rows[label].get(cell, []), steps.get((cell, label))) for label in labels]
        lines.append(f"| `{cell[0]}` | {cell[1]} | " + " | ".join(entries) + " |")
    changes = [number for number in record["numbers"] if number["label"] != "identical"]
    lines += ["", "Outputs for the same inputs: " + ("every bit is the same in all builds." if not changes else "")]
    lines += [f"* `{n['case']}`, {n['mode']}, {n['old']} to {n['new']}: {n['label']}, {n['why']}" for n in changes]
    lines += ["", *(f"* {build['label']}: {build['reason']}" for build in record["builds"] if build["reason"])]
    lines += [*(f"* {note}" for note in record["notes"]), "", "Reproduce:", "", "```", command, "```", ""]
    return "\n".join(lines)


Cell = tuple[str, str]
"""Case and mode."""


def _cell_of(verdict: Mapping[str, Any]) -> Cell:
    return (verdict["case"], verdict["params"]["mode"])


def _by_cell(record: Record) -> dict[Cell, list[Measurement]]:
    found: dict[Cell, list[Measurement]] = {}
    for row in measurements(record):
        found.setdefault((row.case, str(row.params["mode"])), []).append(row)
    return found


def _entry(rows: Sequence[Measurement], verdict: Mapping[str, Any] | None) -> str:
    """One cell of one build: its time, and the step to it."""
    reasons = [row.invalid for row in rows if row.invalid]
    if not rows or reasons:
        return f"INVALID: {reasons[0].replace('|', '/')}" if reasons else "not measured"
    time = seconds(statistics.median(row.value for row in rows))
    if verdict is None:
        return time
    if verdict["ratio"] is None:
        return f"{time}, {verdict['label']}"
    low, high = verdict["interval"]
    return f"{time}, {verdict['label']} ({verdict['ratio']:.3f}, {low:.3f} … {high:.3f})"
