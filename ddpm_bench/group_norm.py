"""Group normalisation (Wu & He 2018) in elementary operators, with its gradient.

y = gamma · (x − m) · r + beta, r = 1/√(v + eps), with mean m and (biased) variance v over each group of channels of
each image. MindSpore's `nn.GroupNorm` is one operator; whether its CPU kernels are faster than these few together is
measured (`operators.py`). The variance is the mean of squared deviations, in two passes; the mean of squares less the
squared mean would lose every digit where the mean is large.

MindSpore's CPU kernels broadcast slowly: adding a number to each row of pixels takes a `BiasAdd` half the time. And a
sum of products is a product of matrices (docs/performance.md).

The gradient, with g = dL/dy, s₁ and s₂ the sums of g and g · (x − m) over the pixels of a channel, n entries a group:

    dL/dbeta = Σ s₁,   dL/dgamma = Σ r s₂   (over images),
    dL/dx = r gamma g − (x − m) r³ (Σ gamma s₂)/n − r (Σ gamma s₁)/n   (over the channels of a group).

Only the first and the second term touch every pixel; all else is per channel or per group. Differentiated operator by
operator the same takes half as long again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ddpm_bench.errors import ConfigError


class ComposedGroupNorm(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """`nn.GroupNorm(groups, channels, eps)` for (B, C, H, W) float32, its parameters under the same names."""

    def __init__(self, groups: int, channels: int, eps: float, normalise: Normalise | None = None) -> None:
        """`normalise`: of the same groups and eps, to share, so that a network has it compiled once.

        Raises `ConfigError` if the groups do not divide the channels.
        """
        super().__init__()
        if groups < 1 or channels % groups:
            raise ConfigError(f"{channels} channels cannot be split into {groups} equal groups: choose a divisor")
        self.gamma = Parameter(Tensor(np.ones(channels, np.float32)), name="gamma")
        self.beta = Parameter(Tensor(np.zeros(channels, np.float32)), name="beta")
        self.normalise = normalise or Normalise(groups, eps)

    @classmethod
    def like(cls, norm: nn.GroupNorm, normalise: Normalise | None = None) -> ComposedGroupNorm:
        """One with the groups, channels and eps of `norm`, and parameters of its own; `normalise` as above."""
        return cls(norm.num_groups, norm.num_channels, norm.eps, normalise)

    def construct(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.gamma, self.beta)


class Normalise(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The function and its gradient: `x` (B, C, H, W), `gamma` and `beta` (C,)."""

    def __init__(self, num_groups: int, eps: float) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.eps = eps
        self.add_bias = ops.BiasAdd()
        self.dot = ops.BatchMatMul(transpose_b=True)

    def construct(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        batch, channels, height, width = x.shape  # no other rank is taken
        deviation, inverse = self._deviation(x)
        scale = inverse.reshape(batch, self.num_groups, 1) * gamma.reshape(1, self.num_groups, -1)
        scaled = deviation.reshape(batch * channels, height * width) * scale.reshape(batch * channels, 1)
        return self.add_bias(scaled.reshape(x.shape), beta)

    def bprop(self, x: Tensor, gamma: Tensor, beta: Tensor, out: Tensor, gradient: Tensor) -> tuple[Any, Any, Any]:  # noqa: ARG002 - MindSpore passes all
        deviation, inverse = self._deviation(x)
        channelwise = (x.shape[0] * x.shape[1], x.shape[2] * x.shape[3])
        groupwise = (x.shape[0], self.num_groups, -1)
        g = gradient.reshape(channelwise)
        sums = g.sum(1).reshape(groupwise)
        moments = self._dot(g, deviation.reshape(channelwise)).reshape(groupwise)
        inverse = inverse.reshape(x.shape[0], self.num_groups, 1)
        scale = gamma.reshape(1, self.num_groups, -1)
        entries = deviation.shape[1]
        mean = (scale * sums).sum(2, keepdims=True) / entries
        slope = (scale * moments).sum(2, keepdims=True) / entries
        direct = (g * (inverse * scale).reshape(-1, 1)).reshape(deviation.shape)
        through = deviation * (inverse * inverse * inverse * slope).reshape(-1, 1)
        along = self._add(x, direct - through, -(inverse * mean).reshape(-1))
        return along.reshape(x.shape), (inverse * moments).sum(0).reshape(-1), sums.sum(0).reshape(-1)

    def _deviation(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The deviations x − m as (B · groups, entries of a group), and r as (B · groups, 1)."""
        grouped = x.reshape(x.shape[0] * self.num_groups, -1)
        deviation = self._add(x, grouped, -grouped.mean(1))
        return deviation, ops.rsqrt(self._dot(deviation, deviation) / deviation.shape[1] + self.eps)

    def _add(self, x: Tensor, rows: Tensor, numbers: Tensor) -> Tensor:
        """To each of the `rows` (B · groups, entries), shaped like `x` before, one of the `numbers` (B · groups,)."""
        rows_of_pixels = (1, rows.shape[0], -1, x.shape[3])
        return self.add_bias(rows.reshape(rows_of_pixels), numbers).reshape(rows.shape)

    def _dot(self, one: Tensor, other: Tensor) -> Tensor:
        """Of every two rows of (N, n) the sum of products, (N, 1)."""
        n = one.shape[1]
        return self.dot(one.reshape(-1, 1, n), other.reshape(-1, 1, n)).reshape(-1, 1)
