"""The cases of `peers.TIMED` in PyTorch: the same inputs, the same work, held against the same references."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from benchmarks import gates, gates_training, roofline
from benchmarks.cases import Case
from benchmarks.conftest import SEED, checked_images, nth
from benchmarks.peer_network import their_name
from benchmarks.peer_torch import Torch
from benchmarks.timing import Kept, Workload
from ddpm_bench.presets import preset as configuration

TIMESTEPS = 1000

EMA_DECAY, CLIP_NORM, LEARNING_RATE = 0.9999, 1.0, 2e-5
BETAS = (float(np.float32(0.9)), float(np.float32(0.999)))
EPSILON = 1e-8
"""As in `test_training.py` and `ddpm_bench.train_step`."""

WATCHED = ("conv_out.bias", "conv_out.weight", "conv_in.weight")


def forward(case: Case, machine: Torch, reference: gates.Reference) -> Workload:
    """As `test_unet.forward`."""
    preset, batch = case.params["preset"], case.params["batch"]
    config = configuration(preset)
    network, weights = machine.network(preset, config)
    network.eval()
    random = np.random.default_rng(SEED)
    x = random.standard_normal((batch, config.in_channels, *(config.image_size,) * 2)).astype(np.float32)
    t = random.integers(0, TIMESTEPS, batch).astype(np.int32)
    judged = gates.Network(reference, dataclasses.asdict(config), weights)

    def eps_hat(x_t: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = network(x_t, step, return_dict=False)[0]
        return predicted

    def gate(kept: Kept) -> dict[str, Any]:
        images = checked_images(preset, batch)
        found = [gates.forward(judged, nth(x, i), t, output, images) for i, output in kept]
        return max(found, key=lambda evidence: evidence["error"])

    return Workload(
        call=torch.inference_mode()(machine.compiled(eps_hat)),
        prepare=lambda i: (machine.images(nth(x, i)), machine.numbers(t)),
        fetch=_fetched,
        gate=gate,
        flops=roofline.forward_flops(config, batch),
        placement=machine.placement(network),
    )


def reverse_step(case: Case, machine: Torch, reference: gates.Reference) -> Workload:
    """As `test_sampling.reverse_step`: eps_hat, then line 4 of Algorithm 2 (Ho et al. 2020), variance of Eq. 7."""
    preset, batch = case.params["preset"], case.params["batch"]
    config = configuration(preset)
    network, weights = machine.network(preset, config)
    network.eval()
    random = np.random.default_rng(SEED)
    shape = (batch, config.in_channels, config.image_size, config.image_size)
    x, z = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    t = random.integers(1, TIMESTEPS, batch).astype(np.int32)
    judged = gates.Network(reference, dataclasses.asdict(config), weights)
    move = gates.ancestral_move(gates.linear_alpha_bar(TIMESTEPS), t)
    beta, alpha_bar = _schedule()
    before = torch.cat((torch.ones(1, dtype=torch.float64), alpha_bar[:-1]))
    tables = torch.stack((
        (1 - beta).rsqrt(), -beta * ((1 - beta) * (1 - alpha_bar)).rsqrt(),
        (beta * (1 - before) / (1 - alpha_bar)).sqrt(),
    )).to(machine.place, torch.float32)  # fmt: skip

    def step(x_t: torch.Tensor, step: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        gain, share, deviation = tables[:, step].reshape(3, -1, 1, 1, 1)
        return gain * x_t + share * network(x_t, step, return_dict=False)[0] + deviation * noise

    def gate(kept: Kept) -> dict[str, Any]:
        images = checked_images(preset, batch)
        found = [gates.step(judged, move, nth(x, i), t, z, output, images) for i, output in kept]
        return max(found, key=lambda evidence: evidence["error"])

    return Workload(
        call=torch.inference_mode()(machine.compiled(step)),
        prepare=lambda i: (machine.images(nth(x, i)), machine.numbers(t), machine.images(z)),
        fetch=_fetched,
        gate=gate,
        flops=roofline.forward_flops(config, batch),
        placement=machine.placement(network),
    )


def _fetched(output: torch.Tensor) -> Any:
    return np.ascontiguousarray(output.cpu().numpy())


def training_step(case: Case, machine: Torch, reference: gates.Reference) -> Workload:
    """As `test_training.training_step`: loss, gradient, clipping, fused Adam, moving average; of one batch always."""
    preset, batch = case.params["preset"], case.params["batch"]
    config = configuration(preset, dropout=case.params["dropout"])
    network, weights = machine.network(preset, config)
    trained = Trained(network, weights, machine)
    x_0, t, eps = _batch(batch, config.in_channels, config.image_size)
    losses: list[float] = []
    seen: list[gates_training.Arrays] = []

    def look(_: int) -> tuple[()]:
        seen.append(trained.arrays("weights", WATCHED))
        return ()

    def call() -> float:
        losses.append(trained.step(machine.images(x_0), machine.numbers(t), machine.images(eps)))
        return losses[-1]

    def gate(_: Kept) -> dict[str, Any]:
        look(len(losses))
        state = {group: trained.arrays(group) for group in ("weights", "average", "moment_1", "moment_2")}
        run = gates_training.Run(losses, seen, **state, learning_rate=LEARNING_RATE, ema_decay=EMA_DECAY)
        judged = gates.Network(reference, dataclasses.asdict(config), state["weights"])
        return gates_training.check(run, judged, gates.linear_alpha_bar(TIMESTEPS), x_0, t, eps)

    flops = roofline.training_flops(config, batch)
    return Workload(call, look, fetch=float, gate=gate, flops=flops, placement=machine.placement(network))


class Trained:
    """A `network` in training, with its optimiser and the moving average of its weights."""

    def __init__(self, network: Any, weights: dict[str, Any], machine: Torch) -> None:
        network.train()
        self.shapes = {name: value.shape for name, value in weights.items()}
        self.levels = network.config.block_out_channels
        self.parameters = dict(network.named_parameters())
        self.average = {name: each.detach().clone() for name, each in self.parameters.items()}
        alpha_bar = _schedule()[1]
        scales = torch.stack((alpha_bar.sqrt(), (1 - alpha_bar).sqrt())).to(machine.place, torch.float32)
        self.adam = torch.optim.Adam(self.parameters.values(), LEARNING_RATE, BETAS, EPSILON, fused=True)
        self.steps = 0

        def loss(x_0: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
            signal, noise = scales[:, t].reshape(2, -1, 1, 1, 1)
            x_t = signal * x_0 + noise * eps
            return torch.nn.functional.mse_loss(network(x_t, t, return_dict=False)[0], eps)

        self.loss = machine.compiled(loss)

    def step(self, x_0: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> float:
        """One optimiser step; the loss before it.

        PyTorch adds Adam's ε to the corrected root, the paper's section 2 to the root itself: the same with ε divided
        by the correction.
        """
        self.steps += 1
        (group,) = self.adam.param_groups
        group["eps"] = EPSILON / math.sqrt(1 - BETAS[1] ** self.steps)
        self.adam.zero_grad()
        loss = self.loss(x_0, t, eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), CLIP_NORM)
        self.adam.step()
        decay = min(EMA_DECAY, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(list(self.average.values()), list(self.parameters.values()), self.steps)
        return float(loss)

    def arrays(self, group: str, names: Any = None) -> dict[str, Any]:
        """Copies of "weights", "average", "moment_1" or "moment_2", by our names, in our shapes; all or `names`."""
        of = {"moment_1": "exp_avg", "moment_2": "exp_avg_sq"}
        found = {}
        for name in names or self.shapes:
            theirs = their_name(name, self.levels)
            if group in of:
                value = self.adam.state[self.parameters[theirs]][of[group]]
            else:
                value = (self.average if group == "average" else self.parameters)[theirs]
            found[name] = np.array(value.detach().cpu().numpy()).reshape(self.shapes[name])
        return found


def _schedule() -> tuple[torch.Tensor, torch.Tensor]:
    """Beta and alpha_bar of the linear schedule (Ho et al. 2020, Section 4), (T,) float64."""
    beta = torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64)
    return beta, torch.cumprod(1 - beta, 0)


def _batch(size: int, channels: int, pixels: int) -> tuple[Any, Any, Any]:
    """As in `test_training`: x_0 and eps (B, C, H, W) float32, t (B,) int32."""
    random = np.random.default_rng(SEED)
    shape = (size, channels, pixels, pixels)
    x_0, eps = random.uniform(-1, 1, shape), random.standard_normal(shape)
    return x_0.astype(np.float32), random.integers(0, TIMESTEPS, size).astype(np.int32), eps.astype(np.float32)


def test_peers(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
