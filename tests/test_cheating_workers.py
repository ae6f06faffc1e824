"""Real workers of a checkout that cheats: a wait that does not wait, a disguising variable. No number comes of them.

What cheats inside a call is tried in `test_benchmarks_conftest.py`; here it is the worker itself.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.arms import HERE, ROOMS, Arm
from benchmarks.cases import select
from benchmarks.measurement import Measurement
from benchmarks.worker import Job, run_worker, worker_variables

(CASE,) = select("unet_forward[digits,b64]")


def measured(code: Path = HERE, **variables: str) -> Measurement:
    """The row of one worker of the checkout `code`, nothing tuned: launches are not blocking there."""
    arm = Arm("cheat", code=code, tuning="stock")
    job = Job((CASE,), "CPU", "pynative", arm.tuning, 0, arm)
    answer = run_worker(
        job, worker_variables({**os.environ, **variables}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, code=code),
        reference="verification.oracle_network:predict", timeout=120, late="late",
    )  # fmt: skip
    return answer.measurements[0]


@pytest.mark.parametrize("variable", ["MS_KERNEL_LAUNCH_SKIP=ALL", "MS_JIT=0"])
def test_disguising_variable_gives_no_number(variable: str) -> None:
    name, value = variable.split("=")
    row = measured(**{name: value})
    assert row.seconds == ()
    assert row.invalid


@pytest.fixture
def other_checkout(tmp_path: Path) -> Path:
    for room in ROOMS:
        shutil.copytree(HERE / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


NOTHING = """

def synchronize() -> None:
    return
"""

NOTHING_AT_FIRST = """

_honest, _waits = synchronize, []


def synchronize() -> None:
    _waits.append(None)
    return _honest() if len(_waits) > 1 else None
"""

NOTHING_LATER = """

_honest, _waits = synchronize, []


def synchronize() -> None:
    _waits.append(None)
    return _honest() if len(_waits) < 30 else None
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wait", "honest"),
    [(NOTHING, False), (NOTHING_AT_FIRST, False), (NOTHING_LATER, False), ("", True)],
    ids=["always", "at first", "later", "honest"],
)
def test_wait_that_does_not_wait_gives_no_number(other_checkout: Path, wait: str, honest: bool) -> None:
    with (other_checkout / "ddpm_bench" / "device.py").open("a") as source:
        source.write(wait)
    row = measured(other_checkout)
    assert bool(row.seconds) == honest, row.invalid
    assert (row.invalid is None) == honest
