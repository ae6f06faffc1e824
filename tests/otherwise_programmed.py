"""Correct DDPMs, programmed otherwise than the reference: what no check may fail.

A step of a sampler can be correct in several ways that round differently. The reference forms x_0 on the way, with
coefficients made in float64; these make the coefficients of x_t and eps_hat at once, or everything in their own type,
or take sigma from a stored logarithm with an exponential as poor as a float32 kernel may be.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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


WAYS: dict[str, type[ReferenceSubject]] = {
    "reference": ReferenceSubject,
    "at once": AtOnce,
    "in its own type": InOwnType,
    "sigma by exp": LogSigma,
}


def programmed(way: str, **choices: Any) -> ReferenceSubject:
    """A correct subject, programmed in one of `WAYS`."""
    return WAYS[way](**choices)
