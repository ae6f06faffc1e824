"""The diffusion process on MindSpore tensors: Ho et al. 2020, Eqs. 2 to 12, and the DDIM step of Song et al. 2021.

| To find | Look at |
|---|---|
| Eq. 2, one step of noise | `q_step` |
| Eq. 4, x_t straight from x_0 | `q_sample` |
| Eqs. 6 and 7, the posterior | `q_posterior` |
| Eq. 11, the mean the network stands for | `p_mean_variance` |
| Algorithm 2, one step of the sampler | `p_step`; the loop is `ddpm_bench.sample.ancestral` |
| Eq. 14, L_simple | `loss` |

Every method takes and returns tensors, draws nothing at random, works in PyNative and inside `mindspore.jit`, and takes
samples of any trailing shape: `x` is (B, ...), `t` is (B,) int32, 0-based. All arrays have the `dtype` of the process.
`ShapeError` is raised unless they do; nothing is broadcast but a table entry over its own sample.

A `t` outside 0...T-1 cannot be refused here: its value is not known while a graph is compiled, and MindSpore's gather
takes -1 for the last entry. `ddpm_bench.sample` and `ddpm_bench.subject`, where the values are still NumPy, refuse it.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ddpm_bench.errors import ShapeError, unknown_name
from ddpm_bench.schedule import Array, NoiseSchedule, replace_first

VARIANCES: tuple[str, ...] = ("posterior", "beta")
"""sigma_t^2 of the reverse step, Ho et al. 2020, section 3.2: Eq. 7's ("fixed small") or beta_t ("fixed large")."""

PARAMETERIZATIONS: tuple[str, ...] = ("eps", "x_0", "v")
"""What the network's output stands for."""


