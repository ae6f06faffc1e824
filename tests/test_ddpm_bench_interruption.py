"""Ctrl-C and SIGTERM end a command with its sentence, whoever catches the signal first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ddpm_bench import checkpoint, cli, interruption

BOTH = pytest.mark.parametrize("number", interruption.SIGNALS, ids=lambda number: number.name)


@BOTH
def test_signal_raises_and_is_remembered(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in interruption.SIGNALS]
    with interruption.watched():
        assert not interruption.came()
        interruption.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interruption.came()
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    assert [signal.getsignal(each) for each in interruption.SIGNALS] == before


@BOTH
def test_held_signal_waits_and_a_second_one_does_not(number: signal.Signals) -> None:
    with interruption.held() as came:
        assert not came()
        signal.raise_signal(number)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_other_threads_change_no_handler() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look() -> None:
        with interruption.watched(), interruption.held() as came:
            seen.append((signal.getsignal(signal.SIGTERM), came()))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


def test_interruption_that_became_another_error_is_still_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As MindSpore makes it where it calls Python from C."""

    def swallow(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("compile failed") from None

    monkeypatch.setattr("verification.check.select", swallow)
    assert cli.run_command(["verify"]) == 130
    assert capsys.readouterr().err == "ddpm-bench: interrupted\n"


def test_other_errors_are_not_taken_for_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("verification.check.select", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run_command(["verify"])


# A real run, a real signal --------------------------------------------------------------------------------------------

CONFIG = """
steps = 100000
batch_size = 2
[network]
preset = "digits"
base_channels = 4
groups = 2
channel_mult = [1]
attention_at = []
[diffusion]
num_timesteps = 10
"""


def train(folder: Path) -> subprocess.Popen[str]:
    """`ddpm-bench train` in graph mode, a small network, never done by itself."""
    (folder / "run.toml").write_text(CONFIG)
    script = Path(sys.executable).with_name("ddpm-bench")
    arguments = [str(script), "train", "--config", "run.toml", "--mode", "graph", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}
    return subprocess.Popen(arguments, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def compiling(process: subprocess.Popen[str], folder: Path) -> None:
    """Half a second after the output folder is there: importing is done and no step is."""
    until((folder / "out").exists, process)
    time.sleep(0.5)


def stepping(process: subprocess.Popen[str], folder: Path) -> None:
    assert process.stderr is not None
    assert any("training: 1/" in line for line in process.stderr), "it never came to its first step"
    time.sleep(0.3)


@pytest.mark.parametrize("reached", [compiling, stepping])
def test_ctrl_c_in_graph_mode_ends_training_with_what_was_kept(
    reached: Callable[[subprocess.Popen[str], Path], None], tmp_path: Path
) -> None:
    """Without `held` for both signals the process of the second case dies of SIGTERM, with no checkpoint."""
    with train(tmp_path) as process:
        try:
            reached(process, tmp_path)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    if reached is compiling and not (tmp_path / "out" / checkpoint.FILE_NAME).exists():
        assert last == "ddpm-bench: interrupted"  # a slow machine is still making the network
    else:
        saved = checkpoint.load(tmp_path / "out")
        assert last.startswith(f"ddpm-bench: stopped after step {saved.step} of 100000")
    assert {path.name for path in tmp_path.iterdir()} == {"run.toml", "out"}
