"""Schedules against 40-digit arithmetic and the constants that papers and their code print."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from ddpm_bench.errors import ConfigError
from ddpm_bench.schedule import SCHEDULES, NoiseSchedule, make_schedule, replace_first, strided_timesteps

U = 2.0**-53  # unit roundoff of float64
ANY_T = (1, 2, 3, 7, 10, 11, 100, 1000, 5000)
RESCALED = pytest.mark.parametrize(
    ("num_timesteps", "last_alpha_bar"), [(200, 3.03184e-5), (1000, 4.03582977e-5), (4000, 4.24665e-5)]
)


class Exact:
    """Every table of a schedule from its float64 betas, in 40-digit arithmetic."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        with mpmath.workdps(40):
            beta = [mpf(float(b)) for b in schedule.beta]
            alpha_bar, product = [], mpf(1)
            for b in beta:
                product *= 1 - b
                alpha_bar.append(product)
            before = [mpf(1), *alpha_bar[:-1]]
            rows = list(zip(beta, alpha_bar, before, strict=True))
            self.alpha_bar = alpha_bar
            self.one_minus_alpha_bar = [1 - a for a in alpha_bar]
            self.snr = [a / (1 - a) for a in alpha_bar]
            self.posterior_variance = [b * (1 - p) / (1 - a) for b, a, p in rows]
            self.posterior_coef_x_0 = [mpmath.sqrt(p) * b / (1 - a) for b, a, p in rows]
            self.posterior_coef_x_t = [mpmath.sqrt(1 - b) * (1 - p) / (1 - a) for b, a, p in rows]
            self.sqrt_alpha_bar = [mpmath.sqrt(a) for a in alpha_bar]
            self.sqrt_one_minus_alpha_bar = [mpmath.sqrt(1 - a) for a in alpha_bar]


@cache
def made(name: str, num_timesteps: int) -> tuple[NoiseSchedule, Exact]:
    schedule = make_schedule(name, num_timesteps)
    return schedule, Exact(schedule)


def worst_relative(observed: np.ndarray, exact: list[mpf]) -> float:
    """Largest |observed / exact - 1|; an exact 0 must be met exactly."""
    assert len(observed) == len(exact)
    with mpmath.workdps(40):
        errors = [abs(mpf(float(o)) - e) / abs(e) if e else abs(float(o)) for o, e in zip(observed, exact, strict=True)]
    return float(max(errors))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_timesteps", [1, 2, 10, 1000])
@pytest.mark.parametrize(
    "table",
    [
        "alpha_bar",
        "one_minus_alpha_bar",
        "snr",
        "sqrt_alpha_bar",
        "sqrt_one_minus_alpha_bar",
        "posterior_variance",
        "posterior_coef_x_0",
        "posterior_coef_x_t",
    ],
)
def test_tables_are_exact_to_rounding_at_every_step(name: str, num_timesteps: int, table: str) -> None:
    # A factor 1 - beta carries one rounding and each product another: 2T for alpha_bar. The variance v = alpha v + beta
    # is a sum of positive terms with three roundings a step: 3T, and twice that where it is divided by itself. The rest
    # are quotients and roots of those, below 10T + 10 together.
    schedule, exact = made(name, num_timesteps)
    assert worst_relative(getattr(schedule, table), getattr(exact, table)) <= (10 * num_timesteps + 10) * U


def test_noise_variance_keeps_its_digits_where_the_difference_loses_them() -> None:
    schedule, exact = made("linear", 1000)
    few = slice(0, 5)
    assert worst_relative(schedule.one_minus_alpha_bar[few], exact.one_minus_alpha_bar[few]) <= 3 * 5 * U
    assert worst_relative(1 - schedule.alpha_bar[few], exact.one_minus_alpha_bar[few]) > 100 * U


