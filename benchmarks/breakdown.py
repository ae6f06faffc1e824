"""What a record says about the parts of a call: its layers, and what the life of a worker went into.

Both are optional in a record: where nobody measured them there is nothing to show, and the page says that.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.measurement import Record, measurements
from benchmarks.roofline import least_seconds
from benchmarks.summary import bandwidth, fastest
from benchmarks.work import Work

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


@dataclass(frozen=True)
class Kind:
    """All layers of one kind in a forward pass."""

    kind: str
    layers: int
    seconds: float
    """of all of them together"""
    flops: int
    bytes: int

    @property
    def rate(self) -> float | None:
        """Counted operations a second."""
        return self.flops / self.seconds if self.flops else None


@dataclass(frozen=True)
class Explanation:
    """A forward pass and what it consists of."""

    case: str
    where: str
    kinds: tuple[Kind, ...]
    """the slowest first"""
    whole: float | None
    """seconds of a call of the whole, None where it was not measured"""
    least: float | None
    """seconds of all layers at the measured peaks (`roofline.py`), None where copying was not measured"""

    @property
    def parts(self) -> float:
        """Seconds of all layers, each by itself."""
        return sum(kind.seconds for kind in self.kinds)

    @property
    def between(self) -> float | None:
        """Seconds that the whole takes and no layer accounts for; negative where fusing saves more than it costs."""
        return None if self.whole is None else self.whole - self.parts


def explanations(record: Record) -> list[Explanation]:
    """What each forward pass consists of whose layers a bench `record` has."""
    found: dict[tuple[str, str], dict[str, Kind]] = {}
    for row in layers(record):
        kinds = found.setdefault((row.case, row.where), {})
        old = kinds.get(row.kind, Kind(row.kind, 0, 0.0, 0, 0))
        kinds[row.kind] = Kind(
            row.kind,
            old.layers + 1,
            old.seconds + row.seconds,
            old.flops + (row.flops or 0),
            old.bytes + (row.bytes or 0),
        )
    whole, least = _whole(record), _least(record)
    return [
        Explanation(
            *owner, tuple(sorted(kinds.values(), key=lambda kind: -kind.seconds)), whole.get(owner), least.get(owner)
        )
        for owner, kinds in found.items()
    ]


def _whole(record: Record) -> dict[tuple[str, str], float]:
    """Seconds of each case and setting: the median over its processes' values."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in measurements(record):
        if row.invalid is None:
            values.setdefault((row.case, ", ".join(row.cell[1:])), []).append(row.value)
    return {cell: statistics.median(found) for cell, found in values.items()}


def _least(record: Record) -> dict[tuple[str, str], float]:
    """Seconds of each case and setting if every layer ran at one of the measured peaks, its bytes through memory."""
    peaks = record.get("peaks", {})
    products, copies = fastest(peaks), bandwidth(peaks)
    if not products or not copies:
        return {}
    found: dict[tuple[str, str], float] = {}
    for row in layers(record):
        seconds = least_seconds(Work(row.flops or 0, 0, row.bytes or 0), products, copies)
        found[row.case, row.where] = found.get((row.case, row.where), 0.0) + seconds
    return found


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
