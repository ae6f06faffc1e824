"""Checks of KL, decoder and bound: silent on correct subjects, exact about planted mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from judged import complaints, failure
from scipy.special import ndtr

from verification.protocol import Array, EpsModel
from verification.reference import SCHEDULES, ReferenceSubject

ELEMENTWISE = ("KL-1", "KL-2", "DEC-1", "DEC-2", "DEC-3", "DEC-4")
BOUND = ("KL-3", "KL-4", "KL-5", "DEC-5", "VLB-1", "VLB-2", "VLB-2.telescoping", "VLB-4", "NLL-1", "NLL-2")


@pytest.mark.parametrize("clip_x_0", [False, True])
@pytest.mark.parametrize("variance", ["posterior", "beta"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("T", [1, 2, 10, 200])
def test_correct_subjects_pass_at_any_number_of_steps(T: int, dtype: str, variance: str, clip_x_0: bool) -> None:
    for schedule in ("linear", "cosine"):
        subject = ReferenceSubject(schedule, T, variance, clip_x_0, dtype=dtype)
        assert not complaints(subject, *ELEMENTWISE, *BOUND), subject.name


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_passes(schedule: str) -> None:
    for T in (2, 50):
        for dtype in ("float64", "float32"):
            assert not complaints(ReferenceSubject(schedule, T, "beta", dtype=dtype), *BOUND)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_long_chains_pass(dtype: str) -> None:
    assert not complaints(ReferenceSubject("linear", 1000, dtype=dtype), *BOUND)
    assert not complaints(ReferenceSubject("cosine", 4000, dtype=dtype), *BOUND)


def test_poor_kernels_of_exp_and_log_pass_in_float32() -> None:
    """A KL built on an exp that is off by 5e-6 everywhere is what float32 allows."""

    class PoorExp(ReferenceSubject):
        def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
            mean_1, log_1, mean_2, log_2 = self._cast(mean_1, log_variance_1, mean_2, log_variance_2)
            exps = [np.exp(each) * np.float32(1 + 5e-6) for each in (log_1 - log_2, -log_2)]
            return np.asarray((log_2 - log_1 - 1 + exps[0] + (mean_1 - mean_2) ** 2 * exps[1]) / 2)

    assert not complaints(PoorExp("linear", 50, dtype="float32"), "KL-1", "KL-2", "KL-4", "VLB-1", "VLB-2")


def with_kl(formula: Callable[[Array, Array, Array, Array], Any]) -> ReferenceSubject:
    class Wrong(ReferenceSubject):
        def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
            return np.asarray(formula(mean_1, log_variance_1, mean_2, log_variance_2), self.dtype)

    return Wrong("linear", 50)


def kl(m_1: Any, l_1: Any, m_2: Any, l_2: Any) -> Any:
    return (l_2 - l_1 - 1 + np.exp(l_1 - l_2) + (m_1 - m_2) ** 2 * np.exp(-l_2)) / 2


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (lambda a, b, c, d: kl(c, d, a, b), "swapped"),
        (lambda a, b, c, d: 2 * kl(a, b, c, d), "1/2 is missing"),
        (lambda a, b, c, d: kl(a, b, c, d) / np.log(2), "bits"),
        (lambda a, b, c, d: kl(a, b, c, d) + 0.5, "-1 is missing"),
        (lambda a, b, c, d: kl(a, 2 * b, c, 2 * d), "standard deviation"),
        (lambda a, b, c, d: kl(a, b, c, d) * (1 + 1e-10), ""),
    ],
    ids=["swapped", "no half", "bits", "no one", "deviations", "ten digits"],
)
def test_wrong_kl_is_noticed_and_named(formula: Callable[..., Any], said: str) -> None:
    assert said in failure(with_kl(formula), "KL-1").diagnosis


def test_kl_that_is_not_invariant_is_noticed() -> None:
    subject = with_kl(lambda a, b, c, d: kl(a, b, c, d) + 1e-6 * (a + c) ** 2)
    assert "both" in failure(subject, "KL-2").reason


class Bins(ReferenceSubject):
    """A decoder of the usual shape with something to get wrong."""

    half, ends, floor = 1 / 255, 0.999, 0.0

    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        per_scale = np.exp(-log_scale)
        below, above = ndtr((x_0 - mean - self.half) * per_scale), ndtr((x_0 - mean + self.half) * per_scale)
        mass = np.where(x_0 > self.ends, 1, above) - np.where(x_0 < -self.ends, 0, below)
        return np.asarray(np.log(np.maximum(mass, self.floor)), self.dtype)


def with_bins(**wrong: float) -> ReferenceSubject:
    subject = Bins("linear", 50)
    for name, value in wrong.items():
        setattr(subject, name, value)
    return subject


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"half": 1 / 256}, "1/256"), ({"half": 1 / 127.5}, "1/127.5"), ({"half": 1 / 510}, "1/510")],
    ids=["1/256", "1/127.5", "1/510"],
)
def test_wrong_bins_are_noticed_and_named(wrong: dict[str, float], said: str) -> None:
    for check in ("DEC-1", "DEC-5"):
        assert said in failure(with_bins(**wrong, floor=1e-300), check).diagnosis


def test_closed_end_bins_do_not_add_up() -> None:
    assert "mean" in failure(with_bins(ends=2.0, floor=1e-300), "DEC-2").where


def test_unreflected_tails_are_noticed_though_the_formula_is_right() -> None:
    """Above the mean Phi is 1 minus nothing, and its difference loses all digits."""
    assert failure(with_bins(floor=1e-300), "DEC-1")
    assert "less probable" in failure(with_bins(floor=1e-300), "DEC-3").reason


def test_a_logarithm_of_nothing_is_noticed() -> None:
    assert "finite" in failure(with_bins(), "DEC-3").reason


class Terms(ReferenceSubject):
    """A bound whose terms are changed by `change` before they are returned."""

    change: Callable[[dict[str, Array]], dict[str, Array]]

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        return {**(terms := super().vlb_terms(eps_model, x_0, eps)), **self.change(terms)}


def with_terms(change: Callable[[dict[str, Array]], dict[str, Array]]) -> ReferenceSubject:
    subject = Terms("linear", 50)
    subject.change = change
    return subject


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (lambda t: {"total": t["total"] - t["prior"]}, "VLB-2", "prior is missing"),
        (lambda t: {"total": t["total"] + t["prior"]}, "VLB-2", "prior is counted twice"),
        (lambda t: {"total": t["total"] - t["kl"][0]}, "VLB-2", "first KL term is missing"),
        (lambda t: {"total": t["total"] + t["decoder"]}, "VLB-2", "decoder is counted twice"),
        (lambda t: {"prior": 2 * t["prior"]}, "KL-3", ""),
        (lambda t: {"kl": t["kl"][::-1]}, "KL-4", ""),
        (lambda t: {"kl": np.roll(t["kl"], 1, axis=0)}, "VLB-1", ""),
        (lambda t: {"kl": np.concatenate([t["kl"], t["kl"][-1:]])}, "KL-4", ""),
        (lambda t: {"kl": t["kl"] * (1 + 1e-7)}, "KL-5", ""),
        (lambda t: {"kl": t["kl"] * 1.001}, "NLL-2", ""),
        (lambda t: {"decoder": t["kl"][0]}, "VLB-4", "KL term"),
        (lambda t: {"decoder": 6 * t["decoder"]}, "DEC-5", ""),
        (lambda t: {"decoder": np.log(2) * t["decoder"]}, "DEC-5", "nats"),
        (lambda t: {"decoder": t["decoder"] + 1e-6}, "NLL-2", ""),
    ],
)
def test_wrong_terms_are_noticed(change: Callable[..., Any], check: str, said: str) -> None:
    subject = with_terms(change)
    if check == "NLL-2" and "kl" in change({"kl": np.ones((1, 1)), "decoder": np.ones(1)}):
        subject.variance = "beta"  # with the posterior variance the floor is 0, and so is its double
        subject = type(subject)("linear", 50, "beta")
        subject.change = change
    assert said in failure(subject, check).diagnosis


class DrawsItsOwn(ReferenceSubject):
    """A bound that adds noise of its own, different in every call."""

    calls = 0

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        self.calls += 1
        return super().vlb_terms(eps_model, x_0, eps + 1e-12 * self.calls)


def test_a_bound_that_does_not_repeat_is_noticed() -> None:
    assert "the same call again" in failure(DrawsItsOwn("linear", 50), "NLL-1").reason


class AsksElsewhere(ReferenceSubject):
    """The bound asks its model at another x_t than that of the given noise."""

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        return super().vlb_terms(eps_model, x_0, np.roll(eps, 1, axis=1))


def test_another_x_t_in_the_bound_is_noticed() -> None:
    assert "x_t given to the model" in failure(AsksElsewhere("linear", 50), "KL-4").where


@pytest.mark.parametrize("table", ["posterior_coef_x_0", "posterior_coef_x_t", "posterior_variance"])
def test_a_wrong_entry_of_the_posterior_breaks_the_telescoping_sum_there(table: str) -> None:
    subject = ReferenceSubject("linear", 50)
    entries = getattr(subject, table).copy()
    entries[20] *= 1.001
    setattr(subject, table, entries)
    assert failure(subject, "VLB-2.telescoping").where.startswith("t=20")


def test_log_probabilities_with_an_axis_more_fail_every_check_of_the_decoder() -> None:
    class OneMore(ReferenceSubject):
        def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
            return super().decoder_log_likelihood(x_0, mean, log_scale)[None]

    for check in ("DEC-1", "DEC-2", "DEC-3", "DEC-4"):
        assert "(1, " in failure(OneMore("linear", 50), check).reason


def test_bound_of_terms_that_are_no_numbers_fails_and_is_no_error_of_the_judge() -> None:
    class NoWidth(ReferenceSubject):
        def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
            mean, variance = super().p_mean_variance(x_t, t, eps_hat)
            return mean, variance * (t > 0).reshape(-1, *[1] * (mean.ndim - 1))

    assert failure(NoWidth("linear", 50), "VLB-2").where == "terms"
