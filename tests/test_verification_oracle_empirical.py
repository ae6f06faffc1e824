"""The judge's own copy of real digits, and the best model for them."""

from __future__ import annotations

from importlib import resources
from io import BytesIO

import numpy as np
import pytest
from sklearn.datasets import load_digits

from verification.oracle import exact_schedule
from verification.oracle_empirical import digit_labels, digits, empirical_eps, empirical_mean

TABLES = exact_schedule({"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}, 1000)


def test_stored_digits_are_the_first_of_scikit_learns() -> None:
    stored = np.load(
        BytesIO((resources.files("verification") / "data" / "digits.npy").read_bytes()), allow_pickle=False
    )
    assert (stored.dtype, stored.shape) == (np.uint8, (360, 8, 8))
    np.testing.assert_array_equal(stored, load_digits().images[:360])
    np.testing.assert_array_equal(digit_labels(), load_digits().target[:360])
    assert set(digit_labels()) == set(range(10))


def test_digits_fill_the_range_of_images() -> None:
    images = digits()
    assert (images.shape, images.min(), images.max()) == ((360, 64), -1.0, 1.0)
    np.testing.assert_array_equal(images, images.astype(np.float16))
    assert not images.flags.writeable


def test_best_model_recognises_an_image_under_little_noise() -> None:
    images = digits()
    np.testing.assert_allclose(empirical_mean(TABLES, images, images[[3, 70]] + 0.01, 0), images[[3, 70]], atol=1e-12)


def test_best_model_says_the_mean_image_under_nothing_but_noise() -> None:
    found = empirical_mean(TABLES, digits(), np.zeros((1, 64)), 999)
    np.testing.assert_allclose(found[0], digits().mean(axis=0), atol=2e-3)


def test_best_model_is_the_posterior_mean_by_bayes() -> None:
    """Two images, one pixel: the weights are a logistic function of the distance difference."""
    images, x_t, t = np.array([[-1.0], [1.0]]), np.array([[0.3]]), 500
    root, v = TABLES.sqrt_alpha_bar[t], TABLES.one_minus_alpha_bar[t]
    assert empirical_mean(TABLES, images, x_t, t)[0, 0] == pytest.approx(np.tanh(root * 0.3 / v), rel=1e-12)


def test_eps_is_what_the_expected_image_leaves() -> None:
    x_t = digits()[:2] * 0.5
    eps, mean = empirical_eps(TABLES, digits(), x_t, 300), empirical_mean(TABLES, digits(), x_t, 300)
    again = TABLES.sqrt_alpha_bar[300] * mean + TABLES.sqrt_one_minus_alpha_bar[300] * eps
    np.testing.assert_allclose(again, x_t, atol=1e-14)
