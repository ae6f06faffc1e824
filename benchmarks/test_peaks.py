"""What this machine can do: a large matrix product, a large convolution, a large copy, through NumPy and MindSpore."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, ops
from numpy.typing import NDArray

from benchmarks import gates, operator_truth, roofline, work
from benchmarks.cases import Case
from benchmarks.conftest import SEED, MindSpore
from benchmarks.timing import Kept, Workload

SAMPLED = 101
"""One of so many copied numbers is looked at."""


def matmul(case: Case, machine: MindSpore, _: gates.Reference) -> Workload:
    """The product of two large float32 matrices, held against a few rows of it in float64."""
    size = case.params["size"]
    a, b = np.random.default_rng(SEED).standard_normal((2, size, size)).astype(np.float32)
    rows = slice(0, 8)
    truth = operator_truth.matmul(a[rows], b)

    def gate(kept: Kept) -> dict[str, Any]:
        return [operator_truth.compare(output[rows], truth) for _, output in kept][-1]

    numpy = case.params["library"] == "numpy"
    inputs = (a, b) if numpy else (Tensor(a), Tensor(b))
    return Workload(
        call=np.matmul if numpy else ops.matmul,
        prepare=lambda _: inputs,
        fetch=np.asarray if numpy else lambda output: output.asnumpy(),
        gate=gate,
        flops=roofline.matmul_flops(size),
        placement=_placement(machine),
    )


def convolution(case: Case, machine: MindSpore, _: gates.Reference) -> Workload:
    """A 3×3 convolution of the U-Net's without its bias, its last image held against float64."""
    batch, channels, size = (case.params[name] for name in ("batch", "channels", "size"))
    random = np.random.default_rng(SEED)
    x = random.standard_normal((batch, channels, size, size)).astype(np.float32)
    weight = random.standard_normal((channels, channels, 3, 3)).astype(np.float32)
    truth = operator_truth.conv(x[-1:], weight, np.zeros(channels), 1)

    def gate(kept: Kept) -> dict[str, Any]:
        return [operator_truth.compare(output[-1:], truth) for _, output in kept][-1]

    inputs = (Tensor(x), Tensor(weight))
    return Workload(
        call=ops.Conv2D(channels, 3, pad_mode="same"),
        prepare=lambda _: inputs,
        fetch=lambda output: output.asnumpy(),
        gate=gate,
        flops=work.conv("convolution", (channels, channels), 3, size).work("forward", batch).flops,
        placement=_placement(machine),
    )


def copy(case: Case, machine: MindSpore, _: gates.Reference) -> Workload:
    """Reading and writing more float32 numbers than a cache holds; NumPy copies with a thread a core.

    MindSpore negates, which reads and writes each number once in all its versions; its own copying is being renamed.
    Calls take turns with two sources, so that what an earlier call left is wrong. A sample from all over the output is
    held against the source, to the bit: fetching all of it from a device takes longer than copying it there.
    """
    ramp = np.arange(case.params["numbers"], dtype=np.float32)
    sources = (ramp, ramp[::-1].copy())
    numpy = case.params["library"] == "numpy"

    def gate(kept: Kept) -> dict[str, Any]:
        for index, output in kept:
            if not np.array_equal(output if numpy else -output, sources[index % 2][::SAMPLED]):
                raise gates.Invalid("the copy differs from what was copied")
        return {"equal": True}

    inputs = tuple((source, np.empty_like(source)) if numpy else (Tensor(source),) for source in sources)
    return Workload(
        call=_copying() if numpy else ops.neg,
        prepare=lambda index: inputs[index % 2],
        fetch=lambda output: output[::SAMPLED] if numpy else output[::SAMPLED].asnumpy(),
        gate=gate,
        flops=None,
        placement=_placement(machine),
    )


def _copying() -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """Copies the first array into the second and returns it; NumPy lets other threads run meanwhile."""
    threads = os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)

    def copied(source: NDArray[np.float32], destination: NDArray[np.float32]) -> NDArray[np.float32]:
        list(pool.map(np.copyto, np.array_split(destination, threads), np.array_split(source, threads)))
        return destination

    return copied


def _placement(machine: MindSpore) -> dict[str, str]:
    return {"device": machine.device, "dtype": str(mindspore.float32)}


def test_peaks(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
