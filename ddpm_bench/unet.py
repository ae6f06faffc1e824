"""The U-Net that predicts the noise: eps_hat = UNet(x_t, t), Ho et al. 2020, Section 4 and Appendix B.

Down: at each level residual blocks that see the time step, self-attention at the chosen resolutions, then half the
size. A middle of block, attention, block. Up: the mirror image, one block more per level, each taking an output that
the way down left behind at its size (a skip connection), then twice the size. Level 0 works at the full size.

The parameters' names are part of the interface: other programs read weights by them. They are the Cells' paths, such as
`down.0.blocks.1.conv_2.weight`, as `parameters_and_names()` gives them; `Parameter.name` itself gains a prefix when the
network becomes part of another Cell.
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from ddpm_bench.presets import PRESETS, UNetConfig, preset
from ddpm_bench.unet_blocks import (
    Attention,
    ResidualBlock,
    TimeEmbedding,
    conv,
    make_downsample,
    make_upsample,
    norm,
)

__all__ = ["PRESETS", "UNet", "UNetConfig", "preset"]

ZERO_INITIALISED = (".conv_2.weight", ".out.weight", "conv_out.weight")
"""Last weights of every block, every attention and the network: an untrained block is the identity, the output zero."""


class UNet(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The network of `config`, its weights drawn from NumPy's generator with `seed`.

    `construct(x, t)`: `x` is (B, C, H, W) float32 in about [−1, 1], `t` is (B,) int32 in 0…T−1. Returns eps_hat,
    (B, C, H, W) float32. Dropout acts only after `set_train(True)`, which has to come before compiling.
    """

    def __init__(self, config: UNetConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.time_embedding = TimeEmbedding(config.time_embedding, config.base_channels, config.num_timesteps)
        self.conv_in = conv(config.in_channels, config.base_channels)
        self.down = nn.CellList([Down(config, level) for level in range(config.levels)])
        self.middle = Middle(config)
        self.up = nn.CellList([Up(config, level) for level in range(config.levels)])
        self.norm_out = norm(config.groups, config.channels[0])
        self.conv_out = conv(config.channels[0], config.in_channels)
        _initialise(self, np.random.default_rng(seed))

    def construct(self, x: Tensor, t: Tensor) -> Tensor:
        time = ops.silu(self.time_embedding(t))  # every block begins with this SiLU: once for all
        h = self.conv_in(x)
        skips = (h,)
        for level in self.down:
            h, skips = level(h, time, skips)
        h = self.middle(h, time)
        for level in range(len(self.up) - 1, -1, -1):  # a reversed slice of a CellList would rename its parameters
            h, skips = self.up[level](h, time, skips)
        eps_hat = self.conv_out(ops.silu(self.norm_out(h)))
        return ops.cast(eps_hat, x.dtype)  # of another type only where layers compute in half precision


class Down(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """One level of the way down; appends what each block and the downsampling leave to `skips`."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        channels = config.channels[level]
        before = config.channels[level - 1] if level else config.base_channels
        inputs = (before,) + (channels,) * (config.blocks_per_level - 1)
        self.blocks = nn.CellList([_block(config, width, channels) for width in inputs])
        self.attentions = nn.CellList([_attention(config, level) for _ in inputs])
        self.last = level == config.levels - 1
        self.downsample = nn.Identity() if self.last else make_downsample(config.downsample, channels)

    def construct(self, h: Tensor, time: Tensor, skips: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        for block, attention in zip(self.blocks, self.attentions):  # noqa: B905 - graph mode knows no strict=
            h = attention(block(h, time))
            skips = (*skips, h)
        if not self.last:
            h = self.downsample(h)
            skips = (*skips, h)
        return h, skips


class Middle(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The bottom of the U, at the smallest size."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels = config.channels[-1]
        self.block_1 = _block(config, channels, channels)
        self.attention = Attention(channels, config.num_heads, config.groups)
        self.block_2 = _block(config, channels, channels)

    def construct(self, h: Tensor, time: Tensor) -> Tensor:
        return self.block_2(self.attention(self.block_1(h, time)), time)


class Up(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """One level of the way up; every block takes the last of `skips` beside `h`, channels of `h` first."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        channels = config.channels[level]
        below = config.channels[min(level + 1, config.levels - 1)]
        beside = (below,) + (channels,) * config.blocks_per_level
        widths = [h + skip for h, skip in zip(beside, _skip_widths(config, level), strict=True)]
        self.blocks = nn.CellList([_block(config, width, channels) for width in widths])
        self.attentions = nn.CellList([_attention(config, level) for _ in widths])
        self.upsample = make_upsample(config.upsample, channels) if level else nn.Identity()

    def construct(self, h: Tensor, time: Tensor, skips: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        for block, attention in zip(self.blocks, self.attentions):  # noqa: B905 - graph mode knows no strict=
            h = attention(block(ops.concat((h, skips[-1]), axis=1), time))
            skips = skips[:-1]
        return self.upsample(h), skips


def _skip_widths(config: UNetConfig, level: int) -> tuple[int, ...]:
    """Channels of the skips that `level` takes on its way up, in that order.

    First what its own blocks left, last to first, then what came into the level: conv_in's output or the downsampled
    output of the level above.
    """
    came_in = config.channels[level - 1] if level else config.base_channels
    return (config.channels[level],) * config.blocks_per_level + (came_in,)


def _block(config: UNetConfig, in_channels: int, out_channels: int) -> ResidualBlock:
    return ResidualBlock(in_channels, out_channels, 4 * config.base_channels, config.groups, config.dropout)


def _attention(config: UNetConfig, level: int) -> nn.Cell:
    if config.resolutions[level] not in config.attention_at:
        return nn.Identity()
    return Attention(config.channels[level], config.num_heads, config.groups)


def _initialise(network: nn.Cell, random: np.random.Generator) -> None:
    """Draw the weights: uniform with variance 2 / (fan_in + fan_out), as the paper's code does (Glorot & Bengio 2010).

    The learned time embedding is standard normal. Biases and `ZERO_INITIALISED` stay 0, normalisations the identity.
    """
    for name, parameter in network.parameters_and_names():
        if name.endswith("embedding_table"):
            values = random.standard_normal(parameter.shape)
        elif name.endswith(".weight") and not name.endswith(ZERO_INITIALISED):
            field = int(np.prod(parameter.shape[2:]))  # pixels of the kernel; 1 for a dense layer
            limit = np.sqrt(6 / (field * (parameter.shape[0] + parameter.shape[1])))
            values = random.uniform(-limit, limit, parameter.shape)
        else:
            continue
        parameter.set_data(Tensor(values.astype(np.float32)))
