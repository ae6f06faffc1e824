"""The same cases under several MindSpore builds: measured by turns in one session, judged from each to the next.

Every pair of workers becomes a row of them, one for each build, whose rounds take turns; so builds can be compared
pair by pair, whatever the machine did meanwhile. What is asked is which *step* from one build to the next made a case
slower or faster, and whether the newest build is worse than the one before it. After the first rows of all builds those
whose steps are decided get no more (`versions_rows.py`).

The record, as JSON:

    {"schema": 1, "kind": "versions", "created", "session", "environment" of this program, "effect",
     "builds": [{"label", "mindspore", "reason": why it is not among the arms, or null,
                 "libraries": {name: file and digest, versions_builds.py}}],
     "arms": {label: a bench record}, "verdicts": [those of compare.py, with "old" and "new": labels of neighbours],
     "numbers": [those of drift.py, with "device", "mode", "old" and "new"; what is not finite is text],
     "steps": [the verdicts that are named, in words: versions_words.py], "headline": the sentence about the newest,
     "command": what reproduces it, from who asked,
     "attribution": [those of attribution.py, with "step": [old, new]] of whole cases' steps, where something explains;
                    the layers' parts have intervals where they were measured for that (versions_layers.py),
     "kernels": {"said", "changes"}, see versions_kernels.py,
     "remedies": [those of versions_remedies.py], where a step made a build slower,
     "gates": [the fields of versions_gate.Gate], where builds were judged,
     "ledgers": {"said", "changes"}, see versions_ledger.py, where operators were measured,
     "notes": [sentences]}

A sweep that is given a store goes on where an interrupted one of the same question ended (`versions_store.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import (
    attribution,
    drift,
    duel,
    environment,
    history,
    versions_gate,
    versions_kernels,
    versions_layers,
    versions_ledger,
    versions_remedies,
    versions_rows,
    versions_store,
)
from benchmarks.arms import Arm
from benchmarks.builds import Build, Tell
from benchmarks.cases import Case
from benchmarks.compare import compare_records
from benchmarks.looks import EARLY, LOOKS
from benchmarks.measurement import SCHEMA, BenchmarkError, Record, measurements
from benchmarks.runner import OnProgress
from benchmarks.versions_builds import Contents, contents
from benchmarks.versions_remedies import Remedies
from benchmarks.versions_rows import Judge
from benchmarks.versions_words import cell_of, headline, named_steps, newest, operators, unusable, worth_explaining

TUNING = "no remedies"
"""The setting of every build: what `device.configure` sets for a steady PyNative mode, but no remedy. With one a slow
release would look as fast as the others; with MindSpore's own setting identical releases differ by a third on few
cores, where its threads and those that compute take turns by the scheduler's tick."""

SETTLE = 2
"""Calls of each worker that are not timed, fewer than elsewhere: four more of a build that takes thirty times as long
would take as long as all its timed ones, and four slow calls of fifty do not reach a median."""

STUDIED = ("mindspore",)
"""The key of the environment in which builds may differ; in any other they are not compared."""


PAIRS = LOOKS[0]
"""The most rows of workers unless told otherwise: more decide more, and half a dozen builds take long. Who wants them
asks again with more, and the rows that there are count."""

OPERATOR_PAIRS = 1
"""Rows of workers for single operators beside whole cases: what they compute is compared, how fast they are is not
judged. What made a step is measured again (`versions_layers.py`)."""


@dataclass(frozen=True)
class Question:
    """What is measured in every build, and what is worth knowing."""

    picks: tuple[tuple[Case, str], ...]
    effect: float = 0.03
    pairs: int = PAIRS
    """the most rows of workers, for steps that fewer do not decide"""
    budget: float | None = None
    """seconds of measuring; None for as long as it takes"""
    verify: bool = True
    """whether every build has the judge's gate run under it, too"""
    changes: versions_ledger.Changes | None = None
    """how ledgers of kernels are compared; None for not measuring how accurate each build's operators are"""
    remedies: Remedies = field(default_factory=dict)
    """what to try on builds that a step made slower"""


