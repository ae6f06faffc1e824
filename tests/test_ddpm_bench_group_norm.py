"""Group normalisation in elementary operators: its values and all its gradients against float64, in both modes."""

from __future__ import annotations

import numpy as np
import pytest
import two_modes
from mindspore import Tensor, nn
from two_modes import U, numbers, within

from ddpm_bench.device import MODES
from ddpm_bench.errors import ConfigError
from ddpm_bench.group_norm import ComposedGroupNorm

Array = two_modes.Array

EPS = 1e-6
RSQRT = 9e-8
"""Relative error of the reciprocal root, by the judge's ledger of kernels."""

SHAPES = [(2, 4, 3, 5, 2), (1, 6, 1, 7, 6), (3, 6, 2, 2, 1), (1, 4, 1, 2, 2)]
"""Batch, channels, height, width, groups."""


def exact(x: Array, gamma: Array, beta: Array, g: Array, groups: int) -> dict[str, Array]:
    """The definition, and its derivative by the chain rule through standardised values (Ioffe & Szegedy 2015)."""
    grouped = x.reshape(x.shape[0], groups, -1)
    root = np.sqrt(grouped.var(-1, keepdims=True) + EPS)
    standard = (grouped - grouped.mean(-1, keepdims=True)) / root
    wide = gamma[:, None, None] * g
    pulled = wide.reshape(grouped.shape)
    by_x = (pulled - pulled.mean(-1, keepdims=True) - standard * (pulled * standard).mean(-1, keepdims=True)) / root
    standard = standard.reshape(x.shape)
    return {
        "y": gamma[:, None, None] * standard + beta[:, None, None],
        "x": by_x.reshape(x.shape),
        "gamma": (g * standard).sum((0, 2, 3)),
        "beta": g.sum((0, 2, 3)),
    }


