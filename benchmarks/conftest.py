"""pytest's part of a worker process: which cases run, on what, and the row each of them leaves.

A worker is `pytest benchmarks/test_….py --clock-job FILE --benchmark-json FILE`; the runner writes the job. By hand,

    pytest benchmarks/test_unet.py --benchmark-enable --clock-reference verification.oracle_network:predict -k digits

times cases of that module in graph mode on the CPU.

MindSpore is imported once the command line is read and before the timed modules are, so that importing is timed apart.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import timing
from benchmarks.cases import CASES, PEAKS, Case
from benchmarks.environment import collect, refuse_disguises
from benchmarks.gates import Invalid, Network, Reference
from benchmarks.lifetime import age, end_with
from benchmarks.measurement import BenchmarkError, now
from benchmarks.operators import OPERATORS
from benchmarks.peers import NEEDED, PEERS
from benchmarks.plant import slowed
from benchmarks.turnstile import Alone, InTurn, Turns


@dataclass(frozen=True)
class Job:
    """What one worker is asked to do."""

    device: str = "CPU"
    mode: str = "graph"
    tuning: str = "stock"
    """a name; its variables are set already, and any other than "stock" also sets what `device.configure` tunes"""
    cases: tuple[Case, ...] = (*CASES, *OPERATORS, *PEAKS)
    shared: bool = False
    """whether other cases run in this worker too"""
    reference: str | None = None
    """"module:function" of the network's reference (`gates.Reference`)"""
    clock: int | None = None
    """number of the process that started this one; None where an older clock did"""
    turns: int | None = None
    """file descriptor of the socket through which this worker takes turns with others; None if it is alone"""
    planted: float = 0.0
    """share by which calls are slowed on purpose"""
    peer: str | None = None
    """which of `peers.PEERS` to time; None for this project's network"""
    outputs: bool = False
    """whether to leave the outputs of the first timed calls, as outputs-0.npz and so on, by the cases' order"""

    @property
    def whole_graphs(self) -> bool:
        """Whether graphs are compiled because GRAPH_MODE is set, not by `mindspore.jit` in PyNative mode.

        Those of single operators take milliseconds, and called from PyNative mode each wakes a thread of MindSpore's
        (`frontend_queue`) that spins for as long and takes a processor from those that compute. Under GRAPH_MODE that
        thread sleeps. A level of compilation can be asked of `jit` alone, and graphs are loaded by it alone
        (`compiled.py`).
        """
        from ddpm_bench.device import JIT_LEVEL

        asked = os.environ.get(JIT_LEVEL) or os.environ.get("MS_COMPILER_CACHE_ENABLE") == "1"
        return self.mode == "graph" and all(case.small for case in self.cases) and not asked


def read_job(path: Path) -> Job:
    """The job in a file that the runner wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    cases = tuple(Case(**_known(Case, case)) for case in content["cases"])
    return Job(**{**_known(Job, content), "cases": cases})


def _known(kind: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that a dataclass has fields for: a newer clock may say more than this code knows."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in content.items() if name in names}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of a worker."""
    group = parser.getgroup("clock")
    group.addoption("--clock-job", type=Path, help="the runner's job file")
    group.addoption("--clock-failures", type=Path, help="where to write, as JSON, why which case gave no row")
    group.addoption("--clock-reference", help='without a job: "module:function" of the network\'s float64 reference')


JOB = pytest.StashKey[Job]()
FAILURES = pytest.StashKey[dict[str, dict[str, Any]]]()
"""By case: the "reason", and whether a gate "refused" the case, or something else went wrong."""
SEEN = pytest.StashKey[dict[str, Any]]()
GIVEN = pytest.StashKey[dict[str, str]]()
"""The environment variables this process was started with: frameworks set some of their own when they are imported."""
STARTED = pytest.StashKey[str]()
START_SECONDS = pytest.StashKey[float]()
IMPORT_SECONDS = pytest.StashKey[float]()

SEED = 0
"""Of weights, inputs and noise: every process times the same numbers."""


