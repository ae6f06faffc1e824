"""What other instruments need for what the clock does: as few alarms, as many detections, on the same recorded noise.

A record of the clock's own trial (`proof.py`) keeps every call of every process. Those of the comparisons of the code
with itself are noise; a slowdown is one arm's seconds times 1 + effect. Drawn again a thousand times in the places of
each instrument's processes, they say how often it alarms at nothing and how often it finds the slowdown:

| | an arm | slower, if |
|---|---|---|
| pytest-benchmark 5.3.1 | one process; its min, median or mean | new > (1 + P) old |
| asv 0.6.6, asv_runner 0.3.2 | two processes, calls pooled; their median | new > factor · old, and Mann–Whitney's two-sided p < 0.002 |

`--benchmark-compare-fail` of pytest-benchmark has no default; 5 % is the example of its help (pytest_benchmark/plugin.py;
the rule is `PercentageRegressionCheck` in utils.py). Without a warm-up, it calls for 1 s, at least 5 times (`_raw` of
fixture.py); it is taken as if somebody had made the compiling first call before, which else leaves it 5 calls. `asv
continuous` keeps samples (`record_default=True`, asv/commands/continuous.py) and flags a factor of 1.1
(asv/commands/common_args.py) where `_is_result_better` (asv/commands/compare.py) and `is_different` (asv/_stats.py) say
so: Mann and Whitney (1947), exact up to 20 calls an arm and normal beyond, of ties the least significant breaking. It
makes 2 × 5 calls of 10 ms or more (asv_runner/benchmarks/time.py). Its intervals are for fewer than 6 calls an arm only.

Run more often, k processes an arm, pytest-benchmark is given the same statistic of the processes' statistics, and asv
`-a rounds=k`. What is asked of each is at most 1 % alarms and at least 95 % detections. Everything left open is decided
in the rival's favour: its threshold is the one that is best in hindsight, for each k, though nobody knows it before;
`--benchmark-compare-fail` takes whole per cents only, and is given any; the first k that will do is taken even if the
next one does not; its processes are charged what the clock's cost, whose starts overlap two by two; calls that it does
not make are not charged. Processes meet what the machine did at their time, in one of these orders:

* anywhere: each process at a moment of its own, as if spread over the whole record, old and new in different pairs;
* in a row: k processes of one arm, one after the other, then k of the other, as pytest-benchmark runs them;
* by turns: A B, B A, A B, …, each process alone, as asv runs them (`--interleave-rounds`, unless the environment is one
  that exists): asv/commands/run.py;
* side by side: both in one pair, call by call by turns. The clock makes pairs, and no rival does.

In a row and by turns take stretches of consecutive pairs; trials with a planted slowdown are left out, so a stretch has
gaps of a minute or two. Long stretches overlap: of n pairs, n − 2k + 1 are different.

What `compared` gives, for the record of `replay`: first the clock itself, from its verdicts,

    [{"instrument": "ddpm-bench", "calls", "processes": pairs, "seconds": of a verdict (medians of all trials),
      "alarms": slower or faster in trials without a slowdown, "of", "found": slower in those with one, "of_slowed"},
     {"instrument", "calls": of a process, "processes": an arm, by itself, "seconds": of one process of both arms,
      "order": its own, "own": {"threshold": ratio, "alarm_rate", "detection_rate"}, "best": {the same, in hindsight},
      "enough": {order: {"processes", "seconds", "threshold", "alarm_rate", "detection_rate"} of the first k that will
                 do, or {"most": the largest k tried, "detection_rate": the best of any k}}}, …]
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.estimate import ALPHA, POWER
from benchmarks.measurement import Record

PROCESSES = (*range(1, 13), 14, 16, 18, 20, 25, 30, 35, 40, 50, 60)
"""Processes an arm that are tried."""

FEWEST_PAIRS = 10
"""From fewer, the same few are compared with themselves."""

ASV_P = 0.002
ASV_EXACT = 20
"""The most calls an arm for which asv's p is exact."""

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

Draw = tuple[Indices, Indices]
"""Processes of the old and of the new arm, (comparisons, k) each; 2i and 2i + 1 are those of pair i."""

Ratios = Callable[[Draw], tuple[Array, Array]]
"""New over old of each comparison, without an effect and with it; 0 where the instrument says that nothing differs."""


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
    """(count, size): with replacement, the smallest value of both arms would often be that of one and the same process."""
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

def pytest_benchmark(statistic: Callable[..., Any]) -> Callable[[Sequence[Array], float], Ratios]:
    """A statistic of each process, and the same one of an arm's processes."""

    def ratios(processes: Sequence[Array], effect: float) -> Ratios:
        values = np.array([statistic(calls) for calls in processes])

        def of(draw: Draw) -> tuple[Array, Array]:
            old, new = (statistic(values[arm], axis=1) for arm in draw)
            return new / old, (1 + effect) * new / old

        return of

    return ratios


