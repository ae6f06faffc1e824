"""What an arm's interpreter is sent for beside being timed: to say which kernels it runs, to have itself judged.

Nothing is timed meanwhile, so as many errands run at once as there are processors.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from benchmarks.arms import Arm
from benchmarks.worker import worker_variables

Answer = TypeVar("Answer")

_under_way: set[int] = set()
"""Process groups of the errands that run."""

_lock = threading.Lock()

_ending = threading.Event()
"""Set while all errands are being ended: none begins any more."""


class ErrandError(Exception):
    """Why there is no answer, in words that go on with "… ended with", "… took longer"."""


class EndedError(Exception):
    """The errand was ended, or not begun, since another one raised: it has no answer, not even why."""


def errand(
    arm: Arm,
    arguments: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
    seconds: float,
) -> subprocess.CompletedProcess[str]:
    """The interpreter of `arm` run with `arguments` in `folder`, its code first on the path, for at most `seconds`.

    `variables` are its environment, with the arm's own and the `extra` ones on top. Raises `ErrandError` where it
    cannot be started or takes too long, `EndedError` where `together` ends it; how it ended otherwise is for the caller
    to judge.
    """
    environment = worker_variables(variables, {**arm.variables, **(extra or {})}, code=arm.code)
    try:
        return run([arm.python, *arguments], folder=folder, environment=environment, seconds=seconds)
    except subprocess.TimeoutExpired:
        raise ErrandError(f"took longer than {seconds:.0f} s") from None
    except OSError as error:
        raise ErrandError(f"could not be started: {error.strerror}") from None


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    folder: Path | None = None,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """A `command` run without input for at most `seconds`, in a session of its own that ends with it.

    Raises `subprocess.TimeoutExpired`, `OSError` where it cannot be started, and `EndedError` where `together` ends it.
    """
    with _lock:
        if _ending.is_set():
            raise EndedError
        process = subprocess.Popen(  # noqa: S603 - our own command or an interpreter that the user named, no shell
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        _under_way.add(process.pid)
    with process:
        try:
            said, complained = process.communicate(timeout=seconds)
        finally:
            _end(process.pid)
    if _ending.is_set():
        raise EndedError
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def ending(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended that left no answer, in words behind what it was sent for."""
    last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "nothing")
    return f"ended with exit code {done.returncode}: {last.strip()[:200]}"


def together(errands: Iterable[Callable[[], Answer]]) -> list[Answer]:
    """The answers of `errands`, in their order, as many at once as there are processors.

    An exception of one of them, and Ctrl-C, ends those under way and leaves out those that have not begun.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = [pool.submit(errand) for errand in errands]
        try:
            return [each.result() for each in waiting]
        except BaseException:
            with _lock:
                _ending.set()
                groups = list(_under_way)
            for group in groups:
                _end(group)
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            _ending.clear()


def _end(group: int) -> None:
    """End what is left of an errand, with all that it started."""
    with _lock:
        if group not in _under_way:  # its number may be somebody else's by now
            return
        _under_way.remove(group)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
