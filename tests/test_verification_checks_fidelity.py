"""What it takes to be caught, and what each score cannot see: the doses and rates that the checks declare."""

from __future__ import annotations

import math

import numpy as np
import pytest
from judged import complaints, failure

from verification.check import CHECKS, select
from verification.checks_fidelity import ALPHA, CALIBRATION, WORSE, of_blocks, scores, see
from verification.fidelity_measures import frechet, gaussian_moments, moments, nearest
from verification.fidelity_null import critical_excess, critical_gap, excess, frechet_deviation, gap
from verification.fidelity_trial import (
    BLOCK,
    BLOCKS,
    GAUSSIAN_IMAGES,
    IMAGES,
    RightLoop,
    coefficients,
    fresh_digits,
    gaussian_data,
    gaussian_law,
    right_digits,
    right_loop,
    strided,
)
from verification.mutants import load_mutants
from verification.oracle import exact
from verification.oracle_empirical import digit_labels, digits
from verification.oracle_gaussian import ddim_coefficients, output_law
from verification.oracle_kde import kde_mean
from verification.protocol import Array
from verification.randomness import using
from verification.reference import ReferenceSubject
from verification.significance import allowance

ALL = [check.id for check in select("full", "FID-*")]
LOOP = right_loop(strided(ReferenceSubject()))


