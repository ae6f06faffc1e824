"""Half precision: layers compute in it, weights, the embedding of t and results do not; what a device lacks is said."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Tensor

from ddpm_bench import device, precision
from ddpm_bench.unet import ZERO_INITIALISED, UNet, preset

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((4, 1, 8, 8)).astype(np.float32)
T = np.array([0, 10, 500, 999], np.int32)


def network() -> UNet:
    cell = UNet(preset("digits"), seed=3)
    random = np.random.default_rng(4)
    for name, parameter in cell.parameters_and_names():
        if name.endswith(ZERO_INITIALISED):
            spread = np.prod(parameter.shape[1:]) ** -0.5
            parameter.set_data(Tensor((spread * random.standard_normal(parameter.shape)).astype(np.float32)))
    return cell


@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_layers_compute_in_float16_and_all_else_stays_float32(mode: str) -> None:
    cell = precision.lowered(network(), "float16")
    eps_hat = device.compiled(cell, mode)(Tensor(X), Tensor(T))
    assert eps_hat.dtype == mindspore.float32
    assert {parameter.dtype for parameter in cell.get_parameters()} == {mindspore.float32}
    exact = network()(Tensor(X), Tensor(T)).asnumpy()
    error = np.abs(eps_hat.asnumpy() - exact).max() / exact.std()
    assert 2.0**-13 < error < 2.0**-5  # float32 is off by 1e-6 of it here
    embedded, other = (one.time_embedding(Tensor(T)).asnumpy() for one in (cell, network()))
    assert np.array_equal(embedded, other)


def test_float32_changes_nothing() -> None:
    same = precision.lowered(network(), "float32")(Tensor(X), Tensor(T)).asnumpy()
    assert np.array_equal(same, network()(Tensor(X), Tensor(T)).asnumpy())


def test_a_type_that_a_device_lacks_is_said_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.missing("float32") is None

    class Broken:
        def to_float(self, _: object) -> Broken:
            return self

        def __call__(self, _: object) -> object:
            raise TypeError("----\nUnsupported data type!\nmore")

    monkeypatch.setattr(precision.unet_blocks, "conv", lambda *_: Broken())
    said = precision.missing("bfloat16")
    assert said == "unavailable: this device computes no convolution in bfloat16 (TypeError: Unsupported data type!)"


def test_what_is_said_to_be_there_is_there() -> None:
    for dtype in precision.DTYPES:
        if precision.missing(dtype) is None:
            eps_hat = precision.lowered(network(), dtype)(Tensor(X), Tensor(T)).asnumpy()
            assert np.isfinite(eps_hat).all()
