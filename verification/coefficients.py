"""A correct DDPM written out as coefficients, so that any one of them can be made wrong, at one t or at all.

Every method is a sum of coefficient times array, c_1(t) a + c_2(t) b, each coefficient made in float64 and cast once:

    q_sample = sqrt(ā_t) x_0 + sqrt(1 − ā_t) eps                                    Ho et al. 2020, Eq. 4
    p_step = x_t / sqrt(alpha_t) − beta_t / sqrt(alpha_t (1 − ā_t)) eps_hat + sigma_t z            Algorithm 2

It is a third way to program what `ReferenceSubject` and `oracle.py` compute, and passes every check. A subclass with
`bent` and `bend` is the same DDPM wrong in the coefficient of that name. The planted mistakes of
`mutants_coefficients.py` and the doses of `sensitivity.py` are such subclasses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from verification.protocol import Array
from verification.reference import ReferenceSubject

Lookup = Callable[[Array], Array]
"""A coefficient as a function of the time steps (B,)."""

Bend = Callable[[Lookup, Array, int], Array]
"""What stands for a coefficient (B,) instead, from the right lookup, the time steps (B,) and T."""

TABLES: dict[str, Callable[[ReferenceSubject], Array]] = {
    "q_sample.x_0": lambda s: np.sqrt(s.alpha_bar),
    "q_sample.eps": lambda s: np.sqrt(1 - s.alpha_bar),
    "q_step.x_prev": lambda s: np.sqrt(s.alpha),
    "q_step.eps": lambda s: np.sqrt(s.beta),
    "q_posterior.x_0": lambda s: s.posterior_coef_x_0,
    "q_posterior.x_t": lambda s: s.posterior_coef_x_t,
    "q_posterior.variance": lambda s: s.posterior_variance,
    "predict_x_0.x_t": lambda s: 1 / np.sqrt(s.alpha_bar),
    "predict_x_0.eps": lambda s: -np.sqrt(1 - s.alpha_bar) / np.sqrt(s.alpha_bar),
    "predict_eps.x_t": lambda s: 1 / np.sqrt(1 - s.alpha_bar),
    "predict_eps.x_0": lambda s: -np.sqrt(s.alpha_bar) / np.sqrt(1 - s.alpha_bar),
    "velocity.x_0": lambda s: -np.sqrt(1 - s.alpha_bar),
    "velocity.eps": lambda s: np.sqrt(s.alpha_bar),
    "predict_x_0_from_v.x_t": lambda s: np.sqrt(s.alpha_bar),
    "predict_x_0_from_v.v": lambda s: -np.sqrt(1 - s.alpha_bar),
    "score.eps": lambda s: -1 / np.sqrt(1 - s.alpha_bar),
    "p_mean_variance.x_t": lambda s: 1 / np.sqrt(s.alpha),
    "p_mean_variance.eps_hat": lambda s: -s.beta / np.sqrt(s.alpha) / np.sqrt(1 - s.alpha_bar),
    "p_mean_variance.variance": lambda s: s.model_variance,
    "p_step.x_t": lambda s: 1 / np.sqrt(s.alpha),
    "p_step.eps_hat": lambda s: -s.beta / np.sqrt(s.alpha) / np.sqrt(1 - s.alpha_bar),
    "p_step.z": lambda s: np.append(0.0, np.sqrt(s.model_variance[1:])),
}
"""Each coefficient at every t, (T,) float64, by the method that uses it and the array that it multiplies."""

DDIM = ("ddim_step.x_t", "ddim_step.eps_hat", "ddim_step.z")
"""Those that depend on t_prev and eta as well."""

STORED = (
    *("beta", "alpha", "alpha_bar", "alpha_bar_prev", "sqrt_alpha_bar", "sqrt_one_minus_alpha_bar"),
    *("posterior_variance", "posterior_log_variance", "posterior_coef_x_0", "posterior_coef_x_t"),
)
"""What `tables` hands out; bent as "tables.beta" and so on, without touching what the methods use."""

JUDGES: dict[str, str] = {
    "q_sample": "FWD-1",
    "q_step": "FWD-3",
    "q_posterior": "POST-1",
    **dict.fromkeys(("predict_x_0", "predict_eps", "velocity", "predict_x_0_from_v", "score"), "CONV-1"),
    "p_mean_variance": "SMP-1.mean",
    "p_step": "SMP-1",
    "ddim_step": "SMP-6",
    "tables": "SCH-6",
}
"""The check that identifies the coefficients of each method."""

COEFFICIENTS: tuple[str, ...] = (*TABLES, *DDIM, *(f"tables.{name}" for name in STORED))
"""Every name that `bent` may have."""


def judge_of(coefficient: str) -> str:
    """The id of the check that has to notice a wrong `coefficient`, and to name it."""
    if coefficient == "p_step.z":
        return "SMP-2"
    return "SCH-2" if coefficient == "tables.beta" else JUDGES[coefficient.partition(".")[0]]


class Coefficients(ReferenceSubject):
    """A DDPM by its coefficients, of which the one called `bent` is what `bend` makes of it."""

    bent: ClassVar[str] = ""

    @staticmethod
    def bend(lookup: Lookup, t: Array, T: int) -> Array:  # noqa: ARG004 - the signature of a `Bend`
        """The right coefficient."""
        return lookup(t)

    def coefficient(self, name: str, t: Array, lookup: Lookup) -> Array:
        """(B,) float64: `lookup` at the time steps `t`, unless it is the bent one."""
        return self.bend(lookup, t, self.num_timesteps) if name == self.bent else lookup(t)

    def table(self, name: str) -> Lookup:
        """The coefficient of that name in `TABLES`, by t."""
        values = TABLES[name](self)
        return lambda t: values[t]

    def tables(self) -> dict[str, Array]:
        """The stored tables."""
        every = np.arange(self.num_timesteps)
        right = super().tables()
        if self.bent.startswith("tables."):
            name = self.bent.partition(".")[2]
            exact = right[name].astype(np.float64)
            right[name] = self.bend(lambda t: exact[t], every, self.num_timesteps).astype(self.dtype)
        return right

    def _sum(self, method: str, t: Array, **arrays: Array) -> Array:
        """The arrays (B, ...), each times its coefficient of `method` at `t`."""
        self._at(self.beta, t, next(iter(arrays.values())))  # refuses a t that does not fit
        terms = [self._term(f"{method}.{name}", t, x) for name, x in arrays.items()]
        return np.asarray(sum(terms[1:], terms[0]))

    def _term(self, name: str, t: Array, x: Array) -> Array:
        (x,) = self._cast(x)
        return self._over(self.coefficient(name, np.asarray(t), self.table(name)), x) * x

    def _over(self, coefficient: Array, x: Array) -> Array:
        """(B,) float64 in the subject's dtype, shaped to multiply `x`."""
        return np.asarray(coefficient, np.float64).astype(self.dtype).reshape(-1, *[1] * (x.ndim - 1))

    def _variance(self, method: str, t: Array, x: Array) -> Array:
        name = f"{method}.variance"
        return self._over(self.coefficient(name, np.asarray(t), self.table(name)), x)

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        """Eq. 4."""
        return self._sum("q_sample", t, x_0=x_0, eps=eps)

    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        """Eq. 2."""
        return self._sum("q_step", t, x_prev=x_prev, eps=eps)

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        """Eqs. 6 and 7."""
        mean = self._sum("q_posterior", t, x_0=x_0, x_t=x_t)
        return mean, self._variance("q_posterior", t, mean)

    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        """Eq. 4 solved for x_0."""
        return self._sum("predict_x_0", t, x_t=x_t, eps=eps)

    def predict_eps(self, x_t: Array, t: Array, x_0: Array) -> Array:
        """Eq. 4 solved for eps."""
        return self._sum("predict_eps", t, x_t=x_t, x_0=x_0)

    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        """Salimans and Ho 2022, section 4."""
        return self._sum("velocity", t, x_0=x_0, eps=eps)

    def predict_x_0_from_v(self, x_t: Array, t: Array, v: Array) -> Array:
        """Salimans and Ho 2022, appendix D."""
        return self._sum("predict_x_0_from_v", t, x_t=x_t, v=v)

    def score(self, x_t: Array, t: Array, eps: Array) -> Array:  # noqa: ARG002 - x_t has no part in it
        """The gradient of log q(x_t | x_0)."""
        return self._sum("score", t, eps=eps)

    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        """Eq. 11; by way of x_0 where it is clipped."""
        if self.clip_x_0:
            mean = self.q_posterior(np.clip(self.predict_x_0(x_t, t, eps_hat), -1, 1), x_t, t)[0]
        else:
            mean = self._sum("p_mean_variance", t, x_t=x_t, eps_hat=eps_hat)
        return mean, self._variance("p_mean_variance", t, mean)

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        """Algorithm 2, lines 3 and 4."""
        if self.clip_x_0:
            return self.p_mean_variance(x_t, t, eps_hat)[0] + self._sum("p_step", t, z=z)
        return self._sum("p_step", t, x_t=x_t, eps_hat=eps_hat, z=z)

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        """Song et al. 2021, Eqs. 12 and 16, as x_t / sqrt(ratio) + (...) eps_hat + sigma z; clipping goes by x_0."""
        if self.clip_x_0:
            return super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)
        arrays = self._cast(x_t, eps_hat, z)
        terms = []
        for i, (name, x) in enumerate(zip(DDIM, arrays, strict=True)):
            values = self.coefficient(name, np.asarray(t), self._ddim(i, np.asarray(t_prev), eta))
            terms.append(self._over(values, x) * x)
        return np.asarray(sum(terms[1:], terms[0]))

    def _ddim(self, which: int, t_prev: Array, eta: float) -> Lookup:
        """One of the three coefficients of a step to `t_prev` as a function of where it starts."""

        def lookup(t: Array) -> Array:
            here, there = self.alpha_bar[t], np.append(1.0, self.alpha_bar)[t_prev + 1]
            variance = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
            gain = np.sqrt(there / here)
            direction = np.sqrt(np.maximum(1 - there - variance, 0)) - gain * np.sqrt(1 - here)
            return np.asarray((gain, direction, np.sqrt(np.maximum(variance, 0)))[which])

        return lookup


def bent(coefficient: str, bend: Bend) -> type[Coefficients]:
    """The DDPM whose `coefficient`, one of `COEFFICIENTS`, is bent; raises `ValueError` on another name."""
    if coefficient not in COEFFICIENTS:
        raise ValueError(f"unknown coefficient {coefficient!r}: known are {', '.join(COEFFICIENTS)}")
    members: dict[str, Any] = {"bent": coefficient, "bend": staticmethod(bend)}
    return type("Bent", (Coefficients,), members)


def off_at(t: int, relative: float) -> Bend:
    """A bend: the coefficient is off by a `relative` error at the one time step `t`."""
    return lambda lookup, steps, _: lookup(steps) * np.where(steps == t, 1 + relative, 1.0)
