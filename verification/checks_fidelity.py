"""Level 5: are the images right? Whole batches by whole loops, judged as images are judged, by fidelity scores.

Everything here is seen more sharply, without statistics, by the checks of single steps. These look from the other end:
at the images, through the scores that generative models are compared by, so that a fault which no step shows (noise
used twice, one noise for a whole batch, images that are remembered instead of sampled) is seen, and a score that cannot
see a planted fault is not trusted. What is compared, and why it is exact, is said in `fidelity_trial.py`; the laws that
bound the error rates are in `fidelity_null.py`.

Each comparison condemns a right sampler with probability at most ALPHA = 4e-9, whatever its loop. FID-1 to FID-4 make
one, two, two and one, for either loop: 4.8e-8 a subject, within what `significance.LEDGER` grants them. The gate's seed
is fixed, so a verdict is repeated. What it takes to be caught is stated beside each, and measured in
`tests/test_verification_checks_fidelity.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from verification.check import Evidence, Run, check
from verification.fidelity_features import principal
from verification.fidelity_measures import (
    covered,
    frechet,
    frechet_distance,
    gaussian_moments,
    kernel_distance_to,
    moments,
    nearest,
    radii,
)
from verification.fidelity_null import (
    critical_excess,
    critical_gap,
    excess,
    frechet_deviation,
    frechet_null,
    gap,
)
from verification.fidelity_trial import (
    BLOCK,
    BLOCKS,
    GAUSSIAN_IMAGES,
    IMAGES,
    RightLoop,
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
from verification.oracle_empirical import digits
from verification.protocol import Array, Subject
from verification.randomness import cached_per_seed, generator

ALPHA = 4e-9
CALIBRATION = 8  # sets of Gaussian images that the judge draws to learn the mean of the root of FID
NEIGHBOURS = 3
DIRECTIONS = 32  # of pca-32
WORSE = {"FID[pca-32]": 1, "KID[pca-32]": 1, "precision[pca-32]": -1, "recall[pca-32]": -1}
"""The scores of blocks, and the direction in which each is worse."""

Judgement = Callable[[Sampler], Iterator[Evidence]]


def for_each_loop(
    id: str,  # noqa: A002 - the field's name in the record
    *,
    claim: str,
    source: str,
    kills: tuple[str, ...],
    tolerance: str,
) -> Callable[[Judgement], Judgement]:
    """Register a judgement twice: as `id` of the loop `sample`, and as `id.strided` of `sample_strided`."""

    def register(judge: Judgement) -> Judgement:
        def of_sample(subject: Subject) -> Iterator[Evidence]:
            yield from judge(ancestral(subject))

        def of_sample_strided(subject: Subject) -> Iterator[Evidence]:
            yield from judge(strided(subject))

        both: tuple[tuple[str, str, tuple[str, ...], Run], ...] = (
            (id, "ancestral", ("sample",), of_sample),
            (f"{id}.strided", "strided", ("sample_strided", "timesteps"), of_sample_strided),
        )
        for name, which, methods, run in both:
            check(
                name,
                claim=f"{which.capitalize()} sampling: {claim}",
                source=source,
                needs=(*methods, "num_timesteps", "variance"),
                level=5,
                kills=kills,
                tolerance=tolerance,
            )(run)
        return judge

    return register


@for_each_loop(
    "FID-1",
    claim="FID[pixels] of Gaussian images to the exact law of the loop is no larger than chance makes it.",
    source="Heusel et al. 2017, Eq. 6; Ho et al. 2020, Algorithm 2, with the best model for Gaussian data",
    kills=("F01", "F03", "F04", "F05", "F06", "F07", "F08"),
    tolerance="T5: alpha 4e-9 by Gaussian concentration of a Lipschitz function, n = 16384 images of 16 pixels; noise "
    "that is 5 % too small in every step is missed at a rate below 1e-6.",
)
def gaussian_fidelity(sampler: Sampler) -> Iterator[Evidence]:
    """The root of FID, a distance in pixel units, above the mean of what the judge's own draws have."""
    mean, variance = gaussian_law(sampler)
    expected = _expected_root(tuple(mean), tuple(variance))
    found = float(np.sqrt(frechet(moments(gaussian_images(sampler)), gaussian_moments(mean, np.diag(variance)))))
    null, spread = frechet_null(variance, GAUSSIAN_IMAGES)
    yield Evidence(
        max(found - expected, 0.0),
        frechet_deviation(float(variance.max()), GAUSSIAN_IMAGES, CALIBRATION, ALPHA),
        f"FID[pixels], {sampler.method}",
        f"FID {found**2:.3g} of {GAUSSIAN_IMAGES} images to their law, by chance {null:.3g} ± {spread:.2g}; "
        f"compared by roots, alpha {ALPHA:g}",
    )


@cached_per_seed(maxsize=16)
def _expected_root(mean: tuple[float, ...], variance: tuple[float, ...]) -> float:
    """The mean of the root of FID to the Gaussian law, over CALIBRATION sets of the judge's own draws."""
    law, random = gaussian_moments(np.array(mean), np.diag(variance)), generator("fidelity: calibration")
    drawn = (random.standard_normal((GAUSSIAN_IMAGES, len(mean))) for _ in range(CALIBRATION))
    return float(np.mean([np.sqrt(frechet(moments(mean + np.sqrt(variance) * each), law)) for each in drawn]))


