"""More rows of workers for those builds alone whose steps are still open.

All builds take turns in the first few rows (`looks.EARLY`). By then a build that takes thirty times as long is known
for it, and would make every further row as long as itself. So from there on the open steps of a case decide who is
measured: builds that follow each other without a decided step in between take turns in rows of their own, until the
next look (`looks.py`) decides their steps, or there are as many rows as were asked for. A decided step lies between two
such runs of builds and never within one, so it is judged once.

Rows have numbers of their own, so builds are compared over rows in which both took turns. A look's rows are a session
of their own in the store, with a plan that says which session they go on with and how many rows there were before, not
how many there are to be: an interrupted sweep finds each again, and so does one that wants more rows or fewer.
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
from benchmarks.measurement import BenchmarkError, Record, measurements
from benchmarks.versions_words import Cell, cell_of, operators

Arms = Mapping[str, Record]
"""By label, the oldest build first."""

Judge = Callable[[Arms], list[Record]]
"""The verdict on every step of every cell, with "old" and "new"."""

Fight = Callable[[Bout], Arms]
"""Measures a bout to its end."""


def filled(
    arms: Arms, bout: Bout, most: int, judge: Judge, fight: Fight, tell: Tell, ends: float | None = None
) -> Arms:
    """The `arms` that `bout` measured, with rows added until every step is decided or has had `most`.

    Nothing is begun that would last beyond `ends`, by `time.perf_counter`; a note says what was left open for it.
    Raises `BenchmarkError` when a build is no more what its first rows measured.
    """
    while asked := wanted(arms, judge(arms), bout, most):
        before = arms
        for each in asked:
            if ends is not None and ends - time.perf_counter() < each.expected:
                arms = _noting(arms, each)
            else:
                tell(_told(each))
                arms = _joined(arms, fight(each))
        if _rows(arms) == _rows(before):
            return arms
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
    return [_bout(arms, bout, run, there, _next_look(there, most), picks) for (run, there), picks in asked.items()]


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


def _bout(arms: Arms, bout: Bout, run: Sequence[str], there: int, look: int, picks: Sequence[tuple[Case, str]]) -> Bout:
    about = {**bout.about, "rows": [arms[run[0]]["session"], there], "most_pairs": None}  # others may go on with it
    return replace(
        bout, arms=tuple(arm for arm in bout.arms if arm.label in run), picks=tuple(picks), most_pairs=look - there,
        looks=(), about=about, expected=_cost(arms[run[0]], [(case.id, bout.device, mode) for case, mode in picks]),
    )  # fmt: skip


def _cost(arm: Record, cells: Sequence[Cell]) -> float:
    """Seconds that a row of the `cells` takes: as the longest so far; all workers of a row live about as long."""
    return max(sum(row.split.values()) for row in measurements(arm) if row.cell[:3] in cells)


def _told(bout: Bout) -> str:
    return f"not decided yet between {_open(bout)}; {bout.most_pairs} more rows of workers"


def _open(bout: Bout) -> str:
    cases = " and ".join(f"{case.id} in {mode} mode" for case, mode in bout.picks)
    return f"{', '.join(arm.label for arm in bout.arms)}: {cases}"


def _noting(arms: Arms, bout: Bout) -> Arms:
    """The `arms` with a note on what there was no time for."""
    note = f"the budget was used up before it was decided between {_open(bout)}"
    noted = {arm.label for arm in bout.arms}
    return {label: {**arm, "notes": [*arm["notes"], note]} if label in noted else arm for label, arm in arms.items()}


def _rows(arms: Arms) -> int:
    return sum(len(arm["measurements"]) for arm in arms.values())


def _joined(arms: Arms, more: Arms) -> Arms:
    """The `arms` with the rows of `more`, under numbers that no build has had."""
    first = 1 + max((row["process"] for arm in arms.values() for row in arm["measurements"]), default=-1)
    found = dict(arms)
    for label, added in more.items():
        if any(row.invalid is None for row in measurements(added)):  # else nobody saw where it ran
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
