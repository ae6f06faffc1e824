"""What `bench` does when arms take turns: this code against another checkout's, or against PyTorch.

Like in `cli.py`, every function imports what it needs inside itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Asked:
    """What somebody wants compared, and where it is to be kept."""

    plan: Plan
    setting: Setting
    effect: float
    pairs: int | None
    """None for as many as decide every case"""
    json_file: Path | None = None
    history: Path | None = None
    """the store into which goes what is measured, at once"""
    resume: bool = False
    """whether to go on with what the store holds"""

    @property
    def most_looked_at(self) -> int | None:
        """Pairs of a comparison that ends when it is decided; None where their number was given."""
        from benchmarks.looks import LOOKS

        return None if self.pairs else LOOKS[-1]


def compared(asked: Asked, against: Path) -> int:
    """Measure this code and that in `against` by turns and print the verdicts."""
    from benchmarks import arms
    from benchmarks import compare as comparison

    name, variables = asked.setting
    sides = (
        arms.Arm("old", code=arms.checkout(against), variables=variables, tuning=name),
        arms.Arm("new", variables=variables, tuning=name),
    )

    def verdicts(records: Records) -> dict[str, Any]:
        return comparison.compare_records(records["old"], records["new"], asked.effect, most=asked.most_looked_at)

    records = fought(asked, sides, verdicts)
    result = verdicts(records)
    write(asked.json_file, {"": records["new"], ".old": records["old"], ".compare": result})
    tell(result, records["new"])
    return comparison.exit_code(result)


def peered(asked: Asked) -> int:
    """Measure this project's network and PyTorch's by turns, and print how they compare."""
    from benchmarks import arms, peers

    name, variables = asked.setting
    sides = peers.arms(arms.Arm(peers.OURS, variables=variables, tuning=name))

    def verdicts(records: Records) -> dict[str, Any]:
        return peers.compared(records, asked.effect, most=asked.most_looked_at)

    records = fought(asked, sides, verdicts)
    result = verdicts(records)
    write(asked.json_file, {"": records[peers.OURS], ".peers": result})
    tell(result, records[peers.OURS])
    return peers.exit_code(result)


def bout(asked: Asked, sides: tuple[Any, ...]) -> Bout:
    """What is `asked` of arms that take turns: a fixed number of pairs, or until every cell is decided."""
    from benchmarks import duel
    from benchmarks.looks import EARLY, LOOKS

    plan, device = asked.plan, (asked.plan.devices or ("CPU",))[0]
    looks = () if asked.pairs else (EARLY, *LOOKS)
    return duel.Bout(sides, plan.picks, asked.pairs or LOOKS[-1], device, looks, plan.budget)


def fought(asked: Asked, sides: tuple[Any, ...], verdicts: Verdicts) -> Records:
    """The record of each of the `sides`."""
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
        if asked.history:
            for record in fresh.values():
                store.append(asked.history, record)

    whole, labels = bout(asked, sides), [side.label for side in sides]
    earlier = find(asked.history, whole.plan, labels) if asked.resume and asked.history else None
    if asked.resume:
        pairs_there = len(earlier.rows[labels[-1]]) if earlier else 0
        say(f"going on after {pairs_there} pairs" if earlier else "nothing of this comparison is stored: starting it")
    with progressing("comparing") as on_progress:
        records = duel.fight(
            whole, reference=REFERENCE, undecided=undecided, on_progress=on_progress, on_pair=keep, earlier=earlier
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
