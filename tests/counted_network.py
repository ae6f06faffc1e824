"""The U-Net once more, of layers that count (`counted_layers.py`), with its gradient.

Tests hold its values and gradients against MindSpore's, so what is counted is that network, and the counts against the
formulas of `benchmarks/work.py`.
"""

from __future__ import annotations

import numpy as np
from counted_layers import CountedLayers
from counted_numbers import Tensor, numbers
from numpy.typing import NDArray


class CountedNetwork(CountedLayers):
    """A call goes forward, `backward` all the way back."""

    def __call__(self, x: NDArray[np.float32], t: NDArray[np.int32]) -> Tensor:
        config = self.config
        time = self.embedding("time_embedding.table", t)
        time = self.dense("time_embedding.dense_1", time, wanted=config.time_embedding == "learned")
        time = self.silu("time_embedding.silu", time)
        time = self.silu("time_silu", self.dense("time_embedding.dense_2", time))
        h = self.conv("conv_in", Tensor(numbers(x)), wanted=False)
        kept, last = [h], config.levels - 1
        for level, size in enumerate(config.resolutions):
            for i in range(config.blocks_per_level):
                h = self.block(f"down.{level}.blocks.{i}", h, time)
                if size in config.attention_at:
                    h = self.attention(f"down.{level}.attentions.{i}", h)
                kept.append(h)
            if level < last:
                name = f"down.{level}.downsample"
                pooled = config.downsample == "max_pool"
                h = self.max_pool(name, h) if pooled else self.conv(f"{name}.conv", h, stride=2)
                kept.append(h)
        h = self.block("middle.block_1", h, time)
        h = self.attention("middle.attention", h)
        h = self.block("middle.block_2", h, time)
        for level in range(last, -1, -1):
            for i in range(config.blocks_per_level + 1):
                h = self.concat(f"up.{level}.concats.{i}", h, kept.pop())
                h = self.block(f"up.{level}.blocks.{i}", h, time)
                if config.resolutions[level] in config.attention_at:
                    h = self.attention(f"up.{level}.attentions.{i}", h)
            if level:
                name = f"up.{level}.upsample"
                nearest = config.upsample == "nearest"
                h = (
                    self.conv(f"{name}.conv", self.repeat(f"{name}.repeat", h))
                    if nearest
                    else self.transposed(f"{name}.conv", h)
                )
        return self.conv("conv_out", self.silu("silu_out", self.group_norm("norm_out", h)))

    def block(self, name: str, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv(f"{name}.conv_1", self.silu(f"{name}.silu_1", self.group_norm(f"{name}.norm_1", x)))
        h = self.add_vector(f"{name}.add_time", h, self.dense(f"{name}.time_proj", time))
        h = self.conv(f"{name}.conv_2", self.silu(f"{name}.silu_2", self.group_norm(f"{name}.norm_2", h)))
        beside = self.conv(f"{name}.shortcut", x) if f"{name}.shortcut.weight" in self.weights else x
        return self.add(f"{name}.add", beside, h)

    def attention(self, name: str, x: Tensor) -> Tensor:
        heads, (b, c, h, w) = self.config.num_heads, x.value.shape
        split = (b * heads, c // heads, h * w)
        normed = self.group_norm(f"{name}.norm", x)
        q, k, v = (self.reshaped(self.conv(f"{name}.{part}", normed), split) for part in "qkv")
        weights = self.softmax(
            f"{name}.softmax", self.product(f"{name}.scores", q, k, "hcq,hck->hqk"), (c // heads) ** -0.5
        )
        mixed = self.product(f"{name}.mix", v, weights, "hck,hqk->hcq")
        return self.add(f"{name}.add", x, self.conv(f"{name}.out", self.reshaped(mixed, (b, c, h, w))))

    def reshaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A view: nothing is moved, not even backwards."""
        out = Tensor(x.value.reshape(shape))
        self.back.append(lambda: x.gradients.append(out.gradient.reshape(x.value.shape)))
        return out

    def backward(self, out: Tensor, gradient: NDArray[np.float32]) -> None:
        """Every gradient, given that of the output."""
        out.gradients.append(numbers(gradient))
        for back in reversed(self.back):
            back()
