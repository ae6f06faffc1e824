"""The picture of one case over builds: a row each, the oldest on top, its time with interval, and what its step did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from benchmarks.canvas import BAD, GOOD, GRID, SERIES, STYLE, logarithmic, name_row, row_axes, svg

COLOURS = {"slower": BAD, "faster": GOOD}
MARKERS = {"slower": ">", "faster": "<"}
"""A step points to where it leads, so that nothing hangs on telling red from green."""

WIDE = 3.0
"""Slowest over fastest build from which on the axis is logarithmic."""


LEAST = 0.05
"""Share of the time to either side that a picture shows at least: builds that are as fast look so."""


@dataclass(frozen=True)
class Build:
    """One build's time of the case: `centre` with `low` … `high` in seconds, and the step to it."""

    text: str
    """label and step, or why there is no time"""
    centre: float | None
    low: float
    high: float
    step: str
    """label of the verdict, "" for the oldest build"""


def timeline(builds: Sequence[Build], name: str) -> str:
    """A row a build; `name` tells this picture's identifiers from those of others. At least one build has a time."""
    timed = [(y, b, b.centre) for y, b in enumerate(builds) if b.centre is not None]
    slowest, fastest = (extreme(centre for _, _, centre in timed) for extreme in (max, min))
    scale, unit = next(((s, u) for s, u in ((1.0, "s"), (1e-3, "ms")) if fastest >= s), (1e-6, "µs"))
    with rc_context(STYLE):
        figure, axes = row_axes(len(builds), row_height=38)
        way = [nan if build.centre is None else build.centre / scale for build in builds]  # broken where there is none
        axes.plot(way, range(len(builds)), color=GRID, linewidth=1.5)
        for y, build, centre in timed:
            colour, marker = COLOURS.get(build.step, SERIES[0]), MARKERS.get(build.step, "o")
            axes.plot([build.low / scale, build.high / scale], [y, y], color=colour, linewidth=3)
            axes.plot(centre / scale, y, marker, color=colour, markersize=8)
        if slowest > WIDE * fastest:
            logarithmic(axes)
        else:
            middle = (slowest * fastest) ** 0.5 / scale
            axes.plot([middle * (1 - LEAST), middle * (1 + LEAST)], [0, 0], alpha=0)  # nothing is seen but the width
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.margins(x=0.06)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        for y, build in enumerate(builds):
            name_row(axes, y - 0.22, build.text)
        axes.set_xlabel(f"{unit} a call" + (" (logarithmic)" if slowest > WIDE * fastest else ""))
        axes.grid(visible=True, axis="x", linewidth=0.5)
        return svg(figure, name)
