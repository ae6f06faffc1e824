"""Training arrives where mathematics says, and a training that goes astray is seen to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import complaints, failure

from verification.checks_training import MIXING, ROWS, SIZE, STEPS, Lesson
from verification.oracle import exact
from verification.reference import ReferenceSubject

Array = np.ndarray


def lesson(kind: str = "eps", step: int = 40) -> Lesson:
    return Lesson(exact(ReferenceSubject()), kind, step)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"dtype": "float32"},
        {"dtype": "float16"},
        {"schedule": "cosine", "dtype": "float32"},
        {"parameterization": "v", "dtype": "float32"},
        {"parameterization": "x_0"},
        {"num_timesteps": 1},
        {"num_timesteps": 2, "dtype": "float32"},
    ],
    ids=str,
)
def test_right_gradient_arrives(choices: dict[str, Any]) -> None:
    assert complaints(ReferenceSubject(**choices), "TRN-1") == []


def test_batch_has_the_moments_of_gaussian_data_exactly() -> None:
    x_0, _, eps = lesson().rows
    assert np.array_equal(x_0.T @ x_0 / ROWS, MIXING @ MIXING.T)
    assert np.array_equal(eps.T @ eps / ROWS, np.eye(SIZE))
    assert not (x_0.T @ eps).any()
    assert not x_0.sum(axis=0).any()
    assert not eps.sum(axis=0).any()


@pytest.mark.parametrize("step", [0, 40, 999])
def test_floor_is_the_least_squares_loss_of_the_batch(step: int) -> None:
    here = lesson(step=step)
    w, *_ = np.linalg.lstsq(here.x_t, here.target, rcond=None)
    assert here.floor == pytest.approx(here.loss(w.T), rel=1e-9)
    assert here.floor + here.excess(here.weights(STEPS)) == pytest.approx(here.loss(here.weights(STEPS)), rel=1e-9)


@pytest.mark.parametrize("kind", ["eps", "x_0", "v"])
def test_weights_follow_the_recursion_that_predicts_them(kind: str) -> None:
    here, w = lesson(kind), np.zeros((SIZE, SIZE))
    for _ in range(STEPS):
        w = w - here.rate * 2 / SIZE * (w @ here.second_moment - here.target.T @ here.x_t / ROWS)
    assert w == pytest.approx(here.weights(STEPS), abs=1e-12)


class Biased(ReferenceSubject):
    """A gradient that is right at W = 0, and off by one part in a thousand of W elsewhere: decay of the weights."""

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        return super().linear_loss_gradient(w, x_0, t, eps) + np.asarray(1e-3 * np.asarray(w), self.dtype)


class Clipped(ReferenceSubject):
    """A gradient that is clipped to norm 1/10, and nobody is told."""

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        gradient = super().linear_loss_gradient(w, x_0, t, eps)
        return np.asarray(gradient * min(1.0, 0.1 / max(float(np.linalg.norm(gradient)), 1e-30)), self.dtype)


class LateLoss(ReferenceSubject):
    """A loss one part in ten thousand too large, beside a right gradient."""

    def loss(self, *args: Any) -> float:
        return super().loss(*args) * 1.0001


class Diverging(ReferenceSubject):
    """The flipped sign; in float16 the weights soon overflow."""

    def linear_loss_gradient(self, *args: Any) -> Array:
        return np.asarray(-1e3 * super().linear_loss_gradient(*args))


@pytest.mark.parametrize("wrong", [Biased, Clipped, LateLoss, Diverging])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_that_goes_astray_is_noticed(wrong: type[ReferenceSubject], dtype: str) -> None:
    found = failure(wrong(dtype=dtype), "TRN-1")
    assert found.where.startswith("t=")


def test_wrong_loss_is_told_from_wrong_weights() -> None:
    assert failure(LateLoss(), "TRN-1").where.endswith("loss")
