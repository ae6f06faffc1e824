"""The U-Net's parameters, from its configuration alone: every name and shape, and the exact count by arithmetic.

The family is that of Ho et al. 2020, appendix B. With c channels in the base, a residual block from i to o channels
holds

    res(i, o) = 2i + (9io + o) + (4c o + o) + 2o + (9o^2 + o) + [io + o if i != o]

parameters (norm, convolution, time projection, norm, convolution, shortcut) and an attention 2c + 4(c^2 + c). The
count is necessary and catches little: a wrong padding, epsilon or embedding has the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """A subject's `network_config` under the subject's own field names; dropout is off where nothing is trained."""

    image_size: int
    in_channels: int
    base_channels: int
    channel_mult: tuple[int, ...]
    blocks_per_level: int
    attention_at: tuple[int, ...]
    num_heads: int
    groups: int
    time_embedding: str
    downsample: str
    upsample: str
    num_timesteps: int

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Architecture:
        """From a `network_config`, of which other entries are ignored; raises `ValueError` naming what is missing."""
        names = [entry.name for entry in fields(cls)]
        missing = [name for name in names if name not in config]
        if missing:
            raise ValueError(f"network_config lacks {', '.join(missing)}; expected are {', '.join(names)}")
        given: dict[str, Any] = {name: config[name] for name in names}
        for name in ("channel_mult", "attention_at"):
            given[name] = tuple(given[name])
        return cls(**given)

    @property
    def levels(self) -> int:
        """How many resolutions the network works at."""
        return len(self.channel_mult)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level."""
        return tuple(self.base_channels * factor for factor in self.channel_mult)

    def resolution(self, level: int) -> int:
        """Height and width at a level: halved at each step down."""
        return self.image_size // int(2**level)

    def attends(self, level: int) -> bool:
        """Whether attention follows the blocks of this level."""
        return self.resolution(level) in self.attention_at

    def kept_widths(self) -> list[int]:
        """Channels of the activations kept for the way up, in the order they are made."""
        kept = [self.base_channels]
        for level, width in enumerate(self.widths):
            kept += [width] * (self.blocks_per_level + (level < self.levels - 1))
        return kept

    def blocks_up(self) -> Iterator[tuple[int, int, int, int]]:
        """(level, index, channels from below, channels of the skip) of each block on the way up, in its order."""
        kept, below = self.kept_widths(), self.widths[-1]
        for level in reversed(range(self.levels)):
            for i in range(self.blocks_per_level + 1):
                yield level, i, below, kept.pop()
                below = self.widths[level]

    def blocks_down(self) -> Iterator[tuple[int, int, int]]:
        """(level, index, input channels) of each block on the way down, in its order."""
        above = self.base_channels
        for level, width in enumerate(self.widths):
            for i in range(self.blocks_per_level):
                yield level, i, above
                above = width


def parameter_shapes(config: Mapping[str, Any]) -> Shapes:
    """Every parameter's name and shape. Raises `ValueError` on an incomplete configuration."""
    a = Architecture.parse(config)
    base, inner = a.base_channels, 4 * a.base_channels
    shapes = _convolution("conv_in", a.in_channels, base, 3)
    if a.time_embedding == "learned":
        shapes["time_embedding.table.embedding_table"] = (a.num_timesteps, base)
    shapes |= _dense("time_embedding.dense_1", base, inner) | _dense("time_embedding.dense_2", inner, inner)
    for level, i, width in a.blocks_down():
        shapes |= _stage(f"down.{level}", i, width, a.widths[level], inner, a.attends(level))
    deepest = a.widths[-1]
    for block in ("block_1", "block_2"):
        shapes |= _block(f"middle.{block}", deepest, deepest, inner)
    shapes |= _attention("middle.attention", deepest)
    for level, i, below, skip in a.blocks_up():
        shapes |= _stage(f"up.{level}", i, below + skip, a.widths[level], inner, a.attends(level))
    for level, width in enumerate(a.widths):
        if level < a.levels - 1 and a.downsample == "conv":
            shapes |= _convolution(f"down.{level}.downsample.conv", width, width, 3)
        if level > 0:
            shapes |= _convolution(f"up.{level}.upsample.conv", width, width, 3 if a.upsample == "nearest" else 2)
    return shapes | _norm("norm_out", a.widths[0]) | _convolution("conv_out", a.widths[0], a.in_channels, 3)


def _stage(level: str, i: int, width_in: int, width: int, inner: int, attends: bool) -> Shapes:
    shapes = _block(f"{level}.blocks.{i}", width_in, width, inner)
    return shapes | _attention(f"{level}.attentions.{i}", width) if attends else shapes


def _block(name: str, width_in: int, width: int, inner: int) -> Shapes:
    shapes = _norm(f"{name}.norm_1", width_in) | _convolution(f"{name}.conv_1", width_in, width, 3)
    shapes |= _dense(f"{name}.time_proj", inner, width)
    shapes |= _norm(f"{name}.norm_2", width) | _convolution(f"{name}.conv_2", width, width, 3)
    return shapes | (_convolution(f"{name}.shortcut", width_in, width, 1) if width_in != width else {})


def _attention(name: str, width: int) -> Shapes:
    shapes = _norm(f"{name}.norm", width)
    for part in ("q", "k", "v", "out"):
        shapes |= _convolution(f"{name}.{part}", width, width, 1)
    return shapes


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.gamma": (width,), f"{name}.beta": (width,)}


def _dense(name: str, width_in: int, width: int) -> Shapes:
    return {f"{name}.weight": (width, width_in), f"{name}.bias": (width,)}


def _convolution(name: str, width_in: int, width: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (width, width_in, kernel, kernel), f"{name}.bias": (width,)}


def parameter_count(config: Mapping[str, Any]) -> int:
    """Number of scalars in all parameters, by the formulas at the head of this module and not from the shapes."""
    a = Architecture.parse(config)
    c, w, deepest = a.base_channels, a.widths, a.widths[-1]
    total = 4 * c * c + 4 * c + 16 * c * c + 4 * c + (a.num_timesteps * c if a.time_embedding == "learned" else 0)
    total += 9 * a.in_channels * c + c + 2 * w[0] + 9 * w[0] * a.in_channels + a.in_channels
    for level, _, above in a.blocks_down():
        total += _residual_count(above, w[level], c) + a.attends(level) * _attention_count(w[level])
    total += 2 * _residual_count(deepest, deepest, c) + _attention_count(deepest)
    for level, _, below, skip in a.blocks_up():
        total += _residual_count(below + skip, w[level], c) + a.attends(level) * _attention_count(w[level])
    down = sum(9 * width * width + width for width in w[:-1]) if a.downsample == "conv" else 0
    area = 9 if a.upsample == "nearest" else 4
    return total + down + sum(area * width * width + width for width in w[1:])


def _residual_count(i: int, o: int, base: int) -> int:
    shortcut = i * o + o if i != o else 0
    return 2 * i + 9 * i * o + o + 4 * base * o + o + 2 * o + 9 * o * o + o + shortcut


def _attention_count(c: int) -> int:
    return 2 * c + 4 * (c * c + c)
