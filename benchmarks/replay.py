"""What a proposed threshold would have done: to the history that is stored, and to its noise.

A threshold is the effect that a comparison is to tell from nothing. Whether one is any good is not a matter of taste
once there is a history:

* every two sessions of one environment that follow each other are compared at that effect, as if it had been asked for
  then; where the code was the same, an alarm is a false one. Beside them stand the steps that the whole series has
  (`steps.py`): an alarm within a step's interval is explained by it, and a step without an alarm was slept through;
* whole processes (of compared arms whole pairs, with what the machine did to them) are drawn again from what was
  recorded, with replacement (Efron 1979), and put together to comparisons without any effect, and to others with
  exactly the proposed one: the share of alarms and that of detections are what the threshold does on this machine's
  own noise.

Noise is what is left of a process when its session's mean is taken out. Of the `n` values of a session that leaves a
variance smaller by (n − 1)/n, which is put back. What changes between sessions is not in it, and is what the first
part shows. A record of the clock's own trial (`proof.py`) is replayed as well: its comparisons of the code with itself
are noise as they stand, and what other instruments would have needed on the same noise is said, too (`rivals.py`).

    {"schema": 1, "kind": "replay", "created", "effect", "resamples", "seed",
     "cells": [{"case", "params", "environment": hash, "sessions": n,
                "comparisons": [{"old", "new": {session, created, code}, "same_code",
                                 "label", "ratio", "interval", "why"}],
                "alarms": n, "false_alarms": n, "steps": [the fields of Step, "session", "code", "alarmed"],
                "noise": {"method", "pool", "refused", "size", "alarm_rate", "detection_rate"} or {"why": no rates}}],
     "rivals": of the clock's own trial, see `rivals.py`}
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import rivals, steps
from benchmarks.compare import compare_records, judge, judge_pairs
from benchmarks.contamination import Pair
from benchmarks.environment import CODE_KEYS
from benchmarks.estimate import independent_estimate, pair_log_ratios
from benchmarks.looks import LOOKS
from benchmarks.measurement import SCHEMA, BenchmarkError, Measurement, Record, check_record, measurements, now

RESAMPLES = 1000
"""Comparisons of each kind put together from recorded noise: a share of 1 % is known to ±0.6 % (95 %)."""

LEAST_POOL = 10
"""Processes or pairs of which noise is drawn: with fewer, the same few are compared with themselves."""

Cell = tuple[str, str, str, str]


@dataclass(frozen=True)
class Rates:
    """What a threshold does on recorded noise."""

    method: str
    pool: int
    """processes or pairs that were drawn from"""
    refused: int
    """pairs of them that a gate refused a number: a comparison that draws one is incomparable"""
    size: int
    """processes an arm, or the most pairs, of each comparison"""
    alarm_rate: float
    """comparisons without any effect that were called slower"""
    detection_rate: float
    """comparisons with the proposed effect that were called slower"""


def replay(records: Sequence[Record], effect: float = 0.03, *, resamples: int = RESAMPLES, seed: int = 0) -> Record:
    """The record of what `effect` as a threshold would have said of `records`, bench records of a history.

    Raises `BenchmarkError` for an impossible effect or for something that is not a bench record.
    """
    _check(effect)
    for record in records:
        check_record(record, source="the history")
    cells = [
        _cell(cell, key, sessions, effect, resamples, seed)
        for key, sessions in _by_environment(records).items()
        for cell in _cells(sessions)
    ]
    return _record(effect, resamples, seed, cells)


def replay_proof(proof: Record, effect: float | None = None, *, resamples: int = RESAMPLES, seed: int = 0) -> Record:
    """The same of the noise in a record of the clock's own trial; `effect` is the trial's unless given."""
    effect = proof["effect"] if effect is None else effect
    _check(effect)
    rates = {
        name: _rates_of_pairs(_same_code(proof, trials), effect, resamples, seed)
        for name, trials in rivals.noises(proof).items()
    }
    cell = {
        "case": proof["case"], "params": {"mode": proof["mode"]}, "environment": None, "sessions": len(proof["trials"]),
        "comparisons": [], "alarms": 0, "false_alarms": 0, "steps": [], "noise": rates[rivals.EVERY],
    }  # fmt: skip
    beside = rivals.tables(proof, effect, rates, rivals.noises(judged(proof)), resamples=resamples, seed=seed)
    return {**_record(effect, resamples, seed, [cell]), "rivals": beside}


def _check(effect: float) -> None:
    if not 0 < effect < 1:
        raise BenchmarkError(f"the effect must lie between 0 and 1 (0.03 is 3 %), not {effect}")


def _record(effect: float, resamples: int, seed: int, cells: list[Record]) -> Record:
    return {
        "schema": SCHEMA, "kind": "replay", "created": now(), "effect": effect, "resamples": resamples, "seed": seed,
        "cells": cells, "rivals": [],
    }  # fmt: skip


def _by_environment(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records in the order of their creation, by the environment that they share but for the code."""
    grouped: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: str(record.get("created"))):
        shared = {key: value for key, value in record["environment"].items() if key not in CODE_KEYS}
        text = json.dumps(shared, sort_keys=True, default=str)
        grouped.setdefault(hashlib.sha256(text.encode()).hexdigest()[:16], []).append(record)
    return grouped


