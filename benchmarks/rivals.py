"""What other instruments need for what the clock does: as few alarms, as many detections, on the same recorded noise.

A record of the clock's own trial (`proof.py`) keeps every call of every process. Those of the comparisons of the code
with itself are noise; a slowdown is one arm's seconds times 1 + effect. Drawn again a thousand times in the places of
each instrument's processes, they say how often its rule (`rival_rules.py`) alarms at nothing and finds the slowdown.

Run more often, with k processes an arm, pytest-benchmark is given the same statistic of its processes' statistics, and
asv `-a rounds=k`. What is asked of each is at most 1 % alarms and at least 95 % detections. What is open is decided in
the rival's favour:

* its threshold is the one that is best in hindsight, for each k, though nobody knows it before, and
  `--benchmark-compare-fail` takes whole per cents only;
* the first k that will do is taken, even if the next one does not;
* its processes are charged what the clock's cost, whose starts overlap two by two, without the calls it does not make;
* its calls are those of a process that took turns with another, so they saw twice the time that they take;
* pairs with a process that the clock refused a number are left out. They do count against the clock: a comparison with
  one has no answer.

Processes meet what the machine did at their time, in one of these orders:

* anywhere: 2k moments of the record, each process at its own;
* in a row: k processes of one arm, one after the other, then k of the other, as pytest-benchmark runs them;
* by turns: A B, B A, A B, …, each process alone, as asv does unless it uses an environment that exists
  (`--interleave-rounds`, asv/commands/run.py);
* side by side: both in one pair, call by call by turns. The clock makes pairs, and neither rival does.

In a row and by turns take stretches of consecutive pairs; trials with a planted slowdown are left out, so a stretch has
gaps of a minute or two. Long stretches overlap: of n pairs, n − 2k + 1 are different.

A third of the trials was disturbed on purpose, so there are two tables, of every trial and of the others alone. What
`tables` gives, for the record of `replay`:

    [{"noise": of which trials, "pairs": that were drawn from, "instruments": [
       {"instrument": "ddpm-bench", "calls": of a process, "processes": pairs, "seconds": of a verdict (all medians),
        "alarms": slower or faster, of "trials" without a slowdown, "found": slower, of "slowed" trials with one,
        "own": {"alarm_rate", "detection_rate"} of comparisons that `replay` draws},
       {"instrument", "calls", "processes": an arm, by itself, "seconds": of one process of both arms, "order": its own,
        "own": {"threshold": ratio, "alarm_rate", "detection_rate"}, "best": {the same, in hindsight},
        "enough": {order: {"processes", "seconds", "threshold", "alarm_rate", "detection_rate"} of the first k that will
                   do, or {"most": the largest k tried, "detection_rate": the best of any}}}, …]}, …]
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimate import ALPHA, POWER
from benchmarks.measurement import Record
from benchmarks.rival_rules import Array, Draw, Indices, Ratios, asv, pytest_benchmark

PROCESSES = (*range(1, 13), 14, 16, 18, 20, 25, 30, 35, 40, 50, 60)
"""Processes an arm that are tried."""

FEWEST_PAIRS = 10
"""From fewer, the same few are compared with themselves."""


def anywhere(pairs: int, k: int, count: int, random: np.random.Generator) -> Draw:
    """2k different pairs at random, one process of each."""
    drawn = _either(_different(pairs, 2 * k, count, random), random)
    return drawn[:, :k], drawn[:, k:]


def in_a_row(pairs: int, k: int, count: int, random: np.random.Generator) -> Draw:
    """A stretch of one arm, and one of the other after it; which arm comes first is a coin's."""
    return _stretch(pairs, np.arange(2 * k) < k, count, random)


def by_turns(pairs: int, k: int, count: int, random: np.random.Generator) -> Draw:
    """A B, B A, A B, …: a stretch in which the arms alternate."""
    return _stretch(pairs, np.isin(np.arange(2 * k) % 4, (0, 3)), count, random)


def side_by_side(pairs: int, k: int, count: int, random: np.random.Generator) -> Draw:
    """Both processes of k different pairs."""
    old = _either(_different(pairs, k, count, random), random)
    return old, old ^ 1


def _different(pairs: int, size: int, count: int, random: np.random.Generator) -> Indices:
    """(count, size): were they drawn with replacement, the smallest value of both arms would often be the same."""
    return np.argsort(random.random((count, pairs)), axis=1)[:, :size]


