"""The variational bound against 50-digit arithmetic, and against the floors no model can go below.

MindSpore's float64 exp, log, tanh and erfc are right to 4e-16, four units u of float64 (measured on 2.7.0 and 2.10.0),
and bounds are that many units times the operations and the condition of what is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mindspore as ms
import mpmath
import numpy as np
import pytest
from mindspore import Tensor
from mpmath import mpf

from ddpm_bench import device
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ShapeError
from ddpm_bench.likelihood import (
    VariationalBound,
    bits_per_dim,
    decoder_log_likelihood,
    normal_kl,
    vlb_terms,
)
from ddpm_bench.sample import Compiled
from ddpm_bench.schedule import make_schedule

U = 2.0**-53
LEVELS = -1 + 2 * np.arange(256) / 255
SIGMA_1 = 0.00738457  # the decoder's width on the linear schedule, 0.94 of a level
MODES = pytest.mark.parametrize("mode", device.MODES)


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """PyNative's threads otherwise wait for each other on few cores; no result depends on it."""
    ms.runtime.launch_blocking()


@pytest.fixture(scope="module")
def run() -> Callable[..., np.ndarray]:
    """Calls a function of tensors on arrays in a mode; compiled functions are kept."""
    kept: dict[Any, Any] = {}

    def run(function: Any, mode: str, *arrays: np.ndarray) -> np.ndarray:
        compiled = kept.setdefault((function, mode), device.compiled(function, mode))
        return np.asarray(compiled(*map(Tensor, arrays)).asnumpy())

    return run


Run = Callable[..., np.ndarray]


def exact_kl(m_1: float, l_1: float, m_2: float, l_2: float) -> mpf:
    m_1, l_1, m_2, l_2 = map(mpf, (m_1, l_1, m_2, l_2))
    return (mpmath.expm1(l_1 - l_2) - (l_1 - l_2) + (m_1 - m_2) ** 2 * mpmath.exp(-l_2)) / 2


def log_phi(z: mpf) -> mpf:
    """log of the normal distribution function; log1p on the right, where 50 digits of Phi itself would not do."""
    tail = mpmath.erfc(abs(z) / mpmath.sqrt(2)) / 2
    return mpmath.log(tail) if z < 0 else mpmath.log1p(-tail)


def exact_decoder(x: float, mean: float, log_scale: float) -> mpf:
    scale, offset, half = mpmath.exp(mpf(log_scale)), mpf(x) - mpf(mean), mpf(1) / 255
    lower, upper = (offset - half) / scale, (offset + half) / scale
    if x < -0.999:
        return log_phi(upper)
    if x > 0.999:
        return log_phi(-lower)
    if lower + upper > 0:
        lower, upper = -upper, -lower
    return log_phi(upper) + mpmath.log(-mpmath.expm1(log_phi(lower) - log_phi(upper)))


def worst_relative(observed: np.ndarray, exact: list[mpf]) -> float:
    return float(max(abs(mpf(float(o)) / e - 1) if e else abs(o) for o, e in zip(observed, exact, strict=True)))


@MODES
def test_kl_of_close_gaussians_does_not_cancel(run: Run, mode: str) -> None:
    # exp(d) - 1 - d by series or directly: at |d| >= 1/2 the difference keeps 1/20 of its terms, each off by 4 u; the
    # rest is nine operations. Written out plainly, d = 1e-8 would give 0 where 5e-17 is right.
    rng = np.random.default_rng(0)
    d = np.concatenate(
        [10.0 ** rng.uniform(-12, 1.5, 400) * rng.choice([-1, 1], 400), [0, 0.5, -0.5, 0.49999, -0.49999]]
    )
    l_2 = np.zeros_like(d)
    gap = np.where(rng.random(len(d)) < 0.5, 0, d)
    observed = run(normal_kl, mode, gap, d, l_2, l_2)
    with mpmath.workdps(50):
        exact = [exact_kl(*row) for row in zip(gap, d, l_2, l_2, strict=True)]
        assert worst_relative(observed, exact) <= 100 * U


