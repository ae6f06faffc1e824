"""One optimiser step as one compiled function: loss, gradient, clipping, Adam, moving average.

With g the gradient of the loss, cut to a global norm of at most c, Adam keeps (Kingma and Ba 2015, Algorithm 1)

    m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
    w ← w − lr · sqrt(1 − β₂ⁿ)/(1 − β₁ⁿ) · m/(sqrt(v) + ε)

in the order of its section 2, whose first step has the magnitude lr wherever g is large against ε. The average follows
as a ← d a + (1 − d) w with the d of `average_decay`. Time steps, noise and every number that changes from step to step
are arguments, computed in float64 and cast once, so that nothing is baked into the compiled graph.

State is written in place, with `copy_`: `set_data` gives a Parameter new memory, and a graph that is compiled already
goes on with the old one (MindSpore 2.10.0), or with whatever else is there by then (2.7.0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
from mindspore import ParameterTuple, Tensor, ops
from numpy.typing import NDArray

from ddpm_bench import operators
from ddpm_bench.checkpoint import Arrays
from ddpm_bench.ddpm import DDPM
from ddpm_bench.device import compiled, current_device
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.dropout import make_replayable
from ddpm_bench.patience import Patience
from ddpm_bench.unet import UNet

BETA_1, BETA_2, ADAM_EPSILON = float(np.float32(0.9)), float(np.float32(0.999)), 1e-8
"""Adam's constants as its authors recommend them, and as Ho et al. 2020 leave them.

