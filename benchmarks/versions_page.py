"""A sweep over builds → one self-contained page: what the newest build does, then every step, in times and numbers.

A pure function of the record, as `report.py` is of its own, with its style and its rule: the page loads nothing,
escapes whatever it shows, and every number carries the place in the embedded record that it is derived from
(`marks.py`). The embedded record has `times` besides, each worker's median by cell and build; where all rounds of all
workers would make the page too large to be sent around, they stay in versions.json, and the page says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks import plots_versions, templating
from benchmarks.attribution import Attribution, Part
from benchmarks.formats import seconds
from benchmarks.marks import script
from benchmarks.measurement import Record
from benchmarks.summary import Row, rows
from benchmarks.versions import exit_code
from benchmarks.versions_text import differing
from benchmarks.versions_words import Cell, cell_of, operators, said

MOST_BYTES = 900_000
"""Up to so many the rounds of all workers are embedded: the rest of a page with 28 cells and 7 builds takes as much."""

MOST_KERNELS = 40
"""How many exchanged kernels the page lists; all of them are embedded."""

LONGEST = 18
"""Characters of a build's label that a picture has room for, beside what its step did."""

FURTHEST = 2**63 - 1
"""Ulps between a number and what is none (`drift.ulps`)."""


@dataclass(frozen=True)
class Entry:
    """One build's time of one cell, and the step to it."""

    index: int
    """of `times`"""
    build: str
    row: Row | None
    """None where the build was not measured"""
    verdict: int | None
    """index of the verdict on the step to this build; None for the oldest one"""


def html(record: Record) -> str:
    """The page of a versions `record` as one HTML document."""
    entries = _entries(record)
    embedded = _embedded(record, entries)
    single, drift = operators(record), _drift_map(record)
    whole = {cell: found for cell, found in entries.items() if cell not in single}
    labels = list(record["arms"])
    environments = [record["arms"][label]["environment"] for label in labels]
    templates = templating.environment([embedded])
    templates.filters.update(duration=_duration, share=_share)
    return templates.get_template("versions.html").render(
        r=embedded,
        labels=labels,
        steps=list(pairwise(labels)),
        code=exit_code(record),
        cells=whole,
        operators={cell: found for cell, found in entries.items() if cell in single},
        pictures={cell: _picture(i, record, found) for i, (cell, found) in enumerate(whole.items())},
        drift={cell: found for cell, found in drift.items() if cell not in single},
        operator_drift={cell: found for cell, found in drift.items() if cell in single},
        furthest=FURTHEST,
        attributions=[_attribution(one) for one in record.get("attribution", ())],
        kernels=_slowest_changes(record),
        silent=[(i, one) for i, one in enumerate(_kernels(record)["said"]) if one["reason"] or not one["library"]],
        unusable=[(i, b) for i, b in enumerate(record["builds"]) if b["reason"]],
        apart={key: [each.get(key) for each in environments] for key in differing(environments)},
        libraries=_libraries(record, labels),
        environment=environments[-1],
        rounds="measurements" in embedded["arms"][labels[0]],
        script=script([embedded]),
    )


def _duration(value: float) -> str:
    """Seconds that may be none or less than none."""
    return f"{'-' if value < 0 else ''}{seconds(abs(value))}" if value else "0 s"


def _share(value: float) -> str:
    """A part of a whole in per cent, without the sign of what is none."""
    return f"{round(100 * value, 1) or 0.0:.1f} %"


def _entries(record: Record) -> dict[Cell, list[Entry]]:
    """For each cell its builds, the oldest first."""
    found = {label: {(r.case, r.device, r.mode): r for r in rows(arm)} for label, arm in record["arms"].items()}
    verdicts = {(cell_of(verdict), verdict["new"]): i for i, verdict in enumerate(record["verdicts"])}
    cells = list(dict.fromkeys(cell for by_cell in found.values() for cell in by_cell))
    return {
        cell: [
            Entry(c * len(found) + b, label, found[label].get(cell), verdicts.get((cell, label)))
            for b, label in enumerate(found)
        ]
        for c, cell in enumerate(cells)
    }


def _embedded(record: Record, entries: Mapping[Cell, Sequence[Entry]]) -> Record:
    """What the page carries: the record, with `times`, and without the arms' rows where they take too much room."""
    arms = record["arms"]
    if len(json.dumps(arms)) > MOST_BYTES:
        arms = {label: {"environment": arm["environment"]} for label, arm in arms.items()}
    times = [
        {
            "build": entry.build, "case": cell[0], "device": cell[1], "mode": cell[2],
            "values": list(entry.row.processes) if entry.row else [],
            "invalid": list(entry.row.invalid) if entry.row else ["it was not measured"],
            "text": _text(record, entry),
            "step": "" if entry.verdict is None else said(record["verdicts"][entry.verdict]),
        }
        for cell, found in entries.items()
        for entry in found
    ]  # fmt: skip
    return {**record, "arms": arms, "times": times}


def _text(record: Record, entry: Entry) -> str:
    """How a picture names a build: its label, and what the step to it did."""
    label = entry.build if len(entry.build) <= LONGEST else f"{entry.build[: LONGEST - 1]}…"
    if entry.row is None or not entry.row.seconds:
        return f"{label}: no time"
    return label if entry.verdict is None else f"{label}: {said(record['verdicts'][entry.verdict])}"


def _picture(index: int, record: Record, entries: Sequence[Entry]) -> str:
    """The timeline of a cell; empty where no build has a time."""
    builds = [_build(record, entry) for entry in entries]
    return plots_versions.timeline(builds, f"timeline{index}") if any(b.centre for b in builds) else ""


def _build(record: Record, entry: Entry) -> plots_versions.Build:
    centre = entry.row.seconds if entry.row else None
    low, high = (entry.row.interval if entry.row else None) or (centre or 0.0, centre or 0.0)
    step = "" if entry.verdict is None else str(record["verdicts"][entry.verdict]["label"])
    return plots_versions.Build(_text(record, entry), centre, low, high, step)


def _drift_map(record: Record) -> dict[Cell, dict[tuple[str, str], int]]:
    """For each cell the index among the record's numbers of what each step, (old, new), did to them."""
    found: dict[Cell, dict[tuple[str, str], int]] = {}
    for i, number in enumerate(record["numbers"]):
        found.setdefault(cell_of(number), {})[number["old"], number["new"]] = i
    return found


def _attribution(one: Mapping[str, Any]) -> Attribution:
    divisions = (tuple(Part(**part) for part in one[name]) for name in ("parts", "kernels"))
    return Attribution(tuple(one["cell"]), one["old"], one["new"], *divisions)


def _kernels(record: Record) -> Record:
    """What builds said of their kernels; an older record holds nothing of it."""
    return dict(record.get("kernels") or {"said": [], "changes": []})


def _slowest_changes(record: Record) -> list[tuple[int, Record]]:
    """The exchanged kernels that matter most, with their places, by what a run gained or lost."""
    changes = list(enumerate(_kernels(record)["changes"]))
    return sorted(changes, key=lambda each: -abs(each[1]["seconds"][1] - each[1]["seconds"][0]))[:MOST_KERNELS]


def _libraries(record: Record, labels: Sequence[str]) -> dict[str, list[str]]:
    """Each library's file and digest in every build that was measured, of those that are not one file in all."""
    held = [next(b.get("libraries", {}) for b in record["builds"] if b["label"] == label) for label in labels]
    return {name: [str(each.get(name, "absent")) for each in held] for name in differing(held)}
