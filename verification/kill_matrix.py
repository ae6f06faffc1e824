"""Which check notices which planted mistake, and what is wrong with a suite of checks that this shows.

A suite is judged by five questions, each of which has an answer in the matrix mutant × check:

1. Does any mutant survive?
2. Does any check notice nothing at all? Then it has never been seen to work (it is vacuous).
3. Is any mutant noticed only by statistics although an exact check promises to notice it?
4. Is every promise kept: the checks that a mutant names, and the mutants that a check names?
5. Does any check fail on the same subject without the mistake? Then its kills mean nothing.

Everything here is a pure function of `Verdict`s; `self_test.py` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from verification.check import QUICK_LEVEL, Check
from verification.mutants import forms


class Planted(Protocol):
    """A planted mistake, whoever made it: see `mutants.Mutant`."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def mistake(self) -> str:
        """What is wrong, in a few words."""

    @property
    def killed_by(self) -> tuple[str, ...]:
        """The checks or obligations that must notice it."""

    @property
    def control(self) -> str:
        """Equal for mutants with equal `right` subjects."""

    def make(self) -> Any:
        """The wrong subject."""

    def right(self) -> Any:
        """The same without the mistake."""


@dataclass(frozen=True)
class Verdict:
    """What `check` found on the mutant called `mutant`, or with `right` on the same without the mistake."""

    mutant: str
    check: str
    status: str
    ratio: float | None
    where: str
    diagnosis: str
    reason: str
    right: bool = False

    @property
    def killed(self) -> bool:
        """Whether the mistake was noticed. A check that broke off (status "error") has noticed nothing."""
        return self.status == "failed" and not self.right


def answering(obligation: str, checks: Iterable[Check]) -> list[str]:
    """The id of the check that is called so; where there is none, the ids of those that share the obligation."""
    own = [each.id for each in checks if each.id == obligation]
    return own or [each.id for each in checks if each.obligation == obligation]


def promises(mutants: Mapping[str, Planted], checks: Sequence[Check]) -> dict[str, list[str]]:
    """For each mutant the checks that promise to notice it, by its own word and by theirs."""
    named = {each for entry in mutants.values() for each in entry.killed_by}
    answers = {obligation: answering(obligation, checks) for obligation in named}
    found = {name: [check for each in entry.killed_by for check in answers[each]] for name, entry in mutants.items()}
    for check in checks:
        for number in check.kills:
            for name in forms(number, mutants):
                found[name].append(check.id)
    return {name: list(dict.fromkeys(ids)) for name, ids in found.items()}


def kills(verdicts: Iterable[Verdict]) -> dict[str, list[str]]:
    """For each check the mutants it noticed."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.killed:
            found.setdefault(verdict.check, []).append(verdict.mutant)
    return found


def faults(mutants: Mapping[str, Planted], checks: Sequence[Check], verdicts: Sequence[Verdict]) -> list[str]:
    """What is wrong with the suite, in sentences; none if all is well."""
    return [
        *_survivors(mutants, verdicts),
        *_vacuous(checks, verdicts),
        *_statistical_only(mutants, checks, verdicts),
        *_broken_promises(mutants, checks, verdicts),
        *_false_alarms(verdicts),
    ]


def _survivors(mutants: Mapping[str, Planted], verdicts: Sequence[Verdict]) -> Iterator[str]:
    dead = {verdict.mutant for verdict in verdicts if verdict.killed}
    for name, entry in mutants.items():
        if name not in dead:
            tried = [verdict.check for verdict in verdicts if verdict.mutant == name and not verdict.right]
            yield f"{name} ({entry.mistake}) survives {', '.join(tried) or 'because no check was tried on it'}"


def _vacuous(checks: Sequence[Check], verdicts: Sequence[Verdict]) -> Iterator[str]:
    found = kills(verdicts)
    for check in checks:
        if check.id not in found:
            tried = [verdict for verdict in verdicts if verdict.check == check.id and not verdict.right]
            skipped = [verdict for verdict in tried if verdict.status == "skipped"]
            why = f"; skipped on {len(skipped)}: {skipped[0].reason}" if skipped else ""
            yield f"{check.id} kills nothing: it passes {len(tried) - len(skipped)} mutants{why}"


def _statistical_only(
    mutants: Mapping[str, Planted], checks: Sequence[Check], verdicts: Sequence[Verdict]
) -> Iterator[str]:
    level = {check.id: check.level for check in checks}
    promised = promises(mutants, checks)
    for name in mutants:
        killers = [verdict.check for verdict in verdicts if verdict.mutant == name and verdict.killed]
        exact = [check for check in promised[name] if level[check] <= QUICK_LEVEL]
        if killers and exact and all(level[check] > QUICK_LEVEL for check in killers):
            by, should = ", ".join(killers), ", ".join(exact)
            yield f"{name} is noticed only by statistics ({by}), and {should} should notice it"


def _broken_promises(
    mutants: Mapping[str, Planted], checks: Sequence[Check], verdicts: Sequence[Verdict]
) -> Iterator[str]:
    dead = {(verdict.mutant, verdict.check) for verdict in verdicts if verdict.killed}
    for name, entry in mutants.items():
        for obligation in entry.killed_by:
            if not any((name, check) in dead for check in answering(obligation, checks)):
                yield f"{name} ({entry.mistake}) names {obligation}, which does not notice it"
    for check in checks:
        for number in check.kills:
            planted = forms(number, mutants)
            if not planted:
                yield f"{check.id} names {number}, which is not planted"
            elif not any((name, check.id) in dead for name in planted):
                yield f"{check.id} names {number} ({mutants[planted[0]].mistake}) and does not notice it"


def _false_alarms(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        if verdict.right and verdict.status in ("failed", "error"):
            where = f" at {verdict.where}" if verdict.where else ""
            yield f"{verdict.check} fails on the right counterpart of {verdict.mutant}{where}: {verdict.reason}"


def matrix(mutants: Mapping[str, Planted], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """One row a mutant, for a record: id, mistake, and by check the status, and what a killer said."""
    rows = []
    for name, entry in mutants.items():
        own = [verdict for verdict in verdicts if verdict.mutant == name and not verdict.right]
        findings = {
            verdict.check: {
                "status": verdict.status,
                "ratio": verdict.ratio,
                "where": verdict.where,
                "diagnosis": verdict.diagnosis,
            }
            for verdict in own
        }
        rows.append({"id": name, "mistake": entry.mistake, "killed_by": list(entry.killed_by), "checks": findings})
    return rows
