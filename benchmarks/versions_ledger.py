"""How accurate are the operators of each build, and what became better or worse from one to the next?

Every build's own interpreter measures its kernels against exact results, in every type and mode, as `doctor --kernels`
does. What it finds is kept beside the outputs,

    store/ledger/SESSION/DIGEST.json    {"schema", "build", "rows": rows of the ledger, "reason"}

so a sweep that goes on measures nobody twice. A file that is not whole counts as none. Operators that no case runs are
among them: what a release did to them is said, and does not count against it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import versions_store
from benchmarks.arms import Arm
from benchmarks.builds import Tell
from benchmarks.errand import ErrandError, ending, errand, together
from benchmarks.measurement import BenchmarkError, Record, read_json

LEDGER_SECONDS = 600.0
"""A ledger that takes longer is stopped: on two cores it takes one minute."""

ANSWER = "kernels.json"

PROGRAM = f"""
import json, pathlib, sys
from ddpm_bench import device, kernels
device.configure(sys.argv[1])
pathlib.Path({ANSWER!r}).write_text(json.dumps(kernels.measure()))
"""

Rows = Sequence[dict[str, Any]]

Changes = Callable[[Rows, Rows], list[str]]
"""One sentence for each row that is not what it was, from the rows of two ledgers."""


@dataclass(frozen=True)
class Ledger:
    """What one build's kernels are like."""

    build: str
    rows: Rows
    reason: str | None = None
    """why there are none, or None"""


def ledgers(
    arms: Sequence[Arm], changes: Changes, *, device: str, store: Path | None, session: str, tell: Tell
) -> Record:
    """The ledger of each of `arms` on `device`, the oldest first, as JSON:

    {"said": [{"build", "rows": how many, "reason"}], "changes": [{"step": [old, new], "what": sentence}]}

    Raises `BenchmarkError` when the store cannot be written.
    """
    places = [versions_store.place(store, "ledger", session, arm.label) for arm in arms]
    said = together(partial(_answer, arm, device, place, tell) for arm, place in zip(arms, places, strict=True))
    return {
        "said": [{"build": one.build, "rows": len(one.rows), "reason": one.reason} for one in said],
        "changes": [
            {"step": [old.build, new.build], "what": what}
            for old, new in pairwise(said)
            if old.rows and new.rows
            for what in changes(old.rows, new.rows)
        ],
    }


def _answer(arm: Arm, device: str, place: Path | None, tell: Tell) -> Ledger:
    kept = versions_store.kept(place, _read)
    if kept is not None:
        return kept
    tell(f"measuring how accurate the operators of {arm.label} are")
    found = measure(arm, device)
    versions_store.keep(place, {"build": found.build, "rows": list(found.rows), "reason": found.reason})
    return found


def measure(arm: Arm, device: str) -> Ledger:
    """The ledger measured now. Never raises for what happens to the process: that is the reason."""
    with tempfile.TemporaryDirectory(prefix="ddpm-bench-") as name:
        folder = Path(name)
        try:
            done = errand(
                arm, ["-c", PROGRAM, device], folder=folder, variables=dict(os.environ), seconds=LEDGER_SECONDS
            )  # fmt: skip
            rows: Any = read_json(folder / ANSWER)
        except ErrandError as error:
            return Ledger(arm.label, (), f"measuring operators {error}")
        except BenchmarkError:
            return Ledger(arm.label, (), f"measuring operators {ending(done)}")
    return Ledger(arm.label, rows)


def _read(kept: Any) -> Ledger:
    return Ledger(kept["build"], tuple(dict(row) for row in kept["rows"]), kept["reason"])
