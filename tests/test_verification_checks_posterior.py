"""The checks of the posterior and of the variances accept what is right and notice each wrong coefficient."""

from __future__ import annotations

import numpy as np
import pytest
from nudged import NUDGE, NudgedMethod, Undeclared, false_alarms, few_correct, finding, many_correct

from verification.mutants import load_mutants
from verification.protocol import Array
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()

CHECKS = ("POST-1", "POST-3", "VAR-1", "VAR-2")


@pytest.mark.parametrize("check", CHECKS)
def test_correct_subjects_pass(check: str) -> None:
    assert not false_alarms(check, many_correct())


def test_correct_subjects_give_every_path_one_density() -> None:
    assert not false_alarms("POST-2", few_correct())


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize(
    ("argument", "place"),
    [(0, "q_posterior mean, t={t}, coefficient of x_0"), (1, "q_posterior mean, t={t}, coefficient of x_t"),
     (-1, "q_posterior variance, t={t}, column=0")],
)  # fmt: skip
def test_one_coefficient_of_the_posterior_off_is_noticed_and_named(argument: int, place: str, dtype: str) -> None:
    for schedule, T in (("linear", 10), ("cosine", 200)):
        for t in (1, 7, T - 1):
            found = finding("POST-1", NudgedMethod(schedule, T, dtype=dtype).nudge("q_posterior", argument, t))
            assert (found.status, found.where) == ("failed", place.format(t=t))


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_one_reverse_variance_off_is_noticed_and_named(variance: str, dtype: str) -> None:
    for t in (1, 5, 9):
        subject = NudgedMethod("linear", 10, variance, dtype=dtype).nudge("p_mean_variance", -1, t)
        found = finding("VAR-1", subject)
        assert (found.status, found.where) == ("failed", f"p_mean_variance, t={t}")


@pytest.mark.parametrize("dtype", NUDGE)
def test_first_reverse_variance_off_is_noticed(dtype: str) -> None:
    found = finding("VAR-2", NudgedMethod("linear", 10, dtype=dtype).nudge("p_mean_variance", -1, 0))
    assert (found.status, found.where) == ("failed", "p_mean_variance, t=0")


def test_swapped_coefficients_are_named() -> None:
    found = finding("POST-1", MUTANTS["M24"].make())
    assert "posterior_coef_x_t where posterior_coef_x_0 belongs" in found.diagnosis


def test_variance_without_a_factor_is_named() -> None:
    found = finding("POST-1", MUTANTS["P05"].make())
    assert found.where.startswith("q_posterior variance")
    assert "beta / (1 - alpha_bar)" in found.diagnosis


class SlightlyWide(ReferenceSubject):
    """The posterior's variance is 1 % too large, its mean is right."""

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        mean, variance = super().q_posterior(x_0, x_t, t)
        return mean, np.asarray(variance * 1.01, self.dtype)


class SlightlyOff(ReferenceSubject):
    """The posterior's mean is 1 % of a standard deviation too high, its variance is right."""

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        mean, variance = super().q_posterior(x_0, x_t, t)
        return np.asarray(mean + 0.01 * np.sqrt(variance), self.dtype), variance


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize("mutant", [SlightlyWide, SlightlyOff])
def test_path_densities_notice_a_posterior_that_is_a_little_wrong(mutant: type[ReferenceSubject], dtype: str) -> None:
    found = finding("POST-2", mutant("linear", 50, dtype=dtype))
    assert found.status == "failed"
    assert "taken by the process" in found.where


@pytest.mark.parametrize("number", ["M09", "M12", "M13", "M14", "M16", "M24", "P05"])
def test_path_densities_notice_catalogued_mistakes(number: str) -> None:
    assert finding("POST-2", MUTANTS[number].make()).status == "failed"


def test_path_densities_need_no_declared_schedule() -> None:
    assert finding("POST-2", Undeclared("linear", 100, dtype="float32")).status == "passed"


@pytest.mark.parametrize("number", ["M27", "P05", "M10"])
def test_variance_and_its_logarithm_that_differ_are_noticed(number: str) -> None:
    assert finding("POST-3", MUTANTS[number].make()).status == "failed"


@pytest.mark.parametrize("dtype", NUDGE)
def test_one_log_variance_off_is_noticed_and_named(dtype: str) -> None:
    class Nudged(ReferenceSubject):
        def _make_tables(self, beta: Array) -> None:
            super()._make_tables(beta)
            self.posterior_log_variance[7] += NUDGE[self.dtype]

    found = finding("POST-3", Nudged("linear", 10, dtype=dtype))
    assert (found.status, found.where) == ("failed", "exp(posterior_log_variance), t=7")


class Outside(ReferenceSubject):
    """A variance of its own name, larger than beta."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.model_variance = np.append(self.model_variance[0], 1.001 * beta[1:])
        self.variance = "learned"


class Inside(ReferenceSubject):
    """A variance of its own name between the two."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.model_variance = np.append(self.model_variance[0], np.sqrt(beta * self.posterior_variance)[1:])
        self.variance = "learned"


class PerImage(ReferenceSubject):
    """A variance of shape (B,), which fits no image."""

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        mean, variance = super().p_mean_variance(x_t, t, eps_hat)
        return mean, variance.reshape(-1)


class NotANumber(ReferenceSubject):
    """A reverse variance that is NaN at one t."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.model_variance[3] = np.nan


@pytest.mark.parametrize("mutant", [Outside, PerImage, NotANumber])
def test_impossible_reverse_variance_is_noticed(mutant: type[ReferenceSubject]) -> None:
    assert finding("VAR-1", mutant("linear", 10)).status == "failed"


def test_variance_of_another_name_passes_between_the_two() -> None:
    assert finding("VAR-1", Inside("linear", 10)).status == "passed"


@pytest.mark.parametrize("number", ["M27", "P07"])
def test_variance_other_than_the_one_named_is_noticed(number: str) -> None:
    assert finding("VAR-1", MUTANTS[number].make()).status == "failed"


def test_clipped_logarithm_is_named() -> None:
    found = finding("VAR-2", MUTANTS["P01"].make())
    assert found.status == "failed"
    assert "1e-20" in found.diagnosis


class BetaFirst(ReferenceSubject):
    """Fixed large with beta_1 itself at the first step."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.model_variance = np.append(beta[:1], self.model_variance[1:])


def test_first_variance_that_is_not_replaced_is_noticed() -> None:
    assert finding("VAR-2", BetaFirst(variance="beta")).status == "failed"
