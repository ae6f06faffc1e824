"""What operators should return: against counting loops, gradients against differences, and what half precision does."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import operator_truth as truth
from benchmarks.gates import Invalid
from benchmarks.operator_truth import Truth

RANDOM = np.random.default_rng(1)
Array = NDArray[np.float64]


def drawn(*shape: int) -> NDArray[np.float32]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def looped_conv(x: Array, weight: Array, bias: Array, stride: int) -> Array:
    """By the definition, one product at a time; padding as TensorFlow's "SAME"."""
    outputs = -(-x.shape[2] // stride)
    kernel, size = weight.shape[2], x.shape[2]
    near = max(0, (outputs - 1) * stride + kernel - size) // 2
    y = np.zeros((len(x), len(weight), outputs, outputs)) + bias[None, :, None, None]
    for b, o, i, j in np.ndindex(y.shape):
        for c, k, m in np.ndindex(weight.shape[1:]):
            row, column = i * stride + k - near, j * stride + m - near
            if 0 <= row < size and 0 <= column < size:
                y[b, o, i, j] += x[b, c, row, column] * weight[o, c, k, m]
    return y


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (1, 1), (3, 2)])
def test_convolution_is_the_one_of_its_definition(kernel: int, stride: int) -> None:
    x, weight, bias = drawn(2, 3, 4, 4), drawn(5, 3, kernel, kernel), drawn(5)
    found = truth.conv(x, weight, bias, stride)
    np.testing.assert_allclose(found.expected, looped_conv(*map(np.float64, (x, weight, bias)), stride), rtol=1e-12)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (1, 1), (3, 2)])
def test_gradients_are_slopes_of_the_convolution(kernel: int, stride: int) -> None:
    """Σ dy·conv is linear in x and in the weights, so a difference over any step is its slope exactly."""
    x, weight, zero = drawn(2, 3, 4, 4), drawn(5, 3, kernel, kernel), np.zeros(5)
    dy = drawn(*truth.conv(x, weight, zero, stride).expected.shape)

    def total(x: Array, weight: Array) -> float:
        return float((dy * truth.conv(x, weight, zero, stride).expected).sum())

    by_x = truth.conv_input_gradient(dy, weight, 4, stride).expected
    by_weight = truth.conv_weight_gradient(x, dy, kernel, stride).expected
    for place in [(0, 0, 0, 0), (1, 2, 3, 3), (0, 1, 2, 0)]:
        step = np.zeros(x.shape)
        step[place] = 1
        assert total(x + step, weight) - total(x, weight) == pytest.approx(by_x[place], abs=1e-9)
    for place in [(0, 0, 0, 0), (4, 2, kernel - 1, kernel - 1), (2, 1, 0, kernel - 1)]:
        step = np.zeros(weight.shape)
        step[place] = 1
        assert total(x, weight + step) - total(x, weight) == pytest.approx(by_weight[place], abs=1e-9)


def test_group_norm_leaves_groups_with_mean_0_and_variance_1() -> None:
    found = truth.group_norm(3 + 2 * drawn(2, 6, 4, 4), 3, 0.0).expected.reshape(2, 3, -1)
    np.testing.assert_allclose(found.mean(axis=2), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=2), 1, rtol=1e-12)


def test_silu_at_known_places() -> None:
    found = truth.silu(np.array([0.0, 1.0, -30.0])).expected
    np.testing.assert_allclose(found, [0, 0.7310585786300049, -30 * 9.357622968839299e-14], rtol=1e-10)


def test_repeating_makes_every_pixel_a_square() -> None:
    np.testing.assert_array_equal(truth.repeated(np.array([[[[1, 2]]]])), [[[[1, 1, 2, 2], [1, 1, 2, 2]]]])


