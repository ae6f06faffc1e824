"""The mixture's oracle agrees with closed forms where there are any, and with sums over a grid where there are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from verification.oracle import exact_schedule
from verification.oracle_gaussian import GaussianChain, ancestral_law, step_variance
from verification.oracle_likelihood import LEVELS, decoder_log_likelihood_exact
from verification.oracle_mixture import (
    POINTS,
    REACH,
    Density,
    Mixture,
    blurred,
    grid,
    model_bits,
    moved,
    sampler_cdf,
    sampler_density,
    step_mean,
)

LINEAR = {"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}
TABLES = exact_schedule(LINEAR, 40)
TWO = Mixture((0.35, 0.65), (-0.4, 0.3), (0.08, 0.1))
ONE = Mixture((1.0,), (0.3,), (0.08,))
X = np.linspace(-2, 2, 41)


@pytest.mark.parametrize("t", [0, 7, 39])
def test_posterior_is_the_quotient_of_two_integrals(t: int) -> None:
    """E[x_0 | x_t] and Var[x_0 | x_t] by quadrature of the joint density."""
    a, v = TABLES.alpha_bar[t], TABLES.one_minus_alpha_bar[t]

    def moment(x_0: float, k: int, x_t: float) -> float:
        data = sum(w * norm.pdf(x_0, m, s) for w, m, s in zip(TWO.weights, TWO.means, TWO.deviations, strict=True))
        return float(x_0**k * data * norm.pdf(x_t, math.sqrt(a) * x_0, math.sqrt(v)))

    for x_t in (-0.5, 0.05, 0.9):
        near = [*TWO.means, x_t / math.sqrt(a)]
        moments = [quad(moment, -1.5, 1.5, args=(k, x_t), points=near, epsabs=1e-13, limit=200)[0] for k in range(3)]
        mean, spread = TWO.posterior(TABLES, np.array([x_t]), t)
        expected = moments[1] / moments[0]
        assert mean[0] == pytest.approx(expected, abs=1e-7)
        assert spread[0] == pytest.approx(moments[2] / moments[0] - expected**2, abs=1e-7)


def test_single_component_is_the_gaussian_oracle() -> None:
    chain = GaussianChain(TABLES, np.array([0.3]), np.array([0.08**2]))
    for t in (0, 20, 39):
        assert ONE.eps_hat(TABLES, X, t) == pytest.approx(chain.eps_hat(X[:, None], t)[:, 0], abs=1e-10)


def test_far_from_all_components_the_nearest_explains() -> None:
    """Where both densities underflow, their quotient does not."""
    mean, spread = TWO.posterior(TABLES, np.array([-60.0, 60.0]), 0)
    assert np.isfinite([mean, spread]).all()
    assert mean[0] < -0.4
    assert mean[1] > 0.3


def test_step_rises_and_its_slope_is_the_derivative() -> None:
    for t in (0, 10, 39):
        up, down = (step_mean(TABLES, TWO, t, X + d)[0] for d in (1e-5, -1e-5))
        _, slope = step_mean(TABLES, TWO, t, X)
        assert (slope > 0).all()
        assert slope == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_normal_density_moves_and_blurs_as_it_must() -> None:
    """N(0, 0.2^2) to 0.1 + x / 2, plus a normal number of 0.05."""
    x = grid()
    assert (len(x), x[0], x[1] - x[0]) == (POINTS, -REACH, 2 * REACH / POINTS)
    made = blurred(moved(Density(x, norm.pdf(x, 0, 0.2)), 0.1 + x / 2, np.full_like(x, 0.5)), 0.05)
    assert made.p == pytest.approx(norm.pdf(x, 0.1, math.hypot(0.1, 0.05)), abs=1e-7)
    assert made.cdf() == pytest.approx(norm.cdf(x, 0.1, math.hypot(0.1, 0.05)), abs=1e-9)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
@pytest.mark.parametrize("schedule", [LINEAR, {"name": "cosine", "s": 0.008, "max_beta": 0.999}])
def test_output_law_of_gaussian_data_is_the_recursion(variance: str, schedule: dict[str, float]) -> None:
    tables = exact_schedule(schedule, 40)
    mean, spread = ancestral_law(GaussianChain(tables, np.array([0.3]), np.array([0.08**2])), variance)
    values = np.linspace(-0.2, 0.8, 301)
    expected = ndtr((values - mean) / np.sqrt(spread))
    assert sampler_cdf(tables, ONE, variance, values) == pytest.approx(expected, abs=1e-7)


def test_output_law_of_a_mixture_is_that_of_a_sum_over_a_grid() -> None:
    """Four steps by the defining integral, p(x') = sum over x of N(x'; mean(x), sigma^2) p(x), on 3000 points."""
    tables = exact_schedule({"name": "constant", "beta_end": 0.02}, 4)
    x = np.linspace(-6, 6, 3001)
    p = norm.pdf(x)
    sigma = np.sqrt(step_variance(tables, "beta"))
    for t in (3, 2, 1):
        to, _ = step_mean(tables, TWO, t, x)
        p = norm.pdf(x[:, None], to[None], sigma[t]) @ p * (x[1] - x[0])
    density = sampler_density(tables, TWO, "beta")
    assert np.interp(x, density.x, density.p) == pytest.approx(p, abs=1e-4)


def test_output_is_not_the_data_law() -> None:
    """What a test against the data would have to forgive: some per cent of the CDF, at 40 steps."""
    values = np.linspace(-0.8, 0.8, 401)
    data = sum(w * norm.cdf(values, m, s) for w, m, s in zip(TWO.weights, TWO.means, TWO.deviations, strict=True))
    assert np.abs(sampler_cdf(TABLES, TWO, "posterior", values) - data).max() > 0.01


def test_bins_sum_to_one_and_follow_the_density() -> None:
    bins = TWO.bins()
    assert bins.sum() == pytest.approx(1, abs=1e-14)
    density = sum(w * norm.pdf(LEVELS, m, s) for w, m, s in zip(TWO.weights, TWO.means, TWO.deviations, strict=True))
    assert bins == pytest.approx(density * 2 / 255, abs=1e-5)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_model_is_a_probability_and_the_decoder_over_the_chain(variance: str) -> None:
    bits = model_bits(TABLES, TWO, variance)
    assert np.exp2(-bits).sum() == pytest.approx(1, abs=1e-9)
    density = sampler_density(TABLES, TWO, variance)
    mean, _ = step_mean(TABLES, TWO, 0, density.x)
    log_scale = np.full_like(mean, math.log(step_variance(TABLES, variance)[0]) / 2)
    for level in (0, 77, 160, 255):
        chance = np.exp(decoder_log_likelihood_exact(np.full_like(mean, LEVELS[level]), mean, log_scale))
        assert np.exp2(-bits[level]) == pytest.approx(float(chance @ density.p / density.p.sum()), rel=1e-6, abs=1e-200)
