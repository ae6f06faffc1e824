"""Features are what their names say, the same every time, and nothing else gets in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate2d

from verification.fidelity_features import (
    FILTERS,
    SEED_OF_FILTERS,
    Features,
    discriminant,
    features_named,
    principal,
)
from verification.oracle_empirical import digit_labels, digits
from verification.protocol import VerificationError

IMAGES = digits().reshape(-1, 1, 8, 8)


def test_pixels_are_the_images_themselves() -> None:
    np.testing.assert_array_equal(features_named("pixels")(IMAGES), digits())


def test_principal_axes_are_those_of_the_covariance() -> None:
    rows = features_named("pca-32", IMAGES)(IMAGES)
    assert rows.shape == (360, 32)
    eigenvalues = np.linalg.eigvalsh(np.cov(digits(), rowvar=False))[::-1][:32]
    np.testing.assert_allclose(np.cov(rows, rowvar=False), np.diag(eigenvalues), atol=1e-12)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-13)


def test_all_principal_axes_keep_every_distance() -> None:
    rows = principal(IMAGES, 64)(IMAGES)
    np.testing.assert_allclose(
        rows @ rows.T, (digits() - digits().mean(0)) @ (digits() - digits().mean(0)).T, atol=1e-9
    )


def test_textures_are_rectified_correlations_averaged_over_quarters() -> None:
    """By SciPy's two-dimensional correlation, filter by filter, on images of two channels and odd size."""
    images = np.random.default_rng(0).uniform(-1, 1, (3, 2, 7, 5))
    filters = np.random.RandomState(SEED_OF_FILTERS).standard_normal((FILTERS, 2, 3, 3)) / np.sqrt(18)
    found = features_named("conv-64")(images)
    assert found.shape == (3, 64)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    for image, row in zip(padded, found, strict=True):
        maps = np.array([sum(correlate2d(image[c], f[c], mode="valid") for c in range(2)) for f in filters]).clip(0)
        quarters = [maps[:, :3, :2], maps[:, :3, 2:], maps[:, 3:, :2], maps[:, 3:, 2:]]
        np.testing.assert_allclose(row, np.concatenate([q.mean(axis=(1, 2)) for q in quarters]), atol=1e-12)


def test_textures_do_not_change_between_releases() -> None:
    """The filters are part of the name: a score of last year must mean the same today."""
    assert features_named("conv-64")(IMAGES[:1])[0, :2] == pytest.approx([0.86600146, 0.47524039], abs=1e-7)


def test_discriminant_is_bayes_for_gaussian_classes_of_one_covariance() -> None:
    random = np.random.default_rng(3)
    covariance, means = np.array([[1.0, 0.6], [0.6, 2.0]]), np.array([[0.0, 0.0], [2.0, 1.0], [-1.0, 3.0]])
    labels = np.repeat([4, 7, 9], [6000, 12000, 6000])
    drawn = means[np.searchsorted([4, 7, 9], labels)] + random.multivariate_normal([0, 0], covariance, len(labels))
    head = discriminant(features_named("pixels"), drawn.reshape(-1, 1, 1, 2), labels)
    points = random.uniform(-2, 4, (50, 2))
    precision = np.linalg.inv(covariance)
    log_density = np.stack([-np.einsum("nd,de,ne->n", points - m, precision, points - m) / 2 for m in means], axis=1)
    exact, found = log_density + np.log([0.25, 0.5, 0.25]), head(points.reshape(-1, 1, 1, 2))
    difference = (found - found[:, :1]) - (exact - exact[:, :1])
    assert np.abs(difference).max() < 0.3  # the sampling error of 24 000 images, in nats, at the range's corners
    assert head.name == "lda-pixels"


def test_discriminant_of_digits_recognises_most_of_them() -> None:
    train, test = slice(0, None, 2), slice(1, None, 2)
    head = discriminant(principal(IMAGES[train], 16), IMAGES[train], digit_labels()[train])
    assert np.mean(head(IMAGES[test]).argmax(axis=1) == digit_labels()[test]) > 0.8


@pytest.mark.parametrize("name", ["inception", "pca-0", "pca-", "pca-x", "pca-32", "conv-32", ""])
def test_unknown_features_are_refused_by_name(name: str) -> None:
    with pytest.raises(VerificationError, match="known are pixels, conv-64"):
        features_named(name)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((3, 64)), "give \\(n, C, H, W\\)"),
        (np.zeros((0, 1, 8, 8)), "at least one image"),
        (np.full((1, 1, 8, 8), np.nan), "NaN"),
    ],
)
def test_what_is_no_image_is_refused(images: np.ndarray, sentence: str) -> None:
    with pytest.raises(VerificationError, match=sentence):
        features_named("pixels")(images)


def test_too_few_images_for_so_many_axes_are_refused() -> None:
    with pytest.raises(VerificationError, match="pca-32 needs more than 32 images"):
        principal(IMAGES[:32], 32)


def test_images_without_quarters_have_no_textures() -> None:
    with pytest.raises(VerificationError, match="quarters"):
        features_named("conv-64")(np.zeros((1, 1, 1, 8)))


@pytest.mark.parametrize("labels", [np.zeros(360), np.zeros(5), np.arange(360)])
def test_labels_that_are_no_classes_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(VerificationError, match="one label an image"):
        discriminant(Features("pixels", lambda images: images.reshape(len(images), -1)), IMAGES, labels)
