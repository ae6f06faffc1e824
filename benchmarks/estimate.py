"""By how much arms differ, how sure that is, and what could have been seen: estimates over processes.

A pair's value is a log-ratio, and so is what is estimated; `compare.py` says what it means. The smallest slowdown that
a comparison would have shown, and the processes that one of a given size takes, come from the test that is then made:
signed ranks (`intervals.detectable`), or the noncentral t distribution where the interval is Student's. Processes of
arms that were not measured in pairs may remember (`intervals.MEMORY`): a machine in another mood is no slower program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from benchmarks import intervals as few
from benchmarks.measurement import Measurement

ALPHA = 0.01
"""Error rate of each one-sided statement: "slower" where nothing changed, "equivalent" where it is slower."""

POWER = 0.95
"""Chance to detect the stated effect that the minimum detectable effect and the processes needed refer to."""

CONFIDENCE = 1 - 2 * ALPHA
"""Of the two-sided interval, which therefore makes both one-sided statements at `ALPHA`."""

MOST_PROCESSES = 1000
"""Beyond so many an arm, no number is named."""

FASTEST = 0.1
"""Share of an arm's rounds, one at least, that are its fastest."""

BOTH, ORDINARY, PROCESSES = "fastest and ordinary calls", "ordinary calls", "processes"
"""What pairs are judged by."""


