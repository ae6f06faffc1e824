"""An end to waiting: a subject's Python code that does not return is interrupted after a while.

The mechanism is the alarm of POSIX, which exists in the main thread alone; elsewhere a limit is without effect. It
interrupts Python code; a call into a library that never comes back to the interpreter is beyond its reach.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from verification import guard

DEFAULT = 300.0
"""Seconds that a check may take; the slowest of the quick tier needs about six of a right subject on two cores."""


class OutOfTime(BaseException):
    """Not an `Exception`, so that no subject catches it with the errors of its own."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` inside the block after `seconds`; None is no limit. An earlier alarm of others goes first."""
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    others = signal.getitimer(signal.ITIMER_REAL)[0] if able else 0.0
    if seconds is None or not able or 0 < others <= seconds:
        yield
        return
    start, handler = time.monotonic(), signal.signal(signal.SIGALRM, _expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if others:  # an alarm that was set before keeps its hour
            signal.setitimer(signal.ITIMER_REAL, max(others - (time.monotonic() - start), 1e-3))


def _expire(_: int, __: FrameType | None) -> None:
    raise OutOfTime


def interrupted(error: OutOfTime) -> str:
    """The method of the subject that was running, or the check itself."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_locals["name"]) for frame in frames if frame.f_code.co_filename == guard.__file__]
    return names[0] if names else "the check"
