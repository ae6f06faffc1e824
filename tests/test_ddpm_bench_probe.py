"""Asking a fresh process, whatever it does."""

from __future__ import annotations

import json

import pytest

from ddpm_bench import probe

WRITE = "from ddpm_bench.probe import write_answer; write_answer"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The "task" is the program itself, with this package on its path."""
    original = probe._program

    def text(task: str) -> str:
        return original("x").split("from ddpm_bench")[0] + task

    monkeypatch.setattr(probe, "_program", text)


pytestmark = pytest.mark.usefixtures("program")


def test_answer_comes_back_from_between_other_output() -> None:
    talk = "print('noise')"
    assert probe.ask(f"{talk}; {WRITE}({{'a': [1, None]}}); {talk}") == {"a": [1, None]}


def test_environment_is_added_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_KEPT", "1")
    monkeypatch.setenv("PROBE_GONE", "2")
    task = f"import os; {WRITE}({{name: os.environ.get('PROBE_' + name) for name in ('KEPT', 'GONE', 'NEW')}})"
    assert probe.ask(task, without=("PROBE_GONE",), PROBE_NEW="3") == {"KEPT": "1", "GONE": None, "NEW": "3"}


def test_error_is_the_last_word_and_framework_chatter_is_not() -> None:
    task = (
        "import sys, atexit; atexit.register(lambda: print('[ERROR] an Error of no interest', file=sys.stderr)); "
        "raise ImportError('numpy.core.multiarray failed to import')"
    )
    with pytest.raises(
        probe.ProbeError, match=r"^ImportError: numpy.core.multiarray failed to import \(exit code 1\)$"
    ):
        probe.ask(task)


def test_death_by_signal_is_told() -> None:
    with pytest.raises(probe.ProbeError, match=r"nothing was said \(ended by signal 11\)"):
        probe.ask("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


def test_silence_is_no_answer() -> None:
    with pytest.raises(probe.ProbeError, match="exit code 0"):
        probe.ask("pass")


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(probe.ProbeError, match="no answer within"):
        probe.ask("import time; time.sleep(60)")


def test_process_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(probe.ProbeError, match="could not be started"):
        probe.ask("pass")


def test_probes_leave_files_only_in_a_folder_that_goes() -> None:
    task = f"import os; open('litter', 'w').close(); {WRITE}({{'cwd': os.getcwd()}})"
    folder = probe.ask(task)["cwd"]
    assert "ddpm-bench-probe-" in folder
    code = f"import os; {WRITE}({{'there': os.path.exists({json.dumps(folder)})}})"
    assert probe.ask(code) == {"there": False}
