from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Tensor

from ddpm_bench import operators
from ddpm_bench.config import DiffusionConfig
from ddpm_bench.ddpm import DDPM
from ddpm_bench.device import MODES, compiled
from ddpm_bench.dropout import make_replayable
from ddpm_bench.train_step import (
    TrainStep,
    average_decay,
    clip_factor,
    moving_average,
    squares_at_once,
    squares_by_product,
)
from ddpm_bench.unet import UNet, preset

U = 2.0**-24
"""Unit roundoff of float32."""

RATE, DECAY, CLIP, STEPS = 1e-3, 0.9, 0.5, 3

NETWORK = preset("digits", base_channels=4, groups=2, channel_mult=(1,), attention_at=(), dropout=0.25)
DIFFUSION = DiffusionConfig(num_timesteps=10).build()


def inputs(step: int) -> tuple[Any, Any, Any, Any]:
    """x_0, t, eps and the keys of the five dropouts."""
    rng = np.random.default_rng(step)
    shape = (4, 1, 8, 8)
    return (
        rng.uniform(-1, 1, shape).astype(np.float32),
        rng.integers(10, size=4, dtype=np.int32),
        rng.standard_normal(shape, dtype=np.float32),
        rng.integers(2**31, size=5, dtype=np.int32),
    )


def generic_network() -> UNet:
    """No weight is zero, or gradients of half the network would be."""
    network = UNet(NETWORK)
    network.set_train(True)
    rng = np.random.default_rng(0)
    for parameter in network.trainable_params():
        parameter.set_data(Tensor(parameter.asnumpy() + 0.1 * rng.standard_normal(parameter.shape, dtype=np.float32)))
    return network


@pytest.fixture(scope="module", params=[*((mode, "native") for mode in MODES), ("graph", "clip")], ids="-".join)
def run(request: pytest.FixtureRequest) -> dict[str, Any]:
    """States before and after each of a few steps, with what each step returned."""
    mode, choice = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(operators.VARIABLE, choice)
        return taken(TrainStep(generic_network(), DIFFUSION, clip_norm=CLIP, mode=mode))


def taken(step: TrainStep) -> dict[str, Any]:
    """What `run` returns."""
    states, returned = [step.arrays()], []
    for number in range(STEPS):
        returned.append(step(*inputs(number), learning_rate=RATE, ema_decay=DECAY))
        states.append(step.arrays())
    step.restore(0, states[0])
    repeated = step(*inputs(0), learning_rate=RATE, ema_decay=DECAY), step.arrays()
    step.restore(0, states[0])
    other_keys = step(*inputs(0)[:3], inputs(1)[3], learning_rate=RATE, ema_decay=DECAY)
    return {
        "states": states,
        "returned": returned,
        "gradients": [gradient(states[number]["weights"], number) for number in range(STEPS)],
        "repeated": repeated,
        "other_keys": other_keys,
        "step": step,
    }


def gradient(weights: dict[str, Any], number: int) -> tuple[float, dict[str, Any]]:
    """Loss and gradient at `weights`, without the code under test: no clipping, no optimiser, no compiling."""
    network = UNet(NETWORK).set_train(True)
    names, parameters = zip(*network.parameters_and_names(), strict=True)
    for key, value in zip(make_replayable(network), inputs(number)[3], strict=True):
        key.set_data(Tensor(value))
    for name, parameter in zip(names, parameters, strict=True):
        parameter.set_data(Tensor(weights[name]))
    model = DDPM(network, DIFFUSION)
    of_loss = mindspore.value_and_grad(model.loss, None, mindspore.ParameterTuple(parameters))
    loss, gradients = of_loss(*map(Tensor, inputs(number)[:3]))
    return float(loss.asnumpy()), {n: g.asnumpy().astype(np.float64) for n, g in zip(names, gradients, strict=True)}


def test_each_step_is_clipping_adam_and_average_as_written(run: dict[str, Any]) -> None:
    """Against the formulas in float64, from the state before each step.

    The gradient is the same code in another mode, which agrees to 5e-8 of its largest entry, so moments agree to that
    plus a few roundings of each term. Adam divides m by sqrt(v), where an entry of tiny gradient keeps few digits; its
    effect is at most the bound's relative error of m and v, of which ten times the gradient's covers both.
    """
    b_1, b_2 = float(np.float32(0.9)), float(np.float32(0.999))
    for number in range(STEPS):
        before, after = run["states"][number], run["states"][number + 1]
        loss, gradients = run["gradients"][number]
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        assert run["returned"][number] == pytest.approx((loss, norm), rel=1e-6)
        assert norm > CLIP, "nothing would be clipped"
        largest = max(np.abs(g).max() for g in gradients.values()) * CLIP / norm
        n = number + 1
        for name, g in gradients.items():
            cut = g * CLIP / norm
            m = b_1 * before["moment_1"][name].astype(np.float64) + (1 - b_1) * cut
            v = b_2 * before["moment_2"][name].astype(np.float64) + (1 - b_2) * cut**2
            rate = RATE * np.sqrt(1 - b_2**n) / (1 - b_1**n)
            w = before["weights"][name] - rate * m / (np.sqrt(v) + 1e-8)
            d = min(DECAY, (1 + n) / (10 + n))
            a = d * before["average"][name] + (1 - d) * after["weights"][name].astype(np.float64)
            error = 2e-7 * largest  # of an entry of the cut gradient
            assert np.abs(after["moment_1"][name] - m).max() <= 0.1 * error + 4 * U * np.abs(m).max()
            assert np.abs(after["moment_2"][name] - v).max() <= 0.002 * np.abs(cut).max() * error + 4 * U * v.max()
            wide = rate * 10 * error / (np.sqrt(v) + 1e-8) + 8 * rate * U * np.abs(m) / (np.sqrt(v) + 1e-8)
            assert (np.abs(after["weights"][name] - w) <= wide + U * np.abs(w)).all()
            assert (np.abs(after["average"][name] - a) <= 3 * U * (np.abs(a) + np.abs(w))).all()


