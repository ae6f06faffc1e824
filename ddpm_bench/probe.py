"""Ask a fresh Python process one question about MindSpore, and survive whatever the answer is.

Some traps can only be met before MindSpore is imported, some settings cannot be taken back, and a broken build may end
the process. So each question is a function of `probe_tasks.py`, run in its own process and in a temporary folder, for
MindSpore leaves files behind when it fails. This module imports no MindSpore.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "ddpm-bench probe answer: "
"""Begins the line of standard output that carries the answer as JSON; MindSpore prints there as well."""

TIMEOUT_SECONDS = 120.0


class ProbeError(Exception):
    """The process ended without an answer; the message is the last thing it said."""


def ask(task: str, *, without: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
    """The answer of `probe_tasks.task()` in a fresh process.

    The process inherits the environment, minus the variables `without`, plus `environment`. Raises `ProbeError` if it
    dies, cannot be started, or takes longer than `TIMEOUT_SECONDS`.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    try:
        with tempfile.TemporaryDirectory(prefix="ddpm-bench-probe-") as folder:
            done = subprocess.run(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", _program(task)],
                env={**inherited, **environment},
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"no answer within {TIMEOUT_SECONDS:.0f} s") from error
    except OSError as error:
        raise ProbeError(f"a probing process could not be started: {error}") from error
    return _answer(done)


def _program(task: str) -> str:
    """Source text for `python -c`. The package is found where this file is, whatever the working directory."""
    home = str(Path(__file__).resolve().parent.parent)
    return f"import sys; sys.path.append({home!r}); from ddpm_bench import probe_tasks; probe_tasks.answer({task!r})"


def _answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        raise ProbeError(_last_words(done))
    result: dict[str, Any] = json.loads(lines[-1][len(MARK) :])
    return result


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    ending = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in said if "Error" in line and not line.startswith("[")]
    return f"{(errors or said or ['nothing was said'])[-1]} ({ending})"


def write_answer(result: Mapping[str, Any]) -> None:
    """Print `result` as `ask` reads it; for the process that answers."""
    sys.stdout.write(f"\n{MARK}{json.dumps(result)}\n")
    sys.stdout.flush()