def _cells(records: Iterable[Record]) -> list[Cell]:
    return list(dict.fromkeys(row.cell for record in records for row in measurements(record)))


def _only(record: Record, cell: Cell) -> Record:
    """The `record` with the measurements of one cell."""
    rows = [row.as_record() for row in measurements(record) if row.cell == cell]
    return {**record, "measurements": rows}


def _cell(cell: Cell, key: str, records: Sequence[Record], effect: float, resamples: int, seed: int) -> Record:
    own = [one for one in (_only(record, cell) for record in records) if one["measurements"]]
    line = [record for record in own if record.get("arm") in (None, "new")]  # the old arm of a comparison is other code
    compared = [_comparison(old, new, effect) for old, new in itertools.pairwise(line)]
    alarms = [one for one in compared if one["label"] == "slower"]
    return {
        "case": cell[0], "params": dict(zip(("device", "mode", "tuning"), cell[1:], strict=True)), "environment": key,
        "sessions": len(line), "comparisons": compared, "alarms": len(alarms),
        "false_alarms": sum(one["same_code"] for one in alarms), "steps": _steps(line, alarms),
        "noise": _noise(own, effect, resamples, seed),
    }  # fmt: skip


def _comparison(old: Record, new: Record, effect: float) -> Record:
    (verdict,) = compare_records(old, new, effect)["verdicts"]
    ends = {name: _who(record) for name, record in (("old", old), ("new", new))}
    same = old["environment"].get("code") == new["environment"].get("code")
    return {**ends, "same_code": same, **{key: verdict[key] for key in ("label", "ratio", "interval", "why")}}


def _who(record: Record) -> Record:
    """What names a session to a person."""
    code = record["environment"].get("code")
    return {"session": record.get("session"), "created": record.get("created"), "code": code}


def levels(records: Sequence[Record]) -> list[float]:
    """The logarithm of seconds a call in each of the `records` of one cell, over valid processes; nan for none."""
    found = [[math.log(row.value) for row in measurements(record) if row.seconds] for record in records]
    return [float(np.mean(logs)) if logs else math.nan for logs in found]


def _steps(line: Sequence[Record], alarms: Sequence[Record]) -> list[Record]:
    """The steps of the series, each with the session it came with and whether an alarm was raised where it may lie."""
    known = [(record, level) for record, level in zip(line, levels(line), strict=True) if not math.isnan(level)]
    found = steps.find([math.exp(level) for _, level in known])
    alarmed = {one["new"]["session"] for one in alarms}
    return [
        {
            **dataclasses.asdict(step), **_who(known[step.index][0]),
            "alarmed": any(known[i][0].get("session") in alarmed for i in range(step.between[0], step.between[1] + 1)),
        }
        for step in found
    ]  # fmt: skip


def _noise(records: Sequence[Record], effect: float, resamples: int, seed: int) -> Record:
    """The rates on the noise of one cell: of pairs where there are enough of them, else of processes."""
    pairs = _centred_pairs(records)
    if len(pairs) >= LEAST_POOL:
        return _rates_of_pairs(pairs, effect, resamples, seed)
    return _rates_of_processes(records, effect, resamples, seed)