def test_first_step_has_the_magnitude_of_the_learning_rate(run: dict[str, Any]) -> None:
    """|Δw| = lr |g|/(|g| + 1e-8/sqrt(0.001)): within 1 % of lr where the cut gradient is above 4e-5, its 32-fold."""
    _, gradients = run["gradients"][0]
    norm = run["returned"][0][1]
    compared = 0
    for name, g in gradients.items():
        moved = run["states"][1]["weights"][name].astype(np.float64) - run["states"][0]["weights"][name]
        large = np.abs(g) * CLIP / norm > 4e-5
        compared += large.sum()
        assert np.abs(moved[large] / (-RATE * np.sign(g[large])) - 1).max(initial=0) < 0.011
    assert compared > 500


def test_step_taken_again_from_a_restored_state_is_the_same_bits(run: dict[str, Any]) -> None:
    """In graph mode this is the graph that was compiled before the state was put back."""
    returned, state = run["repeated"]
    assert returned == run["returned"][0]
    for group, arrays in run["states"][1].items():
        assert not [name for name in arrays if arrays[name].tobytes() != state[group][name].tobytes()]


def test_dropout_keys_decide_the_loss(run: dict[str, Any]) -> None:
    assert run["step"].dropouts == 5
    assert abs(run["other_keys"][0] - run["returned"][0][0]) > 1e-4


def test_average_begins_at_the_weights(run: dict[str, Any]) -> None:
    first = run["states"][0]
    for name, weight in first["weights"].items():
        assert np.array_equal(first["average"][name], weight)


def test_names_are_the_paths_of_the_network(run: dict[str, Any]) -> None:
    names = [name for name, _ in UNet(NETWORK).parameters_and_names()]
    assert list(run["step"].shapes()) == names
    for group in run["states"][0].values():
        assert list(group) == names


def test_every_weight_moves_in_every_step(run: dict[str, Any]) -> None:
    for before, after in zip(run["states"], run["states"][1:], strict=False):
        assert not [n for n in before["weights"] if np.array_equal(before["weights"][n], after["weights"][n])]


WAYS = pytest.mark.parametrize("sum_of_squares", [squares_at_once, squares_by_product])


@WAYS
def test_gradient_shorter_than_the_bound_is_left_alone(sum_of_squares: Callable[[Any], Any]) -> None:
    gradients = [Tensor(np.array([3.0], np.float32)), Tensor(np.array([[4.0]], np.float32))]
    factor, norm = clip_factor(gradients, Tensor(6.0, mindspore.float32), sum_of_squares)
    assert (float(factor.asnumpy()), float(norm.asnumpy())) == (1, 5)


@WAYS
def test_gradient_longer_than_the_bound_is_cut_to_it_as_a_whole(sum_of_squares: Callable[[Any], Any]) -> None:
    gradients = [Tensor(np.array([3.0], np.float32)), Tensor(np.array([[4.0]], np.float32))]
    factor, norm = clip_factor(gradients, Tensor(2.5, mindspore.float32), sum_of_squares)
    assert (float(factor.asnumpy()), float(norm.asnumpy())) == (0.5, 5)


@WAYS
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(7,), (1, 5), (6, 4, 3, 3)], ids=str)
def test_squares_of_a_tensor_of_any_rank_are_added_up(
    sum_of_squares: Callable[[Any], Any], mode: str, shape: tuple[int, ...]
) -> None:
    """One rounding for each square, and at most as many as there are numbers for a sum in any order."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = compiled(sum_of_squares, mode)(Tensor(x)).asnumpy()
    assert found.shape == ()
    assert float(found) == pytest.approx((x.astype(np.float64) ** 2).sum(), rel=(x.size + 1) * U)


def test_moving_average_keeps_decay_of_the_old_value() -> None:
    assert moving_average(1.0, 0.0, 0.75) == 0.75
    assert moving_average(0.0, 1.0, 0.75) == 0.25


def test_decay_warms_up_to_its_final_value() -> None:
    assert average_decay(1, 0.999) == 2 / 11
    assert average_decay(90, 0.999) == 91 / 100
    assert average_decay(8989, 0.999) < 0.999 == average_decay(8990, 0.999)


def test_decay_never_exceeds_the_one_asked_for() -> None:
    assert average_decay(1, 0.0) == 0
    assert average_decay(10**9, 0.5) == 0.5
