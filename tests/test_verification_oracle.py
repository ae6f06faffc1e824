"""The oracle agrees with exact fractions, with constants worked out by hand, and with every sane order of float64."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from nudged import Undeclared
from scipy.stats import norm

from verification.oracle import SCHEDULES, ExactSchedule, exact, exact_schedule
from verification.reference import ReferenceSubject, declared

LINEAR = {"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}
COSINE = {"name": "cosine", "s": 0.008, "max_beta": 0.999}
RATIONAL = ("linear", "constant", "jsd", "warmup10", "warmup50")


def fractions(name: str, T: int) -> list[Fraction]:
    """The betas of a schedule without square roots or cosines, exactly."""
    first, last, cap = Fraction(1e-4), Fraction(0.02), Fraction(0.999)
    ramp = lambda n: [first + (last - first) * Fraction(i, max(n - 1, 1)) for i in range(n)]  # noqa: E731 - three uses below
    warm = {"linear": T, "constant": 0, "warmup10": T // 10, "warmup50": T // 2}
    if name == "jsd":
        return [min(Fraction(1, T - i), cap) for i in range(T)]
    return ramp(warm[name]) + [last] * (T - warm[name])


@pytest.mark.parametrize("name", RATIONAL)
@pytest.mark.parametrize("T", [1, 2, 3, 10, 40])
def test_tables_are_the_paper_s_formulas_in_exact_fractions_correctly_rounded(name: str, T: int) -> None:
    beta = fractions(name, T)
    alpha_bar, rest, variance, tables = Fraction(1), Fraction(0), [], exact_schedule(declared(name), T)
    for t, b in enumerate(beta):
        before, rest_before = alpha_bar, rest
        alpha_bar, rest = alpha_bar * (1 - b), (1 - b) * rest + b
        assert rest == 1 - alpha_bar
        variance.append(b * rest_before / rest)
        row = {"beta": b, "alpha": 1 - b, "alpha_bar": alpha_bar, "one_minus_alpha_bar": rest, "snr": alpha_bar / rest}
        row |= {"alpha_bar_prev": before, "one_minus_alpha_bar_prev": rest_before, "posterior_variance": variance[-1]}
        assert {key: tables.table(key)[t] for key in row} == {key: float(value) for key, value in row.items()}


def test_constants_of_the_linear_schedule() -> None:
    tables = exact_schedule(LINEAR, 1000)
    # The figure is for the decimals 1e-4 and 0.02; a subject computes with the float64s nearest to them.
    np.testing.assert_allclose(tables.alpha_bar[-1], 4.03582976537568331481763516e-5, rtol=5e-16)
    assert tables.one_minus_alpha_bar[0] == 1e-4
    np.testing.assert_allclose(
        tables.posterior_variance[[1, 487, 999]], [5.45318766e-5, 0.00979157199, 0.01999998353], 1e-9
    )
    np.testing.assert_allclose(tables.posterior_log_variance[:2], [-9.816725135, -9.816725135], rtol=1e-10)
    np.testing.assert_allclose(tables.posterior_coef_x_0[[0, 1, 999]], [1, 0.5452914995, 1.2835149e-4], rtol=5e-8)
    np.testing.assert_allclose(tables.posterior_coef_x_t[[0, 1, 999]], [0, 0.4547084990, 0.9899486783], rtol=1e-9)
    np.testing.assert_allclose(tables.snr[[0, 999]], [9999, 4.0359927e-5], rtol=2e-8)
    assert np.flatnonzero(tables.snr > 1)[-1] == 258


def test_constants_of_the_cosine_schedule() -> None:
    tables = exact_schedule(COSINE, 1000)
    np.testing.assert_allclose(tables.beta[[0, 1, 998]], [4.12842248e-5, 4.61417527e-5, 0.7499993929], rtol=1e-9)
    assert np.flatnonzero(tables.beta == 0.999).tolist() == [999]
    np.testing.assert_allclose(tables.alpha_bar[[0, 499]], [0.9999587158, 0.4938435904], rtol=1e-9)
    np.testing.assert_allclose(tables.alpha_bar[[998, 999]], [2.428766907e-6, 2.428766907e-9], rtol=1e-9)
    longer = exact_schedule(COSINE, 4000)
    np.testing.assert_allclose([longer.beta[0], longer.alpha_bar[-1]], [9.8658188e-6, 1.51798047e-10], rtol=1e-8)


@pytest.mark.parametrize(
    ("T", "scale", "last"), [(200, 1, 0.1321827543), (300, 1, 0.0480584), (4000, 1, 2.65e-18), (200, 5, 3.03184e-5)]
)
def test_alpha_bar_at_the_end_of_other_chains(T: int, scale: float, last: float) -> None:
    spec = {"name": "linear", "beta_start": 1e-4 * scale, "beta_end": 0.02 * scale}
    np.testing.assert_allclose(exact_schedule(spec, T).alpha_bar[-1], last, rtol=2e-3 if T == 4000 else 1e-5)


@pytest.mark.parametrize("name", ["quadratic", "sigmoid", "cosine"])
def test_irrational_schedules_match_their_textbook_formula(name: str) -> None:
    np.testing.assert_allclose(
        exact_schedule(declared(name), 50).beta, ReferenceSubject(name, 50).tables()["beta"], rtol=1e-12
    )


def test_posterior_is_the_product_of_two_densities() -> None:
    """SciPy's densities, multiplied on a grid: same mean, same variance."""
    s = exact_schedule(LINEAR, 100)
    x_0, x_t, grid = 0.3, -0.4, np.linspace(-3, 3, 60001)
    for t in (1, 10, 99):
        logs = norm.logpdf(x_t, np.sqrt(s.alpha[t]) * grid, np.sqrt(s.beta[t]))
        logs += norm.logpdf(grid, np.sqrt(s.alpha_bar_prev[t]) * x_0, np.sqrt(s.one_minus_alpha_bar_prev[t]))
        weight = np.exp(logs - logs.max())
        mean = np.average(grid, weights=weight)
        np.testing.assert_allclose(s.posterior_coef_x_0[t] * x_0 + s.posterior_coef_x_t[t] * x_t, mean, rtol=1e-10)
        np.testing.assert_allclose(s.posterior_variance[t], np.average((grid - mean) ** 2, weights=weight), rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [1, 2, 10, 300])
