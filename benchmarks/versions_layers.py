"""Which kind of layer made a step: its two builds measured again, layer by layer, where kernels do not account for it.

A whole case's step is found by all builds taking turns, with single operators in one row of workers beside it: enough
for what they compute, and for nothing about their speed. Where kernels were exchanged and the library's own watch
accounts for most of the difference (`attribution.py`), that is the answer. Where it does not, because a framework's own
kernels have no watch, or the same kernels ran and took another time in one process than in another, the network's
layers are measured again in the step's two builds alone, in new workers.

Each kind of layer then has an interval: per pair of workers the logarithm of the ratio of its layers' sums, by signed
ranks. There are K kinds, and each bound errs at ALPHA / K (Bonferroni), so one kind too many is named once in a hundred
steps a side. That takes n pairs with 2⁻ⁿ ≤ ALPHA / K and one more, so that the smallest of them may be on the wrong
side: a dozen for the eleven kinds of a U-Net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from benchmarks import attribution, intervals
from benchmarks.cases import Case
from benchmarks.duel import Bout
from benchmarks.estimate import ALPHA
from benchmarks.layer_times import wanted
from benchmarks.measurement import Record
from benchmarks.versions_kernels import Said, inside
from benchmarks.versions_rows import Fight
from benchmarks.versions_words import Cell, cell_of, worth_explaining

ACCOUNTED = 0.9
"""The share of a difference from which on kernels explain it."""

Step = tuple[str, str]
"""Labels of the older and of the newer build."""


@dataclass(frozen=True)
class Closer:
    """A step that is to be looked at more closely."""

    step: Step
    bout: Bout


def unexplained(record: Record, bout: Bout, said: Said) -> list[Closer]:
    """What is worth measuring again after the sweep `record` of `bout`: named steps of forward passes, as far as their
    layers were measured in that mode, that no exchange of kernels accounts for, of which builds `said` something.
    """
    found = []
    for old, new in pairwise(record["arms"]):
        cells = _left(record, old, new, said)
        picks = _layers(cells, bout)
        if picks:
            found.append(Closer((old, new), _asked(bout, old, new, picks)))
    return found


def _left(record: Record, old: str, new: str, said: Said) -> list[Cell]:
    """The whole cases that the step changed and whose kernels do not account for it."""
    cells = [
        (*cell_of(v), str(v["params"]["tuning"]))
        for v in record["verdicts"]
        if (v["old"], v["new"]) == (old, new) and worth_explaining(v, record["effect"])
    ]
    exchanged = {change["case"] for change in record["kernels"]["changes"] if change["step"] == [old, new]}
    known = inside(said, old, new)
    kernels = {cell: known.get((cell[0], cell[2]), ()) for cell in cells}
    explained = {
        one.cell
        for one in attribution.attribute(record["arms"][old], record["arms"][new], cells, kernels)
        if one.cell[0] in exchanged and (one.share(one.kernels) or 0.0) >= ACCOUNTED
    }
    return [cell[:3] for cell in cells if cell not in explained]


def _layers(cells: Sequence[Cell], bout: Bout) -> list[tuple[Case, str]]:
    """The picks of the bout that are layers of any of the `cells`."""
    chosen = [(case, mode) for case, mode in bout.picks if (case.id, bout.device, mode) in cells]
    parts = {(part.id, mode) for case, mode in chosen for part in wanted([case])}
    return [(part, mode) for part, mode in bout.picks if (part.id, mode) in parts]


def _asked(bout: Bout, old: str, new: str, picks: Sequence[tuple[Case, str]]) -> Bout:
    arms = tuple(arm for arm in bout.arms if arm.label in (old, new))
    pairs = pairs_of(len({case.params["kind"] for case, _ in picks}))
    about = {**bout.about, "closer": [old, new]}
    return replace(bout, arms=arms, picks=tuple(picks), most_pairs=pairs, small_pairs=pairs, looks=(), about=about)


def pairs_of(kinds: int) -> int:
    """Pairs of workers from which so many `kinds` of layers can be told apart from noise, and one more."""
    return intervals.enough(ALPHA / kinds) + 1


def measured(found: Sequence[Closer], fight: Fight) -> dict[Step, tuple[Record, Record]]:
    """The records of both builds of each step, with the layers of new workers, if there was time for any."""
    records = {}
    for closer in found:
        arms = fight(closer.bout)
        if arms[closer.step[0]]["measurements"]:
            records[closer.step] = (arms[closer.step[0]], arms[closer.step[1]])
    return records
