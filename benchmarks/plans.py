"""What a run measures: cases in their modes, devices, how many processes, how long; and the three usual extents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.cases import CASES, PEAKS, Case, select
from benchmarks.measurement import BenchmarkError, Record

MODES = ("graph", "pynative")

Tunings = Mapping[str, Mapping[str, str | None]]
"""Name of a setting to the environment variables that make it; None unsets one."""


@dataclass(frozen=True)
class Plan:
    """What a run measures."""

    picks: tuple[tuple[Case, str], ...]
    """cases with the mode each runs in, the ones that matter most first"""
    devices: tuple[str, ...] | None = None
    """None for every device that the framework knows"""
    processes: int = 5
    """fresh processes of each arm"""
    budget: float | None = None
    """seconds for the whole run; None for as long as it takes"""
    shared: bool = False
    """whether cases over one network share a worker: quicker, but peak memory is then of all; recorded"""
    compile_cache: bool = False
    """whether later processes of an arm may load what the first one compiled"""
    peaks: tuple[Case, ...] = PEAKS

    @property
    def workers(self) -> list[tuple[tuple[Case, ...], str]]:
        """The cases that each worker of a round takes, with their mode: one each, or all of a network that share."""
        groups: dict[tuple[str, str, bool], list[Case]] = {}
        for case, mode in self.picks:
            together = self.shared or case.small
            groups.setdefault((case.group if together else case.id, mode, case.small), []).append(case)
        return [(tuple(cases), mode) for (_, mode, _), cases in groups.items()]

    def as_record(self, tunings: Iterable[str]) -> Record:
        """What is measured under these `tunings`, as JSON: the same command has the same, and any budget may do it."""
        parameters = [[case.id, case.params, case.rounds] for case, _ in self.picks]
        return {
            "workers": [{"mode": mode, "cases": [case.id for case in cases]} for cases, mode in self.workers],
            "parameters": hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest(),
            "devices": list(self.devices) if self.devices else None,
            "compile_cache": self.compile_cache,
            "tunings": list(tunings),
            "processes": self.processes,
        }


def plan(
    cases: Sequence[Case] | None = None,
    *,
    devices: Sequence[str] | None = None,
    modes: Sequence[str] = MODES,
    processes: int | None = None,
    extent: str = "full",
    budget: float | None = None,
    compile_cache: bool = False,
) -> Plan:
    """The plan of an `extent`: "full" (a worker a case), "quick" (the small net, a minute), "run" (the main job).

    `cases`, `modes`, `processes` and `budget` replace what the extent would choose. Raises `BenchmarkError` for an
    unknown extent or mode and for fewer than one process.
    """
    if extent not in EXTENTS:
        raise BenchmarkError(f"unknown extent {extent!r}: known are {', '.join(EXTENTS)}")
    strange = [mode for mode in modes if mode not in MODES]
    if strange:
        raise BenchmarkError(f"unknown mode {strange[0]!r}: known are {', '.join(MODES)}")
    if processes is not None and processes < 1:
        raise BenchmarkError(f"a run needs at least 1 process of each case, not {processes}")
    chosen = EXTENTS[extent]
    wanted = chosen.picks if cases is None else tuple((case, mode) for case in cases for mode in MODES)
    return Plan(
        picks=tuple((case, mode) for case, mode in wanted if mode in modes),
        devices=tuple(devices) if devices else None,
        processes=processes or chosen.processes,
        budget=chosen.budget if budget is None else budget,
        shared=chosen.shared,
        compile_cache=compile_cache,
    )


def _picks(pattern: str, *modes: str) -> tuple[tuple[Case, str], ...]:
    return tuple((case, mode) for case in select(pattern) for mode in modes)


VERSIONS = (
    *_picks("unet_forward[digits,*]", *MODES),
    *_picks("training_step[digits,*]", "graph"),  # in PyNative mode it takes as long again, and has the same kernels
)
"""What is timed under half a dozen builds, unless told otherwise."""

EXTENTS: Mapping[str, Plan] = {
    "full": Plan(tuple((case, mode) for case in CASES for mode in MODES), processes=5),
    "quick": Plan(
        (
            *_picks("unet_forward[digits,*] sampling_chain[digits,*]", *MODES),
            *_picks("training_step[digits,*]", "pynative"),  # in graph mode compiling alone takes ten seconds
        ),
        processes=2,
        budget=55.0,
        shared=True,
    ),
    "run": Plan(
        (
            *_picks("unet_forward[cifar10,b4]", "graph"),
            *_picks("*[digits,*]", *MODES),
            *_picks("training_step[cifar10,b4]", "pynative"),  # in graph mode compiling takes most of a minute
        ),
        processes=2,
        budget=150.0,
        shared=True,
    ),
}
