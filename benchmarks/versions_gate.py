"""Is the DDPM right under each build? The judge's gate, run by each build's own interpreter.

No speed without correctness: times of a build whose gate does not pass are shown, and said to be unverified. The answer
is kept beside the outputs,

    store/gate/SESSION/DIGEST.json      {"schema", "build", "passed", "findings", "failed", "reason"}

so a sweep that goes on judges nobody twice, but for those of whom there was no answer. A file that is not whole counts
as none.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import versions_store
from benchmarks.arms import Arm
from benchmarks.builds import Tell
from benchmarks.errand import ErrandError, ending, errand, together
from benchmarks.measurement import BenchmarkError, Record, check_record, read_json

GATE_SECONDS = 900.0
"""A gate that takes longer is stopped: on two cores it takes one minute."""

MOST_NAMED = 10
"""How many checks that did not pass are named; all are counted."""

PROGRAM = "from ddpm_bench.cli import main; main()"

GOOD = ("passed", "known_failure")


@dataclass(frozen=True)
class Gate:
    """What came of the gate under one build."""

    build: str
    passed: int
    findings: int
    failed: tuple[str, ...]
    """checks that did not pass with their subjects, the first of them"""
    reason: str | None = None
    """why there is no answer, or None"""

    def as_record(self) -> Record:
        """As JSON can hold it."""
        return {**asdict(self), "failed": list(self.failed)}


def gates(arms: Sequence[Arm], *, mode: str, store: Path | None, session: str, tell: Tell) -> list[Record]:
    """The gate of each of `arms` in `mode`, as JSON. Raises `BenchmarkError` when the store cannot be written."""
    places = [versions_store.place(store, "gate", session, arm.label) for arm in arms]
    found = together(partial(_judged, arm, mode, place, tell) for arm, place in zip(arms, places, strict=True))
    return [gate.as_record() for gate in found]


def _judged(arm: Arm, mode: str, place: Path | None, tell: Tell) -> Gate:
    kept = versions_store.kept(place, _read)
    if kept is not None:
        return kept
    tell(f"judging the DDPM under {arm.label}")
    found = judge(arm, mode)
    versions_store.keep(place, found.as_record())
    return found


def judge(arm: Arm, mode: str) -> Gate:
    """The gate run now. Never raises for what happens to the process: that is the reason."""
    with tempfile.TemporaryDirectory(prefix="ddpm-bench-") as name:
        folder = Path(name)
        try:
            done = errand(
                arm, ["-c", PROGRAM, "verify", "--mode", mode, "--json", "verify.json"], folder=folder,
                variables=dict(os.environ), seconds=GATE_SECONDS,
            )  # fmt: skip
            record = check_record(read_json(folder / "verify.json"), source="its record", kind="verify")
        except ErrandError as error:
            return Gate(arm.label, 0, 0, (), f"judging {error}")
        except BenchmarkError:
            return Gate(arm.label, 0, 0, (), f"judging {ending(done)}")
    return read_verdict(arm.label, record)


def read_verdict(label: str, record: Record) -> Gate:
    """What a verification `record` says of the build called `label`; a skipped check has not passed."""
    bad = [f"{f['check']} on {f['subject']}" for f in record["findings"] if f["status"] not in GOOD]
    count = len(record["findings"])
    return Gate(label, count - len(bad), count, tuple(bad[:MOST_NAMED]))


def _read(kept: Any) -> Gate:
    return Gate(kept["build"], kept["passed"], kept["findings"], tuple(kept["failed"]), kept["reason"])
