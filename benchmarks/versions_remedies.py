"""What would help: settings that are known to cure a slow build, tried where a step made one slower.

For each build that a step worth explaining made slower, the whole case it lost most in is measured again by turns, as
the build comes and with the remedy's variables set. So a reader who must upgrade sees what it costs after all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.arms import Arm
from benchmarks.cases import Case
from benchmarks.compare import compare_records
from benchmarks.duel import Bout
from benchmarks.looks import EARLY, LOOKS
from benchmarks.measurement import Record
from benchmarks.versions_rows import Judge
from benchmarks.versions_words import Cell, cell_of, worth_explaining

Remedies = Mapping[str, Mapping[str, str]]
"""What a remedy is called, to the environment variables that make it."""

PLAIN, CURED = "as it comes", "with the remedy"
"""Labels of the two arms."""

Fight = Callable[[Bout, Judge], Mapping[str, Record]]
"""Measures a bout until its cells are decided by the judge's verdicts; a record for each arm."""


@dataclass(frozen=True)
class Trial:
    """A remedy to be tried on a build."""

    build: str
    remedy: str
    bout: Bout
    studied: tuple[str, ...]
    """keys of the environment in which the arms differ"""


def trials(record: Record, bout: Bout, remedies: Remedies, most: int) -> list[Trial]:
    """What is worth trying after the sweep `record` of `bout`: each of `remedies` on each build that became slower.

    Each trial ends when it is decided, after `most` pairs at the latest.
    """
    arms = {arm.label: arm for arm in bout.arms}
    picks = {(case.id, bout.device, mode): (case, mode) for case, mode in bout.picks}
    return [
        _trial(arms[build], picks[cell], bout, name, variables, most)
        for build, cell in _lost(record).items()
        for name, variables in remedies.items()
    ]


def _lost(record: Record) -> dict[str, Cell]:
    """The builds that a step made slower, each with the whole case that it made slowest."""
    worst: dict[str, Record] = {}
    for verdict in record["verdicts"]:
        slower = verdict["label"] == "slower" and worth_explaining(verdict, record["effect"])
        if slower and verdict["ratio"] > worst.get(verdict["new"], {"ratio": 0.0})["ratio"]:
            worst[verdict["new"]] = verdict
    return {build: cell_of(verdict) for build, verdict in worst.items()}


def _trial(arm: Arm, pick: tuple[Case, str], bout: Bout, name: str, variables: Mapping[str, str], most: int) -> Trial:
    plain, cured = replace(arm, label=PLAIN), replace(arm, label=CURED, variables={**arm.variables, **variables})
    about = {**bout.about, "remedy": [arm.label, name, dict(variables)], "most_pairs": None}  # a later one has more
    asked = replace(bout, arms=(plain, cured), picks=(pick,), most_pairs=most, looks=(EARLY, *LOOKS), about=about)
    return Trial(arm.label, name, asked, tuple(f"env.{variable}" for variable in variables))


def tried(found: Sequence[Trial], fight: Fight, *, effect: float) -> list[Record]:
    """What came of the trials that there was time for, as JSON: {"build", "remedy", "case", "device", "mode", "label",
    "ratio", "interval", "why"}, the ratio being that of the times with the remedy and without.
    """
    results = []
    for trial in found:

        def judge(records: Mapping[str, Record], trial: Trial = trial) -> list[Record]:
            compared = compare_records(
                records[PLAIN], records[CURED], effect, studied=trial.studied, most=trial.bout.most_pairs
            )  # everything but the remedy's variables has to be equal
            verdicts: list[Record] = compared["verdicts"]
            return verdicts

        verdicts = judge(fight(trial.bout, judge))
        if not verdicts:  # there was no time for it
            continue
        (verdict,) = verdicts
        case, device, mode = cell_of(verdict)
        told: dict[str, Any] = {key: verdict[key] for key in ("label", "ratio", "interval", "why")}
        place = {"build": trial.build, "remedy": trial.remedy, "case": case, "device": device, "mode": mode}
        results.append({**place, **told})
    return results
