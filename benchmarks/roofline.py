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
from collections.abc import Iterable

import numpy as np

from benchmarks.layers import NetworkShape, walk
from benchmarks.work import Layer


def layers(shape: NetworkShape) -> tuple[Layer, ...]:
    """Every layer of the network of this `shape` that multiplies, in the order in which it is applied."""
    return tuple(layer for layer in walk(shape) if layer.forward)


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
