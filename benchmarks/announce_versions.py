"""A sweep over builds for the machines that run one: JUnit XML, a test a case, mode and step, and GitHub's annotations.

| speed, or numbers                  | JUnit   | GitHub    |
|------------------------------------|---------|-----------|
| slower, or changed                 | failure | ::error   |
| inconclusive, or incomparable      | skipped | ::warning |
| faster                             | passed  | ::notice  |
| equivalent; identical, or rounding | passed  | nothing   |

A step is both; the line that stands higher counts, and the message says all that put it there. Other than in a
comparison of two checkouts (`announce.py`), what could not be compared is skipped: a build that has no number for a
case is what a sweep is there to show. Older steps are told as the newest one is; the exit code is about the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import announce
from benchmarks.measurement import Record
from benchmarks.versions_words import NAMED, cell_of, said

SPEED = {"slower": "failure", "inconclusive": "skipped", "incomparable": "skipped"}
NUMBERS = {"changed": "failure", "incomparable": "skipped"}
"""Label to the element of JUnit that says so; a label without one has passed."""

KINDS = {"failure": "error", "skipped": "warning"}
"""That element to GitHub's annotation."""

Step = tuple[Mapping[str, Any], Mapping[str, Any]]
"""What a step did to the speed of a case and to its numbers: a verdict, and an entry of "numbers"."""


def junit(record: Record) -> str:
    """A versions record as JUnit XML; no step at all is an error."""
    tests = [
        announce.test("versions", _name(step), _properties(step), (status, message) if status else None)
        for step in _steps(record)
        for status, message in [_status(step)]
    ]
    return announce.document("versions", str(record["created"]), tests)


def github(record: Record) -> list[str]:
    """A versions record as annotation lines of a GitHub workflow, one for each step that wants to be seen."""
    lines = []
    for step in _steps(record):
        status, message = _status(step)
        if status:
            lines.append(announce.annotation(KINDS[status], _name(step), message))
        elif step[0]["label"] == "faster":
            lines.append(announce.annotation("notice", _name(step), _speed(step)))
    if record["verdicts"]:
        return lines
    return [announce.annotation("warning", "ddpm-bench versions", announce.NOTHING)]


def _steps(record: Record) -> list[Step]:
    """Each verdict with what became of the numbers."""
    numbers = {(cell_of(number), number["new"]): number for number in record["numbers"]}
    absent = {"label": "incomparable", "why": "no outputs were kept"}
    return [(v, numbers.get((cell_of(v), v["new"]), absent)) for v in record["verdicts"]]


def _name(step: Step) -> str:
    verdict, _ = step
    case, device, mode = cell_of(verdict)
    return f"{case} ({device}, {mode}): {verdict['old']} to {verdict['new']}"


def _status(step: Step) -> tuple[str | None, str]:
    """The element of JUnit that a step is, None for a pass, and why."""
    verdict, numbers = step
    found = [
        (SPEED.get(verdict["label"]), _speed(step)),
        (NUMBERS.get(numbers["label"]), f"outputs {numbers['label']}: {numbers['why']}"),
    ]
    worst = next((status for status in KINDS if status in dict(found)), None)
    return worst, "; ".join(message for status, message in found if worst and status == worst)


def _speed(step: Step) -> str:
    verdict, _ = step
    size = f"{said(verdict)}, " if verdict["label"] in NAMED else ""
    return f"{verdict['label']}: {size}{verdict['why']}"


def _properties(step: Step) -> dict[str, object]:
    verdict, numbers = step
    shown = {key: verdict.get(key) for key in announce.PROPERTIES}
    return {**shown, "outputs": numbers["label"], "ulps": numbers.get("ulps")}
