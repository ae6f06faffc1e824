"""The whole U-Net: layout, counts, agreement with the float64 oracle and between modes, gradients."""

from __future__ import annotations

import dataclasses
import gc
import math
from typing import Any

import mindspore
import numpy as np
import numpy.typing as npt
import pytest
from mindspore import Tensor, ops

from ddpm_bench import device, unet
from ddpm_bench.unet import PRESETS, UNet, UNetConfig, preset
from verification import oracle_network

Array = npt.NDArray[np.float32]

TINY = preset("digits", base_channels=8, groups=4)


def weights(network: UNet) -> dict[str, Array]:
    return {name: parameter.asnumpy() for name, parameter in network.parameters_and_names()}


def make_generic(network: UNet, seed: int = 0) -> UNet:
    """`network` with every parameter moved off its initial value, so that no path is silent."""
    random = np.random.default_rng(seed)
    for _, parameter in network.parameters_and_names():
        moved = parameter.asnumpy() + 0.3 * random.standard_normal(parameter.shape)
        parameter.set_data(Tensor(moved.astype(np.float32)))
    return network


def batch(config: UNetConfig, size: int = 3, seed: int = 1) -> tuple[Array, npt.NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((size, config.in_channels, config.image_size, config.image_size)).astype(np.float32)
    return x, np.linspace(0, config.num_timesteps - 1, size).astype(np.int32)


def predict(network: UNet, x: Array, t: npt.NDArray[np.int32]) -> Array:
    result: Array = network(Tensor(x), Tensor(t)).asnumpy()
    return result


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks with all weights zero: drawing a hundred million of them takes seconds."""
    monkeypatch.setattr(unet, "_initialise", lambda *_: None)


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"), [("cifar10", 328, 35_746_307), ("lsun256", 450, 113_673_219)]
)
@pytest.mark.usefixtures("unfilled")
def test_paper_nets_have_the_papers_parameter_count(name: str, tensors: int, parameters: int) -> None:
    """35.7 M and 114 M in Ho et al. 2020, Appendix B; exact from its code's formulas."""
    sizes = [parameter.size for parameter in UNet(PRESETS[name]).trainable_params()]
    assert (len(sizes), sum(sizes)) == (tensors, parameters)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"lsun256"}))
@pytest.mark.usefixtures("unfilled")
def test_parameters_have_the_names_and_shapes_that_the_oracle_expects(name: str) -> None:
    shapes = {name: parameter.shape for name, parameter in UNet(PRESETS[name]).parameters_and_names()}
    assert shapes == oracle_network.parameter_shapes(dataclasses.asdict(PRESETS[name]))


def test_untrained_network_predicts_exactly_zero() -> None:
    assert not predict(UNet(TINY), *batch(TINY)).any()


def test_seed_decides_the_weights() -> None:
    first, again, other = (weights(UNet(TINY, seed=seed)) for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["conv_in.weight"] != other["conv_in.weight"]).all()


def test_initial_weights_have_the_papers_spread() -> None:
    """Uniform with limit √(6 / (fan_in + fan_out)); at most the limit, and 4608 draws come within 1 % of it.

    All of them miss the outer percent with probability 0.99^4608 < 1e-20.
    """
    drawn = np.abs(weights(UNet(preset("digits", base_channels=16)))["down.1.blocks.0.conv_1.weight"])
    limit = math.sqrt(6 / (9 * (16 + 32)))
    assert drawn.size == 4608
    assert 0.99 * limit < drawn.max() <= limit * (1 + 2**-24)


CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two heads": {"num_heads": 2},
    "learned time": {"time_embedding": "learned", "num_timesteps": 7},
    "max pool": {"downsample": "max_pool"},
    "transposed": {"upsample": "transposed"},
    "three levels": {"channel_mult": (1, 3, 2), "blocks_per_level": 2, "attention_at": (8, 2)},
    "colour, even size": {"in_channels": 3, "image_size": 10, "attention_at": (5,)},
    "no level below": {"channel_mult": (1,), "attention_at": ()},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_computes_what_the_float64_oracle_does(choice: str) -> None:
    config = dataclasses.replace(TINY, **CHOICES[choice])
    network = make_generic(UNet(config))
    x, t = batch(config)
    exact, allowed = oracle_network.predict_with_bound(
        dataclasses.asdict(config), weights(network), x, t, dtype="float32"
    )
    assert (np.abs(predict(network, x, t) - exact) <= allowed).all()


@pytest.mark.parametrize("size", [2, 6, 10])
@pytest.mark.parametrize("channels", [1, 3])
def test_article_takes_any_even_size_grey_or_colour(size: int, channels: int) -> None:
    config = preset("article", image_size=size, in_channels=channels, base_channels=8, groups=2)
    x, t = batch(config, size=1)
    result = predict(make_generic(UNet(config)), x, t)
    assert result.shape == x.shape
    assert np.abs(result).min() > 0


