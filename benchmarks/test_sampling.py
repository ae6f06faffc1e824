"""Sampling: one reverse step, a whole chain waited for at its end, and that chain's steps waited for one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor

from benchmarks import gates, roofline
from benchmarks.cases import Case
from benchmarks.conftest import SEED, MindSpore, checked_images, nth, placement, reference_network
from benchmarks.timing import Kept, Workload
from ddpm_bench import sample
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.schedule import make_schedule, strided_timesteps

TIMESTEPS = 1000


class Sampler:
    """Network and diffusion of a case as `ddpm_bench.sample` wants them, and normal noise to start from."""

    def __init__(self, case: Case, machine: MindSpore, reference: gates.Reference) -> None:
        preset, self.batch = case.params["preset"], case.params["batch"]
        self.dtype = case.params.get("dtype", "float32")
        self.cell = machine.network(preset, self.dtype)
        config = self.cell.config
        self.shape = (self.batch, config.in_channels, config.image_size, config.image_size)
        self.images = checked_images(preset, self.batch)
        self.random = np.random.default_rng(SEED)
        process = GaussianDiffusion(make_schedule("linear", TIMESTEPS))
        self.diffusion = sample.Compiled(process, machine.compiled, whole=True)
        self.forward_flops = roofline.forward_flops(config, self.batch)
        self.alpha_bar = gates.linear_alpha_bar(TIMESTEPS)
        self.reference = reference

    def normal(self, *count: int) -> Any:
        """Standard normal noise, (*count, B, C, H, W) float32."""
        return self.random.standard_normal((*count, *self.shape)).astype(np.float32)

    def network(self) -> gates.Network:
        """The network as the gates see it."""
        return reference_network(self.reference, self.cell, self.dtype)

    def workload(
        self,
        call: Callable[..., Any],
        prepare: Callable[[int], tuple[Any, ...]],
        gate: Callable[..., Any],
        steps: int = 1,
    ) -> Workload:
        """A workload of `steps` evaluations of the network a call; `gate` gets index and output of each kept call."""

        def gate_all(kept: Kept) -> dict[str, Any]:
            return max((gate(i, output) for i, output in kept), key=lambda evidence: float(evidence["error"]))

        return Workload(
            call=call,
            prepare=prepare,
            fetch=lambda output: output.asnumpy(),
            gate=gate_all,
            flops=steps * self.forward_flops,
            placement=placement(self.cell),
        )


def reverse_step(case: Case, machine: MindSpore, reference: gates.Reference) -> Workload:
    """eps_hat and `p_step`, each image at its own time step, every call from an x of its own."""
    s = Sampler(case, machine, reference)
    x, z = s.normal(), s.normal()
    t = s.random.integers(1, TIMESTEPS, s.batch).astype(np.int32)
    move = gates.ancestral_move(s.alpha_bar, t)
    call = sample.ancestral_step(s.cell, s.diffusion)

    def gate(i: int, output: Any) -> dict[str, float]:
        return gates.step(s.network(), move, nth(x, i), t, z, output, s.images)

    return s.workload(call, lambda i: (Tensor(nth(x, i)), Tensor(t), Tensor(z)), gate)


def chain(case: Case, machine: MindSpore, reference: gates.Reference) -> Workload:
    """`ddpm_bench.sample.ddim`, every call from a noise of its own: nothing waits before the clock does."""
    s = Sampler(case, machine, reference)
    steps, eta = case.params["steps"], case.params["eta"]
    timesteps = strided_timesteps(TIMESTEPS, steps).tolist()
    x, z = s.normal(), s.normal(steps)

    def call(x_T: Tensor, noise: Any) -> Tensor:
        return sample.ddim(s.cell, s.diffusion, x_T, noise, steps, eta).x_0

    def gate(i: int, output: Any) -> dict[str, float]:
        gates.check_timesteps(timesteps, steps, TIMESTEPS)
        return gates.chain(s.network(), s.alpha_bar, nth(x, i), z, timesteps, eta, output, s.images)

    return s.workload(call, lambda i: (Tensor(nth(x, i)), z), gate, steps)


def latency(case: Case, machine: MindSpore, reference: gates.Reference) -> Workload:
    """The steps of the same chain, each from where the one before ended; at its end another chain begins."""
    s = Sampler(case, machine, reference)
    steps, eta = case.params["steps"], case.params["eta"]
    timesteps = strided_timesteps(TIMESTEPS, steps).tolist()
    x_T, z = s.normal(), s.normal(steps)
    exact_eta, step = Tensor(eta, mindspore.float64), sample.ddim_step(s.cell, s.diffusion)
    at = {"x": Tensor(x_T)}
    entered: dict[int, Any] = {}

    def prepare(i: int) -> tuple[Any, ...]:
        k = i % steps
        at["x"] = Tensor(nth(x_T, i)) if k == 0 else at["x"]
        entered[i] = at["x"].asnumpy()
        t_prev = [*timesteps[1:], -1][k]
        full = partial(np.full, s.batch, dtype=np.int32)
        return at["x"], Tensor(full(timesteps[k])), Tensor(full(t_prev)), Tensor(z[k])

    def call(x: Tensor, t: Tensor, t_prev: Tensor, noise: Tensor) -> Tensor:
        at["x"] = step(x, t, t_prev, noise, exact_eta)
        return at["x"]

    def gate(i: int, output: Any) -> dict[str, float]:
        k = i % steps
        t, t_prev = (np.full(s.batch, moment) for moment in (timesteps[k], [*timesteps[1:], -1][k]))
        move = gates.ddim_move(s.alpha_bar, t, t_prev, eta)
        return gates.step(s.network(), move, entered[i], t, z[k], output, s.images)

    return s.workload(call, prepare, gate)


def test_sampling(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
