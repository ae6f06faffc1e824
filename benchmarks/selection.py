"""Which cases to time: by pattern, at which batch sizes, with or without the parts of forward passes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from benchmarks import operators
from benchmarks.cases import CASES, Case, network_cases, select
from benchmarks.layer_times import wanted


def choose(pattern: str | None = None, *, batches: Sequence[int] = (), layers: bool = False) -> tuple[Case, ...]:
    """The cases whose id, or its part before the bracket, matches `pattern`, as `cases.select` has it; maybe none.

    Without a pattern all but single operators. `batches` replace the batch sizes that the cases usually have. With
    `layers` the operators that the chosen forward passes consist of come along.
    """
    chosen = select(pattern) if pattern is None else select(pattern, (*CASES, *operators.OPERATORS))
    if batches:
        chosen = _once(_at(case, batch) for batch in batches for case in chosen)
    return _once((*chosen, *wanted(chosen))) if layers else chosen


def _once(cases: Iterable[Case]) -> tuple[Case, ...]:
    return tuple({case.id: case for case in cases}.values())


def _at(case: Case, batch: int) -> Case:
    """The `case` with another batch size."""
    preset = case.params["preset"]
    name = re.sub(r",b\d+", f",b{batch}", case.id, count=1)
    return next(one for one in (*network_cases(preset, batch), *operators.cases(preset, batch)) if one.id == name)
