"""What one layer of a U-Net computes and moves, by its kind: forward, gradient of the input, gradient of the weights.

Two sorts of arithmetic are kept apart. *Multiply–adds* are those of convolutions, fully connected layers and the two
products of self-attention; one is two floating-point operations, and they alone are what MindSpore's `flops_collection`
counts. A bias is the number its sum starts with. *Operations* are all the rest, each addition, product, quotient,
comparison, exponential, sine and root counted once: normalisation, SiLU, softmax, additions, gradients of biases.

Moved is what an ideal implementation of a single layer must move, in float32: it reads each of its inputs once, reads
its weights once for the whole batch, and writes each of its outputs once; nothing in between reaches memory. So do the
two gradients, whose inputs are what their formulas need (the gradient of the output always, the layer's input, its
weights). Where a backward pass needs both, it reads what they have in common once. What lies between layers goes
through memory; an implementation that fuses layers, or a cache that holds what one leaves until the next comes, moves
less, so times derived from this are bounds for computing layer by layer on arrays that are large against caches.

Where a tensor has several users, its gradient is a sum: the user that comes first in the network, and so last in the
backward pass, reads what the others left and adds it to what it writes itself.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "conv3x3", "conv1x1", "dense", "attention", "group_norm", "silu", "softmax", "add", "concat", "upsample",
    "downsample", "embedding",
)  # fmt: skip
"""What a layer is. "upsample" and "downsample" change height and width, with kernel 2 or 3 by a convolution or pooling,
with kernel 1 by repeating pixels; "attention" is a product of two activations."""

STEPS = ("forward", "input_gradient", "weight_gradient", "backward", "training")
"""What can be asked of a layer: "backward" is both gradients at once, "training" forward and backward."""

FLOAT_BYTES = 4
"""Of float32; an int32 time step has as many."""


@dataclass(frozen=True)
class Pass:
    """What one pass through a layer takes: for each image of the batch, and for its weights once."""

    multiply_adds: int = 0
    """an image"""
    operations: int = 0
    """an image: all other arithmetic"""
    activations: int = 0
    """an image: numbers read or written of activations and their gradients"""
    weights: int = 0
    """once: numbers read or written of weights or their gradients"""

    def __add__(self, other: Pass) -> Pass:
        """One after the other."""
        return Pass(
            self.multiply_adds + other.multiply_adds,
            self.operations + other.operations,
            self.activations + other.activations,
            self.weights + other.weights,
        )


@dataclass(frozen=True)
class Work:
    """What something takes for a whole batch."""

    flops: int
    """floating-point operations of multiply–adds, as `flops_collection` counts"""
    operations: int
    """all others"""
    bytes: int
    """read or written"""

    def __add__(self, other: Work) -> Work:
        """One after the other."""
        return Work(self.flops + other.flops, self.operations + other.operations, self.bytes + other.bytes)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: operations of both sorts a byte."""
        return (self.flops + self.operations) / self.bytes


@dataclass(frozen=True)
class Layer:
    """One layer; its counts are for one image."""

    name: str
    """its path in the U-Net of `ddpm_bench`, or what its path would be if it were a Cell"""
    kind: str
    """one of `KINDS`"""
    in_channels: int
    out_channels: int
    size: int
    """height and width of the output, 1 for a vector"""
    input_size: int
    """height and width of the input"""
    kernel: int
    """height and width of the kernel, 1 where there is none"""
    terms: int
    """products summed for one entry of the output: what its rounding error grows with; 0 where nothing is multiplied"""
    parameters: int
    """trained numbers"""
    ahead: Pass
    """the forward pass"""
    to_input: Pass
    """the gradient with respect to the input; nothing where none is wanted"""
    to_weights: Pass
    """the gradient with respect to the weights, or to the second of two activations that are multiplied"""
    saved: Pass = Pass()
    """what both gradients have in common, so that a backward pass is spared it once"""

    @property
    def forward(self) -> int:
        """Multiply–adds of the forward pass."""
        return self.ahead.multiply_adds

    @property
    def input_gradient(self) -> int:
        """Multiply–adds of the gradient with respect to the input."""
        return self.to_input.multiply_adds

    @property
    def weight_gradient(self) -> int:
        """Multiply–adds of the gradient with respect to the weights."""
        return self.to_weights.multiply_adds

    @property
    def training(self) -> int:
        """Multiply–adds of forward and backward pass together."""
        return self.forward + self.input_gradient + self.weight_gradient

    def work(self, step: str, batch: int) -> Work:
        """What a `step` of `STEPS` takes for `batch` images."""
        one = self._pass(step)
        numbers = batch * one.activations + one.weights
        return Work(2 * batch * one.multiply_adds, batch * one.operations, FLOAT_BYTES * numbers)

    def _pass(self, step: str) -> Pass:
        passes = {"forward": self.ahead, "input_gradient": self.to_input, "weight_gradient": self.to_weights}
        if step in passes:
            return passes[step]
        gradients, saved = self.to_input + self.to_weights, self.saved
        backward = gradients + Pass(-saved.multiply_adds, -saved.operations, -saved.activations, -saved.weights)
        return {"backward": backward, "training": self.ahead + backward}[step]


