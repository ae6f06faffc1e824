"""The peaks of this machine: a large matrix product, a large convolution, a large copy, through NumPy and MindSpore."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, ops
from numpy.typing import NDArray

from benchmarks import gates, roofline, work
from benchmarks.cases import Case
from benchmarks.conftest import SEED, MindSpore
from benchmarks.timing import Kept, Workload


def matmul(case: Case, machine: MindSpore, _: gates.Reference) -> Workload:
    """The product of two large float32 matrices, PyNative; held against a few rows of it in float64."""
    size = case.params["size"]
    a, b = np.random.default_rng(SEED).standard_normal((2, size, size)).astype(np.float32)
    rows = slice(0, 8)
    expected = a[rows].astype(np.float64) @ b.astype(np.float64)
    allowed = gates.SAFETY * gates.UNIT_ROUNDOFF * size**0.5 * size**0.5  # sqrt(n) roundings of sums of size sqrt(n)

    def gate(kept: Kept) -> dict[str, Any]:
        return [gates.compare(output[rows], expected, allowed, what="the product") for _, output in kept][-1]

    numpy = case.params["library"] == "numpy"
    inputs = (a, b) if numpy else (Tensor(a), Tensor(b))
    return Workload(
        call=np.matmul if numpy else ops.matmul,
        prepare=lambda _: inputs,
        fetch=np.asarray if numpy else lambda output: output.asnumpy(),
        gate=gate,
        flops=roofline.matmul_flops(size),
        placement={"device": machine.device, "dtype": str(mindspore.float32)},
    )


def convolution(case: Case, machine: MindSpore, _: gates.Reference) -> Workload:
    """A 3×3 convolution of the U-Net's, PyNative; held against its last image's last row in float64."""
    batch, channels, size = (case.params[name] for name in ("batch", "channels", "size"))
    random = np.random.default_rng(SEED)
    x = random.standard_normal((batch, channels, size, size)).astype(np.float32)
    weight = random.standard_normal((channels, channels, 3, 3)).astype(np.float32)
    layer = work.conv("convolution", (channels, channels), 3, size)
    expected = _last_row(x[-1].astype(np.float64), weight.astype(np.float64))
    allowed = gates.SAFETY * gates.UNIT_ROUNDOFF * layer.terms  # sqrt(n) roundings of sums of size sqrt(n)

    def gate(kept: Kept) -> dict[str, Any]:
        return [gates.compare(output[-1, :, -1], expected, allowed, what="the convolution") for _, output in kept][-1]

    inputs = (Tensor(x), Tensor(weight))
    return Workload(
        call=ops.Conv2D(channels, 3, pad_mode="same"),
        prepare=lambda _: inputs,
        fetch=lambda output: output.asnumpy(),
        gate=gate,
        flops=layer.work("forward", batch).flops,
        placement={"device": machine.device, "dtype": str(mindspore.float32)},
    )


def _last_row(x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The last row (C, W) of the 3×3 convolution of the image `x` (C, H, W); the row of zeros below it adds nothing."""
    width = x.shape[2]
    rows = np.pad(x[:, -2:], ((0, 0), (0, 0), (1, 1)))
    patches = np.stack([rows[:, :, j : j + width] for j in range(3)], axis=2)
    return np.tensordot(weight[:, :, :2], patches, axes=3)


def copy(case: Case, machine: MindSpore, _: gates.Reference) -> Workload:
    """Reading and writing more float32 numbers than a cache holds, bit for bit; NumPy copies with a thread a core.

    MindSpore negates, which reads and writes each number once in all its versions; its own copying is being renamed.
    Calls take turns with two sources, so that what an earlier call left is wrong.
    """
    ramp = np.arange(case.params["numbers"], dtype=np.float32)
    sources = (ramp, ramp[::-1].copy())
    numpy = case.params["library"] == "numpy"

    def gate(kept: Kept) -> dict[str, Any]:
        for index, output in kept:
            if not np.array_equal(output if numpy else -output, sources[index % 2]):
                raise gates.Invalid("the copy differs from what was copied")
        return {"equal": True}

    inputs = tuple((source, np.empty_like(source)) if numpy else (Tensor(source),) for source in sources)
    return Workload(
        call=_copying() if numpy else ops.neg,
        prepare=lambda index: inputs[index % 2],
        fetch=np.asarray if numpy else lambda output: output.asnumpy(),
        gate=gate,
        flops=None,
        placement={"device": machine.device, "dtype": str(mindspore.float32)},
    )


def _copying() -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """Copies the first array into the second and returns it; NumPy lets other threads run meanwhile."""
    threads = os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)

    def copied(source: NDArray[np.float32], destination: NDArray[np.float32]) -> NDArray[np.float32]:
        list(pool.map(np.copyto, np.array_split(destination, threads), np.array_split(source, threads)))
        return destination

    return copied


def test_operators(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
