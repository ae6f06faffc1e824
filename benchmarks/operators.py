"""The parts of a U-Net's forward pass, and the cases that time each of them by itself. Imports without MindSpore.

A net is a list of parts, `parts`: each a path in the network and an `Operator`, a kind of part at one shape. Many paths
have the same operator, so few cases explain the whole net: the seconds of an operator are those of each of its paths
(`breakdown.py`). What is between the parts, embedding sines and launching, is not in them.

| Kind | What | Directions |
|---|---|---|
| `conv3x3`, `conv1x1`, `downsample` | convolution with bias, the last with stride 2 | forward, both gradients |
| `dense` | fully connected layer with bias | forward |
| `group_norm`, `silu`, `add`, `add_time`, `concat` | what only moves bytes | forward |
| `attention` | normalisation, q, k, v, softmax, mixing, output, shortcut | forward |
| `upsample` | pixels repeated, then a 3×3 convolution | forward |
| `matmul` | the matrix product that a 3×3 convolution amounts to | forward |
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from benchmarks import layers
from benchmarks.cases import Case
from benchmarks.work import FLOAT_BYTES, Layer

CALL_SECONDS = 4e-3
"""What one timed call is to take, by estimate: much longer than launching it, a tenth of a millisecond."""

EXPECTED_RATE, EXPECTED_BANDWIDTH = 50e9, 5e9
"""FLOP/s and bytes/s of that estimate. Constants, so that every machine times the same work."""

MOST_REPEATS = 16

ROUNDS = 12
"""Timed calls in a process that takes turns with nobody."""

CONVOLUTIONS = ("conv3x3", "conv1x1", "downsample")
GRADIENTS = ("input_gradient", "weight_gradient")


@dataclass(frozen=True)
class Operator:
    """One kind of part at one shape."""

    kind: str
    batch: int
    in_channels: int
    out_channels: int
    size: int
    """height and width of the output; 1 for vectors"""
    kernel: int
    """height and width of the convolution's kernel; 1 where there is none"""
    groups: int
    """of the normalisation, if there is one"""
    heads: int
    """of the self-attention, if there is one"""
    flops: int
    """of a run, a multiply–add being two; 0 for what only moves bytes (`work.py`)"""
    bytes: int
    """of a run: fewer cannot be moved (`work.py`)"""
    direction: str = "forward"

    @property
    def stride(self) -> int:
        """Of the convolution."""
        return 2 if self.kind == "downsample" else 1

    @property
    def pixels(self) -> int:
        """Of the outputs of the whole batch."""
        return self.batch * self.size**2

    @property
    def repeats(self) -> int:
        """How often a call runs it, so that it takes about `CALL_SECONDS`."""
        estimate = self.flops / EXPECTED_RATE + self.bytes / EXPECTED_BANDWIDTH
        return max(1, min(MOST_REPEATS, round(CALL_SECONDS / estimate)))

    def id(self, net: str) -> str:
        """Of the case that times it for the network called `net`."""
        name = self.kind if self.direction == "forward" else f"{self.kind}.{self.direction}"
        return f"{name}[{net},b{self.batch},{self.in_channels}-{self.out_channels}@{self.size}]"

    def case(self, net: str) -> Case:
        """The case that times it for the network called `net`, such as "digits"."""
        return Case(
            id=self.id(net),
            params={"preset": net, **vars(self), "repeats": self.repeats},
            make="benchmarks.test_operators:operator",
            work=self.repeats,
            unit="calls",
            rounds=ROUNDS,
            small=True,
        )

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Operator:
        """The operator of a case with these `params`."""
        return cls(**{field.name: params[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Net:
    """What decides the parts of a network (`layers.NetworkShape`)."""

    image_size: int
    in_channels: int
    base_channels: int
    channel_mult: tuple[int, ...]
    blocks_per_level: int
    attention_at: tuple[int, ...]
    groups: int
    num_heads: int = 1
    time_embedding: str = "sinusoidal"
    downsample: str = "conv"
    upsample: str = "nearest"
    num_timesteps: int = 1000


NETS = {
    "cifar10": Net(32, 3, 128, (1, 2, 2, 2), 2, (16,), 32),
    "digits": Net(8, 1, 32, (1, 2), 1, (4,), 8),
}
"""The networks that are timed, as the presets of `ddpm_bench` have them: a test holds both together."""

Part = tuple[str, Operator]
"""A path in the network, and what stands there."""


def parts(net: Net, batch: int) -> tuple[Part, ...]:
    """Every part of a forward pass over `batch` images, in the order in which it runs."""
    groups = itertools.groupby(layers.walk(net), key=_path)
    return tuple((path, _operator(path, list(group), net, batch)) for path, group in groups if path is not None)


def _path(layer: Layer) -> str | None:
    """The part that a `layer` belongs to: itself, or a whole self-attention or upsampling; None for the sines of t."""
    if layer.kind == "embedding":
        return None
    whole = re.match(r"middle\.attention|up\.\d+\.upsample|(down|up)\.\d+\.attentions\.\d+", layer.name)
    return whole[0] if whole else layer.name


def _operator(path: str, group: Sequence[Layer], net: Net, batch: int) -> Operator:
    last = group[-1]
    work = [layer.work("forward", batch) for layer in group]
    return Operator(
        kind=_kind(path, last),
        batch=batch,
        in_channels=group[0].in_channels,
        out_channels=last.out_channels,
        size=last.size,
        kernel=last.kernel,
        groups=net.groups,
        heads=net.num_heads,
        flops=sum(each.flops for each in work),
        bytes=sum(each.bytes for each in work),
    )


def _kind(path: str, last: Layer) -> str:
    if "attention" in path:
        return "attention"
    if path.endswith("upsample"):
        return "upsample"
    return "add_time" if path.endswith("add_time") else last.kind


def cases(name: str, batch: int) -> tuple[Case, ...]:
    """The cases of the network called `name`: its parts, each shape once, and what belongs to its convolutions.

    These are their gradients, and the matrix products they amount to.
    """
    distinct = list(dict.fromkeys(operator for _, operator in parts(NETS[name], batch)))
    convolutions = [operator for operator in distinct if operator.kind in CONVOLUTIONS]
    gradients = [replace(operator, direction=direction) for operator in convolutions for direction in GRADIENTS]
    products = [_product(operator) for operator in convolutions if operator.kind == "conv3x3"]
    return tuple(operator.case(name) for operator in (*distinct, *gradients, *products))


def _product(convolution: Operator) -> Operator:
    """(O, 9C) times (9C, pixels of the batch)."""
    rows, terms, columns = convolution.out_channels, 9 * convolution.in_channels, convolution.pixels
    moved = FLOAT_BYTES * (rows * terms + terms * columns + rows * columns)
    return replace(convolution, kind="matmul", in_channels=terms, kernel=1, bytes=moved)


OPERATORS: tuple[Case, ...] = (*cases("cifar10", 4), *cases("digits", 64))
"""Every case of single operators."""
