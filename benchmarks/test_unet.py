"""The U-Net's forward pass: eps_hat of a batch, inference mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mindspore import Tensor

from benchmarks import gates, roofline
from benchmarks.cases import Case
from benchmarks.conftest import SEED, MindSpore, checked_images, nth, placement, reference_network
from benchmarks.timing import Kept, Workload


def forward(case: Case, machine: MindSpore, reference: gates.Reference) -> Workload:
    """Every call has an input of its own, so that an output that is merely remembered is wrong."""
    preset, batch, dtype = case.params["preset"], case.params["batch"], case.params.get("dtype", "float32")
    cell = machine.network(preset, dtype)
    random = np.random.default_rng(SEED)
    x = random.standard_normal((batch, cell.config.in_channels, *(cell.config.image_size,) * 2)).astype(np.float32)
    t = random.integers(0, 1000, batch).astype(np.int32)

    def gate(kept: Kept) -> dict[str, Any]:
        network = reference_network(reference, cell, dtype)
        images = checked_images(preset, batch)
        found = [gates.forward(network, nth(x, i), t, output, images) for i, output in kept]
        return max(found, key=lambda evidence: evidence["error"])

    return Workload(
        call=machine.compiled(cell),
        prepare=lambda i: (Tensor(nth(x, i)), Tensor(t)),
        fetch=lambda output: output.asnumpy(),
        gate=gate,
        flops=roofline.forward_flops(cell.config, batch),
        placement=placement(cell),
    )


def test_unet(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
