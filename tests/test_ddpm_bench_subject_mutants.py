"""Each wrong version of the MindSpore DDPM fails the checks it names; the right one is judged elsewhere and passes."""

from __future__ import annotations

import pytest

from ddpm_bench.errors import ConfigError
from ddpm_bench.subject import MindSporeSubject
from ddpm_bench.subject_mutants import CHOICES, load_mutants, wrong_subject
from verification.check import run_checks, select
from verification.kill_matrix import answering
from verification.mutants import load_mutants as load_own
from verification.report import sentence

MUTANTS = load_mutants()
CHECKS = {check.id: check for check in select("full")}
SLOW = {
    "S20",
    "S22",
    "S41",
    "S43",
    "S44",
    "S45",
    "S46",
    "S47",
    "S48",
    "S50",
    "S51",
    "S52",
    "S53",
    "S54",
    "S58",
    "S61",
    "S62",
    "S64",
}
"""A network's checks make a float64 network of their own first; the self-test runs them all."""


@pytest.mark.parametrize(
    "number", [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in MUTANTS]
)
def test_wrong_ddpm_fails_the_checks_that_it_names(number: str) -> None:
    """All on one subject, as in a run: they share what they ask of it."""
    answers = {each: answering(each, list(CHECKS.values())) for each in MUTANTS[number].killed_by}
    wanted = dict.fromkeys(check for checks in answers.values() for check in checks)
    found = {each.check: each for each in run_checks(MUTANTS[number].make(), [CHECKS[check] for check in wanted])}
    for checks in answers.values():
        assert "failed" in {found[each].status for each in checks}, [sentence(found[each]) for each in checks]


def test_there_are_enough_and_none_is_called_as_one_of_the_references() -> None:
    assert len(MUTANTS) >= 25
    assert not MUTANTS.keys() & load_own().keys()


def test_right_counterpart_is_the_ddpm_itself() -> None:
    right = MUTANTS["S11"].right()
    assert type(right) is MindSporeSubject
    assert (right.mode, right.num_timesteps, right.clip_x_0) == ("pynative", CHOICES["num_timesteps"], True)
    assert MUTANTS["S11"].control != MUTANTS["S12"].control == MUTANTS["S13"].control


def test_variant_of_a_wrong_ddpm_is_as_wrong() -> None:
    assert type(MUTANTS["S08"].make().variant(num_timesteps=3)) is MUTANTS["S08"].subject


def test_id_is_given_once() -> None:
    with pytest.raises(ConfigError, match="S01"):
        wrong_subject("S01", "again")(MindSporeSubject)
