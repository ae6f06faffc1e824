"""Which cases to time: by pattern, at which batch sizes, with or without the parts of forward passes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence

from benchmarks import operators, peers
from benchmarks.cases import CASES, Case, network_cases, select
from benchmarks.layer_times import wanted

Change = Callable[[tuple[Case, ...]], tuple[Case, ...]]
"""What an option makes of the cases."""


def choose(
    pattern: str | None = None, *, batches: Sequence[int] = (), dtypes: Sequence[str] = (), layers: bool = False
) -> tuple[Case, ...]:
    """The cases whose id, or its part before the bracket, matches `pattern`, as `cases.select` has it; maybe none.

    Without a pattern all but single operators; the word "peers" in it leaves those that peers have. `batches` replace
    the batch sizes that the cases usually have, `dtypes` what their networks compute in, usually float32: training and
    single operators have no other. A pattern may name either, the usual case or what it becomes. With `layers` the
    operators that the chosen forward passes consist of come along.
    """
    known: tuple[Case, ...] = CASES if pattern is None else (*CASES, *operators.OPERATORS)
    chosen = _matching(pattern, known)
    changes: list[Change] = []
    if batches:
        changes.append(lambda cases: _once(_at(case, batch) for batch in batches for case in cases))
    if dtypes:
        changes.append(lambda cases: _once(one for dtype in dtypes for case in cases for one in _in(case, dtype)))
    for change in changes:
        known = change(known)
        chosen = _once((*change(chosen), *_matching(pattern, known)))
    return _once((*chosen, *wanted(chosen))) if layers else chosen


def unmatched(pattern: str | None, *, batches: Sequence[int] = (), dtypes: Sequence[str] = ()) -> str | None:
    """The first word of a pattern that no case matches, whatever the others do; None if there is none."""
    words = (pattern or "").split()
    among = [peers.WORD] if peers.asked(pattern) else []

    def found(word: str) -> bool:
        return bool(choose(" ".join((*among, word)), batches=batches, dtypes=dtypes))

    return next((word for word in words if word not in among and not found(word)), None)


def batch_of(word: str | None, dtypes: Sequence[str] = ()) -> int | None:
    """The batch size that makes the case which the `word` names, such as "unet_forward[digits,b16]"; None for none."""
    size = re.search(r",b([1-9]\d*)[],]", word or "")
    return int(size[1]) if size and choose(word, batches=(int(size[1]),), dtypes=dtypes) else None


def _matching(pattern: str | None, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    return peers.choose(pattern, cases) if pattern is not None and peers.asked(pattern) else select(pattern, cases)


def _once(cases: Iterable[Case]) -> tuple[Case, ...]:
    return tuple({case.id: case for case in cases}.values())


def _at(case: Case, batch: int) -> Case:
    """The `case` with another batch size."""
    return _by_id(case.params["preset"], batch)[re.sub(r",b\d+", f",b{batch}", case.id, count=1)]


@functools.cache
def _by_id(preset: str, batch: int) -> dict[str, Case]:
    """All cases of a network at one batch size."""
    return {case.id: case for case in (*network_cases(preset, batch), *operators.cases(preset, batch))}


def _in(case: Case, dtype: str) -> tuple[Case, ...]:
    """The `case` with a network that computes in `dtype`; none where there is no such case."""
    if dtype == "float32" or "dtype" in case.params:
        return (case,)
    name = f"{case.id[:-1]},{dtype}]"
    found = network_cases(case.params["preset"], case.params["batch"], dtype)
    return tuple(one for one in found if one.id == name)
