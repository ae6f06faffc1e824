"""The count of arithmetic: against the paper's figure, MindSpore's own count and a count by hand."""

from __future__ import annotations

import math

import mindspore
import numpy as np
import pytest
from counted_numbers import TALLY, Number, Numbers, Seen, each, floats, numbers
from counted_numbers import total as counted_sum
from mindspore import Tensor, nn

from benchmarks.layers import parameters
from benchmarks.roofline import (
    forward_flops,
    layers,
    least_seconds,
    least_seconds_of_pass,
    matmul_flops,
    optimiser,
    total,
    training_flops,
)
from benchmarks.work import Work
from ddpm_bench import device
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.presets import PRESETS, UNetConfig, preset
from ddpm_bench.schedule import make_schedule
from ddpm_bench.train_step import TrainStep, clip_factor, moving_average
from ddpm_bench.unet import UNet

pytestmark = pytest.mark.needs_mindspore


def test_papers_net_takes_6221856768_multiply_adds_an_image() -> None:
    assert forward_flops(PRESETS["cifar10"], batch=1) == 2 * 6_221_856_768


def test_work_grows_with_the_batch() -> None:
    assert forward_flops(PRESETS["digits"], 64) == 64 * forward_flops(PRESETS["digits"], 1)
    assert training_flops(PRESETS["digits"], 64) == 64 * training_flops(PRESETS["digits"], 1)


@pytest.mark.parametrize(("name", "unseen"), [("digits", 0), ("article", 128 * 128 * 28 * 28)])
def test_count_equals_mindspores_own(name: str, unseen: int) -> None:
    """`flops_collection` sees matrix products and convolutions, but no transposed ones (MindSpore 2.7.0 and 2.10.0).

    The article's net has one, from 14×14 to 28×28 with 128 channels: each output pixel sees one input pixel.
    """
    config = preset(name)
    cell = UNet(config)
    x = Tensor(np.zeros((2, config.in_channels, config.image_size, config.image_size), np.float32))
    with device.whole_graph():
        cell(x, Tensor([0, 1], mindspore.int32))
        counted = device.graph_flops(cell)
    assert counted is not None
    assert forward_flops(config, 2) == counted + 2 * 2 * unseen