@dataclass(frozen=True)
class Keeping:
    """Where a sweep keeps what it measures, and whom it tells."""

    store: Path | None = None
    """the folder; None for a sweep that cannot go on after it was ended"""
    again: bool = False
    """whether to measure anew what the store holds"""
    tell: Tell = lambda _: None
    """called with a sentence about what is already there"""
    on_pair: Callable[[], None] = lambda: None
    """called after every pair, once it is kept"""


def sweep(
    builds: Sequence[Build],
    question: Question,
    *,
    reference: str,
    keeping: Keeping = Keeping(),
    on_progress: OnProgress | None = None,
) -> Record:
    """The record of all `builds`, the oldest first. Those that do not work are rows with their reason.

    Raises `BenchmarkError` unless two builds work, and when the store of `keeping` cannot be read or written.
    """
    usable = [build for build in builds if build.reason is None and build.python is not None]
    if len(usable) < 2:
        reasons = "; ".join(f"{build.label} ({build.reason})" for build in builds if build.reason)
        raise BenchmarkError(
            f"{len(usable)} of {len(builds)} builds can be used, and a comparison needs two: {reasons}"
        )
    held = {build.label: contents(Path(str(build.python))) for build in usable}
    bout = _bout(usable, held, question)
    ends = None if question.budget is None else time.perf_counter() + question.budget

    def fight(trial: duel.Bout, judge: Judge = lambda _: []) -> Mapping[str, Record]:
        asked = dataclasses.replace(trial, budget=None if ends is None else ends - time.perf_counter())
        return _measured(asked, judge, reference, keeping, on_progress)[0]

    with versions_store.claimed(keeping.store) if keeping.store else contextlib.nullcontext():
        judge = partial(_verdicts, question=question)
        first, outputs = _measured(bout, judge, reference, keeping, on_progress)
        records = versions_rows.filled(first, bout, question.pairs, judge, fight, keeping.tell, ends)
        said = versions_kernels.asked(
            bout.arms, question.picks, device=bout.device, store=keeping.store, session=outputs.session,
            tell=keeping.tell,
        )  # fmt: skip
        found = {**_found(builds, held, question, records, outputs), "kernels": versions_kernels.as_record(said)}
        found["notes"] += versions_store.elsewhere(keeping.store, bout.plan)
        whole = dataclasses.replace(bout, about={**bout.about, "session": outputs.session})
        closer = versions_layers.unexplained(found, whole, said)
        trials = versions_remedies.trials(found, whole, question.remedies, question.pairs)
        if ends is not None and time.perf_counter() > ends and (closer or trials):
            found["notes"].append("the budget was used up before steps were looked into more closely")
            closer, trials = [], []
        measured = versions_layers.measured(closer, fight)
        remedies = versions_remedies.tried(trials, fight, effect=question.effect)
        found |= {"remedies": remedies} if remedies else {}
        found |= _judged(bout, question, keeping, outputs.session)
    divided = _attributions(records, found, said, measured)
    found |= {"attribution": divided} if divided else {}
    return {**found, "steps": named_steps(found["verdicts"]), "headline": headline(found)}


def _found(
    builds: Sequence[Build],
    held: Mapping[str, Contents],
    question: Question,
    records: Mapping[str, Record],
    outputs: versions_store.Outputs,
) -> Record:
    """What the rows say."""
    return {
        "schema": SCHEMA,
        "kind": "versions",
        "created": next(iter(records.values()))["created"],
        "session": outputs.session,
        "environment": environment.collect(),
        "effect": question.effect,
        "builds": [
            {"label": b.label, "mindspore": b.mindspore, "reason": b.reason,
             "libraries": held[b.label].libraries if b.label in held else {}}
            for b in builds
        ],
        "arms": records,
        "verdicts": _verdicts(records, question),
        "numbers": _numbers(records, outputs),
        "notes": list(dict.fromkeys(note for record in records.values() for note in record["notes"])),
    }  # fmt: skip


