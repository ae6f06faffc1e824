"""Which kernels each build of a sweep runs, and which it exchanged: the implementation behind a step.

Each build is asked once for each mode in a process that is not timed (`implementations.py`); its answer is kept beside
the outputs,

    store/kernels/SESSION/DIGEST.json       {"schema", "build", "mode", "library", "reason", "cases": {case: [[
                                             primitive, direction, problem, implementation, runs, seconds in all], …]}}

so a sweep that goes on asks nobody twice. A file that is not whole counts as none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import implementations, versions_store
from benchmarks.arms import Arm
from benchmarks.attribution import Part
from benchmarks.builds import Tell
from benchmarks.cases import Case
from benchmarks.implementations import Kernels
from benchmarks.measurement import Record
from benchmarks.onednn import Choice, Primitive

Picks = Iterable[tuple[Case, str]]

Said = Mapping[str, Mapping[str, Kernels]]
"""By build and mode; the first mode has every case, others those that are no single operators."""


def asked(arms: Sequence[Arm], picks: Picks, *, device: str, store: Path | None, session: str, tell: Tell) -> Said:
    """What the builds of `arms`, the oldest first, run for the cases of `picks`.

    Single operators are asked for in the first mode alone. Raises `BenchmarkError` when the store cannot be written.
    """
    modes: dict[str, list[Case]] = {}
    for case, mode in picks:
        if not case.small or not modes or mode == next(iter(modes)):
            modes.setdefault(mode, []).append(case)
    return {  # one after the other: how long a kernel ran is part of the answer
        arm.label: {
            mode: _answer(
                arm, asked, device, mode, versions_store.place(store, "kernels", session, arm.label, mode), tell
            )
            for mode, asked in modes.items()
        }
        for arm in arms
    }


def as_record(said: Said) -> Record:
    """What was `said`, as JSON, of the first mode:

    {"said": [{"build", "library", "reason"}], "changes": [{"step": [old, new], "case", "primitive", "direction",
    "problem", "old", "new": implementations, "seconds": [a run's before and after, by the library's own watch]}]}
    """
    first = {label: next(iter(modes.values())) for label, modes in said.items()}
    return {
        "said": [{"build": label, "library": k.library, "reason": k.reason} for label, k in first.items()],
        "changes": [
            {"step": [old, new], **change}
            for old, new in pairwise(first)
            for change in implementations.changes(first[old], first[new])
        ],
    }


def inside(said: Said, old: str, new: str) -> dict[tuple[str, str], list[Part]]:
    """What the kernels of each case and mode take in the builds called `old` and `new`, where both said it."""
    return {
        (case, mode): implementations.inside(kernels.by_case[case], said[new][mode].by_case[case])
        for mode, kernels in said[old].items()
        for case in kernels.by_case
        if case in said[new][mode].by_case
    }


def _answer(arm: Arm, cases: Sequence[Case], device: str, mode: str, place: Path | None, tell: Tell) -> Kernels:
    kept = versions_store.kept(place, _read)
    if kept is not None:
        return kept
    tell(f"asking {arm.label} which kernels it runs in {mode} mode")
    found = implementations.ask(arm, cases, device=device, mode=mode, variables=dict(os.environ))
    versions_store.keep(place, {"build": arm.label, "mode": mode, **_as_record(found)})
    return found


def _as_record(kernels: Kernels) -> Record:
    cases = {
        case: [[p.name, p.direction, p.problem, c.implementation, c.runs, c.seconds] for p, c in choices.items()]
        for case, choices in kernels.by_case.items()
    }
    return {"library": kernels.library, "reason": kernels.reason, "cases": cases}


def _read(kept: Any) -> Kernels:
    by_case: dict[str, Mapping[Primitive, Choice]] = {
        case: {Primitive(*entry[:3]): Choice(*entry[3:]) for entry in entries}
        for case, entries in kept["cases"].items()
    }
    return Kernels(kept["library"], by_case, kept["reason"])
