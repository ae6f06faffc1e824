"""The loss of a network as one Cell: the same noise in image and target, uniform time steps, fresh draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from ddpm_bench import device
from ddpm_bench.ddpm import DDPM
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ShapeError
from ddpm_bench.schedule import make_schedule

T = 5
PROCESS = GaussianDiffusion(make_schedule("linear", T, beta_end=0.5))
MODES = pytest.mark.parametrize("mode", device.MODES)


@pytest.fixture(scope="module", autouse=True)
def seeded() -> None:
    """Weights are drawn when a network is made."""
    device.seed_everything(0)


class Zero(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    def construct(self, x: Tensor, t: Tensor) -> Tensor:
        return ops.zeros_like(x)


class Knowing(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Finds the noise in images that are black in its eyes: x_t = sqrt(1 - alpha_bar_t) eps when x_0 = 0."""

    def construct(self, x: Tensor, t: Tensor) -> Tensor:
        return PROCESS.predict_eps(x, t, ops.zeros_like(x))


class Spy(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Remembers what it is asked; PyNative only."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def construct(self, x: Tensor, t: Tensor) -> Tensor:
        self.asked.append((x.asnumpy(), t.asnumpy()))
        return ops.zeros_like(x)


def image_batch(size: int) -> Tensor:
    return Tensor(np.zeros((size, 1, 2, 2), np.float32))


Compile = Callable[[Any], Any]


@MODES
def test_noise_in_the_image_is_the_noise_of_the_target(mode: str) -> None:
    # Dividing by the noise level what was multiplied with it leaves two roundings of eps, at most 6 in magnitude. With
    # other noise, or another t, in one of the two the loss would be about 1.
    loss = device.compiled(DDPM(Knowing(), PROCESS), mode)(image_batch(64))
    assert loss.asnumpy() <= (6 * 4 * 2.0**-24) ** 2


@MODES
def test_every_call_draws_anew(mode: str) -> None:
    ddpm = device.compiled(DDPM(Zero(), PROCESS), mode)
    losses = {float(ddpm(image_batch(64)).asnumpy()) for _ in range(5)}
    assert len(losses) == 5


@MODES
def test_untrained_network_scores_the_variance_of_the_noise(mode: str) -> None:
    # Mean of 40 000 squared normals: standard deviation sqrt(2 / 40000) = 0.0071. Six of them: right code fails once in
    # 5e8 runs; noise whose variance is 10 % off is missed once in 1e15.
    loss = device.compiled(DDPM(Zero(), PROCESS), mode)(image_batch(10_000)).asnumpy()
    assert loss == pytest.approx(1, abs=6 * 0.0071)


def test_time_steps_are_uniform_over_all_of_the_chain() -> None:
    # 50 000 draws, 10 000 expected for each t, with a standard deviation of 89: six of them fail right code once in 1e8
    # runs. A t that never comes, or twice as often, is 10 000 away.
    spy = Spy()
    DDPM(spy, PROCESS)(image_batch(50_000))
    ((_, t),) = spy.asked
    counts = np.bincount(t, minlength=T)
    assert t.dtype == np.int32
    assert len(counts) == T
    assert (np.abs(counts - 10_000) < 6 * 89).all(), counts


def test_network_is_asked_about_x_t() -> None:
    # x_t at t = 0 ... 4 for x_0 = 1: its mean is sqrt(alpha_bar_t), over some 20 000 values of deviation below 1 each.
    # Six times 0.0072 fail right code once in 5e8 runs; the image left out is 0.2 away at least.
    spy = Spy()
    DDPM(spy, PROCESS)(Tensor(np.ones((25_000, 1, 2, 2), np.float32)))
    ((x_t, t),) = spy.asked
    means = [x_t[t == step].mean() for step in range(T)]
    np.testing.assert_allclose(means, PROCESS.schedule.sqrt_alpha_bar, atol=6 * 0.0072)


@MODES
@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
def test_loss_at_given_noise_is_the_formula(mode: str, parameterization: str) -> None:
    # Sixteen positive squares, each of a difference of rounded sums: below 100 roundings.
    process = GaussianDiffusion(PROCESS.schedule, parameterization=parameterization)
    rng = np.random.default_rng(0)
    x, eps = (rng.standard_normal((4, 1, 2, 2)).astype(np.float32) for _ in range(2))
    t = np.array([0, 4, 2, 2], np.int32)
    signal, noise = (
        table[t].reshape(-1, 1, 1, 1)
        for table in (PROCESS.schedule.sqrt_alpha_bar, PROCESS.schedule.sqrt_one_minus_alpha_bar)
    )
    target = {"eps": eps, "x_0": x, "v": signal * eps - noise * x}[parameterization]
    answer = (signal * x + noise * eps - 0 * x) / noise  # what Knowing makes of x_t
    ddpm = DDPM(Knowing(), process)
    loss = device.compiled(ddpm.loss, mode)(Tensor(x), Tensor(t), Tensor(eps)).asnumpy()
    assert loss.shape == ()
    assert loss == pytest.approx(np.mean((target - answer) ** 2), rel=100 * 2.0**-24, abs=0)


def test_float64_process_takes_float64_images() -> None:
    process = GaussianDiffusion(PROCESS.schedule, dtype=ms.float64)
    assert DDPM(Zero(), process)(Tensor(np.zeros((3, 1, 2, 2)))).dtype == ms.float64


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="cannot be combined"):
        DDPM(Zero(), PROCESS).loss(image_batch(3), Tensor(np.zeros(3, np.int32)), image_batch(2))
