"""One case in one worker process: untimed calls, timed rounds, then the gates that decide whether they count.

pytest-benchmark holds the watch (`benchmark.pedantic`, one synchronised call a round, never its calibration, whose
count of rounds would be divided by a compiling first call). A number is kept only if

* waiting was proved in this process (`canary`), and after each wait nothing was left to wait for;
* the mode is what the record will say: graph cases compiled before the rounds, PyNative cases never, none during them;
* the network sits on the device and in the dtype that the record will say;
* the outputs of timed calls are right, by the case's own gate (`gates.py`).

Otherwise the row is invalid, with the reason and without a number.
"""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from benchmarks.cases import Case
from benchmarks.gates import Invalid, Refused
from benchmarks.lifetime import first_calls
from benchmarks.turnstile import Alone, Turns

KEPT_OUTPUTS = 2
"""Outputs of the last timed calls that the gate sees: two, because a cached output is right once."""

FETCH_SECONDS = 0.02
"""Fetching may always take this long: a busy neighbour keeps a process waiting for one or two scheduler ticks."""


class Machine(Protocol):
    """What the clock needs to know of the framework; `conftest.py` has the one for MindSpore."""

    @property
    def import_seconds(self) -> float:
        """What importing the framework took."""

    @property
    def device(self) -> str:
        """The device that was asked for."""

    @property
    def mode(self) -> str:
        """The mode that was asked for: "graph" or "pynative"."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What was set in this process for the tuning."""

    def synchronize(self) -> None:
        """Wait until everything launched so far has been computed."""

    def canary(self) -> Mapping[str, Any]:
        """Proof that `synchronize` waits; its entry "holds" says whether."""

    def compile_count(self) -> int:
        """Graphs compiled so far in this process."""

    def peak_resident_memory(self) -> int | None:
        """Largest resident memory of this process so far, in bytes."""


Kept = Sequence[tuple[int, Any]]
"""Index and output of the last timed calls, the oldest first."""


@dataclass
class Workload:
    """A case made ready: what a call is, what goes in, and what must come out."""

    call: Callable[..., Any]
    """launches the work and returns its output, without waiting for it"""
    prepare: Callable[[int], tuple[Any, ...]]
    """the arguments of call number i (0 is the first call), made outside the timed region"""
    fetch: Callable[[Any], Any]
    """an output as NumPy arrays or numbers"""
    gate: Callable[[Kept], Mapping[str, Any]]
    """proof that fetched outputs of timed calls are right; raises `Invalid` if they are not"""
    flops: int | None
    placement: Mapping[str, str] = field(default_factory=dict)
    """"device" and "dtype" of the parameters, as the framework reports them"""


