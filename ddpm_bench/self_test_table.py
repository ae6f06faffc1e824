"""The kill matrix on a terminal: which check noticed which planted mistake, from the record of a self-test.

Five hundred mistakes by eighty checks would be a table nobody reads, so checks are rows: how many mistakes each noticed
of those tried on it, and which, with "(alone)" behind those that no other check noticed. Where mistakes come from a
table of methods and operators they are listed by method, "q_sample.x_0: squared, negated". The whole matrix is in the
record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

NAMED = 14
"""Mistakes that a row lists before it counts the rest."""


def show(record: Mapping[str, Any], console: Console) -> None:
    """Print the matrix, the smallest errors noticed, what is unavailable, and every fault."""
    console.print(matrix(record))
    if record["doses"]:
        console.print(doses(record["doses"]))
    for source, reason in record["unavailable"].items():
        console.print(f"{source}: {reason}", highlight=False, soft_wrap=True)
    for fault in record["faults"]:
        console.print(f"FAULT    {fault}", highlight=False, markup=False, soft_wrap=True)
    console.print(summary(record), highlight=False, soft_wrap=True)


def matrix(record: Mapping[str, Any]) -> Table:
    """One row a check: its level, mistakes noticed of those tried, and their names."""
    table = Table("check", "level", "noticed", "mistakes", title="planted mistakes, by the checks that noticed them")
    tried, killers = _tried(record["mutants"]), _killers(record["mutants"])
    for check in record["checks"]:
        alone = {name for name in check["kills"] if killers[name] == 1}
        count = f"{len(check['kills'])}/{tried.get(check['id'], 0)}"
        table.add_row(check["id"], str(check["level"]), count, _listed(check["kills"], alone), end_section=False)
    return table


def _tried(mutants: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many mutants each check was tried on."""
    found: dict[str, int] = {}
    for mutant in mutants:
        for check in mutant["checks"]:
            found[check] = found.get(check, 0) + 1
    return found


def _killers(mutants: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many checks noticed each mutant."""
    return {
        mutant["id"]: sum(finding["status"] == "failed" for finding in mutant["checks"].values()) for mutant in mutants
    }


def _listed(names: Sequence[str], alone: set[str]) -> str:
    """Names in a line; those with a colon by what stands before it."""
    families: dict[str, list[str]] = {}
    for name in names:
        family, _, form = name.partition(":")
        families.setdefault(family, []).append(form)
    parts = [
        f"{family}: {', '.join(forms)}" if forms != [""] else f"{family}{' (alone)' if family in alone else ''}"
        for family, forms in families.items()
    ]
    more = f"; and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return "; ".join(parts[:NAMED]) + more


def doses(found: Sequence[Mapping[str, Any]]) -> Table:
    """One row a coefficient: the smallest relative error of a single entry that is noticed, by dtype."""
    dtypes = list(dict.fromkeys(dose["dtype"] for dose in found))
    table = Table("coefficient", "check", *dtypes, title="smallest relative error noticed in a single entry")
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for dose in found:
        rows.setdefault(dose["coefficient"], {})[dose["dtype"]] = dose
    for coefficient, row in rows.items():
        smallest = [_dose(row[dtype]["smallest"]) if dtype in row else "" for dtype in dtypes]
        table.add_row(coefficient, next(iter(row.values()))["check"], *smallest)
    return table


def _dose(smallest: float | str) -> str:
    return f"{smallest:.0e}" if isinstance(smallest, float) else "none"


def summary(record: Mapping[str, Any]) -> str:
    """The result in one line."""
    noticed = sum(count > 0 for count in _killers(record["mutants"]).values())
    working = sum(bool(check["kills"]) for check in record["checks"])
    return (
        f"{noticed} of {len(record['mutants'])} planted mistakes noticed, {working} of {len(record['checks'])} checks "
        f"seen to work, {len(record['faults'])} faults, {record['seconds']:.0f} s"
    )
