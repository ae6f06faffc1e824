"""More rows of workers for those builds alone whose steps are still open.

All builds take turns in the first few rows (`looks.EARLY`). By then a build that takes thirty times as long is known
for it, and would make every further row as long as itself. So from there on the open steps of a case decide who is
measured: builds that follow each other without a decided step in between take turns in rows of their own, until the
next look (`looks.py`) decides their steps, or there are as many rows as were asked for. A decided step lies between two
such runs of builds and never within one, so it is judged once.

Rows have numbers of their own, so builds are compared over rows in which both took turns. A look's rows are a session
of their own in the store, with a plan that says how many there were before: an interrupted sweep finds each again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from benchmarks import environment
from benchmarks.builds import Tell
from benchmarks.cases import Case
from benchmarks.duel import Bout
from benchmarks.looks import LOOKS
from benchmarks.measurement import BenchmarkError, Record
from benchmarks.versions_words import Cell, cell_of, operators

Arms = Mapping[str, Record]
"""By label, the oldest build first."""

Judge = Callable[[Arms], list[Record]]
"""The verdict on every step of every cell, with "old" and "new"."""

Fight = Callable[[Bout], Arms]


def filled(arms: Arms, bout: Bout, most: int, judge: Judge, fight: Fight, tell: Tell) -> Arms:
    """The `arms` that `bout` measured, with rows added until every step is decided or has had `most`.

    The bout's budget is for all that is added. Raises `BenchmarkError` when a build is no more what its first rows
    measured.
    """
    ends = None if bout.budget is None else time.perf_counter() + bout.budget
    while True:
        before = arms
        for asked in wanted(arms, judge(arms), bout, most):
            left = None if ends is None else round(ends - time.perf_counter())
            if left is None or left > 0:
                tell(_told(asked))
                arms = _joined(arms, fight(replace(asked, budget=left)))
        if _rows(arms) == _rows(before):
            return arms


def wanted(arms: Arms, verdicts: Sequence[Record], bout: Bout, most: int) -> list[Bout]:
    """What brings each open step to its next look: a bout for each run of builds, with the cells it is open in."""
    single = operators({"arms": arms})
    asked: dict[tuple[tuple[str, ...], int], list[tuple[Case, str]]] = {}
    for case, mode in bout.picks:
        cell = (case.id, bout.device, mode)
        for run in _open_runs(arms, verdicts, cell) if cell not in single else ():
            there = _together(arms, cell, run)
            if there < most:
                asked.setdefault((run, there), []).append((case, mode))
    return [_bout(bout, run, there, _next_look(there, most), picks) for (run, there), picks in asked.items()]


def _open_runs(arms: Arms, verdicts: Sequence[Record], cell: Cell) -> Iterator[tuple[str, ...]]:
    """The longest runs of builds in which every step is open."""
    open_ = {(v["old"], v["new"]) for v in verdicts if cell_of(v) == cell and v["label"] == "inconclusive"}
    for is_open, steps in groupby(pairwise(arms), open_.__contains__):
        if is_open:
            following = list(steps)
            yield (following[0][0], *(new for _, new in following))


def _together(arms: Arms, cell: Cell, run: Sequence[str]) -> int:
    """The rows of a cell in which all of a run of builds took turns."""
    return len(set.intersection(*(_numbers(arms[label], cell) for label in run)))


def _numbers(arm: Record, cell: Cell) -> set[int]:
    return {row["process"] for row in arm["measurements"] if cell_of(row) == cell}


def _next_look(there: int, most: int) -> int:
    return min(next((look for look in LOOKS if look > there), most), most)


def _bout(bout: Bout, run: Sequence[str], there: int, look: int, picks: Sequence[tuple[Case, str]]) -> Bout:
    arms = tuple(arm for arm in bout.arms if arm.label in run)
    about = {**bout.about, "rows": [there, look]}
    return replace(bout, arms=arms, picks=tuple(picks), most_pairs=look - there, looks=(), about=about)


def _told(bout: Bout) -> str:
    cases = " and ".join(f"{case.id} in {mode} mode" for case, mode in bout.picks)
    builds = ", ".join(arm.label for arm in bout.arms)
    return f"not decided yet between {builds}: {cases}; up to {bout.most_pairs} more rows of workers"


def _rows(arms: Arms) -> int:
    return sum(len(arm["measurements"]) for arm in arms.values())


def _joined(arms: Arms, more: Arms) -> Arms:
    """The `arms` with the rows of `more`, under numbers that no build has had."""
    first = 1 + max((row["process"] for arm in arms.values() for row in arm["measurements"]), default=-1)
    found = dict(arms)
    for label, added in more.items():
        if not added["measurements"]:
            continue
        _refuse_another(label, arms[label], added)
        rows = [{**row, "process": first + row["process"]} for row in added["measurements"]]
        notes = [*arms[label]["notes"], *(note for note in added["notes"] if note not in arms[label]["notes"])]
        found[label] = {**arms[label], "measurements": [*arms[label]["measurements"], *rows], "notes": notes}
    return found


def _refuse_another(label: str, arm: Record, added: Record) -> None:
    changed = environment.differences(arm["environment"], added["environment"])
    if changed:
        raise BenchmarkError(
            f"{label} is no longer what its first rows measured ({'; '.join(changed)}): begin anew with --again"
        )
