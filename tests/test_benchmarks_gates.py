"""The gates, each seen to pass right outputs and to refuse every cheat it is there for.

The network is a small one in NumPy: float32 stands for the device, float64 is the reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import gates
from benchmarks.gates import Invalid, Network
from ddpm_bench.schedule import make_schedule, strided_timesteps

WIDTH = 64
LAST_TWO = slice(2, 4)


def predict(_: Any, weights: Any, x: Any, t: Any, dtype: Any = np.float64) -> Any:
    """A network of one hidden layer on flattened images, in `dtype` throughout."""
    w = {name: value.astype(dtype) for name, value in weights.items()}
    flat = x.reshape(len(x), -1).astype(dtype)
    hidden = np.tanh(flat @ w["a.weight"].T + np.outer(t / 1000, w["b.bias"]).astype(dtype))
    return (hidden @ w["c.weight"].T).reshape(x.shape)


@pytest.fixture
def network() -> Network:
    random = np.random.default_rng(0)
    weights = {
        "a.weight": random.standard_normal((WIDTH, 48)) / 7,
        "b.bias": random.standard_normal(WIDTH),
        "c.weight": random.standard_normal((48, WIDTH)) / 8,
    }
    return Network(predict, {}, {name: value.astype(np.float32) for name, value in weights.items()})


@pytest.fixture
def batch() -> tuple[Any, Any]:
    random = np.random.default_rng(1)
    return random.standard_normal((4, 3, 4, 4)).astype(np.float32), np.array([1, 300, 600, 999])


def on_device(network: Network, x: Any, t: Any, dtype: Any = np.float32) -> Any:
    return predict({}, network.weights, x, t, dtype).astype(np.float32)


def test_right_forward_pass_is_let_through_with_room(network: Network, batch: Any) -> None:
    evidence = gates.forward(network, *batch, on_device(network, *batch), LAST_TWO)
    assert 0 < evidence["error"] < evidence["allowed"] / 3


FORWARD_CHEATS: dict[str, Callable[[Network, Any, Any], Any]] = {
    "half precision": lambda net, x, t: on_device(net, x, t, np.float16),
    "nothing launched": lambda net, x, t: 0 * on_device(net, x, t),
    "an output remembered from other input": lambda net, x, t: on_device(net, x[::-1], t[::-1]),
    "a smaller batch": lambda net, x, t: on_device(net, x[:2], t[:2]),
    "a smaller batch, filled up": lambda net, x, t: np.repeat(on_device(net, x[:1], t[:1]), 4, axis=0),
    "the first images left out": lambda net, x, t: np.concatenate([0 * x[:2], on_device(net, x, t)[2:]]),
    "the last image left out": lambda net, x, t: np.concatenate([on_device(net, x, t)[:3], x[3:]]),
    "time step ignored": lambda net, x, t: on_device(net, x, 0 * t),
    "not a number": lambda net, x, t: np.where(x > 1, np.nan, on_device(net, x, t)),
    "one weight off by 1 %": lambda net, x, t: predict(
        {}, {**net.weights, "a.weight": net.weights["a.weight"] * np.float32(1.01)}, x, t
    ),
}


@pytest.mark.parametrize("cheat", FORWARD_CHEATS)
def test_wrong_forward_pass_is_refused(network: Network, batch: Any, cheat: str) -> None:
    with pytest.raises(Invalid):
        gates.forward(network, *batch, FORWARD_CHEATS[cheat](network, *batch), LAST_TWO)


def test_bfloat16_is_refused(network: Network, batch: Any) -> None:
    short = {name: (value.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, value in network.weights.items()}
    with pytest.raises(Invalid, match="off by"):
        gates.forward(network, *batch, predict({}, short, *batch), LAST_TWO)


def in_half(network: Network) -> Network:
    return dataclasses.replace(network, dtype="float16")


def test_half_precision_that_was_asked_for_is_let_through_with_room(network: Network, batch: Any) -> None:
    evidence = gates.forward(in_half(network), *batch, on_device(network, *batch, np.float16), LAST_TWO)
    single = gates.forward(network, *batch, on_device(network, *batch), LAST_TWO)
    assert single["allowed"] < evidence["error"] < evidence["allowed"] / 2


WITHIN_HALF = ("half precision", "one weight off by 1 %")
"""Half precision may be off by as much."""


@pytest.mark.parametrize("cheat", [name for name in FORWARD_CHEATS if name not in WITHIN_HALF])
def test_wrong_forward_pass_in_half_precision_is_refused(network: Network, batch: Any, cheat: str) -> None:
    with pytest.raises(Invalid):
        gates.forward(in_half(network), *batch, FORWARD_CHEATS[cheat](network, *batch), LAST_TWO)


def test_float32_where_half_precision_was_asked_for_is_refused(network: Network, batch: Any) -> None:
    with pytest.raises(Invalid, match="no more than float32 is: nothing was computed in float16"):
        gates.forward(in_half(network), *batch, on_device(network, *batch), LAST_TWO)


def test_expectation_that_proves_nothing_is_refused() -> None:
    with pytest.raises(Invalid, match="prove nothing"):
        gates.compare(np.zeros(4), np.zeros(4), 1.0, what="eps_hat")


def test_reason_names_error_allowance_and_size() -> None:
    with pytest.raises(Invalid, match=r"eps_hat is off by 0\.5 where 0\.1 is allowed \(its size is 0\.7"):
        gates.compare(np.array([0.5, 1.0]), np.array([0.0, 1.0]), 0.1, what="eps_hat")


def test_alpha_bar_is_the_schedules() -> None:
    assert gates.linear_alpha_bar() == pytest.approx(make_schedule("linear", 1000).alpha_bar, rel=1e-13)


def test_reverse_step_has_the_posteriors_mean_and_variance() -> None:
    """Eq. 11's mean with eps from Eq. 4 is the posterior mean of Eq. 7, another way to the same coefficients."""
    schedule = make_schedule("linear", 1000)
    t = np.arange(1, 1000)
    move = gates.ancestral_move(gates.linear_alpha_bar(), t)
    x_0, eps = 0.3, -1.1
    x_t = np.sqrt(schedule.alpha_bar[t]) * x_0 + np.sqrt(1 - schedule.alpha_bar[t]) * eps
    mean = schedule.posterior_coef_x_0[t] * x_0 + schedule.posterior_coef_x_t[t] * x_t
    assert move.x_t * x_t + move.eps * eps == pytest.approx(mean, rel=1e-9)
    assert move.z**2 == pytest.approx(schedule.posterior_variance[t], rel=1e-9)


