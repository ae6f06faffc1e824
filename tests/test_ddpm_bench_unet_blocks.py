"""Each part of the U-Net against NumPy or against what it must do to an impulse."""

from __future__ import annotations

import mindspore
import numpy as np
import numpy.typing as npt
import pytest
from mindspore import Tensor

from ddpm_bench import unet_blocks as blocks

Array = npt.NDArray[np.float32]
U = 2.0**-24
"""Unit roundoff of float32."""


def run(cell: mindspore.nn.Cell, *inputs: Array) -> Array:
    result: Array = cell(*(Tensor(value) for value in inputs)).asnumpy()
    return result


def set_weights(cell: mindspore.nn.Cell, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """Random values of size about one for every parameter; returned in float64, by name."""
    random = np.random.default_rng(seed)
    values = {}
    for name, parameter in cell.parameters_and_names():
        value = random.standard_normal(parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(value))
        values[name] = value.astype(np.float64)
    return values


def impulse(size: int, row: int, column: int) -> Array:
    image = np.zeros((1, 1, size, size), np.float32)
    image[0, 0, row, column] = 1
    return image


def ones(cell: mindspore.nn.Cell) -> mindspore.nn.Cell:
    """`cell` with every convolution weight 1 and every bias 0."""
    for name, parameter in cell.parameters_and_names():
        parameter.set_data(Tensor(np.full(parameter.shape, float(name.endswith("weight")), np.float32)))
    return cell


def test_stride_2_convolution_pads_right_and_below() -> None:
    """Window i covers rows 2i…2i+2: row 2 is in two windows and row 1 in one; padded evenly it is the other way."""
    halve = ones(blocks.Halve(1))
    assert run(halve, impulse(4, 2, 2)).sum() == 4
    assert run(halve, impulse(4, 1, 1)).sum() == 1


def test_convolution_keeps_the_size_and_pads_with_zeros() -> None:
    result = run(ones(blocks.conv(1, 1)), np.ones((1, 1, 3, 3), np.float32))
    assert result[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


def test_group_norm_eps_is_1e_6() -> None:
    """Input ±1e-3 has variance 1e-6, so eps 1e-6 scales it to ±1/√2; 1e-5 would give ±0.30."""
    x = np.array([1e-3, -1e-3] * 8, np.float32).reshape(1, 4, 2, 2)
    # Ten roundings, each relative: mean (exact 0), variance, sum with eps, root, quotient, affine, and the input's own.
    np.testing.assert_allclose(np.abs(run(blocks.norm(2, 4), x)), 0.5**0.5, rtol=10 * U)


def test_max_pool_halves_the_size() -> None:
    pool = blocks.make_downsample("max_pool", 1)
    assert run(pool, np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4))[0, 0].tolist() == [[5, 7], [13, 15]]


def test_nearest_upsampling_repeats_every_pixel_exactly() -> None:
    upsample = blocks.make_upsample("nearest", 2)
    centre = np.zeros((2, 2, 3, 3), np.float32)
    centre[[0, 1], [0, 1], 1, 1] = 1  # a convolution that changes nothing
    upsample.conv.weight.set_data(Tensor(centre))
    x = np.random.default_rng(0).standard_normal((3, 2, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(run(upsample, x), x.repeat(2, axis=2).repeat(2, axis=3))


def test_transposed_upsampling_turns_one_pixel_into_four() -> None:
    upsample = blocks.make_upsample("transposed", 1)
    upsample.conv.weight.set_data(Tensor(np.array([[[[1, 2], [3, 4]]]], np.float32)))
    result = run(upsample, impulse(2, 1, 0))[0, 0]
    assert result.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 2, 0, 0], [3, 4, 0, 0]]


def test_sinusoids_come_sine_first_from_frequency_1_to_1e_4() -> None:
    steps = np.array([0, 1, 17, 999], np.int32)
    frequencies = np.array([1, 10000 ** (-1 / 3), 10000 ** (-2 / 3), 1e-4])
    phase = steps[:, None] * frequencies
    exact = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
    # The frequency and the product are rounded, a relative 2u of the phase; the kernel and the result add 2u.
    bound = 2 * U * np.concatenate([phase, phase], axis=1) + 2 * U
    assert (np.abs(run(blocks.Sinusoid(8), steps) - exact) <= bound).all()


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_time_embedding_tells_every_pair_of_steps_apart(kind: str) -> None:
    embedding = blocks.TimeEmbedding(kind, 8, 50)
    set_weights(embedding, 1)
    rows = run(embedding, np.arange(50, dtype=np.int32))
    assert rows.shape == (50, 32)
    assert len({row.tobytes() for row in rows}) == 50


def silu(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x / (1 + np.exp(-x))


def test_learned_embedding_is_its_row_through_two_dense_layers() -> None:
    embedding = blocks.TimeEmbedding("learned", 4, 5)
    w = set_weights(embedding, 2)
    hidden = silu(w["table.embedding_table"][[3, 0]] @ w["dense_1.weight"].T + w["dense_1.bias"])
    exact = hidden @ w["dense_2.weight"].T + w["dense_2.bias"]
    # 16 products of size about one, after 4: sums lose 20u each way; SiLU's kernel is good to 2.4e-6 (its ledger).
    np.testing.assert_allclose(run(embedding, np.array([3, 0], np.int32)), exact, atol=16 * 5 * (2.4e-6 + 20 * U))


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_the_softmax_of_scaled_products_over_keys(heads: int) -> None:
    attention = blocks.Attention(8, heads, groups=4)
    w = set_weights(attention, 3)
    x = np.random.default_rng(4).standard_normal((2, 8, 2, 3)).astype(np.float32)
    grouped = x.astype(np.float64).reshape(2, 4, -1)
    h = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-6)
    h = h.reshape(2, 8, 6) * w["norm.gamma"][:, None] + w["norm.beta"][:, None]
    q, k, v = (_pixels(h, w, part).reshape(2, heads, 8 // heads, 6) for part in "qkv")
    scores = np.einsum("bhdi,bhdj->bhij", q, k) / np.sqrt(8 / heads)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = np.einsum("bhij,bhdj->bhdi", weights / weights.sum(-1, keepdims=True), v).reshape(2, 8, 6)
    exact = x + _pixels(mixed, w, "out").reshape(x.shape)
    # Largest score about 50 with a relative error of 30u: the weights are off by 1e-4, times values of about 5 in sums
    # of 8. A missing scale, or softmax over queries, is off by more than 1.
    np.testing.assert_allclose(run(attention, x), exact, atol=5e-3)


def _pixels(h: npt.NDArray[np.float64], w: dict[str, npt.NDArray[np.float64]], part: str) -> npt.NDArray[np.float64]:
    """The 1×1 convolution `part` on (B, C, pixels)."""
    return w[f"{part}.weight"][:, :, 0, 0] @ h + w[f"{part}.bias"][:, None]


def test_block_adds_time_between_its_convolutions() -> None:
    """With the first convolution silent, what the block adds depends on time and not on the image."""
    block = blocks.ResidualBlock(4, 4, 8, groups=1, dropout=0.0)
    set_weights(block, 5)
    block.conv_1.weight.set_data(Tensor(np.zeros((4, 4, 3, 3), np.float32)))
    random = np.random.default_rng(6)
    time, other_time = random.standard_normal((2, 1, 8)).astype(np.float32)
    x, other_x = random.standard_normal((2, 1, 4, 4, 4)).astype(np.float32)
    added = run(block, x, time) - x
    # The sum with the image and its subtraction round twice on either side, values of size below 100.
    np.testing.assert_allclose(run(block, other_x, time) - other_x, added, atol=4 * 100 * U)
    assert np.abs(run(block, x, other_time) - x - added).max() > 0.1


def test_block_has_a_shortcut_convolution_only_where_channels_differ() -> None:
    def names(out: int) -> set[str]:
        block = blocks.ResidualBlock(4, out, 8, groups=2, dropout=0.0)
        return {name for name, _ in block.parameters_and_names()}

    assert names(6) - names(4) == {"shortcut.weight", "shortcut.bias"}
