"""Which implementation did the library under MindSpore choose? Read from what oneDNN says of itself.

With `ONEDNN_VERBOSE=1` (and `DNNL_VERBOSE=1` for releases before 2.3) oneDNN prints a line for each primitive it runs:

    onednn_verbose,v1,primitive,exec,cpu,convolution,gemm:jit,forward_training,src:…,,alg:…,mb4_ic128…,10.2   since 3.x
    dnnl_verbose,exec,cpu,convolution,gemm:jit,forward_training,src_f32::…,,alg:…,mb4_ic128…,10.2             before

The fields behind "exec" are engine, primitive, implementation, direction, …; the last two the problem and milliseconds
(oneDNN developer guide, "Verbose Mode"). Writing them slows every call, so nothing is timed meanwhile: what is read
here is which implementation did what, and its share of the library's own time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

VARIABLES: Mapping[str, str] = {"ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}
"""What makes oneDNN talk, whatever its release."""

_LIBRARY = re.compile(r"^(?:onednn|dnnl)_verbose,(?:v\d+,)?info,(oneDNN v\S+)")
_EXECUTED = re.compile(r"^(?:onednn|dnnl)_verbose,(?:v\d+,)?(?:primitive,)?exec,(.*)$")


@dataclass(frozen=True)
class Primitive:
    """What the library was asked to compute."""

    name: str
    """"convolution", "matmul", …"""
    direction: str
    """"forward_training", "backward_data", "backward_weights", "undef" where there is only one"""
    problem: str
    """sizes, as oneDNN writes them"""


@dataclass(frozen=True)
class Execution:
    """One run of a primitive."""

    primitive: Primitive
    implementation: str
    seconds: float


@dataclass(frozen=True)
class Choice:
    """What one build does with a primitive, over all its runs."""

    implementation: str
    """several, in order of their names and joined by " | ", if it changed its mind"""
    runs: int
    seconds: float
    """in all, as the library says"""


def library(lines: Iterable[str]) -> str | None:
    """The library and its version, as in "oneDNN v3.10.1"; None if it said nothing."""
    return next((found[1] for line in lines if (found := _LIBRARY.match(line))), None)


def executions(lines: Iterable[str]) -> list[Execution]:
    """The runs of primitives among `lines`, in order; other programs' lines between them are left out."""
    found = (_EXECUTED.match(line.strip()) for line in lines)
    return [run for match in found if match and (run := _execution(match[1].split(",")))]


def _execution(fields: list[str]) -> Execution | None:
    """The run described by the `fields` behind "exec"; None for a line that was cut short or mixed up with another."""
    if len(fields) < 7:
        return None
    try:
        milliseconds = float(fields[-1])
    except ValueError:
        return None
    if not math.isfinite(milliseconds) or milliseconds < 0:
        return None
    return Execution(Primitive(fields[1], fields[3], fields[-2]), fields[2], milliseconds / 1000)


def choices(runs: Iterable[Execution]) -> dict[Primitive, Choice]:
    """What was chosen for each primitive."""
    grouped: dict[Primitive, list[Execution]] = {}
    for run in runs:
        grouped.setdefault(run.primitive, []).append(run)
    return {
        primitive: Choice(
            " | ".join(sorted({run.implementation for run in group})), len(group), sum(run.seconds for run in group)
        )
        for primitive, group in grouped.items()
    }


@dataclass(frozen=True)
class Switch:
    """A primitive for which two builds choose differently."""

    primitive: Primitive
    old: str
    new: str
    seconds: tuple[float, float]
    """per run, by the library's own watch"""


def switches(old: Mapping[Primitive, Choice], new: Mapping[Primitive, Choice]) -> list[Switch]:
    """The primitives both builds ran by different implementations, the ones that changed the time most first."""
    found = [
        Switch(
            primitive,
            old[primitive].implementation,
            new[primitive].implementation,
            (old[primitive].seconds / old[primitive].runs, new[primitive].seconds / new[primitive].runs),
        )
        for primitive in _shared(old, new)
        if old[primitive].implementation != new[primitive].implementation
    ]
    return sorted(found, key=lambda switch: -abs(switch.seconds[1] - switch.seconds[0]))


def _shared(old: Mapping[Primitive, Choice], new: Mapping[Primitive, Choice]) -> list[Primitive]:
    return [primitive for primitive in old if primitive in new]
