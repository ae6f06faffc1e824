"""What a sweep found, in words: each step by name, and one sentence about the newest build.

A step's size is that of the time a call takes. "12 % slower" is a ratio new over old of 1.12, "12 % faster" one of 0.88
(an eighth of the old time saved), and from a factor of two on the factor is said. An interval narrower than two per
cent is worth a decimal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.formats import number
from benchmarks.measurement import Record

Cell = tuple[str, str, str]
"""Case, device, mode."""

NAMED = ("slower", "faster")
"""Labels that make a step worth its name."""

HOPELESS = 4.0
"""An interval whose ends are further apart than this factor, of two or three workers, says nothing and is not shown."""


def cell_of(entry: Mapping[str, Any]) -> Cell:
    """The cell of a verdict, which has it in "params", or of a number."""
    place = entry.get("params", entry)
    return (str(entry["case"]), str(place["device"]), str(place["mode"]))


def worth_explaining(verdict: Mapping[str, Any], effect: float) -> bool:
    """Whether a step is named and at least as large as the `effect` worth knowing.

    A smaller one is told and left at that: what other builds, kernels and layers differ by from one process to the
    next would be many times its size.
    """
    return verdict["label"] in NAMED and abs(math.log(verdict["ratio"])) >= math.log1p(effect)


def operators(record: Record) -> set[Cell]:
    """The cells of single operators, where whole cases were measured as well: they explain those.

    Their speed is not judged, for it is measured in too few workers. What became of their numbers is no matter of
    chance.
    """
    units = {cell_of(row): row["unit"] for arm in record["arms"].values() for row in arm["measurements"]}
    found = {cell for cell, unit in units.items() if unit == "calls"}
    return found if len(found) < len(units) else set()


def excludes(interval: Sequence[float] | None) -> bool:
    """Whether the `interval` of a ratio tells it from 1."""
    return interval is not None and (interval[0] > 1 or interval[1] < 1)


def change(ratio: float, interval: Sequence[float]) -> str:
    """A `ratio` of times, new over old, with its interval: "12 % slower (10 … 14)"."""
    low, high = interval
    if ratio >= 2:
        return f"{number(ratio)} times as long ({number(low)} … {number(high)})"
    if ratio <= 0.5:
        return f"{number(1 / ratio)} times as fast ({number(1 / high)} … {number(1 / low)})"
    shares = (ratio - 1, low - 1, high - 1) if ratio >= 1 else (1 - ratio, 1 - high, 1 - low)
    decimals = 0 if shares[0] >= 0.0995 and shares[2] - shares[1] >= 0.02 else 1
    middle, *bounds = (f"{100 * share:.{decimals}f}" for share in shares)
    return f"{middle} % {'slower' if ratio >= 1 else 'faster'} ({bounds[0]} … {bounds[1]})"


def said(verdict: Mapping[str, Any]) -> str:
    """What a step did to the speed of its cell, in a few words."""
    label = verdict["label"]
    if label == "incomparable":
        return "not compared"
    if verdict["ratio"] is None:
        return "undecided"
    if label in NAMED:
        return change(verdict["ratio"], verdict["interval"])
    bounds = verdict["interval"]
    if label != "equivalent" and bounds[1] > HOPELESS * bounds[0]:
        return "undecided"
    return f"{'as fast' if label == 'equivalent' else 'undecided'} {_between(bounds)}"


def _between(bounds: Sequence[float]) -> str:
    low, high = (f"{100 * (bound - 1):+.1f}" for bound in bounds)
    return f"({low} … {high} %)"


def helped(tried: Mapping[str, Any]) -> str:
    """What a setting did to the speed of a build, as the rest of a sentence about the case."""
    if tried["label"] == "equivalent":
        return f"takes as long as without {_between(tried['interval'])}"
    return f"is {said(tried)}"


def named_steps(verdicts: Sequence[Record]) -> list[Record]:
    """The steps that made a cell slower or faster, by the name of the build they came with, in the verdicts' order."""
    return [
        {
            "build": verdict["new"], "before": verdict["old"], "case": verdict["case"],
            "device": verdict["params"]["device"], "mode": verdict["params"]["mode"], "label": verdict["label"],
            "change": said(verdict),
        }
        for verdict in verdicts
        if verdict["label"] in NAMED
    ]  # fmt: skip


def newest(record: Record) -> tuple[str, str]:
    """The labels of the last two builds that were measured, the older first."""
    labels = list(record["arms"])
    return labels[-2], labels[-1]


