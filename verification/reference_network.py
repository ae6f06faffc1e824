"""A small, correct U-Net in float64 NumPy, with the gradient of every parameter: the network of `ReferenceSubject`.

Ho et al. 2020, appendix B, in the layout of `network_layout`: what a subject of any framework must do. It is written
apart from `oracle_network` (convolutions tap by tap instead of window views, float64 sinusoids instead of 50 digits,
derivatives by `reverse_mode` instead of differences), so that each can be held against the other.

`Pass` is the network's text: whatever is worth getting wrong on purpose is a method of its own, and a wrong network is
a `ReferenceNetwork` whose `passes` is a subclass with that method replaced.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verification.network_layout import Architecture, parameter_shapes
from verification.reverse_mode import Array, Tape, Value

SMALL: Mapping[str, Any] = {
    "image_size": 8,
    "in_channels": 3,
    "base_channels": 16,
    "channel_mult": (1, 2),
    "blocks_per_level": 1,
    "attention_at": (4,),
    "num_heads": 2,
    "groups": 4,
    "dropout": 0.0,
    "time_embedding": "sinusoidal",
    "downsample": "conv",
    "upsample": "nearest",
    "num_timesteps": 1000,
}
"""Milliseconds a call, and yet every feature that can be got wrong: two heads, groups of several channels."""

ZERO_AT_FIRST = (".conv_2.weight", ".out.weight", "conv_out.weight")
"""The last layer of each block, each attention and the network, which the paper starts at zero."""


@dataclass(frozen=True)
class Pass:
    """One forward pass over `parameters`, recorded on `tape`. Images are (B, C, H, W), the time embedding (B, E)."""

    architecture: Architecture
    tape: Tape
    parameters: Mapping[str, Value]

    norm_eps = 1e-6

    def run(self, x: Value, t: Array) -> Value:
        """eps_hat for images `x` and time steps `t` (B,)."""
        emb = self.time(t)
        h = self.convolution(x, "conv_in")
        h, kept = self.down(h, emb)
        h = self.block(h, emb, "middle.block_1")
        h = self.attention(h, "middle.attention")
        h = self.block(h, emb, "middle.block_2")
        h = self.up(h, emb, kept)
        return self.convolution(self.activate(self.norm(h, "norm_out")), "conv_out")

    def down(self, h: Value, emb: Value) -> tuple[Value, list[Value]]:
        """The way down; also returns every activation on it, in the order made."""
        kept = [h]
        for level in range(self.architecture.levels):
            for i in range(self.architecture.blocks_per_level):
                h = self.stage(h, emb, level, f"down.{level}", i)
                kept.append(h)
            if level < self.architecture.levels - 1:
                h = self.downsample(h, f"down.{level}.downsample.conv")
                kept.append(h)
        return h, kept

    def up(self, h: Value, emb: Value, kept: list[Value]) -> Value:
        """The way up; every block takes the youngest activation that is left."""
        for level in reversed(range(self.architecture.levels)):
            for i in range(self.architecture.blocks_per_level + 1):
                h = self.stage(self.join(h, kept.pop()), emb, level, f"up.{level}", i)
            if level > 0:
                h = self.upsample(h, f"up.{level}.upsample.conv")
        return h

    def join(self, h: Value, skip: Value) -> Value:
        """What a block on the way up reads: `h` before the skip, along the channels."""
        return self.tape.concatenate((h, skip))

    def stage(self, h: Value, emb: Value, level: int, name: str, i: int) -> Value:
        """A block, and attention after it where the level has it."""
        h = self.block(h, emb, f"{name}.blocks.{i}")
        return self.attention(h, f"{name}.attentions.{i}") if self.architecture.attends(level) else h

    def block(self, x: Value, emb: Value, name: str) -> Value:
        """Norm, SiLU, convolution twice, with time between, added to x (by a 1x1 convolution where channels differ)."""
        h = self.convolution(self.activate(self.norm(x, f"{name}.norm_1")), f"{name}.conv_1")
        h = self.add_time(h, emb, f"{name}.time_proj")
        h = self.convolution(self.activate(self.norm(h, f"{name}.norm_2")), f"{name}.conv_2")
        shortcut = f"{name}.shortcut"
        return self.tape.add(self.convolution(x, shortcut) if f"{shortcut}.weight" in self.parameters else x, h)

    def add_time(self, h: Value, emb: Value, name: str) -> Value:
        """`h` plus the projection of silu(embedding), one number a channel."""
        shift = self.dense(self.activate(emb), name)
        return self.tape.add(h, self.tape.reshape(shift, (*shift.array.shape, 1, 1)))

    def attention(self, x: Value, name: str) -> Value:
        """Self-attention over all pixels, added to x; each head on its own share of the channels."""
        n, channels, height, width = x.array.shape
        heads = self.heads(channels)
        h = self.norm(x, f"{name}.norm")
        each = (n, heads, channels // heads, height * width)
        q, k, v = (self.tape.reshape(self.convolution(h, f"{name}.{part}"), each) for part in "qkv")
        mixed = self.attend(q, k, v, self.attention_scale(channels, heads))
        return self.tape.add(x, self.convolution(self.tape.reshape(mixed, x.array.shape), f"{name}.out"))

    def heads(self, channels: int) -> int:  # noqa: ARG002 - a wrong network may count its heads by the channels
        """How many heads attention has at this width."""
        return self.architecture.num_heads

    def attention_scale(self, channels: int, heads: int) -> float:
        """1 / sqrt(d), d the channels of one head (Vaswani et al. 2017, Eq. 1)."""
        return float((channels / heads) ** -0.5)

    def attend(self, q: Value, k: Value, v: Value, scale: float) -> Value:
        """Softmax over the keys, for each query."""
        return self.tape.attend(q, k, v, scale=scale)

    def time(self, t: Array) -> Value:
        """Two dense layers with a SiLU between, over the embedding of t."""
        if self.architecture.time_embedding == "learned":
            h = self.tape.lookup(self.parameters["time_embedding.table.embedding_table"], t)
        else:
            phases = np.asarray(t, np.float64)[:, None] * self.frequencies()
            h = self.tape.constant(self.sinusoids(phases), self.sinusoid_errors(phases))
        return self.dense(self.activate(self.dense(h, "time_embedding.dense_1")), "time_embedding.dense_2")

    def sinusoids(self, phases: Array) -> Array:
        """The sine of every phase t f, then the cosines: (B, base_channels) from (B, base_channels / 2)."""
        return np.concatenate((np.sin(phases), np.cos(phases)), axis=1)

    def sinusoid_errors(self, phases: Array) -> Array:
        """What rounding may do to `sinusoids`, in roundoffs: a phase is a product with exp(log f), itself rounded."""
        errors = 1.0 + np.abs(phases) * (2.0 - 3.0 * np.log(self.frequencies()))
        return np.concatenate((errors, errors), axis=1)

    def frequencies(self) -> Array:
        """From 1 down to 1/10000 in equal ratios, both ends included."""
        return np.geomspace(1.0, 1e-4, self.architecture.base_channels // 2)

    def activate(self, x: Value) -> Value:
        """SiLU."""
        return self.tape.silu(x)

    def norm(self, x: Value, name: str) -> Value:
        """GroupNorm."""
        gamma, beta = self.parameters[f"{name}.gamma"], self.parameters[f"{name}.beta"]
        return self.tape.group_norm(x, gamma, beta, groups=self.architecture.groups, eps=self.norm_eps)

    def dense(self, x: Value, name: str) -> Value:
        """A fully connected layer."""
        return self.tape.dense(x, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"])

    def convolution(self, x: Value, name: str) -> Value:
        """A convolution that keeps the size: 3x3 with a border of zeros, or 1x1."""
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        before = weight.array.shape[-1] // 2
        return self.tape.convolution(x, weight, bias, stride=1, before=before, size=x.array.shape[2:])

    def downsample(self, x: Value, name: str) -> Value:
        """Half the size: 3x3 with stride 2 and zeros on the right and below only, or the maximum of 2x2."""
        if self.architecture.downsample == "max_pool":
            return self.tape.max_pool(x)
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return self.tape.convolution(x, weight, bias, stride=2, before=0, size=half(x))

    def upsample(self, x: Value, name: str) -> Value:
        """Twice the size: every pixel four times and a 3x3 convolution, or a transposed convolution."""
        if self.architecture.upsample == "nearest":
            return self.convolution(self.tape.nearest(x), name)
        return self.tape.transposed_convolution(x, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"])


class ReferenceNetwork:
    """The network of `config` (the fields of a U-Net's configuration; by default `SMALL`), its weights from `seed`.

    The weights are generic, or those given. All arithmetic is float64; arrays that go out are of `dtype`.
    Raises `ValueError` on an incomplete configuration.
    """

    passes: type[Pass] = Pass

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        *,
        weights: Mapping[str, Array] | None = None,
        dtype: str = "float64",
    ) -> None:
        self.config = dict(SMALL if config is None else config)
        self.dtype = dtype
        given = generic_weights(self.config, seed) if weights is None else weights
        self._weights = {name: np.asarray(value).astype(dtype).astype(np.float64) for name, value in given.items()}

    def __call__(self, x: Array, t: Array) -> Array:
        """eps_hat, (B, C, H, W), for images `x` of that shape and time steps `t` (B,), 0-based."""
        parameters = {name: Value(value) for name, value in self._weights.items()}
        return self._forward(self.tape(), parameters, x, t).array.astype(self.dtype)

    forward = __call__

    def at(self, weights: Mapping[str, Array], x: Array, t: Array) -> Array:
        """eps_hat as it is with other `weights` of the same names and shapes."""
        other = copy.copy(self)
        other._weights = {name: np.asarray(value).astype(self.dtype).astype(float) for name, value in weights.items()}
        return other(x, t)

    def weights(self) -> dict[str, Array]:
        """Every parameter by name."""
        return {name: value.astype(self.dtype) for name, value in self._weights.items()}

    def initial_weights(self) -> dict[str, Array]:
        """What training would start from: biases and `ZERO_AT_FIRST` are 0, normalisations the identity."""
        return {name: _at_first(name, value).astype(self.dtype) for name, value in self._weights.items()}

    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        """Derivative of the mean of (eps_hat - target)^2 over all entries by every parameter; shapes of `weights`."""
        tape = self.tape()
        parameters = {name: Value(value) for name, value in self._weights.items()}
        out = self._forward(tape, parameters, x, t)
        tape.backward(out, 2.0 * (out.array - target) / out.array.size)
        return {name: value.gradient.astype(self.dtype) for name, value in parameters.items()}

    def tape(self) -> Tape:
        """A fresh tape for one pass."""
        return Tape()

    def _forward(self, tape: Tape, parameters: Mapping[str, Value], x: Array, t: Array) -> Value:
        forward = self.passes(Architecture.parse(self.config), tape, parameters)
        return forward.run(Value(np.asarray(x, np.float64)), np.asarray(t))


def half(x: Value) -> tuple[int, ...]:
    """Half the height and the width of an image."""
    return tuple(n // 2 for n in x.array.shape[2:])


def generic_weights(config: Mapping[str, Any], seed: int) -> dict[str, Array]:
    """Weights of a network in which nothing is zero and no path is closed, so that every mistake shows in the output.

    Normal: kernels with variance 1/fan-in, biases and shifts with deviation 0.2, scales around 1; learned rows
    standard. An untrained network, which starts from zeros, would hide half of what there is to check.
    """
    random = np.random.default_rng(seed)
    return {name: _generic(name, shape, random) for name, shape in parameter_shapes(config).items()}


def _generic(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    values = random.standard_normal(shape)
    if name.endswith((".bias", ".beta")):
        return 0.2 * values
    if name.endswith(".gamma"):
        return 1.0 + 0.2 * values
    return values if name.endswith("embedding_table") else values / np.sqrt(np.prod(shape[1:]))


def _at_first(name: str, value: Array) -> Array:
    if name.endswith((".bias", ".beta", *ZERO_AT_FIRST)):
        return np.zeros_like(value)
    return np.ones_like(value) if name.endswith(".gamma") else value
