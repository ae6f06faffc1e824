"""Wrong DDPMs, each the reference wrong in one way, with the checks that must notice.

`planted("M13")` is the subject; the numbers are those of the catalogue of mistakes seen in public code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from verification.protocol import Array, EpsModel
from verification.reference import BETA_END, BETA_START, ReferenceSubject
from verification.reference_network import Pass, ReferenceNetwork


@dataclass(frozen=True)
class Planted:
    """A mistake: the subject that makes it, what it is, and the obligations whose checks must fail because of it."""

    subject: type[ReferenceSubject]
    mistake: str
    killed_by: tuple[str, ...]
    choices: dict[str, Any]


PLANTED: dict[str, Planted] = {}


def plant(
    number: str, mistake: str, killed_by: tuple[str, ...], **choices: Any
) -> Callable[[type[ReferenceSubject]], type[ReferenceSubject]]:
    """Register a class as the mutant `number`, made with `choices`."""

    def register(subject: type[ReferenceSubject]) -> type[ReferenceSubject]:
        assert number not in PLANTED, number
        PLANTED[number] = Planted(subject, mistake, killed_by, choices)
        return subject

    return register


def planted(number: str, **choices: Any) -> ReferenceSubject:
    """The mutant `number`, with further choices of `ReferenceSubject`."""
    entry = PLANTED[number]
    return entry.subject(**{**entry.choices, **choices})


# Schedules and tables.


@plant("M05", "betas divided by T instead of T - 1 steps", ("SCH-2",))
class DividedByT(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        T = len(beta)
        super()._make_tables(BETA_START + (BETA_END - BETA_START) * np.arange(T) / T)


@plant("M08", "tables made in float32", ("SCH-6",))
class Float32Tables(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta.astype(np.float32))


@plant("M09", "alpha_bar as an exclusive product", ("SCH-4", "SCH-6"))
class ExclusiveProduct(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        # The first entry would be 1 and the posterior undefined; the mistake is the same one with any number below 1.
        self.alpha_bar = np.cumprod(np.append(1 - 1e-9, self.alpha[:-1]))


@plant("M10", "alpha_bar_prev wraps around to the last entry at t = 0", ("POST-1",))
class WrappedPrevious(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.alpha_bar_prev = np.roll(self.alpha_bar, 1)
        self.posterior_variance = beta * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)
        self.posterior_coef_x_0 = np.sqrt(self.alpha_bar_prev) * beta / (1 - self.alpha_bar)
        self.posterior_coef_x_t = np.sqrt(self.alpha) * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)


@plant("M19", "the last time step is never drawn", ("SCH-1",))
class NeverTheLast(ReferenceSubject):
    def draw_timesteps(self, n: int, seed: int) -> Array:
        return np.random.default_rng(seed).integers(0, self.num_timesteps - 1, n)


@plant("M22", "T reduced without rescaling the betas", ("SCH-5",), num_timesteps=200)
class FewSteps(ReferenceSubject):
    pass


@plant("P01", "the first log variance is log 1e-20", ("VAR-2",))
class ClippedLogVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_log_variance[0] = np.log(1e-20)


@plant("P02", "the cosine schedule without its cap", ("SCH-3",), schedule="cosine")
class NoCap(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        capped = beta.copy()
        capped[-1] = 0.9999
        super()._make_tables(capped)


@plant("P03", "unknown names are accepted", ("NAM-1",))
class AnyName(ReferenceSubject):
    def variant(self, **choices: Any) -> ReferenceSubject:
        try:
            return super().variant(**choices)
        except ValueError:
            return self


# The forward process.


@plant("M04", "alpha_t x_0 + (1 - alpha_t) eps", ("FWD-1",))
class TextbookMix(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(self.alpha, t, x_0) * x_0 + self._at(1 - self.alpha, t, x_0) * eps


@plant("M12", "alpha for alpha_bar in q_sample", ("FWD-1",))
class AlphaForAlphaBar(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(np.sqrt(self.alpha), t, x_0) * x_0 + self._at(np.sqrt(1 - self.alpha), t, x_0) * eps


@plant("M13", "square root missing on alpha_bar", ("FWD-1",))
class NoRootOfSignal(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(self.alpha_bar, t, x_0) * x_0 + self._at(np.sqrt(1 - self.alpha_bar), t, x_0) * eps


@plant("M14", "square root missing on 1 - alpha_bar", ("FWD-1",))
class NoRootOfNoise(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return self._at(np.sqrt(self.alpha_bar), t, x_0) * x_0 + self._at(1 - self.alpha_bar, t, x_0) * eps


@plant("P04", "q_sample reads the tables one step late", ("FWD-1",))
class IndexOffByOne(ReferenceSubject):
    def q_sample(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().q_sample(x_0, np.maximum(t - 1, 0), eps)


@plant("M16", "beta for sqrt(beta) in one step", ("FWD-3", "FWD-4"))
class NoRootInStep(ReferenceSubject):
    def q_step(self, x_prev: Array, t: Array, eps: Array) -> Array:
        return self._at(np.sqrt(1 - self.beta), t, x_prev) * x_prev + self._at(self.beta, t, x_prev) * eps


@plant("M17", "t broadcast on the last axis instead of the first", ("FWD-2",))
class WrongAxis(ReferenceSubject):
    def _at(self, table: Array, t: Array, x: Array) -> Array:
        entries = super()._at(table, t, x)
        return entries.reshape(*[1] * (x.ndim - 1), -1) if x.shape[-1] == len(x) else entries


# The posterior and the conversions.


@plant("M24", "posterior coefficients swapped", ("SCH-7", "POST-1"))
class SwappedCoefficients(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_coef_x_0, self.posterior_coef_x_t = self.posterior_coef_x_t, self.posterior_coef_x_0


@plant("M27", "log variance used as variance and the reverse", ("POST-3", "SMP-2"))
class LogForVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_log_variance = self.posterior_variance
        self.model_variance = np.exp(self.model_variance)


@plant("P05", "the posterior variance without its factor (1 - alpha_bar_prev)", ("POST-1",))
class NarrowedVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.posterior_variance = np.append(0.0, beta[1:] / (1 - self.alpha_bar[1:]))


@plant("M47", "score without its 1 / sqrt(1 - alpha_bar)", ("CONV-1",))
class UnscaledScore(ReferenceSubject):
    def score(self, x_t: Array, t: Array, eps: Array) -> Array:
        return -eps.astype(self.dtype)


@plant("P06", "velocity with the sign of its second term flipped", ("CONV-3",))
class VelocitySign(ReferenceSubject):
    def velocity(self, x_0: Array, t: Array, eps: Array) -> Array:
        return super().velocity(-x_0, t, eps)


# The samplers.


@plant("M29", "noise added in the last step", ("SMP-2",))
class NoiseAtLastStep(ReferenceSubject):
    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        mean, variance = self.p_mean_variance(x_t, t, eps_hat)
        return mean + np.sqrt(variance) * z


@plant("M30", "no noise at all", ("SMP-2",))
class NoNoise(ReferenceSubject):
    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        return self.p_mean_variance(x_t, t, eps_hat)[0]


@plant("M32", "sign of the predicted noise flipped", ("SMP-1",))
class NoiseSign(ReferenceSubject):
    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        return super().p_mean_variance(x_t, t, -eps_hat)


@plant("M34", "1 / sqrt(alpha_bar) for 1 / sqrt(alpha) in the mean", ("SMP-1",))
class AlphaBarInMean(ReferenceSubject):
    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        x_t, eps_hat = self._cast(x_t, eps_hat)
        noise = self._at(self.beta / np.sqrt(1 - self.alpha_bar), t, x_t) * eps_hat
        mean = (x_t - noise) * self._at(1 / np.sqrt(self.alpha_bar), t, x_t)
        return mean, self._at(self.model_variance, t, x_t)


@plant("P07", "posterior variance promised, beta delivered", ("SMP-1",))
class OtherVariance(ReferenceSubject):
    def _make_tables(self, beta: Array) -> None:
        super()._make_tables(beta)
        self.model_variance = np.append(self.model_variance[0], beta[1:])


@plant("M35", "the sampling loop ascends", ("SMP-3",))
class Ascending(ReferenceSubject):
    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        (x,) = self._cast(x_T)
        for i in range(self.num_timesteps):
            t = np.full(len(x), i)
            x = self.p_step(x, t, eps_model(x, t), z[i])
        return x


@plant("M37", "the model is told t - 1", ("SMP-3",))
class ModelToldLess(ReferenceSubject):
    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return super().sample(lambda x, t: eps_model(x, np.maximum(t - 1, 0)), x_T, z)


@plant("M39", "x_0 is clipped and the result discarded", ("SMP-7",), clip_x_0=True)
class DiscardedClip(ReferenceSubject):
    def p_mean_variance(self, x_t: Array, t: Array, eps_hat: Array) -> tuple[Array, Array]:
        mean, _ = self.q_posterior(self.predict_x_0(x_t, t, eps_hat), x_t, t)
        return mean, self._at(self.model_variance, t, mean)


@plant("M43", "DDIM's sigma without its square root", ("SMP-6",))
class NoRootOfSigma(ReferenceSubject):
    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        here, there = self.alpha_bar[t], np.append(1.0, self.alpha_bar)[t_prev + 1]
        sigma = eta * np.sqrt((1 - there) / (1 - here) * (1 - here / there))
        sigma = sigma.reshape(-1, *[1] * (x_t.ndim - 1))
        right = super().ddim_step(x_t, t, t_prev, eps_hat, z, eta)
        return np.asarray(right + (sigma**2 - sigma) * z, self.dtype)


@plant("M45", "DDIM adds noise even with eta = 0", ("SMP-6",))
class NoisyDDIM(ReferenceSubject):
    def ddim_step(self, x_t: Array, t: Array, t_prev: Array, eps_hat: Array, z: Array, eta: float) -> Array:
        return super().ddim_step(x_t, t, t_prev, eps_hat, z, max(eta, 0.1))


@plant("P08", "the strided sampler starts below T - 1 and ends above 0", ("STR-1",))
class LeadingSteps(ReferenceSubject):
    def timesteps(self, num_steps: int) -> Array:
        return self.num_timesteps // num_steps * np.arange(num_steps)[::-1]


@plant("P09", "the strided sampler steps by a fixed stride of its own", ("STR-2",))
class FixedStride(ReferenceSubject):
    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        (x,) = self._cast(x_T)
        stride = self.num_timesteps // num_steps
        for i, step in enumerate(self.timesteps(num_steps)):
            t, t_prev = np.full(len(x), step), np.full(len(x), max(step - stride, -1))
            x = self.ddim_step(x, t, t_prev, eps_model(x, t), z[i], eta)
        return x


# The loss and the likelihood.


@plant("M01", "the loss draws other noise for x_t than for the target", ("LOS-1", "GRD-1"))
class OwnNoise(ReferenceSubject):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        output = eps_model(self.q_sample(x_0, t, np.roll(eps, 1, axis=0)), t)
        return float(np.mean((self.target(x_0, t, eps) - output) ** 2))

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        x_t = self.q_sample(x_0, t, np.roll(eps, 1, axis=0))
        residual = self.target(x_0, t, eps) - x_t @ w.T
        return np.asarray(-2 / residual.size * (residual.T @ x_t))


@plant("M60", "every prediction is compared with every target of the batch", ("LOS-1",))
class CrossedBatch(ReferenceSubject):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        output = eps_model(self.q_sample(x_0, t, eps), t)
        return float(np.mean((self.target(x_0, t, eps)[:, None] - output[None]) ** 2))


@plant("M62", "a sum for the mean in the loss's gradient", ("GRD-1",))
class SummedGradient(ReferenceSubject):
    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        return super().linear_loss_gradient(w, x_0, t, eps) * x_0.shape[1]


@plant("M49", "KL arguments swapped", ("KL-1",))
class SwappedKL(ReferenceSubject):
    def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
        return super().normal_kl(mean_2, log_variance_2, mean_1, log_variance_1)


@plant("M52", "the prior term is forgotten", ("VLB-2",))
class NoPrior(ReferenceSubject):
    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        terms = super().vlb_terms(eps_model, x_0, eps)
        return {**terms, "total": terms["total"] - terms["prior"]}


class Bins(ReferenceSubject):
    """A decoder with other bins: `half` wide to each side, and open at the ends or not."""

    half, open_ends = 1 / 255, True

    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        x_0, mean, log_scale = self._cast(x_0, mean, log_scale)
        low, high = x_0 - self.half, x_0 + self.half
        if self.open_ends:
            low, high = np.where(x_0 < -0.999, -np.inf, low), np.where(x_0 > 0.999, np.inf, high)
        mass = ndtr((high - mean) * np.exp(-log_scale)) - ndtr((low - mean) * np.exp(-log_scale))
        return np.log(np.maximum(mass, 1e-300))


@plant("M54", "half a bin is 1/256", ("DEC-1", "DEC-2"))
class NarrowBins(Bins):
    half = 1 / 256


@plant("M54b", "half a bin is 1/127.5", ("DEC-1", "DEC-2"))
class DoubleBins(Bins):
    half = 1 / 127.5


@plant("M55", "the end bins are not open", ("DEC-2",))
class ClosedBins(Bins):
    open_ends = False


@plant("P10", "the decoder's tails are cut at 1e-12", ("DEC-3",))
class CutTails(ReferenceSubject):
    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        return np.maximum(super().decoder_log_likelihood(x_0, mean, log_scale), np.log(1e-12))


@plant("P11", "the decoder's Phi is the tanh approximation", ("DEC-1",))
class TanhDecoder(ReferenceSubject):
    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        def phi(z: Array) -> Array:
            return np.asarray(0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))))

        low, high = (x_0 - mean - 1 / 255) * np.exp(-log_scale), (x_0 - mean + 1 / 255) * np.exp(-log_scale)
        below, above = np.where(x_0 < -0.999, 0, phi(low)), np.where(x_0 > 0.999, 1, phi(high))
        return np.log(np.maximum(above - below, 1e-12))


@plant("M58", "nats for bits", ("DEC-5",))
class NatsForBits(ReferenceSubject):
    def _bits(self, nats: Array) -> Array:
        return super()._bits(nats) * np.log(2)


@plant("P12", "the first term of the bound is a KL term instead of the decoder", ("VLB-4",))
class NoDecoder(ReferenceSubject):
    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        terms = super().vlb_terms(eps_model, x_0, eps)
        return {**terms, "decoder": terms["kl"][0], "total": terms["total"] - terms["decoder"] + terms["kl"][0]}


# Training aids and images.


@plant("M71", "decay and 1 - decay swapped in the moving average", ("EMA-1",))
class SwappedDecay(ReferenceSubject):
    def ema(self, values: Array, decay: float) -> Array:
        return super().ema(values, 1 - decay)


@plant("M75", "grey levels divided by 256", ("TRN-3",))
class DividedBy256(ReferenceSubject):
    def from_uint8(self, u: Array) -> Array:
        return np.asarray(u / 128 - 1, self.dtype)


@plant("P13", "images are truncated to grey levels, not rounded", ("IMG-1",))
class TruncatedImages(ReferenceSubject):
    def to_uint8(self, x: Array) -> Array:
        return super().to_uint8(x - 1 / 255)


# The network; its own variants are many more, and are tested with the network's checks.


class Deaf(Pass):
    def add_time(self, h: Any, emb: Any, name: str) -> Any:
        return h


class DeafNetwork(ReferenceNetwork):
    passes = Deaf


@plant("M03", "the time embedding is computed and not used", ("NET-2", "NET-3"), network=True)
class UnusedTime(ReferenceSubject):
    def _use_network(self, made: ReferenceNetwork) -> None:
        super()._use_network(DeafNetwork(dtype=self.dtype))