def conv(
    name: str,
    channels: tuple[int, int],
    kernel: int,
    size: int,
    *,
    kind: str | None = None,
    input_size: int | None = None,
    gradient: bool = True,
    others: int = 0,
) -> Layer:
    """A convolution with bias from and to so many `channels`, whose output is `size` × `size`.

    Products with the zeros of the padding count, as everybody counts them. `kind` and `input_size`: where it changes
    the size. `gradient` is False where its input needs none; `others` users its input has.
    """
    side = size if input_size is None else input_size
    # an output of a transposed convolution, kernel 2 and stride 2, sees a single input pixel
    terms = channels[0] * (1 if size > side else kernel**2)
    inputs, outputs = channels[0] * side**2, channels[1] * size**2
    products, weights = terms * outputs, channels[0] * channels[1] * kernel**2
    to_input = Pass(products, others * inputs, (1 + others) * inputs + outputs, weights)
    return Layer(
        name, kind or f"conv{kernel}x{kernel}", *channels, size, side, kernel, terms, weights + channels[1],
        ahead=Pass(products, 0, inputs + outputs, weights + channels[1]),
        to_input=to_input if gradient else Pass(),
        to_weights=Pass(products, outputs, inputs + outputs, weights + channels[1]),  # the bias's: a sum of all
        saved=Pass(activations=outputs) if gradient else Pass(),
    )  # fmt: skip


def dense(name: str, channels: tuple[int, int], *, gradient: bool = True, others: int = 0) -> Layer:
    """A fully connected layer with bias: a convolution of images with one pixel."""
    return conv(name, channels, 1, 1, kind="dense", gradient=gradient, others=others)


