"""How good samples are, in scores that say what they looked through and what they would be by chance.

    FID[conv-64] = 0.118 (by chance 0.0871 ± 0.011, p = 0.01)

`score` takes two sets of images and no network, no download and no GPU. Each score comes with its own null law: the
same score when the two sets exchange images at random, which is what it would be were the samples as good as real
images. p is the share of exchanges that look at least as bad. A small p is evidence against the samples; a large one
says that these many images, looked at in this way, show no difference, and no more. See docs/fidelity.md.

`fidelity_torch.py` computes the same scores with torch-fidelity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from verification.fidelity_features import Features, discriminant, features_named
from verification.fidelity_measures import (
    cubic_kernel,
    frechet_distance,
    inception_score,
    kernel_distance,
    nearest,
    precedence,
)
from verification.fidelity_null import Indices, permutation
from verification.protocol import Array, VerificationError

PERMUTATIONS = 199


@dataclass(frozen=True)
class Score:
    """A score's `name` and `value`, and what it is by chance: mean `null`, standard deviation `spread`, p-value `p`.

    `error` is the standard error of the value where the score has one (KID), else None.
    """

    name: str
    value: float
    null: float
    spread: float
    p: float
    error: float | None = None

    def __str__(self) -> str:
        own = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{self.name} = {self.value:.4g}{own} (by chance {self.null:.4g} ± {self.spread:.2g}, p = {self.p:.2g})"


class Group(NamedTuple):
    """Scores that are computed together: what they are called, where worse is (+1 up, -1 down), and how it is done.

    `measure` takes the indices of the samples and of the reference among all images, and returns one number a score.
    """

    names: tuple[str, ...]
    worse: tuple[int, ...]
    measure: Callable[[Indices, Indices], Array]


def score(
    samples: Array,
    reference: Array,
    *,
    features: str = "conv-64",
    training: Array | None = None,
    labels: Array | None = None,
    neighbours: int = 3,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, Score]:
    """Scores of `samples` (n, C, H, W) by `reference` (m, C, H, W), real images in the same range, by name.

    `features`: what to look through, "pixels", "conv-64" or "pca-K". `training`: the images that the sampler learnt
    from, none of them in the reference; gives "copying", and "pca-K" its axes (fitted on the reference they would
    favour it, and p would be too small). `labels`: the classes of the training images; gives the Inception score.
    `neighbours`: k of precision and recall. `permutations`: how many exchanges the null laws rest on; the least p is
    1 / (permutations + 1). Same `seed`, same result. Takes 16 (n + m)² bytes, and each permutation as many operations.

    Returns "FID", "KID", "precision", "recall", and where asked for "ISC" and "copying", each with its features in
    brackets. Raises `VerificationError` for images that do not fit each other, or too few.
    """
    _fitting(samples, reference, training, labels, neighbours)
    see, images = features_named(features, training), np.concatenate([samples, reference])
    groups = list(_groups(see, images, training, labels, neighbours))
    values, null = permutation(
        lambda first, second: np.concatenate([group.measure(first, second) for group in groups]),
        len(samples),
        len(reference),
        times=permutations,
        random=np.random.default_rng(seed),
    )
    names = [name for group in groups for name in group.names]
    worse = np.array([sign for group in groups for sign in group.worse])
    p = (1 + (null * worse >= values * worse).sum(axis=0)) / (1 + permutations)
    error = {f"KID[{see.name}]": kernel_distance(see(samples), see(reference)).error}
    return {
        name: Score(
            name, float(values[i]), float(null[:, i].mean()), float(null[:, i].std()), float(p[i]), error.get(name)
        )
        for i, name in enumerate(names)
    }


def _fitting(samples: Array, reference: Array, training: Array | None, labels: Array | None, neighbours: int) -> None:
    """Raise `VerificationError` unless these can be scored together."""
    if training is None and labels is not None:
        raise VerificationError("labels are the classes of training images, and none are given; give training, too")
    shapes = {np.shape(images)[1:] for images in (samples, reference, training) if images is not None}
    if len(shapes) > 1:
        raise VerificationError(f"images of shapes {sorted(shapes)} cannot be compared; give them one shape")
    if min(len(samples), len(reference)) < neighbours + 1:
        raise VerificationError(
            f"{len(samples)} samples and {len(reference)} reference images are too few for {neighbours} neighbours; "
            f"give at least {neighbours + 1} of each"
        )


def _groups(
    see: Features, images: Array, training: Array | None, labels: Array | None, neighbours: int
) -> Iterator[Group]:
    """All scores that are asked for, of `images` (n + m, C, H, W)."""
    rows = see(images)
    yield Group((f"FID[{see.name}]",), (1,), lambda a, b: np.array([frechet_distance(rows[a], rows[b])]))
    yield Group((f"KID[{see.name}]",), (1,), _kernel(rows))
    yield Group((f"precision[{see.name}]", f"recall[{see.name}]"), (-1, -1), _neighbourhoods(rows, neighbours))
    if training is None:
        return
    if labels is not None:
        head = discriminant(see, training, labels)
        class_scores = head(images)
        yield Group((f"ISC[{head.name}]",), (-1,), lambda a, _: np.array([inception_score(class_scores[a])]))
    pixels = features_named("pixels")
    away = nearest(pixels(images), pixels(training))
    yield Group((f"copying[{pixels.name}]",), (1,), lambda a, b: np.array([precedence(away[a], away[b])]))


def _kernel(rows: Array) -> Callable[[Indices, Indices], Array]:
    """KID of two subsets of `rows`. The kernel of all pairs is made once; each sum over pairs is a product with it."""
    kernel = cubic_kernel(rows, rows)

    def measure(first: Indices, second: Indices) -> Array:
        chosen = np.zeros((len(rows), 2))
        chosen[first, 0] = chosen[second, 1] = 1
        sums, own = chosen.T @ kernel @ chosen, kernel.diagonal() @ chosen
        n, m = len(first), len(second)
        within = (sums[0, 0] - own[0]) / (n * (n - 1)) + (sums[1, 1] - own[1]) / (m * (m - 1))
        return np.array([within - 2 * sums[0, 1] / (n * m)])

    return measure


def _neighbourhoods(rows: Array, neighbours: int) -> Callable[[Indices, Indices], Array]:
    """Precision and recall of two subsets of `rows`. The distances of all pairs are made once."""
    distance = cdist(rows, rows)

    def share(points: Indices, centres: Indices) -> float:
        reach = np.partition(distance[np.ix_(centres, centres)], neighbours, axis=1)[:, neighbours]
        return float((distance[np.ix_(points, centres)] <= reach).any(axis=1).mean())

    return lambda first, second: np.array([share(first, second), share(second, first)])
