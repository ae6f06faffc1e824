"""What each layer computes and moves, held against a network whose every number was counted (`counted_network.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore
import numpy as np
import pytest
from counted_network import CountedNetwork
from counted_numbers import Seen, floats
from mindspore import Tensor, ops

from benchmarks.layers import walk
from benchmarks.work import KINDS, STEPS, Layer, Pass, Work, conv
from ddpm_bench.presets import PRESETS, UNetConfig
from ddpm_bench.unet import UNet

pytestmark = pytest.mark.needs_mindspore

BATCH = 2

SMALL = {
    "paper": UNetConfig(4, 1, 4, (1, 2), 1, (2,), num_heads=2, groups=2),
    "article": UNetConfig(
        4, 2, 4, (1, 2), 1, (4,), groups=2, time_embedding="learned", downsample="max_pool", upsample="transposed",
        num_timesteps=9,
    ),
    "deep": UNetConfig(4, 1, 4, (1, 1, 2), 2, (1,), groups=1),
}  # fmt: skip
"""Both designs and one with more levels and blocks, with 4×4 images: small enough for loops in Python."""


class Counted:
    """A small network, counted forwards and backwards, and the real one with the same weights."""

    def __init__(self, config: UNetConfig) -> None:
        random = np.random.default_rng(0)
        self.config, self.cell = config, UNet(config)
        for _, parameter in self.cell.parameters_and_names():
            parameter.set_data(Tensor(random.normal(0, 0.5, parameter.shape).astype(np.float32)))
        shape = (BATCH, config.in_channels, config.image_size, config.image_size)
        self.x, self.direction = random.standard_normal((2, *shape)).astype(np.float32)
        self.t = np.array([3, 7], np.int32)
        weights = {name: parameter.asnumpy() for name, parameter in self.cell.parameters_and_names()}
        self.network = CountedNetwork(config, weights)
        output = self.network(self.x, self.t)
        self.network.backward(output, self.direction)
        self.output = floats(output.value)

    def work(self, layer: Layer, step: str) -> Work:
        """What was seen of a `layer`; what both gradients need was done once and counts for either."""
        if step == "training":
            return self.work(layer, "forward") + self.work(layer, "backward")
        gradients = ("both", "input_gradient", "weight_gradient")
        parts = {"forward": ("forward",), "backward": gradients}.get(step, ("both", step))
        seen = self.network.seen[layer.name]
        return _work([seen[part] for part in parts if part in seen], multiplies=layer.terms > 0)


def _work(done: Sequence[Seen], *, multiplies: bool) -> Work:
    """What was done together, reading each array once; in a layer that multiplies, a product and a sum are one."""
    read = {array: size for each in done for array, size in each.read.items()}
    moved = sum(read.values()) + sum(each.written for each in done)
    products, sums, others = (sum(getattr(each, kind) for each in done) for kind in ("products", "sums", "others"))
    flops = 2 * products if multiplies else 0
    return Work(flops, products + sums + others - flops, moved)


@pytest.fixture(scope="module", params=SMALL)
def counted(request: pytest.FixtureRequest) -> Counted:
    return Counted(SMALL[request.param])


def test_what_is_counted_is_the_network(counted: Counted) -> None:
    output = counted.cell(Tensor(counted.x), Tensor(counted.t)).asnumpy()
    np.testing.assert_allclose(counted.output, output, rtol=0, atol=1e-4 * np.abs(output).max())


def test_what_is_counted_backwards_is_its_gradient(counted: Counted) -> None:
    def along(x: Any, t: Any) -> Any:
        return ops.sum(counted.cell(x, t) * Tensor(counted.direction))

    names, weights = zip(*counted.cell.parameters_and_names(), strict=True)
    gradients = mindspore.grad(along, None, mindspore.ParameterTuple(weights))(Tensor(counted.x), Tensor(counted.t))
    assert set(names) == set(counted.network.weight_gradients)
    largest = max(np.abs(gradient.asnumpy()).max() for gradient in gradients)
    for name, gradient in zip(names, gradients, strict=True):
        expected = gradient.asnumpy()
        observed = floats(counted.network.weight_gradients[name]).reshape(expected.shape)
        np.testing.assert_allclose(observed, expected, rtol=0, atol=1e-4 * largest, err_msg=name)


@pytest.mark.parametrize("step", STEPS)
def test_every_layer_computes_and_moves_what_was_counted(counted: Counted, step: str) -> None:
    expected = {layer.name: counted.work(layer, step) for layer in walk(counted.config)}
    assert {layer.name: layer.work(step, BATCH) for layer in walk(counted.config)} == expected


def test_layers_are_named_in_the_order_in_which_they_are_applied(counted: Counted) -> None:
    assert [layer.name for layer in walk(counted.config)] == list(counted.network.seen)


def test_counted_networks_have_layers_of_every_kind() -> None:
    assert {layer.kind for config in SMALL.values() for layer in walk(config)} == set(KINDS)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_forward_pass_of_a_layer_has_multiply_adds_or_other_operations_never_both(name: str) -> None:
    for layer in walk(PRESETS[name]):
        work = layer.work("forward", 1)
        assert not (work.flops and work.operations), layer.name
        assert (work.flops > 0) == (layer.terms > 0), layer.name


def test_convolution_counted_by_hand() -> None:
    """From 2 channels of 4×4 to 3 of 2×2, kernel 3: 18 products for each of 12 outputs, 54 weights and 3 biases."""
    layer = conv("c", (2, 3), 3, 2, input_size=4)
    assert layer.work("forward", 5) == Work(2 * 5 * 18 * 12, 0, 4 * (5 * (32 + 12) + 57))
    assert layer.work("input_gradient", 5) == Work(2 * 5 * 18 * 12, 0, 4 * (5 * (12 + 32) + 54))
    assert layer.work("weight_gradient", 5) == Work(2 * 5 * 18 * 12, 5 * 12, 4 * (5 * (32 + 12) + 57))
    assert layer.work("backward", 5) == Work(4 * 5 * 18 * 12, 5 * 12, 4 * (5 * (32 + 12 + 32) + 54 + 57))
    assert (layer.terms, layer.parameters) == (18, 57)


def test_intensity_is_operations_of_either_sort_a_byte() -> None:
    assert Work(6, 2, 16).intensity == 0.5
    assert (Work(1, 2, 3) + Work(10, 20, 30), Pass(1, 2, 3, 4) + Pass(1, 1, 1, 1)) == (
        Work(11, 22, 33), Pass(2, 3, 4, 5),
    )  # fmt: skip
