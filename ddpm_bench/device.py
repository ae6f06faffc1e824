"""Where and how MindSpore computes: device, execution mode, seeds, waiting, memory.

MindSpore runs a line of Python in one of two ways. In PyNative mode each operator is handed to the device
as Python reaches it; `mindspore.jit` reads the source of a function, compiles it to one graph and runs that. Both are
asynchronous, on the CPU too: a call returns before its result exists; a clock that does not wait measures the launch.

Everything that depends on the MindSpore version, or that a version got wrong, is in this file and only here:

* `_graph_api` (2.7.0 to 2.10.0): moved from `mindspore.common.api` to `mindspore.graph.api`. May go when 2.10.0 is
  the oldest version served.
* `synchronize` (2.7.0 to 2.10.0, CPU): MindSpore's own logs an error on its first call and does not wait. May go when
  the first call waits.
* `whole_graph` (2.7.0 to 2.10.0): `set_context(mode=…)` is being retired but is the only whole-graph switch.
* `_tune` (2.7.0 to 2.10.0, CPU): the runtime's threads spin, so on few cores a result waits for a scheduler tick. May
  go when PyNative runs as fast without it.
* `silence_recompilations` (2.7.0 to 2.10.0): `mindspore.jit` warns whenever a function is compiled for a second
  object. May go when it does not.
* `peak_memory` (2.7.0 to 2.10.0, CPU): memory statistics are all zero. May go when they are not.

The convolution trap has to be dealt with before MindSpore is imported: see `remedy.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import mindspore
import numpy as np
from mindspore import ops

from ddpm_bench.errors import ConfigError, unknown_name

try:
    from mindspore.graph import api as _graph_api
except ImportError:  # before MindSpore 2.10.0
    from mindspore.common import api as _graph_api

DEVICES = ("CPU", "GPU", "Ascend")
MODES = ("graph", "pynative")

FEW_CORES = 4
"""At most so many cores, and the runtime's spinning threads keep Python from running (see `configure`)."""

JIT_LEVEL: Final = "DDPM_BENCH_JIT_LEVEL"
JIT_LEVELS: Final = ("O0", "O1", "O2")

Function = TypeVar("Function", bound=Callable[..., Any])

_configured: dict[str, str] = {}


def configure(device: str = "CPU", *, tuned: bool = True) -> dict[str, str]:
    """Choose the `device` for this process, once, before the first operator; PyNative mode is the default after it.

    `tuned` also sets what makes MindSpore faster without changing a bit of any result. On a CPU with at most
    `FEW_CORES` cores that is `runtime.launch_blocking()`: PyNative's threads otherwise spin on the cores and the
    waiting thread gets in only at a scheduler tick, every 4 ms. It cannot be taken back, and has no effect once an
    operator has run (MindSpore 2.7.0 to 2.10.0).

    Returns what was set, for the record. Raises `ConfigError` for an unknown device, for one that is not available
    (with the reason), and when this process already runs on another one.
    """
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    if _configured and _configured["device"] != device:
        raise ConfigError(
            f"this process already computes on {_configured['device']} and MindSpore cannot move it to {device}: "
            f"start a new process for {device}"
        )
    reason = available_devices()[device]
    if reason is not None:
        raise ConfigError(f"device {device} is {reason}; available are {', '.join(_present())}")
    _set_device(device)
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    _configured.update({"device": device}, **(_tune(device) if tuned else {}))
    return dict(_configured)


def _set_device(device: str) -> None:
    """Choose the device, which MindSpore refuses once an operator has run, even if it ran there."""
    try:
        mindspore.set_device(device)
    except RuntimeError:
        if current_device() != device:
            raise ConfigError(
                f"operators have run on {current_device()} already, so MindSpore cannot move to {device}: "
                "choose the device first, or start a new process"
            ) from None


def _tune(device: str) -> dict[str, str]:
    if device != "CPU" or len(os.sched_getaffinity(0)) > FEW_CORES:
        return {}
    mindspore.runtime.launch_blocking()
    return {"launch_blocking": "on"}


def settings() -> dict[str, str]:
    """What `configure` has set in this process; empty before it was called."""
    return dict(_configured)


def available_devices() -> dict[str, str | None]:
    """For each of `DEVICES`: None where it can be used, else "unavailable: …" with the reason."""
    return {"CPU": None, "GPU": _gpu_reason(), "Ascend": _ascend_reason()}


def _present() -> list[str]:
    return [name for name, reason in available_devices().items() if reason is None]