def test_ddim_step_with_eta_1_to_the_step_before_is_the_reverse_step() -> None:
    t = np.arange(1, 1000)
    one, other = (
        gates.ddim_move(gates.linear_alpha_bar(), t, t - 1, 1.0),
        gates.ancestral_move(gates.linear_alpha_bar(), t),
    )
    assert one.x_t == pytest.approx(other.x_t, rel=1e-12)
    assert one.eps == pytest.approx(other.eps, rel=1e-6)  # a difference of nearly equal numbers
    assert one.z == pytest.approx(other.z, rel=1e-12)


def test_ddim_step_to_x_0_is_the_prediction_of_x_0() -> None:
    alpha_bar = gates.linear_alpha_bar()
    move = gates.ddim_move(alpha_bar, np.array([500]), np.array([-1]), 1.0)
    signal = alpha_bar[500]
    assert (move.x_t, move.eps, move.z) == pytest.approx((signal**-0.5, -((1 / signal - 1) ** 0.5), 0.0))


def refuses(judge: Callable[[Any], Any], output: Any) -> bool:
    try:
        judge(output)
    except Invalid:
        return True
    return False


def float32_step(move: gates.Move, x: Any, eps: Any, z: Any) -> Any:
    parts = ((move.x_t, x), (move.eps, eps), (move.z, z))
    return sum(factor.astype(np.float32).reshape(-1, 1, 1, 1) * value for factor, value in parts)


def test_right_step_is_let_through_and_each_wrong_one_refused(network: Network, batch: Any) -> None:
    x, t = batch
    z = np.random.default_rng(2).standard_normal(x.shape).astype(np.float32)
    alpha_bar = gates.linear_alpha_bar()
    move = gates.ancestral_move(alpha_bar, t)
    eps = on_device(network, x, t)
    gates.step(network, move, x, t, z, float32_step(move, x, eps, z), LAST_TWO)
    large = gates.Move(move.x_t, move.eps, np.sqrt(1 - alpha_bar[t] / alpha_bar[t - 1]))
    wrong = {
        "no noise": float32_step(move, x, eps, 0 * z),
        "fixed-large variance": float32_step(large, x, eps, z),
        "half precision in the network": float32_step(move, x, on_device(network, x, t, np.float16), z),
        "nothing done": x,
        "step taken twice": float32_step(move, float32_step(move, x, eps, z), eps, z),
    }

    def judge(output: Any) -> Any:
        return gates.step(network, move, x, t, z, output, LAST_TWO)

    assert [name for name, output in wrong.items() if not refuses(judge, output)] == []


def float32_chain(network: Network, x: Any, z: Any, timesteps: list[int], dtype: Any = np.float32) -> Any:
    alpha_bar = gates.linear_alpha_bar()
    for i, t in enumerate(timesteps):
        steps = np.full(len(x), t)
        t_prev = np.full(len(x), [*timesteps[1:], -1][i])
        x = float32_step(gates.ddim_move(alpha_bar, steps, t_prev, 1.0), x, on_device(network, x, steps, dtype), z[i])
    return x


def test_right_chain_is_let_through_and_each_wrong_one_refused(network: Network, batch: Any) -> None:
    x, _ = batch
    steps = 20
    z = np.random.default_rng(3).standard_normal((steps, *x.shape)).astype(np.float32)
    timesteps = strided_timesteps(1000, steps).tolist()
    fewer = strided_timesteps(1000, steps - 1).tolist()

    def judge(output: Any) -> dict[str, float]:
        return gates.chain(network, gates.linear_alpha_bar(), x, z, timesteps, 1.0, output, LAST_TWO)

    evidence = judge(float32_chain(network, x, z, timesteps))
    assert 0 < evidence["error"] < evidence["allowed"] / 2
    wrong = {
        "fewer steps": float32_chain(network, x, z, fewer),
        "last step left out": float32_chain(network, x, z, timesteps[:-1]),
        "half precision": float32_chain(network, x, z, timesteps, np.float16),
        "one noise twice": float32_chain(network, x, np.concatenate([z[:1], z[:1], z[2:]]), timesteps),
        "other start": float32_chain(network, x[::-1], z, timesteps),
    }
    assert [name for name, output in wrong.items() if not refuses(judge, output)] == []


@pytest.mark.parametrize(
    "timesteps", [[999, 500], [999, 500, 1], [998, 500, 0], [999, 999, 0], [0, 500, 999], [999, 600, 300, 0]]
)
def test_chain_that_visits_other_time_steps_is_refused(timesteps: list[int]) -> None:
    gates.check_timesteps([999, 500, 0], 3, 1000)
    with pytest.raises(Invalid, match="a chain of 3 steps visits"):
        gates.check_timesteps(timesteps, 3, 1000)
