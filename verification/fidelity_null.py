"""What a fidelity score is when nothing is wrong: its law for two sets of images from one and the same source.

A score of finite sets is never 0, and how far it is from 0 depends on the number of images more than on anything else.
So nothing here is compared with a fixed threshold. Four laws, from the most special to the most general:

* `frechet_null`: mean and spread of FID for Gaussian features, in closed form, to leading order in 1/n;
* `frechet_deviation`: how far the root of FID may be above its mean, for Gaussian images, at any n, strictly;
* `excess`, `critical_excess`: scores of independent blocks of images against scores of as many blocks known to be
  right; the law of the rank sum is known exactly whatever the score;
* `gap`, `critical_gap`: two samples of any one number an image.

`permutation` is the law for people's own sets, where there is nothing to draw again: the labels are exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from verification.protocol import Array

Indices = npt.NDArray[np.int64]


def frechet_null(eigenvalues: Array, n: int, m: float = math.inf) -> tuple[float, float]:
    """Mean and standard deviation of FID between n and m images whose features are one Gaussian, to leading order.

    `eigenvalues` (d,) of its covariance; m may be infinite: FID to the law itself. With sample moments off by Gaussian
    amounts, FID is, in the eigenbasis, c (Σ λ_i Z_i² + Σ_i λ_i/2 Z_ii² + Σ_{i<j} λ_i λ_j/(λ_i + λ_j) Z_ij²), where
    c = 1/n + 1/m and all Z are independent standard normal: the mean's error, and the second derivative of the Bures
    distance applied to the covariance's. The remainder is of relative order d/n.
    """
    first, second = np.triu_indices(len(eigenvalues))
    a, b = eigenvalues[first], eigenvalues[second]
    pairs = np.where(a + b > 0, a * b / np.where(a + b > 0, a + b, 1), 0.0)  # on the diagonal λ/2
    weights = (1 / n + 1 / m) * np.concatenate([eigenvalues, pairs])
    return float(weights.sum()), float(np.sqrt(2 * (weights**2).sum()))


def frechet_deviation(largest: float, n: int, calibration: int, alpha: float) -> float:
    """How far the root of FID to a known law may be above the mean of `calibration` others; wrong at rate `alpha`.

    n images from N(m, S), `largest` the largest eigenvalue of S. Replacing the images X by X' moves the root of FID,
    a distance, by at most the distance between the two sets' moments, which is at most that between the sets as
    measures (Gelbrich 1990), and so at most |X − X'| / sqrt(n), times sqrt(n / (n − 1)) for the unbiased covariance. A
    function of independent standard normals that moves at most L times as far as they do exceeds its mean by r with
    probability at most exp(−r²/(2 L²)) (Borell 1975; Boucheron, Lugosi and Massart 2013, Theorem 5.6). Here
    L² = largest (1 + 1/calibration) / (n − 1), for the difference of one root and the mean of others.
    """
    return math.sqrt(2 * largest * (1 + 1 / calibration) * math.log(1 / alpha) / (n - 1))


def excess(suspects: Array, known: Array) -> float:
    """By how many pairs more than half a score of `suspects` (a,) is above one of `known` (b,); at least 0.

    Half of Mann and Whitney's statistic is expected when nothing is wrong. A tie counts for innocence, which keeps the
    error rate of `critical_excess` a bound when scores are discrete; a score that is not a number counts for guilt.
    """
    pairs = ~(suspects[:, None] <= known[None, :])
    return float(max(pairs.sum() - pairs.size / 2, 0))


@lru_cache(maxsize=16)
def critical_excess(a: int, b: int, alpha: float) -> float:
    """The largest `excess` that is still innocent: exceeded with probability at most `alpha`, exactly, for any score.

    All choose(a + b, a) orders of the blocks are equally likely. How many have U = u is the coefficient of q^u in
    Gauss's binomial coefficient, the product over i = 1 … a of (1 − q^(b + i)) / (1 − q^i) (Mann and Whitney 1947).
    """
    counts = [1] + [0] * (a * b)
    for i in range(1, a + 1):
        for u in range(a * b, b + i - 1, -1):
            counts[u] -= counts[u - b - i]
        for u in range(i, a * b + 1):
            counts[u] += counts[u - i]
    total, beyond = math.comb(a + b, a), 0
    for u in range(a * b, -1, -1):
        beyond += counts[u]
        if beyond > alpha * total:
            return u - a * b / 2
    return 0.0


def gap(first: Array, second: Array) -> float:
    """The largest difference between the distribution functions of two samples (Smirnov)."""
    values = np.sort(np.concatenate([first, second]))
    of_first, of_second = (np.searchsorted(np.sort(each), values, side="right") / len(each) for each in (first, second))
    return float(np.abs(of_first - of_second).max())


def critical_gap(n: int, alpha: float) -> float:
    """The `gap` between two samples of n numbers each that is exceeded with probability at most `alpha`.

    2 exp(−n g²): Dvoretzky, Kiefer and Wolfowitz's inequality for two samples of equal size, with Massart's constant,
    which Wei and Dudley (2012, Theorem 1) prove for n of 458 and more. Raises `ValueError` below that.
    """
    if n < 458:
        raise ValueError(f"{n} numbers are fewer than the 458 from which the bound is proved")
    return math.sqrt(math.log(2 / alpha) / n)


def permutation(
    statistic: Callable[[Indices, Indices], Array], n: int, m: int, *, times: int, random: np.random.Generator
) -> tuple[Array, Array]:
    """Statistics of the first n and the last m of n + m pooled images: as they are (k,), and permuted (times, k).

    `statistic` takes the indices of the two sets. If both sets are independent draws from one source, all assignments
    are equally likely, so the share of permutations (itself counted) at least as extreme is an exact p-value.
    """
    everyone = np.arange(n + m)
    observed = statistic(everyone[:n], everyone[n:])
    shuffled = (random.permutation(n + m) for _ in range(times))
    return observed, np.stack([statistic(order[:n], order[n:]) for order in shuffled])
