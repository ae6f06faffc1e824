"""Single operators at the U-Net's own shapes, made by the U-Net's own parts.

A call runs an operator several times, each on an input of its own and each after the one before it, as the layers of a
net follow each other: so what a call costs by itself, Python and launching, is shared among them, and no two run side
by side. Gradients are those of Σ dy·f(x), "forward" where a net goes forward; in PyNative mode a gradient includes the
forward pass, which graph mode leaves out where it is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mindspore
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

from benchmarks import gates, operator_truth, winograd_truth
from benchmarks.cases import Case
from benchmarks.conftest import SEED, MindSpore, nth, placement
from benchmarks.operator_truth import Truth
from benchmarks.operators import Operator
from benchmarks.timing import Kept, Workload
from ddpm_bench import unet_blocks
from ddpm_bench.winograd import M, WinogradConvolution

GROUP_NORM_EPS = 1e-6
"""The paper's."""

SHARPNESS = 3.0
"""Standard deviation of the logits of self-attention: sharp enough for half precision to show in its outputs."""

Inputs = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Made:
    """An operator made ready."""

    cell: Any
    inputs: Inputs
    """the first is another one at every call"""
    truth: Callable[..., Truth]
    """what it returns for its inputs"""
    by_winograd: Callable[..., Truth] | None = None
    """the same where Winograd's products computed it, which round more"""
    whole: bool = False
    """whether the output is made of all images; else its last image, made of the last one, is held against the truth"""