def _gpu_reason() -> str | None:
    """Why no GPU can be used. MindSpore's wheels carry plug-ins for CUDA 11.1 and 11.6 (its installation guide)."""
    with quiet():
        usable = mindspore.device_context.gpu.is_available()
    if usable:
        return None
    if not Path("/dev/nvidiactl").exists():
        return "unavailable: this machine shows no NVIDIA GPU (/dev/nvidiactl does not exist)"
    missing = _missing_libraries("libcuda.so.1", "libcudart.so.11.0", "libcudnn.so.8")
    if missing:
        return f"unavailable: cannot load {', '.join(missing)}; MindSpore's plug-in needs CUDA 11.1 or 11.6"
    return "unavailable: MindSpore could not load its GPU plug-in; it is built for CUDA 11.1 and 11.6"


def _ascend_reason() -> str | None:
    """Why no Ascend can be used. The plug-in needs the driver's /dev/davinci* and CANN (its installation guide)."""
    with quiet():
        usable = mindspore.device_context.ascend.is_available()
    if usable:
        return None
    if not any(Path("/dev").glob("davinci[0-9]*")):
        return "unavailable: this machine shows no Ascend device (/dev/davinci0 does not exist)"
    missing = _missing_libraries("libascendcl.so", "libge_runner.so")
    if missing:
        return f"unavailable: cannot load {', '.join(missing)}; install CANN and source its set_env.sh"
    return "unavailable: MindSpore could not load its Ascend plug-in; check that CANN's version fits MindSpore's"


