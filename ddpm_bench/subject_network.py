"""A U-Net with weights that hide nothing, as NumPy functions: the network half of `MindSporeSubject`.

A freshly initialised U-Net is a poor subject. Its zero-initialised layers make every block the identity and the output
zero, so half of it could be missing without a trace. Here every parameter is random and away from its neutral value, at
a size that keeps activations near 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import ParameterTuple, Tensor, nn, ops

from ddpm_bench.exchange import exchanged
from ddpm_bench.operators import PLAIN, Operators
from ddpm_bench.presets import preset
from ddpm_bench.unet import UNet

Array = npt.NDArray[Any]

BIAS_SCALE = 0.1
"""Standard deviation of biases, and of a normalisation's scale about 1: visible, and far from overwhelming the rest."""


class GenericNetwork:
    """The U-Net of the preset called `name`, its parameters drawn from `seed`, run as `execute` makes functions run.

    `unet`: the class of the network. `ways`: how its parts are computed. `config`: its `UNetConfig` as a dictionary.
    All numbers are float32. Raises `ConfigError` for an unknown name.
    """

    def __init__(
        self, name: str, seed: int, execute: Callable[[Any], Any], *, unet: type[UNet] = UNet, ways: Operators = PLAIN
    ) -> None:
        cell = exchanged(unet(preset(name), seed=seed), ways)
        self.config = asdict(cell.config)
        self._parameters = dict(cell.parameters_and_names())
        self.initial_weights = self.weights()
        _draw(self._parameters, np.random.default_rng(seed))
        self._forward = execute(cell)
        self._gradient = execute(_loss_gradient(cell, ParameterTuple(self._parameters.values())))

    def weights(self) -> dict[str, Array]:
        """A copy of every parameter, by name."""
        return {name: np.array(parameter.asnumpy()) for name, parameter in self._parameters.items()}

    def __call__(self, x: Array, t: Array) -> Array:
        """eps_hat for `x` (B, C, H, W) at `t` (B,), float32."""
        output: Array = self._forward(_image(x), _steps(t)).asnumpy()
        return output

    def at(self, weights: dict[str, Array], x: Array, t: Array) -> Array:
        """eps_hat as it is with other `weights`, of the names and shapes of `weights()`; afterwards all is as before.

        They are written in place, which compiles nothing anew.
        """
        own = self.weights()
        try:
            self._write(weights)
            return self(x, t)
        finally:
            self._write(own)

    def _write(self, weights: dict[str, Array]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(Tensor(np.asarray(weights[name], np.float32)))

    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        """Gradient of mean((network(x, t) - target)^2) for every parameter, by name."""
        gradients = self._gradient(_image(x), _steps(t), _image(target))
        return {name: gradient.asnumpy() for name, gradient in zip(self._parameters, gradients, strict=True)}


def _draw(parameters: dict[str, Any], rng: np.random.Generator) -> None:
    """Random values for all `parameters`, in the order of their names.

    Convolutions and dense layers: variance 1 / fan-in. Biases and shifts: `BIAS_SCALE`. Scales: 1 and `BIAS_SCALE`.
    The learned time embedding: standard normal.
    """
    for name in sorted(parameters):
        parameter = parameters[name]
        values = rng.standard_normal(parameter.shape)
        if name.endswith(".gamma"):
            values = 1 + BIAS_SCALE * values
        elif name.endswith((".beta", ".bias")):
            values = BIAS_SCALE * values
        elif name.endswith(".weight"):
            values = values / np.sqrt(np.prod(parameter.shape[1:]))
        parameter.set_data(Tensor(values.astype(np.float32)))


def _loss_gradient(network: nn.Cell, parameters: ParameterTuple) -> Callable[[Tensor, Tensor, Tensor], Any]:
    """The gradient, with respect to `parameters`, of the mean squared error of `network(x, t)`."""

    def loss(x: Tensor, t: Tensor, target: Tensor) -> Tensor:
        return ops.mean(ops.square(network(x, t) - target))

    differentiate = ms.grad(loss, None, parameters)

    def gradient(x: Tensor, t: Tensor, target: Tensor) -> Any:
        return differentiate(x, t, target)

    return gradient


def _image(x: Array) -> Tensor:
    return Tensor(np.asarray(x, np.float32))


def _steps(t: Array) -> Tensor:
    return Tensor(np.asarray(t).astype(np.int32, casting="same_kind"))
