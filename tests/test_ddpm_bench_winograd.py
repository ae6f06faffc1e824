"""Winograd's convolution: values and gradients against float64 tap by tap, in both modes, within a derived bound."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import two_modes
from mindspore import Tensor, nn
from two_modes import U, convolution, numbers, within

from ddpm_bench.device import MODES, compiled
from ddpm_bench.unet_blocks import conv
from ddpm_bench.winograd import A_T, B_T, G, WinogradConvolution, suits

Array = two_modes.Array

SHAPES = [(2, 3, 4, 8, 4), (1, 5, 4, 4, 3), (3, 1, 8, 4, 2), (2, 4, 6, 4, 2), (1, 2, 5, 5, 2)]
"""Batch, channels, height, width, channels out; the last two are computed the plain way."""

TILE, OUT = 6, 4
"""Height and width of a tile of inputs, and of the outputs that it gives."""


WIDE = 32


def in_tiles(height: int, width: int) -> bool:
    return height % OUT == 0 and width % OUT == 0


def test_transforms_are_the_convolution_in_exact_arithmetic() -> None:
    """Aᵀ[(G g) ⊙ (Bᵀ d)] is Σ_k g_k d_(i+k), for every unit tile and unit kernel, in fractions."""
    exact = {name: [[Fraction(float(each)).limit_denominator(100) for each in row] for row in matrix]
             for name, matrix in (("a", A_T), ("b", B_T), ("g", G))}  # fmt: skip
    for i in range(OUT):
        for d in range(TILE):
            for k in range(3):
                terms = zip(exact["a"][i], (row[k] for row in exact["g"]), (row[d] for row in exact["b"]), strict=True)
                assert sum(a * g * b for a, g, b in terms) == (1 if d == i + k else 0)


def tiles(image: Array) -> Array:
    """The tiles of inputs that overlap by two, (B, C, rows, columns, 6, 6)."""
    around = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(around, (TILE, TILE), axis=(2, 3))
    return np.ascontiguousarray(windows[:, :, ::OUT, ::OUT])


def sizes(x: Array, weight: Array, bias: Array, g: Array) -> dict[str, Array]:
    """The sums of absolute values of all that Winograd's way adds up: the same formula without a sign anywhere.

    Its gradients are those of the same linear maps, so theirs are these with the matrices transposed.
    """
    b_t, big_g, a_t = np.abs(B_T), np.abs(G), np.abs(A_T)
    v = np.einsum("ip,bchwpq,jq->bchwij", b_t, tiles(np.abs(x)), b_t)
    u = np.einsum("ip,ocpq,jq->ocij", big_g, np.abs(weight), big_g)
    rows, columns = g.shape[2] // OUT, g.shape[3] // OUT
    blocks = np.abs(g).reshape(*g.shape[:2], rows, OUT, columns, OUT).transpose(0, 1, 2, 4, 3, 5)
    m = np.einsum("pi,bohwpq,qj->bohwij", a_t, blocks, a_t)
    y = np.einsum("pi,ocij,bchwij,qj->bohwpq", a_t, u, v, a_t).transpose(0, 1, 2, 4, 3, 5).reshape(g.shape)
    by_tile = np.einsum("ip,ocij,bohwij,jq->bchwpq", b_t, u, m, b_t)
    by_around = np.zeros((*x.shape[:2], x.shape[2] + 2, x.shape[3] + 2))
    for row in range(by_tile.shape[2]):
        for column in range(by_tile.shape[3]):
            top, left = OUT * row, OUT * column
            by_around[:, :, top : top + TILE, left : left + TILE] += by_tile[:, :, row, column]
    by_weight = np.einsum("ip,bohwij,bchwij,jq->ocpq", big_g, m, v, big_g)
    return {
        "y": y + np.abs(bias)[:, None, None], "x": by_around[:, :, 1:-1, 1:-1], "weight": by_weight,
        "bias": np.abs(g).sum((0, 2, 3)),
    }  # fmt: skip


def bounds(x: Array, weight: Array, bias: Array, g: Array) -> dict[str, Array]:
    """How far rounding can move each entry: the size of its sum times as many roundings as a term can meet.

    Transforms sum in any order: of 36 inputs, of 9 taps, of 36 entries, by coefficients of which those of the kernels
    are rounded; products sum over channels, over outputs, or over the tiles of the batch. Gradients meet the same
    transforms, and an input adds up to four tiles.
    """
    batch, channels, height, width = x.shape
    if not in_tiles(height, width):
        sized = {name: np.abs(value) for name, value in convolution(*map(np.abs, (x, weight, bias, g))).items()}
        transforms, overlaps = 0, 0
    else:
        sized, transforms, overlaps = sizes(x, weight, bias, g), TILE**2 + 9 + TILE**2 + 1, 4
    roundings = {
        "y": transforms + 9 * channels + 2, "x": transforms + 9 * len(weight) + overlaps + 1,
        "weight": transforms + batch * height * width + 1, "bias": batch * height * width,
    }  # fmt: skip
    return {name: 1.01 * U * roundings[name] * size for name, size in sized.items()}


def case(shape: tuple[int, ...]) -> tuple[two_modes.Float, ...]:
    batch, channels, height, width, out = shape
    image = (batch, out, height, width)
    return (
        numbers(1, batch, channels, height, width),
        numbers(2, out, channels, 3, 3),
        numbers(3, out),
        numbers(4, *image),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_exact_but_for_rounding(shape: tuple[int, ...], mode: str) -> None:
    x, weight, bias, g = case(shape)
    cell = WinogradConvolution(shape[1], shape[4])
    found = two_modes.run(cell, {"weight": weight, "bias": bias}, x, g, mode)
    doubles = [each.astype(np.float64) for each in (x, weight, bias, g)]
    within(found, convolution(*doubles), bounds(*doubles))


def test_parameters_are_those_of_the_plain_way() -> None:
    native = conv(3, 5)
    ours, theirs = (
        {name: parameter.shape for name, parameter in cell.parameters_and_names()}
        for cell in (WinogradConvolution.like(native), native)
    )
    assert ours == theirs
    assert type(native) is nn.Conv2d


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("batch", "winograd"), [(63, False), (64, True)])
def test_batches_of_few_tiles_go_the_plain_way(batch: int, winograd: bool, mode: str) -> None:
    """The plain way gives the native bits; the other one nearly never does."""
    x, weight, bias, _ = case((batch, 3, OUT, OUT, 4))
    native, ours = conv(3, 4), WinogradConvolution(3, 4, fewest_tiles=64)
    outputs = []
    for cell in (native, ours):
        cell.weight.set_data(Tensor(weight))
        cell.bias.set_data(Tensor(bias))
        outputs.append(compiled(cell, mode)(Tensor(x)).asnumpy())
    assert np.array_equal(*outputs) is not winograd
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: conv(WIDE, WIDE), True),
        (lambda: conv(2 * WIDE, WIDE), True),
        (lambda: conv(WIDE, WIDE - 1), False),
        (lambda: conv(WIDE - 1, WIDE), False),
        (lambda: conv(WIDE, WIDE, 1), False),
        (lambda: conv(WIDE, WIDE, stride=2), False),
        (lambda: nn.Conv2d(WIDE, WIDE, 3, has_bias=False), False),
        (lambda: nn.Conv2d(WIDE, WIDE, 3, has_bias=True, dilation=2), False),
        (lambda: nn.Conv2d(WIDE, WIDE, 3, has_bias=True, group=2), False),
        (lambda: nn.Conv2d(WIDE, WIDE, 3, has_bias=True, pad_mode="valid"), False),
    ],
)
def test_only_wide_convolutions_of_its_kind_are_taken_over(made: Callable[[], nn.Conv2d], expected: bool) -> None:
    assert suits(made(), WIDE) is expected


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 2, 4, 4)], ids=str)
def test_anything_but_images_of_its_channels_is_refused(shape: tuple[int, ...]) -> None:
    """Tried in PyNative mode only: of what it cannot compile, MindSpore leaves files behind."""
    with pytest.raises((ValueError, TypeError, RuntimeError, IndexError)):
        WinogradConvolution(3, 4)(Tensor(numbers(0, *shape))).asnumpy()