def _missing_libraries(*names: str) -> list[str]:
    return [name for name in names if not _loads(name)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep MindSpore's Python log silent: it reports absent plug-ins and unsupported waits as errors on stderr."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


RECOMPILATION = re.compile(r"^The .* has been compiled again\. ")
"""How the warning begins that `mindspore.jit` gives for each further subject, network or shape in one process."""


def silence_recompilations() -> None:
    """Keep that one warning out of MindSpore's Python log; all else is logged as before.

    It advises to make a function once; whoever judges several subjects in one process has to make it for each.
    """
    logger = mindspore.log._get_logger()  # the only way to it: the module logs through functions
    if not any(isinstance(each, _WithoutRecompilations) for each in logger.filters):
        logger.addFilter(_WithoutRecompilations())


class _WithoutRecompilations(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return RECOMPILATION.match(record.getMessage()) is None


def compiled(function: Function, mode: str) -> Function:
    """The `function` or Cell as it runs in `mode`: through `mindspore.jit` for "graph", itself for "pynative".

    The environment variable `DDPM_BENCH_JIT_LEVEL` names the level, "O0", "O1" or "O2" (Ascend), if MindSpore's own
    choice is not wanted. Raises `ConfigError` for an unknown mode or level.
    """
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)
    level = os.environ.get(JIT_LEVEL)
    if level and level not in JIT_LEVELS:
        raise unknown_name(JIT_LEVEL, level, JIT_LEVELS)
    if mode != "graph":
        return function
    result: Function = mindspore.jit(function, jit_level=level) if level else mindspore.jit(function)
    return result


@contextlib.contextmanager
def whole_graph() -> Iterator[None]:
    """GRAPH_MODE inside the block: a Cell called there compiles as one graph, with everything it calls."""
    before = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    try:
        yield
    finally:
        mindspore.set_context(mode=before)


def compile_count() -> int:
    """How many graphs this process has compiled, those of Cells that are gone not counted.

    Proof of mode: a PyNative run leaves it unchanged, the first graph run of a shape adds at least one.
    """
    cells = sum(len(phases) for phases in _graph_api.cells_compile_cache.values())
    return len(_graph_api.ms_compile_cache) + cells


def graph_flops(cell: mindspore.nn.Cell) -> int | None:
    """Floating-point operations of one call of `cell`, as MindSpore counts them; None if it has no whole-graph compile.

    Counts matrix products, convolutions and flash attention, two operations per multiply–add, for the last shape
    compiled inside `whole_graph`.
    """
    phases = list(getattr(cell, "compile_cache", ()))
    return int(_graph_api.flops_collection(phases[-1])[0]) if phases else None


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and MindSpore's global generators, for what cannot be passed in (dropout, shuffles).

    A Cell that was compiled before keeps its own stream: re-seeding does not restart it (MindSpore 2.7.0 to 2.10.0).
    Noise and time steps therefore are arguments everywhere.
    """
    mindspore.set_seed(seed)  # also Python's and NumPy's
    mindspore.manual_seed(seed)


def synchronize() -> None:
    """Wait until everything launched so far has been computed."""
    if not _armed:
        with quiet():
            mindspore.runtime.synchronize()
        _armed.append(True)
    mindspore.runtime.synchronize()


_armed: list[bool] = []


@dataclass(frozen=True)
class SynchroniseProof:
    """What `prove_synchronise` saw: medians of tries that take turns, so no lucky one decides, and no neighbour."""

    operators: int
    seconds: float
    """for a chain of `operators` matrix products, launched and waited for"""
    seconds_doubled: float
    """for a chain twice as long"""
    seconds_fetch: float
    """for `asnumpy()` of the longer chain's result after the wait, the least of all tries"""
    first_fetch: float
    """share of a chain's time that was left for `asnumpy()` after the first wait of all, which may do nothing"""
    ratio: float
    """of a doubled chain to the chains right before and after it, so that all three met the same neighbours: 2 when the
    clock sees the work"""

    @property
    def holds(self) -> bool:
        """True when the work is paid for before `synchronize` returns.

        The doubled chain costs 1.5 to 2.7 times the chain (2 but for neighbours that come or go in half of the tries),
        and fetching costs less than a quarter of the chain: it would cost nearly all of it if nothing had waited. After
        the first wait, of which there is one try only, less than a half.
        """
        waited = self.seconds_fetch < 0.25 * self.seconds and self.first_fetch < 0.5
        return waited and 1.5 <= self.ratio <= 2.7

    def as_record(self) -> dict[str, float | bool]:
        """The proof as JSON can hold it."""
        return {
            "operators": self.operators,
            "seconds": self.seconds,
            "seconds_doubled": self.seconds_doubled,
            "seconds_fetch": self.seconds_fetch,
            "first_fetch": self.first_fetch,
            "ratio": self.ratio,
            "holds": self.holds,
        }


def prove_synchronise(*, operators: int = 12, tries: int = 11) -> SynchroniseProof:
    """Show that `synchronize` waits: twice the operators cost twice the time, and nothing is left for `asnumpy`.

    In a process that has not waited before, that holds for its first wait too.
    """
    first = _first_wait(operators)
    matrix = _matrix_worth_waiting_for()
    _chain(matrix, operators)
    single, doubled, fetch = [_chain(matrix, operators)[0]], [], []
    for _ in range(tries):  # alternating, so that a busy neighbour meets both lengths
        waited, fetched = _chain(matrix, 2 * operators)
        doubled.append(waited)
        fetch.append(fetched)
        single.append(_chain(matrix, operators)[0])
    ratios = [2 * d / (before + after) for d, before, after in zip(doubled, single, single[1:], strict=False)]
    middle = statistics.median
    return SynchroniseProof(operators, middle(single), middle(doubled), min(fetch), first, middle(ratios))


def _first_wait(operators: int) -> float:
    """Seconds to fetch the result of a chain after a wait, as a share of launching, waiting and fetching together."""
    matrix = mindspore.Tensor(np.full((1024, 1024), 1 / 1024, np.float32))
    start = time.perf_counter()
    product = matrix
    for _ in range(operators):
        product = ops.matmul(product, matrix)
    synchronize()
    waited = time.perf_counter()
    product.asnumpy()
    end = time.perf_counter()
    return (end - waited) / (end - start)


def _matrix_worth_waiting_for() -> mindspore.Tensor:
    """A square idempotent matrix whose product takes at least a millisecond: longer than launching it does."""
    size = 512
    while True:
        matrix = mindspore.Tensor(np.full((size, size), 1 / size, np.float32))
        _chain(matrix, 1)
        if size >= 8192 or min(_total(matrix, 1) for _ in range(3)) >= 1e-3:
            return matrix
        size *= 2


def _total(matrix: mindspore.Tensor, operators: int) -> float:
    return sum(_chain(matrix, operators))


def _chain(matrix: mindspore.Tensor, operators: int) -> tuple[float, float]:
    """Seconds to launch `operators` products in a row and wait, and seconds to fetch one entry of the result then."""
    synchronize()
    start = time.perf_counter()
    product = matrix
    for _ in range(operators):
        product = ops.matmul(product, matrix)
    synchronize()
    waited = time.perf_counter()
    product.asnumpy()
    return waited - start, time.perf_counter() - waited


def peak_memory() -> int | str:
    """Largest number of bytes MindSpore has held on its device, or "n/a: …" with the reason where it cannot say."""
    if current_device() == "CPU":
        return "n/a: MindSpore's memory statistics are zero on CPU; see peak resident memory"
    return int(mindspore.runtime.max_memory_allocated())


def peak_resident_memory() -> int | str:
    """Largest resident memory of this process in bytes (VmHWM), or "n/a: …" where the system does not tell.

    Not `getrusage`: its maximum is inherited from the parent across fork and exec.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        return f"n/a: /proc/self/status cannot be read ({error.strerror})"
    kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes[0]) * 1024 if kilobytes else "n/a: /proc/self/status has no VmHWM line"


def current_device() -> str:
    """The device that operators run on: CPU, GPU or Ascend."""
    return str(mindspore.get_context("device_target"))