def bounds(x: Array, gamma: Array, beta: Array, g: Array, groups: int) -> dict[str, Array]:
    """How far rounding can move each entry, to first order and a tenth more, sums in any order (n − 1 roundings each).

    A deviation is off by d_error: rounded once, and by what the mean of n entries loses. The root's reciprocal is off
    by r_error of itself: half of the variance's relative error, and its own. Both then go through the formulas of
    `group_norm.py`, whose terms are taken with their absolute values.
    """
    batch, channels, pixels = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    n = channels // groups * pixels
    grouped = x.reshape(batch, groups, -1)
    d = np.abs(grouped - grouped.mean(-1, keepdims=True))
    d_error = U * d + (n + 1) * U * np.abs(grouped).mean(-1, keepdims=True)
    variance = (d**2).mean(-1, keepdims=True)
    v_error = (2 * d * d_error).mean(-1, keepdims=True) + (n + 3) * U * variance
    r = 1 / np.sqrt(variance + EPS)
    r_error = v_error / (variance + EPS) / 2 + U + RSQRT
    d, d_error = d.reshape(batch, channels, pixels), d_error.reshape(batch, channels, pixels)
    r, r_error = (np.repeat(each, channels // groups, 1) for each in (r, r_error))
    weight, g = np.abs(gamma)[:, None], np.abs(g).reshape(batch, channels, pixels)

    def of_group(per_channel: Array) -> Array:
        sums = per_channel.reshape(batch, groups, -1).sum(-1)
        return np.repeat(sums, channels // groups, 1)[:, :, None]

    y = weight * r * (d_error + d * (r_error + 4 * U)) + U * (weight * r * d + np.abs(beta)[:, None])
    s_1, s_2 = g.sum(-1, keepdims=True), (g * d).sum(-1, keepdims=True)
    s_2_error = (g * d_error).sum(-1, keepdims=True) + (pixels + 1) * U * s_2
    slope, mean = of_group(weight * s_2), of_group(weight * s_1)
    slope_error = of_group(weight * s_2_error) + channels * U * slope
    direct, mean_term, slope_term = weight * r * g, r * mean / n, d * r**3 * slope / n
    by_x = (
        direct * (r_error + 3 * U)
        + mean_term * (r_error + (pixels + channels + 4) * U)
        + r**3 / n * (d_error * slope + d * slope_error)
        + slope_term * (3 * r_error + 6 * U)
        + 3 * U * (direct + mean_term + slope_term)
    )
    by_gamma = (r * s_2_error + r * s_2 * (r_error + (batch + 1) * U)).sum((0, 2))
    by_beta = (batch + pixels) * U * s_1.sum((0, 2))
    found = {"y": y.reshape(x.shape), "x": by_x.reshape(x.shape), "gamma": by_gamma, "beta": by_beta}
    return {name: 1.1 * value + 1e-30 for name, value in found.items()}


def case(shape: tuple[int, ...], offset: float = 0.0) -> tuple[tuple[two_modes.Float, ...], int]:
    batch, channels, height, width, groups = shape
    image = (batch, channels, height, width)
    return (
        numbers(1, *image) + np.float32(offset), numbers(2, channels), numbers(3, channels), numbers(4, *image),
    ), groups  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_values_and_gradients_are_exact_but_for_rounding(shape: tuple[int, ...], mode: str, offset: float) -> None:
    """With an offset the mean of squares less the squared mean would be wrong by its own size: 1000² · u is 0.06."""
    (x, gamma, beta, g), groups = case(shape, offset)
    cell = ComposedGroupNorm(groups, shape[1], EPS)
    found = two_modes.run(cell, {"gamma": gamma, "beta": beta}, x, g, mode)
    doubles = [each.astype(np.float64) for each in (x, gamma, beta, g)]
    within(found, exact(*doubles, groups), bounds(*doubles, groups))


def test_truth_is_the_derivative_of_its_own_value() -> None:
    """What the gradients are held against, by central differences in float64: good to the square of 1e-5."""
    inputs, groups = case(SHAPES[0])
    x, gamma, beta, g = (each.astype(np.float64) for each in inputs)
    direction, small = numbers(5, *x.shape).astype(np.float64), 1e-5
    ahead, behind = (exact(x + sign * small * direction, gamma, beta, g, groups)["y"] for sign in (1, -1))
    slope = (g * (ahead - behind)).sum() / (2 * small)
    assert (exact(x, gamma, beta, g, groups)["x"] * direction).sum() == pytest.approx(slope, rel=1e-7)


def test_modes_agree_to_the_rounding_of_their_sums() -> None:
    (x, gamma, beta, g), groups = case(SHAPES[0])
    one, other = (
        two_modes.run(ComposedGroupNorm(groups, 4, EPS), {"gamma": gamma, "beta": beta}, x, g, mode) for mode in MODES
    )
    for name, value in one.items():
        # Sums of 30 numbers in two orders, each rounded 29 times: far below what a wrong formula would change.
        np.testing.assert_allclose(other[name], value, rtol=0, atol=60 * U * np.abs(value).max(), err_msg=name)


def test_parameters_are_those_of_mindspores_own() -> None:
    ours, theirs = (
        {name: (parameter.shape, parameter.asnumpy().tolist()) for name, parameter in cell.parameters_and_names()}
        for cell in (ComposedGroupNorm(2, 6, EPS), nn.GroupNorm(2, 6, EPS))
    )
    assert ours == theirs


@pytest.mark.parametrize("groups", [0, 4, 12])
def test_groups_that_do_not_divide_the_channels_are_refused(groups: int) -> None:
    with pytest.raises(ConfigError, match=f"6 channels cannot be split into {groups} equal groups"):
        ComposedGroupNorm(groups, 6, EPS)


@pytest.mark.parametrize("shape", [(1, 4, 3), (1, 4, 3, 3, 3), (1, 8, 3, 3)], ids=str)
def test_anything_but_images_of_its_channels_is_refused(shape: tuple[int, ...]) -> None:
    """Tried in PyNative mode only: of what it cannot compile, MindSpore leaves files behind."""
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        ComposedGroupNorm(2, 4, EPS)(Tensor(numbers(0, *shape))).asnumpy()