def _counters() -> dict[str, float]:
    """What only grows: seconds of wall and of this process's CPU, what the system did to it and took from it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_seconds": time.perf_counter(),
        "cpu_seconds": time.process_time(),
        "involuntary_switches": usage.ru_nivcsw,
        "major_faults": usage.ru_majflt,
        "stolen_seconds": getattr(psutil.cpu_times(), "steal", 0.0),
    }


@dataclass
class _Watch:
    """What is added up over the timed rounds, and nothing else's time, beside pytest-benchmark's seconds."""

    seconds: list[float] = field(default_factory=list)
    """wall time of each round"""
    kept: deque[tuple[int, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_OUTPUTS))
    fetched: list[tuple[int, Any]] = field(default_factory=list)
    """the kept outputs as NumPy arrays or numbers"""
    fetch_seconds: float = 0.0
    """what fetching them took"""
    first: list[tuple[int, Any]] = field(default_factory=list)
    """outputs of the first timed calls: of the same inputs in workers that time other numbers of rounds"""
    sums: dict[str, float] = field(default_factory=dict)
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    _opened: dict[str, float] = field(default_factory=dict)

    def open(self) -> None:
        """A round begins."""
        self._opened = _counters()

    def close(self) -> None:
        """The round that began last is over."""
        counters = _counters()
        self.seconds.append(counters["wall_seconds"] - self._opened["wall_seconds"])
        for name, value in counters.items():
            self.sums[name] = self.sums.get(name, 0.0) + value - self._opened[name]

    def fetch(self, fetch: Callable[[Any], Any]) -> None:
        """Fetch the kept outputs, with a watch on it."""
        start = time.perf_counter()
        self.fetched = [(index, fetch(output)) for index, output in self.kept]
        self.fetch_seconds = time.perf_counter() - start

    def conditions(self) -> dict[str, float]:
        """The sums, and the load at the start."""
        return {"load": self.load, **{name: round(value, 6) for name, value in self.sums.items()}}


def run_case(
    case: Case,
    workload: Workload,
    machine: Machine,
    benchmark: Any,
    params: dict[str, Any],
    turns: Turns | None = None,
    keep: Callable[[Kept], None] | None = None,
) -> str | None:
    """Time `case` with the `benchmark` fixture and put the row into its `extra_info["clock"]`.

    Returns why the row is invalid, or None. `params` are the row's; "rounds" of them says how many are timed, unless
    there is somebody to take `turns` with. `keep` gets the outputs of the first timed calls. Raises `Invalid` when no
    turn comes any more.
    """
    turns = turns or Alone()
    row: dict[str, Any] = {
        "case": case.id, "params": params, "work": case.work, "unit": case.unit, "flops": workload.flops,
        "import_seconds": machine.import_seconds, "proof": {}, "invalid": None,
    }  # fmt: skip
    benchmark.extra_info["clock"] = row
    before = machine.compile_count()
    turns.take()
    machine.canary()  # here, where nobody it takes turns with is at work
    untimed = [_once(workload, machine, index) for index in range(case.settle)]
    row["first_call_seconds"] = untimed[0]
    compiled = machine.compile_count()
    rounds = turns.warm(untimed[-1], params["rounds"])
    row |= {"params": {**params, "rounds": rounds}, "interleaved": turns.interleaved}
    indices = range(case.settle, case.settle + rounds)
    watch = _time_rounds(workload, machine, benchmark, indices, turns, keeping=keep is not None)
    row["conditions"] = watch.conditions()
    row["cpu_over_wall"] = watch.sums["cpu_seconds"] / watch.sums["wall_seconds"]
    row["peak_rss_bytes"] = machine.peak_resident_memory()
    counts = {"compiled_by_first_call": compiled - before, "compiled_while_timed": machine.compile_count() - compiled}
    first = first_calls(untimed, watch.seconds, compiled=compiled > before)
    start = time.perf_counter()
    try:
        row["proof"] = _proof(workload, machine, watch, counts, keep)
    except Invalid as found:
        reason = str(found)
        row["invalid"] = reason
        if isinstance(found, Refused):
            row["proof"] = {"gate": {"refused": reason}}
        return reason
    row["split"] = {**first, "rounds": sum(watch.seconds), "gate": time.perf_counter() - start}
    return None


def _once(workload: Workload, machine: Machine, index: int) -> float:
    """Seconds of one synchronised call that is not recorded as a round."""
    arguments = workload.prepare(index)
    machine.synchronize()
    start = time.perf_counter()
    output = workload.call(*arguments)
    machine.synchronize()
    seconds = time.perf_counter() - start
    del output  # held until after the wait: releasing it earlier would let its memory be reused meanwhile
    return seconds


def _time_rounds(
    workload: Workload, machine: Machine, benchmark: Any, indices: range, turns: Turns, *, keeping: bool
) -> _Watch:
    watch, following = _Watch(), iter(indices)

    def close() -> None:
        """A round is over: read the counters, outside what pytest-benchmark times, and let others have their turn."""
        watch.close()
        turns.give()

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        index = next(following)
        if index > indices[0]:
            close()
        turns.take()
        arguments = workload.prepare(index)
        machine.synchronize()
        watch.open()
        return (index, arguments), {}

    def target(index: int, arguments: tuple[Any, ...]) -> None:
        output = workload.call(*arguments)
        machine.synchronize()
        watch.kept.append((index, output))
        if keeping and len(watch.first) < KEPT_OUTPUTS:
            watch.first.append((index, output))

    benchmark.pedantic(target, setup=setup, rounds=len(indices), iterations=1, warmup_rounds=0)
    watch.close()
    watch.fetch(workload.fetch)  # still in this worker's turn: others would make it wait
    turns.give()
    turns.rest()
    return watch


def _proof(
    workload: Workload,
    machine: Machine,
    watch: _Watch,
    counts: Mapping[str, int],
    keep: Callable[[Kept], None] | None,
) -> dict[str, Any]:
    """Everything that supports the number. Raises `Invalid` with the first thing that does not."""
    canary = dict(machine.canary())
    if not canary.get("holds"):
        seen = ", ".join(f"{name} {value:.3g}" for name, value in canary.items() if isinstance(value, float))
        raise Invalid(
            "the sync canary failed: twice the work has to take twice the time and nothing may be left to fetch, or "
            f"the clock sees launches only ({seen or 'nothing was measured'})"
        )
    _check_mode(machine.mode, counts)
    _check_placement(machine.device, workload.placement)
    if keep:
        keep([(index, workload.fetch(output)) for index, output in watch.first])
    _check_waited(watch.fetch_seconds, watch.sums["wall_seconds"] / len(watch.seconds))
    try:
        gate = dict(workload.gate(watch.fetched))
    except Invalid as found:
        raise Refused(str(found)) from None
    return {
        "canary": canary, **counts, **workload.placement, "settings": dict(machine.settings),
        "fetch_seconds": watch.fetch_seconds, "gate": gate,
    }  # fmt: skip


def _check_mode(mode: str, counts: Mapping[str, int]) -> None:
    if counts["compiled_while_timed"]:
        raise Invalid(f"{counts['compiled_while_timed']} graphs were compiled during the timed calls")
    compiled = counts["compiled_by_first_call"]
    if mode == "graph" and not compiled:
        raise Invalid("graph mode was asked for and nothing was compiled: the calls ran as PyNative")
    if mode == "pynative" and compiled:
        raise Invalid(f"PyNative mode was asked for and {compiled} graphs were compiled")


def _check_placement(device: str, placement: Mapping[str, str]) -> None:
    if placement.get("device") != device:
        raise Invalid(f"the parameters are on {placement.get('device')} and {device} was asked for")


def _check_waited(fetch_seconds: float, typical: float) -> None:
    """Refuse when fetching costs like computing: then the timed wait had not waited for this case's own output."""
    if fetch_seconds > max(0.25 * typical, FETCH_SECONDS):
        raise Invalid(
            f"fetching outputs after the wait took {fetch_seconds:.3g} s beside calls of {typical:.3g} s: "
            "the wait did not wait for them"
        )
