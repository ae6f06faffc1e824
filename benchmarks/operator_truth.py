"""What single operators should return: NumPy in float64, from their definitions, and how far float32 may be off.

Each function takes what the timed operator took and gives the expected output with the error that rounding may cause.
A sum of n products in float32 is off by about sqrt(n)·u of the root of its squared terms times sqrt(n) (errors of
changing sign; Higham and Mary 2019), u = 2^−24, so that with a the operands and s the root of the sum of their squared
products

    |computed − exact| ≤ SAFETY · u · sqrt(n) · s                                                                  (1)

is what an honest float32 sum keeps in any order, while operands rounded to half precision (2^−11) or bfloat16 (2^−8)
alone are off by 2^−12·s and more: outside for n up to 10⁵. Elementwise operators are held to a few roundings.

Convolutions are (B, C, H, W) with weights (O, C, K, K), "same" padding: what is missing is added right and below first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gates import SAFETY, UNIT_ROUNDOFF, Array, Invalid

ELEMENTWISE = 16
"""Roundings granted to an entry that no long sum went into; MindSpore's exponential alone takes 5e-6 at places."""


@dataclass(frozen=True)
class Truth:
    """An expected output and the largest error that rounding may cause, of one shape or broadcastable to it."""

    expected: Array
    allowed: Array


def _sums(expected: Array, squares: Array, terms: int) -> Truth:
    """The truth of sums of so many `terms`, the squares of which add up to `squares`; (1)."""
    return Truth(expected, SAFETY * UNIT_ROUNDOFF * math.sqrt(terms) * np.sqrt(squares))


def matmul(a: NDArray[Any], b: NDArray[Any]) -> Truth:
    """The product a b over the last two axes."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return _sums(a @ b, a**2 @ b**2, a.shape[-1])


def dense(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any]) -> Truth:
    """The layer x Wᵀ + b: (B, C), (O, C), (O,)."""
    found = matmul(x, np.asarray(weight).T)
    return Truth(found.expected + bias, found.allowed + SAFETY * UNIT_ROUNDOFF * np.abs(bias))


def conv(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], stride: int) -> Truth:
    """The convolution of `x` with bias."""
    seen: Array = np.asarray(x, np.float64)
    taps: Array = np.asarray(weight, np.float64)
    shift = np.asarray(bias, np.float64).reshape(1, -1, 1, 1)
    expected, squares = _conv(seen, taps, stride), _conv(seen**2, taps**2, stride)
    return _sums(expected + shift, squares + shift**2, math.prod(weight.shape[1:]) + 1)


def conv_input_gradient(dy: NDArray[Any], weight: NDArray[Any], size: int, stride: int) -> Truth:
    """The gradient of Σ dy·conv(x) with respect to x, whose height and width are `size`."""
    up: Array = np.asarray(dy, np.float64)
    taps: Array = np.asarray(weight, np.float64)
    expected, squares = _spread(up, taps, size, stride), _spread(up**2, taps**2, size, stride)
    return _sums(expected, squares, weight.shape[0] * math.prod(weight.shape[2:]))


def conv_weight_gradient(x: NDArray[Any], dy: NDArray[Any], kernel: int, stride: int) -> Truth:
    """The gradient of Σ dy·conv(x) with respect to the weights, (O, C, K, K)."""
    seen: Array = np.asarray(x, np.float64)
    up: Array = np.asarray(dy, np.float64)
    expected, squares = _correlate(seen, up, kernel, stride), _correlate(seen**2, up**2, kernel, stride)
    return _sums(expected, squares, dy.shape[0] * math.prod(dy.shape[2:]))


def _padded(x: Array, kernel: int, stride: int) -> Array:
    """`x` with the zeros of "same" padding: an output for every `stride`-th pixel, one zero more at the far ends."""
    size = x.shape[2]
    missing = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    near = missing // 2
    return np.pad(x, ((0, 0), (0, 0), (near, missing - near), (near, missing - near)))


def _taps(kernel: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(kernel) for j in range(kernel)]


def _seen(padded: Array, i: int, j: int, outputs: int, stride: int) -> Array:
    """What tap (i, j) of the kernel sees of a padded image, for each of `outputs` × `outputs` places."""
    reach = (outputs - 1) * stride + 1
    return padded[:, :, i : i + reach : stride, j : j + reach : stride]


def _conv(x: Array, weight: Array, stride: int) -> Array:
    kernel, outputs = weight.shape[2], math.ceil(x.shape[2] / stride)
    padded = _padded(x, kernel, stride)
    return np.asarray(
        sum(_mix(weight[:, :, i, j], _seen(padded, i, j, outputs, stride)) for i, j in _taps(kernel)), np.float64
    )


def _mix(matrix: Array, x: Array) -> Array:
    """Channels of `x` (B, C, H, W) mixed by `matrix` (O, C)."""
    batch, channels, height, width = x.shape
    return (matrix @ x.reshape(batch, channels, -1)).reshape(batch, -1, height, width)


def _spread(dy: Array, weight: Array, size: int, stride: int) -> Array:
    """The transpose of `_conv`: every output's gradient goes to all that it saw."""
    kernel, outputs = weight.shape[2], dy.shape[2]
    padded = _padded(np.zeros((dy.shape[0], weight.shape[1], size, size)), kernel, stride)
    for i, j in _taps(kernel):
        _seen(padded, i, j, outputs, stride)[...] += _mix(weight[:, :, i, j].T, dy)
    near = (padded.shape[2] - size) // 2
    return padded[:, :, near : near + size, near : near + size]


