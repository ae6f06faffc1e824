"""The maps of the diffusion process against the paper's coefficients, in both modes and dtypes.

Each map is a sum of two or three products c(t) x. Its coefficients are recomputed here in longer arithmetic from
alpha_bar_t as the product of 1 - beta, and a result may be off by a few units u of its dtype, relative to the terms
|c x| and not to their sum, which may cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ddpm_bench import device
from ddpm_bench.diffusion import GaussianDiffusion, clip_to_range
from ddpm_bench.sample import Compiled
from ddpm_bench.schedule import make_schedule

T = 1000
STEPS = np.arange(T, dtype=np.int32)
SCHEDULE = make_schedule("linear", T)
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
DTYPES = {"float32": ms.float32, "float64": ms.float64}

ROUNDINGS = 4
"""Of a product in a sum of two or three: the table's cast, the multiplication, two additions."""

FLOAT64_TABLES = 600
"""Units of float64 that a coefficient may be off before its cast; they matter to the float64 process alone.

Tables that accumulate over t steps have at most 3 T roundings: 6 sqrt(3 T) = 330 units by the probabilistic bound, that
fails right code with a probability below 1e-7. In DDIM's sigma, 1 - rho cancels by 95 at worst, for neighbours, but
they share all roundings but the last six: 570 units."""

WAYS = [("pynative", "float32"), ("graph", "float32"), ("pynative", "float64")]
"""The float64 process in graph mode is compared with PyNative bit for bit, like all others."""

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make() -> Make:
    """A process with the given choices, in the given mode, made once for the whole module: graphs take their time."""
    kept: dict[Any, Any] = {}

    def make(mode: str = "pynative", dtype: str = "float32", schedule: Any = SCHEDULE, **choices: Any) -> Any:
        key = (mode, dtype, id(schedule), *sorted(choices.items()))
        if key not in kept:
            process = GaussianDiffusion(schedule, dtype=DTYPES[dtype], **choices)
            kept[key] = Compiled(process, lambda method: device.compiled(method, mode))
        return kept[key]

    return make


