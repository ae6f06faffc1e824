"""Wrong U-Nets for `subject_mutants`: one Cell, one setting or one gradient of the network is not the paper's.

Most are what MindSpore's defaults, or a port from another framework, make of it: another padding, another epsilon,
an axis that fits by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops

from ddpm_bench.subject import Array, MindSporeSubject
from ddpm_bench.subject_mutants import wrong_subject
from ddpm_bench.unet import UNet, Up
from ddpm_bench.unet_blocks import Attention, Halve, ResidualBlock, Sinusoid


def wrong_unet(
    id: str,  # noqa: A002 - the field's name
    mistake: str,
    *killed_by: str,
) -> Callable[[Callable[[UNet], None]], Callable[[UNet], None]]:
    """Register the network that the decorated function has altered as the mutant `id`."""

    def register(alter: Callable[[UNet], None]) -> Callable[[UNet], None]:
        def make(self: UNet, *args: Any, **kwargs: Any) -> None:
            UNet.__init__(self, *args, **kwargs)
            alter(self)

        unet = type("WrongUNet", (UNet,), {"__init__": make})
        wrong_subject(id, mistake, *killed_by)(type("WrongNetwork", (MindSporeSubject,), {"unet": unet}))
        return alter

    return register


def parts(network: UNet, kind: type[nn.Cell]) -> Iterator[Any]:
    """The Cells of a kind."""
    return (cell for _, cell in network.cells_and_names() if isinstance(cell, kind))


@wrong_unet("S41", "stride-2 convolutions pad on all sides, as PyTorch's do", "NET-11.padding", "NET-8")
def symmetric_padding(network: UNet) -> None:
    for halve in parts(network, Halve):
        right = halve.conv
        halve.conv = nn.Conv2d(
            right.in_channels,
            right.out_channels,
            3,
            stride=2,
            pad_mode="pad",
            padding=1,
            has_bias=True,
        )
        halve.conv.weight, halve.conv.bias = right.weight, right.bias


@wrong_unet("S43", "the skip connections carry zeros", "NET-4", "NET-8")
def no_skips(network: UNet) -> None:
    for level in parts(network, Up):
        right = level.construct
        level.construct = lambda h, time, skips, right=right: right(h, time, tuple(ops.zeros_like(s) for s in skips))


@wrong_unet("S44", "the time embedding is computed and not used", "NET-2", "NET-3")
def unused_time(network: UNet) -> None:
    for block in parts(network, ResidualBlock):
        block.time_proj.construct = lambda time, wide=block.time_proj.out_channels: ops.zeros(
            (time.shape[0], wide), time.dtype
        )


@wrong_unet("S45", "attention is not scaled", "NET-7")
def unscaled(network: UNet) -> None:
    for attention in parts(network, Attention):
        attention.scale = 1.0


@wrong_unet("S46", "the softmax of attention runs over the queries", "NET-7")
def softmax_axis(network: UNet) -> None:
    for attention in parts(network, Attention):
        right = attention.scores
        # The scores are transposed, so that the softmax over their last axis is one over the queries.
        attention.scores = lambda q, k, right=right: right(k, q)


@wrong_unet("S47", "GroupNorm's epsilon is MindSpore's default, 1e-5", "NET-11.norm_eps")
def default_eps(network: UNet) -> None:
    for norm in parts(network, nn.GroupNorm):
        norm.eps = 1e-5


@wrong_unet("S48", "one group for all channels", "NET-8")
def one_group(network: UNet) -> None:
    for norm in parts(network, nn.GroupNorm):
        norm.num_groups = 1


@wrong_unet("S49", "normalisation runs over the batch", "NET-5")
def over_the_batch(network: UNet) -> None:
    right = network.norm_out.construct
    network.norm_out.construct = lambda x: right(x - ops.mean(x, 0, keep_dims=True))


@wrong_unet("S50", "the time embedding has its cosines first", "NET-11.sine_first")
def cosines_first(network: UNet) -> None:
    for sinusoid in parts(network, Sinusoid):
        right = sinusoid.construct
        half = sinusoid.frequencies.shape[1]
        sinusoid.construct = lambda t, right=right, half=half: ops.concat((right(t)[:, half:], right(t)[:, :half]), 1)


@wrong_unet("S51", "frequencies divide by half, not half - 1", "NET-11.divisor")
def other_divisor(network: UNet) -> None:
    for sinusoid in parts(network, Sinusoid):
        half = sinusoid.frequencies.shape[1]
        sinusoid.frequencies = Tensor((10_000.0 ** (-np.arange(half) / half))[None].astype(np.float32))


@wrong_unet("S52", "the network is told t + 1", "NET-9")
def late(network: UNet) -> None:
    for sinusoid in parts(network, Sinusoid):
        right = sinusoid.construct
        sinusoid.construct = lambda t, right=right: right(t + 1)


@wrong_unet("S53", "a block of the middle is skipped", "NET-3")
def dead_block(network: UNet) -> None:
    block: Any = network.middle.block_2
    block.construct = lambda x, _time: x


@wrong_unet("S54", "the time path is detached", "NET-2.gradient", "GRD-2")
def detached_time(network: UNet) -> None:
    embedding: Any = network.time_embedding
    right = embedding.construct
    embedding.construct = lambda t: ops.stop_gradient(right(t))


@wrong_subject("S55", "the gradient is that of the sum", "GRD-2")
class SummedGradient(MindSporeSubject):
    def network_gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        return {name: value * np.float32(x.size) for name, value in super().network_gradient(x, t, target).items()}


@wrong_subject("S56", "training starts from random last layers", "NET-11.zero_init")
class RandomStart(MindSporeSubject):
    def initial_weights(self) -> dict[str, Array]:
        return self.weights()


@wrong_subject("S57", "a bias is missing from the weights", "NET-10")
class MissingBias(MindSporeSubject):
    def weights(self) -> dict[str, Array]:
        return {name: value for name, value in super().weights().items() if name != "conv_in.bias"}


@wrong_subject("S58", "the gradient in one mode is 1 % short in one parameter", "MODE-1.gradient")
class TwoGradients(MindSporeSubject):
    def counterparts(self) -> dict[str, MindSporeSubject]:
        return {"jit": ShortGradient(**self._choices, **self._setting)}


class ShortGradient(MindSporeSubject):
    """As a mode would be that loses a part of one gradient."""

    def network_gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        right = super().network_gradient(x, t, target)
        return {**right, "conv_in.bias": right["conv_in.bias"] * np.float32(0.99)}
