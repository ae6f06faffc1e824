"""The reference against published and hand-derived numbers and exactly solvable cases; not against the judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verification.reference import SCHEDULES, ReferenceSubject

Array = Any


@pytest.fixture(scope="module")
def linear() -> ReferenceSubject:
    return ReferenceSubject()


def test_linear_schedule_has_the_published_constants(linear: ReferenceSubject) -> None:
    assert linear.alpha_bar[-1] == pytest.approx(4.03582976537568331481763516e-5, rel=1e-14)
    assert linear.posterior_variance[:2] == pytest.approx([0, 5.45318766e-5], rel=1e-8)
    assert linear.posterior_variance[487] == pytest.approx(0.00979157199, rel=1e-8)
    assert linear.posterior_log_variance[:2] == pytest.approx([-9.816725135] * 2, rel=1e-9)
    assert linear.posterior_coef_x_0[1] == pytest.approx(0.5452914995, rel=1e-9)
    assert linear.posterior_coef_x_t[1] == pytest.approx(0.4547084990, rel=1e-9)
    assert linear.posterior_coef_x_0[999] == pytest.approx(1.2835149e-4, rel=1e-7)


def test_cosine_schedule_has_the_published_constants() -> None:
    cosine = ReferenceSubject("cosine")
    assert cosine.beta[[0, 1, 998, 999]] == pytest.approx([4.12842248e-5, 4.61417527e-5, 0.7499993929, 0.999], rel=1e-8)
    assert cosine.alpha_bar[[0, 499, 998, 999]] == pytest.approx(
        [0.9999587158, 0.4938435904, 2.428766907e-6, 2.428766907e-9], rel=1e-9
    )


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_at_any_length_lies_between_zero_and_one(name: str, T: int) -> None:
    subject = ReferenceSubject(name, T)
    assert ((subject.beta > 0) & (subject.beta < 1)).all()
    assert (subject.alpha_bar > 0).all()
    assert all(np.isfinite(table).all() and table.shape == (T,) for table in subject.tables().values())


def test_ends_of_the_other_schedules() -> None:
    ends = {name: tuple(ReferenceSubject(name, 100).beta[[0, -1]]) for name in SCHEDULES}
    assert ends["quadratic"] == pytest.approx((1e-4, 0.02))
    assert ends["constant"] == (0.02, 0.02)
    assert ends["jsd"] == (0.01, 0.999)
    assert ends["warmup10"] == ends["warmup50"] == pytest.approx((1e-4, 0.02))
    assert (ReferenceSubject("warmup10", 100).beta == 0.02).sum() == 91
    assert ends["sigmoid"] == pytest.approx((1e-4 + 0.0199 / (1 + np.exp(6)), 0.02 - 0.0199 / (1 + np.exp(6))))


def test_conversions_invert_each_other(linear: ReferenceSubject) -> None:
    t = np.arange(1000)
    x_0, eps = np.random.default_rng(0).normal(size=(2, 1000, 3))
    x_t = linear.q_sample(x_0, t, eps)
    assert linear.predict_x_0(x_t, t, eps) == pytest.approx(x_0, abs=1e-12)
    assert linear.predict_eps(x_t, t, x_0) == pytest.approx(eps, abs=1e-11)
    assert linear.predict_x_0_from_v(x_t, t, linear.velocity(x_0, t, eps)) == pytest.approx(x_0, abs=1e-12)
    v = linear.velocity(x_0, t, eps)
    assert x_t**2 + v**2 == pytest.approx(x_0**2 + eps**2)


@pytest.mark.parametrize(("variance", "output"), [("posterior", 0.24612521), ("beta", 0.25075208)])
def test_whole_chain_on_gaussian_data_has_the_closed_form_variance(variance: str, output: float) -> None:
    """Data N(0, 1/4), its optimal model: the chain is linear in (x_T, z), so unit inputs give its output variance."""
    subject = ReferenceSubject(variance=variance)
    bar = subject.alpha_bar
    gain = np.sqrt(1 - bar) / (bar * 0.25 + 1 - bar)
    units = np.eye(1001)
    result = subject.sample(lambda x, t: gain[t][:, None] * x, units[:, :1], units[:, 1:].T[:, :, None])
    assert np.sum(result**2) == pytest.approx(output, rel=1e-7)
    assert result[-1, 0] == 0, "the noise of the last step must not arrive"


def test_ddim_with_eta_zero_on_gaussian_data_has_the_closed_form_variance(linear: ReferenceSubject) -> None:
    bar = linear.alpha_bar
    gain = np.sqrt(1 - bar) / (bar * 0.25 + 1 - bar)
    result = linear.sample_strided(lambda x, t: gain[t][:, None] * x, np.ones((1, 1)), np.ones((1000, 1, 1)), 1000, 0.0)
    assert result.item() ** 2 == pytest.approx(0.24849755, rel=1e-7)


def test_ddim_with_eta_one_on_all_steps_is_ancestral_sampling() -> None:
    subject = ReferenceSubject(num_timesteps=50)
    x_T, z = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(50, 4, 3))
    ancestral = subject.sample(lambda x, _: 0.3 * x, x_T, z)
    assert subject.sample_strided(lambda x, _: 0.3 * x, x_T, z, 50, 1.0) == pytest.approx(ancestral, abs=1e-10)


@pytest.mark.parametrize(("variance", "floor"), [("posterior", 0.0), ("beta", 0.486419230)])
def test_bound_with_a_perfect_model_has_the_known_floors(variance: str, floor: float) -> None:
    """The model knows x_0; the images hold every grey level once."""
    subject = ReferenceSubject(variance=variance)
    x_0 = subject.from_uint8(np.arange(256, dtype=np.uint8)).reshape(1, 256)
    eps = np.random.default_rng(0).normal(size=(1000, 1, 256))
    terms = subject.vlb_terms(lambda x, t: subject.predict_eps(x, t, x_0), x_0, eps)
    assert terms["kl"].shape == (999, 1)
    assert terms["kl"].sum() == pytest.approx(floor, abs=1e-9)
    assert terms["decoder"].item() == pytest.approx(1.305378, abs=2e-2)  # one draw of the noise, and open end bins
    assert terms["prior"].item() == pytest.approx(9.78082e-6, rel=1e-4)  # uniform pixels
    assert terms["total"] == pytest.approx(terms["prior"] + terms["kl"].sum(0) + terms["decoder"])


@pytest.mark.parametrize("mean", [-1.3, 0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("log_scale", [-8.0, -4.9, 0.0])
def test_decoder_is_a_distribution_over_the_grey_levels(
    linear: ReferenceSubject, mean: float, log_scale: float
) -> None:
    levels = linear.from_uint8(np.arange(256, dtype=np.uint8))
    log_mass = linear.decoder_log_likelihood(levels, np.full(256, mean), np.full(256, log_scale))
    assert np.exp(log_mass).sum() == pytest.approx(1, abs=1e-13)
    assert np.isfinite(log_mass).all()


def test_kl_is_zero_only_for_equal_arguments_and_not_symmetric(linear: ReferenceSubject) -> None:
    assert linear.normal_kl(np.array(1.0), np.array(0.3), np.array(1.0), np.array(0.3)) == 0
    there = linear.normal_kl(np.array(0.0), np.array(0.0), np.array(1.0), np.array(np.log(4)))
    back = linear.normal_kl(np.array(1.0), np.array(np.log(4)), np.array(0.0), np.array(0.0))
    assert there == pytest.approx(np.log(2) - 0.25)
    assert back == pytest.approx(2 - np.log(2))


@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
def test_gradient_of_the_linear_model_is_the_slope_of_its_loss(parameterization: str) -> None:
    subject = ReferenceSubject(num_timesteps=10, parameterization=parameterization)
    random = np.random.default_rng(0)
    w, direction = random.normal(size=(2, 3, 3))
    x_0, eps, t = random.normal(size=(5, 3)), random.normal(size=(5, 3)), np.array([0, 3, 9, 5, 5])

    def loss(step: float) -> float:
        return subject.loss(lambda x, _: x @ (w + step * direction).T, x_0, t, eps)

    slope = (loss(1e-4) - loss(-1e-4)) / 2e-4  # exact for a quadratic but for rounding
    assert np.sum(subject.linear_loss_gradient(w, x_0, t, eps) * direction) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
def test_perfect_prediction_costs_nothing(parameterization: str) -> None:
    subject = ReferenceSubject(num_timesteps=10, parameterization=parameterization)
    random = np.random.default_rng(0)
    x_0, eps, t = random.normal(size=(5, 3)), random.normal(size=(5, 3)), np.array([0, 3, 9, 5, 5])
    target = {"eps": eps, "x_0": x_0, "v": subject.velocity(x_0, t, eps)}[parameterization]
    assert subject.loss(lambda *_: target, x_0, t, eps) == 0


def test_clipping_changes_the_mean_only_where_the_prediction_is_out_of_range() -> None:
    plain, clipped = ReferenceSubject(), ReferenceSubject(clip_x_0=True)
    t, x_0 = np.array([500, 500]), np.array([[0.5], [3.0]])
    eps = np.array([[0.3], [0.3]])
    x_t = plain.q_sample(x_0, t, eps)
    means = plain.p_mean_variance(x_t, t, eps)[0], clipped.p_mean_variance(x_t, t, eps)[0]
    assert means[0][0] == means[1][0]
    assert means[1][1] == pytest.approx(plain.q_posterior(np.ones((1, 1)), x_t[1:], t[1:])[0][0])


def test_time_steps_start_at_the_last_and_end_at_the_first() -> None:
    subject = ReferenceSubject(num_timesteps=50)
    assert subject.timesteps(1).tolist() == [49]
    for n in range(2, 51):
        steps = subject.timesteps(n)
        assert (len(steps), steps[0], steps[-1]) == (n, 49, 0)
        assert (np.diff(steps) < 0).all()


def test_all_grey_levels_survive_the_round_trip(linear: ReferenceSubject) -> None:
    grey = np.arange(256, dtype=np.uint8)
    assert (linear.to_uint8(linear.from_uint8(grey)) == grey).all()
    assert linear.to_uint8(np.array([-9, -1, 0, 1, 9.0])).tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(ValueError, match="NaN"):
        linear.to_uint8(np.array([np.nan]))


def test_moving_average_of_a_step_is_a_geometric_series(linear: ReferenceSubject) -> None:
    values = np.concatenate([np.zeros((1, 2)), np.ones((7, 2))])
    assert linear.ema(values, 0.9) == pytest.approx(np.full(2, 1 - 0.9**7))


def test_drawn_time_steps_cover_both_ends_and_repeat_with_the_seed() -> None:
    subject = ReferenceSubject(num_timesteps=5)
    drawn = subject.draw_timesteps(1000, 3)
    assert set(drawn.tolist()) == {0, 1, 2, 3, 4}
    assert (drawn == subject.draw_timesteps(1000, 3)).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_method_answers_in_the_dtype_of_the_subject(dtype: str) -> None:
    subject = ReferenceSubject(num_timesteps=4, dtype=dtype)
    x, t, z = np.full((4, 2), 0.5), np.arange(4), np.zeros((4, 4, 2))
    answers = [subject.q_sample(x, t, x), subject.q_step(x, t, x), subject.predict_x_0(x, t, x)]
    answers += [subject.predict_eps(x, t, x), subject.velocity(x, t, x), subject.predict_x_0_from_v(x, t, x)]
    answers += [subject.score(x, t, x), *subject.q_posterior(x, x, t), *subject.p_mean_variance(x, t, x)]
    answers += [subject.p_step(x, t, x, x), subject.ddim_step(x, t, t - 1, x, x, 1.0)]
    answers += [subject.sample(lambda a, _: a, x, z), subject.sample_strided(lambda a, _: a, x, z, 2, 1.0)]
    answers += [subject.normal_kl(x, x, x, x), subject.decoder_log_likelihood(x, x, x), subject.ema(x, 0.5)]
    answers += [subject.linear_loss_gradient(np.eye(2), x, t, x), *subject.tables().values()]
    answers += list(subject.vlb_terms(lambda a, _: a, x, z).values())
    assert {answer.dtype.name for answer in answers} == {dtype}


def test_variant_changes_what_is_named_and_keeps_the_rest() -> None:
    subject = ReferenceSubject(num_timesteps=7, clip_x_0=True, network=True).variant(schedule="cosine")
    assert (subject.num_timesteps, subject.clip_x_0, (subject.schedule or {})["name"]) == (7, True, "cosine")
    assert hasattr(subject, "network")
    assert not hasattr(ReferenceSubject().variant(dtype="float32"), "network")


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"schedule": "lienar"}, "known are linear, cosine"),
        ({"variance": "big"}, "known are posterior, beta"),
        ({"parameterization": "noise"}, "known are eps, x_0, v"),
        ({"dtype": "int8"}, "known are float64"),
        ({"num_timesteps": 0}, "at least 1"),
        ({"colour": "red"}, "known are schedule, num_timesteps"),
    ],
)
def test_unknown_choice_is_refused_with_the_known_ones(choice: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReferenceSubject().variant(**choice)


@pytest.mark.parametrize(
    ("t", "said"), [([0], "one time step for each"), ([-1, 0], "must lie in"), ([0, 1000], "0 ... 999")]
)
def test_time_steps_that_fit_nothing_are_refused(linear: ReferenceSubject, t: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        linear.q_sample(np.zeros((2, 1)), np.array(t), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="num_steps is 1001"):
        linear.timesteps(1001)
