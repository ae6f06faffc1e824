"""How far a long job is: a bar in a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich import progress as bars
from rich.console import Console

SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps, the `seconds_left` once a pace is known, and the recent `loss` where there is one."""

    done: int
    total: int
    seconds_left: float | None
    loss: float | None = None


Report = Callable[[Progress], None]


@contextlib.contextmanager
def shown(job: str, *, console: Console | None = None) -> Iterator[Report]:
    """Yields the function to call with each `Progress` of the `job`; writes to stderr unless `console` says where."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines(job, console)
        return
    with bars.Progress(
        bars.TextColumn(job),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[note]}"),
        console=console,
    ) as display:
        task = display.add_task(job, total=None, note="compiling")
        yield lambda now: display.update(task, completed=now.done, total=now.total, note=_note(now))


def _lines(job: str, console: Console) -> Report:
    """A line at the first and the last step, and one every `SECONDS_BETWEEN_LINES`."""
    last = -SECONDS_BETWEEN_LINES

    def report(now: Progress) -> None:
        nonlocal last
        if now.done < now.total and time.monotonic() - last < SECONDS_BETWEEN_LINES:
            return
        last = time.monotonic()
        line = ", ".join(filter(None, (f"{job}: {now.done}/{now.total}", _note(now))))
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    return report


def _note(now: Progress) -> str:
    loss = "" if now.loss is None else f"loss {now.loss:.4f}"
    left = "" if now.seconds_left is None else f"{duration(now.seconds_left)} left"
    return ", ".join(filter(None, (loss, left)))


def duration(seconds: float) -> str:
    """Seconds as a person says them: "8 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Pace:
    """Turns steps done into `Progress`; the time left is that of the steps to come at the mean pace so far.

    The clock starts with the first step done, so that compiling, which happens once, is not taken for the pace.
    """

    def __init__(self, report: Report | None, total: int) -> None:
        """For `total` steps in all; with `report` None nothing is reported."""
        self._report, self._total = report, total
        self._first: tuple[int, float] | None = None

    def at(self, done: int, loss: float | None = None) -> None:
        """Report that `done` steps are made."""
        if self._report is None:
            return
        now = time.perf_counter()
        first_done, first_time = self._first = self._first or (done, now)
        pace = (now - first_time) / (done - first_done) if done > first_done else None
        left = 0.0 if done == self._total else None if pace is None else pace * (self._total - done)
        self._report(Progress(done, self._total, left, loss))


def paced(report: Report | None) -> Callable[[int, int], None]:
    """A function of steps done and steps in all, for a job that says only as it goes how many they are."""
    paces: dict[int, Pace] = {}
    return lambda done, total: paces.setdefault(total, Pace(report, total)).at(done)
