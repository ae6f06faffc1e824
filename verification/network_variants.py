"""Networks that are wrong in one known way: what a subject that disagrees with the oracle is compared with.

Each has the right parameter count, and most were met in public code. A variant belongs to the check that must notice
it, and to the architectures in which it makes a difference at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from verification.network_layout import Architecture
from verification.oracle_network import RIGHT, Details


def _always(_: Architecture) -> bool:
    return True


def _sinusoidal(a: Architecture) -> bool:
    return a.time_embedding == "sinusoidal"


def _strided(a: Architecture) -> bool:
    return a.downsample == "conv" and a.levels > 1


def _pooled(a: Architecture) -> bool:
    return a.downsample == "max_pool" and a.levels > 1


def _nearest(a: Architecture) -> bool:
    return a.upsample == "nearest" and a.levels > 1


def _transposed(a: Architecture) -> bool:
    return a.upsample == "transposed" and a.levels > 1


def _several_heads(a: Architecture) -> bool:
    return a.num_heads > 1


def _attended_widths(a: Architecture) -> set[int]:
    """Channels of every self-attention; the middle always has one."""
    return {a.widths[-1], *(width for level, width in enumerate(a.widths) if a.attends(level))}


def _heads_of_8_differ(a: Architecture) -> bool:
    widths = _attended_widths(a)
    return all(width % 8 == 0 for width in widths) and any(width // a.num_heads != 8 for width in widths)


def _heads_are_wide(a: Architecture) -> bool:
    return max(_attended_widths(a)) > a.num_heads


def _groups_hold_several(a: Architecture) -> bool:
    return a.base_channels > a.groups


def _several_groups(a: Architecture) -> bool:
    return a.groups > 1


@dataclass(frozen=True)
class Variant:
    """`sentence` says what is wrong, `check` is the id of the check that must notice, `details` the network itself.

    `applies` tells whether an architecture has what is got wrong. `visible`: whether float32 rounding leaves it
    visible; one that is too near the right network can only explain a difference that was noticed.
    """

    check: str
    sentence: str
    details: Details
    applies: Callable[[Architecture], bool] = _always
    visible: bool = True


def _variant(
    check: str, sentence: str, applies: Callable[[Architecture], bool] = _always, *, visible: bool = True, **wrong: Any
) -> Variant:
    return Variant(check, sentence, replace(RIGHT, **wrong), applies, visible)


VARIANTS: tuple[Variant, ...] = (
    _variant("NET-2", "the time embedding is not used", time_projected=False),
    _variant("NET-2", "the time embedding is zero", time_used=False),
    _variant("NET-4", "the skip connections carry nothing", skips="zero"),
    _variant("NET-4", "skip connections of equal shape are taken in the wrong order", skips="swapped"),
    _variant(
        "NET-4", "a skip connection is used twice, the younger one of equal shape not at all", skips="older_twice"
    ),
    _variant(
        "NET-4", "a skip connection is used twice, the older one of equal shape not at all", skips="younger_twice"
    ),
    _variant("NET-4", "the skip comes before h in the concatenation", concatenation="skip_h"),
    _variant("NET-7", "attention's softmax runs over the queries", attention_over="queries"),
    _variant("NET-7", "attention's queries and keys are swapped", attention_roles="kq"),
    _variant("NET-7", "attention replaces its input instead of being added to it", attention_residual=False),
    _variant("NET-8", "ReLU stands for SiLU", activation="relu"),
    _variant("NET-8", "GELU stands for SiLU", activation="gelu"),
    _variant("NET-8", "there is no SiLU before the last convolution", last_silu=False),
    _variant("NET-8", "the time embedding has no SiLU between its dense layers", time_silu_between=False),
    _variant("NET-8", "blocks project the time embedding without a SiLU", time_silu_outside=False),
    _variant("NET-8", "each block's sum is divided by sqrt(2)", residual=0.5**0.5),
    _variant("NET-8", "normalisation is over all channels, not groups", _several_groups, norm_over="layer"),
    _variant("NET-8", "normalisation is over single channels, not groups", _groups_hold_several, norm_over="instance"),
    _variant("NET-8", "normalisation takes its statistics over the batch", norm_over="batch"),
    _variant("NET-8", "normalisation divides by the unbiased variance", norm_unbiased=True),
    _variant("NET-8", "average-pooling stands for max-pooling", _pooled, pool="mean"),
    _variant("NET-8", "bilinear upsampling stands for nearest-neighbour", _nearest, enlarge="bilinear"),
    _variant("NET-8", "upsampling fills in zeros instead of repeating pixels", _nearest, enlarge="zeros"),
    _variant("NET-8", "the transposed convolution's kernel is flipped", _transposed, transposed_flip=True),
    _variant("NET-9", "the embedding alternates sine and cosine", _sinusoidal, embedding_order="interleaved"),
    _variant("NET-9", "the embedding's longest period is 100, not 10000", _sinusoidal, max_period=100.0),
    _variant("NET-9", "the network is told t + 1", time_offset=1),
    _variant("NET-9", "the network is told t - 1", time_offset=-1),
    _variant(
        "NET-11.padding",
        "stride-2 convolutions pad on all sides, or left and above",
        _strided,
        stride_padding="symmetric",
    ),
    _variant("NET-11.padding", "3x3 convolutions reflect the image at its border", border="reflect"),
    _variant("NET-11.padding", "3x3 convolutions wrap around at the border", border="wrap"),
    _variant("NET-11.norm_eps", "GroupNorm's epsilon is 1e-5 (the default of PyTorch and MindSpore)", norm_eps=1e-5),
    _variant("NET-11.norm_eps", "GroupNorm's epsilon is 1e-3 (the default of Keras)", norm_eps=1e-3),
    _variant("NET-11.norm_eps", "GroupNorm has no epsilon", visible=False, norm_eps=1e-30),
    _variant(
        "NET-11.norm_eps", "GroupNorm adds epsilon to the standard deviation", visible=False, norm_eps_outside=True
    ),
    _variant("NET-11.sine_first", "the embedding has cosines first", _sinusoidal, embedding_order="cosine_first"),
    _variant("NET-11.divisor", "frequencies divide by half, not half - 1", _sinusoidal, frequency_divisor="half"),
    _variant("NET-7", "attention is not scaled", _heads_are_wide, attention_scale="none"),
    _variant(
        "NET-11.head_scale", "attention is scaled by 1/d, not 1/sqrt(d)", _heads_are_wide, attention_scale="linear"
    ),
    _variant("NET-11.head_scale", "several heads are scaled as one", _several_heads, attention_scale="channels"),
    _variant("NET-11.head_scale", "attention has one head", _several_heads, attention_heads="one"),
    _variant("NET-11.head_scale", "attention has heads of 8 channels", _heads_of_8_differ, attention_heads="of_8"),
    _variant("NET-11.head_scale", "heads take every n-th channel", _several_heads, attention_heads="interleaved"),
)


def applicable(architecture: Architecture) -> tuple[Variant, ...]:
    """The variants that differ from the right network in this architecture."""
    return tuple(variant for variant in VARIANTS if variant.applies(architecture))


def pairs(variants: tuple[Variant, ...]) -> Iterator[tuple[Variant, Variant]]:
    """Every two variants that concern different details, and so can be wrong together."""
    for i, first in enumerate(variants):
        for second in variants[i + 1 :]:
            if not changes(first).keys() & changes(second).keys():
                yield first, second


def changes(variant: Variant) -> dict[str, Any]:
    """The fields of `Details` that the variant has wrong."""
    wrong = {entry.name: getattr(variant.details, entry.name) for entry in fields(Details)}
    return {name: value for name, value in wrong.items() if value != getattr(RIGHT, name)}


def together(variants: tuple[Variant, ...]) -> Details:
    """The details of a network that is wrong in all these ways."""
    wrong: dict[str, Any] = {}
    for variant in variants:
        wrong |= changes(variant)
    return replace(RIGHT, **wrong)
