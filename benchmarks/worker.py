"""One fresh worker process: start it, wait for it, and read what it left, whatever became of it.

The worker is pytest over the timed modules, in a folder of its own (MindSpore and pytest leave files where they stand),
with nothing of this process but its environment variables. Its answer is pytest-benchmark's JSON; a case without a row
there gets one that says why: the test's error, the signal that ended the process, or the time that was up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.arms import HERE, Arm
from benchmarks.cases import Case
from benchmarks.lifetime import whole
from benchmarks.measurement import (
    BenchmarkError,
    Measurement,
    from_pytest_benchmark,
    invalid_measurement,
    read_json,
)

POLL = 0.25
"""Seconds between two looks at a running worker: rarely enough not to disturb it."""


@dataclass(frozen=True)
class Job:
    """What one worker does: `cases` on one device in one mode under one tuning."""

    cases: tuple[Case, ...]
    device: str
    mode: str
    tuning: str
    process: int
    """0-based, among the workers with the same cases, device, mode and tuning"""
    side: Arm = field(default_factory=lambda: Arm("here"))
    """the interpreter and the code that do it"""
    outputs: bool = False
    """whether the outputs of the first timed calls are wanted, too"""

    @property
    def label(self) -> str:
        """One line for a progress bar."""
        first = self.cases[0].id if len(self.cases) == 1 else f"{len(self.cases)} cases [{self.cases[0].group}]"
        return f"{first} {self.mode} on {self.device}, process {self.process + 1}"

    @property
    def arm(self) -> tuple[tuple[str, ...], str, str, str]:
        """What workers with different `process` have in common."""
        return (tuple(case.id for case in self.cases), self.device, self.mode, self.tuning)


@dataclass(frozen=True)
class Answer:
    """What a worker left: a measurement for every case of its job, and what it saw of the machine."""

    measurements: tuple[Measurement, ...]
    seen: dict[str, Any]
    seconds: float
    outputs: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    """of the first timed calls, by case, where the job asked for them"""
    mishap: str | None = None
    """what went wrong beside any gate, in words behind "the worker …": a signal ended it, or a case raised an error"""


def run_worker(
    job: Job,
    variables: Mapping[str, str],
    *,
    reference: str | None,
    timeout: float,
    late: str,
    on_heartbeat: Callable[[], None] | None = None,
) -> Answer:
    """Run `job` in a fresh process with the environment `variables`, for at most `timeout` seconds.

    `reference` names the network's reference, "module:function". `late` is the reason to give if that time is up.
    Never raises for what happens to the worker: that becomes the reason in each row it did not deliver.
    """
    start_time = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ddpm-bench-") as name:
        folder = Path(name)
        with start(job, folder, variables, reference) as process:
            end = wait(process, start_time + timeout, on_heartbeat or (lambda: None))
        return answer(job, folder, end, late, time.perf_counter() - start_time)


@contextmanager
def start(
    job: Job, folder: Path, variables: Mapping[str, str], reference: str | None, *, turns: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The worker for `job`, standing in `folder`; whatever becomes of it, it and all it started are ended at the end.

    `turns` is the file descriptor of the socket through which it takes turns, inherited by it (`turnstile.py`).
    """
    command = _prepare(job, folder, reference, turns)
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - an interpreter with our own arguments
            command, cwd=folder, env=dict(variables), stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            pass_fds=() if turns is None else (turns,),
        )  # fmt: skip
        try:
            yield process
        finally:
            _stop(process)


def wait(process: subprocess.Popen[bytes], deadline: float, on_heartbeat: Callable[[], None]) -> int | None:
    """The worker's exit code; None when it still runs at the `deadline` of `time.perf_counter`."""
    while (code := process.poll()) is None and time.perf_counter() < deadline:
        time.sleep(POLL)
        on_heartbeat()
    return code


def answer(job: Job, folder: Path, end: int | None, late: str, seconds: float) -> Answer:
    """What a worker left in `folder` that ended with exit code `end`, or with None was stopped because of `late`."""
    reason = late if end is None else _exit_reason(end, folder)
    rows, seen = _rows(folder, job)
    failures = _failures(folder)
    measurements = tuple(
        rows.get(case.id) or _invalid(job, case, failures[case.id].reason if case.id in failures else reason)
        for case in job.cases
    )
    timed = tuple(_with_wall(row, seconds) for row in measurements)
    return Answer(timed, seen, seconds, _outputs(folder, job), _mishap(end, failures))


def _mishap(end: int | None, failures: Mapping[str, _Failure]) -> str | None:
    if end is not None and end < 0:
        return f"was ended by {signal.Signals(-end).name}"
    error = next((failure.reason for failure in failures.values() if not failure.refused), None)
    return error and f"met {error}"


