"""Which kernels does a build run for each case, and for which cases do two builds differ?

Asked in a process of its own in which oneDNN talks (`onednn.py`) and nothing is timed. What a backend does not tell,
MindSpore's own elementwise kernels for instance, is not known: such cases have no entry.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import onednn
from benchmarks.arms import Arm
from benchmarks.attribution import Part
from benchmarks.cases import Case
from benchmarks.errand import ErrandError, errand
from benchmarks.measurement import Record
from benchmarks.onednn import Choice, Primitive, Switch
from benchmarks.talking import CALLS, CASE, FAILED, WARMING

TALKING_SECONDS = 600.0
"""A worker that talks for longer is stopped: a few calls of each case take less than timing them."""

Choices = Mapping[Primitive, Choice]


@dataclass(frozen=True)
class Kernels:
    """What one build said."""

    library: str | None
    """"oneDNN v3.10.1"; None if it said nothing"""
    by_case: Mapping[str, Choices]
    """of the cases during which the library computed anything"""
    reason: str | None = None
    """why nothing more is known: the process ended or a case failed"""


def ask(arm: Arm, cases: Sequence[Case], *, device: str, mode: str, variables: Mapping[str, str]) -> Kernels:
    """What the build of `arm` runs for each of `cases`. Never raises for what happens to the process."""
    content = {
        "device": device, "mode": mode, "tuning": arm.tuning, "cases": [dataclasses.asdict(case) for case in cases],
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ddpm-bench-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(content), encoding="utf-8")
        try:
            done = errand(
                arm, ["-m", "benchmarks.talking", "job.json"], folder=folder, variables=variables,
                extra=onednn.VARIABLES, seconds=TALKING_SECONDS,
            )  # fmt: skip
        except ErrandError as error:
            return Kernels(None, {}, f"asking for kernels {error}")
    return heard(done.stdout.splitlines(), done.returncode)


def heard(lines: Sequence[str], code: int = 0) -> Kernels:
    """What a process that ended with `code` said in its `lines`."""
    failures = [line.removeprefix(FAILED) for line in lines if line.startswith(FAILED)]
    ended = [f"asking for kernels ended with exit code {code}"] if code else []
    by_case = {case: onednn.choices(onednn.executions(said)) for case, said in _sections(lines)}
    told = {case: found for case, found in by_case.items() if found}
    return Kernels(onednn.library(lines), told, "; ".join([*ended, *failures]) or None)


def _sections(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """The lines behind each announcement of a case, by its id; what is said while warming up is no case's."""
    case, said = None, list[str]()
    for line in lines:
        if line.startswith((CASE, WARMING)):
            if case is not None:
                yield case, said
            case, said = (line.removeprefix(CASE) if line.startswith(CASE) else None), []
        said.append(line)
    if case is not None:
        yield case, said


def changes(old: Kernels, new: Kernels) -> list[Record]:
    """The primitives that two builds compute differently, as JSON: {"case", "primitive", "direction", "problem", "old",
    "new": implementations, "seconds": [a run's in the old, in the new, by the library's own watch]}.
    """
    return [
        {"case": case, **_as_record(switch)}
        for case, choices in old.by_case.items()
        if case in new.by_case
        for switch in onednn.switches(choices, new.by_case[case])
    ]


def _as_record(switch: Switch) -> Record:
    primitive = switch.primitive
    return {
        "primitive": primitive.name, "direction": primitive.direction, "problem": primitive.problem,
        "old": switch.old, "new": switch.new, "seconds": list(switch.seconds),
    }  # fmt: skip


def inside(old: Choices, new: Choices) -> list[Part]:
    """What each kind of primitive takes in a call of one case, in two builds, by the library's own watch."""
    kinds = [_by_kind(choices) for choices in (old, new)]
    nothing = (0, 0.0)
    found = {kind: [each.get(kind, nothing) for each in kinds] for kind in dict.fromkeys([*kinds[0], *kinds[1]])}
    return [
        Part(kind, max(old_runs, new_runs), old_seconds, new_seconds)
        for kind, ((old_runs, old_seconds), (new_runs, new_seconds)) in found.items()
    ]


def _by_kind(choices: Choices) -> dict[str, tuple[int, float]]:
    """Runs and seconds a call of each kind of primitive."""
    totals: dict[str, tuple[int, float]] = {}
    for primitive, choice in choices.items():
        kind = primitive.name if primitive.direction == "undef" else f"{primitive.name} {primitive.direction}"
        runs, seconds = totals.get(kind, (0, 0.0))
        totals[kind] = (runs + choice.runs, seconds + choice.seconds)
    return {kind: (round(runs / CALLS), seconds / CALLS) for kind, (runs, seconds) in totals.items()}