def _either(pairs: Indices, random: np.random.Generator) -> Indices:
    """One of the two processes of each pair: they ran the same code."""
    return np.asarray(2 * pairs + random.integers(2, size=pairs.shape))


def _stretch(pairs: int, first: NDArray[np.bool_], count: int, random: np.random.Generator) -> Draw:
    """Consecutive pairs, of which those marked `first` go to one arm and the rest to the other."""
    length = len(first)
    start = random.integers(pairs - length + 1, size=(count, 1))
    drawn = _either(start + np.arange(length), random)
    swapped = random.integers(2, size=(count, 1)) == 1
    one, other = drawn[:, first], drawn[:, ~first]
    return np.where(swapped, other, one), np.where(swapped, one, other)


ORDERS: Mapping[str, Callable[[int, int, int, np.random.Generator], Draw]] = {
    "anywhere": anywhere,
    "in a row": in_a_row,
    "by turns": by_turns,
    "side by side": side_by_side,
}


@lru_cache(maxsize=128)
def _drawn(order: str, pairs: int, k: int, count: int, seed: int) -> Draw:
    """The same comparisons for every instrument, of processes of which 2i and 2i + 1 are those of pair i."""
    return ORDERS[order](pairs, k, count, np.random.default_rng((seed, k)))


@dataclass(frozen=True)
class Rival:
    """An instrument as it is used."""

    name: str
    calls: Callable[[Sequence[float]], int]
    """how many of a process's recorded calls it would have made"""
    processes: int
    """an arm, by itself"""
    threshold: float
    """the ratio from which it calls an arm slower, by itself"""
    order: str
    ratios: Callable[[Sequence[Array], float], Ratios]


def one_second(seconds: Sequence[float]) -> int:
    """Calls of pytest-benchmark by itself: as many as fit into its `--benchmark-max-time`, at least 5."""
    return max(5, math.ceil(1.0 / seconds[0]))


RIVALS = (
    *(
        Rival(f"pytest-benchmark, {name}", calls, 1, 1.05, "in a row", pytest_benchmark(statistic))
        for calls in (one_second, len)
        for name, statistic in (("min", np.min), ("median", np.median), ("mean", np.mean))
    ),
    *(Rival("asv", calls, 2, 1.1, "by turns", asv) for calls in (lambda _: 5, len)),
)
"""Each with as many calls a process as by itself, and with as many as the clock makes."""


EVERY, UNDISTURBED = "every trial", "undisturbed trials"


def noises(proof: Record) -> dict[str, list[Record]]:
    """The trials whose noise is looked at, by name."""
    trials = proof["trials"]
    return {EVERY: trials, UNDISTURBED: [trial for trial in trials if not trial["disturbed"]]}


def tables(
    proof: Record,
    effect: float,
    clock: Mapping[str, Record],
    judged: Mapping[str, Sequence[Record]],
    *,
    resamples: int,
    seed: int,
) -> list[Record]:
    """The clock and its rivals on each of the `noises` of a `proof`.

    `clock` has the clock's own rates on them, of comparisons that end when decided, and `judged` their trials as they
    end by its rule. A table is left out where there are fewer than `FEWEST_PAIRS`.
    """
    found = []
    for noise, trials in noises(proof).items():
        pairs = _pairs(trials)
        if len(pairs) >= FEWEST_PAIRS:
            rates = {name: clock[noise][name] for name in ("alarm_rate", "detection_rate")}
            ours = {**_clock(judged[noise]), "own": rates}
            instruments = [ours, *compared(trials, effect, resamples, seed)]
            found.append({"noise": noise, "pairs": len(pairs), "instruments": instruments})
    return found


def _pairs(trials: Sequence[Record]) -> list[Record]:
    """Pairs of the code with itself, in the order of time."""
    same = [trial for trial in trials if not trial["planted"]]
    return [pair for trial in same for pair in trial["pairs"] if pair["old"] and pair["new"]]


def compared(trials: Sequence[Record], effect: float, resamples: int, seed: int) -> list[Record]:
    """Each rival on the noise of `trials`."""
    recorded = [pair[arm] for pair in _pairs(trials) for arm in ("old", "new")]
    seconds = statistics.median(t["seconds"] / len(t["pairs"]) for t in trials if not t["planted"])
    return [_rival(rival, recorded, seconds, effect, resamples, seed) for rival in RIVALS]


