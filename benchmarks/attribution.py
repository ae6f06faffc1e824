"""Which layers make a net slower? The difference of two builds' forward passes, divided among the layers.

With T the seconds of a whole call and p_l those of layer l by itself, each the median over processes and rounds,

    T_new − T_old = Σ_l (p_l,new − p_l,old) + left

and the part of a kind of layer is the sum over its layers. `left` is what no layer accounts for: what lies between
layers, what a compiler fuses, and noise. The parts *explain* the share 1 − |left| / |T_new − T_old|, which is only said
where the difference is real; a difference within noise needs no explanation.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measurement import Record, measurements

Cell = tuple[str, str, str, str]
"""Case, device, mode, tuning."""


@dataclass(frozen=True)
class Part:
    """What one kind of layer contributes, in seconds a call."""

    kind: str
    layers: int
    old: float
    new: float

    @property
    def difference(self) -> float:
        """Seconds that the new build takes longer here."""
        return self.new - self.old

    @property
    def ratio(self) -> float:
        """New over old."""
        return self.new / self.old


@dataclass(frozen=True)
class Attribution:
    """The difference of one cell, divided."""

    cell: Cell
    old: float
    """seconds of the whole call"""
    new: float
    parts: tuple[Part, ...]
    """the one that contributes most first"""

    @property
    def difference(self) -> float:
        """Seconds that the whole call takes longer in the new build."""
        return self.new - self.old

    @property
    def left(self) -> float:
        """Seconds of the difference that no part accounts for."""
        return self.difference - sum(part.difference for part in self.parts)

    @property
    def explained(self) -> float | None:
        """Share of the difference that the parts account for, 1 for all of it; None without a difference."""
        return 1 - abs(self.left) / abs(self.difference) if self.difference else None


def attribute(old: Record, new: Record) -> list[Attribution]:
    """One attribution for each cell of which both bench records have the whole call and its layers.

    Layers that one build has and the other has not count as 0 s there: a build may fuse them.
    """
    whole = [_seconds(record) for record in (old, new)]
    layers = [_layers(record) for record in (old, new)]
    cells = [cell for cell in layers[0] if cell in layers[1] and cell in whole[0] and cell in whole[1]]
    return [_attribution(cell, (whole[0][cell], whole[1][cell]), (layers[0][cell], layers[1][cell])) for cell in cells]


Layers = Mapping[str, tuple[str, float]]
"""Layer to its kind and seconds."""


def _attribution(cell: Cell, whole: tuple[float, float], layers: tuple[Layers, Layers]) -> Attribution:
    kinds = {layer: kind for build in layers for layer, (kind, _) in build.items()}
    parts = [
        Part(kind, sum(1 for other in kinds.values() if other == kind), *(_sum(build, kind) for build in layers))
        for kind in dict.fromkeys(kinds.values())
    ]
    return Attribution(cell, *whole, tuple(sorted(parts, key=lambda part: -abs(part.difference))))


def _sum(build: Layers, kind: str) -> float:
    return sum(seconds for other, seconds in build.values() if other == kind)


def _seconds(record: Record) -> dict[Cell, float]:
    """The whole call of each cell: the median over its processes' values."""
    values: dict[Cell, list[float]] = {}
    for row in measurements(record):
        if row.invalid is None:
            values.setdefault(row.cell, []).append(row.value)
    return {cell: statistics.median(found) for cell, found in values.items()}


def _layers(record: Record) -> dict[Cell, dict[str, tuple[str, float]]]:
    """The layers of each cell: the median over all rounds of all processes."""
    rounds: dict[Cell, dict[str, tuple[str, list[float]]]] = {}
    for row in record.get("layers", ()):
        _, seconds = rounds.setdefault(_cell(row), {}).setdefault(row["layer"], (row["kind"], []))
        seconds += row["seconds"]
    return {
        cell: {layer: (kind, statistics.median(seconds)) for layer, (kind, seconds) in layers.items()}
        for cell, layers in rounds.items()
    }


def _cell(row: Mapping[str, Any]) -> Cell:
    return (str(row["case"]), str(row["device"]), str(row["mode"]), str(row["tuning"]))


def unexplained(attributions: Iterable[Attribution], least: float = 0.9) -> list[Attribution]:
    """Those of which the parts explain less than the share `least`: the report says how much is left."""
    return [one for one in attributions if one.explained is not None and one.explained < least]
