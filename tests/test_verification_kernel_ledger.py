"""The ledger tells a kernel that is worse than it grants, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from verification.kernel_ledger import LEDGER, beyond


def measured(op: str = "log", dtype: str = "float32", **changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"op": op, "dtype": dtype, "device": "CPU", "mode": "graph", "reach": 1e4}
    return {**usual, "hull": [[0.0, 3e-7], [2.0, 12.9e-7]], "not_finite": 0, **changes}


def test_kernel_as_good_as_granted_is_not_mentioned() -> None:
    """Row "log": 5e-7 of the result and 3e-7: both corners lie on the line or under it."""
    assert beyond([measured()]) == []


@pytest.mark.parametrize("hull", [[[0.0, 3.1e-7]], [[0.0, 3e-7], [2.0, 1.31e-6]]])
def test_corner_beyond_the_line_is_told_with_both_values(hull: list[list[float]]) -> None:
    (told,) = beyond([measured(hull=hull)])
    assert told.startswith("log float32 up to 10000, graph on CPU: error ")
    assert "1.03 times" in told or "1.01 times" in told


def test_result_that_is_no_number_is_told() -> None:
    (told,) = beyond([measured(not_finite=2)])
    assert "2 results are no finite numbers" in told


def test_error_where_nothing_is_granted_is_told() -> None:
    (told,) = beyond([measured("sin", hull=[[0.0, 1e-12]], reach=1000.0)])
    assert "inf times" in told


def test_kernel_is_held_against_the_narrowest_row_that_covers_it() -> None:
    within_twenty = measured("exp", reach=20.0, hull=[[1.0, 8e-6]])
    assert not beyond([within_twenty])
    assert beyond([{**within_twenty, "reach": 8.0}])


def test_what_the_ledger_does_not_have_or_the_device_lacks_is_passed_over() -> None:
    assert not beyond([measured("gelu"), measured("exp", reach=1e6), {**measured(), "unsupported": "no"}])


def test_rows_grant_something_and_each_is_there_once() -> None:
    assert len({(row.op, row.dtype, row.reach) for row in LEDGER}) == len(LEDGER)
    assert all(0 < row.relative < 1e-3 and 0 <= row.absolute < 1e-5 for row in LEDGER)
