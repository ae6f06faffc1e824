"""What `bench` does when arms take turns: this code against another checkout's, or against PyTorch.

Like in `cli.py`, every function imports what it needs inside itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpm_bench import interruption
from ddpm_bench.cli_clock import REFERENCE, Setting, progressing
from ddpm_bench.terminal import say

if TYPE_CHECKING:
    from benchmarks.duel import Bout
    from benchmarks.plans import Plan

Records = Mapping[str, dict[str, Any]]
"""Bench records by the names of arms."""

Verdicts = Callable[[Records], dict[str, Any]]
"""A compare record of what was measured so far."""


def compared(
    plan: Plan,
    against: Path,
    setting: Setting,
    effect: float,
    pairs: int | None,
    json_file: Path | None,
    history: Path | None,
    *,
    resume: bool = False,
) -> int:
    """Measure this code and that in `against` by turns and print the verdicts; what is measured is stored at once."""
    from benchmarks import arms
    from benchmarks import compare as comparison

    name, variables = setting
    sides = (
        arms.Arm("old", code=arms.checkout(against), variables=variables, tuning=name),
        arms.Arm("new", variables=variables, tuning=name),
    )

    def verdicts(records: Records) -> dict[str, Any]:
        return comparison.compare_records(records["old"], records["new"], effect, looks=not pairs)

    records = fought(bout(plan, sides, pairs), verdicts, history, resume=resume)
    result = verdicts(records)
    write(json_file, {"": records["new"], ".old": records["old"], ".compare": result})
    tell(result, records["new"])
    return comparison.exit_code(result)


def peered(
    plan: Plan,
    setting: Setting,
    effect: float,
    pairs: int | None,
    json_file: Path | None,
    history: Path | None,
    *,
    resume: bool = False,
) -> int:
    """Measure this project's network and PyTorch's by turns, and print how they compare; stored as `compared` does."""
    from benchmarks import arms, peers

    name, variables = setting
    sides = peers.arms(arms.Arm(peers.OURS, variables=variables, tuning=name))

    def verdicts(records: Records) -> dict[str, Any]:
        return peers.compared(records, effect, looks=not pairs)

    records = fought(bout(plan, sides, pairs), verdicts, history, resume=resume)
    result = verdicts(records)
    write(json_file, {"": records[peers.OURS], ".peers": result})
    tell(result, records[peers.OURS])
    return peers.exit_code(result)


def bout(plan: Plan, sides: tuple[Any, ...], pairs: int | None) -> Bout:
    """What a `plan` means for arms that take turns: a fixed number of `pairs`, or until every cell is decided."""
    from benchmarks import duel
    from benchmarks.looks import LOOKS

    device = (plan.devices or ("CPU",))[0]
    return duel.Bout(sides, plan.picks, pairs or LOOKS[-1], device, () if pairs else LOOKS, plan.budget)


def fought(bout: Bout, verdicts: Verdicts, history: Path | None, *, resume: bool) -> Records:
    """The records of the arms of a `bout`, which goes on where an earlier one ended if `resume` says so."""
    from benchmarks import duel
    from benchmarks import history as store
    from benchmarks.resume import find

    def undecided(records: Records, cell: tuple[str, str, str]) -> bool:
        return any(
            verdict["label"] == "inconclusive"
            for verdict in verdicts(records)["verdicts"]
            if (verdict["case"], verdict["params"]["device"], verdict["params"]["mode"]) == cell
        )

    def keep(fresh: Records) -> None:
        interruption.check()
        if history:
            for record in fresh.values():
                store.append(history, record)

    labels = [side.label for side in bout.arms]
    earlier = find(history, bout.plan, labels) if resume and history else None
    if resume:
        pairs_there = len(earlier.rows[labels[-1]]) if earlier else 0
        say(f"going on after {pairs_there} pairs" if earlier else "nothing of this comparison is stored: starting it")
    with progressing("comparing") as on_progress:
        records = duel.fight(
            bout, reference=REFERENCE, undecided=undecided, on_progress=on_progress, on_pair=keep, earlier=earlier
        )
    keep({label: {**record, "measurements": []} for label, record in records.items()})  # for notes made at the end
    return records


def write(json_file: Path | None, records: Records) -> None:
    """Write `records` beside each other: by what stands before .json in the names of their files."""
    from benchmarks.measurement import write_record

    if json_file is None:
        return
    for between, record in records.items():
        write_record(json_file.with_suffix(f"{between}.json") if between else json_file, record)


def tell(result: dict[str, Any], record: dict[str, Any]) -> None:
    """Print the verdicts, and the notes of the comparison."""
    from benchmarks import terminal

    print("\n".join([*terminal.verdicts(result), *record["notes"]]))