def more_right_digits(loop: RightLoop, count: int, seed: int) -> Array:
    """Images of the right law with other noise."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, 64))
    for t, of_x_0, of_x_t, sigma in zip(loop.timesteps, *coefficients(loop), strict=True):
        x = of_x_0 * kde_mean(loop.tables, digits(), 0.2, x, t) + of_x_t * x + sigma * random.standard_normal(x.shape)
    return x


@pytest.fixture(scope="module")
def pool() -> Array:
    return more_right_digits(LOOP, 4 * IMAGES, seed=1)


def blocks(images: Array) -> Array:
    """As many whole blocks as there are, (n, BLOCK, 64)."""
    return images[: len(images) // BLOCK * BLOCK].reshape(-1, BLOCK, 64)


def digit_of(images: Array) -> Array:
    return digit_labels()[(images @ digits().T - (digits() ** 2).sum(axis=1) / 2).argmax(axis=1)]


def test_four_claims_about_either_loop() -> None:
    expected = [f"FID-{i}{loop}" for i in (1, 2, 3, 4) for loop in ("", ".strided")]
    assert expected == ALL
    assert {CHECKS[each].level for each in ALL} == {5}


@pytest.mark.parametrize("choices", [{"num_timesteps": 10}, {"num_timesteps": 1}])
def test_unusual_right_subjects_pass(choices: dict[str, object]) -> None:
    assert not complaints(ReferenceSubject(**choices), *ALL)  # type: ignore[arg-type]  # each choice fits its name


def test_a_copy_says_so() -> None:
    finding = failure(load_mutants()["F02"].make(), "FID-4")
    assert finding.diagnosis == "100% of the images are copies of training images"
    assert "instead of" in finding.reason


@pytest.mark.parametrize("check", ["FID-1", "FID-2", "FID-3"])
def test_memorised_images_fool_every_score_but_one(check: str) -> None:
    """Why FID-4 is there: to the other three the copies of 360 digits are as good as fresh ones."""
    assert not complaints(load_mutants()["F02"].make(), check)


def test_images_of_the_right_law_are_innocent_well_within_the_bound(pool: Array) -> None:
    """Four further runs: the largest excess a right sampler shows is far from what condemns it."""
    for part in pool.reshape(4, IMAGES, 64):
        for name in scores():
            found = excess(*(WORSE[name] * of_blocks(name, images) for images in (part, right_digits(LOOP))))
            assert found < 0.7 * critical_excess(BLOCKS, BLOCKS, ALPHA), name
        distances = [nearest(images, digits()) for images in (part, right_digits(LOOP))]
        assert gap(*distances) < 0.7 * critical_gap(IMAGES, ALPHA)


@pytest.mark.parametrize("name", ["FID[pca-32]", "recall[pca-32]"])
def test_two_missing_digits_are_missed_at_the_stated_rate(pool: Array, name: str) -> None:
    missing = pool[digit_of(pool) > 1]
    assert standard_deviations_beyond_the_bound(name, missing, pool) > ONE_IN_A_MILLION


@pytest.mark.parametrize("name", ["FID[pca-32]", "precision[pca-32]"])
def test_a_twentieth_of_wrong_images_is_missed_at_the_stated_rate(pool: Array, name: str) -> None:
    wrong = pool.copy()
    wrong[::20] *= -1
    assert standard_deviations_beyond_the_bound(name, wrong, pool) > ONE_IN_A_MILLION


ONE_IN_A_MILLION = 4.75  # standard deviations of a normal law, one-sided


def standard_deviations_beyond_the_bound(name: str, wrong: Array, right: Array) -> float:
    """How far Mann and Whitney's statistic is beyond what condemns, in its own standard deviations, from many blocks.

    Its variance for laws that differ is that of Lehmann 1975, Eq. 2.21, with p = P(wrong above right).
    """
    seen, known = (
        WORSE[name] * np.array([scores()[name](see(block)) for block in blocks(images)]) for images in (wrong, right)
    )
    above, n = ~(seen[:, None] <= known[None, :]), BLOCKS
    p, of_seen, of_known = above.mean(), above.mean(axis=1).var(), above.mean(axis=0).var()
    variance = n**2 * (p * (1 - p) + (n - 1) * (of_seen + of_known))
    margin = n**2 * (p - 0.5) - critical_excess(n, n, ALPHA)
    return float(margin / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, margin))


def test_noise_five_percent_too_small_is_missed_at_the_stated_rate() -> None:
    """FID-1: the root of FID then exceeds the bound by more than chance takes away once in a million."""
    sampler = strided(ReferenceSubject())
    tables = exact(sampler.subject)
    chain, t = gaussian_data(tables), np.array(sampler.timesteps)[::-1]
    step = ddim_coefficients(tables, t, np.append(-1, t[:-1]), 1.0).affine
    gain = step.x_t[:, None] + step.eps_hat[:, None] * chain.eps_gain[t]
    deviation, spread = output_law(gain, 0.95 * step.z, -chain.marginal_mean[t[-1] + 1], np.ones(16))
    mean, variance = gaussian_law(sampler)
    law, random = gaussian_moments(mean, np.diag(variance)), np.random.default_rng(0)

    def root(of: tuple[Array, Array]) -> float:
        drawn = (of[0] + np.sqrt(of[1]) * random.standard_normal((GAUSSIAN_IMAGES, 16)) for _ in range(8))
        return float(np.mean([math.sqrt(frechet(moments(rows), law)) for rows in drawn]))

    margin = root((chain.mean + deviation, spread)) - root((mean, variance))
    margin -= frechet_deviation(variance.max(), GAUSSIAN_IMAGES, CALIBRATION, ALPHA)
    assert margin > frechet_deviation(spread.max(), GAUSSIAN_IMAGES, CALIBRATION, 1e-6)


def test_gap_of_novelty_is_missed_at_the_stated_rate() -> None:
    """FID-4: a gap of 0.17 is hidden by what the inequality allows less often than once in a million."""
    assert 2 * math.exp(-IMAGES * (0.17 - critical_gap(IMAGES, ALPHA)) ** 2) < 1e-6


def test_blocks_are_enough_for_the_rate() -> None:
    """20 against 20: perfect separation has a chance of 7e-12, so 15 pairs of 400 may be in order at 4e-9."""
    assert critical_excess(BLOCKS, BLOCKS, ALPHA) == 185
    assert 1 / math.comb(2 * BLOCKS, BLOCKS) < ALPHA / 500
    assert BLOCKS * BLOCK == IMAGES


@pytest.mark.parametrize(("check", "comparisons"), [("FID-1", 1), ("FID-2", 2), ("FID-3", 2), ("FID-4", 1)])
def test_both_loops_stay_within_what_the_ledger_grants(check: str, comparisons: int) -> None:
    assert 2 * comparisons * ALPHA <= allowance(check)


def test_another_seed_draws_other_images() -> None:
    first = fresh_digits()
    with using(seed=7):
        other = fresh_digits()
    assert not np.array_equal(first, other)
    assert np.array_equal(first, fresh_digits())
