"""Going on with an interrupted run: what the store holds of it, whole pairs of a comparison, whole workers of a sweep.

A session's plan is stored with it, so that the same command finds it again. A process ended between the arms of a pair
leaves half a pair, and one ended while it wrote may leave a few of the cases that shared a worker: such a part is
withdrawn from the store, which lets it be measured anew under its old number. The last sweep of a plan is the one that
is gone on with; an earlier one that was given up stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import environment, history
from benchmarks.measurement import BenchmarkError, Measurement, Record, measurements, now

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
    last = max(reversed(stored), key=lambda record: str(record["created"]))  # of one second, what was appended last
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
class Sweep:
    """What a sweep had measured."""

    record: Record
    """as stored, of whole workers"""
    workers: int
    """that delivered"""
    left_out: int
    """number of measurements whose worker was not stored whole"""
    finished: bool
    """whether it ended and lacks no worker: one whose budget was used up may lack some"""

    @property
    def prospect(self) -> str:
        """What is left of it, before it is gone on with."""
        begun = self.record["created"]
        if self.finished:
            return f"found the run begun at {begun}, which has ended: nothing is left to measure"
        return f"found the run begun at {begun}, which ended early after {self._delivered}"

    @property
    def sentence(self) -> str:
        """That it is gone on with now, for its record."""
        parts = f"; left out because its worker was not stored whole: {self.left_out}" if self.left_out else ""
        return f"this run ended early after {self._delivered} and was gone on with at {now()}{parts}"

    @property
    def _delivered(self) -> str:
        return f"{self.workers} worker{'s' if self.workers != 1 else ''}"

    def refuse_another(self, around: Mapping[str, object]) -> None:
        """Raise `BenchmarkError` when the environment is no longer that of the sweep: code, packages or machine."""
        changed = environment.differences(self.record["environment"], around)
        if changed:
            raise BenchmarkError(
                f"this is no longer what the earlier workers measured ({'; '.join(changed)}): "
                "start a run of its own, without --resume"
            )


def find_sweep(directory: Path, plan: Record) -> Sweep | None:
    """The last sweep in the store that has this `plan`, if any; parts of workers are withdrawn from the store.

    Raises `BenchmarkError` when the store cannot be read or written.
    """
    if not directory.is_dir():
        return None
    stored = [record for record in history.read(directory).records if record.get("plan") == plan]
    if not stored:
        return None
    last = sorted(stored, key=lambda record: str(record["created"]))[-1]
    mates = {(case, worker["mode"]): worker["cases"] for worker in plan["workers"] for case in worker["cases"]}
    delivered: dict[tuple[Any, ...], list[Measurement]] = {}
    for row in measurements(last):
        delivered.setdefault((tuple(mates[row.case, row.params["mode"]]), *row.cell[1:], row.process), []).append(row)
    parts = [row for (cases, *_), rows in delivered.items() if len(rows) < len(cases) for row in rows]
    history.withdraw(directory, last, parts)
    workers = sum(len(rows) == len(cases) for (cases, *_), rows in delivered.items())
    kept = [row.as_record() for row in measurements(last) if row not in parts]
    wanted = len(plan["workers"]) * len(plan["tunings"]) * plan["processes"] * len(last.get("devices", ()))
    finished = "ended" in last and workers == wanted
    return Sweep({**last, "measurements": kept}, workers, len(parts), finished)