def test_each_image_of_a_batch_is_on_its_own() -> None:
    """Bits may differ: matrix products of other sizes sum in another order."""
    network = make_generic(UNet(TINY))
    x, t = batch(TINY)
    together = predict(network, x, t)
    changed = predict(network, np.concatenate([x[:1], -x[1:]]), t)
    np.testing.assert_array_equal(together[0], changed[0])


def test_every_time_step_changes_the_output() -> None:
    network = make_generic(UNet(preset("article", image_size=4, base_channels=8, groups=2, num_timesteps=5)))
    x, _ = batch(network.config, size=1)
    outputs = predict(network, np.repeat(x, 5, axis=0), np.arange(5, dtype=np.int32))
    assert len({image.tobytes() for image in outputs}) == 5


def test_dropout_acts_only_while_training() -> None:
    network = make_generic(UNet(dataclasses.replace(TINY, dropout=0.5)))
    x, t = batch(TINY)
    network.set_train(False)
    calm = predict(network, x, t)
    np.testing.assert_array_equal(predict(network, x, t), calm)
    np.testing.assert_array_equal(predict(UNetLike(network, TINY), x, t), calm)
    network.set_train(True)
    assert (predict(network, x, t) != calm).any()


def UNetLike(network: UNet, config: UNetConfig) -> UNet:  # noqa: N802 - reads as the class whose instance it makes
    """A network of `config` with the weights of `network`."""
    other = UNet(config)
    for (_, parameter), (_, source) in zip(other.parameters_and_names(), network.parameters_and_names(), strict=True):
        parameter.set_data(Tensor(source.asnumpy()))
    return other


MODES = {"digits": TINY, "article": preset("article", image_size=8, base_channels=8, groups=4, num_timesteps=10)}


@pytest.fixture(scope="module", params=list(MODES))
def network(request: pytest.FixtureRequest) -> UNet:
    return make_generic(UNet(MODES[request.param]))


def test_modes_give_the_same_bits(network: UNet) -> None:
    x, t = (Tensor(value) for value in batch(network.config))
    gc.collect()  # graphs of Cells that nobody holds any more leave the count when they are collected
    before = device.compile_count()
    plain = network(x, t).asnumpy()
    assert device.compile_count() == before
    np.testing.assert_array_equal(device.compiled(network, "graph")(x, t).asnumpy(), plain)
    assert device.compile_count() == before + 1
    with device.whole_graph():
        whole = network(x, t).asnumpy()
    assert device.compile_count() == before + 2
    np.testing.assert_array_equal(whole, plain)


@pytest.fixture(scope="module")
def gradients(network: UNet) -> dict[str, dict[str, Array]]:
    """Mode to the gradient of a loss, by parameter name."""

    def loss(x: Tensor, t: Tensor) -> Tensor:
        return ops.mean(ops.square(network(x, t) - 1))

    names = [name for name, _ in network.parameters_and_names()]
    gradient = mindspore.grad(loss, None, network.trainable_params())
    x, t = (Tensor(value) for value in batch(network.config))
    return {
        mode: dict(zip(names, (g.asnumpy() for g in device.compiled(gradient, mode)(x, t)), strict=True))
        for mode in device.MODES
    }


def test_every_parameter_has_a_gradient(gradients: dict[str, dict[str, Array]]) -> None:
    """Except the bias of the keys: it shifts all scores of a query alike, and softmax does not see that."""
    largest = max(np.abs(gradient).max() for gradient in gradients["graph"].values())
    for name, gradient in gradients["graph"].items():
        assert np.isfinite(gradient).all(), name
        if name.endswith(".k.bias"):
            assert np.abs(gradient).max() < 1e-6 * largest, name
        else:
            assert np.abs(gradient).max() > 1e-6 * largest, name


def test_modes_give_the_same_gradients(gradients: dict[str, dict[str, Array]]) -> None:
    """Modes sum in different orders: found 1.4e-7 of the largest entry; a lost term is at least 1e-3 of it."""
    largest = max(np.abs(gradient).max() for gradient in gradients["graph"].values())
    for name, gradient in gradients["graph"].items():
        np.testing.assert_allclose(gradients["pynative"][name], gradient, rtol=0, atol=1e-6 * largest, err_msg=name)


def test_names_do_not_change_when_the_network_runs(network: UNet) -> None:
    """Found while building: walking over a reversed slice of a CellList renames its parameters."""
    x, t = batch(network.config)
    predict(network, x, t)
    assert [parameter.name for parameter in network.trainable_params()] == list(weights(network))
