"""Errands: sent to an interpreter, ended when they take too long, several at once, none left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import errand as errands
from benchmarks.arms import Arm
from benchmarks.errand import ErrandError, errand, together

HERE = Arm("here", python=sys.executable)


def sent(folder: Path, program: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    return errand(HERE, ["-c", program], folder=folder, variables=dict(os.environ), seconds=seconds)


def test_an_errand_runs_in_its_folder_and_says_how_it_ended(tmp_path: Path) -> None:
    done = sent(tmp_path, "import os, sys; print(os.getcwd()); print('no', file=sys.stderr); sys.exit(3)")
    assert (done.stdout.strip(), done.stderr.strip(), done.returncode) == (str(tmp_path), "no", 3)


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = (
        "import pathlib, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "pathlib.Path('child').write_text(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(ErrandError, match="took longer than 1 s"):
        sent(tmp_path, program, seconds=1.0)
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        pytest.fail("what the errand had started still runs")


def test_one_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    with pytest.raises(ErrandError, match="could not be started: No such file"):
        errand(Arm("none", python="/no/such/python"), [], folder=tmp_path, variables={}, seconds=1.0)


def test_answers_come_in_order_and_several_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands.os, "sched_getaffinity", lambda _: {0, 1})
    both = threading.Barrier(2, timeout=10)

    def waits(i: int) -> int:
        both.wait()
        return i

    assert together(lambda i=i: waits(i) for i in range(4)) == [0, 1, 2, 3]  # type: ignore[misc]  # i is bound


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError])
def test_an_exception_ends_those_under_way_and_begins_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exception: type[BaseException]
) -> None:
    monkeypatch.setattr(errands.os, "sched_getaffinity", lambda _: {0, 1})
    begun: list[str] = []

    answers: list[object] = []

    def long() -> object:
        begun.append("long")
        answers.append(sent(tmp_path, "import time; time.sleep(60)", seconds=60))
        return answers[-1]

    def fails() -> object:
        while not errands._under_way:
            time.sleep(0.01)
        raise exception

    start = time.perf_counter()
    with pytest.raises(exception):
        together([fails, long, long, long])
    assert time.perf_counter() - start < 20
    assert begun.count("long") <= 2
    assert errands._under_way == set()
    assert answers == []  # that one was killed is no answer, and must not be kept as one
