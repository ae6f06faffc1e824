"""Each bent coefficient fails the check that identifies it, and the diagnosis names the formula it was bent to."""

from __future__ import annotations

import pytest

from verification.check import load_checks, run_checks
from verification.coefficients import COEFFICIENTS, judge_of
from verification.mutants import load_mutants
from verification.mutants_coefficients import SAYS

MUTANTS = load_mutants()
CHECKS = load_checks()


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_wrong_coefficient_is_noticed_and_its_formula_named(coefficient: str) -> None:
    planted = [name for name in SAYS if name.partition(":")[0] == coefficient]
    assert len(planted) >= 6
    wrong = []
    for name in planted:
        (found,) = run_checks(MUTANTS[name].make(), [CHECKS[judge_of(coefficient)]])
        if found.status != "failed" or SAYS[name] not in found.diagnosis:
            wrong.append(f"{name} {found.status}: {found.diagnosis!r} instead of {SAYS[name]!r}")
    assert not wrong, "\n".join(wrong)


def test_hundreds_of_wrong_formulas_are_named() -> None:
    named = [name for name, says in SAYS.items() if says]
    assert len(named) >= 300
    assert len({says for says in SAYS.values() if says}) >= 25


def test_right_coefficients_are_not_called_wrong() -> None:
    right = MUTANTS["q_sample.x_0:squared"].right()
    for found in run_checks(right, [CHECKS[each] for each in sorted({judge_of(name) for name in COEFFICIENTS})]):
        assert (found.status, found.diagnosis) == ("passed", "")
