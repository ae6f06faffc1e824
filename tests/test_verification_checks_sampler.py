"""The sampler's checks: silent on every correct way to program a step, exact about what is wrong with the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import complaints, failure
from otherwise_programmed import WAYS, programmed

from verification.protocol import Array, EpsModel
from verification.reference import SCHEDULES, ReferenceSubject

STEPS = ("SMP-1", "SMP-1.mean", "SMP-2", "SMP-5", "SMP-7")
LOOPS = ("SMP-3", "SMP-10")


@pytest.mark.parametrize("clip_x_0", [False, True])
@pytest.mark.parametrize("variance", ["posterior", "beta"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("way", WAYS)
def test_correct_subjects_pass_at_any_number_of_steps(way: str, dtype: str, variance: str, clip_x_0: bool) -> None:
    for T, schedule in ((1, "linear"), (2, "linear"), (2, "jsd"), (10, "linear"), (10, "cosine"), (1, "cosine")):
        subject = programmed(way, schedule=schedule, num_timesteps=T, dtype=dtype, variance=variance, clip_x_0=clip_x_0)
        assert not complaints(subject, *STEPS, *LOOPS), subject.name


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_passes(schedule: str) -> None:
    for dtype in ("float64", "float32"):
        assert not complaints(ReferenceSubject(schedule, 200, dtype=dtype), *STEPS, *LOOPS)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_long_chains_pass(schedule: str) -> None:
    for dtype in ("float64", "float32"):
        assert not complaints(ReferenceSubject(schedule, 1000, dtype=dtype), "SMP-1", "SMP-1.mean", "SMP-2", "SMP-5")
        assert not complaints(ReferenceSubject(schedule, 4000, dtype=dtype), "SMP-1", "SMP-2", "SMP-5")


def test_an_undeclared_schedule_is_judged_by_its_own_betas() -> None:
    for dtype in ("float64", "float32"):
        subject = ReferenceSubject("cosine", 50, dtype=dtype)
        subject.schedule = None
        assert not complaints(subject, *STEPS, *LOOPS)


class OneEntryOff(ReferenceSubject):
    """One coefficient of the ancestral step wrong at one t, by a relative `error`."""

    part, at, error = "x_t", 0, 1e-6

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        x_t, eps_hat, z = (
            np.where((np.asarray(t) == self.at) & (name == self.part), 1 + self.error, 1.0).reshape(
                -1, *[1] * (np.ndim(x_t) - 1)
            )
            * each
            for name, each in (("x_t", x_t), ("eps_hat", eps_hat), ("z", z))
        )
        wide = ReferenceSubject.variant(self, dtype="float64")
        return np.asarray(ReferenceSubject.p_step(wide, x_t, t, eps_hat, z), self.dtype)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-6), ("float32", 1e-5)])
@pytest.mark.parametrize(("part", "check"), [("x_t", "SMP-1"), ("eps_hat", "SMP-1"), ("z", "SMP-2")])
@pytest.mark.parametrize("at", [1, 17, 99])
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_a_tiny_error_of_one_coefficient_is_noticed_and_named(
    dtype: str, error: float, part: str, check: str, at: int, variance: str
) -> None:
    for sign in (1, -1):
        subject = OneEntryOff("linear", 100, dtype=dtype, variance=variance)
        subject.part, subject.at, subject.error = part, at, sign * error
        found = failure(subject, check)
        assert f"t={at}" in found.where
        assert part in found.where


@pytest.mark.parametrize("table", ["posterior_coef_x_0", "posterior_coef_x_t", "model_variance", "alpha_bar"])
@pytest.mark.parametrize("at", [1, 60])
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-6), ("float32", 1e-5)])
def test_a_tiny_error_of_one_table_entry_is_noticed_and_named(table: str, at: int, dtype: str, error: float) -> None:
    subject = ReferenceSubject("linear", 150, dtype=dtype)
    entries = getattr(subject, table).copy()
    entries[at] *= 1 + error
    setattr(subject, table, entries)
    check = "SMP-2" if table == "model_variance" else "SMP-1"
    assert f"t={at}" in failure(subject, check).where


class ClipsEverything(ReferenceSubject):
    """Clips although it says that it does not."""

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        return np.clip(super().predict_x_0(x_t, t, eps), -1, 1)


class KeepsEps(ReferenceSubject):
    """Clips x_0 in a DDIM step but goes on in the direction of the eps that led to the unclipped one."""

    def predict_eps(self, x_t: Array, t: Array, x_0: Array) -> Array:
        direct = ReferenceSubject.predict_x_0(self, x_t, t, np.zeros_like(x_t))
        scale = self._at(np.sqrt((1 - self.alpha_bar) / self.alpha_bar), t, x_t)
        return np.asarray((direct - x_0) / scale + 0.1 * (np.abs(x_0) == 1))


class LoopClipsNothing(ReferenceSubject):
    """Its steps clip, its loop does not."""

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return ReferenceSubject.sample(self.variant(clip_x_0=False), eps_model, x_T, z)


@pytest.mark.parametrize(
    ("subject", "where"),
    [
        (ClipsEverything("linear", 50), "ddim_step"),
        (KeepsEps("linear", 50, clip_x_0=True), "ddim_step"),
        (LoopClipsNothing("linear", 50, clip_x_0=True), "sample"),
    ],
    ids=["clips unasked", "keeps eps", "loop does not clip"],
)
def test_wrong_clipping_is_noticed_where_it_happens(subject: ReferenceSubject, where: str) -> None:
    found = failure(subject, "SMP-7")
    assert found.where.startswith(where)
    assert "clip" in found.diagnosis


class Leaks(ReferenceSubject):
    """Noise of one pixel reaches its neighbour."""

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        return super().p_step(x_t, t, eps_hat, z + 1e-3 * np.roll(z, 1, axis=-1))


class ReusesNoise(ReferenceSubject):
    """Takes the same noise in every step of the loop."""

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return super().sample(eps_model, x_T, np.broadcast_to(z[:1], z.shape))


class SkipsAStep(ReferenceSubject):
    """Forgets t = 20."""

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        (x,) = self._cast(x_T)
        for i, step in enumerate(s for s in range(self.num_timesteps - 1, -1, -1) if s != 20):
            t = np.full(len(x), step)
            x = self.p_step(x, t, eps_model(x, t), z[i])
        return x


class OneTimeForAll(ReferenceSubject):
    """Gives the model a single t instead of one an image."""

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return super().sample(lambda x, t: eps_model(x, t[:1]), x_T, z)


def test_noise_of_another_pixel_is_noticed() -> None:
    assert failure(Leaks("linear", 50), "SMP-1").where.startswith("p_step of")


def test_reused_noise_is_noticed_at_its_second_use() -> None:
    assert "sample, t=" in failure(ReusesNoise("linear", 50), "SMP-3").where


def test_a_skipped_step_is_noticed_and_said() -> None:
    assert failure(SkipsAStep("linear", 50), "SMP-3").diagnosis == "1 of 50 steps are skipped"


def test_a_single_t_for_the_whole_batch_fails_in_words() -> None:
    assert "t of shape (1,)" in failure(OneTimeForAll("linear", 50), "SMP-3").reason


class Blurs(ReferenceSubject):
    """Returns a slightly grey version of what it made."""

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return super().sample(eps_model, x_T, z) * 0.999


def test_images_that_are_not_the_known_ones_are_noticed() -> None:
    assert failure(Blurs("linear", 50), "SMP-10").where.startswith("sample, t=0, image")


class Explodes(ReferenceSubject):
    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return super().sample(lambda x, t: eps_model(x, t) * 1e200, x_T, z)


def test_a_loop_that_explodes_fails_and_says_where() -> None:
    assert "finite" in failure(Explodes("linear", 50), "SMP-3").reason


def wrong_corner(**tables: Any) -> ReferenceSubject:
    subject = ReferenceSubject("linear", 50, "beta")
    for name, values in tables.items():
        setattr(subject, name, values)
    return subject


def test_variance_that_grows_by_one_part_in_a_million_is_noticed() -> None:
    subject = wrong_corner()
    subject.model_variance = subject.model_variance * (1 + 1e-6)
    assert "variance" in failure(subject, "SMP-5").where
