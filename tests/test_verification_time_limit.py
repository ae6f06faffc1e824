"""A subject that hangs is a finding, and nobody else's alarm is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from judged import judge

from verification.check import load_checks, run_checks
from verification.reference import ReferenceSubject
from verification.time_limit import OutOfTime, limited


class Hanging(ReferenceSubject):
    """A subject whose q_sample never returns, and that catches what it can."""

    def q_sample(self, *_: Any) -> np.ndarray:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.01)


def test_subject_that_hangs_is_an_error_that_names_the_call_and_the_next_check_runs() -> None:
    checks = [load_checks()[each] for each in ("FWD-1", "FWD-3")]
    hung, after = run_checks(Hanging(num_timesteps=4), checks, limit=0.2)
    assert (hung.status, after.status) == ("error", "passed")
    assert "q_sample had not returned after 0.2 s" in hung.reason


def test_limit_is_over_with_the_check() -> None:
    judge(ReferenceSubject(num_timesteps=4), "FWD-1")
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_limit_is_harmless_in_another_thread() -> None:
    done: list[str] = []

    def work() -> None:
        with limited(10.0):
            done.append("there")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["there"]


def test_alarm_that_was_set_before_is_kept() -> None:
    handler = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 50)
    try:
        with pytest.raises(OutOfTime), limited(0.05):
            time.sleep(5)
        assert 40 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