class WholeStep(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """A training step as one Cell, so that it can be one graph."""

    def __init__(self, step: TrainStep) -> None:
        super().__init__()
        self.update = step._update

    def construct(self, *arguments: Tensor) -> object:
        return self.update(*arguments)


def test_count_of_a_training_step_equals_mindspores_own() -> None:
    """Forward, backward, clipping, Adam and average: only what multiplies is counted, to the last multiply–add."""
    config = UNetConfig(8, 1, 8, (1, 2), 1, (4,), groups=2)
    step = TrainStep(UNet(config), GaussianDiffusion(make_schedule("linear", 1000)), clip_norm=1.0, mode="pynative")
    cell = WholeStep(step)
    x = Tensor(np.ones((2, 1, 8, 8), np.float32))
    scalars = (Tensor(value, mindspore.float32) for value in (1e-4, 0.9, 0.999, 0.9))
    with device.whole_graph():
        cell(x, Tensor([0, 1], mindspore.int32), x, *scalars)
        counted = device.graph_flops(cell)
    assert counted == training_flops(config, 2) == total(config, "training", 2).flops


def test_tiny_net_counted_by_hand() -> None:
    """One level of 2×2 pixels, 4 channels, one block down, two up, attention in the middle only."""
    config = UNetConfig(2, 1, 4, (1,), 1, (), groups=2)
    embedding = 4 * 16 + 16 * 16
    block = 9 * 4 * 4 * 4 + 16 * 4 + 9 * 4 * 4 * 4  # conv, time projection, conv
    wide = 9 * 8 * 4 * 4 + 16 * 4 + 9 * 4 * 4 * 4 + 8 * 4 * 4  # 8 channels in, and a shortcut
    attention = 4 * (4 * 4 * 4) + 2 * (4 * 4 * 4)
    by_hand = embedding + 9 * 1 * 4 * 4 + block + (2 * block + attention) + 2 * wide + 9 * 4 * 1 * 4
    assert forward_flops(config, 1) == 2 * by_hand


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_backward_is_twice_forward_but_for_inputs_that_need_no_gradient(name: str) -> None:
    config = PRESETS[name]
    counted = {layer.name: layer for layer in layers(config)}
    spared = counted["conv_in"].forward
    if config.time_embedding == "sinusoidal":
        spared += counted["time_embedding.dense_1"].forward
    assert training_flops(config, 1) == 3 * forward_flops(config, 1) - 2 * spared


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_layer_with_a_weight_is_counted_once(name: str) -> None:
    """Names are those of the network's weights; a layer without one is a product of two activations."""
    if name == "lsun256":
        pytest.skip("the same family as cifar10, and half a gigabyte of weights")
    weights = {
        n.removesuffix(".weight") for n, _ in UNet(PRESETS[name]).parameters_and_names() if n.endswith(".weight")
    }
    counted = [layer.name for layer in layers(PRESETS[name])]
    assert len(counted) == len(set(counted))
    assert {n for n in counted if not n.endswith((".scores", ".mix"))} == weights


def test_matrix_product_takes_a_multiply_add_for_each_triple() -> None:
    assert matmul_flops(10) == 2000


STATE = ("w", "m", "v", "average")


class CountedStep:
    """A step of the optimiser on `count` parameters, number by number: what it leaves, and what it computes and moves.

    The numbers that a step makes once, such as the rate with its corrections, are made before anything is counted.
    """

    def __init__(self, count: int) -> None:
        drawn = np.random.default_rng(0).uniform(0.5, 1.5, (5, count)).astype(np.float32)
        self.before = dict(zip(("g", *STATE), drawn, strict=True))
        self.constants = {"beta_1": 0.9, "beta_2": 0.999, "decay": 0.99, "rate": 1e-3, "epsilon": 1e-8, "longest": 0.25}
        state = {name: numbers(value) for name, value in self.before.items()}
        tally = sum(TALLY.values())
        factor, norm = self.cut(state["g"])
        self.after, updated = self.update(state, factor)
        self.work = Work(
            0, sum(TALLY.values()) - tally, sum(sum(seen.read.values()) + seen.written for seen in (norm, updated))
        )

    def cut(self, g: Numbers) -> tuple[Number, Seen]:
        """The factor by which gradients are cut; the norm is larger than the longest that is allowed."""
        seen = Seen()
        seen.reads(g)
        return Number(self.constants["longest"]) / counted_sum(x * x for x in g).of(math.sqrt), seen

    def update(self, state: dict[str, Numbers], factor: Number) -> tuple[dict[str, Numbers], Seen]:
        seen = Seen()
        seen.reads(*state.values())
        beta_1, beta_2, decay, rate, epsilon = (Number(self.constants[name]) for name in list(self.constants)[:5])
        rest_1, rest_2, rest = (Number(1 - each.value) for each in (beta_1, beta_2, decay))
        g = each(lambda x: x * factor, state["g"])
        m = each(lambda m, g: beta_1 * m + rest_1 * g, state["m"], g)
        v = each(lambda v, g: beta_2 * v + rest_2 * (g * g), state["v"], g)
        w = each(lambda w, m, v: w - rate * m / (v.of(math.sqrt) + epsilon), state["w"], m, v)
        average = each(lambda a, w: decay * a + rest * w, state["average"], w)
        for written in (w, m, v, average):
            seen.writes(written)
        return {"w": w, "m": m, "v": v, "average": average}, seen


def test_what_is_counted_of_the_optimiser_is_what_a_training_step_does() -> None:
    step = CountedStep(3)
    c = {name: Tensor(value, mindspore.float32) for name, value in step.constants.items()}
    w, m, v = (mindspore.Parameter(Tensor(step.before[name]), name=name) for name in ("w", "m", "v"))
    g = Tensor(step.before["g"])
    factor, _ = clip_factor([g], c["longest"])
    one = Tensor(0.0, mindspore.float32)  # no corrections: powers of beta after very many steps
    mindspore.ops.Adam()(w, m, v, one, one, c["rate"], c["beta_1"], c["beta_2"], c["epsilon"], g * factor)
    average = moving_average(Tensor(step.before["average"]), w, c["decay"])
    for name, real in zip(STATE, (w, m, v, average), strict=True):
        np.testing.assert_allclose(floats(step.after[name]), real.asnumpy(), rtol=1e-5, err_msg=name)


def test_optimiser_computes_and_moves_what_was_counted() -> None:
    """A parameter more, since a sum of n terms takes n − 1 additions and the norm of all a root and a quotient."""
    some, more = CountedStep(3).work, CountedStep(4).work
    each_parameter = Work(0, more.operations - some.operations, more.bytes - some.bytes)
    count = parameters(PRESETS["cifar10"])
    assert count == 35_746_307
    assert optimiser(PRESETS["cifar10"]) == Work(0, count * each_parameter.operations, count * each_parameter.bytes)


def test_least_time_is_that_of_computing_or_that_of_moving() -> None:
    assert least_seconds(Work(900, 100, 1), peak_flops=100, peak_bytes=10) == 10
    assert least_seconds(Work(900, 100, 1000), peak_flops=100, peak_bytes=10) == 100


def test_a_pass_takes_no_less_than_all_its_work_at_both_peaks() -> None:
    """Layer by layer some wait for memory and some for arithmetic; together at best one of the two is the limit."""
    config, peaks = PRESETS["cifar10"], {"peak_flops": 2e11, "peak_bytes": 1e10}
    for step in ("forward", "training"):
        least = least_seconds_of_pass(config, step, 4, **peaks)
        work = total(config, step, 4)
        assert least_seconds(work, **peaks) < least
        assert least < (work.flops + work.operations) / 2e11 + work.bytes / 1e10
    assert least_seconds_of_pass(config, "forward", 4, peak_flops=2e11, peak_bytes=1e30) == pytest.approx(
        (total(config, "forward", 4).flops + total(config, "forward", 4).operations) / 2e11
    )


def test_weights_are_moved_once_whatever_the_batch() -> None:
    one, two = (total(PRESETS["digits"], "forward", batch).bytes for batch in (1, 2))
    constants = 4 * PRESETS["digits"].base_channels // 2  # the frequencies of the time embedding
    assert 2 * one - two == 4 * parameters(PRESETS["digits"]) + constants


def test_papers_net_takes_what_the_page_says() -> None:
    config, peaks = PRESETS["cifar10"], {"peak_flops": 190e9, "peak_bytes": 10e9}
    assert round(least_seconds_of_pass(config, "forward", 4, **peaks), 2) == 0.30
    assert round(least_seconds_of_pass(config, "forward", 4, peak_flops=190e9, peak_bytes=math.inf), 2) == 0.26
    assert round(least_seconds_of_pass(config, "training", 4, **peaks), 2) == 0.87
    assert round(least_seconds(optimiser(config), **peaks), 2) == 0.14
