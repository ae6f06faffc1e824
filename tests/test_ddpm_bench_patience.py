"""Sleeping while the process computes, and no longer; never for ever."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddpm_bench import patience
from ddpm_bench.patience import LONGEST, QUIET, SLICE, Patience, computed

ROOT = Path(patience.__file__).parent.parent
"""Where the packages are, for a process that is to find these and no others."""


class Machine:
    """A clock and CPU time of its own; work takes `seconds` on two processors, however it is waited for."""

    def __init__(self, *, elsewhere: bool = False, busy: float = 0.0) -> None:
        self.now = self.cpu = self.slept = self.until = 0.0
        self.elsewhere, self.busy = elsewhere, busy
        self.patience = Patience(lambda: self.now, lambda: self.cpu, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.run(seconds)

    def run(self, seconds: float) -> None:
        working = 0.0 if self.elsewhere else max(0.0, min(seconds, self.until - self.now))
        self.now += seconds
        self.cpu += 2 * working + self.busy * seconds

    def work(self, seconds: float, launching: float = 0.0) -> float:
        """Seconds from the launch until the result is in hand."""
        began, self.slept = self.now, 0.0
        self.patience.begin()
        self.until = self.now + seconds
        self.run(launching)
        self.patience.rest()
        self.run(max(0.0, self.until - self.now))
        self.patience.end()
        return self.now - began


def test_the_first_time_which_compiles_nothing_is_slept_through() -> None:
    machine = Machine()
    assert machine.work(10.0) == pytest.approx(10.0)
    assert machine.slept == 0


@pytest.mark.parametrize("seconds", [0.14, 0.05, 0.0201])
def test_all_of_the_work_is_slept_through_and_little_more(seconds: float) -> None:
    machine = Machine()
    machine.work(10.0)
    for _ in range(3):
        assert seconds <= machine.work(seconds) <= seconds + (QUIET + 1) * SLICE
        assert machine.slept >= seconds - SLICE


def test_work_that_becomes_longer_is_slept_through_up_to_a_limit_and_then_asked_for() -> None:
    machine = Machine()
    machine.work(10.0)
    machine.work(0.1)
    assert machine.work(0.3) == pytest.approx(0.3)
    assert machine.slept == pytest.approx(LONGEST * 0.1, abs=0.02)


def test_work_elsewhere_is_asked_for_at_once() -> None:
    machine = Machine(elsewhere=True)
    machine.work(10.0)
    assert machine.work(0.1) == pytest.approx(0.1)
    assert machine.slept == pytest.approx(QUIET * SLICE)


def test_another_thread_that_computes_all_the_time_does_not_keep_it_asleep_for_ever() -> None:
    machine = Machine(busy=1.0)
    machine.work(0.1)
    taken = [machine.work(0.1) for _ in range(50)]
    assert max(taken) <= LONGEST * 0.1 + SLICE
    assert min(taken) == pytest.approx(LONGEST * 0.1, abs=2 * SLICE)


def test_work_that_is_done_when_its_launch_returns_is_hardly_slept_for() -> None:
    machine = Machine()
    machine.work(0.1, launching=0.1)
    assert machine.work(0.1, launching=0.1) <= 0.1 + QUIET * SLICE + 1e-9


ANOTHER_THREAD = """
import threading, time
import numpy as np
from ddpm_bench.patience import IDLE, SLICE, computed

cpu = computed()
time.sleep(0.05)
assert computed() - cpu < IDLE * 0.05, "nothing computes"

class Burning(threading.Thread):
    done = had = 0

    def run(self):  # looking at its own clock meanwhile would set that right
        matrix, end = np.ones(10_000), time.perf_counter() + 0.5
        while time.perf_counter() < end:
            np.sqrt(matrix, out=matrix)
            self.done += 1
        self.had = time.thread_time()

thread, looks = Burning(), []
thread.start()
for _ in range(200):
    time.sleep(SLICE)
    looks.append((computed() - time.thread_time(), thread.done))
thread.join()
counted, done = np.diff(looks, axis=0).T
assert thread.had > 0.05
error = np.quantile(np.abs(counted - done * thread.had / thread.done), 0.75)
assert error < SLICE / 2, error
"""


def test_what_another_thread_computes_is_counted_to_the_moment() -> None:
    """In each slice as much as it did, of some 10 µs each. The process's own clock stands still for up to 4 ms.

    In a process of its own: here threads of MindSpore's may go on spinning after another test.
    """
    done = subprocess.run([sys.executable, "-c", ANOTHER_THREAD], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr


def test_without_proc_it_is_the_processs_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "THREADS", "/nowhere")
    before = time.process_time()
    assert before <= computed() <= time.process_time()
