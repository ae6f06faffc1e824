"""When pytest-benchmark and asv call code slower, for many comparisons at once.

| | an arm | slower, if |
|---|---|---|
| pytest-benchmark 5.3.1 | one process; its min, median or mean | new > (1 + P) old |
| asv 0.6.6 (asv_runner 0.3.2) | two processes; median of all calls | new > factor · old, and they differ: p < 0.002 |

`--benchmark-compare-fail` of pytest-benchmark has no default; 5 % is the example of its help
(pytest_benchmark/plugin.py), the rule is `PercentageRegressionCheck` in utils.py. It calls for 1 s, at least 5 times
(`_raw` of fixture.py), and is taken as if somebody had made the first call before, which compiles and would leave it 5
calls. `asv continuous` keeps samples (`record_default=True`, asv/commands/continuous.py) and flags a factor of 1.1
(asv/commands/common_args.py) as `_is_result_better` (asv/commands/compare.py) and `is_different` (asv/_stats.py) say:
the two-sided test of Mann and Whitney (1947), exact up to 20 calls an arm and normal beyond; ties are broken in the
least significant way. It makes 2 × 5 calls (asv_runner/benchmarks/time.py; calls shorter than 10 ms are timed several
at once, which is left out here). Only with 5 calls an arm or fewer does it look at intervals instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ASV_P = 0.002
ASV_EXACT = 20
"""The most calls an arm for which asv's p is exact."""

Array = NDArray[np.float64]
Indices = NDArray[np.integer[Any]]

Draw = tuple[Indices, Indices]
"""Processes of the old and of the new arm of many comparisons, (comparisons, k) each."""

Ratios = Callable[[Draw], tuple[Array, Array]]
"""New over old of each comparison, without an effect and with it; 0 where the instrument says that nothing differs."""


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
    sizes, table = np.array([len(calls) for calls in processes]), _table(processes)
    same, slowed = _wins(processes, 1.0), _wins(processes, 1 + effect)

    def of(draw: Draw) -> tuple[Array, Array]:
        old, new = draw
        medians = [np.median(table[arm].reshape(len(arm), -1), axis=1, overwrite_input=True) for arm in draw]
        ratio = medians[1] / medians[0]
        m, n = sizes[old].sum(axis=1), sizes[new].sum(axis=1)
        differ = [
            _differ(_over_arms(longer, old, new), _over_arms(equal, old, new), m, n) for longer, equal in (same, slowed)
        ]
        return np.where(differ[0], ratio, 0.0), np.where(differ[1], (1 + effect) * ratio, 0.0)

    return of


def _table(processes: Sequence[Array]) -> Array:
    """A row a process, filled up with as much −∞ as ∞: that moves no median, nor does taking every call twice."""
    width = max(map(len, processes))
    if any((width - len(calls)) % 2 for calls in processes):
        return _table([np.repeat(calls, 2) for calls in processes])
    spare = [np.full((width - len(calls)) // 2, math.inf) for calls in processes]
    return np.array([np.concatenate([calls, few, -few]) for calls, few in zip(processes, spare, strict=True)])


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
    return np.array(longer, np.int32).T, np.array(equal, np.int32).T


def _over_arms(wins: Indices, old: Indices, new: Indices) -> Indices:
    return np.asarray(wins[old[:, :, np.newaxis], new[:, np.newaxis, :]].sum(axis=(1, 2)))


def _differ(longer: Indices, equal: Indices, m: Indices, n: Indices) -> NDArray[np.bool_]:
    """Whether asv calls arms with m and n calls different; ties are broken towards the middle of U."""
    middle = m * n // 2
    nearest = [np.minimum(u, m * n - u) for u in (longer, longer + equal)]
    split = (longer <= middle) & (longer + equal >= middle)
    u = np.where(split, middle, np.maximum(*nearest))
    normal = m * n / 2 + NormalDist().inv_cdf(ASV_P / 2) * np.sqrt(m * n * (m + n + 1) / 12)
    few = np.maximum(m, n) <= ASV_EXACT
    if not few.any():
        return np.asarray(u < normal)
    exact = [critical(int(a), int(b)) if is_few else 0 for a, b, is_few in zip(m, n, few, strict=True)]
    return np.where(few, u <= np.array(exact), u < normal)


@cache
def critical(m: int, n: int) -> int:
    """The largest U at which the exact p of m and n calls is below `ASV_P`; −1 if there is none."""
    return next(u for u in range(m * n) if _exact(u, m, n) >= ASV_P) - 1


def _exact(u: int, m: int, n: int) -> float:
    """The two-sided p of U = u: of m values that together exceed u of n others."""
    exceeded = [min(n, max(0, u - i * n)) for i in range(m)]
    one, other = np.array(exceeded) - 0.5, np.arange(n)
    return float(stats.mannwhitneyu(one, other, method="exact").pvalue)
