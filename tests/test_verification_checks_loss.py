"""Checks of loss, gradient and moving average: silent on correct subjects, exact about planted mistakes."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from judged import complaints, failure

from verification.protocol import Array, EpsModel, Subject
from verification.reference import SCHEDULES, ReferenceSubject

ALL = ("LOS-1", "LOS-2", "GRD-1", "EMA-1")


@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_correct_subjects_pass(T: int, dtype: str, parameterization: str) -> None:
    for schedule in ("linear", "cosine"):
        subject = ReferenceSubject(schedule, T, dtype=dtype, parameterization=parameterization)
        assert not complaints(subject, *ALL), subject.name


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_passes(schedule: str) -> None:
    for dtype in ("float64", "float32"):
        assert not complaints(ReferenceSubject(schedule, 200, dtype=dtype), *ALL)


class Plain:
    """Somebody else's subject: no choice of objective, and the paper's without saying so."""

    name, dtype, num_timesteps, variance, clip_x_0 = "plain", "float64", 50, "posterior", False

    def __init__(self) -> None:
        whole = ReferenceSubject("linear", 50)
        self.schedule, self.tables = whole.schedule, whole.tables
        self.loss, self.linear_loss_gradient, self.ema = whole.loss, whole.linear_loss_gradient, whole.ema


def test_a_subject_without_choices_is_judged_by_the_papers_objective() -> None:
    assert not complaints(cast("Subject", Plain()), *ALL)


class Wrong(ReferenceSubject):
    """A loss to get wrong: `target` and `reduce` may be replaced."""

    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        return self.reduce((self.target(x_0, t, eps) - eps_model(self.q_sample(x_0, t, eps), t)) ** 2)

    def reduce(self, squares: Array) -> float:
        return float(squares.mean())


class SumsPixels(Wrong):
    def reduce(self, squares: Array) -> float:
        return float(squares.sum(axis=1).mean())


class SumsBatch(Wrong):
    def reduce(self, squares: Array) -> float:
        return float(squares.sum(axis=0).mean())


class Halves(Wrong):
    def reduce(self, squares: Array) -> float:
        return float(squares.mean() / 2)


@pytest.mark.parametrize(
    ("subject", "said"),
    [(SumsPixels, "a sum over the pixels"), (SumsBatch, "a sum over the batch"), (Halves, "half")],
)
def test_wrong_reduction_is_noticed_and_named(subject: type[ReferenceSubject], said: str) -> None:
    assert said in failure(subject("linear", 50), "LOS-2").diagnosis


class VelocitySign(Wrong):
    """Its v objective has the other sign; only `variant` reaches it."""

    def target(self, x_0: Array, t: Array, eps: Array) -> Array:
        made = super().target(x_0, t, eps)
        return -made if self.parameterization == "v" else made


class PredictsNoise(Wrong):
    """Compares with eps whatever it was asked to predict."""

    def target(self, x_0: Array, t: Array, eps: Array) -> Array:
        return np.asarray(eps)


@pytest.mark.parametrize(("subject", "kind"), [(VelocitySign, "v"), (PredictsNoise, "x_0")])
def test_a_wrong_target_is_noticed_in_the_objective_that_has_it(subject: type[ReferenceSubject], kind: str) -> None:
    for check in ("LOS-1", "LOS-2") if subject is PredictsNoise else ("LOS-1",):
        assert f"loss of {kind}" in complaints(subject("linear", 50), check)[0]


class AsksTwice(Wrong):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        eps_model(self.q_sample(x_0, t, eps), t)
        return super().loss(eps_model, x_0, t, eps)


class TellsAnotherTime(Wrong):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        return super().loss(lambda x_t, t: eps_model(x_t, np.maximum(t - 1, 0)), x_0, t, eps)


@pytest.mark.parametrize(("subject", "where"), [(AsksTwice, "loss of"), (TellsAnotherTime, "t given to the model")])
def test_what_the_model_is_asked_is_judged(subject: type[ReferenceSubject], where: str) -> None:
    assert where in failure(subject("linear", 50), "LOS-1").where


class Gradient(ReferenceSubject):
    """A gradient to get wrong."""

    factor, transposed, shifted = 1.0, False, 0.0

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        made = super().linear_loss_gradient(w, x_0, t, eps) * self.factor + self.shifted
        return made.T if self.transposed else made


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"factor": 2.0}, "doubled"),
        ({"factor": -1.0}, "sign"),
        ({"factor": 5.0}, "a sum over the pixels"),
        ({"factor": 60.0}, "a sum over everything"),
        ({"transposed": True}, "transposed"),
        ({"shifted": 1e-12}, ""),
    ],
)
def test_wrong_gradients_are_noticed_and_named(wrong: dict[str, float], said: str) -> None:
    subject = Gradient("linear", 50)
    for name, value in wrong.items():
        setattr(subject, name, value)
    assert said in failure(subject, "GRD-1").diagnosis


class Average(ReferenceSubject):
    """A moving average to get wrong."""

    start_at_zero, swapped, corrected = False, False, False

    def ema(self, values: Array, decay: float) -> Array:
        if self.start_at_zero:
            values = np.concatenate([np.zeros_like(values[:1]), values])
        return super().ema(values, 1 - decay if self.swapped else decay)


@pytest.mark.parametrize(("name", "said"), [("start_at_zero", ""), ("swapped", "decay and 1 - decay are swapped")])
def test_wrong_averages_are_noticed(name: str, said: str) -> None:
    subject = Average("linear", 50)
    setattr(subject, name, True)
    assert said in failure(subject, "EMA-1").diagnosis
