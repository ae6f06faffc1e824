"""The NumPy network of the reference: its gradient is the oracle's derivative, its weights hide nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verification.network_layout import parameter_shapes
from verification.oracle_network import predict
from verification.reference_network import SMALL, ReferenceNetwork, generic_weights

CONFIGS: dict[str, dict[str, Any]] = {
    "the reference's own": {},
    "as in the article": {"time_embedding": "learned", "downsample": "max_pool", "upsample": "transposed"},
    "three levels": {"base_channels": 8, "channel_mult": (1, 2, 1), "attention_at": (8, 2)},
}
STEP = 1e-4


def batch(network: ReferenceNetwork) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = (3, network.config["in_channels"], 8, 8)
    x, target = np.random.default_rng(2).standard_normal((2, *shape))
    return x, np.array([0, 7, 999]), target


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())
def test_gradient_of_every_parameter_is_the_derivative_of_the_oracles_loss(changes: dict[str, Any]) -> None:
    network = ReferenceNetwork({**SMALL, **changes})
    x, t, target = batch(network)
    weights, gradient = network.weights(), network.gradient(x, t, target)
    random = np.random.default_rng(3)
    size = max(float(np.linalg.norm(value)) for value in gradient.values())
    for name, value in weights.items():
        direction = random.standard_normal(value.shape) / np.sqrt(value.size)

        def loss(step: float, name: str = name, moved: Any = direction) -> float:
            now = {**weights, name: weights[name] + step * moved}
            return float(np.mean((predict(network.config, now, x, t) - target) ** 2))

        # T6: differences in float64 err by STEP^2 times a third derivative, here 1e-8 of the largest gradient
        difference = (loss(STEP) - loss(-STEP)) / (2 * STEP)
        assert float(np.sum(gradient[name] * direction)) == pytest.approx(difference, rel=1e-5, abs=1e-7 * size), name


def test_generic_weights_have_no_zero_and_the_layouts_shapes() -> None:
    weights = generic_weights(SMALL, 0)
    assert {name: value.shape for name, value in weights.items()} == parameter_shapes(SMALL)
    assert all(np.all(value) for value in weights.values())


def test_network_before_training_predicts_zero() -> None:
    network = ReferenceNetwork(weights=ReferenceNetwork().initial_weights())
    x, t, _ = batch(network)
    assert not network(x, t).any()


def test_seeds_give_different_weights_and_one_seed_the_same() -> None:
    first, again, other = (ReferenceNetwork(seed=seed).weights()["conv_in.weight"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_weights_are_copies() -> None:
    network = ReferenceNetwork()
    network.weights()["conv_in.bias"][:] = 1e6
    assert abs(network.weights()["conv_in.bias"]).max() < 10


def test_everything_goes_out_in_the_networks_type() -> None:
    network = ReferenceNetwork(dtype="float32")
    x, t, target = batch(network)
    arrays = [network(x, t), *network.weights().values(), *network.gradient(x, t, target).values()]
    assert {array.dtype for array in arrays} == {np.dtype("float32")}


def test_images_need_not_be_square() -> None:
    network = ReferenceNetwork()
    x = np.random.default_rng(4).standard_normal((1, 3, 8, 12))
    exact = predict(network.config, network.weights(), x, np.array([5]))
    assert np.allclose(network(x, np.array([5])), exact, rtol=0, atol=1e-12)