def _judged(bout: duel.Bout, question: Question, keeping: Keeping, session: str) -> Record:
    """What every build is asked beside being timed, where that is wanted: the judge's gate and the kernels' ledger."""
    found: Record = {}
    if question.verify:
        modes = {mode for _, mode in question.picks}
        found["gates"] = versions_gate.gates(
            bout.arms, mode="both" if len(modes) > 1 else modes.pop(), store=keeping.store, session=session,
            tell=keeping.tell,
        )  # fmt: skip
    if question.changes:
        found["ledgers"] = versions_ledger.ledgers(
            bout.arms, question.changes, device=bout.device, store=keeping.store, session=session, tell=keeping.tell
        )
    return found


def _bout(usable: Sequence[Build], held: Mapping[str, Contents], question: Question) -> duel.Bout:
    """The first rows, of all builds; the plan says all that makes it the same sweep when it is asked again."""
    asked = {
        "effect": question.effect,
        "environment": versions_store.here(),
        "builds": {build.label: [build.mindspore, held[build.label].packages] for build in usable},
    }
    arms = tuple(Arm(build.label, python=str(build.python), tuning=TUNING) for build in usable)
    explaining = any(not case.small for case, _ in question.picks)
    picks = tuple((dataclasses.replace(case, settle=SETTLE), mode) for case, mode in question.picks)
    return duel.Bout(
        arms, picks, min(EARLY, question.pairs), budget=question.budget, about={"sweep": asked},
        small_pairs=OPERATOR_PAIRS if explaining else None, shared=True, compile_cache=True,
    )  # fmt: skip


def _measured(
    bout: duel.Bout, judge: Judge, reference: str, keeping: Keeping, on_progress: OnProgress | None
) -> tuple[dict[str, Record], versions_store.Outputs]:
    """The record of each arm, measured until `judge` finds its cells decided; and the outputs of the first pairs."""
    labels = [arm.label for arm in bout.arms]
    earlier = versions_store.begin(keeping.store, bout.plan, labels, again=keeping.again)
    outputs = versions_store.Outputs(keeping.store, earlier.session)
    there = len(earlier.rows[labels[0]])
    if there:
        keeping.tell(
            f"going on with the sweep of {earlier.created} in {keeping.store}, after its {there} rows of workers"
        )

    def undecided(records: Mapping[str, Record], cell: duel.Cell) -> bool:
        return any(v["label"] == "inconclusive" for v in judge(records) if cell_of(v) == cell)

    def keep(fresh: Mapping[str, Record]) -> None:
        if keeping.store:
            for record in fresh.values():
                history.append(keeping.store, record)
        keeping.on_pair()

    records = duel.fight(
        bout, reference=reference, undecided=undecided, on_progress=on_progress, on_pair=keep,
        on_outputs=outputs.keep, earlier=earlier,
    )  # fmt: skip
    return records, outputs


def _verdicts(records: Mapping[str, Record], question: Question) -> list[Record]:
    """Every step from one build to the next, cell by cell; single operators beside whole cases are not judged."""
    single = operators({"arms": records})
    found = []
    for old, new in pairwise(records):
        compared = compare_records(records[old], records[new], question.effect, studied=STUDIED, most=question.pairs)
        found += [
            {**(_explaining(verdict) if cell_of(verdict) in single else verdict), "old": old, "new": new}
            for verdict in compared["verdicts"]
        ]
    return found


def _explaining(verdict: Record) -> Record:
    """The `verdict` of a single operator beside whole cases, of whose speed nothing is said.

    From few workers chance speaks too often: of 44 operators of two builds that were the same but for their names, in
    two workers each, two would have been called slower, by 6 and 13 %.
    """
    if verdict["label"] == "incomparable":
        return verdict
    why = "a single operator beside whole cases: it is measured to compare what it computes, not how fast it is"
    told = {"label": "inconclusive", "ratio": None, "interval": None, "why": why}
    return {"case": verdict["case"], "params": verdict["params"], **told}


