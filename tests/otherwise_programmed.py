"""Correct DDPMs, programmed otherwise than the reference: what no check may fail.

A step of a sampler can be correct in several ways that round differently. The reference forms x_0 on the way, with
coefficients made in float64; these make the coefficients of x_t and eps_hat at once, or everything in their own type,
or take sigma from a stored logarithm with an exponential as poor as a float32 kernel may be, or come from another
formulation of the same process altogether.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from verification.coefficients import Coefficients
from verification.protocol import Array
from verification.reference import ReferenceSubject


class AtOnce(ReferenceSubject):
    """Coefficients of x_t and eps_hat made in float64 and cast once; clipping takes the reference's way."""

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        if self.clip_x_0:
            return super().p_mean_variance(x_t, t, eps_hat)
        x_t, eps_hat = self._cast(x_t, eps_hat)
        per_eps = self.beta / np.sqrt(self.alpha * (1 - self.alpha_bar))
        mean = self._at(1 / np.sqrt(self.alpha), t, x_t) * x_t - self._at(per_eps, t, x_t) * eps_hat
        return mean, self._at(self.model_variance, t, mean)

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        if self.clip_x_0:
            return super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)
        x_t, eps_hat, z = self._cast(x_t, eps_hat, z)
        here, there = self.alpha_bar[t], np.append(1.0, self.alpha_bar)[np.asarray(t_prev) + 1]
        variance = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
        gain = np.sqrt(there / here)
        per_eps = np.sqrt(np.maximum(1 - there - variance, 0)) - gain * np.sqrt(1 - here)
        return self._mix((gain, x_t), (per_eps, eps_hat), (np.sqrt(variance), z))

    def _mix(self, *terms: tuple[Array, Array]) -> Array:
        each = np.arange(len(terms[0][1]))
        return sum(
            (self._at(c, each, x) * x for c, x in terms[1:]), self._at(terms[0][0], each, terms[0][1]) * terms[0][1]
        )


class InOwnType(ReferenceSubject):
    """The DDIM step in the subject's own type, from its stored alpha_bar alone."""

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        x_t, eps_hat, z = self._cast(x_t, eps_hat, z)
        stored = np.append(1.0, self.alpha_bar).astype(self.dtype)
        shape = (-1, *[1] * (x_t.ndim - 1))
        here, there = stored[np.asarray(t) + 1].reshape(shape), stored[np.asarray(t_prev) + 1].reshape(shape)
        x_0 = (x_t - np.sqrt(1 - here) * eps_hat) / np.sqrt(here)
        if self.clip_x_0:
            x_0 = np.clip(x_0, -1, 1)
            eps_hat = (x_t - np.sqrt(here) * x_0) / np.sqrt(1 - here)
        (rate,) = self._cast(eta)
        variance = rate**2 * (1 - there) / (1 - here) * (1 - here / there)
        direction = np.sqrt(np.maximum(1 - there - variance, 0))
        return np.asarray(np.sqrt(there) * x_0 + direction * eps_hat + np.sqrt(variance) * z)


class LogSigma(ReferenceSubject):
    """Sigma as the exponential of half a stored log variance, by an exp that is as wrong as the ledger allows."""

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        mean, _ = self.p_mean_variance(x_t, t, eps_hat)
        (z,) = self._cast(z)
        half = (np.log(self.model_variance).astype(self.dtype) / 2).astype(np.float64)
        kernel = 5e-6 if self.dtype == "float32" else 4e-16
        sigma = np.exp(half) * (1 + kernel * np.cos(np.arange(len(half))))
        sigma[0] = 0.0
        return mean + self._at(sigma, t, mean) * z


