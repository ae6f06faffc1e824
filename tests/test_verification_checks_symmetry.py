"""The network's symmetries hold for right networks of several shapes; each part of the check notices its mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import complaints, failure
from network_subjects import SingleNetwork, with_network

from verification.checks_symmetry import one_tap, turned, within_groups
from verification.network_layout import Architecture
from verification.network_mutants import NETWORK_MUTANTS
from verification.reference import ReferenceSubject
from verification.reference_network import SMALL, ReferenceNetwork, generic_weights


@pytest.mark.parametrize(
    "changes",
    [{}, {"downsample": "max_pool"}, {"upsample": "transposed"}, {"time_embedding": "learned"}, {"num_heads": 1}],
    ids=str,
)
def test_right_network_has_every_symmetry(changes: dict[str, Any]) -> None:
    network = ReferenceNetwork({**SMALL, **changes}, dtype="float32")
    assert complaints(with_network(network, dtype="float32"), "NET-6") == []


@pytest.mark.parametrize("choices", [{"num_timesteps": 1}, {"num_timesteps": 4000, "schedule": "cosine"}], ids=str)
def test_right_network_that_rounds_every_operation_has_every_symmetry(choices: dict[str, Any]) -> None:
    assert complaints(with_network(SingleNetwork(SMALL), dtype="float32", **choices), "NET-6") == []


@pytest.mark.parametrize(
    ("mutant", "where"),
    [
        ("N30", "channels of each group in another order"),
        ("N31", "images rolled"),
        ("N32", "kernels and images turned"),
    ],
)
def test_each_part_notices_what_it_is_for(mutant: str, where: str) -> None:
    (wrong,) = [each for each in NETWORK_MUTANTS if each.id == mutant]
    assert where in failure(with_network(wrong.make(dtype="float32"), dtype="float32"), "NET-6").where


def test_network_that_ignores_the_weights_it_is_given_is_noticed() -> None:
    subject = ReferenceSubject(network=True)
    subject.network_with = lambda _, x, t: subject.network(x, t)  # type: ignore[method-assign]  # on purpose
    assert complaints(subject, "NET-6")


def test_moved_weights_are_other_weights_of_the_same_shapes() -> None:
    weights = generic_weights(SMALL, 0)
    moved = within_groups(weights, Architecture.parse(SMALL))
    assert {name: value.shape for name, value in moved.items()} == {n: v.shape for n, v in weights.items()}
    assert any(not np.array_equal(moved[name], weights[name]) for name in weights)


def test_one_tap_keeps_the_middle_of_large_kernels_only() -> None:
    kept = one_tap(np.ones((1, 1, 3, 3)))
    assert kept.sum() == kept[0, 0, 1, 1] == 1
    assert one_tap(np.ones((1, 1, 1, 1))).sum() == 1
    assert turned(np.arange(4.0)).tolist() == [0, 1, 2, 3]