def _correlate(x: Array, dy: Array, kernel: int, stride: int) -> Array:
    padded, outputs = _padded(x, kernel, stride), dy.shape[2]
    rows = dy.transpose(1, 0, 2, 3).reshape(dy.shape[1], -1)
    found = np.empty((dy.shape[1], x.shape[1], kernel, kernel))
    for i, j in _taps(kernel):
        columns = _seen(padded, i, j, outputs, stride).transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
        found[:, :, i, j] = rows @ columns.T
    return found


def group_norm(x: NDArray[Any], groups: int, eps: float) -> Truth:
    """The quotient (x − mean)/sqrt(variance + eps) over each of `groups` groups of channels, weight 1 and bias 0.

    Mean and variance are sums over n entries: off by SAFETY·u·sqrt(n) of themselves by (1), which reaches every entry
    in proportion to its size, and a unit for the mean.
    """
    x = np.asarray(x, np.float64)
    grouped = x.reshape(x.shape[0], groups, -1)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    expected = (centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + eps)).reshape(x.shape)
    roundings = ELEMENTWISE + SAFETY * math.sqrt(grouped.shape[2])
    return Truth(expected, UNIT_ROUNDOFF * roundings * (1 + np.abs(expected)))


def silu(x: NDArray[Any]) -> Truth:
    """The function x / (1 + e^−x)."""
    x = np.asarray(x, np.float64)
    return _elementwise(x / (1 + np.exp(-x)))


def add(x: NDArray[Any], y: NDArray[Any]) -> Truth:
    """The sum x + y: one rounding."""
    total = np.asarray(x, np.float64) + np.asarray(y, np.float64)
    return Truth(total, UNIT_ROUNDOFF * np.abs(total))


def concat(x: NDArray[Any], y: NDArray[Any]) -> Truth:
    """Channels of x, then those of y: copies, exact."""
    return Truth(np.concatenate([x, y], axis=1).astype(np.float64), np.zeros(()))


def repeated(x: NDArray[Any]) -> NDArray[Any]:
    """Every pixel four times: height and width doubled."""
    return np.repeat(np.repeat(x, 2, axis=2), 2, axis=3)


def _elementwise(expected: Array) -> Truth:
    return Truth(expected, EXPONENTIAL * np.abs(expected))


EXPONENTIAL = 2e-5
"""Relative: MindSpore's exponential on the CPU is off by up to 5e-6 (`ddpm-bench doctor`), half precision by 5e-4."""


Layers = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]
"""Weight (O, C, 1, 1) and bias (O,) of the 1×1 convolutions "q", "k", "v" and "out"."""


def attention(x: NDArray[Any], layers: Layers, *, heads: int, groups: int, eps: float) -> Truth:
    """The output x + out(v · softmax(qᵀk/√d)ᵀ) of the normalised x, d = channels per head (Vaswani et al. 2017).

    How rounding goes through is found as `gates.py` does it, by computing again: with every intermediate sum moved by
    a random share of what (1) grants it, and `SAFETY` times the change is allowed.
    """
    exact = _attention(x, layers, heads, groups, eps, lambda truth: truth.expected)
    random = np.random.default_rng(0)
    rounded = _attention(x, layers, heads, groups, eps, lambda truth: _rounded(truth, random))
    allowed = SAFETY * float(np.abs(rounded - exact).max())
    return Truth(exact, np.full(exact.shape, allowed))


def _rounded(truth: Truth, random: np.random.Generator) -> Array:
    """What a float32 computation may have got: allowances hold a factor `SAFETY` that one computation does not use."""
    moved = truth.expected + truth.allowed / SAFETY * random.uniform(-1, 1, truth.expected.shape)
    return np.asarray(moved, np.float64)


def _attention(
    x: NDArray[Any], layers: Layers, heads: int, groups: int, eps: float, taken: Callable[[Truth], Array]
) -> Array:
    """The formula, `taken` turning what an operator should return into what is gone on with."""
    batch, channels, height, width = x.shape
    h = taken(group_norm(x, groups, eps))
    q, k, v = (
        taken(conv(h, *layers[name], 1)).reshape(batch * heads, channels // heads, height * width)
        for name in ("q", "k", "v")
    )
    logits = taken(matmul(q.transpose(0, 2, 1), k)) / math.sqrt(channels // heads)
    powers = taken(_elementwise(np.exp(logits - logits.max(axis=2, keepdims=True))))
    weights = powers / powers.sum(axis=2, keepdims=True)
    mixed = taken(matmul(v, weights.transpose(0, 2, 1))).reshape(x.shape)
    return taken(add(x, taken(conv(mixed, *layers["out"], 1))))


def compare(observed: NDArray[Any], truth: Truth) -> dict[str, float]:
    """The error nearest to what is allowed there, and that, both absolute. Raises `Invalid` when it is more."""
    error = np.abs(observed - truth.expected)
    allowed = np.broadcast_to(truth.allowed, error.shape)
    if not np.ptp(truth.expected) > 0:
        raise Invalid("the output should be the same everywhere, which would prove nothing")
    worst = np.unravel_index(int(np.argmax(np.where(error <= allowed, error / (allowed + TINY), np.inf))), error.shape)
    found = {"error": float(error[worst]), "allowed": float(allowed[worst])}
    if not found["error"] <= found["allowed"]:  # also when it is not a number
        where = ", ".join(map(str, worst))
        raise Invalid(f"the output is off by {found['error']:.3g} at ({where}) where {found['allowed']:.3g} is allowed")
    return found


TINY = float(np.finfo(np.float64).tiny)
