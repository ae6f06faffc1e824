"""Mistakes of execution: modes that disagree, calls that leave something behind, choices that are not made.

They need no framework. A subject in two modes is the reference with a counterpart, and only one of the two is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verification.mutants import mutant
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject
from verification.reference_network import ReferenceNetwork

CHOICES: dict[str, Any] = {"network": True, "dtype": "float32"}
"""Of subjects in two modes."""


class TwoModes(ReferenceSubject):
    """The reference, with a network, in two modes: this one is right, `other` is the network in the other."""

    other: type[ReferenceNetwork] = ReferenceNetwork

    @staticmethod
    def right(**choices: Any) -> ReferenceSubject:
        """Both modes right."""
        return TwoModes(**choices)

    def __init__(self, **choices: Any) -> None:
        super().__init__(**{**CHOICES, **choices})

    def counterparts(self) -> dict[str, ReferenceSubject]:
        """Both modes by name."""
        made = self.elsewhere()
        made._use_network(self.other(dtype=self.dtype))
        return {"this": self, "other": made}

    def elsewhere(self) -> ReferenceSubject:
        """The process in the other mode."""
        return ReferenceSubject(**self._choices)

    def variant(self, **choices: Any) -> ReferenceSubject:
        """Without counterparts."""
        return ReferenceSubject(**self._choices).variant(**choices)


class _OneBitApart(ReferenceNetwork):
    def __call__(self, x: Array, t: Array) -> Array:
        outputs = super().__call__(x, t)
        first = outputs[0, 0, 0, :1]
        outputs[0, 0, 0, :1] = np.nextafter(first, np.asarray(np.inf, first.dtype))
        return outputs

    forward = __call__


class _GradientApart(ReferenceNetwork):
    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        right = super().gradient(x, t, target)
        return {**right, "conv_in.bias": right["conv_in.bias"] * np.asarray(1.01, self.dtype)}


@mutant("Q01", "one bit of the network differs between modes", ("MODE-1",))
class OneBitApart(TwoModes):
    other = _OneBitApart


@mutant("Q02", "one gradient differs between modes", ("MODE-1.gradient",))
class GradientApart(TwoModes):
    other = _GradientApart


class _OtherRounding(ReferenceSubject):
    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        wide = [np.asarray(each, np.float64) for each in (x_t, eps_hat, z)]
        return (
            ReferenceSubject(**{**self._choices, "dtype": "float64"}).p_step(wide[0], t, *wide[1:]).astype(self.dtype)
        )


@mutant("Q06", "one mode computes its steps in float64", ("MODE-1",))
class OtherKernels(TwoModes):
    def elsewhere(self) -> ReferenceSubject:
        return _OtherRounding(**self._choices)


@mutant("Q03", "noise is drawn in the step although it was given", ("MODE-3", "SMP-2"))
class OwnNoise(ReferenceSubject):
    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self._random = np.random.default_rng(0)

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        return super().p_step(x_t, t, eps_hat, self._random.standard_normal(z.shape).astype(z.dtype))


@mutant("Q04", "results are handed out in one buffer that the next call overwrites", ("MODE-3",))
class OneBuffer(ReferenceSubject):
    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self._buffers: dict[tuple[int, ...], Array] = {}

    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        made = super().q_sample(x_0, t, eps)
        buffer = self._buffers.setdefault(made.shape, made)
        buffer[...] = made
        return buffer


@mutant("Q05", "an input is overwritten", ("MODE-3",))
class InPlace(ReferenceSubject):
    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        made = super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)
        x_t[...] = made
        return made


@mutant("Q07", "the tables handed out are the ones in use, and a call changes them", ("MODE-3",))
class LeakingTables(ReferenceSubject):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        self.beta = self.beta * (1 + 1e-6)
        return super().loss(eps_model, x_0, t, eps)


@mutant("Q08", "the bound draws noise of its own", ("NLL-1",))
class NoisyBound(ReferenceSubject):
    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self._random = np.random.default_rng(0)

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        return super().vlb_terms(eps_model, x_0, self._random.standard_normal(eps.shape))


@mutant("Q09", "a schedule that does not fit a number of steps is used as it comes", ("SCH-10",))
class Unrefused(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta * (1000 / len(beta)) if len(beta) < 10 else beta)


@mutant("Q10", "a variant keeps the number of steps it had", ("SCH-10",))
class SameLength(ReferenceSubject):
    def variant(self, **choices: Any) -> ReferenceSubject:
        super().variant(**choices)
        kept = {name: value for name, value in choices.items() if name != "num_timesteps"}
        return super().variant(**kept)


@mutant("Q20", "in float16, 1 - alpha_bar is taken of a rounded alpha_bar", ("DTY-1", "MODE-2"))
class HalfPrecisionTables(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        if self.dtype != "float16":
            return super().q_sample(x_0, t, eps)
        x_0, eps = self._cast(x_0, eps)
        alpha_bar = self._at(self.alpha_bar, t, x_0)  # 0.9999 is 1 in float16
        return np.asarray(np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * eps, self.dtype)


@mutant("Q21", "in float16, the step back takes 1 - alpha_bar of a rounded alpha_bar", ("MODE-2.reverse",))
class HalfPrecisionSteps(ReferenceSubject):
    def predict_x_0(self, x_t: Array, t: Array, eps: Array) -> Array:
        if self.dtype != "float16":
            return super().predict_x_0(x_t, t, eps)
        x_t, eps = self._cast(x_t, eps)
        alpha_bar = self._at(self.alpha_bar, t, x_t)  # 0.9999 is 1 in float16
        return np.asarray((x_t - np.sqrt(1 - alpha_bar) * eps) / np.sqrt(alpha_bar), self.dtype)


class _HalfPrecisionNetwork(ReferenceSubject):
    """With a network that is wrong in half precision."""

    wrong: type[ReferenceNetwork] = ReferenceNetwork

    @staticmethod
    def right(**choices: Any) -> ReferenceSubject:
        """With the right one."""
        return ReferenceSubject(**{"network": True, **choices})

    def __init__(self, **choices: Any) -> None:
        super().__init__(**{"network": True, **choices})
        if self.dtype == "float16":
            self._use_network(self.wrong(dtype=self.dtype))


class _NoTime(ReferenceNetwork):
    def __call__(self, x: Array, t: Array) -> Array:
        return super().__call__(x, t // 1000)

    forward = __call__


class _ScaledUp(ReferenceNetwork):
    def gradient(self, x: Array, t: Array, target: Array) -> dict[str, Array]:
        return {name: value * value.dtype.type(8) for name, value in super().gradient(x, t, target).items()}


@mutant("Q22", "in float16, the network's time steps are scaled down as its images are", ("MODE-2.network",))
class ScaledTimeInHalfPrecision(_HalfPrecisionNetwork):
    wrong = _NoTime


@mutant("Q23", "in float16, the loss is scaled up for its gradient and not down again", ("MODE-2.network",))
class UnscaledGradient(_HalfPrecisionNetwork):
    wrong = _ScaledUp


@mutant("Q24", "in float16, the whole loop leaves half of the steps out", ("MODE-2.samplers",))
class HurriedInHalfPrecision(ReferenceSubject):
    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        if self.dtype != "float16":
            return super().sample(eps_model, x_T, z)
        return self.sample_strided(eps_model, x_T, z, max(1, self.num_timesteps // 2), 1.0)
