"""Networks wrong in one way each: `ReferenceNetwork` with one method of its forward pass, or its gradient, replaced.

A check that none of them trips has not been seen to work. Each mutant names the check that must notice it; the number
of parameters is right in all but those that NET-10 is for.
"""

# ruff: noqa: ARG002 - a wrong method ignores what the right one reads
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verification.reference_network import Pass, ReferenceNetwork, half
from verification.reverse_mode import Array, Value


class _UnusedTime(Pass):
    def add_time(self, h: Value, emb: Value, name: str) -> Value:
        return h


class _NoSkips(Pass):
    def join(self, h: Value, skip: Value) -> Value:
        return self.tape.concatenate((h, Value(np.zeros_like(skip.array))))


class _WrongLevelSkips(Pass):
    def up(self, h: Value, emb: Value, kept: list[Value]) -> Value:
        wrong = [kept[i - 1] if _alike(kept[i - 1], kept[i]) else kept[i] for i in range(len(kept))]
        return super().up(h, emb, wrong)


def _alike(a: Value, b: Value) -> bool:
    return a.array.shape == b.array.shape


class _SwappedSkips(Pass):
    def up(self, h: Value, emb: Value, kept: list[Value]) -> Value:
        return super().up(h, emb, [kept[1], kept[0], *kept[2:]])


class _BatchNorm(Pass):
    def norm(self, x: Value, name: str) -> Value:
        values = x.array.reshape(len(x.array), self.architecture.groups, -1)
        mean, variance = values.mean(axis=(0, 2), keepdims=True), values.var(axis=(0, 2), keepdims=True)
        normed = Value(((values - mean) / np.sqrt(variance + self.norm_eps)).reshape(x.array.shape))
        gamma, beta = (self.parameters[f"{name}.{part}"].array[:, None, None] for part in ("gamma", "beta"))
        return Value(normed.array * gamma + beta)


class _LayerNorm(Pass):
    def norm(self, x: Value, name: str) -> Value:
        gamma, beta = self.parameters[f"{name}.gamma"], self.parameters[f"{name}.beta"]
        return self.tape.group_norm(x, gamma, beta, groups=1, eps=self.norm_eps)