def _centred_pairs(records: Sequence[Record]) -> list[Pair]:
    """The pairs of all sessions with two arms, without what their session says of the arms' difference."""
    sessions: dict[object, dict[object, list[Measurement]]] = {}
    for record in records:
        rows = [row for row in measurements(record) if row.seconds]
        sessions.setdefault(record.get("session"), {})[record.get("arm")] = rows
    return [pair for arms in sessions.values() if {"old", "new"} <= set(arms) for pair in _centred(arms)]


def _centred(arms: dict[object, list[Measurement]]) -> list[Pair]:
    by_process = [{row.process: row for row in arms[name]} for name in ("old", "new")]
    common = sorted(by_process[0].keys() & by_process[1].keys())
    pairs = [(by_process[0][i], by_process[1][i]) for i in common]
    if len(pairs) < 2:
        return []
    ratios = np.array(pair_log_ratios(pairs)[0])
    wanted = without_mean(ratios)
    return [
        (old, _slowed(new, float(goal - ratio))) for (old, new), goal, ratio in zip(pairs, wanted, ratios, strict=True)
    ]


def without_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The noise of a session, (n,): values without their mean, and with the mean square that they were drawn from."""
    return np.asarray((values - values.mean()) * math.sqrt(len(values) / (len(values) - 1)))


def _slowed(row: Measurement, log_ratio: float) -> Measurement:
    """The measurement with every round longer by a factor."""
    return dataclasses.replace(row, seconds=tuple(s * math.exp(log_ratio) for s in row.seconds))


def judged(proof: Record) -> Record:
    """A `proof` whose trials end by the rule of today, which may be another than when they were recorded.

    With the pairs that it needs, or all there are: it might go on where the rule of then had decided.
    """
    return {**proof, "trials": [_judged(proof, trial) for trial in proof["trials"]]}


def _judged(proof: Record, trial: Record) -> Record:
    pairs = _recorded(proof, trial)
    looks = [look for look in LOOKS if look < len(pairs)]
    labels = {look: _label_at_look(pairs[:look], proof["effect"]) for look in (*looks, len(pairs))}
    used = next((look for look, label in labels.items() if label != "inconclusive"), len(pairs))
    return {
        **trial, "verdict": {"label": labels[used]}, "pairs": trial["pairs"][:used],
        "seconds": trial["seconds"] * used / max(1, len(pairs)),
    }  # fmt: skip


def _same_code(proof: Record, trials: Sequence[Record]) -> list[Pair]:
    """The pairs of those `trials` that compared the code with itself."""
    return [pair for trial in trials if not trial["planted"] for pair in _recorded(proof, trial)]


def _recorded(proof: Record, trial: Record) -> list[Pair]:
    """The pairs of one trial as measurements that took turns."""
    return [
        (
            _as_measurement(proof, i, pair["old"], pair["conditions"][0]),
            _as_measurement(proof, i, pair["new"], pair["conditions"][1]),
        )
        for i, pair in enumerate(trial["pairs"])
    ]


def _as_measurement(proof: Record, process: int, seconds: Sequence[float], conditions: Record) -> Measurement:
    return Measurement(
        case=proof["case"], params={"mode": proof["mode"]}, process=process, seconds=tuple(seconds), flops=None, work=1,
        first_call_seconds=None, peak_rss_bytes=None, cpu_over_wall=None, unit="calls", import_seconds=None, proof={},
        conditions=conditions, interleaved=True,
    )  # fmt: skip


def _rates_of_pairs(pairs: Sequence[Pair], effect: float, resamples: int, seed: int) -> Record:
    """Rates of comparisons with looks, ended when decided, of pairs drawn from `pairs`."""
    if len(pairs) < LEAST_POOL:
        return {"why": f"{len(pairs)} pairs: {LEAST_POOL} are the least from which noise is drawn"}
    random = np.random.default_rng(seed)
    pools = [[(old, _slowed(new, shift)) for old, new in pairs] for shift in (0.0, math.log1p(effect))]
    called = [
        [
            _label_of_pairs([pool[i] for i in random.integers(len(pool), size=LOOKS[-1])], effect)
            for _ in range(resamples)
        ]
        for pool in pools
    ]
    shares = [_share(labels) for labels in called]
    return dataclasses.asdict(Rates("paired", len(pairs), sum(map(_refused, pairs)), LOOKS[-1], *shares))


def _refused(pair: Pair) -> bool:
    return not all(row.seconds for row in pair)


def _label_of_pairs(pairs: Sequence[Pair], effect: float) -> str:
    """The label at the look that decides."""
    drawn = [
        (dataclasses.replace(old, process=i), dataclasses.replace(new, process=i)) for i, (old, new) in enumerate(pairs)
    ]
    labels = (_label_at_look(drawn[:look], effect) for look in LOOKS)
    return next((label for label in labels if label != "inconclusive"), "inconclusive")


def _label_at_look(pairs: Sequence[Pair], effect: float) -> str:
    if any(map(_refused, pairs)):
        return "incomparable"  # as `compare_records` has it, which ends a comparison
    return judge_pairs("", {}, pairs, effect, most=LOOKS[-1]).label


def _rates_of_processes(records: Sequence[Record], effect: float, resamples: int, seed: int) -> Record:
    """Rates of comparisons of sessions, of processes drawn from all of them without their sessions' means."""
    sessions = [[math.log(row.value) for row in measurements(record) if row.seconds] for record in records]
    usable = [np.asarray(logs) for logs in sessions if len(logs) >= 2]
    if sum(map(len, usable)) < LEAST_POOL:
        return {"why": f"{sum(map(len, usable))} processes: {LEAST_POOL} are the least from which noise is drawn"}
    pool = np.concatenate([without_mean(logs) for logs in usable])
    size = int(np.median([len(logs) for logs in usable]))
    random = np.random.default_rng(seed)
    called = [
        [_label_of_processes(random.choice(pool, (2, size)), shift, effect) for _ in range(resamples)]
        for shift in (0.0, math.log1p(effect))
    ]
    return dataclasses.asdict(Rates("independent", len(pool), 0, size, *(_share(labels) for labels in called)))


