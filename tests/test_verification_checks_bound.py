"""The bound lies above the exact likelihood, for every variance and schedule, and its expectation is not sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import complaints, failure

from verification import checks_bound
from verification.checks_bound import QUADRATURE, expected_bound
from verification.draws import MIXTURE, with_few_steps
from verification.mutants import load_mutants
from verification.oracle import exact
from verification.oracle_likelihood import LEVELS
from verification.oracle_mixture import model_bits
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()
SOME = LEVELS[30:220:10]

CHOICES: list[dict[str, Any]] = [{}, {"variance": "beta"}, {"schedule": "cosine", "clip_x_0": True}]


@pytest.mark.parametrize("choices", [*CHOICES, {"dtype": "float32", "schedule": "quadratic"}], ids=str)
def test_right_bound_is_one(choices: dict[str, Any]) -> None:
    assert not complaints(ReferenceSubject(**choices), "VLB-3")


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_more_nodes_change_no_expectation_by_what_is_allowed(
    choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = with_few_steps(ReferenceSubject(**choices))
    coarse, _ = expected_bound(subject, SOME)
    monkeypatch.setattr(checks_bound, "NODES", 2 * checks_bound.NODES)
    fine, _ = expected_bound(subject, SOME)
    assert np.abs(coarse - fine).max() < QUADRATURE / 5


def test_sampled_bound_has_this_expectation() -> None:
    """20 000 draws of one level: the mean is known to five standard errors."""
    subject = with_few_steps(ReferenceSubject(variance="beta"))
    draws, level = 20_000, LEVELS[77]
    tables = exact(subject)
    eps = np.random.default_rng(0).standard_normal((tables.T, draws, 1, 1, 1))
    terms = subject.vlb_terms(
        lambda x_t, t: MIXTURE.eps_hat(tables, x_t, int(t[0])), np.full((draws, 1, 1, 1), level), eps
    )
    expected, _ = expected_bound(subject, np.array([level]))
    spread = terms["total"].std() / np.sqrt(draws)
    assert abs(terms["total"].mean() - expected[0]) < 5 * spread
    assert spread < 0.02


def test_gap_is_what_a_finite_chain_gives_away() -> None:
    """Above the likelihood at every level, by less than a bit where the variance suits."""
    subject = with_few_steps(ReferenceSubject(variance="beta"))
    bound, _ = expected_bound(subject, LEVELS[60:180:10])
    gap = bound - model_bits(exact(subject), MIXTURE, "beta")[60:180:10]
    assert gap.min() > 0.1
    assert gap.max() < 1


def test_finding_names_the_level_or_the_tight_case() -> None:
    assert "mixture, x_0 at level" in failure(MUTANTS["R18"].make(), "VLB-3").where
    assert "N(0, 1)" in failure(MUTANTS["R23"].make(), "VLB-3").where