class GaussianDiffusion(nn.Cell):  # type: ignore[misc]  # MindSpore has no type information
    """Forward and reverse process of one `schedule`.

    `variance`: one of `VARIANCES`. `clip_x_0`: clip the x_0 that eps_hat stands for to [-1, 1] before it is used.
    `parameterization`: one of `PARAMETERIZATIONS`. `dtype`: of every array; the float64 tables are cast to it once.

    Raises `ConfigError` for an unknown variance or parameterization.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        *,
        variance: str = "posterior",
        clip_x_0: bool = False,
        parameterization: str = "eps",
        dtype: ms.Type = ms.float32,
    ) -> None:
        super().__init__()
        if variance not in VARIANCES:
            raise unknown_name("variance", variance, VARIANCES)
        if parameterization not in PARAMETERIZATIONS:
            raise unknown_name("parameterization", parameterization, PARAMETERIZATIONS)
        self.schedule = schedule
        self.num_timesteps = schedule.num_timesteps
        self.variance = variance
        self.clip_x_0 = clip_x_0
        self.parameterization = parameterization
        self.dtype = dtype
        self._make_forward_tables()
        self._make_reverse_tables()
        self._make_ddim_tables()

    # Forward process

    def q_step(self, x_prev: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t from x_{t-1}: sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps, Ho et al. 2020, Eq. 2.

        `x_prev`, `eps`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_prev, eps)
        return self._at(self.sqrt_alpha, t, x_prev) * x_prev + self._at(self.sqrt_beta, t, eps) * eps

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t from x_0: sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, Ho et al. 2020, Eq. 4.

        `x_0`, `eps`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_0, eps)
        signal = self._at(self.sqrt_alpha_bar, t, x_0)
        noise = self._at(self.sqrt_one_minus_alpha_bar, t, eps)
        return signal * x_0 + noise * eps

    def q_posterior(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(x_{t-1} | x_t, x_0), Ho et al. 2020, Eqs. 6 and 7.

        `x_0`, `x_t`: (B, ...). `t`: (B,) int32. Returns mean (B, ...) and variance (B, 1, ...), which at t = 0 are x_0
        and 0. Raises `ShapeError`.
        """
        self._check(t, x_0, x_t)
        coef_x_0 = self._at(self.posterior_coef_x_0, t, x_0)
        coef_x_t = self._at(self.posterior_coef_x_t, t, x_t)
        return coef_x_0 * x_0 + coef_x_t * x_t, self._at(self.posterior_variance, t, x_t)

    # What x_0, eps, v and the score say about each other: Eq. 4 solved for its parts

    def predict_x_0(self, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The x_0 that `eps` turned into `x_t`: (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t), from Eq. 4.

        `x_t`, `eps`: (B, ...). `t`: (B,) int32. Returns (B, ...), never clipped. Raises `ShapeError`.
        """
        self._check(t, x_t, eps)
        return self._at(self.inverse_signal, t, x_t) * x_t - self._at(self.noise_over_signal, t, eps) * eps

    def predict_eps(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> Tensor:
        """The eps that turned `x_0` into `x_t`: (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t), from Eq. 4.

        `x_t`, `x_0`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_t, x_0)
        return self._at(self.inverse_noise, t, x_t) * x_t - self._at(self.signal_over_noise, t, x_0) * x_0

    def velocity(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The velocity v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0, Salimans & Ho 2022, section 4.

        (x_t, v) is (x_0, eps) rotated. `x_0`, `eps`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_0, eps)
        signal = self._at(self.sqrt_alpha_bar, t, eps)
        noise = self._at(self.sqrt_one_minus_alpha_bar, t, x_0)
        return signal * eps - noise * x_0

    def predict_x_0_from_v(self, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """The x_0 of a velocity: sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v, Salimans & Ho 2022, section 4.

        `x_t`, `v`: (B, ...). `t`: (B,) int32. Returns (B, ...), never clipped. Raises `ShapeError`.
        """
        self._check(t, x_t, v)
        signal = self._at(self.sqrt_alpha_bar, t, x_t)
        noise = self._at(self.sqrt_one_minus_alpha_bar, t, v)
        return signal * x_t - noise * v

    def predict_eps_from_v(self, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """The eps of a velocity: sqrt(1 - alpha_bar_t) x_t + sqrt(alpha_bar_t) v, the other half of the rotation.

        `x_t`, `v`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_t, v)
        signal = self._at(self.sqrt_alpha_bar, t, v)
        noise = self._at(self.sqrt_one_minus_alpha_bar, t, x_t)
        return noise * x_t + signal * v

    def score(self, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Gradient of log q(x_t | x_0) with respect to x_t: -eps / sqrt(1 - alpha_bar_t), from Eq. 4.

        `x_t` (only its shape matters), `eps`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_t, eps)
        return -self._at(self.inverse_noise, t, eps) * eps

    # Reverse process

    def p_mean_variance(self, x_t: Tensor, t: Tensor, eps_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of p(x_{t-1} | x_t) for a network that answers `eps_hat`, Ho et al. 2020, Eq. 11.

        With `clip_x_0` the mean is Eq. 7's at the clipped x_0; without, Eqs. 7 and 11 say the same, and Eq. 11 is used
        because it does not pass through an x_0 that may be thousands of times larger than the result.

        `x_t`, `eps_hat`: (B, ...). `t`: (B,) int32. Returns mean (B, ...) and variance (B, 1, ...), positive: its entry
        for t = 0 is the one that `replace_first` describes. Raises `ShapeError`.
        """
        self._check(t, x_t, eps_hat)
        variance = self._at(self.reverse_variance, t, x_t)
        if self.clip_x_0:
            x_0 = clip_to_range(self.predict_x_0(x_t, t, eps_hat))
            return self.q_posterior(x_0, x_t, t)[0], variance
        coef_x_t = self._at(self.mean_coef_x_t, t, x_t)
        coef_eps = self._at(self.mean_coef_eps, t, eps_hat)
        return coef_x_t * x_t - coef_eps * eps_hat, variance

    def p_step(self, x_t: Tensor, t: Tensor, eps_hat: Tensor, z: Tensor) -> Tensor:
        """x_{t-1} = mean + sigma_t z, one pass through the loop of Ho et al. 2020, Algorithm 2. At t = 0 without noise.

        `x_t`, `eps_hat`, `z` (standard normal): (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_t, z)
        mean, _ = self.p_mean_variance(x_t, t, eps_hat)
        return mean + self._at(self.sigma, t, z) * z

    def ddim_step(
        self, x_t: Tensor, t: Tensor, t_prev: Tensor, eps_hat: Tensor, z: Tensor, eta: Tensor | float
    ) -> Tensor:
        """One step from `t` to `t_prev`, Song et al. 2021 (DDIM), Eqs. 12 and 16, with ' for entries at `t_prev`:

            sqrt(alpha_bar') x_0 + sqrt(1 - alpha_bar' - sigma^2) eps_hat + sigma z,
            sigma^2 = eta^2 (1 - alpha_bar') / (1 - alpha_bar) (1 - alpha_bar / alpha_bar').

        eta = 0 ignores z; eta = 1 from t to t - 1 is `p_step` with the posterior variance. With `clip_x_0`, x_0 is
        clipped and eps_hat derived anew from it.

        `x_t`, `eps_hat`, `z`: (B, ...). `t`: (B,) int32. `t_prev`: (B,) int32, -1...t-1, where -1 is x_0 itself.
        `eta`: a 0-d float64 tensor, or a float (compiled in, so that each new one compiles again), from 0 to 1.
        Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_t, eps_hat)
        self._check(t_prev, x_t, z)
        signal_prev, direction, sigma = self._ddim_coefficients(t, t_prev, eta)
        noise = self._over(sigma, z) * z
        if self.clip_x_0:
            x_0 = clip_to_range(self.predict_x_0(x_t, t, eps_hat))
            eps = self.predict_eps(x_t, t, x_0)
            return self._over(signal_prev, x_0) * x_0 + self._over(direction, eps) * eps + noise
        # As in p_mean_variance: x_0 written out, so that nothing large is formed only to cancel.
        gain = signal_prev / ops.gather(self.signal_64, t, 0)
        coef_eps = direction - gain * ops.gather(self.noise_64, t, 0)
        return self._over(gain, x_t) * x_t + self._over(coef_eps, eps_hat) * eps_hat + noise

    # Training objective

    def target(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """What the network should answer for `q_sample(x_0, t, eps)`: eps, x_0 or v, as `parameterization` says.

        `x_0`, `eps`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, x_0, eps)
        if self.parameterization == "eps":
            return eps
        if self.parameterization == "x_0":
            return x_0
        return self.velocity(x_0, t, eps)

    def eps_from_output(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The eps_hat that a network's `output` stands for, the inverse of `target`.

        `output`, `x_t`: (B, ...). `t`: (B,) int32. Returns (B, ...). Raises `ShapeError`.
        """
        self._check(t, output, x_t)
        if self.parameterization == "eps":
            return output
        if self.parameterization == "x_0":
            return self.predict_eps(x_t, t, output)
        return self.predict_eps_from_v(x_t, t, output)

    def loss(self, output: Tensor, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """L_simple, Ho et al. 2020, Eq. 14: mean over all elements of (target - output)^2, for the `target` above.

        `output` (for `q_sample(x_0, t, eps)`, the same eps), `x_0`, `eps`: (B, ...). `t`: (B,) int32. Returns a scalar.
        Raises `ShapeError`.
        """
        self._check(t, output, x_0)
        return ops.mean(ops.square(self.target(x_0, t, eps) - output))

    # Tables

    def _make_forward_tables(self) -> None:
        """Coefficients of Eqs. 2 and 4 and of Eq. 4 solved for x_0 and eps, each (T,)."""
        s = self.schedule
        signal, noise = s.sqrt_alpha_bar, s.sqrt_one_minus_alpha_bar
        self.sqrt_alpha = self._cast(np.sqrt(s.alpha))
        self.sqrt_beta = self._cast(np.sqrt(s.beta))
        self.sqrt_alpha_bar = self._cast(signal)
        self.sqrt_one_minus_alpha_bar = self._cast(noise)
        self.inverse_signal = self._cast(1 / signal)
        self.inverse_noise = self._cast(1 / noise)
        self.noise_over_signal = self._cast(noise / signal)
        self.signal_over_noise = self._cast(signal / noise)

    def _make_reverse_tables(self) -> None:
        """Coefficients of Eqs. 7 and 11 and the reverse variances, each (T,)."""
        s = self.schedule
        variance = replace_first(s.posterior_variance if self.variance == "posterior" else s.beta, s)
        self.posterior_coef_x_0 = self._cast(s.posterior_coef_x_0)
        self.posterior_coef_x_t = self._cast(s.posterior_coef_x_t)
        self.posterior_variance = self._cast(s.posterior_variance)
        self.mean_coef_x_t = self._cast(1 / np.sqrt(s.alpha))
        self.mean_coef_eps = self._cast(s.beta / (np.sqrt(s.alpha) * s.sqrt_one_minus_alpha_bar))
        self.reverse_variance = self._cast(variance)
        # The last step returns the mean (Algorithm 2, "else z = 0"): a table entry, not a branch on t.
        self.sigma = self._cast(np.sqrt(np.concatenate([[0.0], variance[1:]])))

    def _make_ddim_tables(self) -> None:
        """Float64 tables for `ddim_step`, (T,), and (T + 1,) with x_0's own entry first for the step before."""
        s = self.schedule
        one_over_snr = s.one_minus_alpha_bar / s.alpha_bar
        self.signal_64 = Tensor(s.sqrt_alpha_bar)
        self.noise_64 = Tensor(s.sqrt_one_minus_alpha_bar)
        self.one_over_snr_64 = Tensor(one_over_snr)
        self.signal_prev_64 = Tensor(np.append(1.0, s.sqrt_alpha_bar))
        self.variance_prev_64 = Tensor(np.append(0.0, s.one_minus_alpha_bar))
        self.one_over_snr_prev_64 = Tensor(np.append(0.0, one_over_snr))

    def _ddim_coefficients(self, t: Tensor, t_prev: Tensor, eta: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """sqrt(alpha_bar'), sqrt(1 - alpha_bar' - sigma^2) and sigma, each (B,) float64.

        With rho = SNR_t / SNR' the variance is sigma^2 = eta^2 (1 - alpha_bar') (1 - rho). Float64, and this form,
        because beta = 1 - alpha_bar / alpha_bar' of neighbours would keep only three digits in float32.
        """
        if not isinstance(eta, Tensor):
            # MindSpore rounds a Python float to float32 even beside float64 tensors (2.7.0 to 2.10.0).
            eta = Tensor(eta, ms.float64)
        # Entry 0 belongs to t_prev = -1, hence + 1: gather itself would wrap -1 to the last entry.
        signal_prev = ops.gather(self.signal_prev_64, t_prev + 1, 0)
        variance_prev = ops.gather(self.variance_prev_64, t_prev + 1, 0)
        rho = ops.gather(self.one_over_snr_prev_64, t_prev + 1, 0) / ops.gather(self.one_over_snr_64, t, 0)
        random_share = eta * eta * (1 - rho)
        return signal_prev, ops.sqrt(variance_prev * (1 - random_share)), ops.sqrt(variance_prev * random_share)

    def _cast(self, table: Array) -> Tensor:
        """The float64 `table`, rounded once to the dtype of the process."""
        return Tensor(table, self.dtype)

    # Shapes

    def _at(self, table: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """Entries of `table` at `t`, shaped (B, 1, ...) with the rank of `x`."""
        return ops.reshape(ops.gather(table, t, 0), (-1,) + (1,) * (x.ndim - 1))

    def _over(self, coefficient: Tensor, x: Tensor) -> Tensor:
        """A float64 (B,) coefficient in the process's dtype, shaped (B, 1, ...) with the rank of `x`."""
        return ops.reshape(ops.cast(coefficient, self.dtype), (-1,) + (1,) * (x.ndim - 1))

    def _check(self, t: Tensor, x: Tensor, y: Tensor) -> None:
        """Raise `ShapeError` unless `t` is (B,) and `x`, `y` are (B, ...), of one shape and the process's dtype."""
        check_batch(t.shape, t.dtype, (x.shape, y.shape))
        check_dtype(self.dtype, (x.dtype, y.dtype))


def clip_to_range(x_0: Tensor) -> Tensor:
    """`x_0` with values outside [-1, 1], the range of images, moved to the nearer end; NaN stays NaN.

    By `where`, as on CPU (2.7.0 to 2.10.0) MindSpore's clamp, minimum and maximum turn NaN into a bound, so that a
    network that has diverged would return flat images, and masked_fill rounds float64 to float32.
    """
    one = ops.ones_like(x_0)
    return ops.where(x_0 > 1, one, ops.where(x_0 < -1, -one, x_0))


@ops.constexpr  # type: ignore[untyped-decorator]  # runs while a graph is compiled, when shapes are known, and may raise there
def check_batch(t_shape: tuple[int, ...], t_dtype: ms.Type, shapes: tuple[tuple[int, ...], ...]) -> bool:
    """True, or `ShapeError` unless all `shapes` are one (B, ...) and `t` is (B,) of an integer type."""
    if len(set(shapes)) != 1:
        raise ShapeError(f"arrays of shapes {', '.join(map(str, shapes))} cannot be combined; give them one shape")
    if len(t_shape) != 1 or t_shape != shapes[0][:1]:
        raise ShapeError(
            f"t has shape {t_shape} beside samples of shape {shapes[0]}; give one time step per sample, {shapes[0][:1]}"
        )
    if t_dtype not in (ms.int32, ms.int64):
        raise ShapeError(f"t has dtype {t_dtype}; give whole-number time steps, int32 or int64")
    return True


@ops.constexpr  # type: ignore[untyped-decorator]  # as above
def check_dtype(dtype: ms.Type, dtypes: tuple[ms.Type, ...]) -> bool:
    """True, or `ShapeError` unless all `dtypes` are `dtype`."""
    if any(given != dtype for given in dtypes):
        raise ShapeError(f"arrays of dtype {', '.join(map(str, dtypes))} given to a {dtype} process; cast them first")
    return True
