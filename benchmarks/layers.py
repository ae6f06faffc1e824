"""The layers of a U-Net in the order in which they are applied, from its configuration alone: names, kinds, shapes.

`work.py` says what a layer of each kind computes and moves. Left out are views (reshaping takes nothing), the padding
of convolutions, which an ideal one never writes down, and dropout, which does nothing outside training and is off in
the clock's training cases. The scale of self-attention is part of its softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from benchmarks.work import (
    Layer,
    add,
    add_vector,
    concat,
    conv,
    dense,
    group_norm,
    max_pool,
    mix,
    repeat,
    scores,
    silu,
    sinusoid,
    softmax,
    table,
)


class NetworkShape(Protocol):
    """The fields of a U-Net's configuration that cost something; `ddpm_bench`'s `UNetConfig` has them."""

    @property
    def image_size(self) -> int: ...

    @property
    def in_channels(self) -> int: ...

    @property
    def base_channels(self) -> int: ...

    @property
    def channel_mult(self) -> tuple[int, ...]: ...

    @property
    def blocks_per_level(self) -> int: ...

    @property
    def attention_at(self) -> tuple[int, ...]: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def groups(self) -> int: ...

    @property
    def time_embedding(self) -> str: ...

    @property
    def downsample(self) -> str: ...

    @property
    def upsample(self) -> str: ...

    @property
    def num_timesteps(self) -> int: ...


def walk(shape: NetworkShape) -> tuple[Layer, ...]:
    """Every layer of the network of this `shape`, in the order in which it is applied."""
    return (*_time_embedding(shape), *_down(shape), *_middle(shape), *_up(shape))


def parameters(shape: NetworkShape) -> int:
    """Trained numbers of the network of this `shape`."""
    return sum(layer.parameters for layer in walk(shape))


def _time_embedding(shape: NetworkShape) -> Iterator[Layer]:
    width = shape.base_channels
    learned = shape.time_embedding == "learned"  # only then is there a table behind the input that wants a gradient
    name = "time_embedding.table"
    yield table(name, width, shape.num_timesteps) if learned else sinusoid(name, width)
    yield dense("time_embedding.dense_1", (width, 4 * width), gradient=learned)
    yield silu("time_embedding.silu", 4 * width, 1)
    yield dense("time_embedding.dense_2", (4 * width, 4 * width))
    yield silu("time_silu", 4 * width, 1)


def _block(
    shape: NetworkShape, name: str, channels: tuple[int, int], size: int, *, kept: bool = False
) -> Iterator[Layer]:
    """A residual block; whether its input is also `kept` for the way up.

    Its input has another user anyway, the shortcut. The embedded time is used by every block, first by the first.
    """
    others = _blocks(shape) - 1 if name == "down.0.blocks.0" else 0
    yield group_norm(f"{name}.norm_1", channels[0], shape.groups, size, others=2 if kept else 1)
    yield silu(f"{name}.silu_1", channels[0], size)
    yield conv(f"{name}.conv_1", channels, 3, size)
    yield dense(f"{name}.time_proj", (4 * shape.base_channels, channels[1]), others=others)
    yield add_vector(f"{name}.add_time", channels[1], size)
    yield group_norm(f"{name}.norm_2", channels[1], shape.groups, size)
    yield silu(f"{name}.silu_2", channels[1], size)
    yield conv(f"{name}.conv_2", (channels[1], channels[1]), 3, size)
    if channels[0] != channels[1]:
        yield conv(f"{name}.shortcut", channels, 1, size)
    yield add(f"{name}.add", channels[1], size)


def _attention(shape: NetworkShape, name: str, channels: int, size: int) -> Iterator[Layer]:
    """Self-attention over size² pixels; the number of heads changes what is moved, not what is multiplied."""
    square = (channels, channels)
    yield group_norm(f"{name}.norm", channels, shape.groups, size, others=1)
    for part, others in (("q", 2), ("k", 0), ("v", 0)):  # all three use the normalised input
        yield conv(f"{name}.{part}", square, 1, size, others=others)
    yield scores(f"{name}.scores", channels, shape.num_heads, size)
    yield softmax(f"{name}.softmax", shape.num_heads, size)
    yield mix(f"{name}.mix", channels, shape.num_heads, size)
    yield conv(f"{name}.out", square, 1, size)
    yield add(f"{name}.add", channels, size)


def _down(shape: NetworkShape) -> Iterator[Layer]:
    sizes, widths = _sizes(shape), _widths(shape)
    channels = shape.base_channels
    yield conv("conv_in", (shape.in_channels, channels), 3, sizes[0], gradient=False)
    for level, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        for i in range(shape.blocks_per_level):
            yield from _block(shape, f"down.{level}.blocks.{i}", (channels, width), size, kept=True)
            channels = width
            if size in shape.attention_at:
                yield from _attention(shape, f"down.{level}.attentions.{i}", width, size)
        if level < len(sizes) - 1:
            yield _downsample(shape, f"down.{level}.downsample", width, sizes[level + 1])


def _downsample(shape: NetworkShape, name: str, width: int, size: int) -> Layer:
    """To `size` × `size`, of an input that is also kept for the way up."""
    if shape.downsample == "max_pool":
        return max_pool(name, width, size, others=1)
    return conv(f"{name}.conv", (width, width), 3, size, kind="downsample", input_size=2 * size, others=1)


def _middle(shape: NetworkShape) -> Iterator[Layer]:
    size, width = _sizes(shape)[-1], _widths(shape)[-1]
    yield from _block(shape, "middle.block_1", (width, width), size, kept=True)
    yield from _attention(shape, "middle.attention", width, size)
    yield from _block(shape, "middle.block_2", (width, width), size)


def _up(shape: NetworkShape) -> Iterator[Layer]:
    sizes, widths, kept = _sizes(shape), _widths(shape), _kept(shape)
    channels = widths[-1]
    for level in reversed(range(len(sizes))):
        size, width = sizes[level], widths[level]
        for i in range(shape.blocks_per_level + 1):
            channels += kept.pop()
            yield concat(f"up.{level}.concats.{i}", channels, size)
            yield from _block(shape, f"up.{level}.blocks.{i}", (channels, width), size)
            channels = width
            if size in shape.attention_at:
                yield from _attention(shape, f"up.{level}.attentions.{i}", width, size)
        if level > 0:
            yield from _upsample(shape, f"up.{level}.upsample", width, sizes[level - 1])
    yield group_norm("norm_out", channels, shape.groups, sizes[0])
    yield silu("silu_out", channels, sizes[0])
    yield conv("conv_out", (channels, shape.in_channels), 3, sizes[0])


def _upsample(shape: NetworkShape, name: str, width: int, size: int) -> Iterator[Layer]:
    """To `size` × `size`: repeated pixels and a 3×3 convolution, or a transposed one, kernel 2 and stride 2."""
    if shape.upsample == "nearest":
        yield repeat(f"{name}.repeat", width, size)
        yield conv(f"{name}.conv", (width, width), 3, size)
    else:
        yield conv(f"{name}.conv", (width, width), 2, size, kind="upsample", input_size=size // 2)


def _sizes(shape: NetworkShape) -> list[int]:
    """Height and width at each level."""
    return [shape.image_size // 2**level for level in range(len(shape.channel_mult))]


def _widths(shape: NetworkShape) -> list[int]:
    """Channels at each level."""
    return [shape.base_channels * factor for factor in shape.channel_mult]


def _blocks(shape: NetworkShape) -> int:
    """Residual blocks: the way up has one more a level, the middle two."""
    return len(shape.channel_mult) * (2 * shape.blocks_per_level + 1) + 2


def _kept(shape: NetworkShape) -> list[int]:
    """Channels of each output that the way down leaves for the way up, in the order it leaves them."""
    kept = [shape.base_channels]
    for level, width in enumerate(_widths(shape)):
        last = level == len(shape.channel_mult) - 1
        kept += [width] * (shape.blocks_per_level + (0 if last else 1))
    return kept
