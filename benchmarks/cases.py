"""What is timed: the list CASES, and how to choose from it. Imports without MindSpore.

| Case | One call | Unit |
|---|---|---|
| `unet_forward` | eps_hat of a batch | images |
| `training_step` | loss, gradient, clipping, Adam and moving average on a batch | images |
| `reverse_step` | eps_hat and one step of Algorithm 2 (Ho et al. 2020) on a batch | images |
| `sampling_chain` | a whole strided DDIM chain, noise to images, waited for once at its end: pipelined | images |
| `sampling_latency` | one step of that chain, waited for: rounds go down the chain | steps |

Each for the paper's CIFAR-10 net (`cifar10`, batch 4 and 1) and for a small one (`digits`, batch 64). The chain of the
paper's net has few steps, so that one call takes seconds: time per step does not depend on their number. All but the
training step, whose loss would need scaling, also come with a network that computes in half precision.
`training_step` leaves dropout out, in the paper's net .1, so that its loss can be checked against a reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

SETTLING_CALLS = 6
"""Calls before the timed ones. The first may compile; and of a graph's first five calls MindSpore computes part with
one thread, to learn what more are worth (2.10.0, the paper's net on two cores: five of 0.30 s, then 0.25 s). Equally
many in all arms of a comparison, whatever a call takes there: what is compared is calls of the same number."""


@dataclass(frozen=True)
class Case:
    """One thing to time. Where and how it runs (device, mode, tuning) is added by the runner."""

    id: str
    params: dict[str, Any]
    """what the maker needs to know; part of what makes two numbers comparable"""
    make: str
    """"package.module:function": the timed module, and the function in it that makes the call"""
    work: float
    """what one call does, in `unit`"""
    unit: str
    rounds: int
    """timed calls in one process"""
    settle: int = SETTLING_CALLS
    """calls before those, which are not timed"""
    small: bool = False
    """whether it always shares a worker with the other small ones of its group, which take less than starting one"""

    @property
    def module(self) -> str:
        """The timed module, as Python imports it."""
        return self.make.partition(":")[0]

    @property
    def maker(self) -> str:
        """The function in the timed module."""
        return self.make.partition(":")[2]

    @property
    def group(self) -> str:
        """Cases of one group may share a worker when time is short: same network, same batch."""
        return ",".join(self.id.partition("[")[2].rstrip("]").split(",")[:2]) or self.id


CHAIN_STEPS = {"cifar10": 4, "digits": 10}
ROUNDS = {"cifar10": (5, 3, 5, 2, 4), "digits": (20, 6, 15, 3, 10)}
"""Timed calls in one process: forward, training step, reverse step, chain, latency."""


def network_cases(preset: str, batch: int, dtype: str = "float32") -> tuple[Case, ...]:
    """The five cases of one of the timed networks at one batch size; the four without training in another `dtype`."""
    cases = tuple(_cases(preset, batch))
    return cases if dtype == "float32" else tuple(_in(case, dtype) for case in cases if "dropout" not in case.params)


def _in(case: Case, dtype: str) -> Case:
    return replace(case, id=f"{case.id[:-1]},{dtype}]", params={**case.params, "dtype": dtype})


def _cases(preset: str, batch: int) -> Iterator[Case]:
    chain = {"steps": CHAIN_STEPS[preset], "sampler": "ddim", "eta": 1.0}
    rounds = tuple(2 * count for count in ROUNDS[preset]) if batch == 1 else ROUNDS[preset]
    network = {"preset": preset, "batch": batch}
    for name, make, work, unit, params, count in (
        ("unet_forward", "test_unet:forward", batch, "images", {}, rounds[0]),
        ("training_step", "test_training:training_step", batch, "images", {"dropout": 0.0}, rounds[1]),
        ("reverse_step", "test_sampling:reverse_step", batch, "images", {}, rounds[2]),
        ("sampling_chain", "test_sampling:chain", batch, "images", chain, rounds[3]),
        ("sampling_latency", "test_sampling:latency", 1, "steps", chain, rounds[4]),
    ):
        yield Case(f"{name}[{preset},b{batch}]", {**network, **params}, f"benchmarks.{make}", work, unit, count)


CASES: tuple[Case, ...] = (
    *network_cases("cifar10", 4),
    *network_cases("cifar10", 1),
    *network_cases("digits", 64),
)

LIBRARIES = ("numpy", "mindspore")

COPIED = 2**25
"""Numbers of a large copy: 128 MiB of float32, several times what caches hold."""

PEAKS: tuple[Case, ...] = (
    *(
        Case(f"matmul[{name}]", {"size": 2048, "library": name}, "benchmarks.test_peaks:matmul", 1, "products", 10)
        for name in LIBRARIES
    ),
    Case(
        "convolution[mindspore]",
        {"batch": 4, "channels": 128, "size": 32, "library": "mindspore"},
        "benchmarks.test_peaks:convolution",
        1,
        "convolutions",
        5,
    ),
    *(
        Case(
            f"copy[{name}]",
            {"numbers": COPIED, "library": name},
            "benchmarks.test_peaks:copy",
            2 * 4 * COPIED,
            "bytes",
            10,
        )
        for name in LIBRARIES
    ),
)
"""What the machine can do: timed at the start and at the end of every run, with every other number held against it.

The convolution is one of the paper's CIFAR-10 net. What is copied is read and written: two bytes of traffic each."""


def select(pattern: str | None = None, cases: Iterable[Case] = CASES) -> tuple[Case, ...]:
    """The cases whose id, or its part before the bracket, matches `pattern`; all for None, possibly none.

    `*` and `?` are wildcards; a bracket is just a bracket, as ids have them. Several patterns are separated by spaces.
    """
    if pattern is None:
        return tuple(cases)
    expressions = [_expression(part) for part in pattern.split()]
    return tuple(
        case
        for case in cases
        if any(e.fullmatch(name) for e in expressions for name in (case.id, case.id.partition("[")[0]))
    )


def _expression(pattern: str) -> re.Pattern[str]:
    wildcards = {"*": ".*", "?": "."}
    return re.compile("".join(wildcards.get(letter, re.escape(letter)) for letter in pattern))
