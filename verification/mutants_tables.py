"""Mistakes in the schedule, the forward process, the posterior and the conversions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from verification.mutants import mutant
from verification.protocol import Array
from verification.reference import BETA_END, BETA_START, ReferenceSubject

# Schedules and tables.


@mutant("M05", "betas divided by T instead of T - 1 steps", ("SCH-2",))
class DividedByT(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        T = len(beta)
        super()._make_tables(BETA_START + (BETA_END - BETA_START) * np.arange(T) / T)


@mutant("M08", "tables made in float32", ("SCH-6",))
class Float32Tables(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta.astype(np.float32))


class OtherProducts(ReferenceSubject, ABC):
    """Tables from products that are not the right ones."""

    @abstractmethod
    def products(self) -> tuple[Array, Array]:
        """alpha_bar and alpha_bar_prev, each (T,)."""

    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.alpha_bar, self.alpha_bar_prev = self.products()
        self.posterior_variance = beta * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)
        self.posterior_coef_x_0 = np.sqrt(self.alpha_bar_prev) * beta / (1 - self.alpha_bar)
        self.posterior_coef_x_t = np.sqrt(self.alpha) * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)


@mutant("M09", "alpha_bar as an exclusive product", ("SCH-4", "SCH-6"))
class ExclusiveProduct(OtherProducts):
    def products(self) -> tuple[Array, Array]:
        # The first entry would be 1 and the posterior undefined; the mistake is the same one with any number below 1.
        late = np.cumprod(np.append(1 - 1e-9, self.alpha[:-1]))
        return late, np.append(1.0, late[:-1])


@mutant("M10", "alpha_bar_prev wraps around to the last entry at t = 0", ("POST-1",))
class WrappedPrevious(OtherProducts):
    def products(self) -> tuple[Array, Array]:
        return self.alpha_bar, np.roll(self.alpha_bar, 1)


@mutant("M19", "the last time step is never drawn", ("SCH-1",))
class NeverTheLast(ReferenceSubject):
    def draw_timesteps(self, n: int, seed: int) -> Array:
        return np.random.default_rng(seed).integers(0, self.num_timesteps - 1, n)


@mutant("M22", "T reduced without rescaling the betas", ("SCH-5",), num_timesteps=200)
class FewSteps(ReferenceSubject):
    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self.schedule = None  # one that declares its unscaled betas is what it says it is


@mutant("P01", "the first log variance is log 1e-20", ("VAR-2",))
class ClippedLogVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_log_variance[0] = np.log(1e-20)


@mutant("P02", "the cosine schedule without its cap", ("SCH-3",), schedule="cosine")
class NoCap(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        capped = beta.copy()
        capped[-1] = 0.9999
        super()._make_tables(capped)


@mutant("P03", "unknown names are accepted", ("NAM-1",))
class AnyName(ReferenceSubject):
    def variant(self, **choices: Any) -> ReferenceSubject:
        try:
            return super().variant(**choices)
        except ValueError:
            return self


# The forward process.


@mutant("M04", "alpha_t x_0 + (1 - alpha_t) eps", ("FWD-1",))
class TextbookMix(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(self.alpha, t, x_0) * x_0 + self._at(1 - self.alpha, t, x_0) * eps


@mutant("M12", "alpha for alpha_bar in q_sample and its inverse", ("FWD-1", "CONV-1", "SMP-1"))
class AlphaForAlphaBar(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(np.sqrt(self.alpha), t, x_0) * x_0 + self._at(np.sqrt(1 - self.alpha), t, x_0) * eps

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        return (x_t - self._at(np.sqrt(1 - self.alpha), t, x_t) * eps) / self._at(np.sqrt(self.alpha), t, x_t)


@mutant("M13", "square root missing on alpha_bar", ("FWD-1",))
class NoRootOfSignal(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(self.alpha_bar, t, x_0) * x_0 + self._at(np.sqrt(1 - self.alpha_bar), t, x_0) * eps


@mutant("M14", "square root missing on 1 - alpha_bar", ("FWD-1",))
class NoRootOfNoise(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(np.sqrt(self.alpha_bar), t, x_0) * x_0 + self._at(1 - self.alpha_bar, t, x_0) * eps


@mutant("P04", "q_sample reads the tables one step late", ("FWD-1",))
class IndexOffByOne(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().q_sample(x_0, np.maximum(t - 1, 0), eps)


@mutant("M16", "beta for sqrt(beta) in one step", ("FWD-3", "FWD-4"))
class NoRootInStep(ReferenceSubject):
    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        return self._at(np.sqrt(1 - self.beta), t, x_prev) * x_prev + self._at(self.beta, t, x_prev) * eps


@mutant("M17", "t broadcast on the last axis instead of the first", ("FWD-2",))
class WrongAxis(ReferenceSubject):
    def _at(self, table: Array, t: Array, x: Array) -> Array:
        entries = super()._at(table, t, x)
        return entries.reshape(*[1] * (x.ndim - 1), -1) if x.shape[-1] == len(x) else entries


# The posterior and the conversions.


@mutant("M24", "posterior coefficients swapped", ("SCH-7", "POST-1"))
class SwappedCoefficients(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_coef_x_0, self.posterior_coef_x_t = self.posterior_coef_x_t, self.posterior_coef_x_0


@mutant("M27", "log variance used as variance and the reverse", ("POST-3", "SMP-2"))
class LogForVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_log_variance = self.posterior_variance
        self.model_variance = np.exp(self.model_variance)


@mutant("P05", "the posterior variance without its factor (1 - alpha_bar_prev)", ("POST-1",))
class NarrowedVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_variance = np.append(0.0, beta[1:] / (1 - self.alpha_bar[1:]))


@mutant("M47", "score without its 1 / sqrt(1 - alpha_bar)", ("CONV-1",))
class UnscaledScore(ReferenceSubject):
    def score(self, x_t: Array, t: Array, eps: Array) -> Array:
        return -eps.astype(self.dtype)


@mutant("P06", "velocity with the sign of its second term flipped", ("CONV-3",))
class VelocitySign(ReferenceSubject):
    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().velocity(-x_0, t, eps)
