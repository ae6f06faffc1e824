"""Which pictures a report has: each from the records alone, and empty where they hold nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import breakdown, plots, plots_roofline, plots_timeline
from benchmarks.canvas import SERIES
from benchmarks.content import Page
from benchmarks.measurement import Record
from benchmarks.summary import Row, bandwidth, products

NAMES = ("ratios", "intervals", "stacked", "spread", "bars", "timeline", "roofline", "layers")


def pictures(content: Page, checks: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The page's plots as SVG by name; `checks` are the findings nearest their bounds."""
    drawn = dict.fromkeys(NAMES, "")
    judged = {name: found for name, found in checks.items() if found["ratio"] is not None}
    if judged:
        ratios = [float(found["ratio"]) for found in judged.values()]
        drawn["ratios"] = plots.ratios(list(judged), ratios, [f["status"] != "passed" for f in judged.values()])
    small = content.operators
    timed = [row for row in content.rows if row.seconds and row not in small]
    if content.bench and timed:
        drawn |= _of_rows(content.bench, timed)
    if content.bench and content.bench.get("layers"):
        drawn |= _of_layers(content.bench)
    if content.history and content.history["lines"]:
        drawn["timeline"] = _timeline(content.history)
    return drawn


def _of_rows(bench: Record, timed: Sequence[Row]) -> dict[str, str]:
    labels = [row.label for row in timed]
    drawn = {
        "intervals": plots.intervals([_interval(row) for row in timed], "seconds a call (logarithmic)"),
        "stacked": _split(bench, timed),
        "spread": plots.spread(labels, [row.rounds for row in timed]),
    }
    counted = [row for row in timed if row.flops_per_second]
    if counted:
        peaks = {name: peak / 1e9 for name, peak in products(bench.get("peaks", {})).items()}
        values = [float(row.flops_per_second or 0.0) / 1e9 for row in counted]
        drawn["bars"] = plots.bars([row.label for row in counted], values, peaks, "GFLOP/s")
    return drawn


def _interval(row: Row) -> plots.Interval:
    low, high = row.interval or (min(row.processes), max(row.processes))
    return plots.Interval(row.case, f"{row.device} {row.mode}", float(row.seconds or np.nan), low, high, row.processes)


def _split(bench: Record, timed: Sequence[Row]) -> str:
    lives = breakdown.splits(bench)
    if lives:
        parts = {part: [life[part] for life in lives.values()] for part in breakdown.PARTS}
        return plots.stacked(list(lives), parts, "seconds of a worker's life")
    parts = {
        "import": [row.import_seconds or 0.0 for row in timed],
        "compile, set-up": [row.compile_seconds or 0.0 for row in timed],
        "one call": [row.seconds or 0.0 for row in timed],
    }
    return plots.stacked([row.label for row in timed], parts, "seconds until the first result")


def _of_layers(bench: Record) -> dict[str, str]:
    rows = breakdown.layers(bench)
    totals = breakdown.by_kind(rows)
    summed = {kind: sum(t.get(kind, 0.0) for t in totals.values()) for kind in {row.kind for row in rows}}
    order = sorted(summed, key=lambda kind: -summed[kind])
    shown, rest = order[: len(SERIES) - 1], order[len(SERIES) - 1 :]
    parts = {kind: [1e3 * total.get(kind, 0.0) for total in totals.values()] for kind in shown}
    if rest:
        parts["other kinds"] = [1e3 * sum(total.get(kind, 0.0) for kind in rest) for total in totals.values()]
    drawn = {"layers": plots.stacked(list(totals), parts, "milliseconds a call", "layers")}
    points = _points(rows, shown)
    if points:
        peaks = products(bench.get("peaks", {}))
        drawn["roofline"] = plots_roofline.roofline(points, peaks, bandwidth(bench.get("peaks", {})))
    return drawn


def _points(rows: Sequence[breakdown.LayerRow], shown: Sequence[str]) -> list[plots_roofline.Point]:
    """A point a layer, and a large one a case, of all its layers that count their bytes."""
    counted = [row for row in rows if row.intensity and row.rate]
    points = [
        plots_roofline.Point(row.kind if row.kind in shown[:5] else "other kinds", row.intensity or 0, row.rate or 0)
        for row in counted
    ]
    for owner in dict.fromkeys((row.case, row.where) for row in counted):
        own = [row for row in counted if (row.case, row.where) == owner]
        flops, moved = (sum(getattr(row, name) for row in own) for name in ("flops", "bytes"))
        points.append(
            plots_roofline.Point("whole case", flops / moved, flops / sum(row.seconds for row in own), large=True)
        )
    return points


def _timeline(history: Record) -> str:
    sessions = history["sessions"]
    lines = [
        plots_timeline.Line(
            label=f"{line['cell'][0]} {line['cell'][2]}",
            sessions=tuple(line["sessions"]),
            values=tuple(_values(sessions[i], line["cell"]) for i in line["sessions"]),
            steps=tuple(line["sessions"].index(step["session"]) for step in line["steps"]),
        )
        for line in history["lines"]
    ]
    return plots_timeline.timeline(lines, str(sessions[0]["created"])[:10], str(sessions[-1]["created"])[:10])


def _values(session: Record, cell: list[str]) -> tuple[float, ...]:
    return next(tuple(entry["values"]) for entry in session["cells"] if entry["cell"] == cell)