def scores(name: str, channels: int, heads: int, size: int) -> Layer:
    """qᵀk of every head: (channels, pixels) twice to (heads, pixels, pixels)."""
    return _product(name, (channels, heads * size**2), size, channels // heads, 2 * channels * size**2)


def mix(name: str, channels: int, heads: int, size: int) -> Layer:
    """The values, weighted: (heads, pixels, pixels) and (channels, pixels) to (channels, pixels)."""
    return _product(name, (heads * size**2, channels), size, size**2, heads * size**4 + channels * size**2)


def _product(name: str, channels: tuple[int, int], size: int, terms: int, inputs: int) -> Layer:
    """A product of two activations: each gradient reads that of the output and one factor, and writes the other's."""
    outputs = channels[1] * size**2
    one = Pass(terms * outputs, 0, inputs + outputs)
    return Layer(
        name, "attention", *channels, size, size, 1, terms, 0,
        ahead=one, to_input=one, to_weights=one, saved=Pass(activations=outputs),
    )  # fmt: skip


def group_norm(name: str, channels: int, groups: int, size: int, *, others: int = 0) -> Layer:
    """γ x̂ + β with x̂ = (x − mean) · 1/sqrt(variance + eps) of each group (Wu and He 2018).

    An entry takes 1 operation for the mean, 3 for the variance (difference, square, sum), 1 for x̂ and 2 for γ and β; a
    group takes 3 for eps, root and reciprocal, while dividing by n makes up for the n-th addition. Both gradients
    compute x̂ again, from the input that they read. That of the input is, with h = γ·dy and means over the group,
    (h − mean(h) − x̂ · mean(h x̂)) · 1/sqrt(…): 1 for h, 1 and 2 for the means, 4 for the rest.
    """
    n = channels * size**2
    normalised = Pass(operations=5 * n + 3 * groups, activations=2 * n)  # reads x, and its second n is written or dy
    return Layer(
        name, "group_norm", channels, channels, size, size, 1, 0, 2 * channels,
        ahead=Pass(0, 7 * n + 3 * groups, 2 * n, 2 * channels),
        to_input=normalised + Pass(0, (8 + others) * n, (1 + others) * n, channels),
        to_weights=normalised + Pass(0, 3 * n, 0, 2 * channels),
        saved=normalised,
    )  # fmt: skip


def silu(name: str, channels: int, size: int) -> Layer:
    """SiLU, x / (1 + exp(−x)), takes 4; its gradient dy · s · (1 + x · (1 − s)) takes 4 for the sigmoid s and 5."""
    n = channels * size**2
    return _moving(name, "silu", channels, size, Pass(0, 4 * n, 2 * n), Pass(0, 9 * n, 3 * n))


def softmax(name: str, heads: int, size: int) -> Layer:
    """exp(s·x − max) over its sum, in rows of as many entries as there are pixels; s = 1/sqrt(channels of a head).

    A row of k takes k products, k − 1 comparisons, k differences, k exponentials, k − 1 additions, k quotients. Its
    gradient s · y · (dy − Σ y·dy) reads the output y, and takes k products and k − 1 additions and 3 k for the rest.
    """
    pixels = size**2
    rows, n = heads * pixels, heads * pixels**2
    return _moving(name, "softmax", rows, size, Pass(0, 6 * n - 2 * rows, 2 * n), Pass(0, 5 * n - rows, 3 * n))


def add(name: str, channels: int, size: int) -> Layer:
    """The sum of two activations; its gradient is that of either, which nobody need move."""
    n = channels * size**2
    return _moving(name, "add", channels, size, Pass(0, n, 3 * n), Pass())


def add_vector(name: str, channels: int, size: int) -> Layer:
    """One number a channel added to all pixels; its gradient is the sum over them."""
    n = channels * size**2
    return _moving(name, "add", channels, size, Pass(0, n, 2 * n + channels), Pass(0, n, n + channels))


def concat(name: str, channels: int, size: int) -> Layer:
    """Two activations side by side, `channels` together; its gradient is taken apart again."""
    both_ways = Pass(activations=2 * channels * size**2)
    return _moving(name, "concat", channels, size, both_ways, both_ways)


def repeat(name: str, channels: int, size: int) -> Layer:
    """Every pixel four times, to `size` × `size`; its gradient is the sum of the four."""
    outputs = channels * size**2
    moved = outputs + outputs // 4
    return _moving(name, "upsample", channels, size, Pass(0, 0, moved), Pass(0, outputs, moved), input_size=size // 2)


def max_pool(name: str, channels: int, size: int, *, others: int = 0) -> Layer:
    """The largest of four pixels, found by 3 comparisons, and once more for the gradient, from the input."""
    outputs = channels * size**2
    inputs = 4 * outputs
    back = Pass(0, 3 * outputs + others * inputs, outputs + (2 + others) * inputs)
    return _moving(
        name, "downsample", channels, size, Pass(0, 3 * outputs, inputs + outputs), back, input_size=2 * size, kernel=2
    )


def sinusoid(name: str, channels: int) -> Layer:
    """Sines and cosines of t times `channels`/2 frequencies, which are read once a batch; t needs no gradient."""
    half = channels // 2
    return Layer(
        name, "embedding", 1, channels, 1, 1, 1, 0, 0,
        ahead=Pass(0, 3 * half, 1 + channels, half), to_input=Pass(), to_weights=Pass(),
    )  # fmt: skip


def table(name: str, channels: int, rows: int) -> Layer:
    """The t-th of `rows` trained rows of `channels`; the gradient of all is written, those of the batch added in."""
    return Layer(
        name, "embedding", 1, channels, 1, 1, 1, 0, rows * channels,
        ahead=Pass(activations=1 + 2 * channels),
        to_input=Pass(),
        to_weights=Pass(0, channels, 1 + channels, rows * channels),
    )  # fmt: skip


def _moving(
    name: str,
    kind: str,
    channels: int,
    size: int,
    ahead: Pass,
    to_input: Pass,
    *,
    input_size: int | None = None,
    kernel: int = 1,
) -> Layer:
    """A layer without weights whose time goes into moving."""
    side = size if input_size is None else input_size
    return Layer(
        name, kind, channels, channels, size, side, kernel, 0, 0, ahead=ahead, to_input=to_input, to_weights=Pass()
    )