def _numbers(records: Mapping[str, Record], outputs: versions_store.Outputs) -> list[Record]:
    """What every step did to the numbers, cell by cell: the same calls' outputs, bit against bit (`drift.py`)."""
    found = []
    for old, new in pairwise(records):
        gates = [_gates(records[label]) for label in (old, new)]
        apart = environment.differences(records[old]["environment"], records[new]["environment"], ignore=STUDIED)
        for cell in dict.fromkeys([*gates[0], *gates[1]]):
            case, device, mode = cell
            evidence = (gates[0].get(cell, {}), gates[1].get(cell, {}))
            if apart:
                change = drift.Drift(case, "incomparable", "the environments differ in " + "; ".join(apart))
            else:
                change = drift.compare(case, outputs.of(old, cell), outputs.of(new, cell), evidence)
            entry = {name: _plain(value) for name, value in dataclasses.asdict(change).items()}
            found.append({**entry, "device": device, "mode": mode, "old": old, "new": new})
    return found


def _plain(value: object) -> object:
    """`value` as JSON can hold it: a difference from a NaN is one."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _gates(record: Record) -> dict[duel.Cell, Mapping[str, Any]]:
    """The evidence of each cell's gate in its first process; none for a cell that gave no number."""
    found: dict[duel.Cell, Mapping[str, Any]] = {}
    for row in measurements(record):
        found.setdefault((row.case, str(row.params["device"]), str(row.params["mode"])), row.proof.get("gate", {}))
    return found


def _attributions(
    records: Mapping[str, Record],
    found: Record,
    said: versions_kernels.Said,
    closer: Mapping[versions_layers.Step, tuple[Record, Record]],
) -> list[Record]:
    """What made each step of a whole case that is large enough, or that was looked into beside one that is.

    As far as layers were timed or kernels known.
    """
    divided = []
    for old, new in pairwise(records):
        layered = {cell_of(row) for record in closer.get((old, new), ()) for row in record.get("layers", ())}
        cells = [
            (*cell_of(v), str(v["params"]["tuning"]))
            for v in found["verdicts"]
            if (v["old"], v["new"]) == (old, new) and (worth_explaining(v, found["effect"]) or cell_of(v) in layered)
        ]
        inside = versions_kernels.inside(said, old, new)
        kernels = {cell: inside.get((cell[0], cell[2]), ()) for cell in cells}
        divided += [
            {"step": [old, new], **{name: _plain(value) for name, value in dataclasses.asdict(one).items()}}
            for one in attribution.attribute(records[old], records[new], cells, kernels, closer.get((old, new)))
        ]
    return divided


def exit_code(record: Record) -> int:
    """1 when the newest build is slower than the one before it in any case, changed numbers, or fails a check.

    Numbers count as changed beyond rounding only; checks are the judge's, run under the build. Otherwise 3 when any of
    that is not decided, or when the newest that was asked for could not be used: then the newest that could be is what
    is judged, and may alarm. Else 0. The speed of single operators explains and does not count
    (`versions_words.operators`); their numbers do.
    """
    _, new = newest(record)
    single = operators(record)
    gates = {gate["build"]: gate for gate in record.get("gates", ())}
    if gates and not gates[new]["reason"] and gates[new]["failed"]:
        return 1
    labels = {v["label"] for v in record["verdicts"] if v["new"] == new and cell_of(v) not in single}
    numbers = {number["label"] for number in record["numbers"] if number["new"] == new}
    if "slower" in labels or "changed" in numbers:
        return 1
    if unusable(record) or "incomparable" in numbers or not numbers or (gates and gates[new]["reason"]):
        return 3
    return 0 if labels and labels <= {"equivalent", "faster"} else 3
