"""A whole DDPM in plain NumPy, correct on purpose: what the judge must never fail, and what its mutants are made of.

Each method is the paper's formula, written once and not optimised. A forward process that adds noise,

    q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I)                        Ho et al. 2020, Eq. 4,

and a reverse process that asks a model for the noise and takes part of it away. Coefficients are made in float64 and
cast once, to `dtype`, where they meet the images. It takes its formulas from the paper alone: it shares no code with
`oracle.py`, which reaches the same numbers another way, nor with any implementation under test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, log_ndtr

from verification.protocol import Array, EpsModel
from verification.reference_random import RandomDraws

if TYPE_CHECKING:  # made of more than most runs need
    from verification.reference_network import ReferenceNetwork

SCHEDULES = ("linear", "cosine", "quadratic", "sigmoid", "constant", "jsd", "warmup10", "warmup50")
VARIANCES = ("posterior", "beta")
PARAMETERIZATIONS = ("eps", "x_0", "v")
DTYPES = ("float64", "float32", "float16")
BETA_START, BETA_END = 1e-4, 0.02
COSINE_OFFSET, MAX_BETA = 0.008, 0.999


def betas(name: str, T: int) -> Array:
    """The forward variances beta_1 ... beta_T, (T,) float64.

    linear: Ho et al. 2020, section 4; quadratic, constant, jsd, warm-up: their code, `get_beta_schedule`; cosine:
    Nichol and Dhariwal 2021, Eq. 17; sigmoid: the code of Song et al. 2021. jsd ends at 1, where nothing of x_0 would
    be left, so it is capped as the cosine schedule is.
    """
    if name == "linear":
        return np.linspace(BETA_START, BETA_END, T)
    if name == "quadratic":
        return np.asarray(np.linspace(BETA_START**0.5, BETA_END**0.5, T) ** 2)
    if name == "sigmoid":
        return np.asarray(BETA_START + (BETA_END - BETA_START) * expit(np.linspace(-6, 6, T)))
    if name == "constant":
        return np.full(T, BETA_END)
    if name == "jsd":
        return np.asarray(np.minimum(1 / np.arange(T, 0, -1), MAX_BETA))
    if name == "cosine":
        angle = (np.arange(T + 1) / T + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi / 2
        signal = np.cos(angle) ** 2
        return np.asarray(np.minimum(1 - signal[1:] / signal[:-1], MAX_BETA))
    warm = int(T * {"warmup10": 0.1, "warmup50": 0.5}[name])
    return np.concatenate([np.linspace(BETA_START, BETA_END, warm), np.full(T - warm, BETA_END)])


def declared(name: str) -> dict[str, Any]:
    """What a subject says of the schedule `name`, with the numbers that define it."""
    if name == "cosine":
        return {"name": name, "s": COSINE_OFFSET, "max_beta": MAX_BETA}
    if name == "jsd":
        return {"name": name, "max_beta": MAX_BETA}
    if name == "constant":
        return {"name": name, "beta_end": BETA_END}
    return {"name": name, "beta_start": BETA_START, "beta_end": BETA_END}


def _one_of(kind: str, given: object, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"unknown {kind} {given!r}: known are {', '.join(known)}")


class ReferenceSubject(RandomDraws):
    """A complete DDPM; see `protocol.Subject` for what each method means. Raises `ValueError` on an unknown choice."""

    def __init__(
        self,
        schedule: str = "linear",
        num_timesteps: int = 1000,
        variance: str = "posterior",
        clip_x_0: bool = False,
        *,
        parameterization: str = "eps",
        dtype: str = "float64",
        network: bool = False,
    ) -> None:
        _one_of("schedule", schedule, SCHEDULES)
        _one_of("variance", variance, VARIANCES)
        _one_of("parameterization", parameterization, PARAMETERIZATIONS)
        _one_of("dtype", dtype, DTYPES)
        if num_timesteps < 1:
            raise ValueError(f"num_timesteps is {num_timesteps}: it must be at least 1")
        self._choices: dict[str, Any] = {"schedule": schedule, "num_timesteps": num_timesteps, "variance": variance}
        self._choices |= {"clip_x_0": clip_x_0, "parameterization": parameterization, "dtype": dtype}
        self.name = f"reference {schedule}-{num_timesteps} {variance}{' clipped' if clip_x_0 else ''} {dtype}"
        self.schedule: Mapping[str, Any] | None = declared(schedule)
        self.num_timesteps = num_timesteps
        self.variance = variance
        self.clip_x_0 = clip_x_0
        self.parameterization = parameterization
        self.dtype = dtype
        self._make_tables(betas(schedule, num_timesteps))
        if network:
            self._add_network()

    def _make_tables(self, beta: Array) -> None:
        """Every coefficient of the two processes from beta, (T,) float64."""
        self.beta = beta
        self.alpha = 1 - beta
        self.alpha_bar = np.cumprod(self.alpha)
        self.alpha_bar_prev = np.append(1.0, self.alpha_bar[:-1])
        self.posterior_variance = beta * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)  # Eq. 7
        self.posterior_coef_x_0 = np.sqrt(self.alpha_bar_prev) * beta / (1 - self.alpha_bar)  # Eq. 7
        self.posterior_coef_x_t = np.sqrt(self.alpha) * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)  # Eq. 7
        # At t = 1 the posterior variance is 0 and has no logarithm: the next one stands in, as in the paper's code.
        first = self.posterior_variance[1] if len(beta) > 1 else beta[0]
        replaced = np.append(first, self.posterior_variance[1:])
        self.posterior_log_variance = np.log(replaced)
        self.model_variance = replaced if self.variance == "posterior" else np.append(first, beta[1:])

    def _add_network(self) -> None:
        """A small U-Net; without it the subject lacks these, and the checks that need them are skipped."""
        from verification.reference_network import ReferenceNetwork  # only when one is asked for
        from verification.reference_training import TrainingRuns

        self._use_network(ReferenceNetwork(dtype=self.dtype))
        self.training_run = TrainingRuns(self).training_run

    def _use_network(self, made: ReferenceNetwork) -> None:
        self.network_config = made.config
        self.network = made.forward
        self.network_with = made.at
        self.weights = made.weights
        self.initial_weights = made.initial_weights
        self.network_gradient = made.gradient

    def variant(self, **choices: Any) -> ReferenceSubject:
        """The same with other choices; raises `ValueError` on a choice that does not exist."""
        for name in choices:
            _one_of("choice", name, tuple(self._choices))
        return type(self)(**{**self._choices, **choices}, network=hasattr(self, "network"))

    def tables(self) -> dict[str, Array]:
        """The tables, (T,) each, in the subject's dtype."""
        made = {
            "beta": self.beta,
            "alpha": self.alpha,
            "alpha_bar": self.alpha_bar,
            "alpha_bar_prev": self.alpha_bar_prev,
            "sqrt_alpha_bar": np.sqrt(self.alpha_bar),
            "sqrt_one_minus_alpha_bar": np.sqrt(1 - self.alpha_bar),
            "posterior_variance": self.posterior_variance,
            "posterior_log_variance": self.posterior_log_variance,
            "posterior_coef_x_0": self.posterior_coef_x_0,
            "posterior_coef_x_t": self.posterior_coef_x_t,
        }
        return {name: table.astype(self.dtype) for name, table in made.items()}

    def _cast(self, *arrays: Any) -> tuple[Array, ...]:
        return tuple(np.asarray(array, self.dtype) for array in arrays)

    def _at(self, table: Array, t: Array, x: Array) -> Array:
        """The entries `table[t]` in the subject's dtype, shaped (B, 1, ..., 1) to multiply `x`, (B, ...)."""
        t = np.asarray(t)
        if t.shape != x.shape[:1]:
            raise ValueError(f"t has shape {t.shape}: it must be {x.shape[:1]}, one time step for each image")
        if t.min(initial=0) < 0 or t.max(initial=0) >= len(table):
            raise ValueError(f"t must lie in 0 ... {len(table) - 1}")
        return table[t].astype(self.dtype).reshape(-1, *[1] * (x.ndim - 1))

    # The forward process, and the changes of variable between eps, x_0, v and the score.

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        """Eq. 4."""
        x_0, eps = self._cast(x_0, eps)
        return self._at(np.sqrt(self.alpha_bar), t, x_0) * x_0 + self._at(np.sqrt(1 - self.alpha_bar), t, x_0) * eps

    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        """Eq. 2."""
        x_prev, eps = self._cast(x_prev, eps)
        return self._at(np.sqrt(1 - self.beta), t, x_prev) * x_prev + self._at(np.sqrt(self.beta), t, x_prev) * eps

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        """Eqs. 6 and 7; the variance is (B, 1, ..., 1), and 0 at t = 0."""
        x_0, x_t = self._cast(x_0, x_t)
        mean = self._at(self.posterior_coef_x_0, t, x_0) * x_0 + self._at(self.posterior_coef_x_t, t, x_0) * x_t
        return mean, self._at(self.posterior_variance, t, x_0)

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        """Eq. 4 solved for x_0."""
        x_t, eps = self._cast(x_t, eps)
        noise = self._at(np.sqrt(1 - self.alpha_bar), t, x_t) * eps
        return (x_t - noise) / self._at(np.sqrt(self.alpha_bar), t, x_t)

    def predict_eps(self, x_t: Array, t: Array, x_0: Array) -> Array:
        """Eq. 4 solved for eps."""
        x_t, x_0 = self._cast(x_t, x_0)
        signal = self._at(np.sqrt(self.alpha_bar), t, x_t) * x_0
        return (x_t - signal) / self._at(np.sqrt(1 - self.alpha_bar), t, x_t)

    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        """Salimans and Ho 2022, section 4: v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0."""
        x_0, eps = self._cast(x_0, eps)
        return self._at(np.sqrt(self.alpha_bar), t, x_0) * eps - self._at(np.sqrt(1 - self.alpha_bar), t, x_0) * x_0

    def predict_x_0_from_v(self, x_t: Array, t: Array, v: Array) -> Array:
        """Salimans and Ho 2022, appendix D: x_0 = sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar) v."""
        x_t, v = self._cast(x_t, v)
        return self._at(np.sqrt(self.alpha_bar), t, x_t) * x_t - self._at(np.sqrt(1 - self.alpha_bar), t, x_t) * v

    def score(self, x_t: Array, t: Array, eps: Array) -> Array:
        """The gradient of log q(x_t | x_0) with respect to x_t."""
        x_t, eps = self._cast(x_t, eps)
        return -eps / self._at(np.sqrt(1 - self.alpha_bar), t, x_t)

    # The reverse process.

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        """Eq. 11: the posterior mean at the x_0 that `eps_hat` implies; the variance is (B, 1, ..., 1)."""
        x_0 = self.predict_x_0(x_t, t, eps_hat)
        if self.clip_x_0:
            x_0 = np.clip(x_0, -1, 1)
        mean, _ = self.q_posterior(x_0, x_t, t)
        return mean, self._at(self.model_variance, t, mean)

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        """Algorithm 2, lines 3 and 4: no noise in the last step, which is t = 0."""
        mean, _ = self.p_mean_variance(x_t, t, eps_hat)
        (z,) = self._cast(z)
        sigma = np.append(0.0, np.sqrt(self.model_variance[1:]))
        return mean + self._at(sigma, t, mean) * z

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        """Song et al. 2021, Eqs. 12 and 16; `t_prev` = -1 goes to x_0, where alpha_bar is 1."""
        x_t, eps_hat, z = self._cast(x_t, eps_hat, z)
        x_0 = self.predict_x_0(x_t, t, eps_hat)
        if self.clip_x_0:
            x_0 = np.clip(x_0, -1, 1)
            eps_hat = self.predict_eps(x_t, t, x_0)
        here = self.alpha_bar[t]
        there = np.append(1.0, self.alpha_bar)[np.asarray(t_prev) + 1]
        variance = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
        each = np.arange(len(x_t))  # these coefficients are per image already
        mean = self._at(np.sqrt(there), each, x_t) * x_0
        direction = self._at(np.sqrt(np.maximum(1 - there - variance, 0)), each, x_t) * eps_hat
        return mean + direction + self._at(np.sqrt(variance), each, x_t) * z

    def timesteps(self, num_steps: int) -> Array:
        """Evenly spaced from T - 1 down to 0, rounded down; one step is T - 1 alone."""
        T = self.num_timesteps
        if not 1 <= num_steps <= T:
            raise ValueError(f"num_steps is {num_steps}: it must lie in 1 ... {T}")
        return (T - 1) * np.arange(num_steps - 1, -1, -1) // (num_steps - 1) if num_steps > 1 else np.array([T - 1])

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        """Algorithm 2, from t = T - 1 down to 0."""
        (x,) = self._cast(x_T)
        for i, step in enumerate(range(self.num_timesteps - 1, -1, -1)):
            t = np.full(len(x), step)
            x = self.p_step(x, t, eps_model(x, t), z[i])
        return x

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        """DDIM over `timesteps(num_steps)`, and from the last of them to x_0."""
        (x,) = self._cast(x_T)
        steps = self.timesteps(num_steps)
        for i, (step, step_prev) in enumerate(zip(steps, np.append(steps[1:], -1), strict=True)):
            t, t_prev = np.full(len(x), step), np.full(len(x), step_prev)
            x = self.ddim_step(x, t, t_prev, eps_model(x, t), z[i], eta)
        return x

    # Training and likelihood.

    def target(self, x_0: Array, t: Array, eps: Array) -> Array:
        """What the model's output is compared with."""
        if self.parameterization == "v":
            return self.velocity(x_0, t, eps)
        (target,) = self._cast(eps if self.parameterization == "eps" else x_0)
        return target

    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        """Eq. 14 as a mean over everything: the same `eps` in x_t and in the target."""
        output = eps_model(self.q_sample(x_0, t, eps), t)
        return float(np.mean((self.target(x_0, t, eps) - output) ** 2))

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        """d/dw of mean((target - x_t w^T)^2) is -2 / (B D) (target - x_t w^T)^T x_t."""
        (w,) = self._cast(w)
        x_t = self.q_sample(x_0, t, eps)
        residual: Array = self.target(x_0, t, eps) - x_t @ w.T
        return np.asarray(-2 / residual.size * (residual.T @ x_t))

    def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
        """KL(N_1 || N_2) = (log v_2/v_1 - 1 + v_1/v_2 + (m_1 - m_2)^2 / v_2) / 2."""
        mean_1, log_1, mean_2, log_2 = self._cast(mean_1, log_variance_1, mean_2, log_variance_2)
        return np.asarray((log_2 - log_1 - 1 + np.exp(log_1 - log_2) + (mean_1 - mean_2) ** 2 * np.exp(-log_2)) / 2)

    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        """Eq. 13: the mass of N(mean, scale^2) on the bin of `x_0`, half a grey level (1/255) to either side.

        The first bin reaches to -infinity, the last to +infinity. log(Phi(b) - Phi(a)) comes from the logarithms of
        the tails, and from the mirrored bin above the mean, where Phi would be 1 minus nothing.
        """
        x_0, mean, log_scale = self._cast(x_0, mean, log_scale)
        inverse_scale = np.exp(-log_scale)
        low = np.where(x_0 < -0.999, -np.inf, (x_0 - mean - 1 / 255) * inverse_scale)
        high = np.where(x_0 > 0.999, np.inf, (x_0 - mean + 1 / 255) * inverse_scale)
        mirrored = x_0 > mean
        below, above = log_ndtr(np.where(mirrored, -high, low)), log_ndtr(np.where(mirrored, -low, high))
        return np.asarray(above + np.log(-np.expm1(below - above)), self.dtype)

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        """Eq. 5, each term a mean over the dimensions of an image, in bits: L_T, L_1 ... L_{T-1}, and L_0."""
        (x_0,) = self._cast(x_0)
        T, B = self.num_timesteps, len(x_0)
        prior = self._bits(self.normal_kl(*self._marginal(x_0, np.full(B, T - 1)), np.zeros(1), np.zeros(1)))
        kl = np.empty((T - 1, B), self.dtype)
        for step in range(T):
            t = np.full(B, step)
            x_t = self.q_sample(x_0, t, eps[step])
            mean, variance = self.p_mean_variance(x_t, t, eps_model(x_t, t))
            if step == 0:
                decoder = self._bits(-self.decoder_log_likelihood(x_0, mean, np.log(variance) / 2))
            else:
                true_mean, _ = self.q_posterior(x_0, x_t, t)
                true_log_variance = self._at(self.posterior_log_variance, t, x_0)
                kl[step - 1] = self._bits(self.normal_kl(true_mean, true_log_variance, mean, np.log(variance)))
        return {"prior": prior, "kl": kl, "decoder": decoder, "total": prior + kl.sum(axis=0) + decoder}

    def _marginal(self, x_0: Array, t: Array) -> tuple[Array, Array]:
        """Mean and log variance of q(x_t | x_0), Eq. 4."""
        return self._at(np.sqrt(self.alpha_bar), t, x_0) * x_0, self._at(np.log(1 - self.alpha_bar), t, x_0)

    def _bits(self, nats: Array) -> Array:
        """(B, ...) nats to (B,) bits per dimension."""
        return np.asarray(nats.reshape(len(nats), -1).mean(axis=1) / np.log(2), self.dtype)

    def ema(self, values: Array, decay: float) -> Array:
        """Each value moves the average: decay * average + (1 - decay) * value, starting at the first."""
        (values,) = self._cast(values)
        average: Array = values[0]
        for value in values[1:]:
            average = decay * average + (1 - decay) * value
        return np.asarray(average, self.dtype)

    def to_uint8(self, x: Array) -> Array:
        """The nearest of 256 grey levels, halves up; raises `ValueError` on NaN, which is no colour."""
        if np.isnan(x).any():
            raise ValueError("the image contains NaN: it has no grey level")
        grey = np.floor(np.asarray(x, np.float64) * 127.5 + 128)
        return np.asarray(np.clip(grey, 0, 255), np.uint8)

    def from_uint8(self, u: Array) -> Array:
        """Grey level u is 2 u / 255 - 1."""
        return np.asarray(u / 127.5 - 1, self.dtype)