def _clock(trials: Sequence[Record]) -> Record:
    """What the clock's own verdicts are, and what they took."""
    labels: dict[bool, list[str]] = {False: [], True: []}
    for trial in trials:
        labels[bool(trial["planted"])].append(trial["verdict"]["label"])
    return {
        "instrument": "ddpm-bench",
        "calls": statistics.median(len(pair["old"]) for trial in trials for pair in trial["pairs"]),
        "processes": statistics.median(len(trial["pairs"]) for trial in trials),
        "seconds": statistics.median(trial["seconds"] for trial in trials),
        "alarms": sum(label in ("slower", "faster") for label in labels[False]), "trials": len(labels[False]),
        "found": labels[True].count("slower"), "slowed": len(labels[True]),
    }  # fmt: skip


def _rival(
    rival: Rival, recorded: Sequence[Sequence[float]], seconds: float, effect: float, resamples: int, seed: int
) -> Record:
    """What one rival does and needs; `seconds` are those of one process of both arms with all recorded calls."""
    processes = [np.asarray(calls[: rival.calls(calls)], np.float64) for calls in recorded]
    spared = statistics.mean(sum(calls) - float(used.sum()) for calls, used in zip(recorded, processes, strict=True))
    cost = seconds - 2 * spared
    trial = Trial(rival.ratios(processes, effect), len(processes) // 2, resamples, seed)
    return {
        "instrument": rival.name, "calls": statistics.median(len(calls) for calls in processes),
        "processes": rival.processes, "seconds": cost, "order": rival.order,
        "own": trial.rates(rival.order, rival.processes, rival.threshold),
        "best": trial.rates(rival.order, rival.processes),
        "enough": {order: trial.enough(order, rival.processes, cost) for order in ORDERS},
    }  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """An instrument's comparisons, drawn from so many pairs."""

    ratios: Ratios
    pairs: int
    resamples: int
    seed: int

    def rates(self, order: str, k: int, threshold: float | None = None) -> Record:
        """Alarms and detections with k processes an arm; by default at the best threshold."""
        same, slowed = self.ratios(_drawn(order, self.pairs, k, self.resamples, self.seed))
        if threshold is None:
            allowed = math.floor(ALPHA * len(same))
            threshold = max(1.0, float(np.sort(same)[-1 - allowed]))
        rates = {"alarm_rate": float(np.mean(same > threshold)), "detection_rate": float(np.mean(slowed > threshold))}
        return {"threshold": threshold, **rates}

    def enough(self, order: str, least: int, seconds: float) -> Record:
        """The first of `PROCESSES` an arm with the power asked for, and the time that it takes."""
        best = 0.0
        tried = [k for k in PROCESSES if least <= k <= self.pairs // 2]
        for k in tried:
            found = self.rates(order, k)
            if found["detection_rate"] >= POWER:
                return {"processes": k, "seconds": k * seconds, **found}
            best = max(best, found["detection_rate"])
        return {"most": tried[-1], "detection_rate": best}


def lines(found: Record) -> list[str]:
    """One of the `tables`, for a person and as it stands in docs/clock.md."""
    rivals = found["instruments"]
    head = ["instrument", "calls", "by itself: alarms", "found", "best threshold", "found", *ORDERS]
    rows = [head, ["---"] * len(head), _clock_row(rivals[0]), *(_row(rival) for rival in rivals[1:])]
    return [f"| {' | '.join(row)} |" for row in rows]


def _clock_row(clock: Record) -> list[str]:
    own = clock["own"]
    alarms = f"{own['alarm_rate']:.1%}, {clock['alarms']} of {clock['trials']}"
    found = f"{own['detection_rate']:.1%}, {clock['found']} of {clock['slowed']}"
    needed = f"{clock['processes']:g} ({clock['seconds']:.0f} s)"
    return [clock["instrument"], f"{clock['calls']:g}", alarms, found, "", "", "", "", "", needed]


def _row(rival: Record) -> list[str]:
    own, best = rival["own"], rival["best"]
    return [
        rival["instrument"], f"{rival['calls']:g}", f"{own['alarm_rate']:.1%}", f"{own['detection_rate']:.1%}",
        f"{best['threshold'] - 1:+.1%}", f"{best['detection_rate']:.1%}",
        *(_needed(rival["enough"][order]) for order in ORDERS),
    ]  # fmt: skip


def _needed(enough: Record) -> str:
    if "most" in enough:
        return f"none to {enough['most']} (at best {enough['detection_rate']:.0%})"
    return f"{enough['processes']} ({enough['seconds']:.0f} s)"
