"""What a budget left out is counted in whole processes and said for each arm."""

from __future__ import annotations

import pytest
from fake_worker import case

from benchmarks import shortfall
from benchmarks.worker import Job

A, B = case("a[x]"), case("b[x]")


def dropped(*processes: int) -> list[Job]:
    return [Job((A, B), "CPU", "graph", "stock", i) for i in processes]


def test_arm_that_lacks_processes_says_how_many_ran() -> None:
    told = "a[x], b[x] in graph mode on CPU (stock) ran in 1 of 3 processes, because the budget of 9 s was used up"
    assert shortfall.notes(dropped(1, 2), 3, 9.0) == [told]
    assert shortfall.notes([], 3, 9.0) == []


def test_only_cases_without_any_process_are_missing() -> None:
    reason = "the budget of 9 s was used up"
    rows = [{"device": "CPU", "mode": "graph", "case": name, "reason": reason} for name in ("a[x]", "b[x]")]
    assert shortfall.never_ran(dropped(0, 1, 2), 3, 9.0) == rows
    assert shortfall.never_ran(dropped(0, 2), 3, 9.0) == [], "process 1 ran before the run was gone on with"


@pytest.mark.parametrize(
    ("allowed", "told"),
    [(7.0, "after 7 s because the budget of 9 s was used up"), (60.0, "after 60 s, longer than a worker may take")],
)
def test_stopped_worker_says_which_time_was_up(allowed: float, told: str) -> None:
    assert shortfall.too_late(allowed, 60.0, 9.0) == f"it was stopped {told}"
