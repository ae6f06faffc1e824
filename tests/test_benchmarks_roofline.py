"""The count of arithmetic: against the paper's figure, MindSpore's own count and a count by hand."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Tensor

from benchmarks.roofline import forward_flops, layers, matmul_flops, training_flops
from ddpm_bench import device
from ddpm_bench.presets import PRESETS, UNetConfig, preset
from ddpm_bench.unet import UNet


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