class FirstX0(ReferenceSubject):
    """As diffusers' schedulers: alpha_bar alone is stored, and everything of a step put together from it when asked.

    x_0 comes first, beta from a quotient of two alpha_bar, and the two weights of the mean from that. Scalars are made
    in float64, as a scheduler that keeps NumPy tables does.
    """

    def _products(self, t: Array) -> tuple[Array, Array, Array, Array]:
        """alpha_bar and alpha_bar_prev at `t` (B,), and alpha and beta from their quotient."""
        here, there = self.alpha_bar[t], np.where(np.asarray(t) > 0, self.alpha_bar[np.asarray(t) - 1], 1.0)
        return here, there, here / there, 1 - here / there

    def _over(self, coefficient: Array, x: Array) -> Array:
        return np.asarray(coefficient).astype(self.dtype).reshape(-1, *[1] * (x.ndim - 1))

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        x_t, eps_hat = self._cast(x_t, eps_hat)
        here, there, alpha, beta = self._products(t)
        x_0 = (x_t - self._over(np.sqrt(1 - here), x_t) * eps_hat) / self._over(np.sqrt(here), x_t)
        if self.clip_x_0:
            x_0 = np.clip(x_0, -1, 1)
        per_x_0, per_x_t = np.sqrt(there) * beta / (1 - here), np.sqrt(alpha) * (1 - there) / (1 - here)
        mean = self._over(per_x_0, x_0) * x_0 + self._over(per_x_t, x_t) * x_t
        variance = beta if self.variance == "beta" else (1 - there) / (1 - here) * beta
        return mean, self._over(np.where(np.asarray(t) > 0, variance, self.model_variance[0]), mean)

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        mean, variance = self.p_mean_variance(x_t, t, eps_hat)
        (z,) = self._cast(z)
        return np.asarray(mean + self._over(np.asarray(t) > 0, mean) * np.sqrt(variance) * z)


class LogSnr(ReferenceSubject):
    """In the log signal-to-noise ratio, as variational diffusion models are written (Kingma et al. 2021, appendix A).

    With lambda = ln(ā / (1 − ā)): ā = sigmoid(lambda), 1 − ā = sigmoid(−lambda), and c = 1 − exp(lambda_t − lambda_s)
    is what a step from t to s = t − 1 forgets. Its mean is sqrt(ā_s / ā_t) (x_t − c sqrt(1 − ā_t) eps_hat), and its
    variance (1 − ā_s) c.
    """

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.log_snr = np.cumsum(np.log1p(-beta)) - np.log(-np.expm1(np.cumsum(np.log1p(-beta))))

    def _step(self, t: Array, x: Array) -> tuple[Array, ...]:
        """sqrt(ā_s), sqrt(ā_t), sqrt(1 − ā_t), c and the variance, each (B, 1, ...)."""
        here = self.log_snr[t]
        there = np.where(np.asarray(t) > 0, self.log_snr[np.asarray(t) - 1], np.inf)
        c = -np.expm1(here - there)
        parts = (expit(there) ** 0.5, expit(here) ** 0.5, expit(-here) ** 0.5, c, expit(-there) * c)
        return tuple(part.astype(self.dtype).reshape(-1, *[1] * (x.ndim - 1)) for part in parts)

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        if self.clip_x_0:
            return super().p_mean_variance(x_t, t, eps_hat)
        x_t, eps_hat = self._cast(x_t, eps_hat)
        signal_prev, signal, noise, c, variance = self._step(t, x_t)
        mean = np.asarray(signal_prev / signal * (x_t - c * noise * eps_hat))
        replaced = self._at(self.model_variance, t, mean)
        first = np.reshape(np.asarray(t) == 0, variance.shape)
        return mean, np.where(first, replaced, variance) if self.variance == "posterior" else replaced

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        x_0, eps = self._cast(x_0, eps)
        _, signal, noise, _, _ = self._step(t, x_0)
        return np.asarray(signal * x_0 + noise * eps)


WAYS: dict[str, type[ReferenceSubject]] = {
    "reference": ReferenceSubject,
    "at once": AtOnce,
    "in its own type": InOwnType,
    "sigma by exp": LogSigma,
    "x_0 first": FirstX0,
    "log snr": LogSnr,
    "by coefficients": Coefficients,
}


def programmed(way: str, **choices: Any) -> ReferenceSubject:
    """A correct subject, programmed in one of `WAYS`."""
    return WAYS[way](**choices)
