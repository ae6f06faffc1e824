"""One pair: a fresh worker of each arm, started together, whose rounds take turns.

Start-ups overlap, which costs nobody anything; from the first call on one worker runs at a time (`turnstile.py`).
Everything a process was unlucky with, memory layout or thread placement, stays with its pair: pairs are the sample.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.turnstile import Hold, Line, Rounds, conduct
from benchmarks.worker import Answer, Job, answer, start, wait, worker_variables

TIMED_SECONDS = 4.0
"""What the rounds of one worker are to take: about as long as starting it, so that neither is skimped on."""

PYNATIVE_SECONDS = 6.0
"""The same in PyNative mode, whose calls vary twice as much: the thread that launches kernels waits for them by
spinning, where it can take a processor from them."""

TIMED_SHARE = 0.5
"""What all workers' rounds are to take of what they took to get ready, if that is more: where compiling takes a minute,
a few calls more cost little, and two of them would say little about each other."""

SMALL_SECONDS = 0.25
"""The same for each of many small cases in one worker."""

EXPLAINING_SECONDS = 0.1
"""The same where small cases only explain others."""

FEWEST_ROUNDS, ENOUGH_ROUNDS, MOST_ROUNDS = 2, 12, 120
"""From 30 to 120 rounds the spread of pairs fell from 1.6 to 1.0 % (34 ms a call, two cores). Calls so long that
`ENOUGH_ROUNDS` of them would take twice the time that rounds are to take have fewer: what changes from moment to moment
has its mean within them."""

ALIKE = 1.5
"""Arms of about one speed are those whose times, in order, are no further apart from each to the next than so."""


def count_rounds(seconds: Mapping[str, float], timed: float = TIMED_SECONDS) -> dict[str, int]:
    """How many calls each arm times, for about `timed` seconds, when the last untimed one took it `seconds`.

    Of the slowest an even number, so that all begin as often. Of an arm at least twice as fast a power of two times
    that, the largest with which its rounds take no longer than rounds are to take: as many as the slowest has would be
    over in a moment that says little. Arms of about one speed, within `ALIKE`, have equally many, each call beside
    another's: the last untimed call of each is no measure of what one has more than the other, and of all their calls
    the median is the best guess.
    """
    calls = _alike({arm: max(each, timed / MOST_ROUNDS) for arm, each in seconds.items()})
    slowest = max(calls.values())
    wanted = max(timed / slowest, min(ENOUGH_ROUNDS, 2 * timed / slowest), FEWEST_ROUNDS)
    rounds = 2 * math.floor(wanted / 2)
    return {
        arm: rounds * _power_of_two(max(1.0, min(timed / each, MOST_ROUNDS) / rounds)) for arm, each in calls.items()
    }


def _alike(calls: Mapping[str, float]) -> dict[str, float]:
    """The seconds of each arm's call; of those of about one speed, the median for all of them."""
    groups: list[dict[str, float]] = []
    before = math.inf
    for arm, each in sorted(calls.items(), key=lambda call: -call[1]):
        if before > ALIKE * each:
            groups.append({})
        groups[-1][arm] = before = each
    return {arm: statistics.median(group.values()) for group in groups for arm in group}


def _power_of_two(most: float) -> int:
    """The largest one that is not above `most`, which is at least 1."""
    return 1 << (int(most).bit_length() - 1)


def run_pair(
    jobs: Sequence[Job],
    variables: Mapping[str, str],
    *,
    reference: str | None,
    timeout: float,
    late: str,
    rounds: Rounds,
    on_heartbeat: Callable[[], None] | None = None,
) -> list[Answer]:
    """The answers of `jobs`, which differ in their arm only; the first begins, and begins every other round.

    `variables` are of all workers, but for those that an arm sets. `rounds`: how many each times, from the case and the
    seconds of its calls. `timeout` is of the whole pair and `late` the reason to give when it is up. Never raises for
    what happens to a worker: rows say so.
    """
    began = time.perf_counter()
    deadline, heartbeat = began + timeout, on_heartbeat or (lambda: None)
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddpm-bench-"))) for _ in jobs]
        lines, processes, holds = {}, [], {}
        for job, folder in zip(jobs, folders, strict=True):
            ours, theirs = socket.socketpair()
            lines[job.side.label] = Line(ours)
            with theirs:
                settings = worker_variables(variables, job.side.variables, code=job.side.code)
                begin = start(job, folder, settings, reference, turns=theirs.fileno())
                processes.append(stack.enter_context(begin))
                holds[job.side.label] = _hold(processes[-1])
        cases = [case.id for case in jobs[0].cases]
        conduct(lines, cases, rounds=rounds, deadline=deadline, meanwhile=heartbeat, holds=holds)
        ends = [wait(process, deadline, heartbeat) for process in processes]
        seconds = time.perf_counter() - began
        return [answer(job, folder, end, late, seconds) for job, folder, end in zip(jobs, folders, ends, strict=True)]


def _hold(process: subprocess.Popen[bytes]) -> Hold:
    """To stop a worker with whatever it started, and to let it go on; nothing once it has ended."""

    def send(what: signal.Signals) -> None:
        if process.poll() is None:
            os.killpg(process.pid, what)

    return Hold(partial(send, signal.SIGSTOP), partial(send, signal.SIGCONT))