@MODES
def test_kl_is_that_of_its_arguments_in_their_order(run: Run, mode: str) -> None:
    # The log variances are rounded when subtracted: 10 u / 0.2 at most, for the smallest |d| that occurs.
    rng = np.random.default_rng(1)
    arrays = [rng.uniform(-3, 3, 405) for _ in range(4)]
    observed = run(normal_kl, mode, *arrays)
    with mpmath.workdps(50):
        exact = [exact_kl(*row) for row in zip(*arrays, strict=True)]
        assert worst_relative(observed, exact) <= 100 * U
    assert (observed > 0).all()


def test_kl_of_a_gaussian_with_itself_is_exactly_zero(run: Run) -> None:
    x = np.random.default_rng(2).uniform(-3, 3, 405)
    np.testing.assert_array_equal(run(normal_kl, "pynative", x, -x, x, -x), 0)


def test_kl_has_the_textbook_value_where_one_side_is_twice_as_wide(run: Run) -> None:
    # ln 2 + 1/8 - 1/2 and -ln 2 + 2 - 1/2, for standard deviations 1 and 2; four units of float64.
    zero, wide = np.zeros(2), np.array([np.log(4), 0])
    narrow = np.array([0, np.log(4)])
    expected = [np.log(2) + 0.125 - 0.5, -np.log(2) + 2 - 0.5]
    np.testing.assert_allclose(run(normal_kl, "pynative", zero, narrow, zero, wide), expected, rtol=16 * U)


def grid(mean: float, log_scale: float, dtype: str = "float64") -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(a, dtype) for a in (LEVELS, np.full(256, mean), np.full(256, log_scale)))


DECODERS = [(mean, np.log(s)) for mean in (-1.2, -0.3, 0.0021, 0.8) for s in (1e-4, SIGMA_1, 0.1, 1.0)]


@MODES
@pytest.mark.parametrize(("mean", "log_scale"), DECODERS)
def test_every_bin_has_its_exact_probability(run: Run, mode: str, mean: float, log_scale: float) -> None:
    # The edges z = (x - mean +- 1/255) / s carry six units, and log Phi(z) answers with z^2 times that. The gap between
    # the logs of neighbouring edges is at least 1/128 of z^2 and at least the bin's width in s, which divides those.
    observed = run(decoder_log_likelihood, mode, *grid(mean, log_scale))
    with mpmath.workdps(50):
        exact = [exact_decoder(x, mean, log_scale) for x in LEVELS]
    z = (np.abs(LEVELS - mean) + 1 / 255) / np.exp(log_scale)
    bound = 8 * U * (1 + z**2) * (1 + min(128, 255 / 2 * np.exp(log_scale)))
    error = np.abs([float(mpf(float(o)) - e) for o, e in zip(observed, exact, strict=True)])
    worst = np.argmax(error / bound)
    assert (error <= bound).all(), f"level {worst}: {observed[worst]} should be {exact[worst]}"


@MODES
def test_certain_pixel_keeps_the_digits_of_its_doubt(run: Run, mode: str) -> None:
    # A mean further out than the last level leaves the open bin a doubt of Phi(-z), z up to 20, that 1 - Phi loses
    # from z = 8 on. Its condition is z^2, for six roundings of z and four of each kernel.
    means = np.linspace(-1, -1.14, 256)
    arrays = (np.full(256, -1.0), means, np.full(256, np.log(SIGMA_1)))
    z = (1 / 255 - 1 - means) / SIGMA_1
    with mpmath.workdps(50):
        exact = [exact_decoder(*row) for row in zip(*arrays, strict=True)]
        error = [
            float(abs(mpf(float(o)) / e - 1))
            for o, e in zip(run(decoder_log_likelihood, mode, *arrays), exact, strict=True)
        ]
    assert (np.array(error) <= 16 * U * (1 + z**2)).all()


@MODES
@pytest.mark.parametrize(("mean", "log_scale"), DECODERS)
def test_probabilities_of_all_levels_sum_to_one(run: Run, mode: str, mean: float, log_scale: float) -> None:
    # Edges of neighbouring bins are computed twice: six units of z each, times the density, 0.4 at most, and z <= 1e4.
    total = np.exp(run(decoder_log_likelihood, mode, *grid(mean, log_scale))).sum()
    assert total == pytest.approx(1, abs=256 * U + 6 * U / np.exp(log_scale))


