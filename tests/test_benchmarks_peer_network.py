"""The network in diffusers is ours: the same function to the rounding of float32, and wrong where it is made so.

Where diffusers is not installed these are skipped; `tox -e fidelity` has it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `tox -e fidelity` has it")
pytest.importorskip("diffusers", reason="diffusers is not installed: `tox -e fidelity` has it")

from benchmarks import peer_network  # noqa: E402 - it imports them
from benchmarks.gates import Invalid  # noqa: E402 - as above
from benchmarks.peer_torch import Torch  # noqa: E402 - as above
from benchmarks.peers import PEERS  # noqa: E402 - as above
from benchmarks.test_peers import Trained  # noqa: E402 - as above
from ddpm_bench.presets import UNetConfig, preset  # noqa: E402 - as above
from verification.network_layout import parameter_shapes  # noqa: E402 - as above
from verification.oracle_network import predict_with_bound  # noqa: E402 - as above

SMALL = {"base_channels": 8, "groups": 4, "dropout": 0.0}
"""Changes to presets: as many levels, blocks and attentions, in a fraction of the time."""

RANDOM = np.random.default_rng(0)


def drawn(config: UNetConfig) -> dict[str, Any]:
    """Weights by our names, none at its neutral value, activations near 1."""
    random, found = np.random.default_rng(1), {}
    for name, shape in parameter_shapes(dataclasses.asdict(config)).items():
        value = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        value = 1 + 0.1 * value if name.endswith("gamma") else 0.1 * value if len(shape) == 1 else value
        found[name] = value.astype(np.float32)
    return found


def given(config: UNetConfig) -> tuple[Any, Any]:
    x = RANDOM.standard_normal((2, config.in_channels, config.image_size, config.image_size)).astype(np.float32)
    return x, np.array([3, 977], np.int32)


@pytest.mark.parametrize("name", ["cifar10", "digits", "mnist"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_eps_hat_is_ours_to_rounding(name: str, channels_last: bool) -> None:
    config = preset(name, **SMALL)
    weights, (x, t) = drawn(config), given(config)
    network = peer_network.build(config).eval()
    peer_network.load(network, weights)
    order = torch.channels_last if channels_last else torch.contiguous_format
    with torch.inference_mode():
        found = network.to(memory_format=order)(torch.from_numpy(x), torch.from_numpy(t), return_dict=False)[0].numpy()
    exact, bound = predict_with_bound(dataclasses.asdict(config), weights, x, t, dtype="float32")
    assert np.all(np.abs(found - exact) <= bound)
    assert np.max(bound) < 0.01 * np.abs(exact).max(), "a bound that means something"


@pytest.mark.parametrize(
    "wrong", ["middle.attention.q.weight", "up.0.blocks.1.norm_2.gamma", "down.0.downsample.conv.bias"]
)
def test_two_weights_exchanged_are_noticed(wrong: str) -> None:
    config = preset("digits", **SMALL)
    weights, (x, t) = drawn(config), given(config)
    exact, bound = predict_with_bound(dataclasses.asdict(config), weights, x, t, dtype="float32")
    network = peer_network.build(config).eval()
    peer_network.load(network, {**weights, wrong: weights[wrong][::-1].copy()})
    with torch.inference_mode():
        found = network(torch.from_numpy(x), torch.from_numpy(t), return_dict=False)[0].numpy()
    assert np.any(np.abs(found - exact) > bound)


def test_every_weight_has_a_place_of_its_own() -> None:
    config = preset("cifar10", **SMALL)
    theirs = [peer_network.their_name(name, config.channels) for name in drawn(config)]
    assert sorted(theirs) == sorted(name for name, _ in peer_network.build(config).named_parameters())


@pytest.mark.parametrize("strange", ["down.0.blocks.0.other.weight", "middle.block_3.conv_1.weight", "side.0.x.weight"])
def test_weight_that_diffusers_has_no_place_for_is_named(strange: str) -> None:
    config = preset("digits", **SMALL)
    with pytest.raises(Invalid, match=strange):
        peer_network.load(peer_network.build(config), {**drawn(config), strange: np.ones(3, np.float32)})


def test_place_without_a_weight_is_named() -> None:
    config = preset("digits", **SMALL)
    weights = drawn(config)
    del weights["conv_in.bias"]
    with pytest.raises(Invalid, match=r"differ in conv_in\.bias"):
        peer_network.load(peer_network.build(config), weights)


@pytest.mark.parametrize("changes", [{"num_heads": 2}, {"upsample": "transposed"}, {"time_embedding": "learned"}])
def test_network_that_diffusers_does_not_have_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="diffusers has no network with"):
        peer_network.build(preset("digits", **SMALL, **changes))


# PyTorch as the clock sees it -----------------------------------------------------------------------------------------


def test_waiting_is_proved_and_modes_are_told() -> None:
    machine = Torch("CPU", PEERS["PyTorch"], 1.0)
    assert machine.canary()["holds"]
    assert machine.canary() is machine.canary()
    assert (machine.mode, Torch("CPU", PEERS["PyTorch compiled"], 1.0).mode) == ("pynative", "graph")
    assert machine.settings["memory"] == "contiguous"
    assert (machine.peak_resident_memory() or 0) > 2**24
    assert machine.placement(torch.nn.Linear(1, 1)) == {"device": "CPU", "dtype": "float32"}


@pytest.mark.parametrize(("device", "words"), [("Ascend", "has no device Ascend"), ("GPU", "sees no GPU")])
def test_device_that_is_not_there_is_unavailable(device: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Invalid, match=f"unavailable: .*{words}"):
        Torch(device, PEERS["PyTorch"], 1.0)


def test_images_have_the_order_that_is_asked_for() -> None:
    x = np.zeros((2, 3, 4, 4), np.float32)
    for name, last in (("PyTorch", False), ("PyTorch channels-last", True)):
        image = Torch("CPU", PEERS[name], 1.0).images(x)
        assert image.is_contiguous(memory_format=torch.channels_last) is last


def test_first_training_step_is_adams(monkeypatch: pytest.MonkeyPatch) -> None:
    """W − lr · sqrt(1 − β₂)/(1 − β₁) · m/(sqrt(v) + ε): by the moments it holds, float64, with ε on the plain root."""
    config = preset("digits", **SMALL)
    weights = drawn(config)
    network = peer_network.build(config)
    peer_network.load(network, weights)
    trained = Trained(network, weights, Torch("CPU", PEERS["PyTorch"], 1.0))
    monkeypatch.setattr("benchmarks.test_peers.EPSILON", 1e-3)  # large, so that where it is added shows
    x, t = given(config)
    eps = RANDOM.standard_normal(x.shape).astype(np.float32)
    before = trained.arrays("weights")
    first = trained.step(torch.from_numpy(x), torch.from_numpy(t), torch.from_numpy(eps))
    after, m, v, average = (trained.arrays(group) for group in ("weights", "moment_1", "moment_2", "average"))
    rate = 2e-5 * np.sqrt(1 - np.float64(np.float32(0.999))) / (1 - np.float64(np.float32(0.9)))
    for name, value in before.items():
        moved = value - rate * m[name].astype(np.float64) / (np.sqrt(v[name].astype(np.float64)) + 1e-3)
        np.testing.assert_allclose(after[name], moved, rtol=2e-7, atol=2e-5 * 1e-5, err_msg=name)
        kept = 2 / 11
        np.testing.assert_allclose(average[name], kept * value + (1 - kept) * after[name], rtol=3e-7, atol=1e-12)
    assert trained.step(torch.from_numpy(x), torch.from_numpy(t), torch.from_numpy(eps)) != first
