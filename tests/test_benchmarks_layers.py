"""The walk over a network's layers: complete, with the network's own parameters, at the shapes that flow through it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn

from benchmarks.layers import parameters, walk
from ddpm_bench.presets import PRESETS
from ddpm_bench.unet import UNet

pytestmark = pytest.mark.needs_mindspore

PAPER = {"cifar10": 35_746_307, "lsun256": 113_673_219}
"""Parameters of the nets of Ho et al. 2020, who round them to 35.7 and 114 million in Appendix B."""

BUILT = ("article", "cifar10", "digits", "mnist")
"""The presets but for lsun256, which is of cifar10's family and half a gigabyte large."""


@pytest.mark.parametrize("name", sorted(PAPER))
def test_parameters_are_the_papers(name: str) -> None:
    assert parameters(PRESETS[name]) == PAPER[name]


@pytest.mark.parametrize("name", BUILT)
def test_every_layer_has_as_many_parameters_as_in_the_network(name: str) -> None:
    real: dict[str, int] = {}
    for path, parameter in UNet(PRESETS[name]).parameters_and_names():
        layer = path.rpartition(".")[0]
        real[layer] = real.get(layer, 0) + math.prod(parameter.shape)
    assert {layer.name: layer.parameters for layer in walk(PRESETS[name]) if layer.parameters} == real


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_names_are_unique(name: str) -> None:
    names = [layer.name for layer in walk(PRESETS[name])]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["article", "digits"])
def test_shapes_are_those_that_flow_through_the_network(name: str) -> None:
    """Of every layer that is a Cell; the others stand between them."""
    flowing: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def watch(path: str) -> Callable[..., None]:
        def hook(_: nn.Cell, inputs: Any, output: Any) -> None:
            flowing[path] = (tuple(inputs[0].shape), tuple(output.shape))

        return hook

    config = PRESETS[name]
    counted = {layer.name: layer for layer in walk(config) if layer.kind != "embedding"}
    network = UNet(config)
    for path, cell in network.cells_and_names():
        if path in counted:
            cell.register_forward_hook(watch(path))
    size = config.image_size
    network(Tensor(np.zeros((2, config.in_channels, size, size), np.float32)), Tensor([0, 1], mindspore.int32))
    assert {path for path, layer in counted.items() if layer.parameters} <= set(flowing)
    for path, (given, returned) in flowing.items():
        layer = counted[path]
        assert given == (2, layer.in_channels, layer.input_size, layer.input_size)[: len(given)], path
        assert returned == (2, layer.out_channels, layer.size, layer.size)[: len(returned)], path


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_layers_without_a_cell_take_what_comes_before_and_give_what_comes_next(name: str) -> None:
    images = [layer for layer in walk(PRESETS[name]) if layer.size > 1]
    for layer, following in itertools.pairwise(images):
        gives, takes = ("concat", "silu"), ("silu", "softmax", "attention", "add")
        if layer.kind in gives or following.kind in takes:
            assert (layer.out_channels, layer.size) == (following.in_channels, following.input_size), following.name


@pytest.mark.parametrize("name", BUILT)
def test_kernels_are_those_of_the_weights_and_of_pooling(name: str) -> None:
    kernels = {
        path.removesuffix(".weight"): parameter.shape[-1]
        for path, parameter in UNet(PRESETS[name]).parameters_and_names()
        if len(parameter.shape) == 4
    }
    for layer in walk(PRESETS[name]):
        assert layer.kernel == kernels.get(layer.name, 2 if layer.kind == "downsample" else 1), layer.name


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_size_changes_where_the_kind_says_so(name: str) -> None:
    factors = {"downsample": 0.5, "upsample": 2}
    for layer in walk(PRESETS[name]):
        assert layer.size == layer.input_size * factors.get(layer.kind, 1), layer.name


def test_steps_in_time_become_vectors() -> None:
    for name, rows in (("digits", 0), ("article", 1000 * 64)):
        first = walk(PRESETS[name])[0]
        assert (first.kind, first.in_channels, first.out_channels) == ("embedding", 1, PRESETS[name].base_channels)
        assert (first.size, first.terms, first.parameters) == (1, 0, rows)
