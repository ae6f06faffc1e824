"""A stranger's reading of a picture: where its marks are, in the numbers that its own axis is labelled with.

Only the SVG as it stands on the page is used: labelled ticks give the scale, marks and strokes their places.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from xml.etree import ElementTree as ET

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
PIXEL = 0.16
"""A tenth of a pixel is kept, so a place may be off by half of that, and a tick by as much again."""


@dataclass(frozen=True)
class Picture:
    """One <svg> of a page."""

    root: ET.Element

    @classmethod
    def of(cls, page: str, name: str) -> Picture:
        """The picture called `name`; its variables of colour are no concern here."""
        found = re.search(rf'<svg [^>]*aria-label="{name}".*?</svg>', page, re.DOTALL)
        assert found, f"the page has no picture {name}"
        return cls(ET.fromstring(found[0]))  # noqa: S314 - this project's own page

    @cached_property
    def axes(self) -> ET.Element:
        """What is drawn within the axes, with their ticks."""
        return next(group for group in self.root.iter(f"{SVG}g") if group.get("id", "").endswith(".axes_1"))

    def ticks(self, axis: str = "x") -> list[tuple[float, float]]:
        """Place in pixels and number of every labelled tick."""
        found = []
        for group in self.axes.iter(f"{SVG}g"):
            text = group.find(f".//{SVG}text")
            if re.search(rf"\.{axis}tick_\d+$", group.get("id", "")) and text is not None and text.text:
                found.append((float(text.get(axis, "nan")), float(text.text.replace("−", "-"))))
        return found

    @cached_property
    def logarithmic(self) -> bool:
        """Whether equal distances are equal ratios: what the picture's title of the axis should say."""
        places, numbers = zip(*self.ticks(), strict=True)
        return min(numbers) > 0 and _straight(places, [math.log(number) for number in numbers])

    def place(self, number: float) -> float:
        """Where the horizontal axis has `number`, in pixels. Its labelled ticks have to agree with each other."""
        places, numbers = zip(*self.ticks(), strict=True)
        on = math.log if self.logarithmic else float
        values = [on(each) for each in numbers]
        assert _straight(places, values), f"ticks {numbers} are drawn at {places}"
        first, last = min(range(len(values)), key=values.__getitem__), max(range(len(values)), key=values.__getitem__)
        slope = (places[last] - places[first]) / (values[last] - values[first])
        return float(places[first] + slope * (on(number) - values[first]))

    @cached_property
    def marks(self) -> list[float]:
        """Horizontal places of all marks within the axes."""
        return [float(use.get("x", "nan")) for use in self._drawn("use")]

    @cached_property
    def strokes(self) -> list[tuple[float, float]]:
        """Left and right end of every horizontal stroke within the axes."""
        found = []
        for path in self._drawn("path"):
            line = re.fullmatch(r"M ?(\S+) (\S+) L (\S+) (\S+)", path.get("d", "").strip())
            if line and line[2] == line[4]:
                found.append((float(line[1]), float(line[3])))
        return found

    @cached_property
    def bars(self) -> list[tuple[float, float]]:
        """Left and right end of every filled rectangle within the axes."""
        found = []
        for path in self._drawn("path"):
            box = re.fullmatch(r"M (\S+) (\S+) L (\S+) \2 L \3 (\S+) L \1 \4 z", path.get("d", "").strip())
            if box and "fill: var(--series" in path.get("style", ""):
                found.append((float(box[1]), float(box[3])))
        return found

    def _drawn(self, tag: str) -> Iterator[ET.Element]:
        """The elements within the axes that belong to no tick and are no definition."""
        aside = {
            inner
            for group in self.axes.iter()
            if re.search(r"axis_\d$|legend", group.get("id", "")) or group.tag == f"{SVG}defs"
            for inner in group.iter()
        }
        return (element for element in self.axes.iter(f"{SVG}{tag}") if element not in aside)


def _straight(places: tuple[float, ...], values: list[float]) -> bool:
    """Whether all are on one line, as far as a tenth of a pixel tells."""
    first, last = min(range(len(values)), key=values.__getitem__), max(range(len(values)), key=values.__getitem__)
    slope = (places[last] - places[first]) / (values[last] - values[first])
    return all(
        abs(places[first] + slope * (v - values[first]) - p) <= PIXEL for p, v in zip(places, values, strict=True)
    )


def missing(wanted: list[float], there: list[float]) -> list[float]:
    """The places among those `wanted` at which nothing is drawn; each mark counts once."""
    left, absent = sorted(there), []
    for place in sorted(wanted):
        near = next((other for other in left if abs(other - place) <= PIXEL), None)
        if near is None:
            absent.append(place)
        else:
            left.remove(near)
    return absent