def pytest_configure(config: pytest.Config) -> None:
    """Read the job, and refuse to measure under variables that disguise the measurement."""
    path = config.getoption("clock_job")
    job = config.stash[JOB] = read_job(path) if path else Job(reference=config.getoption("clock_reference"))
    if path:
        end_with(job.clock)
    config.stash[FAILURES] = {}
    config.stash[STARTED] = now()
    config.stash[START_SECONDS] = age()
    config.stash[GIVEN] = dict(os.environ)
    try:
        refuse_disguises(os.environ)
    except BenchmarkError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection(session: pytest.Session) -> None:
    """Import the framework before the timed modules do, with a watch on it."""
    start = time.perf_counter()
    for module in NEEDED if session.config.stash[JOB].peer else ("mindspore", "ddpm_bench.unet"):
        importlib.import_module(module)
    session.config.stash[IMPORT_SECONDS] = time.perf_counter() - start


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `case` runs for each case of the job that is made in its module."""
    if "case" in metafunc.fixturenames:
        job = metafunc.config.stash[JOB]
        here = [case for case in job.cases if case.module == metafunc.module.__name__]
        metafunc.parametrize("case", here, ids=[case.id for case in here])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note why a case failed, in one line, for the runner."""
    report = yield
    case = getattr(getattr(item, "callspec", None), "params", {}).get("case")
    if case is not None and call.excinfo is not None and not report.skipped:
        kind, text = call.excinfo.typename, str(call.excinfo.value).strip()
        refused = call.excinfo.errisinstance((Invalid, pytest.fail.Exception))  # which says that the row is invalid
        reason = text if refused else f"{kind}: {text.splitlines()[0] if text else ''}"
        item.config.stash[FAILURES].setdefault(case.id, {"reason": reason, "refused": refused})
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the failures where the runner looks for them."""
    path = session.config.getoption("clock_failures")
    if path:
        path.write_text(json.dumps(session.config.stash[FAILURES]), encoding="utf-8")


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """pytest-benchmark's own description starts processes and takes a second; environment.py has ours."""
    seen: dict[str, Any] = config.stash.get(SEEN, {})
    planted = config.stash[JOB].planted
    environment = collect(config.stash[GIVEN]) | ({"planted": f"{planted:g}"} if planted else {})
    return {"clock": {"environment": environment, **seen}}


def pytest_benchmark_generate_commit_info(config: pytest.Config) -> dict[str, Any]:  # noqa: ARG001 - the hook's signature
    """No version control is asked: the environment holds a digest of the code."""
    return {}


