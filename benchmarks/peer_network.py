"""The network in diffusers, with the weights of this project's: which choices make it the same, and what is called how.

`diffusers.UNet2DModel` (Hugging Face) descends from the paper's code and can be set to compute the very function:
sines before cosines with half − 1 in the exponent, padding right and below where the size is halved, eps = 1e-6, one
attention head. What it calls its parameters is `names`; projections of attention are dense layers there and 1×1
convolutions here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import UNet2DModel
from numpy.typing import NDArray

from benchmarks.gates import Invalid

LAYERS = {
    "norm_1": "norm1", "conv_1": "conv1", "time_proj": "time_emb_proj", "norm_2": "norm2", "conv_2": "conv2",
    "shortcut": "conv_shortcut", "norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0",
}  # fmt: skip
"""Layers of blocks and of attentions: ours, theirs."""

ENDS = {
    "time_embedding.dense_1": "time_embedding.linear_1", "time_embedding.dense_2": "time_embedding.linear_2",
    "conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out",
}  # fmt: skip
"""Layers outside the U."""

VALUES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def build(config: Any) -> UNet2DModel:
    """The network of a `UNetConfig` with weights as diffusers draws them. Raises `Invalid` where it has no such one."""
    described = (config.time_embedding, config.downsample, config.upsample, config.num_heads)
    if described != ("sinusoidal", "conv", "nearest", 1):
        raise Invalid(f"diffusers has no network with {', '.join(map(str, described))} (embedding, down, up, heads)")
    attending = [size in config.attention_at for size in config.resolutions]
    return UNet2DModel(
        sample_size=config.image_size, in_channels=config.in_channels, out_channels=config.in_channels,
        block_out_channels=config.channels, layers_per_block=config.blocks_per_level, dropout=config.dropout,
        down_block_types=tuple("AttnDownBlock2D" if each else "DownBlock2D" for each in attending),
        up_block_types=tuple("AttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attending)),
        time_embedding_type="positional", freq_shift=1, flip_sin_to_cos=False, downsample_padding=0,
        attention_head_dim=None, norm_num_groups=config.groups, norm_eps=1e-6, act_fn="silu",
    )  # fmt: skip


def load(network: UNet2DModel, weights: Mapping[str, NDArray[Any]]) -> None:
    """Give `network` our `weights`, by our names. Raises `Invalid` where one has no place, or a place no weight."""
    places = dict(network.named_parameters())
    try:
        named = {their_name(name, network.config.block_out_channels): value for name, value in weights.items()}
    except KeyError as error:
        raise Invalid(f"diffusers has nothing for the weight {error.args[0]}") from None
    strange = sorted(named.keys() ^ places.keys())
    if strange:
        raise Invalid(f"diffusers' network and ours differ in {strange[0]}")
    with torch.no_grad():
        for name, value in named.items():
            places[name].copy_(torch.from_numpy(value).reshape(places[name].shape))


def their_name(name: str, levels: Any) -> str:
    """What diffusers calls our parameter `name` in a network of as many `levels`. Raises `KeyError` for another."""
    layer, _, value = name.rpartition(".")
    try:
        place = ENDS[layer] if layer in ENDS else ".".join(_place(layer.split("."), len(levels), name))
        return f"{place}.{VALUES[value]}"
    except KeyError:
        raise KeyError(name) from None


def _place(path: list[str], levels: int, name: str) -> Iterator[str]:
    match path:
        case ["middle", "attention", layer]:
            yield from ("mid_block", "attentions", "0", LAYERS[layer])
        case ["middle", ("block_1" | "block_2") as block, layer]:
            yield from ("mid_block", "resnets", str(int(block[-1]) - 1), LAYERS[layer])
        case [("down" | "up") as way, level, part, *rest]:
            number = int(level) if way == "down" else levels - 1 - int(level)
            yield from (f"{way}_blocks", str(number))
            match part, rest:
                case "blocks", [index, layer]:
                    yield from ("resnets", index, LAYERS[layer])
                case "attentions", [index, layer]:
                    yield from ("attentions", index, LAYERS[layer])
                case (("downsample" | "upsample"), ["conv"]):
                    yield from (f"{way}samplers", "0", "conv")
                case _:
                    raise KeyError(name)
        case _:
            raise KeyError(name)
