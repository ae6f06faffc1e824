"""3×3 convolutions by Winograd's minimal filtering F(m×m, 3×3) in MindSpore's public operators (Lavin & Gray 2016).

An m×m tile of outputs takes (m + 2)² products a channel instead of 9 m²: with the tile of inputs d, the kernel g, and ⊙
entry by entry,

    y = Aᵀ [ Σ_channels (G g Gᵀ) ⊙ (Bᵀ d B) ] A.

The sum over channels is a matrix product for each of the (m + 2)² entries, (O, C) times (C, tiles of the batch): large
products in a batch, and so are both of their gradients. The transform of input tiles, which overlap by two pixels, is a
convolution of one channel with (m + 2)² fixed kernels and stride m: nothing is cut out or padded by hand. Those of the
kernel and of the output are products with a small matrix.

Transforms touch every number a few times and products touch it once for each channel, so this pays for wide
convolutions alone, and where there are tiles enough to make large products of.

The transforms add and subtract before and after the products, so an output is off by some ten times the rounding of the
plain way; `tests/test_ddpm_bench_winograd.py` has the bound.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mindspore import Parameter, Tensor, nn, ops

M = 4
"""Height and width of a tile of outputs."""

B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
G = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
    np.float64,
) / np.array([[24]])
A_T = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)
"""F(4, 3) with the points 0, 1, −1, 2, −2 and infinity: Lavin & Gray 2016, section 4.2."""

ENTRIES = (M + 2) ** 2


def suits(conv: nn.Conv2d, channels: int) -> bool:
    """Whether `conv` is one that this computes: 3×3, stride 1, zeros around, a bias; `channels` in and out or more."""
    kind = (conv.kernel_size, conv.stride, conv.dilation, conv.group, conv.pad_mode, conv.has_bias)
    plain = kind == ((3, 3), (1, 1), (1, 1), 1, "same", True)
    return plain and min(conv.in_channels, conv.out_channels) >= channels


class WinogradConvolution(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """`nn.Conv2d` with a 3×3 kernel, stride 1, zeros around and a bias: its parameters under the same names.

    (B, C, H, W) float32 to (B, O, H, W). Images that are not made of whole tiles, or of fewer than `fewest_tiles` in a
    batch, go the plain way.
    """

    def __init__(self, in_channels: int, out_channels: int, *, fewest_tiles: int = 1) -> None:
        super().__init__()
        self.fewest_tiles = fewest_tiles
        self.weight = Parameter(Tensor(np.zeros((out_channels, in_channels, 3, 3), np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(out_channels, np.float32)), name="bias")
        self.plain = ops.Conv2D(out_channels, 3, pad_mode="pad", pad=1)
        self.filter = Filter()
        self.add_bias = ops.BiasAdd()

    @classmethod
    def like(cls, conv: nn.Conv2d, *, fewest_tiles: int = 1) -> WinogradConvolution:
        """One with the channels of `conv`, and parameters of its own."""
        return cls(conv.in_channels, conv.out_channels, fewest_tiles=fewest_tiles)

    def construct(self, x: Tensor) -> Tensor:
        tiles = x.shape[0] * (x.shape[2] // M) * (x.shape[3] // M)
        if x.shape[2] % M != 0 or x.shape[3] % M != 0 or tiles < self.fewest_tiles:
            return self.add_bias(self.plain(x, self.weight), self.bias)
        return self.add_bias(self.filter(x, self.weight), self.bias)


class Filter(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The convolution of `x` (B, C, H, W), H and W whole tiles, with `weight` (O, C, 3, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles = ops.Conv2D(ENTRIES, M + 2, pad_mode="pad", pad=1, stride=M)
        self.tile_kernels = Tensor(_outer(B_T).reshape(ENTRIES, 1, M + 2, M + 2))
        self.kernel_matrix = Tensor(np.kron(G, G).astype(np.float32))  # (entries, 9)
        self.output_matrix = Tensor(np.kron(A_T, A_T).astype(np.float32))  # (m², entries)
        self.times_transposed = ops.MatMul(transpose_b=True)
        self.times = ops.MatMul()
        self.times_each = ops.BatchMatMul()

    def construct(self, x: Tensor, weight: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        out_channels, rows, columns = weight.shape[0], height // M, width // M
        tiles = self.tiles(x.reshape(batch * channels, 1, height, width), self.tile_kernels)
        tiles = ops.transpose(tiles.reshape(batch, channels, ENTRIES, rows * columns), (2, 1, 0, 3))
        kernels = self.times_transposed(self.kernel_matrix, weight.reshape(out_channels * channels, 9))
        sums = self.times_each(
            kernels.reshape(ENTRIES, out_channels, channels), tiles.reshape(ENTRIES, channels, batch * rows * columns)
        )
        y = self.times(self.output_matrix, sums.reshape(ENTRIES, out_channels * batch * rows * columns))
        y = ops.transpose(y.reshape(M, M, out_channels, batch, rows, columns), (3, 2, 4, 0, 5, 1))
        return y.reshape(batch, out_channels, height, width)


def _outer(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The products of every two `rows`, (n, n, k, k): kernels that transform along both axes at once."""
    return (rows[:, None, :, None] * rows[None, :, None, :]).astype(np.float32)
