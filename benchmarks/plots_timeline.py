"""The report's picture of a history: for each cell its time over sessions, with the steps that were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.canvas import BAD, SERIES, STYLE, WIDTH, svg

_PANEL = 96
"""Height of a cell's panel in CSS pixels."""


@dataclass(frozen=True)
class Line:
    """One cell over the sessions that have it: seconds, and the indices at which a new level begins."""

    label: str
    sessions: tuple[int, ...]
    """index of each point's session"""
    values: tuple[tuple[float, ...], ...]
    """the processes' values of each session"""
    steps: tuple[int, ...]
    """indices into `sessions`"""


def timeline(lines: Sequence[Line], first: str, last: str) -> str:
    """One panel a cell: time over the median of all sessions, ticks single processes, a vertical line a step.

    `first` and `last` name the sessions at both ends.
    """
    end = max(max(line.sessions) for line in lines)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, (_PANEL * len(lines) + 40) / 72), layout="constrained")
        panels = figure.subplots(len(lines), 1, sharex=True, squeeze=False)[:, 0]
        for axes, line in zip(panels, lines, strict=True):
            middles = np.array([np.exp(np.mean(np.log(values))) for values in line.values])
            centre = float(np.median(middles))
            for x, values in zip(line.sessions, line.values, strict=True):
                axes.plot([x] * len(values), np.asarray(values) / centre, "_", color=SERIES[0], markersize=6)
            axes.plot(line.sessions, middles / centre, "o-", color=SERIES[0], markersize=4, linewidth=1)
            for step in line.steps:
                axes.axvline(line.sessions[step] - 0.5, color=BAD, linewidth=1.5, linestyle="--")
            axes.set_title(line.label, loc="left", fontsize=12)
            axes.locator_params(axis="y", nbins=3)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.grid(visible=True, axis="y", linewidth=0.5)
        panels[-1].set_xlim(-0.5, end + 0.5)
        panels[-1].set_xticks([0, end], [first, last])
        for label, side in zip(panels[-1].get_xticklabels(), ("left", "right"), strict=True):
            label.set_horizontalalignment(side)
        return svg(figure, "timeline")
