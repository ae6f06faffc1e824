"""The network mutants: distinct, and each different from the reference in something that can be asked for."""

from __future__ import annotations

import numpy as np
import pytest
from network_subjects import TINY

from verification.check import load_checks
from verification.network_mutants import NETWORK_MUTANTS, NetworkMutant
from verification.reference_network import ReferenceNetwork

RIGHT = ReferenceNetwork(TINY)
X, TARGET = np.random.default_rng(0).standard_normal((2, 2, 3, 8, 8))
T = np.array([3, 700])


def answers(network: ReferenceNetwork) -> list[np.ndarray]:
    everything = [network.weights(), network.initial_weights(), network.gradient(X, T, TARGET)]
    return [network(X, T), *(array for answer in everything for _, array in sorted(answer.items()))]


def same(network: ReferenceNetwork) -> bool:
    try:
        made = answers(network)
    except ValueError:  # a network whose shapes no longer fit is different enough
        return False
    right = answers(RIGHT)
    return len(made) == len(right) and all(map(np.array_equal, made, right))


@pytest.mark.parametrize("mutant", NETWORK_MUTANTS, ids=lambda mutant: mutant.id)
def test_mutant_differs_from_the_reference(mutant: NetworkMutant) -> None:
    assert not same(mutant.make(TINY))


def test_reference_does_not() -> None:
    assert same(ReferenceNetwork(TINY))


def test_mutants_are_told_apart_and_belong_to_checks() -> None:
    assert len({mutant.id for mutant in NETWORK_MUTANTS}) == len(NETWORK_MUTANTS) >= 25
    assert {mutant.killed_by for mutant in NETWORK_MUTANTS} <= load_checks().keys()
