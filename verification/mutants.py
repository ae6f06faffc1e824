"""Wrong DDPMs, each the reference wrong in one way, with the checks that must notice.

A check that none of them trips has not been seen to work. `load_mutants()["M13"].make()` is the subject. The numbers M
are those of the catalogue of mistakes seen in public code; where one is planted in two forms the second has a "b". `P`
numbers are our own, `N` numbers those of networks (`network_mutants.py`), `Q` numbers those of execution, and names
with a colon, such as "q_sample.x_0:squared", are made from tables of methods and operators.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, TypeVar

import verification
from verification.reference import ReferenceSubject

Factory = TypeVar("Factory", bound=Callable[..., ReferenceSubject])


@dataclass(frozen=True)
class Mutant:
    """A mistake: its `id`, what it is in a few words, and the checks or obligations that must fail because of it.

    `factory` makes the subject, with `choices` that bring the mistake out.
    """

    id: str
    mistake: str
    killed_by: tuple[str, ...]
    factory: Callable[..., ReferenceSubject]
    choices: dict[str, Any]

    def make(self, **choices: Any) -> ReferenceSubject:
        """The wrong subject, with further choices of `ReferenceSubject`."""
        return self.factory(**{**self.choices, **choices})

    def right(self) -> ReferenceSubject:
        """The same subject without the mistake: by default the reference with these choices."""
        made: ReferenceSubject = getattr(self.factory, "right", ReferenceSubject)(**self.choices)
        return made

    @property
    def control(self) -> str:
        """Equal for mutants whose `right` subjects are."""
        return f"{getattr(self.factory, 'right', ReferenceSubject).__qualname__} {sorted(self.choices.items())}"


MUTANTS: dict[str, Mutant] = {}


def mutant(id: str, mistake: str, killed_by: tuple[str, ...], **choices: Any) -> Callable[[Factory], Factory]:  # noqa: A002 - the field's name
    """Register a class or factory as the mutant `id`, made with `choices`; raises `ValueError` if `id` is taken."""

    def register(factory: Factory) -> Factory:
        if id in MUTANTS:
            raise ValueError(f"mutant {id!r} is defined twice: {MUTANTS[id].mistake!r} and {mistake!r}")
        MUTANTS[id] = Mutant(id, mistake, killed_by, factory, choices)
        return factory

    return register


def load_mutants() -> dict[str, Mutant]:
    """Import every `verification.mutants_*` module, and return the registry, by id whatever was imported first."""
    for module in sorted(pkgutil.iter_modules(verification.__path__), key=lambda found: found.name):
        if module.name.startswith("mutants_"):
            importlib.import_module(f"verification.{module.name}")
    return dict(sorted(MUTANTS.items()))


def forms(number: str, known: Container[str]) -> list[str]:
    """The ids among `known` under which the mistake `number` is planted: "M54" is planted as M54 and as M54b."""
    return [each for each in (number, *(number + letter for letter in "bcdef")) if each in known]