def test_attention_is_the_one_of_its_definition() -> None:
    """Head by head, query by query."""
    x, channels, heads = drawn(2, 4, 2, 2), 4, 2
    layers = {name: (drawn(4, 4, 1, 1), drawn(4)) for name in ("q", "k", "v", "out")}
    h = truth.group_norm(x, 2, 1e-6).expected
    q, k, v = (truth.conv(h, *layers[name], 1).expected.reshape(2, 4, 4) for name in "qkv")
    mixed = np.zeros((2, 4, 4))
    depth = channels // heads
    for image, head, query in itertools.product(range(2), range(heads), range(4)):
        own = slice(head * depth, (head + 1) * depth)
        scores = np.array([q[image, own, query] @ k[image, own, key] / depth**0.5 for key in range(4)])
        shares = np.exp(scores) / np.exp(scores).sum()
        mixed[image, own, query] = sum(share * v[image, own, key] for key, share in enumerate(shares))
    expected = x + truth.conv(mixed.reshape(x.shape), *layers["out"], 1).expected
    found = truth.attention(x, layers, heads=heads, groups=2, eps=1e-6)
    np.testing.assert_allclose(found.expected, expected, rtol=1e-9, atol=1e-9)


def half(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x.astype(np.float16).astype(np.float32)


W, X, DY, BIAS = drawn(32, 32, 3, 3) / 17, drawn(4, 32, 8, 8), drawn(4, 32, 8, 8), drawn(32)
LAYERS = {name: (drawn(32, 32, 1, 1) / np.float32(5.7), drawn(32)) for name in ("q", "k", "v", "out")}
OPERATORS: dict[str, Callable[..., Truth]] = {
    "conv": lambda x, w: truth.conv(x, w, BIAS, 1),
    "input gradient": lambda dy, w: truth.conv_input_gradient(dy, w, 8, 1),
    "weight gradient": lambda x, _: truth.conv_weight_gradient(x, DY, 3, 1),
    "matmul": lambda x, w: truth.matmul(x.reshape(256, 32), w.reshape(32, 288)),
    "dense": lambda x, w: truth.dense(x[:, :, 0, 0], w[:, :, 0, 0], BIAS),
    "group norm": lambda x, _: truth.group_norm(x, 8, 1e-6),
    "silu": lambda x, _: truth.silu(x),
    "add": lambda x, _: truth.add(x, DY),
    "concat": lambda x, _: truth.concat(x, DY),
    "attention": lambda x, _: truth.attention(x, LAYERS, heads=1, groups=8, eps=1e-6),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_float32_passes_and_operands_of_half_precision_do_not(name: str) -> None:
    """What rounding the exact answer once to float32 costs is allowed; rounding operands to half precision is not."""
    exact = OPERATORS[name](X, W)
    found = truth.compare(exact.expected.astype(np.float32), exact)
    assert found["error"] <= found["allowed"]
    with pytest.raises(Invalid, match="off by"):
        truth.compare(OPERATORS[name](half(X), half(W)).expected, exact)


@pytest.mark.parametrize("name", ["conv", "input gradient", "weight gradient", "matmul", "dense"])
def test_sums_in_float32_in_the_worst_usual_order_pass_with_room(name: str) -> None:
    """One after the other, as no fast kernel does it: NumPy's cumulative sum of all products, in float32."""
    terms = {"conv": 288, "input gradient": 288, "weight gradient": 256, "matmul": 32, "dense": 32}[name]
    exact = OPERATORS[name](X, W)
    worst = 0.0
    for _ in range(100):
        products = (drawn(terms) * drawn(terms)).astype(np.float32)
        bound = 8 * 2.0**-24 * terms**0.5 * float(np.sqrt((products.astype(np.float64) ** 2).sum()))
        worst = max(worst, abs(float(np.cumsum(products)[-1]) - float(products.astype(np.float64).sum())) / bound)
    assert worst < 0.5
    assert float(exact.allowed.min()) > 0


def test_an_output_that_is_no_number_or_the_same_everywhere_is_invalid() -> None:
    exact = truth.add(X, DY)
    broken = exact.expected.copy()
    broken[1, 2, 3, 4] = np.nan
    with pytest.raises(Invalid, match=r"off by nan at \(1, 2, 3, 4\)"):
        truth.compare(broken, exact)
    with pytest.raises(Invalid, match="the same everywhere"):
        truth.compare(np.zeros(3), Truth(np.zeros(3), np.zeros(())))
