"""What makes a call slower? The difference of two builds' calls, divided among layers and among kernels.

With T the seconds of a whole call and p_l those of layer l by itself, each the median over processes and rounds,

    T_new − T_old = Σ_l (p_l,new − p_l,old) + left

and the part of a kind of layer is the sum over its layers. `left` is what no layer accounts for: what lies between
layers, what a compiler fuses, noise, and, where it has the other sign, what layers lose by being run by themselves
(docs/cases.md). So the same difference is divided a second time, among the kernels that ran within the call by the
watch of the library they belong to (`implementations.inside`), which sees nothing but its own kernels and has no such
fault.

Only a step that is real and large enough to matter is divided (`versions_words.worth_explaining`), or one whose layers
were measured again for the sake of a larger one beside it (`versions_layers.py`): a difference within
noise needs no explanation, and of a small one layers and kernels account for anything between −20 and 20 times it.

A kind of layer has an interval where its layers were measured in enough pairs of workers to have one
(`versions_layers.py`, where p is the mean over rounds): of
R_i = Σ_l p_l,new,i / Σ_l p_l,old,i, of the pairs i, by signed ranks of log R_i.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import intervals
from benchmarks.compare import side_by_side
from benchmarks.estimate import ALPHA
from benchmarks.measurement import Measurement, Record, measurements

Cell = tuple[str, str, str, str]
"""Case, device, mode, tuning."""


@dataclass(frozen=True)
class Part:
    """What one kind of layer, or of kernel, contributes, in seconds a call."""

    kind: str
    count: int
    """layers of this kind, or runs of this kernel, in a call"""
    old: float
    new: float
    interval: tuple[float, float] | None = None
    """of new over old; each bound errs at `ALPHA` by the number of kinds. None where pairs are too few for one"""

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
    """layers by themselves, the kind that contributes most first; none where they were not timed"""
    kernels: tuple[Part, ...]
    """in the call itself, likewise; none where the libraries said nothing"""

    @property
    def difference(self) -> float:
        """Seconds that the whole call takes longer in the new build."""
        return self.new - self.old

    def left(self, parts: Sequence[Part]) -> float:
        """Seconds of the difference that these parts do not account for."""
        return self.difference - sum(part.difference for part in parts)

    def share(self, parts: Sequence[Part]) -> float | None:
        """What these parts sum to, of the difference: 1 for all of it; None without a difference."""
        return sum(part.difference for part in parts) / self.difference if self.difference else None


def attribute(
    old: Record,
    new: Record,
    cells: Sequence[Cell],
    kernels: Mapping[Cell, Sequence[Part]],
    closer: tuple[Record, Record] | None = None,
) -> list[Attribution]:
    """One attribution for each of `cells` that both bench records have a time of, if there is anything to divide it by.

    Layers that one build has and the other has not count as 0 s there: a build may fuse them. The layers are those of
    the `closer` records of both builds, if there are any, else those that were timed beside the whole cases.
    """
    whole = _seconds(old, new)
    layers = [_layers(record) for record in closer or (old, new)]
    found = []
    for cell in cells:
        parts = _parts(layers[0].get(cell, {}), layers[1].get(cell, {}))
        if cell in whole and (parts or kernels.get(cell)):
            found.append(Attribution(cell, *whole[cell], parts, largest(kernels.get(cell, ()))))
    return found


def largest(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts, the one that contributes most first."""
    return tuple(sorted(parts, key=lambda part: -abs(part.difference)))


Layers = Mapping[str, tuple[str, Sequence[float]]]
"""Layer to its kind and seconds, a value for each process."""


def _parts(old: Layers, new: Layers) -> tuple[Part, ...]:
    """The kinds of layers of two builds; none unless both have layers."""
    if not old or not new:
        return ()
    kinds = {layer: kind for build in (old, new) for layer, (kind, _) in build.items()}
    count = {kind: sum(1 for other in kinds.values() if other == kind) for kind in kinds.values()}
    return largest(
        [
            Part(kind, number, _sum(old, kind), _sum(new, kind), _interval(old, new, kind, ALPHA / len(count)))
            for kind, number in count.items()
        ]
    )


def _sum(build: Layers, kind: str) -> float:
    """Seconds of all layers of a kind: of each its median process."""
    return sum(statistics.median(seconds) for other, seconds in build.values() if other == kind)


def _interval(old: Layers, new: Layers, kind: str, alpha: float) -> tuple[float, float] | None:
    """The interval of the ratio of both builds' sums; None where processes are no pairs, or too few."""
    arms = [[seconds for other, seconds in build.values() if other == kind] for build in (old, new)]
    sizes = {len(seconds) for arm in arms for seconds in arm}
    if not all(arms) or len(sizes) > 1 or min(sizes) < intervals.enough(alpha):
        return None
    sums = [np.sum(np.asarray(arm, np.float64), axis=0) for arm in arms]
    found = intervals.signed_ranks(np.log(sums[1] / sums[0]), alpha)
    return (float(np.exp(found.low)), float(np.exp(found.high)))


def _seconds(old: Record, new: Record) -> dict[Cell, tuple[float, float]]:
    """The whole call of each cell in both builds: the medians over processes that ran side by side."""
    builds: list[dict[Cell, list[Measurement]]] = [{}, {}]
    for rows, record in zip(builds, (old, new), strict=True):
        for row in measurements(record):
            if row.invalid is None:
                rows.setdefault(row.cell, []).append(row)
    found = {}
    for cell in (cell for cell in builds[0] if cell in builds[1]):
        pairs = side_by_side(builds[0][cell], builds[1][cell])
        if all(pairs):
            before, after = (statistics.median(row.value for row in rows) for rows in pairs)
            found[cell] = (before, after)
    return found


def _layers(record: Record) -> Mapping[Cell, Layers]:
    """The layers of each cell, in the order of the record."""
    found: dict[Cell, dict[str, tuple[str, Sequence[float]]]] = {}
    for row in record.get("layers", ()):
        found.setdefault(_cell(row), {})[row["layer"]] = (row["kind"], row["seconds"])
    return found


def _cell(row: Mapping[str, Any]) -> Cell:
    return (str(row["case"]), str(row["device"]), str(row["mode"]), str(row["tuning"]))