def unusable(record: Record) -> Record | None:
    """The newest build, if it could not be used: then nothing is known of what the sweep is about."""
    last: Record = record["builds"][-1]
    return last if last["reason"] else None


def headline(record: Record) -> str:
    """What the newest build does, in one sentence; in others before it, if it could not be used or computes wrongly."""
    old, new = newest(record)
    verdicts = [verdict for verdict in record["verdicts"] if verdict["new"] == new]
    single = operators(record)
    whole = [verdict for verdict in verdicts if cell_of(verdict) not in single]
    numbers = [entry for entry in record["numbers"] if entry["new"] == new]
    last = unusable(record)
    prefix = f"{_called(last)} could not be used. " if last else ""
    build = next((b for b in record["builds"] if b["label"] == new), {"label": new, "mindspore": None})
    prefix += _wrong(record, build)
    if not whole:
        return f"{prefix}Nothing was measured of {new}."
    speed = f"{_called(build)} is {_speed(whole, old, record['effect'])}"
    explaining = [entry["label"] for entry in numbers if cell_of(entry) in single]
    outputs = [entry["label"] for entry in numbers if cell_of(entry) not in single]
    return f"{prefix}{speed}; {_outputs(outputs, explaining)}."


def _wrong(record: Record, build: Mapping[str, Any]) -> str:
    """A sentence if the DDPM does not pass its checks under the `build`, or was not judged where others were."""
    gate = next((gate for gate in record.get("gates", ()) if gate["build"] == build["label"]), None)
    if gate is None or (not gate["reason"] and gate["passed"] == gate["findings"]):
        return ""
    if gate["reason"]:
        return f"UNVERIFIED under {_called(build)}: {gate['reason']}. "
    return f"WRONG under {_called(build)}: {gate['findings'] - gate['passed']} of {gate['findings']} checks fail. "


def _called(build: Mapping[str, Any]) -> str:
    label, version = build["label"], build["mindspore"]
    return f"MindSpore {label}" if version in (None, label) else f"{label} (MindSpore {version})"


def _speed(verdicts: Sequence[Record], old: str, effect: float) -> str:
    """What becomes of "It is …": one clause for each label that occurs, the worst first."""
    groups = {label: [v for v in verdicts if v["label"] == label] for label in CLAUSES}
    if len(groups["equivalent"]) == len(verdicts):
        return f"as fast as {old} in {_all(len(verdicts))} (within {100 * effect:g} %)"
    clauses: list[str] = []
    for label, (word, joint) in CLAUSES.items():
        count = len(groups[label])
        where = f" in {count}" if clauses else f" {joint} {old} in {count} of {_cases(len(verdicts))}"
        clauses += [f"{word}{where}{_extreme(label, groups[label])}"] if count else []
    return _listed(clauses)


CLAUSES = {
    "slower": ("slower", "than"),
    "faster": ("faster", "than"),
    "equivalent": ("as fast", "as"),
    "inconclusive": ("undecided", "against"),
    "incomparable": ("not compared", "with"),
}
"""Label to what becomes of "It is …", and of the build before it."""


def _extreme(label: str, found: Sequence[Record]) -> str:
    """The largest of the named steps with its case."""
    if label not in NAMED:
        return ""
    largest = (max if label == "slower" else min)(found, key=lambda verdict: float(verdict["ratio"]))
    most = "most in " if len(found) > 1 else ""
    return f" ({most}{largest['case']} in {largest['params']['mode']} mode: {said(largest)})"


def _outputs(labels: Sequence[str], explaining: Sequence[str]) -> str:
    """What became of the numbers of whole cases and of single operators, as the second half of the sentence."""
    if labels and {*labels, *explaining} == {"identical"}:
        return "every bit of its outputs is the same"
    if not labels and not explaining:
        return "its outputs were not compared"
    parts = [f"its outputs {_became(labels)}"] if labels else []
    parts += [f"those of {len(explaining)} single operators {_became(explaining)}"] if explaining else []
    return "; ".join(parts)


def _became(labels: Sequence[str]) -> str:
    words = {"changed": "changed", "rounding": "differ by rounding", "incomparable": "could not be compared",
             "identical": "are the same to the bit"}  # fmt: skip
    return _listed([f"{word} in {labels.count(label)}" for label, word in words.items() if label in labels])


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _all(count: int) -> str:
    return "the one case" if count == 1 else f"all {count} cases"


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"