def _outputs(folder: Path, job: Job) -> dict[str, list[NDArray[Any]]]:
    """What the worker kept of its outputs; an archive that was cut short counts as none."""
    found: dict[str, list[NDArray[Any]]] = {}
    for i, case in enumerate(job.cases):
        with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
            found[case.id] = _arrays(folder / f"outputs-{i}.npz")
    return found


def _arrays(path: Path) -> list[NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name] for name in archive.files]


def _with_wall(row: Measurement, wall: float) -> Measurement:
    """The row with the rest of the worker's `wall` time in its split; an invalid one has none."""
    return dataclasses.replace(row, split=whole(row.split, wall)) if row.split else row


def _prepare(job: Job, folder: Path, reference: str | None, turns: int | None) -> list[str]:
    """Write the job into `folder`; the command that does it."""
    cases = [peers.theirs(case) for case in job.cases] if job.side.peer else job.cases
    content = {
        "device": job.device, "mode": job.mode, "tuning": job.tuning, "shared": len(job.cases) > 1,
        "reference": reference, "cases": [dataclasses.asdict(case) for case in cases], "turns": turns,
        "planted": job.side.planted, "clock": os.getpid(), "peer": job.side.peer, "outputs": job.outputs,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # nobody else's settings
    modules = dict.fromkeys(str(_file(case.module, job.side)) for case in cases)
    return [
        job.side.python, "-m", "pytest", "-q", "--capture=no", "-c", "pytest.ini", "--rootdir", ".",
        "-p", "no:cacheprovider", "-p", "pytest_benchmark.plugin", "--benchmark-enable",
        "--benchmark-json", "rows.json",
        "--clock-job", "job.json", "--clock-failures", "failures.json", *modules,
    ]  # fmt: skip


def _file(module: str, side: Arm) -> Path:
    """Where the source of a timed module is, found without importing it: in the arm's code, or wherever it is here."""
    theirs = side.code.joinpath(*module.split(".")).with_suffix(".py")
    if theirs.is_file():
        return theirs
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise BenchmarkError(f"the timed module {module} cannot be found beside the clock")
    return Path(spec.origin)


def worker_variables(base: Mapping[str, str], tuning: Mapping[str, str | None], *, code: Path = HERE) -> dict[str, str]:
    """The environment of a worker: `base` with a `tuning`'s variables set (None unsets), and pytest's own taken out.

    `code` is the folder whose packages it imports.
    """
    ours = {name: value for name, value in base.items() if not name.startswith(("PYTEST_", "COV_CORE_"))}
    ours["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins cost time and may touch what is timed
    beside = str(code)  # the worker stands elsewhere and must find these packages
    ours["PYTHONPATH"] = os.pathsep.join(filter(None, [beside, base.get("PYTHONPATH")]))
    ours |= {name: value for name, value in tuning.items() if value is not None}
    return {name: value for name, value in ours.items() if tuning.get(name, "") is not None}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a worker that still runs, with everything it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _exit_reason(code: int, folder: Path) -> str:
    """Why a worker that ended with `code` may have left no row."""
    if code < 0:
        return f"the worker was ended by {signal.Signals(-code).name}"
    lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"the worker ended with exit code {code}; its last words: {last[:200]}"


def _rows(folder: Path, job: Job) -> tuple[dict[str, Measurement], dict[str, Any]]:
    """The rows by case, and what the worker saw of the machine; both empty when it left nothing readable."""
    path = folder / "rows.json"
    if (
        not path.exists() or not path.stat().st_size
    ):  # pytest-benchmark opens its file before there is anything to write
        return {}, {}
    document = read_json(path)
    rows = {row.case: row for row in from_pytest_benchmark(document, process=job.process)}
    return rows, dict(document["machine_info"].get("clock", {}))  # type: ignore[index]  # from_pytest_benchmark saw to it


@dataclass(frozen=True)
class _Failure:
    """Why a case left no row."""

    reason: str
    refused: bool
    """by a gate"""


def _failures(folder: Path) -> dict[str, _Failure]:
    """By case; an older conftest.py, of another checkout, left reasons alone."""
    path = folder / "failures.json"
    found: Any = read_json(path) if path.exists() else {}
    return {
        case: _Failure(told, refused=True) if isinstance(told, str) else _Failure(told["reason"], told["refused"])
        for case, told in found.items()
    }


def _invalid(job: Job, case: Case, reason: str) -> Measurement:
    params = {**case.params, "device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": case.rounds}
    return invalid_measurement(case.id, params, job.process, reason, work=case.work, unit=case.unit)
