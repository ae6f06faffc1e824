"""Draws of every right subject pass; each kind of reuse is named by the steps, images or streams that share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from judged import complaints, failure

from verification.checks_random import lagged, repeated, which
from verification.draws import CORNERS, IMAGES, SHAPE, corners
from verification.mutants import load_mutants
from verification.mutants_random import OtherNoise
from verification.protocol import Array
from verification.reference import ReferenceSubject

MUTANTS = load_mutants()
RANDOM = ("SMP-9", "TRN-2", "RNG-1", "RNG-2")


@pytest.mark.parametrize("T", [1, 2, 4000])
def test_right_subject_passes_at_any_number_of_steps(T: int) -> None:
    assert not complaints(ReferenceSubject(num_timesteps=T), "TRN-2")


def test_half_precision_draws_pass() -> None:
    assert not complaints(ReferenceSubject(dtype="float16"), *RANDOM)


@pytest.mark.parametrize(
    ("number", "check", "where"),
    [
        ("R13", "RNG-1", "sampling and training of one seed"),
        ("R15", "RNG-2", "x_T of two seeds"),
        ("R16", "RNG-2", "x_0 of two seeds"),
        ("R17", "RNG-2", "t"),
        ("R12", "TRN-2", "training_batches, t never drawn: 0"),
        ("R22", "TRN-2", "training_batches, image never drawn: 32, 33, 34, 35, 36 and 27 more"),
        ("M19", "TRN-2", "never drawn: 39"),
    ],
)
def test_finding_says_what_shares_or_lacks(number: str, check: str, where: str) -> None:
    finding = failure(MUTANTS[number].make(), check)
    assert where in (finding.where, f"{finding.where} {finding.diagnosis}", finding.diagnosis), finding


class OneTwin(OtherNoise):
    """The noise of one image at one step is that of another image at another step."""

    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        z = z.copy()
        z[9, 5000] = z[3, 70]
        return x_T, z


def test_one_image_of_noise_that_comes_twice_is_found_and_named() -> None:
    finding = failure(OneTwin(), "RNG-1")
    assert finding.where == "sampling, repeated images of noise"
    assert "image 70 of draw 4 and image 5000 of draw 10" in finding.reason, "draw 0 is x_T"


def test_equal_sums_are_no_repetition_unless_the_rows_are_equal() -> None:
    rows = np.random.default_rng(0).standard_normal((100, 16))
    assert repeated(rows, "x").passed
    assert repeated(np.concatenate([rows, rows[:1]]), "x").observed == 1
    weights = np.sqrt(np.arange(2.0, 18.0))
    swapped = np.zeros((2, 16))
    swapped[0, 2] = 1.0  # weighs sqrt(4) = 2
    swapped[1, 14] = 0.5  # weighs sqrt(16) / 2 = 2
    assert (swapped @ weights)[0] == (swapped @ weights)[1]
    assert repeated(swapped, "x").passed


def test_lagged_pairs_take_each_image_once() -> None:
    images = np.random.default_rng(0).standard_normal((2, 1024, 4))
    shared = images.copy()
    shared[:, 100:200] = shared[:, :100]
    assert abs(lagged(images, 100, 4000)) < 0.1
    assert lagged(shared, 100, 200) == pytest.approx(1, abs=0.2)


def test_every_corner_says_which_it_is() -> None:
    assert (which(corners().reshape(1, CORNERS, *SHAPE[1:])) == np.arange(CORNERS)).all()


class Counting(ReferenceSubject):
    """Uniform t, but dealt out evenly: an allowed way to draw, whose chi-squared is too small and not too large."""

    def draw_timesteps(self, n: int, seed: int) -> Array:
        return np.random.default_rng(seed).permutation(np.arange(n) % self.num_timesteps)


def test_time_steps_dealt_out_evenly_are_uniform_too() -> None:
    assert not complaints(Counting(), "TRN-2")


class Neighbours(ReferenceSubject):
    """Each t twice running: uniform, not independent."""

    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        drawn = super().training_batches(x_0, batch_size, num_steps, seed)
        return {**drawn, "t": np.repeat(drawn["t"][:, ::2], 2, axis=1)}


def test_dependent_time_steps_are_found() -> None:
    assert "neighbours" in failure(Neighbours(), "TRN-2").where


class OtherMode(ReferenceSubject):
    """In another mode the numbers differ in the last bit."""

    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        x_T, z = super().sampling_noise(shape, num_steps, seed)
        return np.nextafter(x_T, 9), z


class Moody(ReferenceSubject):
    def counterparts(self) -> dict[str, Any]:
        return {"same": ReferenceSubject(), "other": OtherMode()}


def test_mode_with_other_numbers_is_named() -> None:
    finding = failure(Moody(), "RNG-2")
    assert finding.where.startswith("x_T in other")


def test_shape_is_large_enough_for_all_lags() -> None:
    assert IMAGES == 16384