@pytest.mark.parametrize("log_scale", [-12.0, -9.0, np.log(SIGMA_1), -2.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_bins_are_finite_and_fall_steadily(run: Run, log_scale: float, dtype: str) -> None:
    # The mean is 0: to both sides every bin is less likely than the one before, up to 160 000 widths away. The bins at
    # the ends are open, which may make them likelier again.
    values = run(decoder_log_likelihood, "pynative", *grid(0.0, log_scale, dtype))
    assert values.dtype == dtype
    assert np.isfinite(values).all()
    assert (np.diff(values[128:-1]) < 0).all()
    assert (np.diff(values[1:128]) > 0).all()


def test_float32_answers_are_the_rounded_float64_ones(run: Run) -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(-1, 1, 256).astype("float32") for _ in range(4)]
    doubles = [array.astype("float64") for array in arrays]
    for function, count in ((normal_kl, 4), (decoder_log_likelihood, 3)):
        single = run(function, "pynative", *arrays[:count])
        np.testing.assert_array_equal(single, run(function, "pynative", *doubles[:count]).astype("float32"))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ([np.zeros(3), np.zeros(3), np.zeros((3, 1))], r"shapes \(3,\), \(3,\), \(3, 1\) cannot be combined"),
        ([np.zeros(3), np.zeros(3, "float32"), np.zeros(3)], "dtype Float64, Float32, Float64"),
        ([np.zeros(3, "int32")] * 3, "dtype Int32, Int32, Int32; give them one floating dtype"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: list[np.ndarray], sentence: str) -> None:
    with pytest.raises(ShapeError, match=sentence):
        decoder_log_likelihood(*map(Tensor, arrays))
    with pytest.raises(ShapeError, match=sentence.split(",")[0]):
        normal_kl(*map(Tensor, [arrays[0], *arrays]))


def test_bits_per_dim_divides_by_dimensions_and_ln_2() -> None:
    assert bits_per_dim(np.array([np.log(2) * 12, 0.0]), 12) == pytest.approx([1, 0], rel=2 * U, abs=0)


def knowing(eps: np.ndarray) -> Callable[[Tensor, Tensor], Tensor]:
    """The model that answers the very noise put in: for it x_0 is known."""
    return lambda _x, t: Tensor(eps[int(t.asnumpy()[0])])


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    """Random levels, the open ones at either end left out."""
    return LEVELS[np.random.default_rng(seed).integers(1, 255, shape)]


@pytest.mark.parametrize(
    ("variance", "floor", "mode"),
    [("posterior", 0.0, "pynative"), ("beta", 0.486419230, "pynative"), ("beta", 0.486419230, "graph")],
)
def test_no_model_goes_below_the_floors(variance: str, floor: float, mode: str) -> None:
    # The floors are given to half a unit of their last digit. The KL of the posterior variance is a square of rounding
    # errors u over variances of at least 5e-5, a thousand times.
    process = GaussianDiffusion(make_schedule("linear", 1000), variance=variance, dtype=ms.float64)
    bound = Compiled(VariationalBound(process), partial(device.compiled, mode=mode))
    x_0, eps = pixels(2, 3), np.random.default_rng(0).standard_normal((1000, 2, 3))
    terms = vlb_terms(knowing(eps), bound, x_0, eps)
    assert terms.decoder == pytest.approx([1.305378] * 2, abs=5e-7)
    assert terms.kl.shape == (999, 2)
    assert terms.kl.sum(axis=0) == pytest.approx([floor] * 2, abs=5e-10)
    np.testing.assert_allclose(terms.total, terms.prior + terms.kl.sum(axis=0) + terms.decoder, rtol=1000 * U)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_prior_term_is_exact_to_the_last_digit_given(dtype: str) -> None:
    # Zeros contribute only (-1 - ln v + v) / 2 with v = 1 - 4e-5, which cancels to 6e-10; ones add alpha_bar / 2.
    process = GaussianDiffusion(make_schedule("linear", 1000), dtype=ms.float32 if dtype == "float32" else ms.float64)
    x_0 = np.stack([np.zeros(4), np.full(4, 0.5), np.ones(4)]).astype(dtype)
    bits = bits_per_dim(VariationalBound(process).prior(Tensor(x_0)).asnumpy(), 4)
    assert bits == pytest.approx([5.874784e-10, 7.278677e-6, 2.9112945e-5], rel=9e-8, abs=0)


def test_prior_of_a_black_image_keeps_its_digits() -> None:
    # d = log(1 - alpha_bar_T) = -4e-5, by log1p of an alpha_bar with at most 2T roundings, which the KL doubles.
    # The log of a v near 1 would be off by U / 4e-5, which leaves the KL wrong by 1e-11 of itself.
    schedule = make_schedule("linear", 1000)
    nats = VariationalBound(GaussianDiffusion(schedule, dtype=ms.float64)).prior(Tensor(np.zeros((1, 1)))).asnumpy()
    with mpmath.workdps(50):
        variance = 1 - mpmath.fprod(1 - mpf(float(beta)) for beta in schedule.beta)
        assert worst_relative(nats, [(variance - 1 - mpmath.log(variance)) / 2]) <= 5 * 1000 * U


def test_prior_of_a_single_small_step_does_not_cancel_either() -> None:
    # v = 1e-4: the KL is (-1 - ln v + v) / 2, to 20 units; log1p(-0.9999) would be off by a hundred.
    process = GaussianDiffusion(make_schedule("linear", 1), dtype=ms.float64)
    nats = VariationalBound(process).prior(Tensor(np.zeros((1, 1)))).asnumpy()
    assert nats == pytest.approx([(-1 - np.log(1e-4) + 1e-4) / 2], rel=20 * U, abs=0)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_kl_term_is_its_weight_times_the_squared_error_of_eps(variance: str) -> None:
    # Ho et al. 2020, Eq. 12: L_{t-1} = beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) |eps - eps_hat|^2, above the floor.
    # The mean is a difference of terms up to 100 times the error it shows at t = 1: 1e4 units of float64.
    schedule = make_schedule("linear", 1000)
    process = GaussianDiffusion(schedule, variance=variance, dtype=ms.float64)
    x_0, eps = pixels(1, 2), np.random.default_rng(0).standard_normal((1000, 1, 2))
    terms = vlb_terms(lambda _x, t: Tensor(eps[int(t.asnumpy()[0])] + 0.25), VariationalBound(process), x_0, eps)
    sigma_squared = schedule.posterior_variance if variance == "posterior" else schedule.beta
    weight = schedule.beta**2 / (2 * sigma_squared.clip(1e-300) * schedule.alpha * schedule.one_minus_alpha_bar)
    ratio = schedule.posterior_variance[1:] / sigma_squared[1:]
    expected = weight[1:] * 2 * 0.25**2 + (ratio - 1 - np.log(ratio))  # of two dimensions
    np.testing.assert_allclose(terms.kl[:, 0] * 2 * np.log(2), expected, rtol=1e4 * U)


def test_fixed_large_weights_are_those_published() -> None:
    schedule = make_schedule("linear", 1000)
    process = GaussianDiffusion(schedule, variance="beta", dtype=ms.float64)
    x_0, eps = pixels(1, 1), np.zeros((1000, 1, 1))
    with_error = vlb_terms(lambda x, _t: Tensor(np.ones(x.shape)), VariationalBound(process), x_0, eps).kl[:, 0]
    without = vlb_terms(lambda x, _t: Tensor(np.zeros(x.shape)), VariationalBound(process), x_0, eps).kl[:, 0]
    weights = (with_error - without) * np.log(2)
    expected = [0.27269208, 0.06822399, 0.00999623, 0.00550973, 0.01020449]
    assert weights[[0, 9, 99, 499, 998]] == pytest.approx(expected, abs=5e-9)


def test_first_term_is_the_decoder_and_not_a_kl() -> None:
    # With the wrong noise at t = 0 alone only the decoder can change, by z^2 / 2 nats at a mean 0.02 off: 2.7 widths.
    process = GaussianDiffusion(make_schedule("linear", 50), dtype=ms.float64)
    bound, x_0, eps = VariationalBound(process), pixels(2, 3), np.random.default_rng(0).standard_normal((50, 2, 3))
    wrong = eps.copy()
    wrong[0] += 2
    right, off = (vlb_terms(knowing(answer), bound, x_0, eps) for answer in (eps, wrong))
    np.testing.assert_array_equal(right.kl, off.kl)
    assert (off.decoder > right.decoder + 1).all()


def test_clipping_is_part_of_the_bound() -> None:
    # A model that is wildly wrong is wildly punished, less so if the x_0 behind its answer is clipped.
    schedule, x_0 = make_schedule("linear", 50), pixels(2, 3)
    eps = np.random.default_rng(0).standard_normal((50, 2, 3))

    def total(clip: bool) -> np.ndarray:
        bound = VariationalBound(GaussianDiffusion(schedule, clip_x_0=clip, dtype=ms.float64))
        return vlb_terms(lambda x, _t: Tensor(np.full(x.shape, 50.0)), bound, x_0, eps).total

    assert (total(True) < total(False) / 2).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_model_sees_each_noised_image_once_and_in_its_dtype(dtype: str) -> None:
    schedule = make_schedule("linear", 7)
    process = GaussianDiffusion(schedule, dtype=ms.float32 if dtype == "float32" else ms.float64)
    x_0, eps = pixels(3, 2).astype(dtype), np.random.default_rng(0).standard_normal((7, 3, 2)).astype(dtype)
    seen: dict[int, np.ndarray] = {}
    steps: list[tuple[int, int]] = []

    def spy(x: Tensor, t: Tensor) -> Tensor:
        (step,) = set(t.asnumpy().tolist())
        assert t.shape == (3,)
        assert step not in seen
        seen[step] = x.asnumpy()
        return x

    terms = vlb_terms(spy, VariationalBound(process), x_0, eps, progress=lambda i, n: steps.append((i, n)))
    assert list(seen) == [6, 5, 4, 3, 2, 1, 0]
    assert steps == [(6, 7), (7, 7)]
    for t, x_t in seen.items():
        assert x_t.dtype == dtype
        expected = schedule.sqrt_alpha_bar[t] * x_0.astype("float64") + schedule.sqrt_one_minus_alpha_bar[t] * eps[t]
        np.testing.assert_allclose(x_t, expected, rtol=0, atol=8 * np.finfo(dtype).eps)
    assert {values.dtype for values in vars(terms).values()} == {np.dtype(dtype)}


def test_batches_of_time_steps_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sums over one image's dimensions are the same sums, however many images stand beside it.
    bound = VariationalBound(GaussianDiffusion(make_schedule("linear", 20), dtype=ms.float64))
    x_0, eps = pixels(3, 2), np.random.default_rng(0).standard_normal((20, 3, 2))
    whole = vlb_terms(lambda x, _t: x, bound, x_0, eps)
    monkeypatch.setattr("ddpm_bench.likelihood.MOST_AT_ONCE", 24)
    pieces = vlb_terms(lambda x, _t: x, bound, x_0, eps)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(pieces, name), values, err_msg=name)


def test_chain_of_one_step_is_prior_and_decoder() -> None:
    bound = VariationalBound(GaussianDiffusion(make_schedule("linear", 1), dtype=ms.float64))
    x_0, eps = pixels(2, 3), np.random.default_rng(0).standard_normal((1, 2, 3))
    terms = vlb_terms(knowing(eps), bound, x_0, eps)
    assert terms.kl.shape == (0, 2)
    np.testing.assert_array_equal(terms.total, terms.prior + terms.decoder)


def test_noise_for_another_number_of_steps_is_refused() -> None:
    bound = VariationalBound(GaussianDiffusion(make_schedule("linear", 7)))
    with pytest.raises(ShapeError, match=r"eps has shape \(6, 3, 2\); 7 steps of x_0 \(3, 2\) need \(7, 3, 2\)"):
        vlb_terms(lambda x, _t: x, bound, np.zeros((3, 2)), np.zeros((6, 3, 2)))
