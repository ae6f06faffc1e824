"""A network and a diffusion process as one Cell that answers with its training loss.

`DDPM(network, diffusion)(x)` draws time steps and noise itself, which is Algorithm 1 of Ho et al. 2020 up to the
gradient: x_0 given, t ~ Uniform({1, ..., T}), eps ~ N(0, I), and the loss of eps_theta(x_t, t) against that same eps.
`DDPM.loss(x, t, eps)` is the same with time steps and noise passed in; training uses it, so that a run can be repeated.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from ddpm_bench.diffusion import GaussianDiffusion


class DDPM(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The training loss of `network`, a Cell that maps x (B, C, H, W) and t (B,) int32 to the shape of x.

    `diffusion`: the process, and the parameterisation, that it is trained for. Calling the Cell draws from MindSpore's
    global generator, and seeding that anew does not restart what is already compiled (2.7.0 to 2.10.0).
    """

    def __init__(self, network: nn.Cell, diffusion: GaussianDiffusion) -> None:
        super().__init__()
        self.network = network
        self.diffusion = diffusion
        self.num_timesteps = diffusion.num_timesteps

    def construct(self, x: Tensor) -> Tensor:
        """L_simple at time steps and noise drawn here, a scalar. `x`: images (B, C, H, W) in [-1, 1]."""
        # Not ops.randint: deprecated in 2.10.0 for mint.randint, which has no CPU kernel. Its largest share, 1 - 2^-24,
        # times T still rounds to less than T.
        share = ops.uniform((x.shape[0],), Tensor(0.0, ms.float32), Tensor(1.0, ms.float32))
        t = ops.cast(ops.floor(share * self.num_timesteps), ms.int32)
        eps = ops.cast(ops.standard_normal(x.shape), x.dtype)
        return self.loss(x, t, eps)

    def loss(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """L_simple, Ho et al. 2020, Eq. 14, a scalar, at the given time steps `t` (B,) int32 and noise `eps`.

        `x`, `eps`: (B, C, H, W). The eps that makes x_t is the eps the network has to find. Raises `ShapeError`.
        """
        x_t = self.diffusion.q_sample(x, t, eps)
        return self.diffusion.loss(self.network(x_t, t), x, t, eps)
