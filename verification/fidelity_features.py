"""What a fidelity score looks at: images (n, C, H, W) become rows of numbers (n, d), in float64, without any download.

The usual scores look through a network trained on photographs. It has to be fetched, it is blind to an 8×8 digit, and
its name is part of what "FID" means; so here every score carries the name of what it looked through, "FID[pca-32]".

* "pixels": the image itself. Sees everything, noise most of all.
* "pca-32" (any number): coordinates along the directions in which the training images vary most. Sees what is drawn.
* "conv-64": sixteen 3×3 filters with fixed random weights, rectified, averaged over each quarter of the image. Sees
  strokes and roughly where they are. Random filters are a fair texture model (Ulyanov et al. 2018, "Deep Image Prior").

The Inception score needs class probabilities: `discriminant` makes them by linear discriminant analysis (Fisher 1936)
of labelled training images, in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import pinvh

from verification.protocol import Array, VerificationError

FILTERS, QUARTERS = 16, 4
SEED_OF_FILTERS = 2020


@dataclass(frozen=True)
class Features:
    """A named map from images (n, C, H, W) to rows (n, d), float64."""

    name: str
    extract: Callable[[Array], Array]

    def __call__(self, images: Array) -> Array:
        """The rows. Raises `VerificationError` for anything but finite numbers of shape (n, C, H, W)."""
        given = np.asarray(images, dtype=np.float64)
        if given.ndim != 4 or not given.size:
            raise VerificationError(f"images have shape {given.shape}; give (n, C, H, W) with at least one image")
        if not np.isfinite(given).all():
            raise VerificationError("images hold NaN or infinity; scores are for finite numbers")
        return self.extract(given)


def features_named(name: str, training: Array | None = None) -> Features:
    """The features called `name`: "pixels", "conv-64", or "pca-K" for any K, fitted on `training` (n, C, H, W).

    Raises `VerificationError` for another name, or a K that the training images cannot bear.
    """
    kind, _, count = name.partition("-")
    if name == "pixels":
        return Features(name, _rows)
    if kind == "pca" and count.isdecimal() and int(count) > 0 and training is not None:
        return principal(training, int(count))
    if name == f"conv-{FILTERS * QUARTERS}":
        return Features(name, _textures)
    raise VerificationError(
        f"unknown features {name!r}: known are pixels, conv-64 and, with training images, pca-32 and the like"
    )


def _rows(images: Array) -> Array:
    return images.reshape(len(images), -1)


def principal(training: Array, count: int) -> Features:
    """Coordinates along the `count` leading principal axes of `training`, in pixel units, centred at its mean image.

    Not divided by their spread: a direction counts as much as the images vary in it. The axes come from a singular
    value decomposition of the centred images; a covariance matrix would square their condition.
    """
    rows = Features("pixels", _rows)(training)
    if count > min(len(rows) - 1, rows.shape[1]):
        raise VerificationError(
            f"pca-{count} needs more than {count} images of at least {count} pixels to fit; the training set has "
            f"{len(rows)} of {rows.shape[1]}"
        )
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:count].T
    return Features(f"pca-{count}", lambda images: np.asarray((_rows(images) - mean) @ axes))


def _textures(images: Array) -> Array:
    """(n, 64): rectified responses of random 3×3 filters, mean over each quarter of the image."""
    channels, height, width = images.shape[1:]
    if height < 2 or width < 2:
        raise VerificationError(f"conv-64 averages over quarters; images of {height}×{width} pixels have none")
    # The legacy generator on purpose: NumPy keeps its stream for ever (NEP 19), and the filters are part of the name.
    random = np.random.RandomState(SEED_OF_FILTERS)
    filters = random.standard_normal((FILTERS, channels, 3, 3)) / np.sqrt(9 * channels)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)  # the background of images is -1
    windows = sliding_window_view(sliding_window_view(padded, 3, axis=2), 3, axis=3)  # (n, C, H, W, 3, 3)
    responses = np.maximum(np.tensordot(windows, filters, axes=([1, 4, 5], [1, 2, 3])), 0)  # (n, H, W, filters)
    halves = [slice(None, height // 2), slice(height // 2, None)], [slice(None, width // 2), slice(width // 2, None)]
    return np.concatenate([responses[:, rows, cols].mean(axis=(1, 2)) for rows in halves[0] for cols in halves[1]], 1)


def discriminant(features: Features, training: Array, labels: Array) -> Features:
    """Class scores (n, K) whose softmax is p(class | image), for K Gaussian classes with one common covariance.

    Fisher 1936; Hastie, Tibshirani and Friedman 2009, Eq. 4.10. `labels` (n,) name the class of each image of
    `training`. Raises `VerificationError` unless there are two classes and more images than classes.
    """
    rows, classes = features(training), np.unique(labels)
    if np.shape(labels) != (len(rows),) or not 2 <= len(classes) < len(rows):
        raise VerificationError(
            f"labels have shape {np.shape(labels)} and {len(classes)} classes for {len(rows)} images; "
            "give one label an image, and at least two classes"
        )
    means = np.stack([rows[labels == each].mean(axis=0) for each in classes])
    within = rows - means[np.searchsorted(classes, labels)]
    covariance = within.T @ within / (len(rows) - len(classes))
    weights = pinvh(covariance) @ means.T
    share = np.array([np.mean(labels == each) for each in classes])
    offset = np.log(share) - np.einsum("kd,dk->k", means, weights) / 2
    return Features(f"lda-{features.name}", lambda images: np.asarray(features(images) @ weights + offset))
