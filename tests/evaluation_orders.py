"""Correct DDPMs that compute the same numbers in other ways, as other people's code does. None may fail any check.

Each differs from `ReferenceSubject` only in the order of its arithmetic. Tables are made in float64 and cast once.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from verification.protocol import Array, EpsModel
from verification.reference import COSINE_OFFSET, MAX_BETA, ReferenceSubject


class KeptAsProducts(ReferenceSubject):
    """As improved-diffusion: betas recovered from ratios of alpha_bar, reciprocals, variances kept as logarithms."""

    def _make_tables(self, beta: Array) -> None:
        alpha_bar = np.cumprod(1 - beta)
        super()._make_tables(1 - alpha_bar / np.append(1.0, alpha_bar[:-1]))
        self.reciprocal = np.sqrt(1 / self.alpha_bar)
        self.reciprocal_less_one = np.sqrt(1 / self.alpha_bar - 1)

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        x_t, eps = self._cast(x_t, eps)
        return self._at(self.reciprocal, t, x_t) * x_t - self._at(self.reciprocal_less_one, t, x_t) * eps

    def predict_eps(self, x_t: Array, t: Array, x_0: Array) -> Array:
        x_t, x_0 = self._cast(x_t, x_0)
        return (self._at(self.reciprocal, t, x_t) * x_t - x_0) / self._at(self.reciprocal_less_one, t, x_t)

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        mean, _ = super().p_mean_variance(x_t, t, eps_hat)
        return mean, np.exp(self._at(np.log(self.model_variance), t, mean))


class SummedLogarithms(ReferenceSubject):
    """alpha_bar as the exponential of a running sum, and its complement by expm1; the score by way of x_0."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        logs = np.cumsum(np.log1p(-beta))
        rest, rest_prev = -np.expm1(logs), -np.expm1(np.append(0.0, logs[:-1]))
        self.alpha_bar, self.alpha_bar_prev = np.exp(logs), np.exp(np.append(0.0, logs[:-1]))
        self.posterior_variance = 1 / (self.alpha / beta + 1 / np.where(rest_prev > 0, rest_prev, np.inf))
        self.posterior_variance[0] = 0
        self.posterior_coef_x_0 = np.sqrt(self.alpha_bar_prev) * beta / rest
        self.posterior_coef_x_t = np.sqrt(self.alpha) / rest * rest_prev

    def score(self, x_t: Array, t: Array, eps: Array) -> Array:
        (x_t,) = self._cast(x_t)
        signal = self._at(np.sqrt(self.alpha_bar), t, x_t) * self.predict_x_0(x_t, t, eps)
        return (signal - x_t) / self._at(1 - self.alpha_bar, t, x_t)


class AccumulatedVariance(ReferenceSubject):
    """1 - alpha_bar by its recurrence, coefficients put together from cast tables, roots taken after the cast.

    Half precision is not for it: there the cosine schedule's last alpha_bar is 0 before its root is taken.
    """

    first_variance = 0.0
    """Of the last step, which adds no noise."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        total, rest = 0.0, []
        for a, b in zip(self.alpha.tolist(), beta.tolist(), strict=True):
            total = a * total + b
            rest.append(total)
        self.rest, self.rest_prev = np.array(rest), np.array([0.0, *rest[:-1]])
        self.posterior_variance = beta * self.rest_prev / self.rest

    def tables(self) -> dict[str, Array]:
        more = {
            "sqrt_one_minus_alpha_bar": self.rest,
            "one_minus_alpha_bar": self.rest,
            "snr": self.alpha_bar / self.rest,
        }
        made = {**super().tables(), **{name: table.astype(self.dtype) for name, table in more.items()}}
        return {name: np.sqrt(table) if name.startswith("sqrt_one") else table for name, table in made.items()}

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        x_0, eps = self._cast(x_0, eps)
        return np.sqrt(self._at(self.alpha_bar, t, x_0)) * x_0 + np.sqrt(self._at(self.rest, t, x_0)) * eps

    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        x_prev, eps = self._cast(x_prev, eps)
        return np.sqrt(self._at(self.alpha, t, x_prev)) * x_prev + np.sqrt(self._at(self.beta, t, x_prev)) * eps

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        x_0, x_t = self._cast(x_0, x_t)
        names = ("beta", "alpha", "alpha_bar_prev", "rest", "rest_prev")
        beta, alpha, signal_prev, rest, rest_prev = (self._at(getattr(self, name), t, x_0) for name in names)
        mean = np.sqrt(signal_prev) * beta * x_0 / rest + np.sqrt(alpha) * rest_prev * x_t / rest
        variance = np.broadcast_to(beta * rest_prev / rest, mean.shape)
        return mean, variance.copy()

    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        x_0, eps = self._cast(x_0, eps)
        return np.sqrt(self._at(self.alpha_bar, t, x_0)) * eps - np.sqrt(self._at(self.rest, t, x_0)) * x_0

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        """Eq. 11 where nothing is clipped; 0 for the variance of the last step."""
        if self.clip_x_0:
            mean = super().p_mean_variance(x_t, t, eps_hat)[0]
        else:
            x_t, eps_hat = self._cast(x_t, eps_hat)
            noise = self._at(self.beta, t, x_t) * eps_hat / np.sqrt(self._at(self.rest, t, x_t))
            mean = (x_t - noise) / np.sqrt(self._at(self.alpha, t, x_t))
        return mean, self._at(np.append(self.first_variance, self.model_variance[1:]), t, mean)

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        """The decoder has a width, that of the replaced first entry: a normal distribution of width 0 has no bins."""
        decoding = copy(self)
        decoding.first_variance = self.model_variance[0]
        return ReferenceSubject.vlb_terms(decoding, eps_model, x_0, eps)


class ClosedFormCosine(ReferenceSubject):
    """alpha_bar of the cosine schedule from its closed form as far as the cap, and betas from its ratios."""

    def _make_tables(self, beta: Array) -> None:
        if (self.schedule or {"name": ""})["name"] != "cosine":
            super()._make_tables(beta)
            return
        T = len(beta)
        curve = np.cos((np.linspace(0, T, T + 1) / T + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi * 0.5) ** 2
        alpha_bar = curve / curve[0]
        beta = np.clip(1 - alpha_bar[1:] / alpha_bar[:-1], 0, MAX_BETA)
        super()._make_tables(beta)
        self.alpha_bar = np.where(beta < MAX_BETA, alpha_bar[1:], self.alpha_bar)
        self.alpha_bar[-1] = alpha_bar[-2] * (1 - MAX_BETA)
        self.alpha_bar_prev = np.append(1.0, self.alpha_bar[:-1])


ORDERS: tuple[type[ReferenceSubject], ...] = (
    ReferenceSubject,
    KeptAsProducts,
    SummedLogarithms,
    AccumulatedVariance,
    ClosedFormCosine,
)
