"""Inside a worker that is not timed: run each case a few times while the libraries beneath say what they do.

    python -m benchmarks.talking job.json     the job as `worker.py` writes it, only "cases", "device", "mode", "tuning"

The lines of each case's `CALLS` calls stand behind a line `CASE id` on standard output, where oneDNN writes its own;
those of its first call, which may choose and convert, behind `WARMING`. A case that cannot run has a line `FAILED
reason`. No number comes from here, so variables that make libraries talk are no disguise.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from pathlib import Path

from benchmarks.cases import Case

CASE, WARMING, FAILED = "ddpm-bench case: ", "ddpm-bench warms up", "ddpm-bench failed: "

CALLS = 3
"""Of each case, listened to after its first one."""


def main(path: str) -> None:
    """Run the job in the file `path`."""
    from benchmarks import conftest
    from ddpm_bench import device

    job = conftest.read_job(Path(path))
    device.configure(job.device, tuned=job.tuning != "stock")
    machine = conftest.MindSpore(job, 0.0, device)
    for case in job.cases:
        announce(WARMING)
        try:
            talk(case, machine)
        except Exception as error:  # noqa: BLE001 - one case that a release cannot run must not silence the others
            announce(f"{FAILED}{type(error).__name__}: {error}")
    announce("")


def talk(case: Case, machine: object) -> None:
    """The case's first calls: what those after the first say is what every later one would."""
    from benchmarks import conftest

    workload = getattr(importlib.import_module(case.module), case.maker)(case, machine, conftest.no_reference)
    for i in range(1 + CALLS):
        if i == 1:
            announce(CASE + case.id)
        output = workload.call(*workload.prepare(i))
        workload.fetch(output)


def announce(line: str) -> None:
    """Write a line between those of libraries, which buffer theirs in C."""
    ctypes.CDLL(None).fflush(None)
    sys.stdout.write(f"\n{' '.join(line.split())}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
