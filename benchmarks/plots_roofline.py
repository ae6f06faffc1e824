"""The report's roofline (Williams, Waterman and Patterson 2009): rate over arithmetic intensity, under measured peaks.

What a machine can reach at I operations a byte is min(P, B·I), P its peak in FLOP/s and B its bandwidth in bytes/s.
Both are measured here, never a data sheet's; without a bandwidth only P is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.canvas import INK, MARKERS, MUTED, SERIES, STYLE, WIDTH, legend, logarithmic, svg


@dataclass(frozen=True)
class Point:
    """Something timed: its intensity in FLOP/byte and its rate in FLOP/s, under the name of its `series`."""

    series: str
    intensity: float
    rate: float
    large: bool = False


def roofline(points: Sequence[Point], peaks: Mapping[str, float], bandwidth: float | None) -> str:
    """The `points` under the `peaks` in FLOP/s and the slope of `bandwidth` in bytes/s, both axes logarithmic."""
    order = list(dict.fromkeys(point.series for point in points))
    low, high = min(p.intensity for p in points) / 2, max(p.intensity for p in points) * 2
    with rc_context(STYLE):
        extra = 20 * ((len(order) + len(peaks) + 2) // 2)
        figure = Figure(figsize=(WIDTH / 72, (280 + extra) / 72), layout="constrained")
        axes = figure.subplots()
        x = np.geomspace(low, high, 60)
        for (name, peak), style in zip(peaks.items(), ("-", "--", ":", "-."), strict=False):
            roof = np.minimum(peak, bandwidth * x) if bandwidth else np.full_like(x, peak)
            axes.plot(x, roof / 1e9, style, color=MUTED, linewidth=1.5, label=name)
        for point in points:
            index = order.index(point.series) % len(SERIES)
            axes.plot(
                point.intensity, point.rate / 1e9, MARKERS[index], color=SERIES[index], label=point.series,
                markersize=10 if point.large else 5, markeredgecolor=INK if point.large else "none",
            )  # fmt: skip
        logarithmic(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
        axes.set_xlabel("FLOP a byte")
        axes.set_ylabel("GFLOP/s")
        axes.grid(visible=True, linewidth=0.5)
        legend(axes)
        return svg(figure, "roofline")
