"""The Gaussian oracle against matrices, against other formulas of the same thing, and against figures found by hand."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import numpy as np
import pytest

from verification.oracle import exact_schedule
from verification.oracle_gaussian import (
    GaussianChain,
    ancestral_coefficients,
    ancestral_law,
    ddim_coefficients,
    ddim_law,
    log_ratio,
    posterior_coefficients,
    step_variance,
)

LINEAR = {"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}
COSINE = {"name": "cosine", "s": 0.008, "max_beta": 0.999}
VARIANCES = np.array([0.25, 1.0, 4.0])
TABLES = exact_schedule(LINEAR, 1000)


def chain(variances: np.ndarray = VARIANCES, mean: float = 0.0) -> GaussianChain:
    return GaussianChain(TABLES, np.full(len(variances), mean), variances)


@pytest.mark.parametrize("spec", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_marginals_reached_step_by_step_are_the_closed_form(spec: dict[str, object]) -> None:
    tables = exact_schedule(spec, 1000)
    stepped = GaussianChain(tables, np.array([0.5]), np.array([0.25]))
    closed = tables.alpha_bar * 0.25 + tables.one_minus_alpha_bar
    np.testing.assert_allclose(stepped.marginal_variance[1:, 0], closed, rtol=1e-13)
    np.testing.assert_allclose(stepped.marginal_mean[1:, 0], tables.sqrt_alpha_bar * 0.5, rtol=1e-12)


def test_conditionals_are_those_of_the_joint_covariance_matrix() -> None:
    """(x_0, x_{t-1}, x_t, eps) is Gaussian; conditioning its covariance matrix on x_t gives every conditional."""
    made, t, lam = chain(), 300, 0.25
    a, v, alpha, beta = (
        table[t] for table in (TABLES.alpha_bar, TABLES.one_minus_alpha_bar, TABLES.alpha, TABLES.beta)
    )
    a_prev, v_prev = TABLES.alpha_bar_prev[t], TABLES.one_minus_alpha_bar_prev[t]
    sources = np.array(  # x_0, x_{t-1} and x_t as mixtures of independent x_0, noise up to t-1, noise of step t
        [[1, 0, 0], [a_prev**0.5, v_prev**0.5, 0], [a**0.5, (alpha * v_prev) ** 0.5, beta**0.5]]
    ) * np.sqrt([lam, 1, 1])
    eps = (sources[2] - a**0.5 * sources[0]) / v**0.5
    joint = np.vstack([sources, eps])
    covariance = joint @ joint.T
    gains = covariance[:, 2] / covariance[2, 2]
    left = np.diag(covariance) - gains * covariance[:, 2]
    assert made.x_0_gain[t, 0] == pytest.approx(gains[0], rel=1e-12)
    assert made.reverse_gain[t, 0] == pytest.approx(gains[1], rel=1e-12)
    assert made.eps_gain[t, 0] == pytest.approx(gains[3], rel=1e-12)
    assert made.x_0_variance[t, 0] == pytest.approx(left[0], rel=1e-11)
    assert made.reverse_variance[t, 0] == pytest.approx(left[1], rel=1e-10)
    assert made.loss_floor[t, 0] == pytest.approx(left[3], rel=1e-11)


def test_posterior_is_that_of_the_paper() -> None:
    """Eqs. 6 and 7, figures of the linear schedule at indices 1, 487 and 999."""
    found = posterior_coefficients(TABLES)
    assert found.x_0[1] == pytest.approx(0.5452914995, rel=1e-9)
    assert found.x_t[1] == pytest.approx(0.4547084990, rel=1e-9)
    assert found.x_0[999] == pytest.approx(1.2835149e-4, rel=1e-7)
    assert found.x_t[999] == pytest.approx(0.9899486783, rel=1e-9)
    assert found.variance[[0, 487, 999]] == pytest.approx([0.0, 0.00979157199, 0.01999998353], rel=1e-8)
    np.testing.assert_allclose(found.variance, TABLES.posterior_variance, rtol=1e-14)


def test_posterior_at_the_first_step_is_the_image_itself() -> None:
    found = posterior_coefficients(TABLES)
    assert (found.x_0[0], found.x_t[0], found.variance[0]) == (1.0, 0.0, 0.0)


def test_reverse_variances_have_their_replaced_first_entry() -> None:
    assert np.log(step_variance(TABLES, "beta")[0]) == pytest.approx(-9.816725135, abs=5e-10)
    assert step_variance(TABLES, "posterior")[0] == step_variance(TABLES, "posterior")[1]
    assert step_variance(exact_schedule(LINEAR, 1), "posterior")[0] == exact_schedule(LINEAR, 1).beta[0]
    with pytest.raises(ValueError, match="known are posterior and beta"):
        step_variance(TABLES, "learned")


def test_ancestral_mean_is_equation_11() -> None:
    step = ancestral_coefficients(TABLES, "beta")
    np.testing.assert_allclose(step.x_t, 1 / np.sqrt(TABLES.alpha), rtol=1e-14)
    expected = -TABLES.beta / np.sqrt(TABLES.alpha * TABLES.one_minus_alpha_bar)
    np.testing.assert_allclose(step.eps_hat, expected, rtol=1e-14)
    assert step.z[0] == 0.0
    np.testing.assert_allclose(step.z[1:] ** 2, TABLES.beta[1:], rtol=1e-14)


def test_ddim_is_the_textbook_formula() -> None:
    t, t_prev, eta = np.array([999, 700, 300]), np.array([500, 699, 10]), 0.5
    a, b = TABLES.alpha_bar[t], TABLES.alpha_bar[t_prev]
    sigma_squared = eta**2 * (1 - b) / (1 - a) * (1 - a / b)
    step = ddim_coefficients(TABLES, t, t_prev, eta)
    np.testing.assert_allclose(step.z**2, sigma_squared, rtol=1e-11)
    np.testing.assert_allclose(step.direction, np.sqrt(1 - b - sigma_squared), rtol=1e-11)
    np.testing.assert_allclose(step.affine.x_t, np.sqrt(b / a), rtol=1e-13)
    np.testing.assert_allclose(step.affine.eps_hat, step.direction - np.sqrt(b * (1 - a) / a), rtol=1e-10)


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_ddim_with_eta_1_is_the_ancestral_step(T: int) -> None:
    tables, t = exact_schedule(LINEAR, T), np.arange(T)
    ddim, ancestral = ddim_coefficients(tables, t, t - 1, 1.0).affine, ancestral_coefficients(tables, "posterior")
    np.testing.assert_allclose(ddim.x_t, ancestral.x_t, rtol=1e-12)
    np.testing.assert_allclose(ddim.eps_hat, ancestral.eps_hat, rtol=1e-10)
    np.testing.assert_allclose(ddim.z, ancestral.z, rtol=1e-12)


def test_ddim_to_x_0_returns_the_implied_x_0() -> None:
    last = ddim_coefficients(TABLES, np.array([999]), np.array([-1]), 1.0)
    assert (last.signal[0], last.direction[0], last.z[0]) == (1.0, 0.0, 0.0)


def test_log_ratio_keeps_its_digits_for_neighbours_late_in_the_chain() -> None:
    """A plain running sum leaves 1e-13 of log alpha_bar_T, which is 5e-12 of its last difference, 0.0202."""
    t = np.array([1, 500, 999])
    expected = [float(mpmath.log1p(-mpmath.mpf(beta))) for beta in TABLES.beta[t]]
    np.testing.assert_allclose(log_ratio(TABLES, t, t - 1), expected, rtol=4e-16)


def test_loss_floor_averages_to_the_known_figures() -> None:
    assert chain().loss_floor.mean(axis=0) == pytest.approx([0.1730534, 0.2755132, 0.39540695], rel=1e-6)
    cosine = GaussianChain(exact_schedule(COSINE, 1000), np.zeros(2), np.array([0.25, 1.0]))
    assert cosine.loss_floor.mean(axis=0) == pytest.approx([0.3276534, 0.4955776], rel=1e-6)


def test_output_laws_of_whole_samplers_are_the_known_figures() -> None:
    full = np.arange(1000)[::-1]
    assert ancestral_law(chain(), "posterior")[1][:2] == pytest.approx([0.24612521, 0.99106738], rel=1e-7)
    assert ancestral_law(chain(), "beta")[1][:2] == pytest.approx([0.25075208, 0.9999], rel=1e-7)
    assert ddim_law(chain(), full, 0.0)[1][:2] == pytest.approx([0.24849755, 0.99625211], rel=1e-7)
    assert ddim_law(chain(), full, 1.0)[1] == pytest.approx(ancestral_law(chain(), "posterior")[1], rel=1e-11)


def test_strided_output_variances_are_the_known_figures() -> None:
    """50 trailing steps, 999, 979, ..., 19: data variance 1/4, DDIM."""
    assert ddim_law(chain(), np.arange(999, 0, -20), 0.0)[1][0] == pytest.approx(0.222220, abs=2e-6)


def test_output_means_keep_what_the_start_forgot() -> None:
    mean, _ = ancestral_law(chain(mean=0.5), "posterior")
    gain = np.prod(chain().reverse_gain, axis=0)
    np.testing.assert_allclose(mean, 0.5 - TABLES.sqrt_alpha_bar[-1] * gain * 0.5, rtol=1e-12)


def test_sampling_with_the_exact_kernel_returns_the_data() -> None:
    """The closure test: start from the true x_T, use the true reverse variance, get the data's variance."""
    made = chain()
    variance = made.marginal_variance[-1]
    for gain, noise in zip(made.reverse_gain[::-1], made.reverse_variance[::-1], strict=True):
        variance = gain**2 * variance + noise
    np.testing.assert_allclose(variance, VARIANCES, rtol=1e-12)


def test_ddim_converges_with_order_one() -> None:
    counts = (50, 100, 200)
    errors = []
    for n in counts:
        steps = np.round(np.linspace(999, 0, n)).astype(int)
        errors.append(ddim_law(chain(), steps, 0.0)[1][0] - 0.25)
    assert all(1.7 < first / second < 2.3 for first, second in pairwise(errors)), errors
