"""What a record says about the parts of a call: its layers, and what the life of a worker went into.

Both are optional in a record: where nobody measured them there is nothing to show, and the page says that.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.measurement import Record, measurements

PARTS = ("start", "import", "build", "compile", "first_run", "rounds", "gate", "other")
"""What a worker spends its life on, in its order."""


@dataclass(frozen=True)
class LayerRow:
    """One layer of one case: the median of its rounds in seconds, its counted operations and bytes."""

    index: int
    """in the record's list"""
    case: str
    where: str
    """device, mode and tuning"""
    layer: str
    kind: str
    seconds: float
    flops: int | None
    bytes: int | None
    share: float
    """of the seconds of all layers of its case"""

    @property
    def rate(self) -> float | None:
        """Counted operations a second."""
        return self.flops / self.seconds if self.flops else None

    @property
    def intensity(self) -> float | None:
        """Counted operations a byte."""
        return self.flops / self.bytes if self.flops and self.bytes else None


def layers(record: Record) -> list[LayerRow]:
    """The layers of a bench `record`, in its order; none where they were not measured."""
    entries = [(i, entry) for i, entry in enumerate(record.get("layers") or ()) if entry["seconds"]]
    medians = {i: statistics.median(entry["seconds"]) for i, entry in entries}
    totals: dict[tuple[str, str], float] = {}
    for i, entry in entries:
        totals[_owner(entry)] = totals.get(_owner(entry), 0.0) + medians[i]
    return [
        LayerRow(
            i, *_owner(entry), str(entry["layer"]), str(entry["kind"]), medians[i], entry.get("flops"),
            entry.get("bytes"), medians[i] / totals[_owner(entry)],
        )
        for i, entry in entries
    ]  # fmt: skip


def _owner(entry: Record) -> tuple[str, str]:
    return str(entry["case"]), ", ".join(str(entry.get(key)) for key in ("device", "mode", "tuning"))


def by_kind(rows: list[LayerRow]) -> dict[str, dict[str, float]]:
    """For each case and setting, the seconds of its layers by their kind, the largest first."""
    totals: dict[str, dict[str, float]] = {}
    for row in rows:
        kinds = totals.setdefault(f"{row.case} {row.where}", {})
        kinds[row.kind] = kinds.get(row.kind, 0.0) + row.seconds
    return {name: dict(sorted(kinds.items(), key=lambda item: -item[1])) for name, kinds in totals.items()}


def splits(record: Record) -> dict[str, dict[str, float]]:
    """For each cell whose workers say it, the median over processes of each part of their lives, in seconds."""
    found: dict[str, list[dict[str, float]]] = {}
    for row in measurements(record):
        if row.split and row.invalid is None:
            found.setdefault(f"{row.case} {row.cell[2]} {row.cell[3]}", []).append(row.split)
    return {
        cell: {part: statistics.median(each.get(part, 0.0) for each in lives) for part in PARTS}
        for cell, lives in found.items()
    }
