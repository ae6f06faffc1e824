"""What the pages share: templates that escape whatever they show and refuse what is not there, and how they quote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from benchmarks.formats import number, seconds, size
from benchmarks.marks import mark
from benchmarks.measurement import Record


def environment(records: Sequence[Record]) -> jinja2.Environment:
    """Templates of a page that embeds `records`: filters for numbers, and `mark`, `at` and `constant` (`marks.py`)."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("benchmarks"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    found.filters.update(seconds=seconds, number=number, size=size)
    found.globals.update(mark=mark, at=_quoting(records), constant=_constant)
    return found


def _quoting(records: Sequence[Record]) -> Callable[..., Markup]:
    """What the template prints a value of a record with: its path, and how to write it where it is a number."""

    def at(index: int, *path: Any, write: Callable[[Any], str] = str) -> Markup:
        value: Any = records[index]
        for key in path:
            value = value[key]
        return mark(write(value), "at", index, *path)

    return at


def _constant(text: str, name: str) -> Markup:
    return mark(text, "constant", name)