@dataclass
class MindSpore:
    """MindSpore on one device in one mode, as `timing.Machine` wants it."""

    job: Job
    import_seconds: float
    shim: Any
    """`ddpm_bench.device`"""
    settings: Mapping[str, str] = field(default_factory=dict)
    """what `device.configure` has set for the tuning"""
    whole: bool = False
    """whether Cells are called under GRAPH_MODE, which compiles them; otherwise by `mindspore.jit`"""
    _canary: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """The device the job names."""
        return self.job.device

    @property
    def mode(self) -> str:
        """The mode the job names."""
        return self.job.mode

    def synchronize(self) -> None:
        """Wait for everything launched so far."""
        self.shim.synchronize()

    def canary(self) -> Mapping[str, Any]:
        """Proof that waiting waits, made once a process."""
        if not self._canary:
            self._canary = self.shim.prove_synchronise().as_record()
        return self._canary

    def compile_count(self) -> int:
        """Graphs compiled so far."""
        return int(self.shim.compile_count())

    def peak_resident_memory(self) -> int | None:
        """Bytes, or None where the system does not tell."""
        peak = self.shim.peak_resident_memory()
        return peak if isinstance(peak, int) else None

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` as it runs in the job's mode."""
        compiled: Callable[..., Any] = function if self.whole else self.shim.compiled(function, self.mode)
        return compiled

    def network(self, preset: str, dtype: str = "float32", **changes: Any) -> Any:
        """A U-Net that computes in `dtype`, its zero-initialised weights drawn too.

        With zeros its output would be zero whatever is computed. Raises `Invalid` where there is no such arithmetic.
        """
        from ddpm_bench import precision

        missing = precision.missing(dtype)
        if missing:
            raise Invalid(missing)
        cell = drawn_network(preset, **changes)
        return self.chosen(cell) if dtype == "float32" else precision.lowered(cell, dtype)

    def chosen(self, cell: Any) -> Any:
        """The float32 `cell` with its parts computed as is chosen for the job's device and mode."""
        from ddpm_bench.exchange import exchanged
        from ddpm_bench.operators import current

        return exchanged(cell, current(self.device, self.mode))


def drawn_network(preset: str, **changes: Any) -> Any:
    """A U-Net with all weights drawn, the same in every process."""
    from mindspore import Tensor

    from ddpm_bench.unet import ZERO_INITIALISED, UNet
    from ddpm_bench.unet import preset as configuration

    cell = UNet(configuration(preset, **changes), seed=SEED)
    random = np.random.default_rng(SEED)
    for name, parameter in cell.parameters_and_names():
        if name.endswith(ZERO_INITIALISED):
            spread = math.prod(parameter.shape[1:]) ** -0.5
            values = spread * random.standard_normal(parameter.shape)
            parameter.set_data(Tensor(values.astype(np.float32)))
    return cell


def write_weights(preset: str, path: str) -> None:
    """Leave the weights of a network for another framework's: an NPZ file, name to float32 array."""
    np.savez(path, **weights(drawn_network(preset)))


def placement(cell: Any) -> dict[str, str]:
    """Where the parameters of a Cell are and of what dtype, as MindSpore reports them; several are joined by commas."""
    parameters = list(cell.get_parameters())
    return {
        "device": ",".join(sorted({str(parameter.device) for parameter in parameters})),
        "dtype": ",".join(sorted({str(parameter.dtype) for parameter in parameters})),
    }


def weights(cell: Any) -> dict[str, Any]:
    """Copies of a Cell's parameters, path in the Cell to NumPy array."""
    return {name: np.array(parameter.asnumpy()) for name, parameter in cell.parameters_and_names()}


def reference_network(reference: Reference, cell: Any, dtype: str = "float32") -> Network:
    """The network `cell`, which computes in `dtype`, as the gates see it: by reference, configuration and weights."""
    return Network(reference, dataclasses.asdict(cell.config), weights(cell), dtype)


def nth(x: Any, i: int) -> Any:
    """The input of call number i, made of the array `x`: no two calls get the same, so a remembered output is wrong."""
    return x * np.float32(1 + i / 4096)


def checked_images(preset: str, batch: int) -> slice:
    """Which images of a batch are held against the reference: the last, where a shortened batch shows, or last four."""
    return slice(max(0, batch - (1 if preset == "cifar10" else 4)), batch)


@pytest.fixture(scope="session")
def job(pytestconfig: pytest.Config) -> Job:
    """What this worker is asked to do."""
    return pytestconfig.stash[JOB]


@pytest.fixture(scope="session")
def machine(job: Job, pytestconfig: pytest.Config) -> Iterator[Any]:
    """MindSpore, or the job's peer, on its device: a `timing.Machine`."""
    if job.peer:
        from benchmarks.peer_torch import Torch

        yield Torch(job.device, PEERS[job.peer], pytestconfig.stash[IMPORT_SECONDS])
        return
    from ddpm_bench import device

    devices = device.available_devices()
    pytestconfig.stash[SEEN] = {"devices": devices}
    settings = device.configure(job.device, tuned=job.tuning != "stock")
    if job.whole_graphs:
        settings = {**settings, "graphs": "GRAPH_MODE"}
    with device.whole_graph() if job.whole_graphs else nullcontext():
        yield MindSpore(job, pytestconfig.stash[IMPORT_SECONDS], device, settings, job.whole_graphs)


def save(path: Path, kept: timing.Kept) -> None:
    """Write outputs to an archive, named by the numbers of their calls."""
    np.savez(path, **{f"call {index}": np.asarray(output) for index, output in kept})


def no_reference(*_: object) -> Any:
    """In the place of a reference that was not named: without one no output can be called right."""
    raise Invalid("no reference was named, so outputs cannot be checked: give --clock-reference MODULE:FUNCTION")


@pytest.fixture(scope="session")
def reference(job: Job) -> Reference:
    """The network's reference that the job names."""
    if job.reference is None:
        return no_reference
    module, _, function = job.reference.partition(":")
    found: Reference = getattr(importlib.import_module(module), function)
    return found


@pytest.fixture(scope="session")
def turns(job: Job) -> Turns:
    """Whom this worker takes turns with."""
    return Alone() if job.turns is None else InTurn(job.turns)


@pytest.fixture
def clock(
    request: pytest.FixtureRequest,
    benchmark: Any,
    machine: timing.Machine,
    reference: Reference,
    job: Job,
    turns: Turns,
) -> Callable[[Case], None]:
    """Times a case: makes it by its maker in the test's module, runs it, and fails the test if the row is invalid."""

    def run(case: Case) -> None:
        make = getattr(request.module, case.maker)
        params = {
            **case.params, "device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": case.rounds,
            "shared_worker": job.shared,
        }  # fmt: skip
        stash = request.config.stash
        try:
            start = time.perf_counter()
            workload = slowed(make(case, machine, reference), machine.synchronize, job.planted)
            before = {
                "start": stash[START_SECONDS],
                "import": stash[IMPORT_SECONDS],
                "build": time.perf_counter() - start,
            }
            keep = partial(save, Path(f"outputs-{job.cases.index(case)}.npz")) if job.outputs else None
            invalid = timing.run_case(case, workload, machine, benchmark, params, turns, keep)
            row = benchmark.extra_info["clock"]
            row |= {"started": stash[STARTED], "split": {**before, **row.get("split", {})}}
        finally:
            turns.over(case.id)
        if invalid:
            pytest.fail(invalid, pytrace=False)

    return run
