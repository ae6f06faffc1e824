"""What sampling and training draw when nobody gives them the numbers: the random part of `MindSporeSubject`.

The numbers come from where `ddpm-bench sample` and `ddpm-bench train` take them: batches of at most `generate.BATCH`
images, each with a generator of its own, and one generator for a whole training run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from mindspore import Tensor

from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ShapeError
from ddpm_bench.sample import drawn_noise

Array = npt.NDArray[Any]


class RandomDraws:
    """The methods of the Subject protocol that draw; for a class with these attributes."""

    dtype: str
    num_timesteps: int
    _diffusion: GaussianDiffusion
    _setting: dict[str, Any]

    def draw_timesteps(self, n: int, seed: int) -> Array:
        """The (n,) time steps of a training batch, drawn where training draws them."""
        from ddpm_bench.train import draw_batch  # plots and progress bars come with it

        nothing = np.empty((1, 0), np.float32)
        return draw_batch(np.random.default_rng(seed), nothing, n, self.num_timesteps).t

    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        """x_T (B, ...) and z (num_steps, B, ...) of `ddpm-bench sample --seed`, `shape` being (B, ...).

        Raises `ShapeError` for no images at all.
        """
        from ddpm_bench.generate import batches  # as above

        count, *image = shape
        if count < 1:
            raise ShapeError(f"shape is {tuple(shape)}; give at least one image")
        starts, noises = [], []
        for x_T, rng in batches(count, tuple(image), seed):
            start = Tensor(x_T, self._diffusion.dtype)
            starts.append(start.asnumpy())
            drawn = [z.asnumpy() for z in drawn_noise(rng, num_steps, start)]
            noises.append(np.reshape(drawn, (num_steps, *start.shape)))
        return np.concatenate(starts)[:count], np.concatenate(noises, axis=1)[:, :count].astype(self.dtype, copy=False)

    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        """`x_0`, `t`, `eps` of the first `num_steps` steps of a training run on the images `x_0` (N, ...), stacked.

        With the dropout of the subject's preset, whose keys come from the same generator.
        """
        from ddpm_bench.train import draw_batch, generator  # as above

        rng, images = generator(seed), np.asarray(x_0, np.float32)
        dropouts = _dropouts(self._setting["preset"])
        drawn = [draw_batch(rng, images, batch_size, self.num_timesteps, dropouts=dropouts) for _ in range(num_steps)]
        return {
            "x_0": np.stack([batch.x_0 for batch in drawn]).astype(self.dtype, copy=False),
            "t": np.stack([batch.t for batch in drawn]),
            "eps": np.stack([batch.eps for batch in drawn]).astype(self.dtype, copy=False),
        }


@functools.cache
def _dropouts(preset_name: str) -> int:
    """How many dropout keys a training step of that network draws."""
    from ddpm_bench.dropout import make_replayable
    from ddpm_bench.presets import preset
    from ddpm_bench.unet import UNet

    return len(make_replayable(UNet(preset(preset_name))))
