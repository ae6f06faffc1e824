"""What the suite covers, as a page: one row a check, and the planted mistakes that each has been seen to notice.

`docs/coverage.md` is this page, generated from the registries of checks and mutants; a test fails when it is out of
date. Write it anew with

    python -c "from verification.coverage import write; write('docs/coverage.md')"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from verification.check import Check, select
from verification.coefficients import COEFFICIENTS
from verification.kill_matrix import Planted, promises
from verification.mutants import load_mutants
from verification.sensitivity import LIMITS, check_for

LEVELS = {
    0: "tables",
    1: "maps",
    2: "identities",
    3: "identified samplers",
    4: "statistics",
    5: "training and fidelity",
}


def page(checks: Sequence[Check] | None = None, mutants: Mapping[str, Planted] | None = None) -> str:
    """The page in Markdown; by default of everything that is registered."""
    checks = select("full") if checks is None else checks
    mutants = load_mutants() if mutants is None else mutants
    noticed = mistakes(checks, mutants)
    levels = ", ".join(f"{level} {name}" for level, name in LEVELS.items())
    return "\n".join(
        [
            "# What the checks cover",
            "",
            f"{len(checks)} checks and {len(mutants)} planted mistakes. `ddpm-bench verify --self-test` plants each in",
            "a correct DDPM and requires every check named here to notice it. This page is generated from the code by",
            "`verification/coverage.py`; mistakes planted in the MindSpore DDPM itself come on top. Levels: "
            + levels
            + ".",
            "",
            "| check | claim | source | level | tolerance | mistakes it must notice |",
            "|---|---|---|---|---|---|",
            *(_row(each, noticed.get(each.id, [])) for each in sorted(checks, key=_order)),
            "",
            "## The smallest error that is noticed",
            "",
            "A relative error in a single entry of one coefficient, the rest of the DDPM right, fails the check named",
            f"here, and the finding names the time step: {_limits()} at the latest. What is measured, which is far",
            "less for most, is in [sensitivity.md](sensitivity.md).",
            "",
            "| coefficient | check |",
            "|---|---|",
            *(f"| `{name}` | {_checks_for(name)} |" for name in COEFFICIENTS),
            "",
        ]
    )


def mistakes(checks: Sequence[Check], mutants: Mapping[str, Planted]) -> dict[str, list[str]]:
    """For each check the ids of the mutants that it has promised to notice."""
    found: dict[str, list[str]] = {}
    for name, promised in promises(mutants, checks).items():
        for check in promised:
            found.setdefault(check, []).append(name)
    return found


def grouped(names: Sequence[str]) -> str:
    """Ids in a line, those with a colon by what stands before it: "M12, q_sample.x_0 (squared, late)"."""
    families: dict[str, list[str]] = {}
    for name in names:
        family, _, form = name.partition(":")
        families.setdefault(family, []).append(form)
    return ", ".join(f"{each} ({', '.join(forms)})" if forms != [""] else each for each, forms in families.items())


def _order(check: Check) -> tuple[int, str]:
    return check.level, check.id


def _row(check: Check, noticed: Sequence[str]) -> str:
    cells = (check.id, check.claim, check.source, str(check.level), check.tolerance, grouped(noticed))
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _limits() -> str:
    return " and ".join(f"{limit:g} in {dtype}" for dtype, limit in LIMITS.items())


def _checks_for(coefficient: str) -> str:
    return ", ".join(dict.fromkeys(check_for(coefficient, t) for t in (1, 0)))


def write(path: str | Path) -> None:
    """Write the page."""
    Path(path).write_text(page(), encoding="utf-8")
