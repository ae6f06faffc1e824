"""Mistakes in the samplers."""

from __future__ import annotations

import numpy as np

from verification.mutants import mutant
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject


@mutant("M29", "noise added in the last step", ("SMP-2",))
class NoiseAtLastStep(ReferenceSubject):
    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        mean, variance = self.p_mean_variance(x_t, t, eps_hat)
        return mean + np.sqrt(variance) * z


@mutant("M30", "no noise at all", ("SMP-2",))
class NoNoise(ReferenceSubject):
    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        return self.p_mean_variance(x_t, t, eps_hat)[0]


@mutant("M32", "sign of the predicted noise flipped", ("SMP-1", "SMP-6"))
class NoiseSign(ReferenceSubject):
    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        return super().p_mean_variance(x_t, t, -eps_hat)

    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        return super().ddim_step(x_t, t, t_prev, -eps_hat, z, eta)


@mutant("M34", "1 / sqrt(alpha_bar) for 1 / sqrt(alpha) in the mean", ("SMP-1",))
class AlphaBarInMean(ReferenceSubject):
    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        x_t, eps_hat = self._cast(x_t, eps_hat)
        noise = self._at(self.beta / np.sqrt(1 - self.alpha_bar), t, x_t) * eps_hat
        mean = (x_t - noise) * self._at(1 / np.sqrt(self.alpha_bar), t, x_t)
        return mean, self._at(self.model_variance, t, x_t)


@mutant("P07", "posterior variance promised, beta delivered", ("SMP-1",))
class OtherVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.model_variance = np.append(self.model_variance[0], beta[1:])


@mutant("M35", "the sampling loops ascend", ("SMP-3", "STR-2"))
class Ascending(ReferenceSubject):
    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        (x,) = self._cast(x_T)
        for i in range(self.num_timesteps):
            t = np.full(len(x), i)
            x = self.p_step(x, t, eps_model(x, t), z[i])
        return x

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        (x,) = self._cast(x_T)
        steps = self.timesteps(num_steps)[::-1]
        for i, (step, step_prev) in enumerate(zip(steps, np.append(-1, steps[:-1]), strict=True)):
            t, t_prev = np.full(len(x), step), np.full(len(x), step_prev)
            x = self.ddim_step(x, t, t_prev, eps_model(x, t), z[i], eta)
        return x


def told_less(eps_model: EpsModel) -> EpsModel:
    return lambda x, t: eps_model(x, np.maximum(t - 1, 0))


@mutant("M37", "the model is told t - 1", ("SMP-3", "STR-2", "LOS-1"))
class ModelToldLess(ReferenceSubject):
    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return super().sample(told_less(eps_model), x_T, z)

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        return super().sample_strided(told_less(eps_model), x_T, z, num_steps, eta)

    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        return super().loss(told_less(eps_model), x_0, t, eps)


@mutant("M39", "x_0 is clipped and the result discarded", ("SMP-7",), clip_x_0=True)
class DiscardedClip(ReferenceSubject):
    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        mean, _ = self.q_posterior(self.predict_x_0(x_t, t, eps_hat), x_t, t)
        return mean, self._at(self.model_variance, t, mean)


@mutant("M43", "DDIM's sigma without its square root", ("SMP-6",))
class NoRootOfSigma(ReferenceSubject):
    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        here, there = self.alpha_bar[t], np.append(1.0, self.alpha_bar)[t_prev + 1]
        sigma = eta * np.sqrt((1 - there) / (1 - here) * (1 - here / there))
        sigma = sigma.reshape(-1, *[1] * (x_t.ndim - 1))
        right = super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)
        return np.asarray(right + (sigma**2 - sigma) * z, self.dtype)


@mutant("M45", "DDIM adds noise even with eta = 0", ("SMP-6",))
class NoisyDDIM(ReferenceSubject):
    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        return super().ddim_step(x_t, t, t_prev, eps_hat, z, max(eta, 0.1))


@mutant("P08", "the strided sampler starts below T - 1 and ends above 0", ("STR-1",))
class LeadingSteps(ReferenceSubject):
    def timesteps(self, num_steps: int) -> Array:
        return self.num_timesteps // num_steps * np.arange(num_steps)[::-1]


@mutant("P09", "the strided sampler steps by a fixed stride of its own", ("STR-2",))
class FixedStride(ReferenceSubject):
    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        (x,) = self._cast(x_T)
        stride = self.num_timesteps // num_steps
        for i, step in enumerate(self.timesteps(num_steps)):
            t, t_prev = np.full(len(x), step), np.full(len(x), max(step - stride, -1))
            x = self.ddim_step(x, t, t_prev, eps_model(x, t), z[i], eta)
        return x
