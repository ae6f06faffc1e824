"""The U-Net's forward pass again, in float64 NumPy from a subject's exported weights; the exact parameter count.

The family is that of Ho et al. 2020, appendix B, in the layout that `parameter_shapes` spells out. A level is a
list of residual blocks (norm, SiLU, convolution, plus the time embedding's projection, norm, SiLU, convolution,
plus the input), with self-attention after each block where the resolution asks for it; every activation on the way
down is kept and concatenated on the way up, last in, first out. Here convolutions are window views times matrices
and the sinusoids come from 50-digit arithmetic: nothing is shared with any framework.

What the shapes leave open (where a stride-2 convolution pads, GroupNorm's epsilon, sine or cosine first, ...) is a
field of `Details`; its defaults are right, and other values are the known wrong networks a disagreeing subject is
compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import erf, expit

from verification.network_layout import Architecture, parameter_count, parameter_shapes
from verification.network_rounding import DRAWS, Array, Exact, MonteCarlo, allowed_error, sum_size

__all__ = [
    "RIGHT",
    "Architecture",
    "Details",
    "parameter_count",
    "parameter_shapes",
    "predict",
    "predict_with_bound",
    "sinusoids",
]

Weights = Mapping[str, NDArray[Any]]
DIGITS = 50  # of the sinusoids: more than any subject's dtype at t = 10^6


@dataclass(frozen=True)
class Details:
    """What the parameter shapes leave open. The defaults are the paper's code; anything else is a known mistake."""

    norm_eps: float = 1e-6
    norm_over: str = "group"  # batch, layer, instance
    norm_unbiased: bool = False
    norm_eps_outside: bool = False  # (x - mean) / (std + eps)
    activation: str = "silu"  # relu, gelu
    border: str = "constant"  # of 3x3 convolutions: a mode of numpy.pad
    stride_padding: str = "right_below"  # symmetric
    pool: str = "max"  # mean
    enlarge: str = "nearest"  # bilinear, zeros
    transposed_flip: bool = False
    time_used: bool = True
    time_projected: bool = True
    time_offset: int = 0
    embedding_order: str = "sine_first"  # cosine_first, interleaved
    frequency_divisor: str = "half-1"  # half
    max_period: float = 10_000.0
    time_silu_between: bool = True
    time_silu_outside: bool = True
    attention_scale: str = "head"  # none, channels, linear
    attention_over: str = "keys"  # queries
    attention_roles: str = "qk"  # kq
    attention_heads: str = "contiguous"  # one, of_8, interleaved
    attention_residual: bool = True
    skips: str = "last_first"  # swapped, older_twice, younger_twice, zero
    concatenation: str = "h_skip"  # skip_h
    residual: float = 1.0
    last_silu: bool = True


RIGHT = Details()


def predict(
    config: Mapping[str, Any],
    weights: Weights,
    x: NDArray[Any],
    t: NDArray[Any],
    *,
    details: Details = RIGHT,
    rounding: Exact | None = None,
) -> Array:
    """eps_hat of the network that `config` and `weights` describe: (B, C, H, W), float64.

    `x`: (B, C, H, W); `t`: (B,), 0-based. Raises `ValueError` if a parameter is missing, unknown or of the wrong shape.
    """
    _require_layout(config, weights)
    exact = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    network = _Network(Architecture.parse(config), exact, details, rounding or Exact())
    return network.forward(np.asarray(x, np.float64), np.asarray(t))


def predict_with_bound(
    config: Mapping[str, Any],
    weights: Weights,
    x: NDArray[Any],
    t: NDArray[Any],
    *,
    dtype: str,
    details: Details = RIGHT,
) -> tuple[Array, Array]:
    """`predict`, and how far from it a right network in `dtype` may be: (B, 1, 1, 1), by `network_rounding`."""
    exact = predict(config, weights, x, t, details=details)
    draws = (MonteCarlo(dtype, seed) for seed in range(DRAWS))
    perturbed = [predict(config, weights, x, t, details=details, rounding=draw) for draw in draws]
    return exact, allowed_error(exact, perturbed)


