"""Has a case become slower? Comparable or refuse, then an estimate over processes and one of four answers.

One process gives one value v, the median of its rounds in seconds per call. What is estimated is the log-ratio
delta = log(v_new / v_old), over processes that ran in pairs (one of each arm, side by side, of one session):

    d_i = log v_new,i − log v_old,i        with the interval of the signed-rank test over the d_i (`intervals.py`),

which holds for every symmetric noise; for the fewest pairs it is Student's. Where rounds took turns (`turnstile.py`),
d_i is the mean of two such ratios instead: of the fastest tenth of each arm's rounds, to which the machine added least,
and of ordinary calls, the median over turns k of log(s_new,i,k / s_old,i,k), where each turn stands against the one
beside it and what happened to both for a while is in neither. Pairs that the machine spoilt are left out
(`contamination.py`). Pairs that ran one after the other widen their interval by what an autocorrelated machine does to
ABBA order (`intervals.SERIAL`). Over arms that were measured at different times it is the difference of the means of
log v, with Welch's degrees of freedom (1947), each arm's processes being taken to remember each other
(`intervals.remembered`).

Where these two surely differ from each other, by an interval over the pairs again, the code has changed in its fastest
calls and not in others, or the other way round; then d_i is of ordinary calls alone, and the verdict says so.

Processes, never rounds: rounds of one process share its memory layout and thread placement, and testing over them
raises false alarms in most comparisons of a program with itself.

The verdict, with every single statement at error rate `ALPHA`:

* equivalent: the interval lies within ±log(1 + effect); this is two one-sided tests (Schuirmann 1987), the only way to
  say "no regression";
* slower or faster: the interval excludes 0 and its middle is nearer to the effect than to 0. An interval that excludes
  0 by a hair and reaches beyond the effect is what bad luck looks like, and what a slowdown too small to matter does:
  more processes tell;
* inconclusive: neither, with the number of processes that would decide;
* incomparable: environments or parameters differ, or a side has no number; each difference with both values.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import contamination
from benchmarks import intervals as few
from benchmarks.environment import CODE_KEYS, differences
from benchmarks.estimate import (
    ALPHA,
    CONFIDENCE,
    MOST_PROCESSES,
    ORDINARY,
    POWER,
    PROCESSES,
    Estimate,
    detectable,
    estimate_of_pairs,
    independent_estimate,
    ordinary_log_ratio,
    pair_log_ratios,
    processes_needed,
)
from benchmarks.looks import EARLY, GROSS, level
from benchmarks.measurement import SCHEMA, BenchmarkError, Measurement, Record, check_record, measurements, now

LABELS = ("equivalent", "faster", "slower", "inconclusive", "incomparable")


@dataclass(frozen=True)
class Verdict:
    """What may be said of one cell: a case on one device, in one mode, under one tuning."""

    case: str
    label: str
    ratio: float | None
    """new over old seconds: above 1 is slower"""
    interval: tuple[float, float] | None
    """of the ratio, at `CONFIDENCE`"""
    why: str
    params: dict[str, Any]
    """device, mode and tuning"""
    seconds: tuple[float, float] | None = None
    """of a call of the old and of the new arm, the median over processes; shown, and not what is compared"""
    method: str | None = None
    """"paired" or "independent\""""
    interval_by: str | None = None
    """"signed ranks", "Student's t" or "Student's t with memory\""""
    processes: tuple[int, int] | None = None
    minimum_detectable_effect: float | None = None
    """the slowdown found with probability `POWER` at the spread seen, as a fraction"""
    processes_needed: int | None = None
    """an arm, to detect the stated effect with probability `POWER` at the spread seen"""
    dropped: dict[str, str] = field(default_factory=dict)
    """process to the reason why its pair does not count"""
    alpha: float = ALPHA
    """error rate of each one-sided statement; a part of `ALPHA` where a running comparison was looked at"""
    judged_by: str | None = None
    """what of pairs: "fastest and ordinary calls", "ordinary calls" or "processes\""""

    def as_record(self) -> Record:
        """The verdict as JSON can hold it."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def judge(estimate: Estimate, effect: float) -> str:
    """The label of an estimate: equivalent within ±`effect`, slower, faster or inconclusive."""
    low, high = estimate.interval
    bound, middle = math.log1p(effect), estimate.log_ratio
    if -bound < low and high < bound:
        return "equivalent"
    if low > 0 and middle >= bound / 2:
        return "slower"
    return "faster" if high < 0 and middle <= -bound / 2 else "inconclusive"


def compare_records(
    old: Record, new: Record, effect: float = 0.03, *, studied: Iterable[str] = CODE_KEYS, most: int | None = None
) -> Record:
    """The comparison of two bench records as a record of kind "compare", one verdict a cell of either.

    `effect` is the slowdown worth knowing, as a fraction; `studied` are the environment's keys that may differ. `most`:
    the comparison may still be running, or was ended when it was decided, after so many pairs at the latest
    (`looks.py`); None for one whose pairs were counted beforehand.
    Raises `BenchmarkError` for an impossible effect or for something that is not a bench record.
    """
    if not 0 < effect < 1:
        raise BenchmarkError(f"the effect must lie between 0 and 1 (0.03 is 3 %), not {effect}")
    check_record(old, source="the old record")
    check_record(new, source="the new record")
    differing = differences(old["environment"], new["environment"], ignore=studied)
    paired = old.get("session") is not None and old.get("session") == new.get("session")
    arms = [_by_cell(measurements(record)) for record in (old, new)]
    cells = list(dict.fromkeys([*arms[0], *arms[1]]))
    verdicts = [
        _verdict(cell, arms[0].get(cell, []), arms[1].get(cell, []), effect, differing, paired, most) for cell in cells
    ]
    return {
        "schema": SCHEMA,
        "kind": "compare",
        "created": now(),
        "environment": new["environment"],
        "old": {"created": old.get("created"), "environment": old["environment"]},
        "new": {"created": new.get("created"), "environment": new["environment"]},
        "effect": effect,
        "alpha": ALPHA,
        "confidence": CONFIDENCE,
        "power": POWER,
        "verdicts": [verdict.as_record() for verdict in verdicts],
    }


def exit_code(comparison: Record) -> int:
    """0 when every cell is equivalent or faster, 1 when one is slower, else 3; 3 also when nothing was compared."""
    labels = {verdict["label"] for verdict in comparison["verdicts"]}
    if "slower" in labels:
        return 1
    return 0 if labels and labels <= {"equivalent", "faster"} else 3


Cell = tuple[str, str, str, str]


def _by_cell(rows: Iterable[Measurement]) -> dict[Cell, list[Measurement]]:
    grouped: dict[Cell, list[Measurement]] = {}
    for row in rows:
        grouped.setdefault(row.cell, []).append(row)
    return grouped


def _verdict(
    cell: Cell,
    old: Sequence[Measurement],
    new: Sequence[Measurement],
    effect: float,
    differing: Sequence[str],
    paired: bool,
    most: int | None,
) -> Verdict:
    params = dict(zip(("device", "mode", "tuning"), cell[1:], strict=True))
    if paired and old and new:
        old, new = side_by_side(old, new)
    refusal = _refusal(old, new, differing, paired=paired)
    if refusal:
        return Verdict(cell[0], "incomparable", None, None, refusal, params)
    arms = [[row.value for row in arm] for arm in (old, new)]
    if paired:
        verdict = judge_pairs(cell[0], params, list(zip(old, new, strict=True)), effect, most=most)
    elif min(map(len, arms)) < 2:
        verdict = _too_few(cell[0], params, (len(arms[0]), len(arms[1])))
    else:
        verdict = _judged(cell[0], params, independent_estimate(*arms), effect)
    return dataclasses.replace(verdict, seconds=(statistics.median(arms[0]), statistics.median(arms[1])))


def judge_pairs(
    case: str, params: dict[str, Any], found: Sequence[contamination.Pair], effect: float, *, most: int | None
) -> Verdict:
    """What may be said of a cell from the pairs `found`, of which those that the machine spoilt are left out."""
    pairs = contamination.sort(found)
    count = len(pairs.kept)
    alpha = level(count + len(pairs.dropped), ALPHA, most) if most else ALPHA
    least = few.enough(alpha) if most else 2
    if count >= least or (most and _gross(pairs.kept)):
        ratios, by = pair_log_ratios(pairs.kept, alpha)
        estimate = estimate_of_pairs(ratios, alpha, stretch=few.SERIAL if by == PROCESSES else 1.0)
        verdict = dataclasses.replace(_judged(case, params, estimate, effect), judged_by=by)
        if by == ORDINARY:
            why = f"{verdict.why}; of ordinary calls alone, as the fastest surely changed by another factor"
            verdict = dataclasses.replace(verdict, why=why)
    else:
        verdict = _too_few(case, params, (count, count), least)
    dropped = {str(process): reason for process, reason in pairs.dropped.items()}
    if pairs.unfit:
        why = f"{len(dropped)} of {count + len(dropped)} pairs were spoilt by the machine: measure when it is quieter"
        verdict = dataclasses.replace(verdict, label="inconclusive", why=why)
    return dataclasses.replace(verdict, dropped=dropped)


def _gross(pairs: Sequence[contamination.Pair]) -> bool:
    """Whether a change is so large that few pairs are enough to call it one (`looks.py`)."""
    ratios = [ordinary_log_ratio(*pair) for pair in pairs]
    return len(ratios) >= EARLY and (min(ratios) > GROSS or max(ratios) < -GROSS)


def _too_few(case: str, params: dict[str, Any], sizes: tuple[int, int], least: int = 2) -> Verdict:
    number = "two" if least == 2 else least
    why = f"{sizes[0]} old and {sizes[1]} new processes: {number} of each are the least from which noise can be told"
    return Verdict(case, "inconclusive", None, None, why, params, processes=sizes, processes_needed=least)


def _refusal(
    old: Sequence[Measurement], new: Sequence[Measurement], differing: Sequence[str], *, paired: bool
) -> str | None:
    """Why two arms cannot be compared, or None; of pairs, the rows that were side by side."""
    if paired and not old and not new:
        return "no process of one ran beside one of the other"
    if not old or not new:
        return f"only the {'new' if new else 'old'} record has this cell"
    if differing:
        return "the environments differ in " + "; ".join(differing)
    for name, arm in (("old", old), ("new", new)):
        reasons = [row.invalid for row in arm if row.invalid]
        if reasons:
            return f"{len(reasons)} of {len(arm)} processes of the {name} record are invalid: {reasons[0]}"
    turns = ("rounds",) if paired else ()  # of the faster arm a turn may have more
    unequal = differences(_meaning(old[0]), _meaning(new[0]), ignore=turns)
    return "what was timed differs in " + "; ".join(unequal) if unequal else None


def _meaning(row: Measurement) -> dict[str, object]:
    """What one call computes: numbers about different work are never compared."""
    return {**row.params, "work": row.work, "unit": row.unit, "flops": row.flops}


def side_by_side(old: Sequence[Measurement], new: Sequence[Measurement]) -> tuple[list[Measurement], list[Measurement]]:
    """The rows of one cell, of the processes that both arms have, in the order of their numbers."""
    by_process = [{row.process: row for row in arm} for arm in (old, new)]
    common = sorted(by_process[0].keys() & by_process[1].keys())
    return [by_process[0][i] for i in common], [by_process[1][i] for i in common]


def _judged(case: str, params: dict[str, Any], estimate: Estimate, effect: float) -> Verdict:
    label = judge(estimate, effect)
    low, high = (math.exp(bound) for bound in estimate.interval)
    needed = processes_needed(effect, estimate.stretch * estimate.spread, estimate.method)
    return Verdict(
        case=case,
        label=label,
        ratio=math.exp(estimate.log_ratio),
        interval=(low, high),
        why=_why(label, (low, high), effect, estimate, needed),
        params=params,
        method=estimate.method,
        interval_by=estimate.by,
        processes=estimate.sizes,
        minimum_detectable_effect=detectable(estimate),
        processes_needed=needed,
        alpha=estimate.alpha,
    )


def _why(label: str, interval: tuple[float, float], effect: float, estimate: Estimate, needed: int | None) -> str:
    low, high = (f"{100 * (bound - 1):+.2f} %" for bound in interval)
    sizes = f"{estimate.sizes[0]} + {estimate.sizes[1]} processes"
    span = f"{low} … {high} ({100 * (1 - 2 * estimate.alpha):.3g} %, {estimate.method}, {estimate.by}, {sizes})"
    if label == "equivalent":
        return f"{span} lies within ±{effect:.1%}"
    if label in ("slower", "faster"):
        return f"{span} excludes 0"
    more = f"about {needed}" if needed else f"more than {MOST_PROCESSES}"
    excludes = interval[0] > 1 or interval[1] < 1
    open_ = "excludes 0, but its middle is nearer to 0 than to" if excludes else "holds both 0 and"
    either = "" if excludes else " or more either way"
    return f"{span} {open_} {effect:.1%}{either}: {more} processes an arm find such a slowdown with {POWER:.0%} chance"