@for_each_loop(
    "FID-2",
    claim="FID[pca-32] and KID[pca-32] of real-looking images are no worse than those of a right sampler's.",
    source="Heusel et al. 2017, Eq. 6; Bińkowski et al. 2018, section 4; data of known density around 360 real digits",
    kills=("F01", "F04", "F05", "F06", "F07", "F09"),
    tolerance="T5: alpha 4e-9 a score, exact law of the rank sum of 20 blocks of 128 images against 20. By "
    "FID, two of ten digits never drawn, or every twentieth image negated, are missed at a rate below 1e-6.",
)
def distances(sampler: Sampler) -> Iterator[Evidence]:
    """Both distances of each block to draws of the density."""
    yield in_blocks(sampler, "FID[pca-32]")
    yield in_blocks(sampler, "KID[pca-32]")


@for_each_loop(
    "FID-3",
    claim="Precision and recall[pca-32] of real-looking images are no lower than those of a right sampler's.",
    source="Kynkäänniemi et al. 2019, Eqs. 1 and 2; data of known density around 360 real digits",
    kills=("F01", "F04", "F05", "F06", "F07", "F08", "F09"),
    tolerance="T5: as FID-2; it is recall that catches the digits never drawn, precision the negated images.",
)
def coverage(sampler: Sampler) -> Iterator[Evidence]:
    """How much of a block lies within the density's draws, and how much of those within the block's reach."""
    yield in_blocks(sampler, "precision[pca-32]")
    yield in_blocks(sampler, "recall[pca-32]")


@for_each_loop(
    "FID-4",
    claim="Real-looking images keep the distance from the training images that a right sampler's keep.",
    source="Meehan et al. 2020, section 3 (data copying); data of known density around 360 real digits",
    kills=("F02", "F03", "F04", "F05", "F06", "F07", "F08"),
    tolerance="T5: alpha 4e-9 by the two-sample inequality of Dvoretzky, Kiefer and Wolfowitz, n = 2560 a side: 0.088. "
    "A gap of 0.17 between the distribution functions is missed at a rate below 1e-6; copies have a gap of 1.",
)
def novelty(sampler: Sampler) -> Iterator[Evidence]:
    """The distribution of the distance to the nearest of the 360 digits."""
    seen, known = (nearest(rows, digits()) for rows in (sampled_digits(sampler), right_digits(right_loop(sampler))))
    copies = np.mean(seen < known.min() / 2)
    yield Evidence(
        gap(seen, known),
        critical_gap(IMAGES, ALPHA),
        f"nearest training image, {sampler.method}",
        f"gap between the distributions of the distance to the nearest training image, on average {seen.mean():.3g} "
        f"instead of {known.mean():.3g}; {IMAGES} images, alpha {ALPHA:g}",
        f"{copies:.0%} of the images are copies of training images" if copies > 0.01 else "",
    )


@lru_cache(maxsize=1)
def _axes() -> Callable[[Array], Array]:
    return principal(digits().reshape(-1, 1, 8, 8), DIRECTIONS)


def see(rows: Array) -> Array:
    """The features pca-32 of images given as rows, (n, 32)."""
    return _axes()(rows.reshape(-1, 1, 8, 8))


@cached_per_seed(maxsize=1)
def scores() -> dict[str, Callable[[Array], float]]:
    """The scores of a block of images, given as features, by draws of the known density."""
    reference = see(fresh_digits())
    reach, kernel = radii(reference, NEIGHBOURS), kernel_distance_to(reference)
    return {
        "FID[pca-32]": lambda rows: frechet_distance(rows, reference),
        "KID[pca-32]": kernel,
        "precision[pca-32]": lambda rows: covered(rows, reference, reach),
        "recall[pca-32]": lambda rows: covered(reference, rows, radii(rows, NEIGHBOURS)),
    }


def of_blocks(name: str, images: Array) -> Array:
    """The score of each block of `images`, (BLOCKS,)."""
    return np.array([scores()[name](see(block)) for block in images.reshape(BLOCKS, BLOCK, -1)])


@cached_per_seed(maxsize=64)
def _of_right_blocks(name: str, loop: RightLoop) -> Array:
    return of_blocks(name, right_digits(loop))


def in_blocks(sampler: Sampler, name: str) -> Evidence:
    """Evidence about the rank of a score of the subject's blocks among a right sampler's."""
    seen, known = of_blocks(name, sampled_digits(sampler)), _of_right_blocks(name, right_loop(sampler))
    medians = [float(np.median(each)) for each in (seen, known)]
    return Evidence(
        excess(WORSE[name] * seen, WORSE[name] * known),
        critical_excess(BLOCKS, BLOCKS, ALPHA),
        f"{name}, {sampler.method}",
        f"{BLOCKS} blocks of {BLOCK} images have a median of {medians[0]:.3g}, a right sampler's {medians[1]:.3g}; "
        f"counted are the pairs, beyond half of {BLOCKS**2}, in which the subject's is worse; alpha {ALPHA:g}",
    )
