"""Every type is as right as its roundoff lets it be, and a type that loses the noise is named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pytest
from judged import complaints, failure

from verification.reference import ReferenceSubject

Array = np.ndarray
BOTH = ("DTY-1", "MODE-2")
ALL = (*BOTH, "MODE-2.reverse", "MODE-2.samplers", "MODE-2.network")


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"dtype": "float16"},
        {"schedule": "cosine", "dtype": "float32"},
        {"num_timesteps": 1},
        {"num_timesteps": 4000},
        {"variance": "beta", "clip_x_0": True, "num_timesteps": 10},
    ],
    ids=str,
)
def test_right_subject_passes_in_every_type(choices: dict[str, Any]) -> None:
    assert complaints(ReferenceSubject(**choices, network=True), *ALL) == []


class Bent(ReferenceSubject, ABC):
    """A subject whose forward process in float16 alone went through `bend`."""

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        made = super().q_sample(x_0, t, eps)
        return np.asarray(self.bend(made, t), self.dtype) if self.dtype == "float16" else made

    @abstractmethod
    def bend(self, made: Array, t: Array) -> Array:
        """What becomes of x_t."""


class Slightly(Bent):
    """One part in a hundred."""

    def bend(self, made: Array, t: Array) -> Array:
        return made * np.float16(1.01)


def at(step: int, t: Array, like: Array) -> Array:
    """Whether an image is at `step`, in the rank of the images."""
    return np.reshape(t == step, (-1,) + (1,) * (like.ndim - 1))


class NanAtTheEnd(Bent):
    """NaN at the last step."""

    def bend(self, made: Array, t: Array) -> Array:
        return np.where(at(999, t, made), np.nan, made)


class LostAtFirst(Bent):
    """No noise at the first step."""

    def bend(self, made: Array, t: Array) -> Array:
        return np.where(at(0, t, made), 0, made)


@pytest.mark.parametrize("wrong", [Slightly, NanAtTheEnd, LostAtFirst])
@pytest.mark.parametrize("check_id", BOTH)
def test_mistake_in_half_precision_alone_is_noticed(wrong: type[Bent], check_id: str) -> None:
    assert "dtype=float16" in failure(wrong(), check_id).where


def test_step_that_loses_its_noise_is_named() -> None:
    assert failure(LostAtFirst(), "DTY-1").where == "dtype=float16, t=0"


class Deaf(ReferenceSubject):
    """A subject that answers in float32 whatever type is asked for."""

    def variant(self, **choices: Any) -> ReferenceSubject:
        return super().variant(**{**choices, "dtype": "float32"})


def test_type_that_is_silently_replaced_is_noticed() -> None:
    assert "the variant says float32" in failure(Deaf(), "MODE-2").reason


class Mute(ReferenceSubject):
    """A subject that refuses half precision without saying why."""

    def variant(self, **choices: Any) -> ReferenceSubject:
        if choices.get("dtype") in ("float16", "bfloat16"):
            raise ValueError
        return super().variant(**choices)


@pytest.mark.parametrize("check_id", BOTH)
def test_refusal_needs_a_sentence(check_id: str) -> None:
    assert failure(Mute(), check_id).where.startswith("dtype=")


class NanBackwards(ReferenceSubject):
    """NaN in the mean of the last step back, in float16 alone."""

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        mean, variance = super().p_mean_variance(x_t, t, eps_hat)
        return np.where(at(0, t, mean) & (self.dtype == "float16"), np.nan, mean), variance


class NoisyDdim(ReferenceSubject):
    """One part in a hundred too much in DDIM's steps, in float16 alone."""

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        made = super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)
        return made * np.float16(1.01) if self.dtype == "float16" else made


@pytest.mark.parametrize("wrong", [NanBackwards, NoisyDdim])
def test_step_back_that_is_wrong_in_half_precision_alone_is_noticed(wrong: type[ReferenceSubject]) -> None:
    assert "dtype=float16" in failure(wrong(), "MODE-2.reverse").where


def test_chain_that_half_precision_cannot_hold_is_not_asked_of_it_but_of_float32() -> None:
    """sqrt(alpha_bar) falls to 2e-9 in 4000 linear steps: float16 has no number for its inverse, float32 has."""

    class Wrong(ReferenceSubject):
        def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
            mean, variance = super().p_mean_variance(x_t, t, eps_hat)
            return mean * np.asarray(1.01 if self.dtype == "float32" else 1.0, mean.dtype), variance

    assert "dtype=float32" in failure(Wrong(num_timesteps=4000), "MODE-2.reverse").where
