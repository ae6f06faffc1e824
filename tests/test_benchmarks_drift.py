"""Identical, rounding, changed: each told from the others on outputs whose law is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import drift

GATE = {"error": 1e-6, "allowed": 1e-5}


def outputs(n: int = 4096) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(n).astype(np.float32)


def label(old: NDArray[Any], new: NDArray[Any], gates: Any = (GATE, GATE)) -> str:
    return drift.compare("a case", [old], [new], gates).label


def test_equal_bits_are_identical() -> None:
    assert label(outputs(), outputs().copy()) == "identical"


def test_neighbouring_numbers_are_one_ulp_apart_across_zero_too() -> None:
    tiny = np.float32(np.nextafter(np.float32(0), np.float32(1)))
    old = np.array([1.0, -1.0, 0.0, -tiny], np.float32)
    new = np.array(
        [np.nextafter(np.float32(1), np.float32(2)), np.nextafter(np.float32(-1), np.float32(-2)), -0.0, tiny]
    )
    assert list(drift.ulps(old, new.astype(np.float32))) == [1, 1, 0, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ulps_count_numbers_in_every_dtype(dtype: Any) -> None:
    old = np.array([-2.0, 3.5], dtype)
    new = old.copy()
    for _ in range(5):
        new = np.nextafter(new, np.array([2, -2], dtype))
    assert list(drift.ulps(old, new)) == [5, 5]


def test_a_nan_on_one_side_only_is_as_far_as_can_be() -> None:
    old, new = np.array([np.nan, np.nan], np.float32), np.array([np.nan, 1.0], np.float32)
    assert list(drift.ulps(old, new)) == [0, np.iinfo(np.int64).max]


def test_unbiased_roundings_are_rounding() -> None:
    old = outputs()
    noise = np.random.default_rng(1).standard_normal(old.shape) * 3e-7
    found = drift.compare("a case", [old], [(old + noise).astype(np.float32)], (GATE, GATE))
    assert found.label == "rounding"
    assert found.share is not None
    assert found.share > 0.5


def test_a_factor_far_inside_the_bound_is_a_change() -> None:
    """1 + 4e-7 moves an entry by three ulps, a twentieth of the bound, and all entries the same way."""
    old = outputs()
    found = drift.compare("a case", [old], [(old * np.float64(1 + 4e-7)).astype(np.float32)], (GATE, GATE))
    assert found.label == "changed"
    assert "follows the output" in found.why


def test_right_code_is_rarely_accused_of_leaning() -> None:
    """For 2000 draws of rounding the statistic stays below 5 (chance of one beyond: 0.1 %) and spreads like 1."""
    random = np.random.default_rng(2)
    old = outputs(512)
    found = [drift.lean(old, old + random.standard_normal(512) * np.float64(1e-7)) for _ in range(2000)]
    values = np.array(found, np.float64)
    assert np.abs(values).max() < 5
    assert 0.9 < values.std() < 1.1


def test_an_output_beyond_its_bound_is_a_change() -> None:
    old = outputs()
    new = old.copy()
    new[0] += np.float32(1e-6)
    assert label(old, new, (GATE, {"error": 2e-5, "allowed": 1e-5})) == "changed"


@pytest.mark.parametrize("side", [0, 1])
def test_an_output_that_its_gate_refused_is_a_change_unless_every_bit_is_the_same(side: int) -> None:
    """A refused output leaves no error and no bound: that it leaves none is no sign of keeping it."""
    old = outputs()
    new = np.nextafter(old, np.float32(0))
    gates = [GATE, GATE]
    gates[side] = {"refused": "eps_hat is off by 3"}  # type: ignore[dict-item]  # evidence of another kind
    found = drift.compare("a case", [old], [new], (gates[0], gates[1]))
    assert found.label == "changed"
    assert found.why == f"the {('old', 'new')[side]} build's output was refused: eps_hat is off by 3"
    assert label(old, old.copy(), tuple(gates)) == "identical"


@pytest.mark.parametrize("side", [0, 1])
def test_bits_that_differ_without_a_reference_on_both_sides_are_not_called_rounding(side: int) -> None:
    gates: list[Any] = [GATE, GATE]
    gates[side] = {}
    random = np.random.default_rng(1)
    new = (outputs() + random.standard_normal(4096) * 3e-7).astype(np.float32)
    found = drift.compare("a case", [outputs()], [new], (gates[0], gates[1]))
    assert found.label == "incomparable"
    assert f"the {('old', 'new')[side]} build's output was held against nothing" in found.why


def test_two_outputs_further_apart_than_both_bounds_are_a_change() -> None:
    old = outputs()
    new = old.copy()
    new[7] += np.float32(1e-3)
    assert label(old, new) == "changed"


def test_a_nan_is_a_change() -> None:
    old = outputs()
    new = old.copy()
    new[7] = np.nan
    assert label(old, new) == "changed"


@pytest.mark.parametrize("new", [outputs(10), outputs().astype(np.float64)])
def test_other_shapes_and_dtypes_are_incomparable(new: NDArray[Any]) -> None:
    assert label(outputs(), new) == "incomparable"


def test_a_build_without_output_is_incomparable_and_named() -> None:
    found = drift.compare("a case", [outputs()], None, (GATE, {}))
    assert found.label == "incomparable"
    assert "old" in found.why
