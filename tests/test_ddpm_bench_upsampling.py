"""Upsampling without the repeated image: its values and all its gradients against float64, in both modes."""

from __future__ import annotations

import numpy as np
import pytest
import two_modes
from mindspore import Tensor
from two_modes import U, convolution, numbers, within

from ddpm_bench.device import MODES
from ddpm_bench.unet_blocks import Nearest
from ddpm_bench.upsampling import FoldedNearest

Array = two_modes.Array

SHAPES = [(2, 3, 3, 5), (1, 4, 1, 1), (3, 1, 2, 1), (1, 2, 4, 4)]
"""Batch, channels, height, width."""


def plain(x: Array, weight: Array, bias: Array, g: Array) -> dict[str, Array]:
    """The definition: pixels repeated, then a convolution padded with zeros; gradients likewise."""
    found = convolution(x.repeat(2, 2).repeat(2, 3), weight, bias, g)
    by_pixel = found["x"].reshape(*x.shape[:3], 2, x.shape[3], 2).sum((3, 5))
    return {"y": found["y"], "x": by_pixel, "conv.weight": found["weight"], "conv.bias": found["bias"]}


def bounds(x: Array, weight: Array, bias: Array, g: Array) -> dict[str, Array]:
    """How far rounding can move each entry: its sum of absolute values, times as many roundings as a term can meet.

    A folded weight is a sum of at most four, three roundings. Then sums in any order: of four taps a channel and the
    bias; of sixteen taps a channel; over all pixels of the batch and four shares; over all outputs.
    """
    sizes = plain(*(np.abs(each) for each in (x, weight, bias, g)))
    batch, channels, height, width = x.shape
    roundings = {
        "y": 3 + 4 * channels + 2, "x": 3 + 16 * channels + 1, "conv.weight": batch * height * width + 1 + 3,
        "conv.bias": 4 * batch * height * width,
    }  # fmt: skip
    return {name: 1.01 * U * roundings[name] * size for name, size in sizes.items()}


def case(shape: tuple[int, ...]) -> tuple[two_modes.Float, ...]:
    batch, channels, height, width = shape
    square = (channels, channels, 3, 3)
    return (
        numbers(1, *shape),
        numbers(2, *square),
        numbers(3, channels),
        numbers(4, batch, channels, 2 * height, 2 * width),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_exact_but_for_rounding(shape: tuple[int, ...], mode: str) -> None:
    x, weight, bias, g = case(shape)
    found = two_modes.run(FoldedNearest(shape[1]), {"conv.weight": weight, "conv.bias": bias}, x, g, mode)
    doubles = [each.astype(np.float64) for each in (x, weight, bias, g)]
    within(found, plain(*doubles), bounds(*doubles))


def test_plain_way_is_held_to_the_same_truth() -> None:
    x, weight, bias, g = case(SHAPES[0])
    found = two_modes.run(Nearest(3), {"conv.weight": weight, "conv.bias": bias}, x, g, "graph")
    doubles = [each.astype(np.float64) for each in (x, weight, bias, g)]
    exact, wide = plain(*doubles), bounds(*doubles)
    within(found, exact, {name: 9 * each for name, each in wide.items()})  # nine taps where there were four or sixteen


def test_modes_agree_to_the_rounding_of_their_sums() -> None:
    x, weight, bias, g = case(SHAPES[0])
    one, other = (
        two_modes.run(FoldedNearest(3), {"conv.weight": weight, "conv.bias": bias}, x, g, mode) for mode in MODES
    )
    for name, value in one.items():
        # Sums of at most 60 numbers in two orders.
        np.testing.assert_allclose(other[name], value, rtol=0, atol=120 * U * np.abs(value).max(), err_msg=name)


def test_parameters_are_those_of_the_plain_way() -> None:
    ours, theirs = (
        {name: parameter.shape for name, parameter in cell.parameters_and_names()}
        for cell in (FoldedNearest(3), Nearest(3))
    )
    assert ours == theirs


@pytest.mark.parametrize("shape", [(1, 4, 3), (1, 4, 3, 3, 3), (1, 3, 3, 3)], ids=str)
def test_anything_but_images_of_its_channels_is_refused(shape: tuple[int, ...]) -> None:
    """Tried in PyNative mode only: of what it cannot compile, MindSpore leaves files behind."""
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        FoldedNearest(4)(Tensor(numbers(0, *shape))).asnumpy()
