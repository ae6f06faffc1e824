"""DDIM's checks: silent on every correct way to program a step, exact about what is wrong with the others."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from judged import complaints, failure
from otherwise_programmed import WAYS, AtOnce, programmed

from verification.protocol import Array, EpsModel
from verification.reference import SCHEDULES, ReferenceSubject

ALL = ("SMP-6", "STR-1", "STR-2", "STR-3", "STR-4", "SCH-9")


@pytest.mark.parametrize("clip_x_0", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("way", WAYS)
def test_correct_subjects_pass_at_any_number_of_steps(way: str, dtype: str, clip_x_0: bool) -> None:
    for T, schedule in ((1, "linear"), (2, "linear"), (2, "jsd"), (5, "warmup50"), (10, "linear"), (20, "cosine")):
        subject = programmed(way, schedule=schedule, num_timesteps=T, dtype=dtype, clip_x_0=clip_x_0)
        assert not complaints(subject, *ALL), subject.name


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_passes(schedule: str) -> None:
    for way in WAYS:
        assert not complaints(programmed(way, schedule=schedule, num_timesteps=120, dtype="float32"), *ALL)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_long_chains_pass(schedule: str) -> None:
    for way in WAYS:
        assert not complaints(programmed(way, schedule=schedule, num_timesteps=1000, dtype="float32"), *ALL)


class OneEntryOff(AtOnce):
    """One coefficient of the DDIM step wrong at one t, by a relative `error`."""

    part, at, error = "x_t", 0, 1e-6

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        def bent(name: str, values: Array) -> Array:
            off = (np.asarray(t) == self.at) & (name == self.part)
            return np.asarray(values * np.where(off, 1 + self.error, 1.0).reshape(-1, *[1] * (np.ndim(values) - 1)))

        wide = AtOnce("linear", self.num_timesteps)
        made = wide.ddim_step(bent("x_t", x_t), t, t_prev, bent("eps_hat", eps_hat), bent("z", z), eta)
        return made.astype(self.dtype)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-6), ("float32", 1e-5)])
@pytest.mark.parametrize("part", ["x_t", "eps_hat", "z"])
@pytest.mark.parametrize("at", [1, 17, 199])
def test_a_tiny_error_of_one_coefficient_is_noticed_and_named(dtype: str, error: float, part: str, at: int) -> None:
    for sign in (1, -1):
        subject = OneEntryOff("linear", 200, dtype=dtype)
        subject.part, subject.at, subject.error = part, at, sign * error
        found = failure(subject, "SMP-6")
        assert f"t={at}" in found.where
        assert part in found.where


@pytest.mark.parametrize("at", [0, 1, 60, 198])
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-6), ("float32", 1e-5)])
def test_a_tiny_error_of_one_alpha_bar_is_noticed_and_named(at: int, dtype: str, error: float) -> None:
    """It shows in the step from its own t and in the one from t + 1."""
    subject = ReferenceSubject("linear", 200, dtype=dtype)
    subject.alpha_bar = subject.alpha_bar.copy()
    subject.alpha_bar[at] *= 1 - error
    where = failure(subject, "SMP-6").where
    assert f"t={at}" in where.split(", ") or f"t={at + 1}" in where.split(", "), where


class WrapsAround(ReferenceSubject):
    """Reads alpha_bar of the last step where t_prev is -1."""

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        wrapped = np.where(np.asarray(t_prev) < 0, 0, t_prev)
        return super().ddim_step(x_t, t, wrapped, eps_hat, z, eta)


class OnlyNeighbours(ReferenceSubject):
    """Steps to t - 1 wherever it is told to go."""

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        return super().ddim_step(x_t, t, np.asarray(t) - 1, eps_hat, z, eta)


class Leading(ReferenceSubject):
    """Takes the first of each stride: never sees T - 1."""

    def timesteps(self, num_steps: int) -> Array:
        return (np.arange(num_steps) * (self.num_timesteps // num_steps))[::-1]


class Repeats(ReferenceSubject):
    """Visits one step twice for a single n."""

    def timesteps(self, num_steps: int) -> Array:
        steps = super().timesteps(num_steps).copy()
        if num_steps == 37:
            steps[5] = steps[4]
        return steps


class StopsEarly(ReferenceSubject):
    """Leaves the last step out of the loop, and returns the noisy image."""

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        (x,) = self._cast(x_T)
        steps = self.timesteps(num_steps)
        for i, (step, after) in enumerate(pairwise(steps)):
            t, t_prev = np.full(len(x), step), np.full(len(x), after)
            x = self.ddim_step(x, t, t_prev, eps_model(x, t), z[i], eta)
        return x


class EtaForgotten(ReferenceSubject):
    """Its loop is deterministic whatever eta is."""

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        return super().sample_strided(eps_model, x_T, z, num_steps, 0.0)


@pytest.mark.parametrize(
    ("subject", "check", "where"),
    [
        (WrapsAround("linear", 50), "SMP-6", "t=0"),
        (OnlyNeighbours("linear", 50), "STR-3", ""),
        (OnlyNeighbours("linear", 50), "SCH-9", ""),
        (Leading("linear", 50), "STR-1", "timesteps(1)"),
        (Leading("linear", 50), "STR-4", "n=1"),
        (Repeats("linear", 50), "STR-1", "timesteps(37)"),
        (StopsEarly("linear", 50), "STR-2", "sample_strided"),
        (EtaForgotten("linear", 50), "STR-2", "sample_strided"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ReferenceSubject) else str(value),
)
def test_a_wrong_sampler_fails_where_it_is_wrong(subject: ReferenceSubject, check: str, where: str) -> None:
    assert where in failure(subject, check).where


def test_only_strided_steps_tell_a_sampler_that_takes_neighbours() -> None:
    """What makes STR-3 necessary: every step to t - 1 is right."""
    assert not complaints(OnlyNeighbours("linear", 50), "SMP-6", "STR-1")


def test_steps_of_malformed_lists_fail_without_a_crash() -> None:
    for check in ("STR-3", "SCH-9"):
        assert "STR-1" in failure(Leading("linear", 50), check).reason
