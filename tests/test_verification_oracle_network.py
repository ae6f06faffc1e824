"""The float64 U-Net of the judge, against a network written apart, MindSpore's, and operations done by SciPy."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from mindspore import Tensor
from scipy.signal import correlate2d

from ddpm_bench.presets import UNetConfig
from ddpm_bench.unet import UNet
from verification.network_layout import Architecture
from verification.network_rounding import Exact
from verification.oracle_network import RIGHT, Details, _Network, predict, predict_with_bound, sinusoids
from verification.reference_network import SMALL, ReferenceNetwork, generic_weights

VARIETY: list[dict[str, Any]] = [
    {},
    {"time_embedding": "learned", "in_channels": 1},
    {"downsample": "max_pool"},
    {"upsample": "transposed"},
    {"num_heads": 1, "groups": 8},
    {"base_channels": 8, "channel_mult": (1, 2, 4), "attention_at": (8, 2), "blocks_per_level": 2},
    {"channel_mult": (2,), "attention_at": ()},
]
T = np.array([0, 1, 500, 999])


def images(config: dict[str, Any], dtype: str = "float64") -> np.ndarray:
    shape = (len(T), config["in_channels"], config["image_size"], config["image_size"])
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("changes", VARIETY, ids=str)
def test_oracle_agrees_with_the_network_written_apart(changes: dict[str, Any]) -> None:
    network = ReferenceNetwork({**SMALL, **changes})
    x = images(network.config)
    exact, bound = predict_with_bound(network.config, network.weights(), x, T, dtype="float64")
    assert np.all(np.abs(network(x, T) - exact) <= bound)
    assert bound.max() < 1e-12


@pytest.mark.parametrize("changes", VARIETY, ids=str)
def test_mindspores_network_is_within_the_bound_and_not_far_below(changes: dict[str, Any]) -> None:
    config = {**SMALL, **changes}
    weights = {name: value.astype(np.float32) for name, value in generic_weights(config, 1).items()}
    cell = UNet(UNetConfig(**config))
    for name, parameter in cell.parameters_and_names():
        parameter.set_data(Tensor(weights[name]))
    x = images(config, "float32")
    outputs = cell(Tensor(x), Tensor(T.astype(np.int32))).asnumpy()
    exact, bound = predict_with_bound(config, weights, x, T, dtype="float32")
    assert 0.01 < np.max(np.abs(outputs - exact) / bound) < 1.0


def test_bound_follows_the_type() -> None:
    config, weights = dict(SMALL), generic_weights(SMALL, 0)
    bounds = [predict_with_bound(config, weights, images(config), T, dtype=d)[1] for d in ("float64", "float32")]
    # 2^29 by roundoff, up to five times more as float32's exp is the worse kernel
    assert 2.0**29 < np.median(bounds[1] / bounds[0]) < 2.0**32


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 1)], ids=["3x3", "3x3 with stride 2", "1x1"])
def test_convolution_is_scipys_correlation(stride: int, kernel: int) -> None:
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((1, 2, 6, 6)), random.standard_normal((3, 2, kernel, kernel))
    made = layer({"c.weight": weight, "c.bias": np.arange(3.0)})._conv(x, "c", stride)
    # stride 2: zeros on the right and below only, so windows start at pixel 0 of the unpadded image
    padded = (
        np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 2)))
        if stride == 2
        else np.pad(x, [(0, 0)] * 2 + [(kernel // 2,) * 2] * 2)
    )
    for out in range(3):
        full = sum(correlate2d(padded[0, i], weight[out, i], mode="valid") for i in range(2))
        assert np.allclose(made[0, out], full[:6:stride, :6:stride] + out, rtol=0, atol=1e-12)


def test_group_norm_has_unit_moments_in_each_group_before_scale_and_shift() -> None:
    x = 5 + 3 * np.random.default_rng(0).standard_normal((2, 16, 4, 4))
    made = layer({"n.gamma": np.full(16, 2.0), "n.beta": np.full(16, 7.0)})._norm(x, "n")
    groups = ((made - 7) / 2).reshape(2, SMALL["groups"], -1)
    assert np.allclose(groups.mean(axis=2), 0, atol=1e-12)
    assert np.allclose(groups.var(axis=2), 1, rtol=1e-6)


def test_sinusoids_are_right_to_the_last_digit_at_any_t() -> None:
    values, sizes = sinusoids((0, 123_457), 6)
    assert values[0].tolist() == [0, 0, 0, 1, 1, 1]
    with mpmath.workdps(40):
        assert values[1, 1] == float(mpmath.sin(mpmath.mpf(123_457) / 100))
        assert values[1, 5] == float(mpmath.cos(mpmath.mpf(123_457) / 10_000))
    assert sizes.shape == values.shape


def test_every_detail_that_can_be_wrong_changes_the_outputs_somewhere() -> None:
    configs = [{**SMALL, **changes} for changes in (VARIETY[0], VARIETY[2], VARIETY[3])]
    wrong = {
        "norm_eps": 1e-3, "norm_over": "batch", "norm_unbiased": True, "norm_eps_outside": True, "activation": "gelu",
        "border": "wrap", "stride_padding": "symmetric", "pool": "mean", "enlarge": "bilinear", "transposed_flip": True,
        "time_used": False, "time_projected": False, "time_offset": 1, "embedding_order": "interleaved",
        "frequency_divisor": "half", "max_period": 1e3, "time_silu_between": False, "time_silu_outside": False,
        "attention_scale": "none", "attention_over": "queries", "attention_roles": "kq", "attention_heads": "one",
        "attention_residual": False, "skips": "swapped", "concatenation": "skip_h", "residual": 0.5, "last_silu": False,
    }  # fmt: skip
    assert wrong.keys() == vars(RIGHT).keys()
    weights = [generic_weights(config, 0) for config in configs]
    right = [predict(c, w, images(c), T) for c, w in zip(configs, weights, strict=True)]
    for name, value in wrong.items():
        details = Details(**{name: value})
        made = [predict(c, w, images(c), T, details=details) for c, w in zip(configs, weights, strict=True)]
        assert any(np.max(np.abs(a - b)) > 1e-6 for a, b in zip(made, right, strict=True)), name


@pytest.mark.parametrize("change", ["missing", "strange", "misshapen"])
def test_weights_of_another_layout_are_refused_by_name(change: str) -> None:
    weights = generic_weights(SMALL, 0)
    if change == "missing":
        del weights["conv_in.bias"]
    elif change == "strange":
        weights["conv_in.bias2"] = np.zeros(16)
    else:
        weights["conv_in.bias"] = np.zeros(15)
    with pytest.raises(ValueError, match=r"conv_in\.bias"):
        predict(dict(SMALL), weights, images(dict(SMALL)), T)


def layer(weights: dict[str, np.ndarray]) -> _Network:
    return _Network(Architecture.parse(SMALL), weights, RIGHT, Exact())
