"""Single operators: for now the large matrix product whose rate is this machine's peak, through NumPy and MindSpore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, ops

from benchmarks import gates, roofline
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


def test_operators(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
