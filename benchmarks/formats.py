"""Numbers as a person reads them: three digits and a unit. Shared by page, Markdown and terminal."""

from __future__ import annotations

import math


def seconds(value: float | None) -> str:
    """A duration with its unit and three digits: 563 ms, 1.65 s."""
    if value is None:
        return "n/a"
    if value < 0:
        return f"-{seconds(-value)}"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{number(value / 1e-9)} ns"


def number(value: float | str | None) -> str:
    """Three significant digits, without an exponent where a person would not write one; records write inf as text."""
    if value is None:
        return "n/a"
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def size(value: float | None) -> str:
    """Bytes with a binary unit: 1.9 GiB."""
    if value is None:
        return "n/a"
    for scale, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{value:.0f} B"
