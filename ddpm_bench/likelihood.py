"""The variational bound of Ho et al. 2020, Eq. 5: the price of an image, sent through the chain, in bits per dimension.

    -log p(x_0) <= L_T + L_{T-1} + ... + L_1 + L_0,
    L_T     = KL(q(x_T | x_0) || N(0, I))                       `VariationalBound.prior`
    L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))     `VariationalBound.kl`
    L_0     = -log p(x_0 | x_1)                                 `VariationalBound.decoder`

Everything computes in float64 and is cast at the end. MindSpore's float32 exp, log and tanh on CPU are wrong by up to
1e-3 near their zeros, and a likelihood in the tails is a small difference of such numbers. Its float64 exp, log, tanh
and erfc are good to 4e-16; its expm1 and log1p lose small arguments in any precision and are not used. Beside float64
tensors it rounds a Python float to float32, and in graph mode it computes with Python floats in float32: constants are
therefore computed here, at import, and enter as float64 tensors (all found on 2.7.0 to 2.10.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ShapeError
from ddpm_bench.sample import EpsModel, Progress
from ddpm_bench.schedule import NoiseSchedule

Array = npt.NDArray[Any]

HALF_BIN = 1 / 255
"""Half the distance between neighbouring 8-bit pixels in [-1, 1] (Ho et al. 2020, section 3.3)."""

LAST_LEVEL = 0.999
"""A pixel beyond this in magnitude is -1 or 1 and its bin open (Ho et al. 2020, Eq. 13; the number is their code's)."""

SQRT_2 = math.sqrt(2)
LOG_SQRT_2_PI = math.log(2 * math.pi) / 2

MOST_AT_ONCE = 2**18
"""Numbers in one batch of time steps of `vlb_terms`: enough to make launching cheap, few enough to stay in a cache."""


def normal_kl(mean_1: Tensor, log_variance_1: Tensor, mean_2: Tensor, log_variance_2: Tensor) -> Tensor:
    """KL(N(mean_1, exp(log_variance_1)) || N(mean_2, exp(log_variance_2))), elementwise, in nats.

    (exp(d) - 1 - d + (mean_1 - mean_2)^2 / exp(log_variance_2)) / 2 with d = log_variance_1 - log_variance_2.

    All of one shape and floating dtype; so is the result. Raises `ShapeError`.
    """
    check_alike((mean_1, log_variance_1, mean_2, log_variance_2))
    distance = _double(mean_1) - _double(mean_2)
    log_ratio = _double(log_variance_1) - _double(log_variance_2)
    nats = (_exp_minus_tangent(log_ratio) + distance * distance * ops.exp(-_double(log_variance_2))) / 2
    return ops.cast(nats, mean_1.dtype)


def decoder_log_likelihood(x_0: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-probability of the pixel x_0 under the discretised Gaussian, Ho et al. 2020, Eq. 13, elementwise, in nats.

    The mass of N(mean, exp(log_scale)^2) within half a bin of x_0, with Phi exact. The bins of -1 and 1 reach to
    infinity, so that the probabilities of the 256 levels sum to 1 for any mean and scale. Finite however far out.

    `x_0`: levels -1 + 2k/255, k = 0...255. All of one shape and floating dtype; so is the result. Raises `ShapeError`.
    """
    check_alike((x_0, mean, log_scale))
    x = _double(x_0)
    half_bin, last_level = Tensor(HALF_BIN, ms.float64), Tensor(LAST_LEVEL, ms.float64)
    offset, per_scale = x - _double(mean), ops.exp(-_double(log_scale))
    lower, upper = (offset - half_bin) * per_scale, (offset + half_bin) * per_scale
    # By symmetry the mass above `lower` is the mass below `-lower`.
    open_bin = _log_phi(ops.where(x < 0, upper, -lower))
    nats = ops.where(ops.abs(x) > last_level, open_bin, _log_mass_between(lower, upper))
    return ops.cast(nats, x_0.dtype)


def bits_per_dim(nats: Array | float, num_dims: int) -> Any:
    """`nats` per image of `num_dims` = C H W numbers as bits per dimension: nats / (D ln 2)."""
    return nats / (num_dims * math.log(2))


class VariationalBound(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """The terms of Eq. 5 for the reverse process of `diffusion`, in float64 whatever its dtype.

    Each method returns nats per image, (B,) float64, summed over the image's dimensions.
    """

    def __init__(self, diffusion: GaussianDiffusion) -> None:
        super().__init__()
        schedule = diffusion.schedule
        self.num_timesteps = schedule.num_timesteps
        self.dtype = diffusion.dtype
        self.process = GaussianDiffusion(
            schedule, variance=diffusion.variance, clip_x_0=diffusion.clip_x_0, dtype=ms.float64
        )
        self.posterior_log_variance = Tensor(schedule.posterior_log_variance)
        self.reverse_log_variance = Tensor(np.log(self.process.reverse_variance.asnumpy()))
        self.last_signal = Tensor(schedule.sqrt_alpha_bar[-1])
        self.last_log_variance = Tensor(_last_log_variance(schedule))

    def noised(self, x_0: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """x_t of Eq. 4 in float64, and the same rounded to the dtype that the network takes.

        `x_0`, `eps`: (B, ...). `t`: (B,) int32.
        """
        x_t = self.process.q_sample(_double(x_0), t, _double(eps))
        return x_t, ops.cast(x_t, self.dtype)

    def prior(self, x_0: Tensor) -> Tensor:
        """L_T = KL(q(x_T | x_0) || N(0, I)) for images `x_0` (B, ...): what the chain's end still tells of them."""
        mean = self.last_signal * _double(x_0)
        standard = ops.zeros_like(mean)
        return _sum_per_image(normal_kl(mean, self.last_log_variance + standard, standard, standard))

    def kl(self, x_0: Tensor, x_t: Tensor, t: Tensor, eps_hat: Tensor) -> Tensor:
        """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) for a network that answers `eps_hat`.

        `x_0`, `x_t`, `eps_hat`: (B, ...). `t`: (B,) int32, at least 1: at t = 0 the term is `decoder`.
        """
        true_mean, _ = self.process.q_posterior(_double(x_0), _double(x_t), t)
        mean, _ = self.process.p_mean_variance(_double(x_t), t, _double(eps_hat))
        true_log_variance = _like(mean, ops.gather(self.posterior_log_variance, t, 0))
        log_variance = _like(mean, ops.gather(self.reverse_log_variance, t, 0))
        return _sum_per_image(normal_kl(true_mean, true_log_variance, mean, log_variance))

    def decoder(self, x_0: Tensor, x_1: Tensor, t: Tensor, eps_hat: Tensor) -> Tensor:
        """L_0 = -log p(x_0 | x_1), with the width of `replace_first`. `t`: (B,) int32 zeros, the rest as in `kl`."""
        mean, _ = self.process.p_mean_variance(_double(x_1), t, _double(eps_hat))
        log_scale = _like(mean, ops.gather(self.reverse_log_variance, t, 0)) / 2
        return _sum_per_image(-decoder_log_likelihood(_double(x_0), mean, log_scale))


@dataclass(frozen=True)
class VlbTerms:
    """The bound of each image of a batch, in bits per dimension.

    `prior` (B,): L_T. `kl` (T - 1, B): the terms between, kl[t - 1] for the 0-based time step t >= 1. `decoder` (B,):
    L_0. `total` (B,): their sum.
    """

    prior: Array
    kl: Array
    decoder: Array
    total: Array


def vlb_terms(eps_model: EpsModel, bound: Any, x_0: Array, eps: Array, *, progress: Progress | None = None) -> VlbTerms:
    """The bound of images `x_0` (B, ...) with one draw of noise per time step, Ho et al. 2020, Eq. 5.

    `eps_model(x_t, t) -> eps_hat`: on tensors of the process's dtype, called once for each time step, from T-1 to 0.
    `bound`: a `VariationalBound`, or its `ddpm_bench.sample.Compiled` form. `eps`: (T, B, ...), eps[t] makes x_t.
    `progress`: called now and then with the steps done and their total. The result has the process's dtype.

    Raises `ShapeError` if `eps` does not fit.
    """
    total = bound.num_timesteps
    if eps.shape != (total, *x_0.shape):
        raise ShapeError(f"eps has shape {eps.shape}; {total} steps of x_0 {x_0.shape} need {(total, *x_0.shape)}")
    images = Tensor(x_0, bound.dtype)
    nats = [bound.prior(images).asnumpy()[None]]
    batches = -(-(total - 1) * x_0.size // MOST_AT_ONCE)
    for steps in [*np.array_split(np.arange(total - 1, 0, -1), max(batches, 1)), np.array([0])]:
        if steps.size:
            nats.append(_terms(eps_model, bound, images.asnumpy(), eps, steps))
        if progress is not None:
            progress(total - int(steps.min(initial=total)), total)
    bits = bits_per_dim(np.concatenate(nats), math.prod(x_0.shape[1:]))
    terms = (bits[0], bits[-2:0:-1], bits[-1], bits.sum(axis=0))
    return VlbTerms(*(term.astype(images.asnumpy().dtype) for term in terms))


def _terms(eps_model: EpsModel, bound: Any, x_0: Array, eps: Array, steps: npt.NDArray[np.int64]) -> Array:
    """The terms (K, B), in nats, of the (K,) time `steps`, which are either all at least 1 or only 0.

    The network sees one time step at a call, all else the K of them as one batch: most of it is launching operators.
    """
    t = Tensor(np.repeat(steps, len(x_0)).astype(np.int32))
    images = Tensor(np.tile(x_0, (len(steps),) + (1,) * (x_0.ndim - 1)))
    x_t, seen = bound.noised(images, t, Tensor(eps[steps].reshape(images.shape), bound.dtype))
    answers = [
        eps_model(Tensor(x), Tensor(np.full(len(x_0), step, np.int32))).asnumpy()
        for x, step in zip(np.split(seen.asnumpy(), len(steps)), steps, strict=True)
    ]
    term = bound.kl if steps[0] > 0 else bound.decoder
    nats: Array = term(images, x_t, t, Tensor(np.concatenate(answers))).asnumpy()
    return nats.reshape(len(steps), len(x_0))


def _last_log_variance(schedule: NoiseSchedule) -> np.float64:
    """log(1 - alpha_bar_T), from whichever of the two is small: near 1 the logarithm is all in the other one."""
    alpha_bar, variance = schedule.alpha_bar[-1], schedule.one_minus_alpha_bar[-1]
    return np.float64(np.log1p(-alpha_bar) if alpha_bar < variance else np.log(variance))


def _exp_minus_tangent(x: Tensor) -> Tensor:
    """exp(x) - 1 - x in float64, to a few units of the last place also where that is nearly x^2 / 2.

    Near 0 by x^2/2 (1 + x/3 (1 + x/4 (...))): the 14 terms leave 2 (1/2)^14 / 16! < 1e-17 of it at |x| = 1/2.
    """
    series = ops.ones_like(x)
    for k in range(16, 2, -1):
        series = 1 + x * series / k
    return ops.where(ops.abs(x) < 0.5, x * x / 2 * series, ops.exp(x) - 1 - x)


def _log_phi(z: Tensor) -> Tensor:
    """Log of the standard normal distribution function, in float64, finite and increasing for all z.

    erfc gives Phi itself until it underflows at -37. From -30 on it is the density over |z| times Mills' ratio
    1 - 1/z^2 + 3/z^4 - 15/z^6 + ..., whose first term left out is 135135 / 30^14 < 3e-16.
    """
    beyond = ops.erfc(ops.abs(z) / Tensor(SQRT_2, ms.float64)) / 2
    inverse = 1 / (z * z)
    mills = ops.ones_like(z)
    for k in range(11, 0, -2):
        mills = 1 - k * inverse * mills
    tail = ops.log(mills) - z * z / 2 - ops.log(ops.abs(z)) - Tensor(LOG_SQRT_2_PI, ms.float64)
    left = ops.where(z < -30, tail, ops.log(beyond))
    return ops.where(z < 0, left, _log_1_minus(beyond))


def _log_1_minus(q: Tensor) -> Tensor:
    """log(1 - q) for 0 <= q <= 1/2 in float64, exact for small q as well.

    MindSpore's log1p is log(1 + x). Kahan's remedy: what rounding did to 1 - q is undone by the factor.
    """
    p = 1 - q
    lost = 1 - p
    return ops.where(lost == 0, -q, ops.log(p) * (q / lost))


def _log_mass_between(lower: Tensor, upper: Tensor) -> Tensor:
    """log(Phi(upper) - Phi(lower)) for lower < upper, in float64, without forming the difference.

    Reflected to the left of 0, where Phi keeps its digits, it is log Phi(b) + log(1 - exp(-gap)), with the gap between
    the logs of Phi(b) and Phi(a); and 1 - exp(-gap) = 2s / (1 + s) with s = tanh(gap / 2).
    """
    right = lower + upper > 0
    a, b = ops.where(right, -upper, lower), ops.where(right, -lower, upper)
    log_b = _log_phi(b)
    s = ops.tanh((log_b - _log_phi(a)) / 2)
    return log_b + ops.log(2 * s / (1 + s))


def _double(x: Tensor) -> Tensor:
    return ops.cast(x, ms.float64)


def _like(x: Tensor, entry: Tensor) -> Tensor:
    """A (B,) table entry repeated over all of `x` (B, ...)."""
    return ops.broadcast_to(ops.reshape(entry, (-1,) + (1,) * (x.ndim - 1)), x.shape)


def _sum_per_image(x: Tensor) -> Tensor:
    """(B, ...) to (B,)."""
    return ops.sum(ops.reshape(x, (x.shape[0], -1)), 1)


def check_alike(arrays: tuple[Tensor, ...]) -> None:
    """Raise `ShapeError` unless all `arrays` have one shape and one floating dtype."""
    _check_alike(tuple([x.shape for x in arrays]), tuple([x.dtype for x in arrays]))


@ops.constexpr  # type: ignore[untyped-decorator]  # runs while a graph is compiled, when shapes are known
def _check_alike(shapes: tuple[tuple[int, ...], ...], dtypes: tuple[ms.Type, ...]) -> bool:
    if len(set(shapes)) != 1:
        raise ShapeError(f"arrays of shapes {', '.join(map(str, shapes))} cannot be combined; give them one shape")
    if len(set(dtypes)) != 1 or dtypes[0] not in (ms.float16, ms.bfloat16, ms.float32, ms.float64):
        raise ShapeError(f"arrays of dtype {', '.join(map(str, dtypes))}; give them one floating dtype")
    return True
