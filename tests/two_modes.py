"""A Cell and all its gradients, in either mode, as NumPy arrays: for parts that bring a gradient of their own."""

from __future__ import annotations

from typing import Any

import mindspore
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from ddpm_bench.device import compiled

U = 2.0**-24
"""Unit roundoff of float32."""

Array = npt.NDArray[np.float64]
Float = npt.NDArray[np.float32]


class Gradients(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """dL/dx and those of all parameters, for L = Σ g · cell(x)."""

    def __init__(self, cell: nn.Cell) -> None:
        super().__init__()
        self.cell = cell
        self.weights = mindspore.ParameterTuple(cell.trainable_params())
        self.differentiate = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, x: Tensor, g: Tensor) -> Any:
        return self.differentiate(self.cell, self.weights)(x, g)


def run(cell: nn.Cell, weights: dict[str, Float], x: Float, g: Float, mode: str) -> dict[str, Float]:
    """The output as "y", and the gradients of Σ g · y as "x" and by the names of parameters, which `weights` has."""
    names = [name for name, _ in cell.parameters_and_names()]
    assert set(names) == set(weights)
    for name, parameter in cell.parameters_and_names():
        parameter.set_data(Tensor(weights[name]))
    y = compiled(cell, mode)(Tensor(x))
    (by_x,), by_weights = compiled(Gradients(cell), mode)(Tensor(x), Tensor(g))
    found = {"y": y, "x": by_x, **dict(zip(names, by_weights, strict=True))}
    return {name: value.asnumpy() for name, value in found.items()}


def convolution(x: Array, weight: Array, bias: Array, g: Array) -> dict[str, Array]:
    """A 3×3 convolution with zeros around by its definition, tap by tap, as "y", and its gradients likewise."""
    height, width = x.shape[2:]
    around = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((len(x), len(weight), height, width)) + bias[:, None, None]
    by_around, by_weight = np.zeros_like(around), np.zeros_like(weight)
    for i in range(3):
        for j in range(3):
            seen = (slice(None), slice(None), slice(i, i + height), slice(j, j + width))
            y += np.einsum("oc,bchw->bohw", weight[:, :, i, j], around[seen])
            by_around[seen] += np.einsum("oc,bohw->bchw", weight[:, :, i, j], g)
            by_weight[:, :, i, j] = np.einsum("bohw,bchw->oc", g, around[seen])
    return {"y": y, "x": by_around[:, :, 1:-1, 1:-1], "weight": by_weight, "bias": g.sum((0, 2, 3))}


def numbers(seed: int, *shape: int) -> Float:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def within(found: dict[str, Float], exact: dict[str, Array], bounds: dict[str, Array]) -> None:
    """Every entry of every array is as near to the exact one as its bound says, which is below half of the largest."""
    assert set(found) == set(exact)
    for name, value in exact.items():
        assert found[name].shape == value.shape, name
        assert bounds[name].max() < 0.5 * np.abs(value).max(), f"{name}: a bound that means nothing"
        excess = np.abs(found[name] - value) / bounds[name]
        assert excess.max() <= 1, f"{name} is {excess.max():.2f} times as far off as rounding allows"
