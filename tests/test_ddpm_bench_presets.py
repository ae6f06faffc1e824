"""Configurations: what is refused, in which words, and what the presets are."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from ddpm_bench.errors import ConfigError
from ddpm_bench.presets import PRESETS, UNetConfig, preset


def test_names_are_known_without_importing_mindspore() -> None:
    code = "import ddpm_bench.presets, sys; print('mindspore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 9}, ["image_size 9", "divisible by 2", "2 levels"]),
        ({"image_size": 12, "channel_mult": (1, 2, 2, 2)}, ["image_size 12", "divisible by 8", "4 levels"]),
        ({"image_size": 0}, ["image_size is 0", "at least 1"]),
        ({"image_size": 8.0}, ["image_size is 8.0", "whole number"]),
        ({"in_channels": True}, ["in_channels is True", "whole number"]),
        ({"groups": 5}, ["base_channels 32", "groups 5"]),
        ({"num_heads": 3}, ["num_heads 3", "64 channels"]),
        ({"num_heads": 64, "attention_at": (8,)}, ["num_heads 64", "32 channels"]),
        ({"base_channels": 33, "groups": 3}, ["base_channels is 33", "even"]),
        ({"base_channels": 2, "groups": 1}, ["base_channels is 2", "at least 4"]),
        ({"attention_at": (3,)}, ["attention_at", "3", "works at 8, 4"]),
        ({"attention_at": 4}, ["attention_at is 4", "list"]),
        ({"channel_mult": (1, "2")}, ["channel_mult", "whole numbers"]),
        ({"channel_mult": ()}, ["channel_mult", "at least one"]),
        ({"channel_mult": (1, 0)}, ["channel_mult", "at least 1"]),
        ({"dropout": 1.0}, ["dropout is 1.0", "from 0"]),
        ({"dropout": float("nan")}, ["dropout is nan"]),
        ({"time_embedding": "sinusoidel"}, ["time_embedding", "did you mean sinusoidal", "learned"]),
        ({"downsample": "maxpool"}, ["downsample", "did you mean max_pool"]),
        ({"upsample": "bilinear"}, ["upsample", "nearest", "transposed"]),
        ({"base_chanels": 32}, ["U-Net setting", "did you mean base_channels"]),
    ],
)
def test_impossible_choice_is_refused_with_its_reason(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        preset("digits", **changes)
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean cifar10"):
        preset("cifar")


def test_lists_from_a_configuration_file_become_tuples() -> None:
    config = preset("digits", channel_mult=[1, 2], attention_at=[4])
    assert config == PRESETS["digits"]
    assert hash(config) == hash(PRESETS["digits"])


def test_odd_base_channels_are_fine_with_a_learned_embedding() -> None:
    assert preset("digits", base_channels=33, groups=3, time_embedding="learned").channels == (33, 66)


@pytest.mark.parametrize(("size", "attention"), [(8, (4,)), (14, (7,)), (64, (32,)), (2, (1,))])
def test_article_attends_at_the_middle_resolution_of_any_even_size(size: int, attention: tuple[int, ...]) -> None:
    config = preset("article", image_size=size)
    assert (config.image_size, config.attention_at) == (size, attention)


def test_named_attention_is_left_alone() -> None:
    assert preset("article", image_size=64, attention_at=(64,)).attention_at == (64,)


def test_article_is_as_the_article_says() -> None:
    article = PRESETS["article"]
    assert (article.time_embedding, article.downsample, article.upsample) == ("learned", "max_pool", "transposed")
    assert (article.base_channels, article.channel_mult, article.num_timesteps) == (64, (1, 2), 1000)


@pytest.mark.parametrize(
    ("name", "shape"), [("digits", (8, 1)), ("mnist", (28, 1)), ("cifar10", (32, 3)), ("lsun256", (256, 3))]
)
def test_presets_fit_their_data(name: str, shape: tuple[int, int]) -> None:
    assert (PRESETS[name].image_size, PRESETS[name].in_channels) == shape


def test_paper_nets_have_the_papers_choices() -> None:
    """The parameter count sees none of these: Ho et al. 2020, Appendix B."""
    for name, dropout in (("cifar10", 0.1), ("lsun256", 0.0)):
        config = PRESETS[name]
        assert (config.num_heads, config.groups, config.attention_at, config.dropout) == (1, 32, (16,), dropout)
        assert (config.time_embedding, config.downsample, config.upsample) == ("sinusoidal", "conv", "nearest")


def test_configuration_survives_the_way_through_a_mapping() -> None:
    for config in PRESETS.values():
        assert UNetConfig(**dataclasses.asdict(config)) == config
