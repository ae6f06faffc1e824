"""The wrong networks of `network_mutants.py` as whole subjects, in the one registry of mutants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verification.mutants import mutant
from verification.network_mutants import NETWORK_MUTANTS, NetworkMutant
from verification.reference import ReferenceSubject


def _subject(wrong: NetworkMutant) -> Callable[..., ReferenceSubject]:
    """The factory of the reference with this network."""

    def make(**choices: Any) -> ReferenceSubject:
        made = ReferenceSubject(**choices)
        made._use_network(wrong.make(dtype=made.dtype))
        return made

    return make


for _wrong in NETWORK_MUTANTS:
    mutant(_wrong.id, _wrong.sentence, (_wrong.killed_by,), network=True)(_subject(_wrong))
