"""How much arithmetic a U-Net is, and how much this machine can do: the two sides of GFLOP/s.

Counted are the multiply–adds of convolutions, fully connected layers and the two matrix products of self-attention,
layer by layer, from the configuration alone. Elementwise work (normalisation, SiLU, softmax, additions, the sampler's
few operations, Adam) is left out, as MindSpore's own `flops_collection` leaves it out: it moves bytes, not FLOP. One
multiply–add is two floating-point operations.

A layer y = W x costs its multiply–adds once more for the gradient with respect to x and once more for that with respect
to W. The network's input and the time step need no gradient, so the first layer behind each is spared the former;
everything else is exactly twice the forward pass. A product of two activations (self-attention) has two gradients too.

The other side is measured: a large float32 matrix product, through NumPy and through MindSpore, at the start and at the
end of a run. "Peak" below always means that, never a data sheet.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class NetworkShape(Protocol):
    """The fields of a U-Net's configuration that cost arithmetic; `ddpm_bench`'s `UNetConfig` has them."""

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
    def time_embedding(self) -> str: ...

    @property
    def downsample(self) -> str: ...

    @property
    def upsample(self) -> str: ...


@dataclass(frozen=True)
class Layer:
    """The arithmetic of one layer for one image, in multiply–adds."""

    name: str
    forward: int
    input_gradient: int
    weight_gradient: int
    terms: int
    """products summed for one entry of the output: what its rounding error grows with"""

    @property
    def training(self) -> int:
        """Forward and backward pass together."""
        return self.forward + self.input_gradient + self.weight_gradient


def layers(shape: NetworkShape) -> tuple[Layer, ...]:
    """Every layer of the network of this `shape` that multiplies, in the order in which it is applied."""
    return (*_time_embedding(shape), *_down(shape), *_middle(shape), *_up(shape))


def forward_flops(shape: NetworkShape, batch: int) -> int:
    """Floating-point operations of one forward pass over `batch` images."""
    return 2 * batch * sum(layer.forward for layer in layers(shape))


def training_flops(shape: NetworkShape, batch: int) -> int:
    """Floating-point operations of one forward and backward pass over `batch` images, optimiser left out."""
    return 2 * batch * sum(layer.training for layer in layers(shape))


def matmul_flops(size: int) -> int:
    """Floating-point operations of the product of two square matrices."""
    return 2 * size**3


def numpy_matmul(size: int, rounds: int) -> list[float]:
    """Seconds of each of `rounds` float32 products of two `size` × `size` matrices in NumPy, after one unmeasured."""
    a, b = np.random.default_rng(0).standard_normal((2, size, size)).astype(np.float32)
    a @ b
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return seconds


def peak(start: Iterable[float], end: Iterable[float], flops: int) -> dict[str, float]:
    """The rates in FLOP/s of the fastest product at the start and at the end of a run, and of the faster of the two.

    The fastest and not the median: a peak is what the machine can do, and other programs only ever take from it.
    """
    rates = {name: flops / min(seconds) for name, seconds in (("start", start), ("end", end)) if seconds}
    return {**rates, "best": max(rates.values())}


def _conv(name: str, in_channels: int, out_channels: int, kernel: int, size: int, *, gradient: bool = True) -> Layer:
    """A convolution whose output is `size` × `size`; `gradient` is False where its input needs none."""
    terms = in_channels * kernel**2
    products = terms * out_channels * size**2
    return Layer(name, products, products if gradient else 0, products, terms)


def _dense(name: str, in_channels: int, out_channels: int, *, gradient: bool = True) -> Layer:
    return _conv(name, in_channels, out_channels, 1, 1, gradient=gradient)


def _time_embedding(shape: NetworkShape) -> Iterator[Layer]:
    width = shape.base_channels
    learned = shape.time_embedding == "learned"  # only then is there a table behind the input that wants a gradient
    yield _dense("time_embedding.dense_1", width, 4 * width, gradient=learned)
    yield _dense("time_embedding.dense_2", 4 * width, 4 * width)


def _block(shape: NetworkShape, name: str, in_channels: int, out_channels: int, size: int) -> Iterator[Layer]:
    yield _conv(f"{name}.conv_1", in_channels, out_channels, 3, size)
    yield _dense(f"{name}.time_proj", 4 * shape.base_channels, out_channels)
    yield _conv(f"{name}.conv_2", out_channels, out_channels, 3, size)
    if in_channels != out_channels:
        yield _conv(f"{name}.shortcut", in_channels, out_channels, 1, size)


def _attention(name: str, channels: int, size: int) -> Iterator[Layer]:
    """Self-attention over size² pixels; the number of heads does not change the count."""
    pixels = size**2
    for part in ("q", "k", "v"):
        yield _conv(f"{name}.{part}", channels, channels, 1, size)
    products = pixels**2 * channels
    yield Layer(f"{name}.scores", products, products, products, channels)
    yield Layer(f"{name}.mix", products, products, products, pixels)
    yield _conv(f"{name}.out", channels, channels, 1, size)


def _sizes(shape: NetworkShape) -> list[int]:
    """Height and width at each level."""
    return [shape.image_size // 2**level for level in range(len(shape.channel_mult))]


def _widths(shape: NetworkShape) -> list[int]:
    """Channels at each level."""
    return [shape.base_channels * factor for factor in shape.channel_mult]


def _down(shape: NetworkShape) -> Iterator[Layer]:
    sizes, widths = _sizes(shape), _widths(shape)
    yield _conv("conv_in", shape.in_channels, shape.base_channels, 3, sizes[0], gradient=False)
    channels = shape.base_channels
    for level, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        for i in range(shape.blocks_per_level):
            yield from _block(shape, f"down.{level}.blocks.{i}", channels, width, size)
            channels = width
            if size in shape.attention_at:
                yield from _attention(f"down.{level}.attentions.{i}", width, size)
        if level < len(sizes) - 1 and shape.downsample == "conv":
            yield _conv(f"down.{level}.downsample.conv", width, width, 3, sizes[level + 1])


def _middle(shape: NetworkShape) -> Iterator[Layer]:
    size, width = _sizes(shape)[-1], _widths(shape)[-1]
    yield from _block(shape, "middle.block_1", width, width, size)
    yield from _attention("middle.attention", width, size)
    yield from _block(shape, "middle.block_2", width, width, size)


def _up(shape: NetworkShape) -> Iterator[Layer]:
    sizes, widths, kept = _sizes(shape), _widths(shape), _kept(shape)
    channels = widths[-1]
    for level in reversed(range(len(sizes))):
        size, width = sizes[level], widths[level]
        for i in range(shape.blocks_per_level + 1):
            yield from _block(shape, f"up.{level}.blocks.{i}", channels + kept.pop(), width, size)
            channels = width
            if size in shape.attention_at:
                yield from _attention(f"up.{level}.attentions.{i}", width, size)
        if level > 0:
            yield _upsample(shape, f"up.{level}.upsample.conv", width, sizes[level - 1])
    yield _conv("conv_out", channels, shape.in_channels, 3, sizes[0])


def _upsample(shape: NetworkShape, name: str, width: int, size: int) -> Layer:
    """To `size` × `size`: a 3×3 convolution, or one product a pixel and channel pair for kernel 2 with stride 2."""
    return _conv(name, width, width, 3 if shape.upsample == "nearest" else 1, size)


def _kept(shape: NetworkShape) -> list[int]:
    """Channels of each output that the way down leaves for the way up, in the order it leaves them."""
    kept = [shape.base_channels]
    for level, width in enumerate(_widths(shape)):
        last = level == len(shape.channel_mult) - 1
        kept += [width] * (shape.blocks_per_level + (0 if last else 1))
    return kept
