"""Which kernels each build of a sweep runs, and which it exchanged: the implementation behind a step.

Each build is asked once in a process that is not timed (`implementations.py`); its answer is kept beside the outputs,

    store/kernels/SESSION/DIGEST.json       {"schema", "build", "library", "reason", "cases": {case: [[primitive,
                                             direction, problem, implementation, runs, seconds in all], …]}}

so a sweep that goes on asks nobody twice. A file that is not whole counts as none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import implementations
from benchmarks.arms import Arm
from benchmarks.builds import Tell
from benchmarks.cases import Case
from benchmarks.implementations import Kernels
from benchmarks.measurement import SCHEMA, BenchmarkError, Record, read_json, write_record
from benchmarks.onednn import Choice, Primitive

Picks = Iterable[tuple[Case, str]]


def kernels(arms: Sequence[Arm], picks: Picks, *, device: str, store: Path | None, session: str, tell: Tell) -> Record:
    """What the builds of `arms`, the oldest first, run for the cases of `picks`, as JSON:

    {"said": [{"build", "library", "reason"}], "changes": [{"step": [old, new], "case", "primitive", "direction",
    "problem", "old", "new": implementations, "seconds": [a run's before and after, by the library's own watch]}]}

    Cases are asked for in the first mode they are picked in. Raises `BenchmarkError` when the store cannot be written.
    """
    modes: dict[str, tuple[Case, str]] = {}
    for case, mode in picks:
        modes.setdefault(case.id, (case, mode))
    mode = next(iter(modes.values()))[1]
    cases = [case for case, _ in modes.values()]
    said = {arm.label: _asked(arm, cases, device, mode, _place(store, session, arm.label), tell) for arm in arms}
    return {
        "said": [{"build": label, "library": k.library, "reason": k.reason} for label, k in said.items()],
        "changes": [
            {"step": [old, new], **change}
            for old, new in pairwise(said)
            for change in implementations.changes(said[old], said[new])
        ],
    }


def _asked(arm: Arm, cases: Sequence[Case], device: str, mode: str, place: Path | None, tell: Tell) -> Kernels:
    kept = _read(place) if place else None
    if kept is not None:
        return kept
    tell(f"asking {arm.label} which kernels it runs")
    found = implementations.ask(arm, cases, device=device, mode=mode, variables=dict(os.environ))
    if place:
        with contextlib.suppress(FileExistsError):
            place.parent.mkdir(parents=True, exist_ok=True)
        write_record(place, _as_record(arm.label, found))
    return found


def _place(store: Path | None, session: str, label: str) -> Path | None:
    return store and store / "kernels" / session / f"{sha256(label.encode()).hexdigest()[:16]}.json"


def _as_record(label: str, kernels: Kernels) -> Record:
    cases = {
        case: [[p.name, p.direction, p.problem, c.implementation, c.runs, c.seconds] for p, c in choices.items()]
        for case, choices in kernels.by_case.items()
    }
    return {"schema": SCHEMA, "build": label, "library": kernels.library, "reason": kernels.reason, "cases": cases}


def _read(place: Path) -> Kernels | None:
    """What was kept; None where nothing was, or no longer what was written. Raises for another schema."""
    if not place.is_file():
        return None
    try:
        kept: Any = read_json(place)
        if kept["schema"] != SCHEMA:
            raise BenchmarkError(
                f"{place} has schema {kept['schema']!r} and this version reads schema {SCHEMA}: "
                "use the version of ddpm-bench that wrote it"
            )
        by_case: dict[str, Mapping[Primitive, Choice]] = {
            case: {Primitive(*entry[:3]): Choice(*entry[3:]) for entry in entries}
            for case, entries in kept["cases"].items()
        }
        return Kernels(kept["library"], by_case, kept["reason"])
    except (KeyError, TypeError, AttributeError):
        return None
