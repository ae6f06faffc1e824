"""MindSpore's kernels, measured: no worse than the judge allows for, in any mode, and what is missing is said."""

from __future__ import annotations

from typing import Any

import pytest

from ddpm_bench import kernels
from ddpm_bench.kernel_truth import TRIALS
from verification.kernel_ledger import beyond

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Fewer points than the command asks for, so that it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "MANY", 20_000)
        patch.setattr(kernels, "FEW", 400)
        return kernels.measure()


def test_every_operator_is_measured_in_every_type_and_mode(rows: Rows) -> None:
    keys = {(row["op"], row["reach"], row["dtype"], row["mode"]) for row in rows}
    assert len(keys) == len(rows) == 8 * len(TRIALS)


def test_no_kernel_is_worse_than_the_judge_allows_for(rows: Rows) -> None:
    assert not beyond(rows)


def test_float32_and_float64_kernels_are_there(rows: Rows) -> None:
    """But for float64 convolutions, which MindSpore does not have on CPU."""
    absent = {
        (row["op"], row["dtype"]) for row in rows if "unsupported" in row and row["dtype"] in ("float32", "float64")
    }
    assert absent <= {("conv2d", "float64")}


def test_sums_of_products_are_good_to_a_few_roundings(rows: Rows) -> None:
    for row in rows:
        if row["op"] in ("matmul", "conv2d") and "unsupported" not in row:
            assert row["ulps"] < 16, row


def test_operator_that_is_not_there_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(kernels.OPERATORS, "erf")
    (trial,) = (each for each in TRIALS if each.op == "erf")
    for row in kernels._rows(trial, "float32"):
        assert row["unsupported"] == "KeyError: 'erf'"
