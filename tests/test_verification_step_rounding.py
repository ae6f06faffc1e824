"""Bounds on a sampler's step: wide enough for every correct program, and no wider than what it evidently needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from otherwise_programmed import WAYS, programmed

from verification.oracle import exact
from verification.reference import ReferenceSubject
from verification.step_evidence import way_of_ddim
from verification.step_rounding import (
    ROUNDINGS,
    bound_of_way,
    ddim_bounds,
    fitting_sigma,
    keeps,
    log_snr_error,
    mean_bounds,
    root_error,
    sigma_error,
)
from verification.tolerance import unit_roundoff

U32 = unit_roundoff("float32")


@pytest.mark.parametrize(("way", "number"), [("at once", 0), ("reference", 1), ("in its own type", 2)])
def test_the_way_a_ddim_step_is_programmed_shows(way: str, number: int) -> None:
    subject = programmed(way, num_timesteps=1000, dtype="float32")
    assert way_of_ddim(subject, exact(subject)) == number


class Alone:
    """A subject that cannot be had with another number of steps."""

    def __init__(self, subject: ReferenceSubject) -> None:
        self._made = subject

    def __getattr__(self, name: str) -> Any:
        if name == "variant":
            raise AttributeError(name)
        return getattr(self._made, name)


@pytest.mark.parametrize("way", WAYS)
def test_too_few_steps_show_nothing_and_get_the_widest_bound(way: str) -> None:
    subject: Any = Alone(programmed(way, num_timesteps=5, dtype="float32"))
    assert way_of_ddim(subject, exact(subject)) == 2


@pytest.mark.parametrize(("way", "number"), [("at once", 0), ("reference", 1), ("in its own type", 2)])
def test_too_few_steps_are_made_as_the_subjects_longer_chain_is(way: str, number: int) -> None:
    subject = programmed(way, num_timesteps=5, dtype="float32")
    assert way_of_ddim(subject, exact(subject)) == number


def test_subject_that_refuses_a_longer_chain_is_judged_without_it() -> None:
    class Short(ReferenceSubject):
        def variant(self, **choices: Any) -> ReferenceSubject:
            raise ValueError("no longer chain")

    subject = Short("linear", 5, dtype="float32")
    assert way_of_ddim(subject, exact(subject)) == 2


def test_ways_go_from_narrow_to_wide() -> None:
    subject = ReferenceSubject("linear", 200, dtype="float32")
    t = np.arange(200)
    for eta in (0.0, 0.5, 1.0):
        at_once, through_x_0, own = ddim_bounds(subject, exact(subject), t, t - 1, eta)
        assert (at_once.eps_hat <= through_x_0.eps_hat * 1.001).all()
        assert (through_x_0.eps_hat <= own.eps_hat).all()
        assert (through_x_0.z <= own.z).all()


def test_bounds_notice_a_millionth_in_float64_and_a_hundred_thousandth_in_float32() -> None:
    for T in (2, 10, 1000, 4000):
        tables = exact(ReferenceSubject("linear", T))
        for dtype, noticed in (("float64", 1e-6), ("float32", 1e-5)):
            x_t, eps_hat = mean_bounds(tables, dtype)
            assert (x_t < noticed / 2 / np.sqrt(tables.alpha)).all()
            assert (eps_hat < noticed / 2 * tables.beta / np.sqrt(tables.alpha * tables.one_minus_alpha_bar)).all()
            assert (sigma_error(tables, "posterior", dtype) < noticed).all()


def test_a_single_breach_is_a_wrong_entry_and_many_are_another_program() -> None:
    bound, wider = np.full(40, 1.0), np.full(40, 50.0)
    one, many = np.full(40, 0.5), np.full(40, 0.5)
    one[3], many[5:15] = 7.0, 7.0
    assert keeps(one, bound, wider) is True
    assert keeps(many, bound, wider) is False


def test_entries_whose_bounds_are_alike_say_nothing() -> None:
    assert keeps(np.full(40, 7.0), np.full(40, 1.0), np.full(40, 19.0)) is None
    assert keeps(np.zeros(40), np.zeros(40), np.zeros(40)) is None


def test_bound_of_a_way_is_narrow_only_where_the_next_is_much_wider() -> None:
    ways = [np.array([1.0, 1.0]), np.array([100.0, 2.0]), np.array([1000.0, 1000.0])]
    np.testing.assert_array_equal(bound_of_way(ways, 0), [1.0, 2.0])
    np.testing.assert_array_equal(bound_of_way(ways, 1), [1000.0, 2.0])
    np.testing.assert_array_equal(bound_of_way(ways, 2), [1000.0, 1000.0])


def test_sigma_of_a_good_root_is_judged_as_one() -> None:
    tables = exact(ReferenceSubject("linear", 300))
    sigma = np.sqrt(tables.posterior_variance)
    narrow, wide = (sigma * error(tables, "posterior", "float32") for error in (root_error, sigma_error))
    off = sigma.copy()
    off[7] *= 1 + 4e-6
    assert fitting_sigma(off, sigma, narrow, wide) is narrow
    assert fitting_sigma(sigma * (1 + 4e-6), sigma, narrow, wide) is wide
    assert (narrow[1:] < 3 * ROUNDINGS * U32 * sigma[1:]).all()


def test_log_snr_allows_what_such_a_program_does_and_no_more() -> None:
    """In float64 a difference of logarithms is the worst of the usual ways, and still far below a millionth."""
    for schedule in ("linear", "cosine"):
        tables = exact(ReferenceSubject(schedule, 1000))
        subject = programmed("log snr", schedule=schedule, num_timesteps=1000)
        x = np.zeros((1000, 1))
        variance = subject.p_mean_variance(x, np.arange(1000), x)[1].ravel()
        off = np.abs(variance / np.where(tables.posterior_variance > 0, tables.posterior_variance, np.inf) - 1)[1:]
        allowed = log_snr_error(tables)[1:]
        assert (off <= allowed + 20 * unit_roundoff("float64") + tables.rounding["posterior_variance"][1:]).all()
        assert (off / allowed).max() > 0.02
        assert allowed.max() < 1e-9
