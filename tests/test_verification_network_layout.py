"""Names, shapes and the count of the U-Net's parameters, against the paper's net and against each other."""

from __future__ import annotations

import math
from typing import Any

import pytest

from verification.network_layout import Architecture, parameter_count, parameter_shapes
from verification.reference_network import SMALL

CIFAR10: dict[str, Any] = {
    **SMALL,
    "image_size": 32,
    "in_channels": 3,
    "base_channels": 128,
    "channel_mult": (1, 2, 2, 2),
    "blocks_per_level": 2,
    "attention_at": (16,),
    "num_heads": 1,
    "groups": 32,
}
LSUN256: dict[str, Any] = {**CIFAR10, "image_size": 256, "channel_mult": (1, 1, 2, 2, 4, 4)}
OTHERS: list[dict[str, Any]] = [
    {},
    {"time_embedding": "learned", "num_timesteps": 7},
    {"downsample": "max_pool", "upsample": "transposed"},
    {"blocks_per_level": 3, "channel_mult": [1, 3, 2], "attention_at": [8, 2]},
    {"channel_mult": (2,), "attention_at": ()},
    {"channel_mult": (3, 1)},
]


def test_papers_cifar10_net_has_35746307_parameters_in_328_tensors() -> None:
    shapes = parameter_shapes(CIFAR10)
    assert parameter_count(CIFAR10) == 35_746_307
    assert len(shapes) == 328
    kernels = [shape for name, shape in shapes.items() if name.endswith(".weight")]
    assert sum(len(shape) == 4 for shape in kernels) == 89
    assert sum(len(shape) == 2 for shape in kernels) == 24
    assert sum(name.endswith(".gamma") for name in shapes) == 51


def test_papers_256_net_has_113673219_parameters() -> None:
    assert parameter_count(LSUN256) == 113_673_219


def test_one_channel_costs_4610_parameters_less_than_three() -> None:
    assert parameter_count({**CIFAR10, "in_channels": 1}) == 35_741_697


@pytest.mark.parametrize(
    ("start", "count"),
    [
        ("time_embedding.", 328_704),
        ("conv_in.", 3_584),
        ("down.0.", 870_272),
        ("down.1.", 3_480_320),
        ("down.2.", 3_215_104),
        ("down.3.", 2_625_024),
        ("middle.", 1_312_512 + 263_680 + 1_312_512),
        ("up.0.", 1_789_952),
        ("up.1.", 7_155_712),
        ("up.2.", 6_692_608),
        ("up.3.", 6_692_608),
        ("norm_out.", 256),
        ("conv_out.", 3_459),
    ],
)
def test_parts_of_the_papers_net_have_their_published_counts(start: str, count: int) -> None:
    shapes = parameter_shapes(CIFAR10)
    assert sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(start)) == count


@pytest.mark.parametrize("changes", [*OTHERS, CIFAR10, LSUN256], ids=str)
def test_count_by_arithmetic_is_the_sum_over_the_shapes(changes: dict[str, Any]) -> None:
    config = {**SMALL, **changes}
    assert parameter_count(config) == sum(math.prod(shape) for shape in parameter_shapes(config).values())


def test_incomplete_configuration_is_refused_by_name() -> None:
    config = {name: value for name, value in SMALL.items() if name not in ("groups", "upsample")}
    with pytest.raises(ValueError, match="lacks groups, upsample"):
        parameter_shapes(config)


def test_skips_are_taken_youngest_first_and_none_is_left() -> None:
    architecture = Architecture.parse(CIFAR10)
    taken = [skip for *_, skip in architecture.blocks_up()]
    assert taken == architecture.kept_widths()[::-1]


def test_every_level_of_the_way_up_starts_with_what_comes_from_below() -> None:
    blocks = list(Architecture.parse({**SMALL, "channel_mult": (1, 2, 4)}).blocks_up())
    assert [(level, below) for level, i, below, _ in blocks if i == 0] == [(2, 64), (1, 64), (0, 32)]
