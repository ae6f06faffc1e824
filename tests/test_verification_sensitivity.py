"""A millionth of one coefficient at one time step is noticed in float64, a hundred-thousandth in float32, and named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from verification.coefficients import COEFFICIENTS
from verification.sensitivity import (
    LIMITS,
    Dose,
    dose_at,
    doses_of,
    entries,
    finding,
    notices,
    page,
    power,
    trials,
    zeros,
)

CHAINS = (("linear", 10), ("cosine", 50))
LONG_CHAINS = (("linear", 1000), ("cosine", 1000), ("linear", 4000))


def unnoticed(coefficient: str, chains: tuple[tuple[str, int], ...]) -> list[str]:
    """The sampled entries of which an error of the required size is not noticed where it is."""
    missed = []
    for schedule, T in chains:
        for dtype, limit in LIMITS.items():
            for t in entries(coefficient, T, schedule):
                found = finding(coefficient, t, limit, schedule=schedule, num_timesteps=T, dtype=dtype)
                if not notices(found, t):
                    missed.append(f"{schedule}-{T} {dtype} t={t}: {found.check} {found.status} {found.where}")
    return missed


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_error_of_one_entry_is_noticed_and_its_time_step_named(coefficient: str) -> None:
    assert not unnoticed(coefficient, CHAINS)


@pytest.mark.parametrize("coefficient", ["q_sample.eps", "p_step.z", "tables.posterior_coef_x_t"])
def test_so_it_is_in_a_chain_of_a_thousand_steps(coefficient: str) -> None:
    assert not unnoticed(coefficient, LONG_CHAINS[:1])


@pytest.mark.slow
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_so_it_is_in_long_chains(coefficient: str) -> None:
    assert not unnoticed(coefficient, LONG_CHAINS)


def test_entries_hold_both_ends_the_middle_and_no_zero() -> None:
    assert {0, 1, 50, 99} <= set(entries("q_sample.x_0", 100))
    assert 0 not in entries("p_step.z", 100)
    assert zeros("q_posterior.x_t", 10, "linear") == {0}
    assert entries("q_sample.eps", 1) == [0]


def test_dose_is_noticed_and_a_quarter_of_it_is_not() -> None:
    for coefficient, t, dtype in (("q_sample.eps", 25, "float64"), ("ddim_step.eps_hat", 30, "float32")):
        dose = dose_at(coefficient, t, dtype)
        assert dose < LIMITS[dtype] / 2
        assert notices(finding(coefficient, t, dose, num_timesteps=50, dtype=dtype), t)
        assert not notices(finding(coefficient, t, dose / 4, num_timesteps=50, dtype=dtype), t)


def test_doses_are_taken_of_every_coefficient_in_every_dtype() -> None:
    assert len(trials()) == len(COEFFICIENTS) * len(LIMITS)
    (dose,) = doses_of(("q_step.eps", "float64"))
    assert (dose.check, dose.fault) == ("FWD-3", "")
    assert dose.smallest < 1e-9


def test_dose_above_its_limit_is_a_fault_that_says_what_was_missed() -> None:
    fault = Dose("q_step.eps", "float32", "FWD-3", math.inf, 1e-5, 7).fault
    for part in ("FWD-3", "q_step.eps", "float32", "t=7", "1e-05"):
        assert part in fault


def test_finding_must_name_the_time_step_itself() -> None:
    found = finding("q_sample.x_0", 17, 1e-3, num_timesteps=50)
    assert notices(found, 17)
    assert not notices(found, 1)
    assert not notices(found, 7)


PAGE = Path(__file__).parent.parent / "docs" / "sensitivity.md"
DOCUMENTED = {
    cells[1].strip(" `"): [float(cell) for cell in cells[3:5]]
    for cells in (line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `"))
}


def test_page_has_every_coefficient_and_keeps_the_limits() -> None:
    assert list(DOCUMENTED) == list(COEFFICIENTS)
    for smallest in DOCUMENTED.values():
        assert all(dose <= limit for dose, limit in zip(smallest, LIMITS.values(), strict=True))


def held_to_the_page(coefficient: str) -> None:
    for dtype, documented in zip(LIMITS, DOCUMENTED[coefficient], strict=True):
        (dose,) = doses_of((coefficient, dtype))
        assert documented / 100 < dose.smallest <= 2 * documented, (dtype, dose)


@pytest.mark.parametrize("coefficient", ["q_sample.eps", "q_posterior.variance", "tables.alpha_bar"])
def test_page_says_what_is_measured(coefficient: str) -> None:
    held_to_the_page(coefficient)


@pytest.mark.slow
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_whole_page_says_what_is_measured(coefficient: str) -> None:
    held_to_the_page(coefficient)


def test_powers_of_ten_are_rounded_up() -> None:
    assert [power(dose) for dose in (3e-14, 1e-6, 9.9e-8, math.inf)] == ["1e-13", "1e-06", "1e-07", "not noticed"]
    made = page([Dose("q_step.eps", dtype, "FWD-3", 3e-9, 1e-5, 7) for dtype in LIMITS])
    assert "| `q_step.eps` | FWD-3 | 1e-08 | 1e-08 |" in made
