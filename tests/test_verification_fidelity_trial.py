"""The judge's own loop makes what the reference makes of the same noise, and the laws are the ones that are claimed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verification.check import generator
from verification.fidelity_trial import (
    BANDWIDTH,
    GAUSSIAN_IMAGES,
    IMAGES,
    LONG,
    SHORT_STEPS,
    STRIDED_STEPS,
    Sampler,
    ancestral,
    fresh_digits,
    gaussian_images,
    gaussian_law,
    right_digits,
    right_loop,
    sampled_digits,
    strided,
)
from verification.guard import SubjectError
from verification.oracle import exact
from verification.oracle_empirical import digits
from verification.oracle_gaussian import GaussianChain, ddim_law
from verification.oracle_kde import kde_eps, kde_mean
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject


@pytest.mark.parametrize("make", [ancestral, strided])
@pytest.mark.parametrize("choices", [{}, {"clip_x_0": True, "variance": "beta"}])
def test_own_loop_is_the_references_with_the_same_noise(make: Any, choices: dict[str, Any]) -> None:
    """Given the noise that the judge draws for itself, the reference returns the judge's images."""
    sampler = make(ReferenceSubject(**choices))
    tables, random = exact(sampler.subject), generator(f"fidelity: right {sampler.method}")
    noise = random.standard_normal((len(sampler.timesteps) + 1, IMAGES, 64))

    def model(x_t: Array, t: Array) -> Array:
        return kde_eps(tables, x_t, kde_mean(tables, digits(), BANDWIDTH, x_t, int(t[0])), int(t[0]))

    options = (len(sampler.timesteps), 1.0) if sampler.method == "sample_strided" else ()
    images = getattr(sampler.subject, sampler.method)(model, noise[0], noise[1:], *options)
    np.testing.assert_allclose(images, right_digits(right_loop(sampler)), atol=1e-9)


def test_subject_is_given_other_noise_than_the_judges() -> None:
    sampler = strided(ReferenceSubject())
    assert np.abs(sampled_digits(sampler) - right_digits(right_loop(sampler))).max() > 0.5


def test_long_chain_is_made_short_where_it_can_be() -> None:
    short = ancestral(ReferenceSubject())
    assert (len(short.timesteps), short.subject.num_timesteps) == (SHORT_STEPS, SHORT_STEPS)
    assert ancestral(ReferenceSubject(num_timesteps=LONG)).subject.num_timesteps == LONG


def test_subject_without_variants_is_taken_as_it_is() -> None:
    class Fixed(ReferenceSubject):
        def variant(self, **choices: Any) -> ReferenceSubject:
            raise ValueError("one size only")

    assert len(ancestral(Fixed(num_timesteps=LONG + 1)).timesteps) == LONG + 1


def test_strided_loop_visits_what_the_subject_says() -> None:
    subject = ReferenceSubject()
    assert strided(subject).timesteps == tuple(subject.timesteps(STRIDED_STEPS))
    assert len(strided(ReferenceSubject(num_timesteps=7)).timesteps) == 7


def test_noise_comes_in_batches_of_one_size() -> None:
    seen: list[tuple[int, ...]] = []

    class Spied(ReferenceSubject):
        def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
            seen.append(z.shape)
            return x_T

    subject = Spied(num_timesteps=LONG)
    rows = Sampler("sample", subject, tuple(range(LONG))[::-1]).images(lambda x, _: x, (1, 8, 8), IMAGES)
    assert rows.shape == (IMAGES, 64)
    assert len(seen) > 1
    assert len(set(seen)) == 1
    assert sum(shape[1] for shape in seen) == IMAGES


@pytest.mark.parametrize("returned", [np.nan, np.inf])
def test_images_that_are_not_finite_are_the_subjects_fault(returned: float) -> None:
    class Broken(ReferenceSubject):
        def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
            return np.full_like(x_T, returned)

    with pytest.raises(SubjectError, match="NaN or infinity"):
        gaussian_images(ancestral(Broken()))


def test_gaussian_images_have_the_law_of_the_recursion() -> None:
    """Means and variances within six standard errors."""
    for make in (ancestral, strided):
        sampler = make(ReferenceSubject())
        (mean, variance), images = gaussian_law(sampler), gaussian_images(sampler)
        assert (np.abs(images.mean(axis=0) - mean) < 6 * np.sqrt(variance / GAUSSIAN_IMAGES)).all()
        assert (np.abs(images.var(axis=0) / variance - 1) < 6 * np.sqrt(2 / GAUSSIAN_IMAGES)).all()


def test_clipping_changes_no_gaussian_image() -> None:
    one, other = (gaussian_images(strided(ReferenceSubject(clip_x_0=clip))) for clip in (False, True))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)  # eps_hat is made anew from the clipped x_0


def test_few_steps_narrow_the_blur() -> None:
    """Why the subject's images are not compared with draws of the density: less than half of the variance is left."""
    subject = ReferenceSubject()
    chain = GaussianChain(exact(subject), np.zeros(1), np.array([BANDWIDTH**2]))
    _, variance = ddim_law(chain, subject.timesteps(STRIDED_STEPS), 1.0)
    assert variance[0] / BANDWIDTH**2 < 0.5


def test_what_is_remembered_cannot_be_changed() -> None:
    assert not right_digits(right_loop(strided(ReferenceSubject()))).flags.writeable
    assert not fresh_digits().flags.writeable
