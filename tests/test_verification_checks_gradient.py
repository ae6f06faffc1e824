"""The checks of the gradient, on mistakes too small or too particular for the list of network mutants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from network_subjects import TINY, with_network

from verification.check import Finding, run_checks, select
from verification.reference_network import ReferenceNetwork

Gradient = dict[str, np.ndarray]


def finding(check_id: str, mistake: Callable[[Gradient], Any], dtype: str = "float32") -> Finding:
    """What the check says of the reference whose gradient went through `mistake`."""

    class Mistaken(ReferenceNetwork):
        def gradient(self, x: np.ndarray, t: np.ndarray, target: np.ndarray) -> Gradient:
            right = super().gradient(x, t, target)
            return {**right, **mistake(right)}

    (found,) = run_checks(with_network(Mistaken(TINY, dtype=dtype), dtype=dtype), select("full", check_id))
    return found


def one_entry(right: Gradient) -> Gradient:
    wrong = right["middle.block_1.conv_1.weight"].copy()
    wrong[3, 2, 1, 1] *= np.float32(1.1)
    return {"middle.block_1.conv_1.weight": wrong}


def one_channel(right: Gradient) -> Gradient:
    wrong = right["up.0.blocks.1.conv_1.weight"].copy()
    wrong[:, 5] = 0
    return {"up.0.blocks.1.conv_1.weight": wrong}


def not_finite(right: Gradient) -> Gradient:
    return {"conv_out.bias": np.full_like(right["conv_out.bias"], np.nan)}


def transposed(right: Gradient) -> Gradient:
    return {name: value.T.copy() for name, value in right.items() if name.endswith("dense_2.weight")}


@pytest.mark.parametrize("mistake", [one_entry, one_channel, not_finite, transposed])
def test_single_mistake_in_the_gradient_is_noticed_where_it_is(mistake: Callable[[Gradient], Any]) -> None:
    found = finding("GRD-2", mistake)
    assert found.status == "failed"
    assert not mistake(ReferenceNetwork(TINY).gradient(*batch())).keys().isdisjoint(found.where.split(", "))


@pytest.mark.parametrize("mistake", [one_channel, not_finite])
def test_dead_channel_and_nan_have_no_gradient(mistake: Callable[[Gradient], Any]) -> None:
    found = finding("NET-3", mistake)
    assert found.status == "failed"
    assert any(name in found.where for name in ("up.0.blocks.1.conv_1.weight, input channel 5", "conv_out.bias"))


def test_missing_and_invented_gradients_are_noticed() -> None:
    assert finding("NET-3", lambda _: {"strange": np.ones(1, np.float32)}).where == "strange"


@pytest.mark.parametrize("check_id", ["NET-3", "NET-2.gradient", "GRD-2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_gradient_passes(check_id: str, dtype: str) -> None:
    assert finding(check_id, lambda _: {}, dtype).status == "passed"


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, target = np.random.default_rng(0).standard_normal((2, 1, 3, 8, 8))
    return x, np.array([3]), target
