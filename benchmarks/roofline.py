"""How long a U-Net must take on this machine at least: what it computes and moves, over what was measured as possible.

The model is the roofline (Williams, Waterman and Patterson 2009). With P the machine's peak in FLOP/s and B its
bandwidth in bytes/s, work of F operations and M bytes takes at least max(F / P, M / B), and its arithmetic intensity
F / M says which: below P / B the machine waits for memory. A pass takes at least the sum over its layers, each of which
is bound by one of the two (`work.py` counts both, and says what is taken to be moved). P and B are measured, by a large
matrix product and a large copy, through NumPy and through MindSpore, at the start and at the end of a run; "peak"
always means that, never a data sheet.

`forward_flops` and `training_flops` are what rates in FLOP/s are made of: the multiply–adds of convolutions, fully
connected layers and the two matrix products of self-attention, two operations each, as MindSpore's own
`flops_collection` counts them. A layer y = W x costs its multiply–adds once more for the gradient with respect to x and
once more for that with respect to W. The network's input and the time step need no gradient, so the first layer behind
each is spared the former; everything else is exactly twice the forward pass. A product of two activations
(self-attention) has two gradients too.

The optimiser is elementwise. For each of the network's parameters, with g its gradient,

    Σ g²                                   2   the norm of all gradients, of which each is a part     reads g
    g ← c g                                1   cut to the norm (Pascanu et al. 2013, Algorithm 1)     reads g
    m ← β₁ m + (1 − β₁) g                  3   (Kingma and Ba 2015, Algorithm 1)                      reads, writes m
    v ← β₂ v + (1 − β₂) g²                 4                                                          reads, writes v
    w ← w − a m / (sqrt(v) + ε)            5   the step's constant a holds rate and corrections       reads, writes w
    w̄ ← d w̄ + (1 − d) w                    3   the moving average                                     reads, writes w̄

makes 18 operations and 10 numbers, 40 bytes: g twice, because no parameter may move before the norm of all is known,
the other four once each way. Left out is what a step takes once, or for each image but in no layer: the constants, the
noise that is added, the loss.
"""

from __future__ import annotations

from benchmarks.layers import NetworkShape, parameters, walk
from benchmarks.work import FLOAT_BYTES, Layer, Work

OPTIMISER_OPERATIONS = 2 + 1 + 3 + 4 + 5 + 3
"""For each parameter: norm, cut, both moments, step, average."""

OPTIMISER_NUMBERS = 2 + 4 * 2
"""Read or written for each parameter: the gradient twice, weight, moments and average once each way."""


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


def optimiser(shape: NetworkShape) -> Work:
    """Clipping, Adam and moving average of the network's parameters, once a step whatever the batch."""
    count = parameters(shape)
    return Work(0, OPTIMISER_OPERATIONS * count, FLOAT_BYTES * OPTIMISER_NUMBERS * count)


def total(shape: NetworkShape, step: str, batch: int) -> Work:
    """A `step` of `work.STEPS` through the whole network, optimiser left out."""
    return sum((layer.work(step, batch) for layer in walk(shape)), Work(0, 0, 0))


def least_seconds(work: Work, peak_flops: float, peak_bytes: float) -> float:
    """How long `work` takes at least, at so many FLOP/s and bytes/s: the larger of computing and moving."""
    return max((work.flops + work.operations) / peak_flops, work.bytes / peak_bytes)


def least_seconds_of_pass(shape: NetworkShape, step: str, batch: int, *, peak_flops: float, peak_bytes: float) -> float:
    """How long a `step` through the whole network takes at least, layer by layer, optimiser left out."""
    return sum(least_seconds(layer.work(step, batch), peak_flops, peak_bytes) for layer in walk(shape))
