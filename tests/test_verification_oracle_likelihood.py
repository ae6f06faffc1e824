"""The likelihood oracle: each closed form against another road to the same number, and against known figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from verification.oracle import exact_schedule
from verification.oracle_gaussian import GaussianChain, posterior_coefficients
from verification.oracle_likelihood import (
    LEVELS,
    decoder_edges,
    decoder_log_likelihood_exact,
    decoder_log_likelihood_mp,
    decoder_sensitivity,
    decoder_tanh,
    excess,
    expected_continuous_decoder,
    expected_kl,
    gap_identity,
    kl_floor,
    kl_weight,
    normal_kl_exact,
    normal_kl_quadrature,
    prior_nats,
    simple_weight,
    to_bits,
)

LINEAR = {"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}
COSINE = {"name": "cosine", "s": 0.008, "max_beta": 0.999}
TABLES = exact_schedule(LINEAR, 1000)
SIGMA_1 = math.sqrt(TABLES.posterior_variance[1])


def test_kl_of_equal_gaussians_is_exactly_zero() -> None:
    assert float(normal_kl_exact(*(np.array([x]) for x in (0.3, -9.8, 0.3, -9.8)))[0]) == 0.0


@pytest.mark.parametrize("pair", [(0.0, 0.0, 1.0, 0.0), (0.5, -3.0, 0.25, -9.0), (-1.0, 2.0, 1.0, -1.0)])
def test_kl_in_60_digits_is_the_integral(pair: tuple[float, float, float, float]) -> None:
    assert float(normal_kl_exact(*map(np.array, pair))) == pytest.approx(normal_kl_quadrature(*pair), rel=1e-10)


def test_kl_of_unit_gaussians_one_apart_is_one_half() -> None:
    assert float(normal_kl_exact(*map(np.array, (0.0, 0.0, 1.0, 0.0)))) == 0.5


@pytest.mark.parametrize("log_scale", [-8.0, -4.9, -3.0, -1.0, 1.0])
def test_both_decoder_oracles_agree(log_scale: float) -> None:
    """To ten digits of the logarithm, or of the probability where the bin holds nearly everything."""
    mean = np.array([-1.0, 0.3, 0.9, 1.5])
    first, second = (
        oracle(LEVELS[::5, None], mean, log_scale)
        for oracle in (decoder_log_likelihood_exact, decoder_log_likelihood_mp)
    )
    np.testing.assert_allclose(first, second, rtol=1e-10, atol=1e-15)


def test_bins_add_up_to_one() -> None:
    for log_scale in (-5.0, -1.0, 1.0):
        total = np.exp(decoder_log_likelihood_exact(LEVELS, 0.7, log_scale)).sum()
        assert total == pytest.approx(1, abs=1e-13)


def test_end_bins_are_open_and_others_2_255_wide() -> None:
    lower, upper = decoder_edges(LEVELS, np.zeros(256), np.zeros(256))
    assert (lower[0], upper[-1]) == (-np.inf, np.inf)
    np.testing.assert_allclose(upper[1:-1] - lower[1:-1], 2 / 255, rtol=1e-13)


def test_floor_of_the_decoder_is_1_305378_bits() -> None:
    """A pixel whose level is the mean, with the paper's width of 0.9415 levels; the tanh curve gives 1.305665."""
    arguments = (LEVELS[100], LEVELS[100], math.log(SIGMA_1))
    assert pytest.approx(0.941533, abs=5e-7) == SIGMA_1 * 127.5
    assert -to_bits(decoder_log_likelihood_exact(*map(np.asarray, arguments))) == pytest.approx(1.305378, abs=5e-7)
    assert -to_bits(decoder_tanh(*map(np.asarray, arguments))) == pytest.approx(1.305665, abs=5e-7)


@pytest.mark.parametrize("log_scale", [-3.0, 0.5])
def test_sensitivity_is_the_slope_of_the_log_probability(log_scale: float) -> None:
    """The derivative to the mean is the difference of the edges' slopes, that to the scale of their weighted ones."""
    x_0, mean, scale = LEVELS[40:250:30], np.full(7, 0.1), np.full(7, log_scale)
    step = 1e-6
    by_mean, by_scale = (
        (decoder_log_likelihood_exact(x_0, *plus) - decoder_log_likelihood_exact(x_0, *minus)) / (2 * step)
        for plus, minus in (
            ((mean + step, scale), (mean - step, scale)),
            ((mean, scale + step), (mean, scale - step)),
        )
    )
    per = decoder_sensitivity(x_0, mean, scale)
    assert np.abs(by_mean) * np.exp(scale) == pytest.approx(per.shift, rel=1e-5, abs=1e-6)
    assert (per.shift <= per.edge).all()
    assert (np.abs(by_scale) <= per.relative * (1 + 1e-5) + 1e-6).all()
    assert (per.tails > 0).all()


