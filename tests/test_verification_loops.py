"""The watched loops: what they record is what happened."""

from __future__ import annotations

import numpy as np
import pytest

from verification.loops import GAUSSIAN, OUTSIDE, SHAPE, ancestral_loop, pixels, start_and_noise, strided_loop
from verification.oracle import exact
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject


def test_a_loop_is_recorded_from_start_to_end() -> None:
    subject = ReferenceSubject("linear", 20)
    loop = ancestral_loop(subject)
    assert loop.x_t.shape == loop.eps_hat.shape == loop.z.shape == (20, *SHAPE)
    np.testing.assert_array_equal(loop.t[:, 0], np.arange(20)[::-1])
    np.testing.assert_array_equal(loop.after[-1], loop.output)
    np.testing.assert_array_equal(loop.after[:-1], loop.x_t[1:])


def test_a_loop_runs_once_for_all_checks() -> None:
    calls = []

    class Counts(ReferenceSubject):
        def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
            calls.append(1)
            return super().sample(eps_model, x_T, z)

    subject = Counts("linear", 5)
    assert ancestral_loop(subject) is ancestral_loop(subject)
    assert len(calls) == 1


def test_the_gaussian_images_stay_inside_the_range_and_the_others_outside() -> None:
    """So a subject that clips is judged on both sides of its clipping."""
    subject = ReferenceSubject("linear", 200)
    loop, tables = ancestral_loop(subject), exact(subject)
    a, v = (
        table[loop.t[:, 0], None, None, None, None]
        for table in (tables.sqrt_alpha_bar, tables.sqrt_one_minus_alpha_bar)
    )
    x_0 = np.abs(loop.x_t - v * loop.eps_hat) / a
    assert np.quantile(x_0[:, GAUSSIAN], 0.999) < 1
    np.testing.assert_allclose(x_0[:, OUTSIDE], 2, rtol=1e-9)


def test_noise_is_exact_in_every_type_and_silent_where_promised() -> None:
    x_T, z = start_and_noise(7)
    for values in (x_T, z):
        np.testing.assert_array_equal(values, values.astype(np.float16))
    assert not z[:, 0].any()
    assert not x_T[1].any()
    assert len(np.unique(z[:, 2])) > 100


def test_no_two_pixels_have_the_same_law() -> None:
    chain = pixels(exact(ReferenceSubject("linear", 5)))
    assert len(np.unique(chain.variance)) == len(np.unique(chain.mean)) == 64


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_strided_loops_are_recorded_along_their_own_list(num_steps: int) -> None:
    subject = ReferenceSubject("cosine", 30)
    loop = strided_loop(subject, num_steps, 0.5)
    np.testing.assert_array_equal(loop.t[:, 0], subject.timesteps(num_steps))


def test_a_loop_that_never_asks_is_recorded_too() -> None:
    class Silent(ReferenceSubject):
        def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
            return np.asarray(x_T)

    loop = ancestral_loop(Silent("linear", 5))
    assert loop.t.shape == (0, 8)
    assert loop.x_t.shape == (0, *SHAPE)