class Repeated(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """`part` on each of several groups of inputs, one after the other; the tuple of outputs."""

    def __init__(self, part: Any, arguments: int) -> None:
        super().__init__()
        self.part = part
        self.arguments = arguments

    def construct(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = ()
        for i in range(0, len(inputs), self.arguments):
            first = inputs[i]
            if i > 0:
                first = ops.depend(first, outputs[-1])  # else a graph may run two at once
            outputs = (*outputs, self.part(first, *inputs[i + 1 : i + self.arguments]))
        return outputs


class InputGradient(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The gradient of Σ dy·part(x) with respect to x."""

    def __init__(self, part: nn.Cell) -> None:
        super().__init__()
        self.part = part
        self.pull_back = ops.GradOperation(sens_param=True)

    def construct(self, dy: Tensor, x: Tensor) -> Tensor:
        return self.pull_back(self.part)(x, dy)


class WeightGradient(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The gradient of Σ dy·part(x) with respect to the part's weight."""

    def __init__(self, part: nn.Cell) -> None:
        super().__init__()
        self.part = part
        self.weights = ParameterTuple([part.weight])
        self.pull_back = ops.GradOperation(get_by_list=True, sens_param=True)

    def construct(self, x: Tensor, dy: Tensor) -> Tensor:
        return self.pull_back(self.part, self.weights)(x, dy)[0]


def _silu(x: Tensor) -> Tensor:
    return ops.silu(x)


def _add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def _concat(x: Tensor, y: Tensor) -> Tensor:
    return ops.concat((x, y), axis=1)


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    return ops.matmul(a, b)


def _drawn(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return random.standard_normal(shape).astype(np.float32)


def _weighted(cell: nn.Cell, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a layer's weight and bias, outputs of about unit size; copies of both."""
    terms = int(np.prod(cell.weight.shape[1:]))
    weight, bias = _drawn(random, *cell.weight.shape) / np.float32(terms**0.5), _drawn(random, cell.weight.shape[0])
    cell.weight.set_data(Tensor(weight))
    cell.bias.set_data(Tensor(bias))
    return weight, bias


def conv(o: Operator, random: np.random.Generator) -> Made:
    """A convolution: forward, or one of its gradients."""
    cell = unet_blocks.conv(o.in_channels, o.out_channels, o.kernel, stride=o.stride)
    weight, bias = _weighted(cell, random)
    side = o.size * o.stride
    x, dy = _drawn(random, o.batch, o.in_channels, side, side), _drawn(random, o.batch, o.out_channels, o.size, o.size)
    if o.direction == "input_gradient":

        def input_gradient(dy: NDArray[Any], _: NDArray[Any]) -> Truth:
            return operator_truth.conv_input_gradient(dy, weight, side, o.stride)

        return Made(
            InputGradient(cell), (dy, x), input_gradient, lambda dy, _: winograd_truth.conv_input_gradient(dy, weight)
        )
    if o.direction == "weight_gradient":

        def weight_gradient(x: NDArray[Any], dy: NDArray[Any]) -> Truth:
            return operator_truth.conv_weight_gradient(x, dy, o.kernel, o.stride)

        return Made(WeightGradient(cell), (x, dy), weight_gradient, winograd_truth.conv_weight_gradient, whole=True)
    return Made(
        cell,
        (x,),
        lambda x: operator_truth.conv(x, weight, bias, o.stride),
        lambda x: winograd_truth.conv(x, weight, bias),
    )


def dense(o: Operator, random: np.random.Generator) -> Made:
    """A fully connected layer."""
    cell = unet_blocks.dense(o.in_channels, o.out_channels)
    weight, bias = _weighted(cell, random)
    return Made(cell, (_drawn(random, o.batch, o.in_channels),), lambda x: operator_truth.dense(x, weight, bias))


def group_norm(o: Operator, random: np.random.Generator) -> Made:
    """Group normalisation, its weights as they begin: 1 and 0."""
    cell = unet_blocks.norm(o.groups, o.in_channels)
    return Made(cell, (_images(o, random),), lambda x: operator_truth.group_norm(x, o.groups, GROUP_NORM_EPS))


def attention(o: Operator, random: np.random.Generator) -> Made:
    """Self-attention with all that belongs to it."""
    cell = unet_blocks.Attention(o.in_channels, o.heads, o.groups)
    layers = {name: _weighted(getattr(cell, name), random) for name in ("q", "k", "v", "out")}
    scaled = layers["q"][0] * np.float32(SHARPNESS)
    cell.q.weight.set_data(Tensor(scaled))
    layers["q"] = (scaled, layers["q"][1])
    return Made(
        cell,
        (_images(o, random),),
        lambda x: operator_truth.attention(x, layers, heads=o.heads, groups=o.groups, eps=GROUP_NORM_EPS),
    )


def upsample(o: Operator, random: np.random.Generator) -> Made:
    """Pixels repeated and a 3×3 convolution."""
    cell = unet_blocks.make_upsample("nearest", o.in_channels)
    weight, bias = _weighted(cell.conv, random)
    x = _drawn(random, o.batch, o.in_channels, o.size // 2, o.size // 2)
    return Made(cell, (x,), lambda x: operator_truth.conv(operator_truth.repeated(x), weight, bias, 1))


def silu(o: Operator, random: np.random.Generator) -> Made:
    """The network's nonlinearity, of images or of vectors."""
    return Made(_silu, (_images(o, random),), operator_truth.silu)


def add(o: Operator, random: np.random.Generator) -> Made:
    """A block's last step."""
    return Made(_add, (_images(o, random), _images(o, random)), operator_truth.add)


def add_time(o: Operator, random: np.random.Generator) -> Made:
    """The time step's share, the same at every pixel."""
    share = _drawn(random, o.batch, o.in_channels)
    return Made(
        unet_blocks.AddToChannels(),
        (_images(o, random), share),
        lambda x, value: operator_truth.add(x, value[:, :, np.newaxis, np.newaxis]),
    )


def concat(o: Operator, random: np.random.Generator) -> Made:
    """Channels beside channels, on the way up: halves, since where the seam is makes no difference."""
    x, y = np.split(_images(o, random), [o.out_channels // 2], axis=1)
    return Made(_concat, (x, y), operator_truth.concat)


def product(o: Operator, random: np.random.Generator) -> Made:
    """(O, 9C) times (9C, pixels of the batch): what a 3×3 convolution amounts to."""
    a, b = _drawn(random, o.out_channels, o.in_channels), _drawn(random, o.in_channels, o.pixels)
    return Made(_matmul, (a, b), operator_truth.matmul, whole=True)


def _images(o: Operator, random: np.random.Generator) -> NDArray[np.float32]:
    return _drawn(random, o.batch, o.in_channels, o.size, o.size)


MAKERS: dict[str, Callable[[Operator, np.random.Generator], Made]] = {
    "conv3x3": conv, "conv1x1": conv, "downsample": conv, "dense": dense, "group_norm": group_norm, "silu": silu,
    "attention": attention, "upsample": upsample, "add": add, "add_time": add_time, "concat": concat,
    "matmul": product,
}  # fmt: skip


def operator(case: Case, machine: MindSpore, _: gates.Reference) -> Workload:
    """Several runs of one operator; of the last one, images are held against its truth in float64."""
    o = Operator.of(case.params)
    made = MAKERS[o.kind](o, np.random.default_rng(SEED))
    part = made.cell if not isinstance(made.cell, nn.Cell) else machine.chosen(made.cell)
    truth = made.by_winograd if made.by_winograd and _by_winograd(part, o) else made.truth

    def inputs(call: int, run: int) -> Inputs:
        return (_another(made.inputs[0], call * o.repeats + run), *made.inputs[1:])

    def prepare(call: int) -> tuple[Tensor, ...]:
        return tuple(Tensor(x) for run in range(o.repeats) for x in inputs(call, run))

    def gate(kept: Kept) -> dict[str, Any]:
        found = [_held(truth, inputs(call, o.repeats - 1), output, whole=made.whole) for call, output in kept]
        return max(found, key=lambda evidence: evidence["error"])

    return Workload(
        call=machine.compiled(Repeated(part, len(made.inputs))),
        prepare=prepare,
        fetch=lambda outputs: outputs[-1].asnumpy(),
        gate=gate,
        flops=o.repeats * o.flops or None,
        placement=_placement(made.cell, machine),
    )


def _another(x: NDArray[np.float32], i: int) -> NDArray[np.float32]:
    """Input number i: the numbers of `x`, moved round within each image, since a normalisation undoes a mere factor."""
    rows = np.asarray(nth(x, i)).reshape(len(x), -1)
    return np.roll(rows, i, axis=1).reshape(x.shape)


def _by_winograd(part: nn.Cell, o: Operator) -> bool:
    """Whether the convolution in `part` goes that way at the operator's shape."""
    convolutions = [cell for _, cell in part.cells_and_names() if isinstance(cell, WinogradConvolution)]
    return any(o.size % M == 0 and o.batch * (o.size // M) ** 2 >= cell.fewest_tiles for cell in convolutions)


def _held(truth: Callable[..., Truth], inputs: Inputs, output: NDArray[Any], *, whole: bool) -> dict[str, float]:
    """The evidence of a call whose last run got `inputs` and gave `output`; of all images, or of the last."""
    part = slice(None) if whole else slice(-1, None)
    held = truth(*(inputs if whole else (x[part] for x in inputs)))
    shape = held.expected.shape if whole else (len(inputs[0]), *held.expected.shape[1:])
    if output.shape != shape:
        raise gates.Invalid(f"the output has shape {output.shape} and should have {shape}")
    return operator_truth.compare(output[part], held)


def _placement(cell: Any, machine: MindSpore) -> dict[str, str]:
    """Of the parameters; what has none is where the machine is, as its outputs' gate says."""
    if isinstance(cell, nn.Cell) and list(cell.get_parameters()):
        return placement(cell)
    return {"device": machine.device, "dtype": str(mindspore.float32)}


def test_operators(case: Case, clock: Callable[[Case], None]) -> None:
    """Each case of this module, timed and held against its reference."""
    clock(case)