def test_linear_schedule_has_the_papers_constants() -> None:
    # The figures are correctly rounded to the digits given: half a unit of the last one is allowed.
    s = make_schedule("linear", 1000)
    assert s.beta[0] == 1e-4
    assert s.beta[-1] == 0.02
    assert s.alpha_bar[0] == 0.9999
    assert s.alpha_bar[-1] == pytest.approx(4.03582976537568e-5, rel=1e-14, abs=0)
    assert s.snr[[0, -1]] == pytest.approx([9999, 4.0359927e-5], rel=2e-8, abs=0)
    assert s.posterior_variance[[0, 1, 487, 999]] == pytest.approx(
        [0, 5.45318766e-5, 0.00979157199, 0.01999998353], rel=1e-9, abs=0
    )
    assert s.posterior_log_variance[1] == pytest.approx(-9.816725135, abs=5e-10)
    assert s.posterior_coef_x_0[[1, 999]] == pytest.approx([0.5452914995, 1.2835149e-4], rel=4e-8, abs=0)
    assert s.posterior_coef_x_t[[1, 999]] == pytest.approx([0.4547084990, 0.9899486783], rel=2e-10, abs=0)


def test_cosine_schedule_has_its_papers_constants() -> None:
    s = make_schedule("cosine", 1000)
    assert s.beta[[0, 1, 998, 999]] == pytest.approx(
        [4.12842248e-5, 4.61417527e-5, 0.7499993929, 0.999], rel=2e-9, abs=0
    )
    assert (s.beta == 0.999).sum() == 1
    assert s.alpha_bar[[0, 499, 998, 999]] == pytest.approx(
        [0.9999587158, 0.4938435904, 2.428766907e-6, 2.428766907e-9], rel=2e-10, abs=0
    )
    long = make_schedule("cosine", 4000)
    assert long.beta[0] == pytest.approx(9.8658188e-6, rel=5e-8, abs=0)
    assert long.alpha_bar[-1] == pytest.approx(1.51798047e-10, rel=5e-9, abs=0)


@pytest.mark.parametrize("num_timesteps", [1, 2, 10, 1000, 4000])
def test_cosine_betas_are_exact_to_rounding_without_cancellation(num_timesteps: int) -> None:
    # Two sines with relative condition at most 1 and six operations around them: 12 roundings cover it.
    # Computed as 1 - cos^2 / cos^2 the first beta at T = 4000 is off by 1e5 U.
    with mpmath.workdps(40):

        def signal(t: int) -> mpf:
            return mpmath.cos((mpf(t) / num_timesteps + mpf(0.008)) / (1 + mpf(0.008)) * mpmath.pi / 2) ** 2

        exact = [min(1 - signal(t + 1) / signal(t), mpf(0.999)) for t in range(num_timesteps)]
    assert worst_relative(make_schedule("cosine", num_timesteps).beta, exact) <= 12 * U


def test_jsd_lets_alpha_bar_fall_linearly_until_the_cap() -> None:
    # 2T roundings in the product; the last entry is the cap's.
    s = make_schedule("jsd", 100)
    t = np.arange(1, 100)
    np.testing.assert_allclose(s.alpha_bar[:-1], 1 - t / 100, rtol=2 * 100 * 100 * U)
    assert s.beta[-1] == 0.999


def test_each_shape_between_the_ends_is_its_own() -> None:
    # Values at the middle of 0.0001 ... 0.02 by hand; four roundings, doubled by a square, on either side.
    middle = {
        name: make_schedule(name, 3).beta[1] for name in ("linear", "quadratic", "sigmoid", "constant", "warmup50")
    }
    assert middle["linear"] == pytest.approx(0.01005, rel=4 * U, abs=0)
    assert middle["quadratic"] == pytest.approx(((0.0001**0.5 + 0.02**0.5) / 2) ** 2, rel=12 * U, abs=0)
    assert middle["sigmoid"] == pytest.approx(0.01005, rel=4 * U, abs=0)
    assert middle["constant"] == 0.02
    assert middle["warmup50"] == 0.02


@pytest.mark.parametrize(("name", "rising"), [("warmup10", 10), ("warmup50", 50)])
def test_warm_up_rises_over_its_share_of_the_steps_and_stays(name: str, rising: int) -> None:
    beta = make_schedule(name, 100).beta
    np.testing.assert_array_equal(beta[:rising], np.linspace(1e-4, 0.02, rising))
    np.testing.assert_array_equal(beta[rising:], 0.02)


