"""Wrong DDPMs, each the reference wrong in one way, with the checks that must notice.

`planted("M13")` is the subject; the numbers are those of the catalogue of mistakes seen in public code, and where one
is planted in two forms the second has a "b". `P` numbers are our own.
"""

from __future__ import annotations

from typing import Any

import planted_samplers
import planted_tables
import planted_training
from planting import PLANTED

from verification.reference import ReferenceSubject

__all__ = ["PLANTED", "planted"]

SEEDBEDS = (planted_tables, planted_samplers, planted_training)  # importing them plants


def planted(number: str, **choices: Any) -> ReferenceSubject:
    """The mutant `number`, with further choices of `ReferenceSubject`."""
    entry = PLANTED[number]
    return entry.subject(**{**entry.choices, **choices})
