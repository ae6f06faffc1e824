"""How far a 3×3 convolution by Winograd's F(4×4, 3×3) may be off, and its gradients: more than plain sums are.

With a tile of inputs d (6×6), the kernel g (3×3), a tile of outputs y (4×4), and ⊙ entry by entry,

    y = Aᵀ [ Σ_channels U ⊙ V ] A,        U = G g Gᵀ,        V = Bᵀ d B                     (Lavin and Gray 2016)

which with w = A dy Aᵀ for the gradient of Σ dy·y has dd = B [ Σ U ⊙ w ] Bᵀ and dg = Gᵀ [ Σ V ⊙ w ] G. Most of it
cancels in exact arithmetic, but not what rounding does to it. Written out, an output is a sum of products a g b d of
entries of both operands and of the matrices, and with A² for A ∘ A and so on the squares of all these add up to

    s² = A²ᵀ [ Σ (G² g² G²ᵀ) ⊙ (B²ᵀ d² B²) ] A²,        so |computed − exact| ≤ SAFETY · u · sqrt(n) · s

by (1) of `operator_truth.py`, n being the products of an entry's sum and the roundings of the three transforms that
each goes through.

A, B and G follow from the points 0, 1, −1, 2, −2 and infinity (Toom 1963, Cook 1966): powers of the points, the
coefficients of the products over all other points, and powers over the values of those products.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks import operator_truth
from benchmarks.gates import SAFETY, UNIT_ROUNDOFF, Array
from benchmarks.operator_truth import Truth

POINTS = (0, 1, -1, 2, -2)
M = 4
"""Height and width of a tile of outputs."""

WIDTH = M + 2
"""Of a tile of inputs."""

TRANSFORMS = 3 * WIDTH**2
"""Roundings that a product meets in three transforms, at most one for each entry of a tile: as B has zeros, also where
the gradients of up to four tiles add up."""


def _powers(count: int) -> Array:
    """(6, count): of the points, and of infinity, where only the last power counts."""
    return np.array([[float(point) ** i for i in range(count)] for point in POINTS] + [[0.0] * (count - 1) + [1.0]])


def _products() -> list[Array]:
    """For each point, infinity last, the coefficients of Π (x − q) over all finite others q, the constant first."""
    others = [[q for q in POINTS if q != point] for point in POINTS]
    return [np.asarray(np.poly(roots)[::-1], np.float64) for roots in (*others, POINTS)]


def _values() -> Array:
    """(6, 1): what those products are at their points; 1 at infinity."""
    return np.array([[math.prod(point - q for q in POINTS if q != point)] for point in POINTS] + [[1]], np.float64)


A = _powers(M)
B = np.array([[*product, *[0.0] * (WIDTH - len(product))] for product in _products()]).T
G = _powers(3) / _values()


def conv(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any]) -> Truth:
    """The convolution of `x` (B, C, H, W), H and W whole tiles, with bias."""
    expected = operator_truth.conv(x, weight, bias, 1).expected
    sums = _each_entry(_there(G, weight), _there(B.T, _inputs(x)))
    squares = _untiled(_back(A, sums), expected.shape)
    return _granted(expected, squares + np.reshape(bias, (1, -1, 1, 1)) ** 2, x.shape[1])


def conv_input_gradient(dy: NDArray[Any], weight: NDArray[Any]) -> Truth:
    """The gradient of Σ dy·conv(x) with respect to x."""
    expected = operator_truth.conv_input_gradient(dy, weight, dy.shape[2], 1).expected
    sums = _each_entry(_there(G, np.swapaxes(weight, 0, 1)), _there(A, _outputs(dy)))
    return _granted(expected, _overlapped(_back(B.T, sums), expected.shape), len(weight))


def conv_weight_gradient(x: NDArray[Any], dy: NDArray[Any]) -> Truth:
    """The gradient of Σ dy·conv(x) with respect to the weights."""
    expected = operator_truth.conv_weight_gradient(x, dy, 3, 1).expected
    seen, up = _there(B.T, _inputs(x)), _there(A, _outputs(dy))
    return _granted(expected, _back(G, _each_entry(up, np.swapaxes(seen, 0, 1))), up.shape[1])


def _granted(expected: Array, squares: Array, terms: int) -> Truth:
    return Truth(expected, SAFETY * UNIT_ROUNDOFF * math.sqrt(terms + TRANSFORMS) * np.sqrt(squares))


def _inputs(x: NDArray[Any]) -> Array:
    """(C, tiles of the batch, 6, 6): overlapping tiles of an image with zeros around."""
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    tiles = sliding_window_view(padded, (1, 1, WIDTH, WIDTH))[:, :, ::M, ::M]
    return np.asarray(tiles.swapaxes(0, 1).reshape(x.shape[1], -1, WIDTH, WIDTH), np.float64)


def _outputs(y: NDArray[Any]) -> Array:
    """(O, tiles of the batch, 4, 4)."""
    batch, channels, height, width = y.shape
    tiles = np.asarray(y, np.float64).reshape(batch, channels, height // M, M, width // M, M)
    return tiles.transpose(1, 0, 2, 4, 3, 5).reshape(channels, -1, M, M)


def _untiled(tiles: Array, shape: tuple[int, ...]) -> Array:
    """`_outputs` undone."""
    batch, channels, height, width = shape
    placed = tiles.reshape(channels, batch, height // M, width // M, M, M)
    return placed.transpose(1, 0, 2, 4, 3, 5).reshape(shape)


def _overlapped(tiles: Array, shape: tuple[int, ...]) -> Array:
    """Tiles of inputs (C, tiles, 6, 6) added up where they were cut from."""
    batch, channels, height, width = shape
    placed = tiles.reshape(channels, batch, height // M, width // M, WIDTH, WIDTH)
    image = np.zeros((batch, channels, height + 2, width + 2))
    for row, column in np.ndindex(height // M, width // M):
        image[:, :, row * M : row * M + WIDTH, column * M : column * M + WIDTH] += placed[:, :, row, column].swapaxes(
            0, 1
        )
    return image[:, :, 1:-1, 1:-1]


def _there(matrix: Array, tiles: NDArray[Any]) -> Array:
    """matrix² tile² matrix²ᵀ, for each tile, squares being those of entries."""
    return np.asarray(matrix**2 @ np.asarray(tiles, np.float64) ** 2 @ (matrix**2).T, np.float64)


def _each_entry(a: Array, b: Array) -> Array:
    """Σ over the middle of `a` (n, k, 6, 6) and `b` (k, m, 6, 6), entry by entry: (n, m, 6, 6)."""
    return np.asarray((a.transpose(2, 3, 0, 1) @ b.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1), np.float64)


def _back(matrix: Array, squares: Array) -> Array:
    """matrix²ᵀ squares matrix², for each tile."""
    return np.asarray((matrix**2).T @ squares @ matrix**2, np.float64)
