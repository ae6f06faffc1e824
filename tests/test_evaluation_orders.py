"""Whoever computes the same numbers in another order has no finding against him, in any check of the quick tier."""

from __future__ import annotations

from typing import Any

import pytest
from evaluation_orders import ORDERS, AccumulatedVariance

from verification.check import run_checks, select
from verification.reference import ReferenceSubject
from verification.report import sentence


@pytest.mark.parametrize(
    "choices",
    [{"dtype": "float32", "variance": "beta", "clip_x_0": True}, {"schedule": "cosine"}],
    ids=str,
)
@pytest.mark.parametrize("order", ORDERS[1:])
def test_another_order_of_arithmetic_passes_every_check(order: type[ReferenceSubject], choices: dict[str, Any]) -> None:
    checks = [each for each in select("quick") if order is not AccumulatedVariance or each.id != "MODE-2"]
    findings = run_checks(order(num_timesteps=100, **choices), checks)
    assert [f"{f.check}: {sentence(f)}" for f in findings if f.status not in ("passed", "skipped")] == []
