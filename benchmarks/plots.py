"""The report's pictures of rows: errors over bounds, times with intervals, rates, compile split, every timed call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context

from benchmarks.canvas import (
    BAD,
    GOOD,
    GRID,
    MARKERS,
    MUTED,
    SERIES,
    STYLE,
    legend,
    logarithmic,
    name_row,
    name_rows,
    row_axes,
    svg,
)


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
    with rc_context(STYLE):
        figure, axes = row_axes(len(labels), row_height=16)
        for row, (value, bad) in enumerate(zip(values, failed, strict=True)):
            x = float(np.clip(np.nan_to_num(value, nan=ceiling), floor, ceiling))
            axes.plot([floor, x], [row, row], color=GRID, linewidth=1)
            axes.plot(x, row, "X" if bad else "o", color=BAD if bad else GOOD, markersize=7 if bad else 5)
        axes.axvline(1.0, color=BAD, linewidth=1)
        logarithmic(axes)
        axes.set_xlim(floor / 2, ceiling)
        axes.set_xticks([1e-6, 1e-4, 1e-2, 1])
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("error / bound (fails right of the line)")
        return svg(figure, "ratios")


def intervals(rows: Sequence[Interval], unit: str) -> str:
    """Medians with intervals, one row each, on a logarithmic axis in `unit`; ticks are single processes."""
    order = list(dict.fromkeys(row.series for row in rows))
    with rc_context(STYLE):
        figure, axes = row_axes(len(rows), row_height=36)
        for y, row in enumerate(rows):
            index = order.index(row.series) % len(SERIES)
            colour, marker = SERIES[index], MARKERS[index]
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(row.points, [y] * len(row.points), "|", color=colour, markersize=10)
            axes.plot(row.centre, y, marker, color=colour, markersize=7, label=row.series)
        logarithmic(axes)
        name_rows(axes, [row.label for row in rows])
        axes.set_xlabel(unit)
        axes.grid(visible=True, axis="x", linewidth=0.5)
        legend(axes)
        return svg(figure, "intervals")


def stacked(labels: Sequence[str], parts: Mapping[str, Sequence[float]], unit: str, name: str = "stacked") -> str:
    """What a total is made of: stacked bars, one row a label, one colour a part."""
    with rc_context(STYLE):
        figure, axes = row_axes(len(labels), row_height=36, extra=60 + 20 * ((len(parts) + 1) // 2))
        left = np.zeros(len(labels))
        for (part, values), colour in zip(parts.items(), SERIES, strict=False):
            axes.barh(range(len(labels)), values, left=left, height=0.32, color=colour, label=part)
            left = left + np.asarray(values)
        name_rows(axes, list(labels))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel(unit)
        axes.grid(visible=True, axis="x", linewidth=0.5)
        axes.set_axisbelow(True)
        legend(axes)
        return svg(figure, name)


def bars(labels: Sequence[str], values: Sequence[float], peaks: Mapping[str, float], unit: str) -> str:
    """Arithmetic rates as bars in `unit`, with the measured `peaks` of the machine as labelled lines."""
    with rc_context(STYLE):
        figure, axes = row_axes(len(labels), row_height=36)
        axes.barh(range(len(labels)), values, height=0.32, color=SERIES[0])
        for (name, peak), colour, style in zip(peaks.items(), SERIES[1:], ("--", ":", "-."), strict=False):
            axes.axvline(peak, color=colour, linestyle=style, linewidth=1.5, label=name)
        name_rows(axes, list(labels))
        axes.set_xlim(left=0)
        axes.set_xlabel(unit)
        legend(axes)
        return svg(figure, "bars")


def spread(labels: Sequence[str], samples: Sequence[Sequence[Sequence[float]]]) -> str:
    """Every steady call over the median of its row, a tick a call, a line of ticks a process, its median a dot.

    The axis ends at half and at twice the median; a call beyond is drawn at the edge.
    """
    heights = [22 + 9 * len(processes) for processes in samples]
    tops = np.cumsum([0, *heights[:-1]])
    with rc_context(STYLE):
        figure, axes = row_axes(1, row_height=float(sum(heights)))
        axes.set_ylim(float(sum(heights)), 0)
        for label, top, processes in zip(labels, tops, samples, strict=True):
            centre = float(np.median(np.concatenate([np.asarray(process) for process in processes])))
            name_row(axes, float(top) + 16, label)
            for index, process in enumerate(processes):
                y, relative = float(top) + 22 + 9 * index, np.clip(np.asarray(process) / centre, 0.5, 2.0)
                colour = SERIES[index % 2]
                x = np.column_stack([relative, relative, np.full(len(relative), np.nan)]).ravel()
                axes.plot(x, np.tile([y - 3, y + 3, np.nan], len(relative)), color=colour, linewidth=0.8)
                axes.plot(float(np.median(relative)), y, "o", color=colour, markersize=4)
        axes.axvline(1.0, color=MUTED, linewidth=0.8)
        logarithmic(axes)
        axes.set_xlim(0.48, 2.1)
        axes.set_xticks([0.5, 0.7, 1, 1.4, 2])
        axes.set_xticks([], minor=True)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("single call / median of its row")
        return svg(figure, "spread")
