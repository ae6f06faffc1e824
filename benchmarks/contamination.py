"""Pairs that the machine spoilt: told by what it did to both arms together, never by which of them won.

A pair is dropped when, over its timed rounds and both arms,

* more than `STOLEN` of the time was taken by the hypervisor for other guests, or
* the workers got less than `STARVED` of the CPU per wall time that the session's pairs usually get.

Both are sums over the arms, so exchanging the arms drops the same pairs: the rule cannot favour one. Bursts that meet
both arms alike are no reason, as turns that alternate cancel them. When more than `MOST_DROPPED` of the pairs are gone
the machine was not fit for measuring, and the answer is "inconclusive".
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measurement import Measurement

STOLEN = 0.10
"""Share of the wall time: at a tenth, rounds lose whole scheduler slices and their median moves by per cents."""

STARVED = 0.5
"""Share of the session's median CPU over wall: half means that another program had the cores as long as the worker."""

MOST_DROPPED = 0.2
"""Share of the pairs (measuring rules; a comparison that needs more left out says nothing)."""

Pair = tuple[Measurement, Measurement]


@dataclass(frozen=True)
class Sorted:
    """The pairs that count, and why others do not."""

    kept: tuple[Pair, ...]
    dropped: Mapping[int, str]
    """process to the reason"""

    @property
    def unfit(self) -> bool:
        """Whether so many were dropped that nothing may be said."""
        return len(self.dropped) > MOST_DROPPED * (len(self.kept) + len(self.dropped))


def sort(pairs: Sequence[Pair]) -> Sorted:
    """Take out of `pairs` those that the machine spoilt. Rows that do not say what happened to them are kept."""
    rates = [_cpu_over_wall(pair) for pair in pairs]
    usual = statistics.median([rate for rate in rates if rate is not None] or [0.0])
    reasons = [_reason(pair, rate, usual) for pair, rate in zip(pairs, rates, strict=True)]
    return Sorted(
        tuple(pair for pair, reason in zip(pairs, reasons, strict=True) if reason is None),
        {pair[0].process: reason for pair, reason in zip(pairs, reasons, strict=True) if reason is not None},
    )


def _reason(pair: Pair, rate: float | None, usual: float) -> str | None:
    """Why a pair is dropped, or None."""
    wall = _sum(pair, "wall_seconds")
    stolen = _sum(pair, "stolen_seconds")
    if wall and stolen is not None and stolen > STOLEN * wall:
        return f"{stolen / wall:.0%} of its time was stolen by the hypervisor"
    if rate is not None and rate < STARVED * usual:
        return f"its workers got {rate:.2f} CPU seconds a second where {usual:.2f} are usual"
    return None


def _cpu_over_wall(pair: Pair) -> float | None:
    cpu, wall = _sum(pair, "cpu_seconds"), _sum(pair, "wall_seconds")
    return cpu / wall if cpu is not None and wall else None


def _sum(pair: Pair, name: str) -> float | None:
    """The sum of a condition over both arms; None when one of them does not say."""
    values = [row.conditions.get(name) for row in pair]
    return None if None in values else float(sum(values))  # type: ignore[arg-type]  # None was ruled out
