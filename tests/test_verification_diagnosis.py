"""Wrong coefficients are named for what they are, and right or random ones are not named at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verification.diagnosis import coefficients, diagnose
from verification.guard import guarded
from verification.oracle import ExactSchedule, exact
from verification.reference import ReferenceSubject


def schedule(name: str, T: int = 1000) -> ExactSchedule:
    return exact(guarded(ReferenceSubject(name, T)))


def wrong(s: Any) -> dict[str, tuple[str, Any, str]]:
    """Mistake -> the coefficient's name, what the wrong code computes, and what the diagnosis must say."""
    bar, T = s.alpha_bar, s.T
    pushed = np.append(s.posterior_variance[1], s.posterior_variance[1:])
    return {
        "root missing on signal": ("sqrt_alpha_bar", bar, "square root missing"),
        "root missing on noise": ("sqrt_one_minus_alpha_bar", 1 - bar, "square root missing"),
        "root missing in one step": ("sqrt_beta", s.beta, "square root missing"),
        "a root too many": ("alpha_bar", np.sqrt(bar), "square root too many"),
        "alpha for alpha_bar": ("sqrt_alpha_bar", np.sqrt(s.alpha), "equals sqrt_alpha where"),
        "alpha for alpha_bar, no root": ("sqrt_alpha_bar", s.alpha, "equals alpha where"),
        "complement forgotten": ("one_minus_alpha_bar", bar, "one minus missing"),
        "complement of the root": ("sqrt_one_minus_alpha_bar", 1 - np.sqrt(bar), "equals 1 - sqrt_alpha_bar"),
        "exclusive product": ("alpha_bar", np.append(1, bar[:-1]), "alpha_bar[t-1]: index off by one"),
        "one entry late": ("sqrt_alpha_bar", np.sqrt(np.append(bar[1:], 0.1)), "sqrt_alpha_bar[t+1]: index off by one"),
        "wrapped index": ("alpha_bar", np.roll(bar, 1), "negative index wraps"),
        "wrapped previous": ("alpha_bar_prev", np.roll(bar, 1), "except at t=0"),
        "sum for product": ("alpha_bar", 1 - np.cumsum(s.beta), "1 - cumsum(beta)"),
        "continuous limit": ("alpha_bar", np.exp(-np.cumsum(s.beta)), "exp(-cumsum(beta))"),
        "backwards": ("beta", s.beta[::-1], "runs backwards"),
        "divided by T": ("beta", s.beta / T, "beta / T"),
        "doubled": ("beta", 2 * s.beta, "doubled"),
        "sign": ("p_mean_coef_eps", -coefficients(s)["p_mean_coef_eps"], "sign flipped"),
        "swapped": ("posterior_coef_x_0", s.posterior_coef_x_t, "posterior_coef_x_t where posterior_coef_x_0"),
        "other variance": ("sqrt_posterior_variance", np.sqrt(s.beta), "equals sqrt_beta where"),
        "log for value": ("posterior_variance", s.posterior_log_variance, "posterior_log_variance where"),
        "value for log": ("posterior_log_variance", np.exp(s.posterior_log_variance), "the exponential"),
        "sigma without root": ("sqrt_posterior_variance", s.posterior_variance, "square root missing"),
        "no noise": ("sqrt_posterior_variance", 0 * bar, "0 at every t"),
        "noise at the last step": ("sqrt_posterior_variance", np.sqrt(pushed), "right except at t=0"),
        "one entry": ("alpha_bar", bar * (1 + 1e-4 * (np.arange(T) == 17)), "right except at t=17"),
        "constant factor": ("beta", 1.008 * s.beta, "times 1.008"),
        "inverted": ("recip_sqrt_alpha_bar", np.sqrt(bar), "inverted"),
        "alpha_bar for alpha": ("recip_sqrt_alpha", 1 / np.sqrt(bar), "recip_sqrt_alpha_bar where recip_sqrt_alpha"),
        "not previous": (
            "posterior_coef_x_0",
            np.sqrt(bar) * s.beta / (1 - bar),
            "beta sqrt(alpha_bar) / (1 - alpha_bar)",
        ),
        "eps unrooted": (
            "p_mean_coef_eps",
            -s.beta / np.sqrt(s.alpha) / (1 - bar),
            "-beta / sqrt(alpha) / (1 - alpha_bar)",
        ),
        "variance exponentiated": (
            "sqrt_posterior_variance",
            np.exp(s.posterior_variance / 2),
            "as if it were its logarithm",
        ),
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mistake", list(wrong(schedule("linear"))))
def test_mistake_is_named(mistake: str, dtype: Any) -> None:
    s = schedule("linear")
    name, observed, said = wrong(s)[mistake]
    assert said in diagnose(observed.astype(dtype), name, s)


@pytest.mark.parametrize("name", ["cosine", "quadratic", "sigmoid"])
@pytest.mark.parametrize(
    "mistake", ["root missing on signal", "exclusive product", "other variance", "swapped", "sign"]
)
def test_mistake_is_named_on_other_schedules_too(mistake: str, name: str) -> None:
    s = schedule(name, 100)
    coefficient, observed, said = wrong(s)[mistake]
    assert said in diagnose(observed, coefficient, s)


def test_division_by_the_wrong_number_in_the_linear_schedule_is_named() -> None:
    s = schedule("linear")
    assert "linear in t/T" in diagnose(1e-4 + (0.02 - 1e-4) * np.arange(1000) / 1000, "beta", s)
    assert "linear in (t+1)/T" in diagnose(1e-4 + (0.02 - 1e-4) * np.arange(1, 1001) / 1000, "beta", s)


@pytest.mark.parametrize("name", list(coefficients(schedule("linear", 10))))
def test_right_coefficient_has_no_diagnosis(name: str) -> None:
    s = schedule("linear")
    values = coefficients(s)[name]
    assert diagnose(values, name, s) == ""
    assert diagnose(values.astype(np.float32), name, s) == ""


def test_noise_and_what_is_no_coefficient_have_no_diagnosis() -> None:
    s = schedule("linear")
    random = np.random.default_rng(0)
    for name, values in coefficients(s).items():
        assert diagnose(values * random.uniform(0.5, 1.5, 1000), name, s) == ""
    assert diagnose(np.full(1000, np.nan), "beta", s) == ""
    assert diagnose(s.beta[:-1], "beta", s) == ""


def test_formula_that_fits_hardly_better_than_the_right_one_is_not_named() -> None:
    s = schedule("linear")
    rough = s.alpha * np.random.default_rng(0).uniform(1 - 1e-5, 1 + 1e-5, 1000)  # alpha[t-1] is as near as this
    assert diagnose(rough, "alpha", s) == ""


def test_formula_that_fits_at_most_entries_only_is_not_named() -> None:
    s = schedule("linear")
    mixed = np.sqrt(s.alpha_bar) * s.beta / (1 - s.alpha_bar)
    assert diagnose(mixed, "beta", s) != ""
    mixed[501] *= 1.1
    assert diagnose(mixed, "beta", s) == ""


@pytest.mark.parametrize("T", [1, 2, 3])
def test_short_schedules_do_not_break_it(T: int) -> None:
    s = schedule("linear", T)
    for name, values in coefficients(s).items():
        assert diagnose(values, name, s) == ""
        diagnose(values * 1.01 + 1, name, s)


def test_truth_may_be_given_for_a_name_of_ones_own() -> None:
    s = schedule("linear")
    mine = s.alpha_bar * s.beta
    assert "my_coefficient^2" in diagnose(mine**2, "my_coefficient", s, truth=mine)
    with pytest.raises(KeyError):
        diagnose(mine, "my_coefficient", s)