@dataclass(frozen=True)
class Estimate:
    """A log-ratio with what is needed to judge it."""

    log_ratio: float
    standard_error: float
    degrees: float
    spread: float
    """standard deviation of one pair's log-ratio, or of one process's log value"""
    method: str
    """"paired" or "independent\""""
    sizes: tuple[int, int]
    """processes of the old and of the new arm"""
    alpha: float = ALPHA
    """error rate of each one-sided statement"""
    bounds: tuple[float, float] | None = None
    """interval by signed ranks; None where it is Student's, of independent arms with memory"""
    stretch: float = 1.0
    """what the interval of pairs is wider by, as they ran one after the other"""

    @property
    def by(self) -> str:
        """The name of the interval: signed ranks take the noise for symmetric, Student's t for normal."""
        if self.method == "independent":
            return few.REMEMBERED
        return few.STUDENT if self.bounds is None else few.SIGNED_RANKS

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of the log-ratio at confidence 1 − 2 alpha."""
        if self.bounds is not None:
            return self.bounds
        half = stats.t.ppf(1 - self.alpha, self.degrees) * self.standard_error
        return (self.log_ratio - half, self.log_ratio + half)


def pair_log_ratios(pairs: Sequence[tuple[Measurement, Measurement]], alpha: float = ALPHA) -> tuple[list[float], str]:
    """Of each pair the log-ratio that it is judged by, and of what: `BOTH`, `ORDINARY` or `PROCESSES`.

    What a machine adds to a call is nothing, or a whole time slice of the scheduler's. So calls have two or three
    speeds: a median is one of them or another, as it happens, and the fastest are those of a lucky process. Rarely is
    the machine wrong about both in one pair, and half of one error is a small error: so it is the mean of both, while
    they may be the same. Code can become slower in every call but its fastest, or in those alone; where the interval of
    what they differ by excludes 0, ordinary calls count alone.

    Pairs without turns have the values of their processes. Two pairs at least.
    """
    ordinary = [ordinary_log_ratio(*pair) for pair in pairs]
    if not all(row.interleaved for pair in pairs for row in pair):
        return ordinary, PROCESSES
    fastest = [fastest_log_ratio(*pair) for pair in pairs]
    low, high = estimate_of_pairs(np.subtract(ordinary, fastest), alpha).interval
    if low > 0 or high < 0:
        return ordinary, ORDINARY
    return [(o + f) / 2 for o, f in zip(ordinary, fastest, strict=True)], BOTH


def ordinary_log_ratio(old: Measurement, new: Measurement) -> float:
    """The log-ratio of a pair: of turns side by side where they took turns, else of the processes' values.

    The median over turns. A turn's value is its median round: an arm whose calls are shorter has several in one
    (`pairs.count_rounds`).
    """
    turns = _turns(old, new)
    if turns is None:
        return math.log(new.value / old.value)
    return float(np.median(np.median(turns[1], axis=1) - np.median(turns[0], axis=1)))


def fastest_log_ratio(old: Measurement, new: Measurement) -> float:
    """The log-ratio of a pair's fastest calls, to which the machine added least; without turns, of its values.

    Of the rounds that have the same place in their turns the fastest `FASTEST`, and the mean over places: of an arm
    with more rounds a tenth is further from its fastest one, and that must not look like speed.
    """
    turns = _turns(old, new)
    if turns is None:
        return math.log(new.value / old.value)
    count = max(1, int(FASTEST * len(turns[0])))
    means = [np.sort(arm, axis=0)[:count].mean() for arm in turns]
    return float(means[1] - means[0])


def _turns(old: Measurement, new: Measurement) -> list[NDArray[np.float64]] | None:
    """Logarithms of the seconds of each arm, (turns, rounds a turn), or None where rounds did not take turns."""
    turns = min(len(old.seconds), len(new.seconds))
    if not (old.interleaved and new.interleaved) or len(old.seconds) % turns or len(new.seconds) % turns:
        return None
    return [np.log(row.seconds).reshape(turns, -1) for row in (old, new)]


def paired_estimate(old: Sequence[float], new: Sequence[float]) -> Estimate:
    """The log-ratio over pairs; `old[i]` and `new[i]` are seconds of processes that ran side by side."""
    return estimate_of_pairs(np.log(np.asarray(new, np.float64)) - np.log(np.asarray(old, np.float64)))


def estimate_of_pairs(
    log_ratios: Sequence[float] | NDArray[np.float64], alpha: float = ALPHA, *, stretch: float = 1.0
) -> Estimate:
    """The log-ratio over pairs, from that of each; statements about it err at the rate `alpha`.

    `stretch` widens the interval about its centre (`intervals.SERIAL`).
    """
    pairs = np.asarray(log_ratios, np.float64)
    found = few.interval(pairs, alpha).stretched(stretch)
    spread = float(pairs.std(ddof=1))
    count = len(pairs)
    return Estimate(
        log_ratio=found.centre,
        standard_error=stretch * spread / math.sqrt(count),
        degrees=count - 1,
        spread=spread,
        method="paired",
        sizes=(count, count),
        alpha=alpha,
        bounds=(found.low, found.high) if found.method == few.SIGNED_RANKS else None,
        stretch=stretch,
    )


def independent_estimate(old: Sequence[float], new: Sequence[float]) -> Estimate:
    """The log-ratio over two arms of processes, in seconds, that were measured at different times.

    Each arm's processes may remember each other (`intervals.remembered`); with their variances and degrees of freedom,
    the difference is Welch's (1947).
    """
    logs = [np.log(np.asarray(arm, np.float64)) for arm in (old, new)]
    memories = [few.remembered(len(arm)) for arm in logs]
    shares = [factor * float(arm.var(ddof=1)) / len(arm) for arm, (factor, _) in zip(logs, memories, strict=True)]
    variance = sum(shares)
    weights = sum(share**2 / degrees for share, (_, degrees) in zip(shares, memories, strict=True))
    return Estimate(
        log_ratio=float(logs[1].mean() - logs[0].mean()),
        standard_error=math.sqrt(variance),
        degrees=variance**2 / weights if weights else sum(degrees for _, degrees in memories),
        spread=math.sqrt(sum(float(arm.var(ddof=1)) for arm in logs) / 2),
        method="independent",
        sizes=(len(old), len(new)),
    )


def of_two_arms(spread: float, processes: int) -> tuple[float, float]:
    """Standard error and degrees of freedom that `independent_estimate` has of two arms that vary alike."""
    factor, degrees = few.remembered(processes)
    return spread * math.sqrt(2 * factor / processes), 2 * degrees


def power(effect: float, standard_error: float, degrees: float, alpha: float = ALPHA) -> float:
    """Chance that the one-sided t-test at `alpha` finds a true slowdown by `effect` (noncentral t distribution)."""
    if standard_error == 0:
        return 1.0
    shift = math.log1p(effect) / standard_error
    return float(stats.nct.sf(stats.t.ppf(1 - alpha, degrees), degrees, shift))


def minimum_detectable_effect(standard_error: float, degrees: float, alpha: float = ALPHA) -> float | None:
    """The slowdown, as a fraction, that a t-test finds with chance `POWER`; None if even a thousandfold one is not."""
    if standard_error == 0:
        return 0.0
    most = 999.0
    if not power(most, standard_error, degrees, alpha) >= POWER:
        return None
    return float(
        optimize.brentq(lambda effect: power(effect, standard_error, degrees, alpha) - POWER, 0.0, most, xtol=1e-6)
    )


def detectable(estimate: Estimate) -> float | None:
    """The slowdown, as a fraction, that this estimate would have shown with chance `POWER` at the spread seen."""
    if estimate.bounds is None:
        return minimum_detectable_effect(estimate.standard_error, estimate.degrees, estimate.alpha)
    shift = few.detectable(estimate.sizes[0], estimate.alpha, POWER)
    return None if shift is None else math.expm1(min(shift * estimate.spread * estimate.stretch, math.log(1000)))


def processes_needed(effect: float, spread: float, method: str) -> int | None:
    """Processes an arm to find a slowdown by `effect` with chance `POWER`; None beyond a thousand.

    `spread` is the standard deviation of a pair's log-ratio for the method "paired", of a process's log value for
    "independent".
    """
    bound = math.log1p(effect)
    if method == "paired":
        return _first(lambda n: (few.detectable(n, ALPHA, POWER) or math.inf) * spread <= bound, few.enough(ALPHA))
    return _first(lambda n: power(effect, *of_two_arms(spread, n)) >= POWER, 2)


def _first(holds: Callable[[int], bool], least: int) -> int | None:
    """The smallest number from `least` to a thousand for which a condition `holds` that then goes on to hold."""
    if not holds(MOST_PROCESSES):
        return None
    low, high = least - 1, MOST_PROCESSES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