class _InterleavedGroups(Pass):
    def norm(self, x: Value, name: str) -> Value:
        groups, (n, channels) = self.architecture.groups, x.array.shape[:2]
        values = x.array.reshape(n, channels // groups, groups, -1)  # channel c belongs to group c modulo groups
        mean, variance = values.mean(axis=(1, 3), keepdims=True), values.var(axis=(1, 3), keepdims=True)
        normed = ((values - mean) / np.sqrt(variance + self.norm_eps)).reshape(x.array.shape)
        gamma, beta = (self.parameters[f"{name}.{part}"].array[:, None, None] for part in ("gamma", "beta"))
        return Value(normed * gamma + beta)


class _TurnedAttention(Pass):
    def attention(self, x: Value, name: str) -> Value:
        mixed = super().attention(x, name).array - x.array
        return Value(x.array + mixed.transpose(0, 1, 3, 2))


class _ShiftedColumns(Pass):
    def upsample(self, h: Value, name: str) -> Value:
        return Value(np.roll(super().upsample(h, name).array, 1, axis=3))


class _LargeEps(Pass):
    norm_eps = 1e-5


class _NoScale(Pass):
    def attention_scale(self, channels: int, heads: int) -> float:
        return 1.0


class _ChannelScale(Pass):
    def attention_scale(self, channels: int, heads: int) -> float:
        return float(channels**-0.5)


class _OneHead(Pass):
    def heads(self, channels: int) -> int:
        return 1


class _QueryForKey(Pass):
    def attend(self, q: Value, k: Value, v: Value, scale: float) -> Value:
        return self.tape.attend(k, q, v, scale=scale)


class _NoAttentionResidual(Pass):
    def attention(self, x: Value, name: str) -> Value:
        return Value(super().attention(x, name).array - x.array)


class _CosineFirst(Pass):
    def sinusoids(self, phases: Array) -> Array:
        return np.concatenate((np.cos(phases), np.sin(phases)), axis=1)


class _HalfDivisor(Pass):
    def frequencies(self) -> Array:
        half = self.architecture.base_channels // 2
        return np.asarray(10_000.0 ** (-np.arange(half) / half))


class _Interleaved(Pass):
    def sinusoids(self, phases: Array) -> Array:
        return np.asarray(np.stack((np.sin(phases), np.cos(phases)), axis=2).reshape(len(phases), -1))


class _LateTime(Pass):
    def time(self, t: Array) -> Value:
        return super().time(t + 1)


class _SymmetricPadding(Pass):
    def downsample(self, x: Value, name: str) -> Value:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return self.tape.convolution(x, weight, bias, stride=2, before=1, size=half(x))


class _WrapAround(Pass):
    def convolution(self, x: Value, name: str) -> Value:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        before, size = weight.array.shape[-1] // 2, x.array.shape[2:]
        edge = (before, before)
        wrapped = Value(np.pad(x.array, ((0, 0), (0, 0), edge, edge), mode="wrap"))
        return self.tape.convolution(wrapped, weight, bias, stride=1, before=0, size=size)


class _Relu(Pass):
    def activate(self, x: Value) -> Value:
        return Value(np.maximum(x.array, 0.0))


class _NoTimeActivation(Pass):
    def add_time(self, h: Value, emb: Value, name: str) -> Value:
        shift = self.dense(emb, name)
        return self.tape.add(h, self.tape.reshape(shift, (*shift.array.shape, 1, 1)))


class _ZeroFilled(Pass):
    def upsample(self, x: Value, name: str) -> Value:
        sparse = np.kron(x.array, np.array([[1.0, 0.0], [0.0, 0.0]]))
        return self.convolution(Value(sparse), name)


class _TwiceUp(Pass):
    def upsample(self, x: Value, name: str) -> Value:
        return super().upsample(self.tape.nearest(x), name)


class _StrideOne(Pass):
    def downsample(self, x: Value, name: str) -> Value:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return self.tape.convolution(x, weight, bias, stride=1, before=0, size=x.array.shape[2:])


class _DeadBlock(Pass):
    def block(self, x: Value, emb: Value, name: str) -> Value:
        return x if name == "middle.block_2" else super().block(x, emb, name)


class _ScaledResidual(Pass):
    def block(self, x: Value, emb: Value, name: str) -> Value:
        out = super().block(x, emb, name)
        out.array = out.array / np.sqrt(2.0)
        return out


class _TwoWrongs(_LargeEps, _SymmetricPadding):
    """PyTorch's defaults."""


class _DoubledGradient(ReferenceNetwork):
    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        return {name: 2.0 * value for name, value in super().gradient(x, t, target).items()}


class _SummedGradient(ReferenceNetwork):
    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        return {name: target.size * value for name, value in super().gradient(x, t, target).items()}


class _OneStaleGradient(ReferenceNetwork):
    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        right = super().gradient(x, t, target)
        name = "middle.attention.norm.beta"
        return {**right, name: 0.99 * right[name]}


class _DetachedGradient(ReferenceNetwork):
    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        right = super().gradient(x, t, target)
        return {name: np.zeros_like(value) if "time_proj" in name else value for name, value in right.items()}


class _MissingBias(ReferenceNetwork):
    def weights(self) -> dict[str, Array]:
        return {name: value for name, value in super().weights().items() if name != "conv_in.bias"}


class _WiderKernel(ReferenceNetwork):
    def weights(self) -> dict[str, Array]:
        right = super().weights()
        return {**right, "conv_in.weight": np.pad(right["conv_in.weight"], ((0, 0), (0, 0), (1, 1), (1, 1)))}


class _RandomStart(ReferenceNetwork):
    def initial_weights(self) -> dict[str, Array]:
        return self.weights()


class _DeadStart(ReferenceNetwork):
    def initial_weights(self) -> dict[str, Array]:
        return {name: np.zeros_like(value) for name, value in super().initial_weights().items()}


class _BatchMemory(ReferenceNetwork):
    def __call__(self, x: Array, t: Array) -> Array:
        right = super().__call__(x, t)
        return np.asarray(right + 1e-3 * right.mean(axis=0, keepdims=True))

    forward = __call__


@dataclass(frozen=True)
class NetworkMutant:
    """`network` is wrong as `sentence` says; the check `killed_by` must notice. `id` is for `Check.kills`."""

    id: str
    sentence: str
    killed_by: str
    network: type[ReferenceNetwork]

    def make(self, config: Mapping[str, Any] | None = None, *, dtype: str = "float64") -> ReferenceNetwork:
        """The wrong network, for a configuration (by default the reference's own)."""
        return self.network(config, dtype=dtype)


def _wrong_pass(wrong: type[Pass]) -> type[ReferenceNetwork]:
    return type(f"{wrong.__name__}Network", (ReferenceNetwork,), {"passes": wrong})


NETWORK_MUTANTS: tuple[NetworkMutant, ...] = (
    NetworkMutant("M02", "down once, up twice", "NET-1", _wrong_pass(_TwiceUp)),
    NetworkMutant("M03", "the time embedding is not used", "NET-2", _wrong_pass(_UnusedTime)),
    NetworkMutant("M07", "downsampling with stride 1", "NET-1", _wrong_pass(_StrideOne)),
    NetworkMutant("M64", "a skip is used twice, its neighbour not at all", "NET-4", _wrong_pass(_WrongLevelSkips)),
    NetworkMutant("M66", "attention is not scaled", "NET-7", _wrong_pass(_NoScale)),
    NetworkMutant("M68", "normalisation over the batch", "NET-5", _wrong_pass(_BatchNorm)),
    NetworkMutant("N01", "the skip connections carry zeros", "NET-4", _wrong_pass(_NoSkips)),
    NetworkMutant("N02", "two skips of equal shape are swapped", "NET-4", _wrong_pass(_SwappedSkips)),
    NetworkMutant("N03", "queries and keys are swapped", "NET-7", _wrong_pass(_QueryForKey)),
    NetworkMutant("N04", "attention without its residual", "NET-7", _wrong_pass(_NoAttentionResidual)),
    NetworkMutant("N05", "the embedding has cosines first", "NET-11.sine_first", _wrong_pass(_CosineFirst)),
    NetworkMutant("N06", "frequencies divide by half, not half - 1", "NET-11.divisor", _wrong_pass(_HalfDivisor)),
    NetworkMutant("N07", "the embedding alternates sine and cosine", "NET-9", _wrong_pass(_Interleaved)),
    NetworkMutant("N08", "the network is told t + 1", "NET-9", _wrong_pass(_LateTime)),
    NetworkMutant("N09", "stride-2 convolutions pad on all sides", "NET-11.padding", _wrong_pass(_SymmetricPadding)),
    NetworkMutant("N10", "3x3 convolutions wrap around", "NET-11.padding", _wrong_pass(_WrapAround)),
    NetworkMutant("N11", "GroupNorm's epsilon is 1e-5", "NET-11.norm_eps", _wrong_pass(_LargeEps)),
    NetworkMutant("N12", "one head instead of two", "NET-11.head_scale", _wrong_pass(_OneHead)),
    NetworkMutant("N13", "two heads are scaled as one", "NET-11.head_scale", _wrong_pass(_ChannelScale)),
    NetworkMutant("N14", "ReLU for SiLU", "NET-8", _wrong_pass(_Relu)),
    NetworkMutant("N15", "no SiLU before the time projections", "NET-8", _wrong_pass(_NoTimeActivation)),
    NetworkMutant("N16", "one group for all channels", "NET-8", _wrong_pass(_LayerNorm)),
    NetworkMutant("N17", "upsampling fills in zeros", "NET-8", _wrong_pass(_ZeroFilled)),
    NetworkMutant("N18", "each block's sum is divided by sqrt(2)", "NET-8", _wrong_pass(_ScaledResidual)),
    NetworkMutant("N19", "a block is skipped", "NET-3", _wrong_pass(_DeadBlock)),
    NetworkMutant("N20", "epsilon 1e-5 and symmetric padding at once", "NET-11.norm_eps", _wrong_pass(_TwoWrongs)),
    NetworkMutant("N21", "the output leaks a little of the batch's mean", "NET-5", _BatchMemory),
    NetworkMutant("N22", "the gradient is doubled", "GRD-2", _DoubledGradient),
    NetworkMutant("N23", "the gradient is of the sum, not the mean", "GRD-2", _SummedGradient),
    NetworkMutant("N24", "one parameter's gradient is 1 % short", "GRD-2", _OneStaleGradient),
    NetworkMutant("N25", "the time projections are detached", "NET-2.gradient", _DetachedGradient),
    NetworkMutant("N26", "a bias is missing from the weights", "NET-10", _MissingBias),
    NetworkMutant("N27", "a kernel is 5x5", "NET-10", _WiderKernel),
    NetworkMutant("N28", "training starts from random last layers", "NET-11.zero_init", _RandomStart),
    NetworkMutant("N29", "training starts from zeros throughout", "NET-11.zero_init", _DeadStart),
    NetworkMutant("N30", "GroupNorm's groups are interleaved", "NET-6", _wrong_pass(_InterleavedGroups)),
    NetworkMutant("N31", "attention's pixels come back column by column", "NET-6", _wrong_pass(_TurnedAttention)),
    NetworkMutant("N32", "upsampling is one column too far right", "NET-6", _wrong_pass(_ShiftedColumns)),
)
"""Every network mutant, by its number in the catalogue of checks or by one of its own."""
