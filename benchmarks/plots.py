"""The report's pictures: inline SVG whose colours follow the page, light, dark or printed.

Matplotlib draws with stand-in colours; `_svg` replaces each by a CSS variable of the page, so one picture
serves both colour schemes. Figures are 400 CSS pixels wide at their natural size, the width of a phone, and are
only ever enlarged: their text stays readable at every width. Series are told apart by shape as well as by hue.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

_WIDTH = 400 / 72  # matplotlib's SVG unit is the point, which the page shows as one CSS pixel

INK, MUTED, GRID, GOOD, BAD = "#010101", "#020202", "#030303", "#040404", "#050505"
SERIES = ("#060601", "#060602", "#060603", "#060604")
_MARKERS = ("o", "s", "^", "D")
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", GOOD: "--good", BAD: "--bad",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)},
}  # fmt: skip

_STYLE: dict[Any, Any] = {  # Matplotlib types the names of its settings one by one
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot: `centre` with `low` … `high`, and the `points` behind them, in one unit."""

    label: str
    series: str
    centre: float
    low: float
    high: float
    points: tuple[float, ...]


def ratios(labels: Sequence[str], values: Sequence[float], failed: Sequence[bool]) -> str:
    """Error over bound for every check on a logarithmic axis; the line at 1 is where a check fails.

    `values`: the ratios, dimensionless; zero (bit equality) is drawn at the left edge, what is not finite at the right.
    """
    floor, ceiling = 1e-6, 1e2
    with rc_context(_STYLE):
        figure, axes = _rows(len(labels), row_height=13)
        for row, (value, bad) in enumerate(zip(values, failed, strict=True)):
            x = float(np.clip(np.nan_to_num(value, nan=ceiling), floor, ceiling))
            axes.plot([floor, x], [row, row], color=GRID, linewidth=1)
            axes.plot(x, row, "X" if bad else "o", color=BAD if bad else GOOD, markersize=6 if bad else 4)
        axes.axvline(1.0, color=BAD, linewidth=1)
        _logarithmic(axes)
        axes.set_xlim(floor / 2, ceiling)
        axes.set_yticks(range(len(labels)), labels, fontsize=9)
        axes.set_xlabel("largest error / derived bound (fails right of 1)")
        return _svg(figure, "ratios")


def intervals(rows: Sequence[Interval], unit: str) -> str:
    """Medians with intervals, one row each, on a logarithmic axis in `unit`; ticks are single processes."""
    order = list(dict.fromkeys(row.series for row in rows))
    with rc_context(_STYLE):
        figure, axes = _rows(len(rows), row_height=22)
        for y, row in enumerate(rows):
            index = order.index(row.series) % len(SERIES)
            colour, marker = SERIES[index], _MARKERS[index]
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(row.points, [y] * len(row.points), "|", color=colour, markersize=9)
            axes.plot(row.centre, y, marker, color=colour, markersize=6, label=row.series)
        _logarithmic(axes)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=9)
        axes.set_xlabel(unit)
        axes.grid(visible=True, axis="x", linewidth=0.5)
        _legend(axes)
        return _svg(figure, "intervals")


def stacked(labels: Sequence[str], parts: Mapping[str, Sequence[float]], unit: str) -> str:
    """Where the time before the first result goes: stacked bars, one row a case, one colour a part."""
    with rc_context(_STYLE):
        figure, axes = _rows(len(labels), row_height=22)
        left = np.zeros(len(labels))
        for (name, values), colour in zip(parts.items(), SERIES, strict=False):
            axes.barh(range(len(labels)), values, left=left, height=0.6, color=colour, label=name)
            left = left + np.asarray(values)
        axes.set_yticks(range(len(labels)), labels, fontsize=9)
        axes.set_xlabel(unit)
        axes.grid(visible=True, axis="x", linewidth=0.5)
        _legend(axes)
        return _svg(figure, "stacked")


def bars(labels: Sequence[str], values: Sequence[float], peaks: Mapping[str, float], unit: str) -> str:
    """Arithmetic rates as bars in `unit`, with the measured `peaks` of the machine as labelled lines."""
    with rc_context(_STYLE):
        figure, axes = _rows(len(labels), row_height=22)
        axes.barh(range(len(labels)), values, height=0.6, color=SERIES[0])
        for (name, peak), colour, style in zip(peaks.items(), SERIES[1:], ("--", ":", "-."), strict=False):
            axes.axvline(peak, color=colour, linestyle=style, linewidth=1.5, label=name)
        axes.set_yticks(range(len(labels)), labels, fontsize=9)
        axes.set_xlim(left=0)
        axes.set_xlabel(unit)
        if peaks:
            _legend(axes)
        return _svg(figure, "bars")


def spread(labels: Sequence[str], samples: Sequence[Sequence[Sequence[float]]]) -> str:
    """Every steady call over the median of its row: one line of dots for each process of each row."""
    with rc_context(_STYLE):
        figure, axes = _rows(len(labels), row_height=24)
        for y, processes in enumerate(samples):
            centre = float(np.median(np.concatenate([np.asarray(process) for process in processes])))
            offsets = np.linspace(-0.25, 0.25, len(processes)) if len(processes) > 1 else [0.0]
            for index, (process, offset) in enumerate(zip(processes, offsets, strict=True)):
                relative = np.asarray(process) / centre
                axes.plot(relative, np.full(relative.shape, y + offset), ".", markersize=4,
                          color=SERIES[index % len(SERIES)])  # fmt: skip
        axes.axvline(1.0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(labels)), labels, fontsize=9)
        axes.set_xlabel("single call / median of its row")
        return _svg(figure, "spread")


def _rows(count: int, *, row_height: float) -> tuple[Figure, Axes]:
    """A figure of phone width with `count` rows of `row_height` CSS pixels, the first on top."""
    figure = Figure(figsize=(_WIDTH, (count * row_height + 70) / 72), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(count - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _logarithmic(axes: Axes) -> None:
    """A logarithmic horizontal axis labelled in plain numbers (Matplotlib's own labels are formulae)."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes) -> None:
    """A legend above the rows, each series named once."""
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    axes.figure.legend(once.values(), once.keys(), loc="outside upper left", ncols=2, fontsize=9)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element: no prologue, no date, the page's colour variables, identifiers of its own."""
    buffer = io.StringIO()
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
