"""A planted slowdown is as large as it says, whatever the call takes, and leaves the result alone."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import plant
from benchmarks.timing import Workload


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A watch that moves only when something is computed or looked at."""
    state = SimpleNamespace(now=0.0)

    def perf_counter() -> float:
        state.now += 1e-7
        return float(state.now)

    monkeypatch.setattr(plant, "time", SimpleNamespace(perf_counter=perf_counter))
    return state


def workload(state: SimpleNamespace, seconds: list[float]) -> Workload:
    def call(i: int) -> str:
        state.pending = seconds[i]
        return f"output {i}"

    return Workload(call, lambda i: (i,), lambda output: output, lambda _: {}, None)


def test_each_call_is_slower_by_the_share_of_its_own_time(clock: SimpleNamespace) -> None:
    def synchronize() -> None:
        clock.now += clock.pending

    slowed = plant.slowed(workload(clock, [0.02, 0.05]), synchronize, 0.03)
    for i, seconds in enumerate((0.02, 0.05)):
        before = clock.now
        assert slowed.call(i) == f"output {i}"
        assert clock.now - before == pytest.approx(1.03 * seconds, abs=1e-5)


def test_nothing_is_planted_for_a_share_of_zero() -> None:
    given: Any = workload(SimpleNamespace(), [0.1])
    assert plant.slowed(given, time.perf_counter, 0.0) is given
