"""The samplers: which steps they take, in which order, with which noise, and what can be replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.sample import (
    Compiled,
    Samples,
    ancestral,
    ancestral_step,
    ddim,
    ddim_step,
    eps_predictor,
    interpolate,
)
from ddpm_bench.schedule import make_schedule, strided_timesteps

T = 12
SHAPE = (2, 1, 3, 3)
PROCESS = GaussianDiffusion(make_schedule("linear", T, rescale=False, beta_end=0.5), dtype=ms.float64)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def model(x: Tensor, t: Tensor) -> Tensor:
    """A denoiser that depends on both of its arguments."""
    return x * 0.25 + (t.astype(ms.float64) / T).reshape(-1, 1, 1, 1)


def other_model(x: Tensor, t: Tensor) -> Tensor:
    """Another one."""
    return x * 0.5 - (t.astype(ms.float64) / T).reshape(-1, 1, 1, 1)


class Spy:
    """Calls `model` and remembers what it was asked."""

    def __init__(self) -> None:
        self.x: list[np.ndarray] = []
        self.t: list[list[int]] = []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.x.append(x.asnumpy())
        self.t.append(t.asnumpy().tolist())
        return model(x, t)


def full(t: int) -> Tensor:
    return Tensor(np.full(SHAPE[0], t, np.int32))


Sampler = Callable[..., Samples]


def strided(eps_model: Any, diffusion: Any, x_T: Any, z: Any, **options: Any) -> Samples:
    return ddim(eps_model, diffusion, x_T, z, 5, 0.7, **options)


BOTH = pytest.mark.parametrize(("sampler", "steps"), [(ancestral, T), (strided, 5)])


def test_ancestral_sampling_is_algorithm_2() -> None:
    x_T, z = normal(*SHAPE), normal(T, *SHAPE, seed=1)
    spy = Spy()
    x_0 = ancestral(spy, PROCESS, x_T, z).x_0.asnumpy()
    x = Tensor(x_T)
    for i in range(T):
        t = T - 1 - i
        np.testing.assert_array_equal(spy.x[i], x.asnumpy())
        assert spy.t[i] == [t, t]
        x = PROCESS.p_step(x, full(t), model(x, full(t)), Tensor(z[i]))
    np.testing.assert_array_equal(x_0, x.asnumpy())
    assert len(spy.t) == T


@pytest.mark.parametrize("num_steps", [1, 2, 5, T])
def test_ddim_walks_the_strided_steps_and_ends_at_x_0(num_steps: int) -> None:
    x_T, z, eta = normal(*SHAPE), normal(num_steps, *SHAPE, seed=1), 0.7
    spy = Spy()
    x_0 = ddim(spy, PROCESS, x_T, z, num_steps, eta).x_0.asnumpy()
    timesteps = strided_timesteps(T, num_steps).tolist()
    assert spy.t == [[t, t] for t in timesteps]
    x = Tensor(x_T)
    for i, t in enumerate(timesteps):
        np.testing.assert_array_equal(spy.x[i], x.asnumpy())
        t_prev = timesteps[i + 1] if i + 1 < num_steps else -1
        x = PROCESS.ddim_step(x, full(t), full(t_prev), model(x, full(t)), Tensor(z[i]), Tensor(eta, ms.float64))
    np.testing.assert_array_equal(x_0, x.asnumpy())


def test_ddim_over_all_steps_with_eta_1_is_ancestral_sampling() -> None:
    # Twelve steps of a few roundings each, none magnified: gains of this model are below 2 altogether.
    x_T, z = normal(*SHAPE), normal(T, *SHAPE, seed=1)
    one, other = ancestral(model, PROCESS, x_T, z), ddim(model, PROCESS, x_T, z, T, 1.0)
    np.testing.assert_allclose(one.x_0.asnumpy(), other.x_0.asnumpy(), rtol=0, atol=1e-13)


@BOTH
def test_same_seed_gives_the_same_images_and_another_others(sampler: Sampler, steps: int) -> None:
    x_T = normal(*SHAPE)
    first, again, other = (sampler(model, PROCESS, x_T, None, seed=seed).x_0.asnumpy() for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@BOTH
def test_noise_drawn_is_that_of_the_generator_step_by_step(sampler: Sampler, steps: int) -> None:
    x_T, z = normal(*SHAPE), normal(steps, *SHAPE, seed=7)
    drawn = sampler(model, PROCESS, x_T, None, seed=np.random.default_rng(7)).x_0.asnumpy()
    np.testing.assert_array_equal(drawn, sampler(model, PROCESS, x_T, z).x_0.asnumpy())


@BOTH
def test_noise_may_come_as_tensors_too(sampler: Sampler, steps: int) -> None:
    x_T, z = normal(*SHAPE), normal(steps, *SHAPE, seed=7)
    tensors = sampler(model, PROCESS, Tensor(x_T), Tensor(z)).x_0.asnumpy()
    np.testing.assert_array_equal(tensors, sampler(model, PROCESS, x_T, z).x_0.asnumpy())


@BOTH
def test_noise_that_does_not_fit_is_refused_before_the_first_step(sampler: Sampler, steps: int) -> None:
    spy = Spy()
    with pytest.raises(ShapeError, match=rf"z has shape \({steps + 1}, 2, 1, 3, 3\); {steps} steps"):
        sampler(spy, PROCESS, normal(*SHAPE), normal(steps + 1, *SHAPE))
    assert not spy.t


def test_float64_noise_is_rounded_once_to_the_dtype_of_the_process() -> None:
    single = GaussianDiffusion(PROCESS.schedule)
    x_T, z = normal(*SHAPE), normal(T, *SHAPE, seed=1)
    rounded = ancestral(lambda x, _t: x, single, x_T, z).x_0
    assert rounded.dtype == ms.float32
    already = ancestral(lambda x, _t: x, single, x_T.astype("float32"), z.astype("float32")).x_0
    np.testing.assert_array_equal(rounded.asnumpy(), already.asnumpy())


@pytest.mark.parametrize(("sampler", "kept"), [(ancestral, [0, 5, 10, 12]), (strided, [0, 5])])
def test_frames_are_the_start_every_few_steps_and_the_result(sampler: Sampler, kept: list[int]) -> None:
    x_T = normal(*SHAPE)
    spy = Spy()
    samples = sampler(spy, PROCESS, x_T, None, keep_every=5)
    assert list(samples.frames) == kept
    np.testing.assert_array_equal(samples.frames[0], x_T)
    for taken in kept[1:-1]:
        np.testing.assert_array_equal(samples.frames[taken], spy.x[taken])
    np.testing.assert_array_equal(samples.frames[kept[-1]], samples.x_0.asnumpy())


def test_no_frames_are_kept_unasked() -> None:
    assert ancestral(model, PROCESS, normal(*SHAPE), None).frames == {}


@BOTH
def test_progress_counts_every_step(sampler: Sampler, steps: int) -> None:
    told: list[tuple[int, int]] = []
    sampler(model, PROCESS, normal(*SHAPE), None, progress=lambda taken, total: told.append((taken, total)))
    assert told == [(taken, steps) for taken in range(1, steps + 1)]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: ddim(model, PROCESS, x, None, 5, 1.5), "eta is 1.5; give a number from 0"),
        (lambda x: ddim(model, PROCESS, x, None, 5, -0.1), "eta is -0.1"),
        (lambda x: ddim(model, PROCESS, x, None, 5, float("nan")), "eta is nan"),
        (lambda x: ddim(model, PROCESS, x, None, T + 1, 0), "cannot take 13 steps of a process that has 12"),
        (lambda x: ddim(model, PROCESS, x, None, 0, 0), "number of sampling steps is 0"),
        (lambda x: ancestral(model, PROCESS, x, None, keep_every=-1), "keep_every is -1"),
    ],
)
def test_choices_out_of_range_are_refused(call: Callable[[Any], Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        call(normal(*SHAPE))


IMAGE = (1, 3, 3)
A, B = (np.clip(normal(*IMAGE, seed=seed), -1, 1) for seed in (1, 2))
NOISE = (normal(*IMAGE, seed=3), normal(*IMAGE, seed=4))


@pytest.mark.parametrize("t", [0, 5, T - 1])
def test_interpolation_mixes_the_noised_images_and_samples_from_there(t: int) -> None:
    weights, z = [0.0, 0.25, 1.0], normal(t + 1, 3, *IMAGE, seed=5)
    spy = Spy()
    made = interpolate(spy, PROCESS, A, B, t=t, weights=weights, eps=NOISE, z=z)
    step = Tensor(np.full(1, t, np.int32))
    ends = [
        PROCESS.q_sample(*(Tensor(x[None]) for x in (image,)), step, Tensor(eps[None])).asnumpy()[0]
        for image, eps in zip((A, B), NOISE, strict=True)
    ]
    # Two products and their sum: three roundings.
    np.testing.assert_allclose(spy.x[0], [(1 - w) * ends[0] + w * ends[1] for w in weights], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(spy.x[0][[0, 2]], ends)
    assert spy.t == [[step] * 3 for step in range(t, -1, -1)]
    x = Tensor(spy.x[0])
    for i, step in enumerate(range(t, -1, -1)):
        steps = Tensor(np.full(3, step, np.int32))
        x = PROCESS.p_step(x, steps, model(x, steps), Tensor(z[i]))
    np.testing.assert_array_equal(made.x_0.asnumpy(), x.asnumpy())


def test_interpolation_from_one_seed_repeats_and_uses_different_noise_for_the_two_images() -> None:
    spies = [Spy(), Spy()]
    made = [interpolate(spy, PROCESS, A, A, t=T - 1, weights=[0, 1], seed=6).x_0.asnumpy() for spy in spies]
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(spies[0].x[0][0], spies[0].x[0][1])


def test_interpolation_with_shared_noise_of_one_image_is_constant() -> None:
    # (1 - w) x + w x = x to three roundings.
    spy = Spy()
    interpolate(spy, PROCESS, A, A, t=T - 1, weights=[0, 0.3, 1], eps=(NOISE[0], NOISE[0]))
    np.testing.assert_allclose(spy.x[0], spy.x[0][[0, 0, 0]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("t", [-1, T])
def test_interpolation_at_a_step_that_does_not_exist_is_refused(t: int) -> None:
    with pytest.raises(ConfigError, match=f"t is {t}; give a time step from 0 to 11"):
        interpolate(model, PROCESS, A, B, t=t, weights=[0.5])


def test_interpolation_between_different_shapes_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"two images of shapes \(1, 3, 3\) and \(1, 2, 3\)"):
        interpolate(model, PROCESS, A, B[:, :2], t=1, weights=[0.5])
    with pytest.raises(ShapeError, match="cannot be combined"):
        interpolate(model, PROCESS, A, B, t=1, weights=[0.5], eps=(A[:, :2], A[:, :2]))


@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
def test_network_of_any_parameterization_becomes_an_eps_model(parameterization: str) -> None:
    # A network that knows x_0 answers its target; from x_0, eps is magnified by 1/noise = 100 at most.
    process = GaussianDiffusion(PROCESS.schedule, parameterization=parameterization, dtype=ms.float64)
    x_0, eps, t = Tensor(normal(*SHAPE)), Tensor(normal(*SHAPE, seed=1)), full(4)
    eps_model = eps_predictor(lambda _x, _t: process.target(x_0, t, eps), process)
    eps_hat = eps_model(process.q_sample(x_0, t, eps), t)
    np.testing.assert_allclose(eps_hat.asnumpy(), eps.asnumpy(), rtol=0, atol=1e-13)


def test_compiled_process_samples_the_same_bits_and_compiles_each_method_once() -> None:
    made: list[str] = []

    def compile_and_count(method: Any) -> Any:
        made.append(method.__name__)
        return ms.jit(method)

    compiled = Compiled(PROCESS, compile_and_count)
    assert compiled.num_timesteps == T
    x_T, z = normal(*SHAPE), normal(T, *SHAPE, seed=1)
    for _ in range(2):
        fast = ancestral(model, compiled, x_T, z).x_0.asnumpy()
    np.testing.assert_array_equal(fast, ancestral(model, PROCESS, x_T, z).x_0.asnumpy())
    assert made == ["p_step"]


@pytest.mark.parametrize("sampler", [ancestral, strided])
def test_whole_steps_are_the_same_bits_in_one_graph_each(sampler: Sampler) -> None:
    """The network is compiled into the step; once for each network, however many batches there are."""
    made: list[str] = []

    def compile_and_count(function: Any) -> Any:
        made.append(function.__name__)
        return ms.jit(function)

    whole = Compiled(PROCESS, compile_and_count, whole=True)
    x_T, z = normal(*SHAPE), normal(T if sampler is ancestral else 5, *SHAPE, seed=1)
    for _ in range(2):
        fast = sampler(model, whole, x_T, z).x_0.asnumpy()
    np.testing.assert_array_equal(fast, sampler(model, PROCESS, x_T, z).x_0.asnumpy())
    assert made == ["step"]
    other = sampler(other_model, whole, x_T, z).x_0.asnumpy()
    np.testing.assert_array_equal(other, sampler(other_model, PROCESS, x_T, z).x_0.asnumpy())
    assert made == ["step", "step"]


def test_one_step_is_that_of_the_chain() -> None:
    x, z, t, t_prev = Tensor(normal(*SHAPE)), Tensor(normal(*SHAPE, seed=1)), full(7), full(3)
    eta = Tensor(0.7, ms.float64)
    for diffusion in (PROCESS, Compiled(PROCESS), Compiled(PROCESS, whole=True)):
        found = ancestral_step(model, diffusion)(x, t, z).asnumpy()
        np.testing.assert_array_equal(found, PROCESS.p_step(x, t, model(x, t), z).asnumpy())
        found = ddim_step(model, diffusion)(x, t, t_prev, z, eta).asnumpy()
        np.testing.assert_array_equal(found, PROCESS.ddim_step(x, t, t_prev, model(x, t), z, eta).asnumpy())


def test_compiled_process_has_no_methods_of_its_own_invention() -> None:
    with pytest.raises(AttributeError, match="no_such_method"):
        _ = Compiled(PROCESS).no_such_method
