"""The best model for blurred digits, against the joint Gaussian of one centre, Bayes by quadrature, and Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from verification.oracle import exact_schedule
from verification.oracle_empirical import digits, empirical_mean
from verification.oracle_gaussian import GaussianChain
from verification.oracle_kde import kde_draw, kde_eps, kde_mean

TABLES = exact_schedule({"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}, 1000)


@pytest.mark.parametrize("t", [0, 30, 400, 999])
def test_one_centre_is_gaussian_data(t: int) -> None:
    centre, x_t = np.array([[0.25, -0.5]]), np.array([[0.3, 1.7], [-2.0, 0.0]])
    chain = GaussianChain(TABLES, centre[0], np.full(2, 0.2**2))
    mean = kde_mean(TABLES, centre, 0.2, x_t, t)
    np.testing.assert_allclose(
        mean, centre + chain.x_0_gain[t] * (x_t - chain.marginal_mean[t + 1]), rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(kde_eps(TABLES, x_t, mean, t), chain.eps_hat(x_t, t), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("t", [5, 200, 700])
def test_two_centres_agree_with_bayes_by_quadrature(t: int) -> None:
    centres, h, x = np.array([[-0.8], [0.5]]), 0.3, 0.1
    a, deviation = TABLES.sqrt_alpha_bar[t], TABLES.sqrt_one_minus_alpha_bar[t]

    def weight(x_0: float) -> float:
        return float(norm.pdf(x_0, centres[:, 0], h).sum() * norm.pdf(x, a * x_0, deviation))

    near = float(np.clip(x / a, -2, 2))  # where the integrand is, for the quadrature
    total, first = (
        quad(integrand, -4, 4, points=[near, -0.8, 0.5], epsabs=1e-13, limit=400)[0]
        for integrand in (weight, lambda x_0: x_0 * weight(x_0))
    )
    assert kde_mean(TABLES, centres, h, np.array([[x]]), t)[0, 0] == pytest.approx(first / total, abs=1e-9)


def test_no_blur_is_the_empirical_law() -> None:
    x_t = np.random.default_rng(0).standard_normal((5, 64))
    for t in (0, 300, 999):
        np.testing.assert_allclose(
            kde_mean(TABLES, digits(), 0.0, x_t, t), empirical_mean(TABLES, digits(), x_t, t), atol=1e-11
        )


def test_draws_have_the_mean_and_the_spread_of_the_density() -> None:
    drawn = kde_draw(digits(), 0.2, 40_000, np.random.default_rng(1))
    centred = digits() - digits().mean(axis=0)
    second, fourth = (centred**2).mean(axis=0), (centred**4).mean(axis=0)
    spread = second + 0.2**2
    kurtosis = fourth + 6 * second * 0.2**2 + 3 * 0.2**4  # of the sum of a centre and its blur
    assert (np.abs(drawn.mean(axis=0) - digits().mean(axis=0)) < 6 * np.sqrt(spread / 40_000)).all()
    assert (np.abs(drawn.var(axis=0) - spread) < 6 * np.sqrt((kurtosis - spread**2) / 40_000)).all()
