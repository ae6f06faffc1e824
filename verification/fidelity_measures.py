"""How far apart two sets of rows are, in float64: Fréchet and kernel distance, Inception score, precision, recall.

Each is the formula of its paper on rows (n, d); what the rows are is the matter of `fidelity_features.py`.

The Fréchet distance between N(m_1, S_1) and N(m_2, S_2) is |m_1 − m_2|² + tr S_1 + tr S_2 − 2 tr (S_1 S_2)^{1/2}
(Dowson and Landau 1982). The usual code takes eigenvalues of the product S_1 S_2: where features are fewer than they
seem, its zero eigenvalues come out as ±1e-16 and their roots as 1e-8. Here each covariance is a product of a root with
itself, S = RᵀR, and tr (S_1 S_2)^{1/2} is the sum of the singular values of R_1 R_2ᵀ, which are as exact as R is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, logsumexp
from scipy.stats import rankdata

from verification.protocol import Array, VerificationError

CHUNK = 1024  # rows whose distances are held in memory at a time


@dataclass(frozen=True, eq=False)
class Moments:
    """A mean (d,) and a root (r, d) of a covariance, which is rootᵀ root."""

    mean: Array
    root: Array


def moments(rows: Array) -> Moments:
    """Mean and unbiased covariance of `rows` (n, d); raises `VerificationError` for fewer than two."""
    _at_least(2, rows)
    mean = rows.mean(axis=0)
    _, scales, axes = np.linalg.svd((rows - mean) / np.sqrt(len(rows) - 1), full_matrices=False)
    return Moments(mean, scales[:, None] * axes)


def gaussian_moments(mean: Array, covariance: Array) -> Moments:
    """The moments of a known law; `covariance` (d, d) may be singular."""
    squares, axes = np.linalg.eigh(covariance)
    return Moments(np.asarray(mean, dtype=np.float64), np.sqrt(np.maximum(squares, 0))[:, None] * axes.T)


def frechet(one: Moments, other: Moments) -> float:
    """The Fréchet distance, the square of a 2-Wasserstein distance, in the features' units squared; at least 0."""
    shared = np.linalg.svd(one.root @ other.root.T, compute_uv=False).sum()
    distance = ((one.mean - other.mean) ** 2).sum() + (one.root**2).sum() + (other.root**2).sum() - 2 * shared
    return float(max(distance, 0.0))


def frechet_distance(samples: Array, reference: Array) -> float:
    """FID of rows (n, d) and (m, d): Heusel et al. 2017, Eq. 6."""
    return frechet(moments(samples), moments(reference))


@dataclass(frozen=True)
class KernelDistance:
    """An unbiased estimate of a squared kernel distance and its standard error."""

    value: float
    error: float


def cubic_kernel(x: Array, y: Array) -> Array:
    """(x·y / d + 1)³, the kernel of Bińkowski et al. 2018, section 4, (n, m)."""
    base = x @ y.T / x.shape[1] + 1
    return np.asarray(base * base * base)  # a power of floats would cost ten times as much


def kernel_distance(samples: Array, reference: Array) -> KernelDistance:
    """KID: the unbiased squared maximum mean discrepancy under the cubic kernel, from all pairs at once.

    Gretton et al. 2012, Eq. 3. The error is a jackknife's, leaving out one row after another on either side (Arvesen
    1969): for sets from one law it is too large rather than too small. What other code calls the standard deviation of
    KID is the spread over overlapping subsets, which shrinks with their size and not with the number of images.
    """
    _at_least(3, samples, reference)
    of_x, cross, of_y = (
        cubic_kernel(a, b) for a, b in ((samples, samples), (samples, reference), (reference, reference))
    )
    n, m = cross.shape
    x, y = of_x.sum(axis=1) - of_x.diagonal(), of_y.sum(axis=1) - of_y.diagonal()
    across, by_x, by_y = cross.sum(), cross.sum(axis=1), cross.sum(axis=0)
    within_x, within_y = x.sum() / (n * (n - 1)), y.sum() / (m * (m - 1))
    without_x = (x.sum() - 2 * x) / ((n - 1) * (n - 2)) + within_y - 2 * (across - by_x) / ((n - 1) * m)
    without_y = within_x + (y.sum() - 2 * y) / ((m - 1) * (m - 2)) - 2 * (across - by_y) / (n * (m - 1))
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()
    return KernelDistance(float(within_x + within_y - 2 * across / (n * m)), float(np.sqrt(variance)))


