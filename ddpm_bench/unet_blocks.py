"""The parts of the U-Net, each as Ho et al. 2020, Appendix B, has it, with the article's alternatives beside it.

MindSpore's defaults are not the paper's, so every one that matters is written out: group normalisation with eps 1e-6,
convolutions with a bias, "same" padding (with stride 2 that pads right and below, as the paper's TensorFlow does), and
max-pooling with stride 2 (the default is 1). Weights start at zero here; `unet.py` draws them.

Shapes: `h` is (B, C, H, W) float32. `time` is (B, 4 · base_channels) float32, the embedded time step after its SiLU.
Graph mode parses the source of every `construct`; what looks plain here is also what it can read.
"""

from __future__ import annotations

import mindspore
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops


def conv(in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1) -> nn.Cell:
    """A convolution with bias that keeps height and width, or divides them by `stride`."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        pad_mode="same",
        has_bias=True,
        weight_init="zeros",
        bias_init="zeros",
    )


def dense(in_channels: int, out_channels: int) -> nn.Cell:
    """A fully connected layer with bias."""
    return nn.Dense(in_channels, out_channels, weight_init="zeros", bias_init="zeros")


def norm(groups: int, channels: int) -> nn.Cell:
    """Group normalisation with the paper's eps, 1e-6."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


def sinusoidal_frequencies(channels: int) -> npt.NDArray[np.float64]:
    """Angular frequencies of the time embedding, (channels / 2,) float64, in radians per time step.

    Geometric from 1 down to 1/10000, both ends included: 10000^(−i / (channels/2 − 1)), as in the paper's code.
    """
    half = channels // 2
    exponents = np.arange(half, dtype=np.float64) / (half - 1)
    return np.power(np.float64(10000), -exponents)


class Sinusoid(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Fixed embedding of t: sines of t · frequency, then cosines; (B,) int32 to (B, channels) float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequencies = Tensor(sinusoidal_frequencies(channels)[None, :].astype(np.float32))

    def construct(self, t: Tensor) -> Tensor:
        phase = t.astype(mindspore.float32).reshape(-1, 1) * self.frequencies
        return ops.concat((ops.sin(phase), ops.cos(phase)), axis=1)


class TimeEmbedding(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The time step, embedded and mixed by two dense layers: (B,) int32 to (B, 4 · channels) float32."""

    def __init__(self, kind: str, channels: int, num_timesteps: int) -> None:
        super().__init__()
        if kind == "learned":
            self.table: nn.Cell = nn.Embedding(num_timesteps, channels, embedding_table="zeros")
        else:
            self.table = Sinusoid(channels)
        self.dense_1 = dense(channels, 4 * channels)
        self.dense_2 = dense(4 * channels, 4 * channels)

    def construct(self, t: Tensor) -> Tensor:
        return self.dense_2(ops.silu(self.dense_1(self.table(t))))


class AddToChannels(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """(B, C, H, W) and (B, C), added to every pixel: as a bias of B·C channels.

    Adding (B, C, 1, 1) has the same bits and takes six times as long in PyNative mode on a CPU (MindSpore 2.10.0).
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_bias = ops.BiasAdd()

    def construct(self, h: Tensor, value: Tensor) -> Tensor:
        batch, channels, height, width = h.shape
        rows = h.reshape(1, batch * channels, height, width)
        return self.add_bias(rows, value.reshape(batch * channels)).reshape(h.shape)


class ResidualBlock(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Two normalised convolutions beside a shortcut, the time step added between them."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm_1 = norm(groups, in_channels)
        self.conv_1 = conv(in_channels, out_channels)
        self.time_proj = dense(time_channels, out_channels)
        self.add_time = AddToChannels()
        self.norm_2 = norm(groups, out_channels)
        self.dropout = nn.Dropout(p=dropout)
        self.conv_2 = conv(out_channels, out_channels)
        self.shortcut = nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, 1)

    def construct(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv_1(ops.silu(self.norm_1(x)))
        h = self.add_time(h, self.time_proj(time))
        h = self.conv_2(self.dropout(ops.silu(self.norm_2(h))))
        return self.shortcut(x) + h


class Attention(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Self-attention over all pixels: h + out(v · softmax(qᵀk / √d)), d = channels / heads (Vaswani et al. 2017)."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.norm = norm(groups, channels)
        self.q = conv(channels, channels, 1)
        self.k = conv(channels, channels, 1)
        self.v = conv(channels, channels, 1)
        self.out = conv(channels, channels, 1)
        self.scores = ops.BatchMatMul(transpose_a=True)
        self.mix = ops.BatchMatMul(transpose_b=True)

    def construct(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        each_head = (x.shape[0] * self.heads, x.shape[1] // self.heads, x.shape[2] * x.shape[3])
        q = self.q(h).reshape(each_head)
        k = self.k(h).reshape(each_head)
        v = self.v(h).reshape(each_head)
        weights = ops.softmax(self.scores(q, k) * self.scale, -1)  # (B·heads, queries, keys)
        return x + self.out(self.mix(v, weights).reshape(x.shape))


class Nearest(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Height and width doubled by repeating pixels, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels)

    def construct(self, h: Tensor) -> Tensor:
        # Copies only, so exact; a third of the time of ops.interpolate at 32×32 (MindSpore 2.7.0 and 2.10.0, CPU).
        batch, channels, height, width = h.shape
        h = ops.broadcast_to(h.reshape(batch, channels, height, 1, width, 1), (batch, channels, height, 2, width, 2))
        return self.conv(h.reshape(batch, channels, 2 * height, 2 * width))


class Transposed(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Height and width doubled by a transposed convolution, kernel 2, stride 2: every output sees one input pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2dTranspose(
            channels, channels, 2, stride=2, pad_mode="valid", has_bias=True, weight_init="zeros", bias_init="zeros"
        )

    def construct(self, h: Tensor) -> Tensor:
        return self.conv(h)


class Halve(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Height and width halved by a 3×3 convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels, stride=2)

    def construct(self, h: Tensor) -> Tensor:
        return self.conv(h)


def make_downsample(kind: str, channels: int) -> nn.Cell:
    """The Cell that halves height and width: "conv" or "max_pool"."""
    return Halve(channels) if kind == "conv" else nn.MaxPool2d(kernel_size=2, stride=2)


def make_upsample(kind: str, channels: int) -> nn.Cell:
    """The Cell that doubles height and width: "nearest" or "transposed"."""
    return Nearest(channels) if kind == "nearest" else Transposed(channels)
