"""What every picture of the report shares: its size, its colours, its labels, and how it becomes inline SVG.

Matplotlib draws with stand-in colours; `svg` replaces each by a CSS variable of the page, so one picture serves light,
dark and print. Pictures are 340 CSS pixels wide at their natural size, what a phone leaves between the margins, and are
only ever enlarged: their text is never smaller than 12 pixels. Hues are Okabe and Ito's (2008), darkened or lightened
for contrast; series differ by shape as well.
"""

from __future__ import annotations

import io
import re
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

WIDTH = 340
"""Of a picture in Matplotlib's unit for SVG, the point, which the page shows as at least one CSS pixel."""

INK, MUTED, GRID, GOOD, BAD, CARD = "#010101", "#020202", "#030303", "#040404", "#050505", "#070707"
SERIES = ("#060601", "#060602", "#060603", "#060604", "#060605", "#060606", "#060607", "#060608")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", GOOD: "--good", BAD: "--bad",
    CARD: "--card",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)},
}  # fmt: skip

STYLE: dict[Any, Any] = {  # Matplotlib types the names of its settings one by one
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 12.0,
    "font.sans-serif": ["DejaVu Sans"],  # what text is measured with; the page's own font is as wide or narrower
    "legend.fontsize": 12.0,
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


def row_axes(count: int, *, row_height: float, extra: float = 70) -> tuple[Figure, Axes]:
    """A figure with `count` rows of `row_height` CSS pixels, the first on top, and `extra` pixels around."""
    figure = Figure(figsize=(WIDTH / 72, (count * row_height + extra) / 72), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(count - 0.5, -0.65)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def name_rows(axes: Axes, labels: list[str]) -> None:
    """Write each label above its row, from the left edge: long names leave the whole width to the data."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for y, label in enumerate(labels):
        name_row(axes, y - 0.22, label)


def name_row(axes: Axes, y: float, label: str) -> None:
    """Write `label` from the left edge with its foot at `y`, on top of any line that crosses it."""
    ground = {"facecolor": CARD, "edgecolor": "none", "pad": 0.5}
    axes.text(0, y, label, transform=axes.get_yaxis_transform(), va="bottom", ha="left", bbox=ground, zorder=5)


def logarithmic(axes: Axes) -> None:
    """A logarithmic horizontal axis labelled in plain numbers (Matplotlib's own labels are formulae)."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < 100 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def legend(axes: Axes) -> None:
    """A legend above the picture, each series named once."""
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    if once:
        axes.figure.legend(
            once.values(), once.keys(), loc="outside upper left", ncols=2, columnspacing=1.0, handlelength=1.4
        )


def svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element: no prologue, no date, the page's colour variables, identifiers of its own.

    Coordinates keep a tenth of a pixel.
    """
    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r'(?<= d=")[^"]*', lambda path: _rounded(path[0]), text)
    text = re.sub(r'(?<= [xy]=")-?\d+\.\d+', lambda place: f"{float(place[0]):.1f}", text)
    text = re.sub(r"\n\s*", "\n", text)
    text = re.sub(r'\bid="((?!x_|y_)[^"]*)"', rf'id="{name}.\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}.", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)


def _rounded(path: str) -> str:
    """Path data with a tenth of a pixel and single spaces, vertical strokes written as such."""
    text = " ".join(re.sub(r"(-?\d+\.\d)\d+", r"\1", path).split())
    return re.sub(r"M (\S+) (\S+) L \1 (\S+)", r"M\1 \2V\3", text)