def _label_of_processes(logs: Any, shift: float, effect: float) -> str:
    old, new = np.exp(logs[0]), np.exp(logs[1] + shift)
    return judge(independent_estimate(old, new), effect)


def _share(labels: Sequence[str]) -> float:
    return labels.count("slower") / len(labels)


def lines(record: Record) -> list[str]:
    """What came of it, for a person: a paragraph a cell, and the tables of other instruments."""
    beside = [
        line
        for table in record["rivals"]
        for line in ("", f"On the noise of {table['noise']} ({table['pairs']} pairs):", "", *rivals.lines(table))
    ]
    return [*(line for cell in record["cells"] for line in _lines(cell, record["effect"])), *beside]


def _lines(cell: Record, effect: float) -> Iterable[str]:
    where = ", ".join(cell["params"].values())
    compared = cell["comparisons"]
    if compared:
        same = sum(one["same_code"] for one in compared)
        yield (
            f"{cell['case']} ({where}): {cell['alarms']} alarms at {effect:.1%} in {len(compared)} comparisons "
            f"of sessions, {cell['false_alarms']} of them among the {same} of unchanged code"
        )
    else:
        yield f"{cell['case']} ({where}): no two sessions of one environment to compare"
    for one in compared:
        if one["label"] == "slower":
            yield f"  slower at {one['new']['created']} (code {str(one['new']['code'])[:12]}): {one['why']}"
    for step in cell["steps"]:
        low, high = step["interval"]
        heard = "with an alarm" if step["alarmed"] else "without an alarm"
        yield f"  step at {step['created']} (code {str(step['code'])[:12]}), {heard}: ratio {low:.3f} … {high:.3f}"
    noise = cell["noise"]
    if "why" in noise:
        yield f"  no rates: {noise['why']}"
    else:
        yield (
            f"  on recorded noise ({noise['pool']} {'pairs' if noise['method'] == 'paired' else 'processes'}"
            f"{', ' + str(noise['refused']) + ' of them refused by a gate' if noise['refused'] else ''}): "
            f"{noise['alarm_rate']:.1%} alarms without an effect, "
            f"{noise['detection_rate']:.1%} of {effect:.1%} slowdowns found"
        )


def exit_code(record: Record) -> int:
    """0 when something was replayed, else 3."""
    return 0 if any(cell["comparisons"] or "why" not in cell["noise"] for cell in record["cells"]) else 3
