"""Ctrl-C, whoever catches it first.

While it compiles or runs a graph, MindSpore (2.7.0 to 2.10.0, CPU) puts a SIGINT handler of its own, in C, in the place
of Python's. It sends the process SIGTERM, and from the first graph on it stays there, because each use saves the one
before and uses nest. SIGTERM ends a Python process without a word: no checkpoint, no sentence. So here both signals
mean the same. Python runs its handlers between two of its instructions, so what compiles in C ends first; and where
MindSpore has turned the exception into one of its own, `check` raises it anew.

Python handles signals in its main thread only; in another one nothing here has any effect.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], None]

_came: list[int] = []


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """In the block, either signal raises `KeyboardInterrupt`, and `came` remembers it."""

    def interrupt(signum: int, _: FrameType | None) -> None:
        _came.append(signum)
        raise KeyboardInterrupt

    _came.clear()
    with _handling(interrupt):
        yield


def came() -> bool:
    """Whether the block of `watched` was interrupted, even if nobody saw the exception."""
    return bool(_came)


def check() -> None:
    """Raise `KeyboardInterrupt` if one came and was lost on the way."""
    if _came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def held() -> Iterator[Callable[[], bool]]:
    """Hold the signals back so that a step ends whole: yields whether one came. A second one interrupts at once."""
    seen: list[int] = []

    def note(signum: int, _: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(signum)

    with _handling(note):
        yield lambda: bool(seen)


@contextlib.contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, handler) for each in SIGNALS}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)