def kernel_distance_to(reference: Array) -> Callable[[Array], float]:
    """`kernel_distance(rows, reference).value` of many sets of rows: the reference's own part is made once."""
    _at_least(2, reference)
    within_reference = _between_others(cubic_kernel(reference, reference))

    def distance(rows: Array) -> float:
        _at_least(2, rows)
        across = cubic_kernel(rows, reference).mean()
        return float(_between_others(cubic_kernel(rows, rows)) + within_reference - 2 * across)

    return distance


def _between_others(kernel: Array) -> float:
    """The mean of a kernel matrix (n, n) off its diagonal."""
    n = len(kernel)
    return float((kernel.sum() - kernel.trace()) / (n * (n - 1)))


def inception_score(class_scores: Array) -> float:
    """The exponential of the mean KL(p(class | image) ‖ p(class)), from scores (n, K) before the softmax.

    Salimans et al. 2016, section 4. Between 1 and K. All images at once: splitting them in ten, as the first code
    did, lowers it.
    """
    log_p = log_softmax(class_scores, axis=1)
    log_mean = logsumexp(log_p, axis=0) - np.log(len(log_p))
    return float(np.exp((np.exp(log_p) * (log_p - log_mean)).sum(axis=1).mean()))


def radii(rows: Array, neighbours: int) -> Array:
    """Distance (n,) from each row to its k-th nearest other one; raises `VerificationError` if there are too few."""
    _at_least(neighbours + 1, rows)
    found = [np.partition(part, neighbours, axis=1)[:, neighbours] for part in _distances(rows, rows)]
    return np.concatenate(found)


def covered(points: Array, rows: Array, reach: Array) -> float:
    """The share of `points` (n, d) that lie in at least one ball around `rows` (m, d) with radius `reach` (m,)."""
    return float(np.concatenate([(part <= reach).any(axis=1) for part in _distances(points, rows)]).mean())


def precision_recall(samples: Array, reference: Array, neighbours: int = 3) -> tuple[float, float]:
    """Improved precision and recall, Kynkäänniemi et al. 2019, Eqs. 1 and 2.

    Precision is the share of samples within the reference's balls, recall the share of the reference within the
    samples'; a ball reaches to its centre's k-th neighbour in its own set.
    """
    precision = covered(samples, reference, radii(reference, neighbours))
    return precision, covered(reference, samples, radii(samples, neighbours))


def nearest(points: Array, rows: Array) -> Array:
    """Distance (n,) from each of `points` to the nearest of `rows`."""
    return np.concatenate([part.min(axis=1) for part in _distances(points, rows)])


def precedence(first: Array, second: Array) -> float:
    """P(a < b) + P(a = b) / 2 for a from `first` and b from `second`: Mann and Whitney's U over its largest value.

    Of distances to the training images it is the copying statistic of Meehan et al. 2020: one half when samples are as
    far from them as held-out images are, 1 when every sample is nearer than any held-out image.
    """
    ranks = rankdata(np.concatenate([first, second]))
    n, m = len(first), len(second)
    return float((n * m + n * (n + 1) / 2 - ranks[:n].sum()) / (n * m))


def _distances(points: Array, rows: Array) -> Iterator[Array]:
    """Euclidean distances by differences, not by the product formula, which gives 1e-8 for equal rows; in chunks."""
    for start in range(0, len(points), CHUNK):
        yield cdist(points[start : start + CHUNK], rows)


def _at_least(count: int, *sets: Array) -> None:
    for rows in sets:
        if len(rows) < count:
            raise VerificationError(f"{len(rows)} images are too few for this score; give at least {count}")
