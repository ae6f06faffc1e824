"""A sweep over builds for the machines that run one: JUnit XML, a test a case, mode and step, and GitHub's annotations.

| speed, or numbers                  | JUnit   | GitHub    |
|------------------------------------|---------|-----------|
| slower, or changed                 | failure | ::error   |
| inconclusive, or incomparable      | skipped | ::warning |
| faster                             | passed  | ::notice  |
| equivalent; identical, or rounding | passed  | nothing   |

A build under which a check of the DDPM does not pass is a failure too, a test a build; one that could not be judged is
skipped. A step is both; the line that stands higher counts, and the message says all that put it there. Of single
operators only the numbers count (`versions_words.operators`). Other than in a comparison of two checkouts
(`announce.py`), what could not be compared is skipped: a build that has no number for a case is what a sweep is there
to show. Older steps are told as the newest one is; the exit code is about the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks import announce
from benchmarks.measurement import Record
from benchmarks.versions_words import NAMED, cell_of, operators, said

SPEED = {"slower": "failure", "inconclusive": "skipped", "incomparable": "skipped"}
NUMBERS = {"changed": "failure", "incomparable": "skipped"}
"""Label to the element of JUnit that says so; a label without one has passed."""

KINDS = {"failure": "error", "skipped": "warning"}
"""That element to GitHub's annotation."""


@dataclass(frozen=True)
class Step:
    """What a step did to the speed of a case and to its numbers."""

    verdict: Mapping[str, Any]
    numbers: Mapping[str, Any]
    judged: bool
    """whether its speed counts"""


def junit(record: Record) -> str:
    """A versions record as JUnit XML; no step at all is an error."""
    tests = [
        announce.test("versions", _name(step), _properties(step), (status, message) if status else None)
        for step in _steps(record)
        for status, message in [_status(step)]
    ]
    gates = [
        announce.test("versions", f"the DDPM under {gate['build']}", {}, _gate(gate))
        for gate in record.get("gates", ())
    ]
    return announce.document("versions", str(record["created"]), [*gates, *tests])


def _gate(gate: Record) -> tuple[str, str] | None:
    """What a build's gate is in JUnit, and why; None for a pass."""
    if gate["reason"]:
        return "skipped", str(gate["reason"])
    if gate["passed"] < gate["findings"]:
        return "failure", f"{gate['passed']} of {gate['findings']} checks pass; not {', '.join(gate['failed'])}"
    return None


def github(record: Record) -> list[str]:
    """A versions record as annotation lines of a GitHub workflow, one for each step that wants to be seen."""
    judged = [(gate, _gate(gate)) for gate in record.get("gates", ())]
    lines = [
        announce.annotation(KINDS[bad[0]], f"the DDPM under {gate['build']}", bad[1]) for gate, bad in judged if bad
    ]
    for step in _steps(record):
        status, message = _status(step)
        if status:
            lines.append(announce.annotation(KINDS[status], _name(step), message))
        elif step.judged and step.verdict["label"] == "faster":
            lines.append(announce.annotation("notice", _name(step), _speed(step)))
    if record["verdicts"]:
        return lines
    return [announce.annotation("warning", "ddpm-bench versions", announce.NOTHING)]


def _steps(record: Record) -> list[Step]:
    """Each verdict with what became of the numbers."""
    numbers = {(cell_of(number), number["new"]): number for number in record["numbers"]}
    absent, single = {"label": "incomparable", "why": "no outputs were kept"}, operators(record)
    return [Step(v, numbers.get((cell_of(v), v["new"]), absent), cell_of(v) not in single) for v in record["verdicts"]]


def _name(step: Step) -> str:
    case, device, mode = cell_of(step.verdict)
    return f"{case} ({device}, {mode}): {step.verdict['old']} to {step.verdict['new']}"


def _status(step: Step) -> tuple[str | None, str]:
    """The element of JUnit that a step is, None for a pass, and why."""
    label = step.numbers["label"]
    found = [(NUMBERS.get(label), f"outputs {label}: {step.numbers['why']}")]
    if step.judged:
        found.insert(0, (SPEED.get(step.verdict["label"]), _speed(step)))
    worst = next((status for status in KINDS if status in dict(found)), None)
    return worst, "; ".join(message for status, message in found if worst and status == worst)


def _speed(step: Step) -> str:
    size = f"{said(step.verdict)}, " if step.verdict["label"] in NAMED else ""
    return f"{step.verdict['label']}: {size}{step.verdict['why']}"


def _properties(step: Step) -> dict[str, object]:
    shown = {key: step.verdict.get(key) for key in announce.PROPERTIES}
    return {**shown, "outputs": step.numbers["label"], "ulps": step.numbers.get("ulps")}