def test_sigmoid_comes_within_a_quarter_percent_of_its_ends() -> None:
    # 1 / (1 + e^6) = 0.00247 of the distance between the ends.
    beta = make_schedule("sigmoid", 1000).beta
    assert beta[[0, -1]] == pytest.approx(
        [1e-4 + 0.0199 / (1 + np.e**6), 0.02 - 0.0199 / (1 + np.e**6)], rel=4 * U, abs=0
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_number_of_steps_gives_a_sound_schedule(name: str) -> None:
    for num_timesteps in ANY_T:
        s = make_schedule(name, num_timesteps)
        assert s.beta.shape == s.alpha_bar.shape == (num_timesteps,)
        assert ((s.beta > 0) & (s.beta < 1)).all()
        assert (np.diff(s.alpha_bar, prepend=1.0) < 0).all()
        assert s.alpha_bar[-1] > 0
        assert (np.diff(s.snr) < 0).all()
        assert ((s.posterior_variance >= 0) & (s.posterior_variance <= s.beta)).all()
        assert np.isfinite(s.posterior_log_variance).all()


def test_posterior_at_first_step_is_x_0_itself() -> None:
    for name in SCHEDULES:
        s = make_schedule(name, 5)
        assert (s.posterior_variance[0], s.posterior_coef_x_0[0], s.posterior_coef_x_t[0]) == (0, 1, 0)
        assert (s.alpha_bar_prev[0], s.one_minus_alpha_bar_prev[0]) == (1, 0)


def test_first_log_variance_is_that_of_the_second_step() -> None:
    s = make_schedule("linear", 1000)
    assert s.posterior_log_variance[0] == s.posterior_log_variance[1]
    np.testing.assert_array_equal(s.posterior_log_variance[1:], np.log(s.posterior_variance[1:]))


def test_a_single_step_has_log_beta_for_its_log_variance() -> None:
    s = make_schedule("linear", 1)
    assert s.posterior_log_variance == pytest.approx([np.log(1e-4)], rel=U, abs=0)


def test_replaced_variance_changes_the_first_entry_only() -> None:
    s = make_schedule("linear", 1000)
    replaced = replace_first(s.beta, s)
    assert replaced[0] == s.posterior_variance[1]
    np.testing.assert_array_equal(replaced[1:], s.beta[1:])


@RESCALED
def test_rescaled_ends_forget_the_image_at_other_lengths_too(num_timesteps: int, last_alpha_bar: float) -> None:
    s = make_schedule("linear", num_timesteps, rescale=True)
    assert s.alpha_bar[-1] == pytest.approx(last_alpha_bar, rel=2e-6, abs=0)
    assert s.beta[-1] == 0.02 * (1000 / num_timesteps)


def test_unscaled_short_schedule_does_not_forget() -> None:
    assert make_schedule("linear", 200).alpha_bar[-1] == pytest.approx(0.1321827543, rel=4e-10, abs=0)


def test_spec_says_what_was_used() -> None:
    assert make_schedule("linear", 10).spec == {"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    assert make_schedule("linear", 500, rescale=True).spec == {"name": "linear", "beta_start": 2e-4, "beta_end": 0.04}
    assert make_schedule("constant", 10, beta_end=0.1).spec == {"name": "constant", "beta_end": 0.1}
    assert make_schedule("cosine", 10).spec == {"name": "cosine", "s": 0.008, "max_beta": 0.999}
    assert make_schedule("jsd", 10).spec == {"name": "jsd", "max_beta": 0.999}
    assert NoiseSchedule("mine", np.array([0.1, 0.2])).spec is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "linaer", "num_timesteps": 10}, "did you mean linear"),
        ({"name": "linear", "num_timesteps": 0}, "number of time steps is 0"),
        ({"name": "linear", "num_timesteps": -3}, "number of time steps is -3"),
        ({"name": "linear", "num_timesteps": 2.5}, "number of time steps is 2.5"),
        ({"name": "linear", "num_timesteps": True}, "number of time steps is True"),
        (
            {"name": "linear", "num_timesteps": 20, "rescale": True},
            "beta_end of the linear schedule is 1 after rescaling",
        ),
        (
            {"name": "linear", "num_timesteps": 10, "rescale": True},
            "beta_end of the linear schedule is 2 after rescaling",
        ),
        ({"name": "cosine", "num_timesteps": 10, "rescale": True}, "no beta_start and beta_end to rescale"),
        ({"name": "linear", "num_timesteps": 10, "beta_start": 0.0}, "beta_start of the linear schedule is 0"),
        ({"name": "linear", "num_timesteps": 10, "beta_end": float("nan")}, "beta_end of the linear schedule is nan"),
        (
            {"name": "constant", "num_timesteps": 50000},
            "alpha_bar of the constant schedule falls to .* after 50000 steps",
        ),
    ],
)
def test_impossible_schedules_are_refused_with_a_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_schedule(**arguments)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("beta", "sentence"),
    [
        ([], r"shape \(0,\)"),
        ([[0.1]], r"shape \(1, 1\)"),
        ([0.1, 0.0], r"beta\[1\]"),
        ([0.1, 1.0], r"beta\[1\]"),
        ([np.nan], r"beta\[0\]"),
    ],
)
def test_betas_that_are_no_variances_are_refused(beta: list[float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        NoiseSchedule("mine", np.array(beta))


def test_tables_cannot_be_written_to_and_do_not_follow_their_source() -> None:
    beta = np.array([0.1, 0.2])
    schedule = NoiseSchedule("mine", beta)
    beta[0] = 0.9
    assert schedule.beta[0] == 0.1
    for table in (schedule.beta, schedule.alpha_bar, schedule.posterior_variance):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0.5


@pytest.mark.parametrize("num_timesteps", [1, 2, 7, 50, 1000])
def test_strided_time_steps_fall_evenly_from_the_last_to_zero(num_timesteps: int) -> None:
    for n in range(1, num_timesteps + 1):
        steps = strided_timesteps(num_timesteps, n)
        assert steps.shape == (n,)
        assert steps[0] == num_timesteps - 1
        gaps = -np.diff(steps)
        assert (gaps > 0).all()
        assert n == 1 or (steps[-1] == 0 and gaps.max() - gaps.min() <= 1)


@pytest.mark.parametrize("num_steps", [0, -1, 11, 2.5])
def test_impossible_numbers_of_steps_are_refused(num_steps: float) -> None:
    with pytest.raises(ConfigError, match="number of"):
        strided_timesteps(10, num_steps)  # type: ignore[arg-type]  # wrong on purpose


def test_refusal_of_too_many_steps_names_both_numbers() -> None:
    with pytest.raises(ConfigError, match="cannot take 11 steps of a process that has 10"):
        strided_timesteps(10, 11)


@pytest.mark.parametrize("num_steps", [1, 2, 50, 999])
def test_respacing_keeps_alpha_bar_where_it_looks(num_steps: int) -> None:
    # At most 1000 factors with three roundings each on the way to the new betas, two more for each product of them; and
    # a beta near 1 cannot hold 1 - beta better than to U.
    schedule, exact = made("linear", 1000)
    kept = strided_timesteps(1000, num_steps)
    respaced = schedule.respace(kept)
    expected = [exact.alpha_bar[t] for t in kept[::-1]]
    assert worst_relative(respaced.alpha_bar, expected) <= (5 * 1000 + (1 / respaced.alpha).sum()) * U
    assert respaced.spec is None


def test_respaced_betas_do_not_cancel() -> None:
    # beta = 1 - ratio of neighbours, three steps apart: three roundings a step.
    schedule, exact = made("linear", 1000)
    kept = list(range(2, 1000, 3))
    with mpmath.workdps(40):
        before = [mpf(1), *(exact.alpha_bar[t] for t in kept[:-1])]
        expected = [1 - exact.alpha_bar[t] / b for t, b in zip(kept, before, strict=True)]
    assert worst_relative(schedule.respace(kept).beta, expected) <= 3 * 3 * U


def test_respacing_at_every_step_changes_nothing_and_order_does_not_matter() -> None:
    schedule = make_schedule("cosine", 20)
    np.testing.assert_array_equal(schedule.respace(range(20)).beta, schedule.beta)
    np.testing.assert_array_equal(schedule.respace([19, 3, 0]).beta, schedule.respace([0, 3, 19]).beta)


@pytest.mark.parametrize("timesteps", [[], [3, 3], [-1, 4], [4, 10]])
def test_impossible_respacings_are_refused(timesteps: list[int]) -> None:
    with pytest.raises(ConfigError, match="cannot be kept"):
        make_schedule("linear", 10).respace(timesteps)
