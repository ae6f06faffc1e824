"""Waiting for a result without taking a processor from those who compute it.

A compiled training step is launched and returns at once; whoever then asks for its loss waits by spinning (MindSpore
2.7.0 to 2.10.0, CPU). On two processors the spinning thread takes one of them for most of the time, and a step takes
twice as long. MindSpore has no way to ask whether a result is there. But while this process computes, its CPU time
grows: so the wait is slept through in short slices until it hardly grows any more, and only then is the result asked
for (`computed` says why not by Python's own clock of the process). What computes elsewhere, on a GPU or an Ascend,
takes no CPU time and is asked for at once, as ever; if something else in this process computes all the time, the sleep
ends at `LONGEST` times what the work took before.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable

SLICE = 1e-3
"""Seconds of one sleep."""

IDLE = 0.2
"""CPU seconds a second below which nothing is computed: one thread at work takes 1."""

QUIET = 2
"""Idle slices on end that say so: in one alone, other programs may have had the processors."""

THREADS = "/proc/self/task"

THREAD_CLOCK = 6
"""Linux's clock of a thread: the number of the thread, every bit turned, times 8, and this (a clock of one thread that
counts what the scheduler gave it; `pthread_getcpuclockid` makes it so)."""

LONGEST = 1.5
"""Of the shortest recent time."""

RECENT = 8


def computed() -> float:
    """CPU seconds of all threads of this process that live, up to this moment.

    `time.process_time` counts another thread that runs without a pause only at the scheduler's ticks, every 4 ms on
    most machines: in between a process at work looks idle. The clock of a thread counts to the moment. Without /proc
    it is `time.process_time` all the same.
    """
    try:
        threads = os.listdir(THREADS)  # noqa: PTH208 - every millisecond: pathlib takes twice as long
    except OSError:
        return time.process_time()
    seconds = 0.0
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            seconds += time.clock_gettime(~int(thread) << 3 | THREAD_CLOCK)
    return seconds


class Patience:
    """Sleeping while this process computes what was launched."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = computed,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._cpu, self._sleep = clock, cpu, sleep
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._began = self._woke = 0.0
        self._limited = False

    def begin(self) -> None:
        """The work is about to be launched."""
        self._began = self._clock()

    def rest(self) -> None:
        """The work was launched: sleep while it goes on. The first time of all, which may compile, ask at once."""
        until = self._began + LONGEST * min(self._recent, default=0.0)
        quiet = 0
        while quiet < QUIET and (now := self._clock()) < until:
            cpu = self._cpu()
            self._sleep(SLICE)
            idle = self._cpu() - cpu < IDLE * (self._clock() - now)
            quiet = quiet + 1 if idle else 0
        self._woke = self._clock()
        self._limited = bool(self._recent) and quiet < QUIET

    def end(self) -> None:
        """The result is there. Where only the limit ended the sleep and it was there by then, that tells no time."""
        now = self._clock()
        if not self._limited or now - self._woke > SLICE:
            self._recent.append(now - self._began)