def normal(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Exact:
    """Coefficients of every map at every t, (T,), in extended precision, from the paper's formulas alone."""

    beta = SCHEDULE.beta.astype(np.longdouble)
    alpha = 1 - beta
    alpha_bar = np.cumprod(alpha)
    before = np.concatenate([[1], alpha_bar[:-1]])
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    posterior = beta * (1 - before) / (1 - alpha_bar)
    one, zero = np.ones(T), np.zeros(T)

    maps: ClassVar = {  # name -> coefficients of its two arrays, in the order of the method's arguments
        "q_step": (np.sqrt(alpha), np.sqrt(beta)),
        "q_sample": (signal, noise),
        "predict_x_0": (1 / signal, -noise / signal),
        "predict_eps": (1 / noise, -signal / noise),
        "velocity": (-noise, signal),
        "predict_x_0_from_v": (signal, -noise),
        "predict_eps_from_v": (noise, signal),
        "score": (zero, -1 / noise),
        "p_mean_variance": (1 / np.sqrt(alpha), -beta / (noise * np.sqrt(alpha))),
        "q_posterior": (np.sqrt(before) * beta / (1 - alpha_bar), np.sqrt(alpha) * (1 - before) / (1 - alpha_bar)),
    }


def variances(kind: str) -> np.ndarray:
    """The reverse variances: those of Ho et al. 2020, section 3.2, with the first replaced by posterior_variance[1]."""
    return np.concatenate([Exact.posterior[1:2], (Exact.posterior if kind == "posterior" else Exact.beta)[1:]])


def column(coefficient: Any) -> np.ndarray:
    return np.asarray(coefficient)[:, None]


def assert_sum(observed: Tensor, dtype: str, *products: tuple[Any, np.ndarray]) -> None:
    """`observed` (T, ...) equals the sum of coefficient (T,) times array, to rounding relative to the terms."""
    terms = [column(c) * x.astype(np.longdouble) for c, x in products]
    bound = (ROUNDINGS * UNIT[dtype] + FLOAT64_TABLES * UNIT["float64"]) * sum(np.abs(term) for term in terms)
    array = observed.asnumpy()
    assert array.dtype == dtype
    error = np.abs(array - sum(terms))
    worst = np.unravel_index(np.argmax(error - bound), error.shape)
    assert (error <= bound).all(), f"at {worst}: {array[worst]} should be {sum(terms)[worst]}"


def two_arguments(process: Any, name: str, first: Any, steps: Any, second: Any) -> Any:
    result = (
        process.q_posterior(first, second, steps)
        if name == "q_posterior"
        else getattr(process, name)(first, steps, second)
    )
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize(("mode", "dtype"), WAYS)
@pytest.mark.parametrize("name", Exact.maps)
def test_each_map_has_the_papers_coefficients_at_every_step(make: Make, name: str, mode: str, dtype: str) -> None:
    first, second = normal(dtype, T, 3), normal(dtype, T, 3, seed=1)
    observed = two_arguments(make(mode, dtype), name, Tensor(first), Tensor(STEPS), Tensor(second))
    of_first, of_second = Exact.maps[name]
    assert_sum(observed, dtype, (of_first, first), (of_second, second))


@pytest.mark.parametrize(
    ("dtype", "choices"),
    [("float32", {}), ("float64", {"clip_x_0": True, "parameterization": "v", "variance": "beta"})],
)
def test_graph_and_pynative_agree_bit_for_bit(dtype: str, choices: dict[str, Any]) -> None:
    process = GaussianDiffusion(SCHEDULE, dtype=DTYPES[dtype], **choices)

    def everything(x: Tensor, y: Tensor, z: Tensor, t: Tensor, t_prev: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
        mean, variance = process.p_mean_variance(x, t, y)
        one, other = process.p_step(x, t, y, z), process.ddim_step(x, t, t_prev, y, z, eta)
        return mean, variance, one, other, process.eps_from_output(x, y, t), process.loss(x, y, t, z)

    x, y, z = (Tensor(normal(dtype, T, 3, seed=seed)) for seed in range(3))
    arguments = (x, y, z, Tensor(STEPS), Tensor(STEPS - 1), Tensor(0.3, ms.float64))
    for eager, graph in zip(everything(*arguments), ms.jit(everything)(*arguments), strict=True):
        np.testing.assert_array_equal(eager.asnumpy(), graph.asnumpy())


@pytest.mark.parametrize("kind", ["posterior", "beta"])
def test_variances_are_those_named_with_the_first_replaced(make: Make, kind: str) -> None:
    x = Tensor(normal("float64", T, 2))
    _, variance = make(dtype="float64", variance=kind).p_mean_variance(x, Tensor(STEPS), x)
    assert variance.shape == (T, 1)
    np.testing.assert_allclose(variance.asnumpy()[:, 0], variances(kind), rtol=FLOAT64_TABLES * UNIT["float64"])
    assert np.log(variance.asnumpy()[0, 0]) == pytest.approx(-9.816725135, abs=5e-10)


def test_posterior_variance_is_zero_at_the_first_step_and_eq_7_after_it(make: Make) -> None:
    x = Tensor(normal("float64", T, 2))
    _, variance = make(dtype="float64").q_posterior(x, x, Tensor(STEPS))
    assert variance.asnumpy()[0, 0] == 0
    np.testing.assert_allclose(variance.asnumpy()[:, 0], Exact.posterior, rtol=FLOAT64_TABLES * UNIT["float64"])


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", ["posterior", "beta"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_step_adds_sigma_times_noise_and_none_at_the_last(make: Make, kind: str, clip: bool, dtype: str) -> None:
    x, y, z = (normal(dtype, T, 3, seed=seed) for seed in range(3))
    process, t = make(dtype=dtype, variance=kind, clip_x_0=clip), Tensor(STEPS)
    mean = process.p_mean_variance(Tensor(x), t, Tensor(y))[0].asnumpy()
    stepped = process.p_step(Tensor(x), t, Tensor(y), Tensor(z))
    np.testing.assert_array_equal(stepped.asnumpy()[0], mean[0])
    sigma = np.concatenate([[0], np.sqrt(variances(kind)[1:])])
    assert_sum(stepped, dtype, (Exact.one, mean), (sigma, z))


def clipped_x_0(x: np.ndarray, eps_hat: np.ndarray) -> np.ndarray:
    of_x, of_eps = Exact.maps["predict_x_0"]
    return np.clip(column(of_x) * x + column(of_eps) * eps_hat, -1, 1)


def test_clipped_mean_is_eq_7_at_the_clipped_x_0(make: Make) -> None:
    # x_0 passes the clip unchanged here and there; its own rounding, which 1/signal magnifies to at most 158 at the end
    # of the chain, is what comes on top of the sum's.
    x, eps_hat = normal("float64", T, 50), normal("float64", T, 50, seed=1)
    mean, _ = make(dtype="float64", clip_x_0=True).p_mean_variance(Tensor(x), Tensor(STEPS), Tensor(eps_hat))
    x_0 = clipped_x_0(x, eps_hat)
    assert 0.1 < np.mean(np.abs(x_0) < 1) < 0.9, "both sides of the clip are needed"
    of_x_0, of_x_t = Exact.maps["q_posterior"]
    expected = column(of_x_0) * x_0 + column(of_x_t) * x
    np.testing.assert_allclose(mean.asnumpy(), expected, rtol=0, atol=158 * 5 * FLOAT64_TABLES * UNIT["float64"])


def test_clipping_changes_nothing_inside_the_range_but_rounding(make: Make) -> None:
    # Two ways to the same mean: through x_0 (1/signal at most 158) and not.
    x_0, eps = np.clip(normal("float64", T, 4), -0.9, 0.9), normal("float64", T, 4, seed=1)
    free, clipped = make(dtype="float64"), make(dtype="float64", clip_x_0=True)
    x_t = free.q_sample(Tensor(x_0), Tensor(STEPS), Tensor(eps))
    one, other = (process.p_mean_variance(x_t, Tensor(STEPS), Tensor(eps))[0].asnumpy() for process in (free, clipped))
    np.testing.assert_allclose(one, other, rtol=0, atol=158 * 5 * FLOAT64_TABLES * UNIT["float64"])


@pytest.mark.parametrize("mode", device.MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_is_exact_and_lets_nan_through(mode: str, dtype: str) -> None:
    x = np.concatenate([normal(dtype, 100), np.array([np.inf, -np.inf, 1, -1], dtype)])
    clip = device.compiled(clip_to_range, mode)
    np.testing.assert_array_equal(clip(Tensor(x)).asnumpy(), np.clip(x, -1, 1))
    assert np.isnan(clip(Tensor(np.full(104, np.nan, dtype))).asnumpy()).all()


PAIRS = (STEPS, np.where(STEPS % 3 == 0, STEPS - 1, STEPS // 2 - 1).astype(np.int32))
"""Each t, to its neighbour or to one half as large, x_0 itself (-1) among the targets."""


class ExactDdim:
    """Song et al. 2021, Eqs. 12 and 16, for `PAIRS` in extended precision."""

    here = Exact.alpha_bar
    there = np.concatenate([[1], Exact.alpha_bar])[PAIRS[1] + 1]

    @classmethod
    def sigma(cls, eta: float) -> np.ndarray:
        return eta * np.sqrt((1 - cls.there) / (1 - cls.here) * (1 - cls.here / cls.there))

    @classmethod
    def direction(cls, eta: float) -> np.ndarray:
        return np.sqrt(np.maximum(1 - cls.there - cls.sigma(eta) ** 2, 0))


@pytest.mark.parametrize(("mode", "dtype"), WAYS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_step_is_song_et_als_equation_12(make: Make, mode: str, dtype: str, eta: float) -> None:
    x, eps_hat, z = (normal(dtype, T, 3, seed=seed) for seed in range(3))
    t, t_prev = map(Tensor, PAIRS)
    stepped = make(mode, dtype).ddim_step(Tensor(x), t, t_prev, Tensor(eps_hat), Tensor(z), Tensor(eta, ms.float64))
    gain = np.sqrt(ExactDdim.there / ExactDdim.here)
    assert_sum(
        stepped,
        dtype,
        (gain, x),
        (-gain * Exact.noise, eps_hat),
        (ExactDdim.direction(eta), eps_hat),
        (ExactDdim.sigma(eta), z),
    )


def test_ddim_with_clipping_derives_eps_from_the_clipped_x_0(make: Make) -> None:
    # The error of x_0 (158 of its units) is divided by the noise level, at least 0.01, on its way into eps.
    x, eps_hat, z = (normal("float64", T, 20, seed=seed) for seed in range(3))
    t, t_prev = map(Tensor, PAIRS)
    process = make(dtype="float64", clip_x_0=True)
    stepped = process.ddim_step(Tensor(x), t, t_prev, Tensor(eps_hat), Tensor(z), Tensor(0.3, ms.float64))
    x_0 = clipped_x_0(x, eps_hat)
    eps = (x - column(Exact.signal) * x_0) / column(Exact.noise)
    expected = column(np.sqrt(ExactDdim.there)) * x_0
    expected = expected + column(ExactDdim.direction(0.3)) * eps + column(ExactDdim.sigma(0.3)) * z
    bound = 158 * 100 * FLOAT64_TABLES * UNIT["float64"]
    np.testing.assert_allclose(stepped.asnumpy(), expected.astype(np.float64), rtol=0, atol=bound)


@pytest.mark.parametrize("clip", [False, True])
def test_ddim_with_eta_1_to_the_neighbour_is_the_ancestral_step(make: Make, clip: bool) -> None:
    # The same map by two routes. Clipped, eps is derived with 1/noise = 100 at most.
    x, y, z = (Tensor(normal("float64", T, 3, seed=seed)) for seed in range(3))
    process = make(dtype="float64", clip_x_0=clip)
    ancestral = process.p_step(x, Tensor(STEPS), y, z).asnumpy()
    ddim = process.ddim_step(x, Tensor(STEPS), Tensor(STEPS - 1), y, z, Tensor(1.0, ms.float64)).asnumpy()
    np.testing.assert_allclose(ddim, ancestral, rtol=0, atol=100 * FLOAT64_TABLES * UNIT["float64"])


def test_ddim_with_eta_0_ignores_the_noise_bit_for_bit(make: Make) -> None:
    x, y, z = (Tensor(normal("float32", T, 3, seed=seed)) for seed in range(3))
    t, t_prev = map(Tensor, PAIRS)
    with_z, without = (make().ddim_step(x, t, t_prev, y, noise, Tensor(0.0, ms.float64)) for noise in (z, z * 0))
    np.testing.assert_array_equal(with_z.asnumpy(), without.asnumpy())


@pytest.mark.parametrize("mode", device.MODES)
def test_eta_may_be_a_plain_number_without_losing_digits(make: Make, mode: str) -> None:
    x, y, z = (Tensor(normal("float64", 2, 3, seed=seed)) for seed in range(3))
    t, t_prev = Tensor(np.array([5, 999], np.int32)), Tensor(np.array([4, 9], np.int32))
    plain, tensor = (
        make(mode, "float64").ddim_step(x, t, t_prev, y, z, eta).asnumpy() for eta in (0.1, Tensor(0.1, ms.float64))
    )
    np.testing.assert_array_equal(plain, tensor)


def test_whole_step_to_x_0_is_predict_x_0(make: Make) -> None:
    # 0.3 of randomness asked for, but x_0 has no noise to share: four roundings of each term either way.
    x, y, z = (Tensor(normal("float64", T, 3, seed=seed)) for seed in range(3))
    end = Tensor(np.full(T, -1, np.int32))
    stepped = make(dtype="float64").ddim_step(x, Tensor(STEPS), end, y, z, Tensor(0.3, ms.float64))
    assert_sum(stepped, "float64", *zip(Exact.maps["predict_x_0"], (x.asnumpy(), y.asnumpy()), strict=True))


@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
def test_eps_is_recovered_from_the_perfect_output(make: Make, parameterization: str) -> None:
    # From x_0, eps is a difference divided by the noise level, at least 0.01; otherwise nothing is magnified.
    x_0, eps = Tensor(normal("float64", T, 3)), Tensor(normal("float64", T, 3, seed=1))
    process, t = make(dtype="float64", parameterization=parameterization), Tensor(STEPS)
    x_t = process.q_sample(x_0, t, eps)
    recovered = process.eps_from_output(process.target(x_0, t, eps), x_t, t).asnumpy()
    np.testing.assert_allclose(recovered, eps.asnumpy(), rtol=0, atol=100 * FLOAT64_TABLES * UNIT["float64"])


@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
def test_target_is_what_the_parameterization_names(make: Make, parameterization: str) -> None:
    x_0, eps = Tensor(normal("float32", T, 3)), Tensor(normal("float32", T, 3, seed=1))
    process, t = make(parameterization=parameterization), Tensor(STEPS)
    expected = {"eps": eps, "x_0": x_0, "v": make().velocity(x_0, t, eps)}[parameterization]
    np.testing.assert_array_equal(process.target(x_0, t, eps).asnumpy(), expected.asnumpy())
    assert process.loss(expected, x_0, t, eps).asnumpy() == 0


def test_loss_is_the_mean_square_over_all_elements(make: Make) -> None:
    # A sum of n = 3000 squares in float32: at most n roundings, relative, as all terms are positive.
    output, eps = normal("float32", T, 3), normal("float32", T, 3, seed=1)
    loss = make().loss(Tensor(output), Tensor(eps), Tensor(STEPS), Tensor(eps))
    assert loss.shape == ()
    expected = np.mean((output.astype(np.float64) - eps) ** 2)
    assert loss.asnumpy() == pytest.approx(expected, rel=3000 * UNIT["float32"], abs=0)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 4, 4), (3, 2, 1, 2, 2)])
def test_samples_of_any_rank_are_treated_one_by_one(make: Make, shape: tuple[int, ...]) -> None:
    x, y, z = (normal("float32", *shape, seed=seed) for seed in range(3))
    t = np.array([7, 0, 999], np.int32)
    process = make(variance="beta")
    together = process.p_step(Tensor(x), Tensor(t), Tensor(y), Tensor(z)).asnumpy()
    assert together.shape == shape
    for i in range(3):
        alone = process.p_step(*(Tensor(a[i : i + 1]) for a in (x, t, y, z))).asnumpy()
        np.testing.assert_array_equal(together[i : i + 1], alone)


@pytest.mark.parametrize("num_timesteps", [1, 2])
@pytest.mark.parametrize("kind", ["posterior", "beta"])
def test_shortest_chains_work_everywhere(num_timesteps: int, kind: str) -> None:
    process = GaussianDiffusion(make_schedule("linear", num_timesteps), variance=kind, clip_x_0=True, dtype=ms.float64)
    x, eps_hat = Tensor(normal("float64", 1, 4)), Tensor(normal("float64", 1, 4, seed=1))
    t, end = Tensor(np.array([0], np.int32)), Tensor(np.array([-1], np.int32))
    x_0 = clip_to_range(process.predict_x_0(x, t, eps_hat)).asnumpy()
    np.testing.assert_array_equal(process.p_step(x, t, eps_hat, x).asnumpy(), x_0)
    np.testing.assert_array_equal(process.ddim_step(x, t, end, eps_hat, x, Tensor(1.0, ms.float64)).asnumpy(), x_0)
    assert process.p_mean_variance(x, t, eps_hat)[1].asnumpy().item() > 0
