"""Which kind of layer made a step: its two builds measured again, layer by layer, where kernels do not account for it.

A whole case's step is found by all builds taking turns, with single operators in one row of workers beside it: enough
for what they compute, and for nothing about their speed. Where kernels were exchanged and the library's own watch
accounts for most of the difference (`attribution.py`), that is the answer. Where it does not, because a framework's own
kernels have no watch, or the same kernels ran and took another time in one process than in another, the network's
layers are measured again in the step's two builds alone, in new workers.

They are layers of a forward pass, timed in graph mode. A training step consists of the same layers, and so does a pass
in PyNative mode: where kernels do not account for one of those, the forward pass beside it is looked into, if the step
changed it at all; by less than is worth knowing will do.

Each kind of layer then has an interval: per pair of workers the logarithm of the ratio of its layers' sums, by signed
ranks. A layer is timed in few rounds, whose times on few cores lie around two values, so it counts with its worker's
mean and not with the median, which jumps between them: of two times a dozen pairs, hours apart, the ratios of means
varied by 0.93 and 0.71 of what those of medians did (geometric mean over the kinds). There are K kinds, and each bound
errs at ALPHA / K (Bonferroni), so one kind too many is named once in a hundred steps a side. That takes n pairs with
2⁻ⁿ ≤ ALPHA / K, of which none may be on the wrong side, and `SPARE` more: sixteen for the eleven kinds of a U-Net.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from benchmarks import attribution, intervals
from benchmarks.cases import Case
from benchmarks.duel import Bout
from benchmarks.estimate import ALPHA
from benchmarks.layer_times import layers, wanted
from benchmarks.measurement import Record, measurements
from benchmarks.versions_kernels import Said, inside
from benchmarks.versions_rows import Fight
from benchmarks.versions_words import NAMED, Cell, cell_of, worth_explaining

ACCOUNTED = 0.9
"""The share of a difference from which on kernels explain it."""

SPARE = 5
"""Pairs beyond those that can tell anything. Pairs of a kind's sums vary by 5 to 8 %; with so many a kind that takes
12 % longer is named 100 to 95 times of 100, with one it were 99 to 71 times. Each costs most of a minute."""

Step = tuple[str, str]
"""Labels of the older and of the newer build."""


@dataclass(frozen=True)
class Closer:
    """A step that is to be looked at more closely."""

    step: Step
    bout: Bout


def unexplained(record: Record, bout: Bout, said: Said) -> list[Closer]:
    """What is worth measuring again after the sweep `record` of `bout`, of whose kernels builds `said` something.

    Forward passes whose layers the bout has in that mode: those whose own step no exchange of kernels accounts for,
    and other named ones beside a case without such layers whose step its kernels do not account for.
    """
    groups = {(case.id, bout.device, mode): case.group for case, mode in bout.picks}
    passes = _passes(bout)
    found = []
    for old, new in pairwise(record["arms"]):
        named = [v for v in record["verdicts"] if (v["old"], v["new"]) == (old, new) and v["label"] in NAMED]
        large = [v for v in named if worth_explaining(v, record["effect"])]
        shares = _shares(record, old, new, large, said)
        exchanged = {change["case"] for change in record["kernels"]["changes"] if change["step"] == [old, new]}
        explained = {cell for cell, share in shares.items() if share >= ACCOUNTED and cell[0] in exchanged}
        beside = {groups.get(cell) for cell, share in shares.items() if share < ACCOUNTED and cell not in passes}
        left = {cell for cell in map(cell_of, named) if cell in shares or groups.get(cell) in beside} - explained
        parts = {part for cell in left for part in passes.get(cell, ())}
        picks = [(part, mode) for part, mode in bout.picks if (part.id, mode) in parts]
        if picks:
            found.append(Closer((old, new), _asked(bout, old, new, picks)))
    return found


def _passes(bout: Bout) -> dict[Cell, set[tuple[str, str]]]:
    """The forward passes of the bout that it has layers of, and these layers."""
    picked = {(case.id, mode) for case, mode in bout.picks}
    parts = {
        (case.id, bout.device, mode): {(part.id, mode) for part in wanted([case])} & picked for case, mode in bout.picks
    }
    return {cell: within for cell, within in parts.items() if within}


def _shares(record: Record, old: str, new: str, verdicts: Sequence[Record], said: Said) -> dict[Cell, float]:
    """Of each verdict's cell the share of the step that its kernels account for; 0 where nothing is known of them."""
    cells = [(*cell_of(verdict), str(verdict["params"]["tuning"])) for verdict in verdicts]
    known = inside(said, old, new)
    kernels = {cell: known.get((cell[0], cell[2]), ()) for cell in cells}
    shares = {
        one.cell: one.share(one.kernels) or 0.0
        for one in attribution.attribute(record["arms"][old], record["arms"][new], cells, kernels)
    }
    return {cell[:3]: shares.get(cell, 0.0) for cell in cells}


def _asked(bout: Bout, old: str, new: str, picks: Sequence[tuple[Case, str]]) -> Bout:
    arms = tuple(arm for arm in bout.arms if arm.label in (old, new))
    pairs = pairs_of(len({case.params["kind"] for case, _ in picks}))
    about = {**bout.about, "closer": [old, new]}
    return replace(bout, arms=arms, picks=tuple(picks), most_pairs=pairs, small_pairs=pairs, looks=(), about=about)


def pairs_of(kinds: int) -> int:
    """Pairs of workers from which so many `kinds` of layers can be told apart from noise, and `SPARE` more."""
    return intervals.enough(ALPHA / kinds) + SPARE


def measured(found: Sequence[Closer], fight: Fight) -> dict[Step, tuple[Record, Record]]:
    """The records of both builds of each step, with the layers of new workers, if there was time for any."""
    records = {}
    for closer in found:
        arms = fight(closer.bout)
        if arms[closer.step[0]]["measurements"]:
            records[closer.step] = (_by_means(arms[closer.step[0]]), _by_means(arms[closer.step[1]]))
    return records


def _by_means(record: Record) -> Record:
    return {**record, "layers": layers(measurements(record), lambda row: statistics.fmean(row.seconds))}
