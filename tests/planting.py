"""The register of planted mistakes; see `planted.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verification.reference import ReferenceSubject


@dataclass(frozen=True)
class Planted:
    """A mistake: the subject that makes it, what it is, and the obligations whose checks must fail because of it."""

    subject: type[ReferenceSubject]
    mistake: str
    killed_by: tuple[str, ...]
    choices: dict[str, Any]


PLANTED: dict[str, Planted] = {}


def plant(
    number: str, mistake: str, killed_by: tuple[str, ...], **choices: Any
) -> Callable[[type[ReferenceSubject]], type[ReferenceSubject]]:
    """Register a class as the mutant `number`, made with `choices`."""

    def register(subject: type[ReferenceSubject]) -> type[ReferenceSubject]:
        assert number not in PLANTED, number
        PLANTED[number] = Planted(subject, mistake, killed_by, choices)
        return subject

    return register