@dataclass(frozen=True)
class _Network:
    """One forward pass: `weights` in float64, `rounding` applied after every operation that rounds."""

    architecture: Architecture
    weights: Mapping[str, Array]
    details: Details
    rounding: Exact = field(default_factory=Exact)

    def forward(self, x: Array, t: NDArray[Any]) -> Array:
        a = self.architecture
        emb = self._time(t)
        h = self._conv(x, "conv_in")
        kept = [h]
        for level in range(a.levels):
            for i in range(a.blocks_per_level):
                h = self._stage(h, emb, f"down.{level}", i)
                kept.append(h)
            if level < a.levels - 1:
                h = self._downsample(h, f"down.{level}.downsample")
                kept.append(h)
        h = self._block(h, emb, "middle.block_1")
        h = self._attention(h, "middle.attention")
        h = self._block(h, emb, "middle.block_2")
        kept = _mistake_skips(kept, self.details.skips)
        for level in reversed(range(a.levels)):
            for i in range(a.blocks_per_level + 1):
                h = self._stage(self._concatenate(h, kept.pop()), emb, f"up.{level}", i)
            if level > 0:
                h = self._upsample(h, f"up.{level}.upsample")
        h = self._norm(h, "norm_out")
        return self._conv(self._activate(h) if self.details.last_silu else h, "conv_out")

    def _stage(self, h: Array, emb: Array, level: str, i: int) -> Array:
        h = self._block(h, emb, f"{level}.blocks.{i}")
        attended = f"{level}.attentions.{i}"
        return self._attention(h, attended) if f"{attended}.q.weight" in self.weights else h

    def _block(self, x: Array, emb: Array, name: str) -> Array:
        h = self._conv(self._activate(self._norm(x, f"{name}.norm_1")), f"{name}.conv_1")
        if self.details.time_projected:
            h = self._add(h, self._dense(emb, f"{name}.time_proj")[:, :, None, None])
        h = self._conv(self._activate(self._norm(h, f"{name}.norm_2")), f"{name}.conv_2")
        kept = self._conv(x, f"{name}.shortcut") if f"{name}.shortcut.weight" in self.weights else x
        return self._add(kept, h) * self.details.residual

    def _attention(self, x: Array, name: str) -> Array:
        n, channels, height, width = x.shape
        h = self._norm(x, f"{name}.norm")
        q, k, v = (self._heads(self._conv(h, f"{name}.{part}")) for part in (*self.details.attention_roles, "v"))
        scale = self._attention_scale(channels, q.shape[2])
        scores = self._dot(q.swapaxes(2, 3), k * scale)
        scores = scores - scores.max(axis=-1, keepdims=True)
        chances = np.exp(scores)
        chances = chances / chances.sum(axis=-1 if self.details.attention_over == "keys" else -2, keepdims=True)
        mixed = self._dot(v, self.rounding.kernel("softmax", chances).swapaxes(2, 3))
        if self.details.attention_heads == "interleaved":
            mixed = mixed.swapaxes(1, 2)
        h = self._conv(mixed.reshape(n, channels, height, width), f"{name}.out")
        return self._add(x, h) if self.details.attention_residual else h

    def _heads(self, h: Array) -> Array:
        n, channels = h.shape[:2]
        heads = {"one": 1, "of_8": channels // 8}.get(self.details.attention_heads, self.architecture.num_heads)
        if self.details.attention_heads == "interleaved":
            return h.reshape(n, channels // heads, heads, -1).swapaxes(1, 2)
        return h.reshape(n, heads, channels // heads, -1)

    def _attention_scale(self, channels: int, head: int) -> float:
        scales = {"head": head**-0.5, "none": 1.0, "channels": channels**-0.5, "linear": 1.0 / head}
        return float(scales[self.details.attention_scale])

    def _time(self, t: NDArray[Any]) -> Array:
        """silu(embedding of t), as every block's projection reads it: (N, 4 base_channels)."""
        width = self.architecture.base_channels
        steps = t + self.details.time_offset
        if self.architecture.time_embedding == "learned":
            table = self.weights["time_embedding.table.embedding_table"]
            h = table[np.clip(steps, 0, len(table) - 1)]
        else:
            values, sizes = sinusoids(tuple(int(step) for step in steps), width, self.details)
            h = self.rounding.error(values, lambda: sizes)
        h = self._dense(h, "time_embedding.dense_1")
        h = self._dense(self._activate(h) if self.details.time_silu_between else h, "time_embedding.dense_2")
        h = h if self.details.time_used else np.zeros_like(h)
        return self._activate(h) if self.details.time_silu_outside else h

    def _norm(self, x: Array, name: str) -> Array:
        """GroupNorm (Wu & He 2018) over (channels of a group, H, W), biased variance."""
        d, r = self.details, self.rounding
        values = _grouped(x, self.architecture.groups, d.norm_over)
        axes = (0, 2) if d.norm_over == "batch" else 2
        terms = values.size // (values.shape[1] if d.norm_over == "batch" else values.shape[0] * values.shape[1])

        def mean_of(array: Array) -> Array:
            return np.asarray(np.mean(array, axis=axes, keepdims=True))

        exact = mean_of(values)
        mean = r.error(exact, lambda: sum_size(terms, exact, mean_of(values**2) / terms))
        centred = values - mean
        variance = mean_of(centred**2) * (terms / (terms - 1) if d.norm_unbiased else 1.0)
        # E[x^2] - E[x]^2 is as right as E[(x - E[x])^2]: what is rounded is the mean square
        of_square = r.error(variance, lambda: sum_size(terms, mean_of(values**2), mean_of((values**2) ** 2) / terms))
        variance = np.maximum(of_square, 0.0)
        std = np.sqrt(variance) + d.norm_eps if d.norm_eps_outside else np.sqrt(variance + d.norm_eps)
        # x * scale + shift with both made beforehand rounds at the size of x / std, not of (x - mean) / std
        normed = r.error(centred / std, lambda: (np.abs(values) + np.abs(mean) + 2 * np.abs(centred)) / std)
        gamma, beta = (self.weights[f"{name}.{part}"][:, None, None] for part in ("gamma", "beta"))
        y = normed.reshape(x.shape) * gamma + beta
        return r.error(y, lambda: np.abs(y - beta) + np.abs(y))

    def _activate(self, x: Array) -> Array:
        if self.details.activation == "relu":
            return np.maximum(x, 0.0)
        if self.details.activation == "gelu":
            return np.asarray(0.5 * x * (1.0 + erf(x / np.sqrt(2.0))))
        return self.rounding.kernel("silu", x * expit(x))

    def _dense(self, x: Array, name: str) -> Array:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return self.rounding.dot(x @ weight.T + bias, len(weight.T) + 1, lambda: x**2 @ weight.T**2 + bias**2)

    def _conv(self, x: Array, name: str, stride: int = 1) -> Array:
        """Cross-correlation with bias; 3x3 padded so that the size is ceil(H / stride)."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        kernel = weight.shape[-1]
        padded = _padded(x, [self._padding(n, kernel, stride) for n in x.shape[2:]], self._mode(stride))
        return self.rounding.dot(
            _correlate(padded, weight, stride) + bias[:, None, None],
            weight[0].size + 1,
            lambda: _correlate(padded**2, weight**2, stride) + bias[:, None, None] ** 2,
        )

    def _padding(self, size: int, kernel: int, stride: int) -> tuple[int, int]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        if stride == 1 or self.details.stride_padding == "right_below":
            return total // 2, total - total // 2
        return 1, 1

    def _mode(self, stride: int) -> Any:
        return self.details.border if stride == 1 else "constant"

    def _downsample(self, h: Array, name: str) -> Array:
        if self.architecture.downsample == "conv":
            return self._conv(h, f"{name}.conv", stride=2)
        n, channels, height, width = h.shape
        tiles = h.reshape(n, channels, height // 2, 2, width // 2, 2)
        return np.asarray(tiles.max(axis=(3, 5)) if self.details.pool == "max" else tiles.mean(axis=(3, 5)))

    def _upsample(self, h: Array, name: str) -> Array:
        if self.architecture.upsample == "nearest":
            return self._conv(_enlarge(h, self.details.enlarge), f"{name}.conv")
        weight, bias = self.weights[f"{name}.conv.weight"], self.weights[f"{name}.conv.bias"]
        weight = weight[:, :, ::-1, ::-1] if self.details.transposed_flip else weight
        return self.rounding.dot(
            _spread_out(h, weight) + bias[:, None, None],
            len(weight) + 1,
            lambda: _spread_out(h**2, weight**2) + bias[:, None, None] ** 2,
        )

    def _concatenate(self, h: Array, skip: Array) -> Array:
        return np.concatenate((h, skip) if self.details.concatenation == "h_skip" else (skip, h), axis=1)

    def _add(self, a: Array, b: Array) -> Array:
        total = a + b
        return self.rounding.error(total, lambda: np.abs(total))

    def _dot(self, a: Array, b: Array) -> Array:
        return self.rounding.dot(a @ b, a.shape[-1], lambda: a**2 @ b**2)


def sinusoids(steps: tuple[int, ...], width: int, details: Details = RIGHT) -> tuple[Array, Array]:
    """The time embedding of Vaswani et al. 2017, section 3.5, as Ho et al.'s code has it, and its rounding.

    sin(t f_i) for i = 0 ... half-1, then the cosines, with f_i = 10000^(-i / (half - 1)). Returns the values
    (len(steps), width), right to float64, and the errors allowed them in units of roundoff: the frequency comes out
    of exp(-i ln(10000) / (half - 1)), whose argument is rounded three times, and the phase t f out of one more
    product; a phase's error is at most the sine's, whose own kernel adds one.
    """
    unique = sorted(set(steps))
    rows = {step: _sinusoids(step, width, details) for step in unique}
    values, sizes = zip(*(rows[step] for step in steps), strict=True)
    return np.stack(values), np.stack(sizes)


@cache
def _sinusoids(step: int, width: int, details: Details) -> tuple[Array, Array]:
    half = width // 2
    divisor = half if details.frequency_divisor == "half" else max(half - 1, 1)
    with mpmath.workdps(DIGITS):
        logs = [-mpmath.log(details.max_period) * i / divisor for i in range(half)]
        phases = [step * mpmath.exp(log) for log in logs]
        sines = np.array([float(mpmath.sin(phase)) for phase in phases])
        cosines = np.array([float(mpmath.cos(phase)) for phase in phases])
    sizes = np.array([1 + float(phase) * (2 + 3 * abs(float(log))) for phase, log in zip(phases, logs, strict=True)])
    if details.embedding_order == "interleaved":
        return np.stack((sines, cosines), axis=-1).ravel(), np.repeat(sizes, 2)
    parts = (sines, cosines) if details.embedding_order == "sine_first" else (cosines, sines)
    return np.concatenate(parts), np.concatenate((sizes, sizes))


def _require_layout(config: Mapping[str, Any], weights: Weights) -> None:
    """Raise `ValueError` unless the weights are those of the configuration, naming the first that is not."""
    shapes = parameter_shapes(config)
    for name, shape in shapes.items():
        found = np.shape(weights[name]) if name in weights else "nothing"
        if found != shape:
            raise ValueError(f"weights()[{name!r}] has shape {shape} in this network_config; the subject has {found}")
    strangers = sorted(set(weights) - set(shapes))
    if strangers:
        raise ValueError(f"weights() has {strangers[0]!r}, which this network_config does not have")


def _windows(x: Array, size: int) -> Array:
    """Every size x size window of the images: (N, C, H, W) to (N, C, H - size + 1, W - size + 1, size, size)."""
    view: Any = sliding_window_view  # NumPy's own annotation lacks a tuple of axes
    return np.asarray(view(x, (size, size), axis=(2, 3)))


def _padded(x: Array, around: Sequence[tuple[int, int]], mode: Any) -> Array:
    """The images with more rows and columns around them: zeros, or as `np.pad` names it."""
    if mode != "constant":
        return np.pad(x, ((0, 0), (0, 0), *around), mode)
    (above, below), (left, right) = around
    n, channels, height, width = x.shape
    padded = np.zeros((n, channels, above + height + below, left + width + right))
    padded[:, :, above : above + height, left : left + width] = x
    return padded


def _correlate(padded: Array, weight: Array, stride: int) -> Array:
    """Every window of the images (N, I, ...) times the weights (O, I, k, k): (N, O, H, W), as one matrix product."""
    windows = _windows(padded, weight.shape[-1])[:, :, ::stride, ::stride]
    n, channels, height, width, k, _ = windows.shape
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, channels * k * k)
    return (rows @ weight.reshape(len(weight), -1).T).reshape(n, height, width, -1).transpose(0, 3, 1, 2)


def _spread_out(h: Array, weight: Array) -> Array:
    """Transposed convolution, kernel 2, stride 2: each (I,) pixel times (I, O, 2, 2) is a tile of its own."""
    n, _, height, width = h.shape
    tiles: Array = np.einsum("nihw,iokl->nohkwl", h, weight, optimize=True)
    return tiles.reshape(n, weight.shape[1], 2 * height, 2 * width)


def _enlarge(h: Array, how: str) -> Array:
    """Twice the height and width; "nearest" repeats pixels."""
    if how == "zeros":
        tiles = np.zeros((*h.shape[:3], 2, h.shape[3], 2))
        tiles[:, :, :, 0, :, 0] = h
        return tiles.reshape(*h.shape[:2], 2 * h.shape[2], 2 * h.shape[3])
    if how == "bilinear":
        return _between(_between(h, 2), 3)
    return h.repeat(2, axis=2).repeat(2, axis=3)


def _between(h: Array, axis: int) -> Array:
    """Linear interpolation to twice the length, pixel centres aligned, edges repeated."""
    last = h.shape[axis] - 1
    position = np.clip((np.arange(2 * h.shape[axis]) - 0.5) / 2, 0, last)
    low = np.floor(position).astype(int)
    share = (position - low).reshape(-1, *(1,) * (h.ndim - 1 - axis))
    return np.asarray(h.take(low, axis) * (1 - share) + h.take(np.minimum(low + 1, last), axis) * share)


def _grouped(x: Array, groups: int, over: str) -> Array:
    """(N, C, H, W) as (N, groups, values): the last axis is what is normalised together."""
    count = {"layer": 1, "instance": x.shape[1]}.get(over, groups)
    return x.reshape(len(x), count, -1)


def _mistake_skips(kept: list[Array], how: str) -> list[Array]:
    """The kept activations, in the wrong order or value that `how` names, where shapes allow it."""
    if how == "zero":
        return [np.zeros_like(h) for h in kept]
    if how == "last_first":
        return kept
    wrong = list(kept)
    for i, (older, younger) in enumerate(pairwise(kept)):
        if older.shape == younger.shape:
            taken = {"swapped": (younger, wrong[i]), "older_twice": (wrong[i], older), "younger_twice": (younger,) * 2}
            wrong[i : i + 2] = taken[how]
    return wrong