@pytest.mark.parametrize("log_scale", [-5.0, -3.0, 0.0])
def test_curvature_of_a_bins_log_probability_is_between_minus_one_and_zero(log_scale: float) -> None:
    """So that an error d of the mean costs at most d times the slope and d^2 / 2; d in units of the scale."""
    mean, d = np.linspace(-0.5, 0.5, 41), 0.3
    before, now, after = (
        decoder_log_likelihood_exact(np.zeros(41), mean + k * d * np.exp(log_scale), np.full(41, log_scale))
        for k in (-1, 0, 1)
    )
    curvature = (before - 2 * now + after) / d**2
    assert ((curvature >= -1 - 1e-9) & (curvature <= 1e-9)).all()


def test_sensitivity_is_finite_for_open_and_far_bins() -> None:
    for values in decoder_sensitivity(LEVELS[:, None], np.array([-1.0, 1.5]), -8.0):
        assert np.isfinite(values).all()


def test_excess_keeps_its_digits_near_one() -> None:
    tiny = 1e-9
    assert excess(1 + tiny, tiny) == pytest.approx(tiny**2 / 2, abs=3e-25)
    assert excess(4.0, 3.0) == pytest.approx(3 - math.log(4), rel=1e-15)


@pytest.mark.parametrize(("square", "bits"), [(0.0, 5.874784e-10), (0.25, 7.278677e-6), (1.0, 2.9112945e-5)])
def test_prior_term_is_the_known_figure(square: float, bits: float) -> None:
    assert to_bits(prior_nats(TABLES, square)) == pytest.approx(bits, rel=1e-6)


def test_weights_of_the_bound_are_the_known_figures() -> None:
    known = [0.27269208, 0.06822399, 0.00999623, 0.00550973, 0.01020449]
    assert simple_weight(TABLES, "beta")[[1, 10, 100, 500, 999]] == pytest.approx(known, rel=1e-6)
    assert simple_weight(TABLES, "posterior")[1] == pytest.approx(0.59967151, rel=1e-7)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_weight_by_the_fall_of_the_snr_is_that_of_equation_12(variance: str) -> None:
    """|x_0 - x̂_0|^2 is (1 - alpha_bar) / alpha_bar times |eps - eps_hat|^2."""
    scale = TABLES.one_minus_alpha_bar / TABLES.alpha_bar
    np.testing.assert_allclose(
        (kl_weight(TABLES, variance) * scale)[1:], simple_weight(TABLES, variance)[1:], rtol=1e-13
    )


def test_floor_of_the_kl_terms_is_known() -> None:
    assert to_bits(kl_floor(TABLES, "beta").sum()) == pytest.approx(0.486419230, abs=5e-10)
    assert (kl_floor(TABLES, "posterior") == 0).all()


@pytest.mark.parametrize("spec", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_terms_sum_to_the_gap_identity(spec: dict[str, object], variance: str) -> None:
    tables = exact_schedule(spec, 1000)
    chain = GaussianChain(tables, np.array([0.0, 0.1, 0.5]), np.array([0.25, 1.0, 4.0]))
    prior = prior_nats(tables, chain.mean**2 + chain.variance)
    total = prior + expected_kl(chain, variance).sum(axis=0) + expected_continuous_decoder(chain, variance)
    np.testing.assert_allclose(total, gap_identity(chain, variance), atol=1e-12)


def test_expected_kl_is_the_weight_times_the_loss_floor() -> None:
    chain = GaussianChain(TABLES, np.zeros(2), np.array([0.25, 1.0]))
    by_loss = kl_floor(TABLES, "beta")[:, None] + simple_weight(TABLES, "beta")[:, None] * chain.loss_floor
    np.testing.assert_allclose(expected_kl(chain, "beta")[1:], by_loss[1:], rtol=1e-11)


def test_information_lost_by_a_step_is_the_expected_kl_to_the_exact_kernel() -> None:
    """Telescoping: the sum over t >= 2 is I(x_0; x_1) - I(x_0; x_T)."""
    chain = GaussianChain(TABLES, np.zeros(2), np.array([0.25, 1.0]))
    posterior = posterior_coefficients(TABLES)
    ratio = posterior.variance[1:, None] / chain.reverse_variance[1:]
    missed = posterior.x_0[1:, None] ** 2 * chain.x_0_variance[1:] / chain.reverse_variance[1:]
    lost = (ratio - 1 - np.log(ratio) + missed) / 2
    np.testing.assert_allclose(lost, chain.information[:-1] - chain.information[1:], atol=1e-14)