def asv(processes: Sequence[Array], effect: float) -> Ratios:
    """The median of all calls of an arm, where Mann–Whitney's test says that the arms differ."""
    sizes = np.array([len(calls) for calls in processes])
    same, slowed = _wins(processes, 1.0), _wins(processes, 1 + effect)

    def of(draw: Draw) -> tuple[Array, Array]:
        old, new = draw
        medians = [np.array([np.median(np.concatenate([processes[i] for i in row])) for row in arm]) for arm in draw]
        ratio = medians[1] / medians[0]
        m, n = sizes[old].sum(axis=1), sizes[new].sum(axis=1)
        differ = [_differ(*(_over_arms(wins, old, new) for wins in table), m, n) for table in (same, slowed)]
        return np.where(differ[0], ratio, 0.0), np.where(differ[1], (1 + effect) * ratio, 0.0)

    return of


def _wins(processes: Sequence[Array], factor: float) -> tuple[Indices, Indices]:
    """How often a call of process i took longer than `factor` times one of process j, and how often as long: (n, n).

    Mann and Whitney's U of two arms is the sum of this over their processes.
    """
    calls = np.concatenate(processes)
    starts = np.cumsum([0, *(len(one) for one in processes[:-1])])
    longer, equal = [], []
    for other in processes:
        ordered = np.sort(factor * other)
        below, upto = (np.searchsorted(ordered, calls, side) for side in ("left", "right"))
        longer.append(np.add.reduceat(below, starts))
        equal.append(np.add.reduceat(upto - below, starts))
    return np.array(longer).T, np.array(equal).T


def _over_arms(wins: Indices, old: Indices, new: Indices) -> Indices:
    return np.asarray(wins[old[:, :, np.newaxis], new[:, np.newaxis, :]].sum(axis=(1, 2)))


def _differ(longer: Indices, equal: Indices, m: Indices, n: Indices) -> NDArray[np.bool_]:
    """Whether asv calls arms with m and n calls different; ties are broken towards the middle of U."""
    middle = m * n // 2
    nearest = [np.minimum(u, m * n - u) for u in (longer, longer + equal)]
    split = (longer <= middle) & (longer + equal >= middle)
    u = np.where(split, middle, np.maximum(*nearest))
    return np.asarray(u <= np.array([critical(int(a), int(b)) for a, b in zip(m, n, strict=True)]))


@cache
def critical(m: int, n: int) -> int:
    """The largest U that asv calls different for m and n calls; −1 if there is none."""
    if max(m, n) > ASV_EXACT:
        bound = m * n / 2 + float(stats.norm.ppf(ASV_P / 2)) * math.sqrt(m * n * (m + n + 1) / 12)
        return math.ceil(bound) - 1
    return next(u for u in range(m * n) if _exact(u, m, n) >= ASV_P) - 1


def _exact(u: int, m: int, n: int) -> float:
    """The two-sided p of U = u: of m values that together exceed u of n others."""
    exceeded = [min(n, max(0, u - i * n)) for i in range(m)]
    one, other = np.array(exceeded) - 0.5, np.arange(n)
    return float(stats.mannwhitneyu(one, other, method="exact").pvalue)


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
    """Calls of pytest-benchmark by itself: `--benchmark-max-time` 1 s by what a call took, `--benchmark-min-rounds` 5."""
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


def compared(proof: Record, effect: float, *, resamples: int, seed: int) -> list[Record]:
    """The clock and its rivals on the noise of a `proof`; nothing where it has too few pairs to draw from."""
    noise = [trial for trial in proof["trials"] if not trial["planted"]]
    pairs = [pair for trial in noise for pair in trial["pairs"]]
    if len(pairs) < FEWEST_PAIRS:
        return []
    recorded = [pair[arm] for pair in pairs for arm in ("old", "new")]
    seconds = statistics.median(trial["seconds"] / len(trial["pairs"]) for trial in noise)
    return [_clock(proof["trials"]), *(_rival(rival, recorded, seconds, effect, resamples, seed) for rival in RIVALS)]


def _clock(trials: Sequence[Record]) -> Record:
    """What the clock's own verdicts were and took."""
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
    trial = _Trial(rival.ratios(processes, effect), len(processes) // 2, resamples, seed)
    return {
        "instrument": rival.name, "calls": statistics.median(len(calls) for calls in processes),
        "processes": rival.processes, "seconds": cost, "order": rival.order,
        "own": trial.rates(rival.order, rival.processes, rival.threshold),
        "best": trial.rates(rival.order, rival.processes),
        "enough": {order: trial.enough(order, rival.processes, cost) for order in ORDERS},
    }  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """An instrument's comparisons, drawn from so many pairs."""

    ratios: Ratios
    pairs: int
    resamples: int
    seed: int

    def rates(self, order: str, k: int, threshold: float | None = None) -> Record:
        """Alarms and detections with k processes an arm; by default at the best threshold."""
        draw = ORDERS[order](self.pairs, k, self.resamples, np.random.default_rng((self.seed, k)))
        same, slowed = self.ratios(draw)
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


def lines(rivals: Sequence[Record]) -> list[str]:
    """The table, for a person: as it stands in docs/clock.md."""
    if not rivals:
        return []
    head = ["instrument", "calls", "by itself: alarms", "found", "best threshold", "found", *ORDERS]
    rows = [head, ["---"] * len(head), _clock_row(rivals[0]), *(_row(rival) for rival in rivals[1:])]
    return [f"| {' | '.join(row)} |" for row in rows]


def _clock_row(clock: Record) -> list[str]:
    alarms, found = f"{clock['alarms']} of {clock['trials']}", f"{clock['found']} of {clock['slowed']}"
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
