"""White noise passes, and each way of not being white is found by the question that asks for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from verification.check import Evidence
from verification.oracle_gaussian import Array
from verification.significance import Account
from verification.whiteness import white_evidence

N, D = 16384, 12


def judged(sample: Array, rounding: float = 0.0) -> list[Evidence]:
    return list(white_evidence(sample, Account("FWD-5"), 1.0, where="x", rounding=rounding))


def white() -> Array:
    return np.random.default_rng(0).standard_normal((N, D))


def test_white_noise_passes_all_six_questions_and_their_designs() -> None:
    evidence = judged(white())
    assert len(evidence) == 12
    assert all(each.passed for each in evidence)
    assert [each.where for each in evidence[:6]] == ["design"] * 6


def student(x: Array) -> Array:
    """Heavier tails, scaled to variance 1."""
    return np.random.default_rng(1).standard_t(4, x.shape) / np.sqrt(2)


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda x: x + 0.1 * (np.arange(D) == 3), "x, mean, column=3"),
        (lambda x: 1.02 * x, "x, variance"),
        (lambda x: 0.98 * x, "x, variance"),
        (lambda x: x * np.where(np.arange(D) == 5, 1.16**0.5, 1.0), "x, variance, column=5"),
        (
            lambda x: np.where(np.arange(D) == 1, 0.11 * x[:, :1] + np.sqrt(1 - 0.11**2) * x, x),
            "x, correlation, pair=0",
        ),
        (student, "x, distribution"),
        (lambda x: x * np.repeat([[1.3], [0.557]], N // 2, axis=0), "x, squared length of rows"),
        (lambda x: np.broadcast_to(x[:, :1], x.shape), "x, correlation"),
        (lambda x: np.broadcast_to(x[:1], x.shape), "x, mean"),
        (lambda x: 0 * x, "x, variance"),
        (lambda x: np.where(x > 3.9, np.nan, x), "x, mean"),
    ],
)
def test_every_other_noise_fails_where_it_differs(spoil: Callable[[Array], Array], where: str) -> None:
    with np.errstate(all="ignore"):
        failed = [each.where for each in judged(np.asarray(spoil(white()))) if not each.passed]
    assert any(each.startswith(where) for each in failed), failed


def test_what_rounding_adds_is_allowed() -> None:
    """Errors as large as the bound, and all of one sign, which no sample of this size could hide otherwise."""
    x = white()
    shifted = x + 0.06 * np.abs(x)
    assert not all(each.passed for each in judged(shifted))
    assert all(each.passed for each in judged(shifted, rounding=0.06))


def test_small_sample_is_refused() -> None:
    assert not all(each.passed for each in judged(white()[:8000])[:6])
