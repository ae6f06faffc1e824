from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from ddpm_bench import progress
from ddpm_bench.progress import Pace, Progress, duration, paced, shown


def test_terminal_shows_a_bar_with_loss_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with shown("train", console=console) as report:
        report(Progress(3, 10, 70.0, loss=0.12345))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "━" in text  # the bar itself
    assert "3/10" in text
    assert "loss 0.1235, 1 min 10 s left" in text


def test_pipe_gets_the_first_and_the_last_line_and_no_control_codes() -> None:
    console = Console(file=io.StringIO(), width=20)
    with shown("train", console=console) as report:
        for done in range(1, 101):
            report(Progress(done, 100, 0.5 * (100 - done), loss=1.0))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "train: 1/100, loss 1.0000, 50 s left",
        "train: 100/100, loss 1.0000, 0 s left",
    ]


def test_pipe_gets_a_line_whenever_the_time_between_lines_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    console = Console(file=io.StringIO())
    with shown("sample", console=console) as report:
        for done in range(3):
            report(Progress(done, 3, None))
    assert console.file.getvalue().splitlines() == ["sample: 0/3", "sample: 1/3", "sample: 2/3"]  # type: ignore[attr-defined]


def test_time_left_leaves_the_compiling_first_step_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0, 104.0, 106.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    seen: list[float | None] = []
    pace = Pace(lambda now: seen.append(now.seconds_left), 8)
    for done in (5, 6, 7, 8):  # a continued run: the first four were made earlier
        pace.at(done)
    assert seen == [None, 4.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_said_in_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_job_that_learns_its_length_as_it_goes_reports_each_length() -> None:
    seen: list[Progress] = []
    at = paced(seen.append)
    at(1, 2)
    at(2, 2)
    at(1, 5)
    assert [(now.done, now.total) for now in seen] == [(1, 2), (2, 2), (1, 5)]
