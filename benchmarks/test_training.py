"""One training step as `ddpm_bench.train` takes it: loss, gradient, clipping, Adam, moving average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import gates, gates_training, roofline
from benchmarks.cases import Case
from benchmarks.conftest import SEED, MindSpore, placement, reference_network
from benchmarks.timing import Kept, Workload
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.schedule import make_schedule
from ddpm_bench.train_step import TrainStep

EMA_DECAY, CLIP_NORM = 0.9999, 1.0
"""Of the paper's CIFAR-10 run (Ho et al. 2020, Appendix B; the norm from its code)."""

LEARNING_RATE = 2e-5
"""A tenth of the paper's, which begins with zeros where this network has none: the loss has to fall at every step."""

WATCHED = ("conv_out.bias", "conv_out.weight", "conv_in.weight")
"""Small weights that are looked at before every call: the first and the last that a gradient reaches."""


def training_step(case: Case, machine: MindSpore, reference: gates.Reference) -> Workload:
    """The same batch every time, so that the loss has to fall and skipped updates show."""
    preset, batch = case.params["preset"], case.params["batch"]
    cell = machine.network(preset, dropout=case.params["dropout"])
    cell.set_train(True)
    diffusion = GaussianDiffusion(make_schedule("linear", 1000))
    where = placement(cell)
    watched = {name: parameter for name, parameter in cell.parameters_and_names() if name in WATCHED}
    step = TrainStep(cell, diffusion, clip_norm=CLIP_NORM, mode=machine.mode)
    no_dropout = np.zeros(0, np.int32)
    x_0, t, eps = _batch(batch, cell.config.in_channels, cell.config.image_size)
    losses: list[float] = []
    seen: list[gates_training.Arrays] = []

    def look(_: int) -> tuple[()]:
        seen.append({name: np.array(parameter.asnumpy()) for name, parameter in watched.items()})
        return ()

    def call() -> float:
        loss, _ = step(x_0, t, eps, no_dropout, learning_rate=LEARNING_RATE, ema_decay=EMA_DECAY)
        losses.append(loss)
        return loss

    def gate(_: Kept) -> dict[str, Any]:
        look(len(losses))
        state = step.arrays()
        run = gates_training.Run(losses, seen, **state, learning_rate=LEARNING_RATE, ema_decay=EMA_DECAY)
        network = gates.Network(reference, reference_network(reference, cell).config, state["weights"])
        return gates_training.check(run, network, gates.linear_alpha_bar(), x_0, t, eps)

    flops = roofline.training_flops(cell.config, batch)
    return Workload(call, look, fetch=float, gate=gate, flops=flops, placement=where)


def _batch(size: int, channels: int, pixels: int) -> tuple[Any, Any, Any]:
    """x_0 uniform in [−1, 1] and eps standard normal, both (B, C, H, W) float32, and t (B,) int32."""
    random = np.random.default_rng(SEED)
    shape = (size, channels, pixels, pixels)
    x_0, eps = random.uniform(-1, 1, shape), random.standard_normal(shape)
    return x_0.astype(np.float32), random.integers(0, 1000, size).astype(np.int32), eps.astype(np.float32)


def test_training(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
