"""Timed modules without MindSpore: real worker processes that behave, or misbehave, as a case's parameters say."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cases import Case

CONFTEST = """
import pytest
from benchmarks.conftest import *
from benchmarks.conftest import IMPORT_SECONDS, SEEN

def pytest_collection(session):
    session.config.stash[IMPORT_SECONDS] = 0.25

class Fake:
    import_seconds = 0.25
    settings = {"launch_blocking": "on"}
    compiled = 0

    def __init__(self, job):
        self.device, self.mode = job.device, job.mode

    def synchronize(self):
        pass

    def canary(self):
        return {"holds": True}

    def compile_count(self):
        return self.compiled

    def peak_resident_memory(self):
        return 10**6

@pytest.fixture(scope="session")
def machine(job, pytestconfig):
    pytestconfig.stash[SEEN] = {"devices": {"CPU": None, "GPU": "unavailable: this test has none"}}
    return Fake(job)
"""

MODULE = """
import os, signal, time
from benchmarks.gates import Invalid
from benchmarks.timing import Workload

def good(kept):
    return {"kept": len(kept)}

def wrong(kept):
    raise Invalid("eps_hat is off by 1 where 0.1 is allowed (its size is 1)")

def make(case, machine, reference):
    behaviour, slow = case.params.get("behaviour", "good"), case.params.get("slow")
    time.sleep(slow == "build")
    if behaviour == "raise":
        raise ValueError("no such preset\\nand more")

    def call():
        if behaviour == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour in ("die once", "raise once") and not os.path.exists(case.params["mark"]):
            open(case.params["mark"], "w").close()
            if behaviour == "raise once":
                raise RuntimeError("Create device context failed")
            os.kill(os.getpid(), signal.SIGSEGV)
        if behaviour == "leave":
            print("the last words", flush=True)
            os._exit(7)
        if behaviour == "hang":
            time.sleep(600)
        if behaviour == "environment":
            return dict(os.environ)
        time.sleep(case.params.get("sleep", 0.001))
        time.sleep(slow == "compile" and not machine.compiled)
        machine.compiled += machine.mode == "graph" and not machine.compiled
        return 1

    def gate(kept):
        time.sleep(slow == "gate")
        return (wrong if behaviour == "wrong" else good)(kept)

    return Workload(
        call=call, prepare=lambda i: (), fetch=lambda output: output, gate=gate,
        flops=1000, placement={"device": machine.device, "dtype": "float32"},
    )

def test_fake(case, clock):
    clock(case)
"""


def install(folder: Path) -> None:
    """Write the timed module `fake_timed` and its conftest.py into `folder`."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "fake_timed.py").write_text(MODULE)


def case(name: str = "fake[a]", behaviour: str = "good", *, rounds: int = 3, **params: object) -> Case:
    return Case(name, {"behaviour": behaviour, **params}, "fake_timed:make", 2, "images", rounds)
