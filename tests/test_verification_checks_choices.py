"""Other settings of a subject are judged too, and names that do not exist must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nudged import false_alarms, few_correct, finding

from verification.mutants import load_mutants
from verification.protocol import Array
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()

CHECKS = ("SCH-8", "SCH-10", "NAM-1")


@pytest.mark.parametrize("check", CHECKS)
def test_correct_subjects_pass(check: str) -> None:
    assert not false_alarms(check, few_correct()[::3])


class WithoutVariant(ReferenceSubject):
    """A subject of somebody else, who has one setting."""

    @property
    def variant(self) -> Any:  # type: ignore[override]  # the protocol's methods may be missing
        raise AttributeError("variant")


def test_subject_without_variants_is_judged_at_its_own_edges() -> None:
    assert finding("SCH-8", WithoutVariant()).status == "passed"
    assert {finding(check, WithoutVariant()).status for check in ("SCH-10", "NAM-1")} == {"skipped"}


class PastTheEnd(ReferenceSubject):
    """alpha_bar_prev by index t - 1, where -1 is the last: right for no chain, and invisible in the middle of one."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        prev = self.alpha_bar[np.arange(len(beta)) - 1]
        self.posterior_coef_x_0 = np.sqrt(prev) * beta / (1 - self.alpha_bar)


class ShortChains(ReferenceSubject):
    """One step is treated as if it were two."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(np.append(beta, beta)[1:] if len(beta) == 1 else beta)
        if len(beta) == 1:
            self.posterior_coef_x_0 = self.posterior_coef_x_0 * 0.5


class NotCapped(ReferenceSubject):
    """Capped schedules with another cap, in variants only."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(np.minimum(beta, 0.99))


class NoiseLeft(ReferenceSubject):
    """A posterior variance at t = 0 that is not 0."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_variance[0] = 1e-9


@pytest.mark.parametrize("mutant", [PastTheEnd, ShortChains, NotCapped, NoiseLeft])
def test_broken_edge_is_noticed(mutant: type[ReferenceSubject]) -> None:
    assert finding("SCH-8", mutant()).status == "failed"


class Reaching(ReferenceSubject):
    """jsd without its cap: the last beta is 1."""

    def _make_tables(self, beta: Array) -> None:
        beta = beta.copy()
        beta[-1] = 1 if beta[-1] == 0.999 else beta[-1]
        super()._make_tables(beta)


class Underflowing(ReferenceSubject):
    """alpha_bar in float32 tables that reach 0 in long chains."""

    def tables(self) -> dict[str, Array]:
        tables = super().tables()
        return {**tables, "alpha_bar": np.where(tables["alpha_bar"] < 1e-20, 0, tables["alpha_bar"])}


class Speechless(ReferenceSubject):
    """Refuses long chains without saying why."""

    def variant(self, **choices: Any) -> ReferenceSubject:
        if choices.get("num_timesteps", 0) > 1000:
            raise ValueError
        return super().variant(**choices)


@pytest.mark.parametrize("mutant", [Reaching, Underflowing, Speechless])
def test_schedule_that_breaks_at_some_length_is_noticed(mutant: type[ReferenceSubject]) -> None:
    assert finding("SCH-10", mutant()).status == "failed"


class Explains(ReferenceSubject):
    """Refuses long chains, and says so."""

    def variant(self, **choices: Any) -> ReferenceSubject:
        if choices.get("num_timesteps", 0) > 1000:
            raise ValueError(f"at most 1000 steps, not {choices['num_timesteps']}")
        return super().variant(**choices)


def test_refusal_with_a_sentence_is_accepted() -> None:
    assert {finding(check, Explains()).status for check in ("SCH-8", "SCH-10")} == {"passed"}


class FallsBack(ReferenceSubject):
    """An unknown schedule is silently replaced by the linear one."""

    def variant(self, **choices: Any) -> ReferenceSubject:
        if choices.get("schedule") == "linaer":
            choices["schedule"] = "linear"
        return super().variant(**choices)


class Terse(ReferenceSubject):
    """Refuses an unknown variance without naming the known ones."""

    def variant(self, **choices: Any) -> ReferenceSubject:
        if choices.get("variance", "beta") not in ("posterior", "beta"):
            raise ValueError("no such variance")
        return super().variant(**choices)


class IgnoresOptions(ReferenceSubject):
    """An option that nobody has is ignored."""

    def variant(self, **choices: Any) -> ReferenceSubject:
        return super().variant(**{name: value for name, value in choices.items() if name != "shedule"})


@pytest.mark.parametrize(
    ("mutant", "place"), [(FallsBack, "schedule='linaer'"), (Terse, "variance="), (IgnoresOptions, "shedule=")]
)
def test_name_that_is_not_refused_properly_is_noticed(mutant: type[ReferenceSubject], place: str) -> None:
    found = finding("NAM-1", mutant())
    assert found.status == "failed"
    assert place in found.where


def test_everything_accepted_is_noticed() -> None:
    assert finding("NAM-1", MUTANTS["P03"].make()).status == "failed"
