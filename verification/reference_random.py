"""What the reference draws when nobody gives it the numbers: the noise of its sampler, the batches of its training.

Two streams, one for each, from NumPy's generator; each number is drawn once and used for one thing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verification.protocol import Array

SAMPLING, TRAINING = 1, 2
"""Which stream a seed opens: with the same seed sampling and training share no numbers."""


class RandomDraws:
    """The part of `ReferenceSubject` that is random."""

    num_timesteps: int
    dtype: str

    def draw_timesteps(self, n: int, seed: int) -> Array:
        """Uniform on 0 ... T - 1, Algorithm 1, line 3."""
        return np.random.default_rng(seed).integers(0, self.num_timesteps, n)

    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        """x_T ~ N(0, I) of `shape`, and z ~ N(0, I) for each of `num_steps`; Algorithm 2, lines 1 and 3."""
        random = np.random.default_rng((SAMPLING, seed))
        x_T, z = random.standard_normal(shape), random.standard_normal((num_steps, *shape))
        return x_T.astype(self.dtype, copy=False), z.astype(self.dtype, copy=False)

    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        """`num_steps` batches of Algorithm 1, lines 2 to 4: images of `x_0` with replacement, each with its t and eps.

        Arrays are (num_steps, batch_size, ...).
        """
        random = np.random.default_rng((TRAINING, seed))
        chosen = random.integers(0, len(x_0), (num_steps, batch_size))
        t = self.draw_timesteps(num_steps * batch_size, int(random.integers(2**32)))
        eps = random.standard_normal((num_steps, batch_size, *x_0.shape[1:]))
        return {
            "x_0": x_0.astype(self.dtype, copy=False)[chosen],
            "t": t.reshape(num_steps, batch_size),
            "eps": eps.astype(self.dtype, copy=False),
        }
