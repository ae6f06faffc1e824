"""Height and width doubled by repeating pixels, then a 3×3 convolution, without ever making the repeated image.

Of the nine taps over a repeated image, those that fall on copies of one pixel see the same value, so their weights add
up. Along one axis, output 2i + a of phase a reads two pixels,

    a = 0:  w₀ x[i−1] + (w₁ + w₂) x[i],        a = 1:  (w₀ + w₁) x[i] + w₂ x[i+1],

zeros outside included: the images' edges agree. In two dimensions that makes four 2×2 convolutions of the small image,
one for each phase, 16 multiply–adds where there were 36 (the sub-pixel convolution of Shi et al. 2016, backwards).

Seen from an input pixel, the four outputs around it along one axis take it with the weights w₂, w₁ + w₂, w₀ + w₁, w₀.
So dL/dx is one 4×4 convolution of dL/dy with stride 2, and the gradient of those 16 weights is the weight gradient of
the same convolution; each tap of the 3×3 kernel adds up its shares of it.

Adding two or four float32 weights first rounds once or twice more than the plain way, about 1e-7 of the result.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mindspore import Parameter, Tensor, nn, ops

from ddpm_bench.unet_blocks import Nearest

PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of an output pixel, modulo 2."""

SHARES = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
"""[phase, tap of two, tap of three]: which taps of the kernel are added up, along one axis."""

AROUND = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
"""[output of four around an input pixel, tap of three], along one axis."""


def phase_matrix(row: int, column: int) -> npt.NDArray[np.float32]:
    """(9, 4): the 3×3 kernel, as a row of nine, times this is the 2×2 kernel of the phase (`row`, `column`)."""
    return np.kron(SHARES[row], SHARES[column]).T.copy()


class FoldedNearest(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """`unet_blocks.Nearest`, its parameters under the same names: (B, C, H, W) float32 to (B, C, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = FoldedConvolution(channels)

    @classmethod
    def like(cls, nearest: Nearest) -> FoldedNearest:
        """One for as many channels as `nearest`, with parameters of its own."""
        return cls(nearest.conv.out_channels)

    def construct(self, h: Tensor) -> Tensor:
        return self.conv(h)


class FoldedConvolution(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The 3×3 convolution with bias of a repeated image, given the image: parameters as `nn.Conv2d` has them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((channels, channels, 3, 3), np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(channels, np.float32)), name="bias")
        self.convolve = Fold(channels)
        self.add_bias = ops.BiasAdd()

    def construct(self, h: Tensor) -> Tensor:
        return self.add_bias(self.convolve(h, self.weight), self.bias)


class Fold(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The function and its gradient: `x` (B, C, H, W), `weight` (C, C, 3, 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolve_0, self.convolve_1, self.convolve_2, self.convolve_3 = (
            ops.Conv2D(channels, 2, pad_mode="pad", pad=(1 - row, row, 1 - column, column)) for row, column in PHASES
        )  # padding: top, bottom, left, right
        self.matrix_0, self.matrix_1, self.matrix_2, self.matrix_3 = (Tensor(phase_matrix(*phase)) for phase in PHASES)
        self.around = Tensor(np.kron(AROUND, AROUND))  # (16, 9)
        self.spread = ops.MatMul(transpose_b=True)
        self.gather = Gather(channels)
        self.differentiate = ops.GradOperation(sens_param=True)  # by the first argument, the weights

    def construct(self, x: Tensor, weight: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        taps, kernel = weight.reshape(-1, 9), (channels, channels, 2, 2)
        phases = (
            self.convolve_0(x, ops.matmul(taps, self.matrix_0).reshape(kernel)),
            self.convolve_1(x, ops.matmul(taps, self.matrix_1).reshape(kernel)),
            self.convolve_2(x, ops.matmul(taps, self.matrix_2).reshape(kernel)),
            self.convolve_3(x, ops.matmul(taps, self.matrix_3).reshape(kernel)),
        )
        stacked = ops.stack(phases).reshape(2, 2, batch, channels, height, width)
        return ops.transpose(stacked, (2, 3, 4, 0, 5, 1)).reshape(batch, channels, 2 * height, 2 * width)

    def bprop(self, x: Tensor, weight: Tensor, out: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - MindSpore passes all
        channels = weight.shape[0]
        wide = self.spread(weight.reshape(-1, 9), self.around).reshape(channels, channels, 16)
        wide = ops.transpose(wide, (1, 0, 2)).reshape(channels, channels, 4, 4)  # from outputs first to inputs first
        by_wide = self.differentiate(self.gather)(wide, gradient, x)
        by_wide = ops.transpose(by_wide.reshape(channels, channels, 16), (1, 0, 2)).reshape(-1, 16)
        return self.gather(wide, gradient), ops.matmul(by_wide, self.around).reshape(weight.shape)


class Gather(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """For each input pixel, the 4×4 outputs around it times their weights: (B, C, 2H, 2W) to (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolve = ops.Conv2D(channels, 4, pad_mode="pad", pad=1, stride=2)

    def construct(self, weight: Tensor, y: Tensor) -> Tensor:
        return self.convolve(y, weight)
