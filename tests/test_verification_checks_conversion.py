"""The checks of the conversions accept what is right and notice each wrong coefficient."""

from __future__ import annotations

import numpy as np
import pytest
from nudged import NUDGE, NudgedMethod, false_alarms, few_correct, finding, many_correct

from verification.checks_conversion import INPUTS
from verification.mutants import load_mutants
from verification.protocol import Array
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()


@pytest.mark.parametrize("check", ["CONV-2", "CONV-3"])
def test_correct_subjects_pass(check: str) -> None:
    assert not false_alarms(check, many_correct())


def test_correct_subjects_convert_everything_into_everything() -> None:
    assert not false_alarms("CONV-1", few_correct())


@pytest.mark.parametrize("dtype", NUDGE)
@pytest.mark.parametrize("method", INPUTS)
def test_one_coefficient_off_is_noticed_and_named(method: str, dtype: str) -> None:
    for argument, name in zip((0, 2), INPUTS[method], strict=True):
        if (method, name) == ("score", "x_t"):
            continue  # its coefficient is 0, which no factor changes
        for schedule, T in (("linear", 10), ("cosine", 100)):
            for t in (0, 7, T - 1):
                found = finding("CONV-1", NudgedMethod(schedule, T, dtype=dtype).nudge(method, argument, t))
                assert (found.status, found.where) == ("failed", f"{method}, t={t}, coefficient of {name}")


class ByAlpha(ReferenceSubject):
    """Divides by sqrt(alpha) where sqrt(alpha_bar) belongs."""

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        return (x_t - self._at(np.sqrt(1 - self.alpha_bar), t, x_t) * eps) / self._at(np.sqrt(self.alpha), t, x_t)


class NotInverted(ReferenceSubject):
    """eps without its division."""

    def predict_eps(self, x_t: Array, t: Array, x_0: Array) -> Array:
        return np.asarray(x_t - self._at(np.sqrt(self.alpha_bar), t, x_t) * x_0)


class SignOfV(ReferenceSubject):
    """x_0 from v with a plus."""

    def predict_x_0_from_v(self, x_t: Array, t: Array, v: Array) -> Array:
        return super().predict_x_0_from_v(x_t, t, -v)


class ScoreSign(ReferenceSubject):
    """The score points away."""

    def score(self, x_t: Array, t: Array, eps: Array) -> Array:
        return -super().score(x_t, t, eps)


@pytest.mark.parametrize(
    ("mutant", "formula"),
    [(ByAlpha, "alpha"), (NotInverted, "1"), (SignOfV, "sign flipped"), (ScoreSign, "sign flipped")],
)
def test_wrong_formula_is_named(mutant: type[ReferenceSubject], formula: str) -> None:
    found = finding("CONV-1", mutant())
    assert found.status == "failed"
    assert formula in found.diagnosis


def test_unscaled_score_is_noticed() -> None:
    assert {finding(check, MUTANTS["M47"].make()).status for check in ("CONV-1", "CONV-2")} == {"failed"}


def test_velocity_that_is_no_rotation_is_noticed() -> None:
    assert {finding(check, MUTANTS["P06"].make()).status for check in ("CONV-1", "CONV-3")} == {"failed"}


class Mirrored(ReferenceSubject):
    """The negative of v: lengths are kept, orientation is not."""

    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        return -super().velocity(x_0, t, eps)


def test_velocity_of_the_wrong_sign_is_noticed_by_its_orientation() -> None:
    found = finding("CONV-3", Mirrored())
    assert found.status == "failed"
    assert "oriented area" in found.where


@pytest.mark.parametrize("number", ["M10", "M24", "M32", "M34"])
def test_means_that_disagree_are_noticed(number: str) -> None:
    assert finding("CONV-2", MUTANTS[number].make()).status == "failed"


def test_means_agree_when_the_reverse_step_clips() -> None:
    assert finding("CONV-2", ReferenceSubject(clip_x_0=True)).status == "passed"


class NaNAtTheEnd(ReferenceSubject):
    """predict_x_0 overflows at the last step."""

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        right = super().predict_x_0(x_t, t, eps)
        return np.where((t == self.num_timesteps - 1).reshape(-1, *[1] * (x_t.ndim - 1)), np.nan, right)


def test_nan_is_never_close_to_anything() -> None:
    found = finding("CONV-1", NaNAtTheEnd())
    assert found.status == "failed"
    assert "t=999" in found.where
