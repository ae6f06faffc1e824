"""What the report is made of: the newest record of each kind, and of older bench records a digest for the timeline.

A digest keeps each process's median and leaves its rounds where they are stored: twelve sessions of a full run are
4 MB of rounds, and every number on the page follows from the medians. The page says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import history, steps
from benchmarks.environment import CODE_KEYS, differences
from benchmarks.measurement import SCHEMA, BenchmarkError, Record, check_record, measurements, read_json
from benchmarks.summary import Row, rows, verified

KINDS = ("verify", "bench", "compare", "doctor")
"""The kinds of record a page can be made of."""


@dataclass(frozen=True)
class Page:
    """What the page is made of: the newest record of each kind, None where none was given, and older bench records."""

    verify: Record | None
    bench: Record | None
    compare: Record | None
    doctor: Record | None
    history: Record | None = None
    """the digest of all bench records, oldest first; None where there is only one"""

    @property
    def records(self) -> list[Record]:
        """All of them in the order in which the page embeds them."""
        return [r for r in (self.verify, self.bench, self.compare, self.doctor, self.history) if r]

    def index(self, kind: str) -> int:
        """The number of the record of this `kind` among `records`; −1 where there is none."""
        return next((i for i, record in enumerate(self.records) if record["kind"] == kind), -1)

    @property
    def rows(self) -> list[Row]:
        """The timings, one row a cell."""
        return rows(self.bench) if self.bench else []

    @property
    def operators(self) -> list[Row]:
        """The rows of single operators, where others are there too: they fill a table of their own."""
        small = [row for row in self.rows if row.unit == "calls"]
        return small if len(small) < len(self.rows) else []

    @property
    def unverified(self) -> str | None:
        """Why the timings are UNVERIFIED, None where they are not."""
        return verified(self.verify, self.bench) if self.bench else None

    @property
    def environment(self) -> dict[str, Any]:
        """What the numbers depend on."""
        record = self.bench or self.verify or self.compare or self.doctor or {}
        return dict(record.get("environment", {}))


def read(paths: Sequence[Path]) -> Page:
    """The page of the records in `paths`: files, or folders that `bench --history` wrote.

    Raises `BenchmarkError` for a file that cannot be read, is not a record, or has an unknown schema or kind.
    """
    records: list[Record] = []
    notes: list[str] = []
    for path in paths:
        if path.is_dir():
            stored = history.read(path)
            records += stored.records
            notes += stored.notes
        else:
            records.append(_record(path))
    return page(records, notes)


def _record(path: Path) -> Record:
    document = read_json(path)
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind is not None and kind not in KINDS:
        raise BenchmarkError(f"{path} is of kind {kind!r}; a report is made of {', '.join(KINDS)}")
    return check_record(document, source=str(path), kind=str(kind))


def page(records: Sequence[Record], notes: Sequence[str] = ()) -> Page:
    """The page of `records`; of two records of one kind the newer counts. Raises `BenchmarkError` without any."""
    if not records:
        raise BenchmarkError("no record was given: name at least one JSON file that verify or bench wrote")
    ordered = sorted(records, key=lambda record: str(record.get("created")))
    newest = {record["kind"]: record for record in ordered}
    timed = [record for record in ordered if record["kind"] == "bench"]
    many = digest(timed, notes) if len(timed) > 1 or notes else None
    return Page(**{kind: newest.get(kind) for kind in KINDS}, history=many)


def digest(records: Sequence[Record], notes: Sequence[str] = ()) -> Record:
    """What the timeline needs of bench `records`, oldest first, as a record of kind "history".

    A session counts once; of a comparison's arms the older code's is left out, as it ran out of its turn.
    """
    once = {(r.get("session") or r.get("created")): r for r in records if r.get("arm") != "old"}
    sessions = [_session(record) for record in once.values()]
    return {"schema": SCHEMA, "kind": "history", "sessions": sessions, "lines": _lines(sessions), "notes": list(notes)}


def _session(record: Record) -> Record:
    cells: dict[tuple[str, ...], list[float]] = {}
    for row in measurements(record):
        if row.invalid is None:
            cells.setdefault(row.cell, []).append(row.value)
    return {
        "created": record.get("created"),
        "environment": record["environment"],
        "cells": [{"cell": list(cell), "values": values} for cell, values in cells.items()],
    }


def _lines(sessions: Sequence[Record]) -> list[Record]:
    """For each cell that two sessions have: the sessions whose machine and software are the newest's, and the steps."""
    if not sessions:
        return []
    newest = sessions[-1]["environment"]
    alike = [i for i, s in enumerate(sessions) if not differences(s["environment"], newest, ignore=CODE_KEYS)]
    found: dict[tuple[str, ...], dict[int, list[float]]] = {}
    for i in alike:
        for entry in sessions[i]["cells"]:
            found.setdefault(tuple(entry["cell"]), {})[i] = entry["values"]
    return [_line(cell, by_session) for cell, by_session in found.items() if len(by_session) > 1]


def _line(cell: tuple[str, ...], by_session: dict[int, list[float]]) -> Record:
    series = [statistics.geometric_mean(values) for values in by_session.values()]
    sessions = list(by_session)
    return {
        "cell": list(cell),
        "sessions": sessions,
        "first": series[0],
        "last": series[-1],
        "change": math.expm1(math.log(series[-1] / series[0])),
        "steps": [
            {"session": sessions[s.index], "ratio": s.ratio, "interval": list(s.interval)} for s in steps.find(series)
        ],
    }
