"""Going on with what was interrupted: what the store holds of a run, or of a comparison, of that whole pairs only.

A session's plan is stored with it, so that the same command finds it again. A process ended between the arms of a pair
leaves half a pair: the half is withdrawn from the store, which lets that pair be measured anew under its old number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import history
from benchmarks.measurement import Measurement, Record, measurements

Pair = tuple[tuple[str, str, str, str], int]
"""Cell and process."""


@dataclass(frozen=True)
class Earlier:
    """What an interrupted comparison had measured."""

    session: str
    created: str
    rows: Mapping[str, Sequence[Measurement]]
    """by arm, of whole pairs"""
    environments: Mapping[str, Mapping[str, Any]]
    """by arm, as a worker that delivered saw it; without those arms of which none did"""
    notes: tuple[str, ...]
    """what was left out, in sentences"""


def find(directory: Path, plan: Record, labels: Sequence[str]) -> Earlier | None:
    """The last session in the store that `plan` began, if any; halves of pairs are withdrawn from the store.

    Raises `BenchmarkError` when the store cannot be read or written.
    """
    if not directory.is_dir():
        return None
    stored = [record for record in history.read(directory).records if record.get("plan") == plan]
    if not stored:
        return None
    last = max(stored, key=lambda record: str(record["created"]))
    ours = [record for record in stored if record["session"] == last["session"]]
    found: dict[str, list[Measurement]] = {label: [] for label in labels}
    environments: dict[str, Mapping[str, Any]] = {}
    for record in ours:
        rows = measurements(record)
        found[record["arm"]] += rows
        if any(row.invalid is None for row in rows):
            environments.setdefault(record["arm"], record["environment"])
    whole = set.intersection(*({_pair(row) for row in rows} for rows in found.values()))
    for record in ours:
        history.withdraw(directory, record, [row for row in measurements(record) if _pair(row) not in whole])
    halves = {_pair(row) for rows in found.values() for row in rows} - whole
    notes = tuple(
        f"half a pair of {cell[0]} in {cell[2]} mode on {cell[1]} was left out: its measurement was interrupted"
        for cell, _ in sorted(halves)
    )
    kept = {label: [row for row in rows if _pair(row) in whole] for label, rows in found.items()}
    return Earlier(str(last["session"]), str(last["created"]), kept, environments, notes)


def _pair(row: Measurement) -> Pair:
    return (row.cell, row.process)


@dataclass(frozen=True)
class Run:
    """What an interrupted run had measured."""

    session: str
    created: str
    environment: Mapping[str, Any]
    rows: tuple[Measurement, ...]
    finished: bool
    """whether it came to its end: then there is nothing to go on with"""
    record: Record
    """as it is stored"""


def find_run(directory: Path, plan: Record) -> Run | None:
    """The last run in the store that `plan` began, if any. Raises `BenchmarkError` when the store cannot be read."""
    if not directory.is_dir():
        return None
    stored = [record for record in history.read(directory).records if record.get("plan") == plan]
    if not stored:
        return None
    last = max(stored, key=lambda record: str(record["created"]))
    finished = bool(last.get("finished"))
    rows = tuple(measurements(last))
    return Run(str(last["session"]), str(last["created"]), last["environment"], rows, finished, last)