Rounded to float32, because the operator takes 1 − β₂ of the rounded value, 1.3e-5 off 0.001; powers for the correction
are of the same number, so that the two cancel in the first step.
"""


def average_decay(step: int, decay: float) -> float:
    """The moving average's decay at the `step`-th update (1, 2, …): min(decay, (1 + step)/(10 + step)).

    The warm-up, as TensorFlow's ExponentialMovingAverage has it with `num_updates`, lets the average forget the initial
    weights: a fixed 0.9999 would still hold a third of them after ten thousand steps.
    """
    return min(decay, (1 + step) / (10 + step))


def moving_average(average: Any, value: Any, decay: Any) -> Any:
    """The average after one more `value`: decay · average + (1 − decay) · value. Tensors of one shape."""
    return decay * average + (1 - decay) * value


def squares_at_once(x: Any) -> Any:
    """The sum of the squares of all entries of `x`, a scalar."""
    return ops.sum(ops.square(x))


def squares_by_product(x: Any) -> Any:
    """The same for a tensor of any rank from 1 on, each row added up by a product with ones: see `operators.py`."""
    squares = ops.square(x).reshape(x.shape[0], -1)
    return ops.sum(ops.matmul(squares, ops.ones((squares.shape[1], 1), x.dtype)))


def clip_factor(
    gradients: Any, clip_norm: Any, sum_of_squares: Callable[[Any], Any] = squares_at_once
) -> tuple[Any, Any]:
    """What to multiply `gradients` by so that their global norm is at most `clip_norm`, and that norm before.

    The norm is that of all gradients as one vector (Pascanu et al. 2013, Algorithm 1); short ones are left alone.
    """
    total = ops.zeros((), mindspore.float32)
    for gradient in gradients:
        total = total + sum_of_squares(gradient)
    norm = ops.sqrt(total)
    return clip_norm / ops.maximum(norm, clip_norm), norm


ADAM = ops.Adam()
"""Here, because what `HyperMap` maps may have nothing from around it but globals (MindSpore 2.7.0 to 2.10.0)."""


def adam_and_average(
    rate: Any, power_1: Any, power_2: Any, beta_1: Any, beta_2: Any, epsilon: Any, decay: Any, factor: Any,
    weight: Any, moment_1: Any, moment_2: Any, average: Any, gradient: Any,
) -> Any:  # fmt: skip
    """Move one `weight` by Adam with the `gradient` times `factor`, and then its `average`; returns the average.

    All of the first line are scalars; those of the second are of one shape, and written in place but for the gradient.
    """
    done = ADAM(weight, moment_1, moment_2, power_1, power_2, rate, beta_1, beta_2, epsilon, gradient * factor)
    moved = ops.depend(weight, done)  # the graph may otherwise read the weight before Adam writes it
    return ops.assign(average, moving_average(average, moved, decay))


class TrainStep:
    """The weights of a `network` in training, their average and moments, and the step that moves all of them.

    `step` counts the steps taken. Calling it takes one: see `__call__`. In "graph" mode the first call compiles.
    """

    step: int

    def __init__(self, network: UNet, diffusion: GaussianDiffusion, *, clip_norm: float, mode: str) -> None:
        """Start with zero moments and the average equal to the weights of `network`."""
        names, weights = zip(*network.parameters_and_names(), strict=True)
        self._names: tuple[str, ...] = names
        self._weights = ParameterTuple(weights)
        self._average = self._weights.clone("average", init="same")
        self._moment_1 = self._weights.clone("moment_1", init="zeros")
        self._moment_2 = self._weights.clone("moment_2", init="zeros")
        self._dropout_keys = make_replayable(network)
        self._patience = Patience()
        by_product = operators.current(current_device(), mode).clip
        sum_of_squares = squares_by_product if by_product else squares_at_once
        self._update = compiled(self._make_update(DDPM(network, diffusion), clip_norm, sum_of_squares), mode)
        self.step = 0

    def __call__(
        self,
        x_0: NDArray[np.float32],
        t: NDArray[np.int32],
        eps: NDArray[np.float32],
        dropout_keys: NDArray[np.int32],
        *,
        learning_rate: float,
        ema_decay: float,
    ) -> tuple[float, float]:
        """Take one step on `x_0` (B, C, H, W) float32 at `t` (B,) int32 with the noise `eps` like x_0.

        `dropout_keys`: (dropouts,) int32, any numbers, one for each layer with dropout. Returns the loss before the
        step and the gradient's norm before it was cut.
        """
        for parameter, key in zip(self._dropout_keys, dropout_keys, strict=True):
            parameter.copy_(Tensor(key))
        self.step += 1
        scalars = (learning_rate, BETA_1**self.step, BETA_2**self.step, average_decay(self.step, ema_decay))
        given = (Tensor(x_0), Tensor(t), Tensor(eps), *(Tensor(value, mindspore.float32) for value in scalars))
        self._patience.begin()
        outcome = self._update(*given)
        self._patience.rest()
        loss, norm = outcome.asnumpy()
        self._patience.end()
        return float(loss), float(norm)

    def _make_update(self, model: DDPM, clip_norm: float, sum_of_squares: Callable[[Any], Any]) -> Callable[..., Any]:
        weights, average, moment_1, moment_2 = self._weights, self._average, self._moment_1, self._moment_2
        loss_and_gradient = mindspore.value_and_grad(model.loss, None, weights)
        beta_1, beta_2, epsilon, longest = (
            Tensor(value, mindspore.float32) for value in (BETA_1, BETA_2, ADAM_EPSILON, clip_norm)
        )
        for_each = ops.HyperMap()

        def update(x_0: Any, t: Any, eps: Any, rate: Any, power_1: Any, power_2: Any, decay: Any) -> Any:
            loss, gradients = loss_and_gradient(x_0, t, eps)
            factor, norm = clip_factor(gradients, longest, sum_of_squares)
            move = ops.partial(adam_and_average, rate, power_1, power_2, beta_1, beta_2, epsilon, decay, factor)
            # Not a loop that adds to a tuple: for the paper's 328 parameters that takes 10 s longer to compile.
            written = for_each(move, weights, moment_1, moment_2, average, gradients)
            # One tensor, which is there when the last write is done: what fetches it has waited for the whole step.
            return ops.stack((ops.depend(loss, written), norm))

        return update

    @property
    def dropouts(self) -> int:
        """How many layers drop anything, which is how many keys a step takes."""
        return len(self._dropout_keys)

    def arrays(self) -> dict[str, Arrays]:
        """Copies of the whole state: weights, average, moment_1, moment_2, each parameter name to float32 array."""
        return {
            group: {
                name: np.array(parameter.asnumpy())  # a copy: asnumpy may share memory with what the next step changes
                for name, parameter in zip(self._names, parameters, strict=True)
            }
            for group, parameters in self._groups().items()
        }

    def restore(self, step: int, arrays: dict[str, Arrays]) -> None:
        """Go to what `arrays` returned after `step` steps. Names and shapes must be those of the network."""
        for group, parameters in self._groups().items():
            for name, parameter in zip(self._names, parameters, strict=True):
                parameter.copy_(Tensor(arrays[group][name]))
        self.step = step

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter name to shape, the same in every group."""
        return {name: tuple(weight.shape) for name, weight in zip(self._names, self._weights, strict=True)}

    def _groups(self) -> dict[str, ParameterTuple]:
        return {
            "weights": self._weights,
            "average": self._average,
            "moment_1": self._moment_1,
            "moment_2": self._moment_2,
        }
