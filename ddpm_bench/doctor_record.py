"""What the doctor says: a diagnosis, a list of them as a record, and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, Literal

from rich.table import Table
from rich.text import Text

Severity = Literal["ok", "note", "trap", "broken", "unavailable"]
"""ok: as it should be; note: worth knowing; trap: misleads whoever does not know it; broken: MindSpore cannot be used
like this; unavailable: not on this machine. Only "broken" is a failure."""

COLOURS: Final[dict[Severity, str]] = {
    "ok": "green",
    "note": "cyan",
    "trap": "yellow",
    "broken": "bold red",
    "unavailable": "bright_black",
}

SCHEMA: Final = 1
"""Of the record: 1 is {"schema", "kind", "created", "diagnoses": [`Diagnosis.as_record()`]}."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was tried, and what came of it."""

    name: str
    severity: Severity
    found: str
    """one sentence"""
    remedy: str = ""
    """what to do, one sentence; empty where nothing is to be done"""
    data: Mapping[str, Any] = field(default_factory=dict)
    """the figures behind `found`, as JSON can hold them"""

    def as_record(self) -> dict[str, Any]:
        """The diagnosis as JSON can hold it."""
        return {
            "name": self.name,
            "severity": self.severity,
            "found": self.found,
            "remedy": self.remedy,
            "data": dict(self.data),
        }


def record(diagnoses: Iterable[Diagnosis]) -> dict[str, Any]:
    """The diagnoses as one JSON document."""
    return {
        "schema": SCHEMA,
        "kind": "doctor",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "diagnoses": [diagnosis.as_record() for diagnosis in diagnoses],
    }


def table(diagnoses: Iterable[Diagnosis]) -> Table:
    """The diagnoses for a terminal: one row each, the remedy under what was found."""
    result = Table(show_lines=True)
    for heading in ("tried", "state", "found, and what to do"):
        result.add_column(heading, overflow="fold")
    for diagnosis in diagnoses:
        text = diagnosis.found + (f"\n→ {diagnosis.remedy}" if diagnosis.remedy else "")
        # Text, not markup: what MindSpore says is full of brackets.
        result.add_row(diagnosis.name, Text(diagnosis.severity, COLOURS[diagnosis.severity]), Text(text))
    return result