def test_float64_arithmetic_stays_within_the_error_of_every_table(name: str, T: int) -> None:
    tables, stored = exact_schedule(declared(name), T), ReferenceSubject(name, T).tables()
    for table, values in stored.items():
        assert (np.abs(values - tables.table(table)) <= tables.error(table)).all(), table


def test_error_is_not_a_licence() -> None:
    """An error of 1e-9 in one beta is far beyond what float64 is allowed, in beta and in all that follows from it."""
    tables = exact_schedule(LINEAR, 1000)
    assert max(float(error.max()) for error in tables.rounding.values()) < 1e-10


@pytest.mark.parametrize("name", ["linear", "cosine", "jsd"])
def test_delta_covers_what_rounding_beta_to_float32_does_to_every_table(name: str) -> None:
    """Half an ulp up or down, at random: the exact tables of the rounded betas stay within delta of the true ones."""
    truth = exact_schedule(declared(name), 200)
    seen = exact(Undeclared(name, 200, dtype="float32"))
    assert not seen.declared
    for table, delta in seen.delta.items():
        difference = np.abs(seen.table(table) - truth.table(table))
        scale = 1 if table == "posterior_log_variance" else np.abs(truth.table(table))
        assert (difference <= 1.001 * delta * scale + 1e-15 * np.abs(truth.table(table))).all(), table
    assert max(seen.delta["alpha_bar"]) > 2**-26


def test_declared_schedule_has_no_input_error() -> None:
    assert all(not delta.any() for delta in exact(ReferenceSubject()).delta.values())


def test_tables_are_computed_once_and_cannot_be_written() -> None:
    first, again = exact(ReferenceSubject()), exact(ReferenceSubject(dtype="float32"))
    assert first is again
    with pytest.raises(ValueError, match="read-only"):
        first.beta[0] = 1


def test_precision_of_others_is_left_alone() -> None:
    before = mpmath.mp.prec
    exact_schedule(LINEAR, 7)
    assert mpmath.mp.prec == before


class Spec(ReferenceSubject):
    """The reference with any declaration and any betas."""

    def __init__(self, spec: dict[str, Any] | None, beta: Any = None, T: int = 5) -> None:
        super().__init__(num_timesteps=T)
        self.schedule, self.stored = spec, beta

    def tables(self) -> dict[str, Any]:
        return {"beta": self.stored}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"name": "lineal", "beta_start": 1e-4, "beta_end": 0.02}, "declares schedule 'lineal'; known are linear"),
        ({"name": "linear", "beta_start": 1e-4}, "declared by beta_end, beta_start; the subject gives beta_start"),
        ({"name": "cosine", "s": 0.008, "cap": 0.999}, "declared by max_beta, s"),
        ({"name": "linear", "beta_start": 0.5, "beta_end": 2.0}, "betas outside"),
    ],
)
def test_declaration_that_cannot_be_understood_is_an_error_in_a_sentence(spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        exact(Spec(spec))


@pytest.mark.parametrize("beta", [np.array([0.1, 1.0]), np.array([0.0]), np.full((2, 2), 0.1), np.array([np.nan])])
def test_stored_betas_that_are_no_schedule_are_an_error(beta: Any) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, shape \(T,\)"):
        exact(Spec(None, beta))


def test_unknown_table_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="gamma"):
        exact_schedule(LINEAR, 3).table("gamma")


def test_single_step_has_log_beta_as_its_log_variance() -> None:
    tables: ExactSchedule = exact_schedule(LINEAR, 1)
    assert (tables.T, tables.posterior_variance[0], tables.posterior_coef_x_0[0]) == (1, 0, 1)
    np.testing.assert_allclose(tables.posterior_log_variance, [np.log(1e-4)], rtol=1e-15)
