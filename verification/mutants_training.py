"""Mistakes in the loss, the likelihood, the training aids and the images."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from verification.mutants import mutant
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject

# The loss and the likelihood.


@mutant("M01", "the loss draws other noise for x_t than for the target", ("LOS-1", "GRD-1"))
class OwnNoise(ReferenceSubject):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        output = eps_model(self.q_sample(x_0, t, np.roll(eps, 1, axis=0)), t)
        return float(np.mean((self.target(x_0, t, eps) - output) ** 2))

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        x_t = self.q_sample(x_0, t, np.roll(eps, 1, axis=0))
        residual: Array = self.target(x_0, t, eps) - x_t @ w.T
        return np.asarray(-2 / residual.size * (residual.T @ x_t))


@mutant("M60", "every prediction is compared with every target of the batch", ("LOS-1", "GRD-1"))
class CrossedBatch(ReferenceSubject):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        output = eps_model(self.q_sample(x_0, t, eps), t)
        return float(np.mean((self.target(x_0, t, eps)[:, None] - output[None]) ** 2))

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        x_t = self.q_sample(x_0, t, eps)
        residual = self.target(x_0, t, eps).mean(axis=0) - x_t @ w.T
        return np.asarray(-2 / residual.size * (residual.T @ x_t), self.dtype)


@mutant("M62", "a sum over the dimensions for the mean in the loss", ("GRD-1", "LOS-2"))
class SummedLoss(ReferenceSubject):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        return float(super().loss(eps_model, x_0, t, eps) * x_0[0].size)

    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        return super().linear_loss_gradient(w, x_0, t, eps) * x_0.shape[1]


@mutant("P20", "the gradient is that at the weights of the step before", ("TRN-1",))
class StaleGradient(ReferenceSubject):
    def linear_loss_gradient(self, w: Array, x_0: Array, t: Array, eps: Array) -> Array:
        before = getattr(self, "_before", w)
        self._before = np.array(w)
        return super().linear_loss_gradient(before if before.shape == w.shape else w, x_0, t, eps)


@mutant("M49", "KL arguments swapped", ("KL-1",), variance="beta")
class SwappedKL(ReferenceSubject):
    def normal_kl(self, mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
        return super().normal_kl(mean_2, log_variance_2, mean_1, log_variance_1)


@mutant("M52", "the prior term is forgotten", ("VLB-2",))
class NoPrior(ReferenceSubject):
    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        terms = super().vlb_terms(eps_model, x_0, eps)
        return {**terms, "prior": 0 * terms["prior"], "total": terms["total"] - terms["prior"]}


class Bins(ReferenceSubject):
    """A decoder with other bins: `half` wide to each side, and open at the ends or not."""

    half, open_ends = 1 / 255, True

    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        x_0, mean, log_scale = self._cast(x_0, mean, log_scale)
        low: Array = x_0 - self.half
        high: Array = x_0 + self.half
        if self.open_ends:
            low, high = np.where(x_0 < -0.999, -np.inf, low), np.where(x_0 > 0.999, np.inf, high)
        mass = ndtr((high - mean) * np.exp(-log_scale)) - ndtr((low - mean) * np.exp(-log_scale))
        return np.asarray(np.log(np.maximum(mass, 1e-300)))


@mutant("M54", "half a bin is 1/256", ("DEC-1", "DEC-2"))
class NarrowBins(Bins):
    half = 1 / 256


@mutant("M54b", "half a bin is 1/127.5", ("DEC-1", "DEC-2"))
class DoubleBins(Bins):
    half = 1 / 127.5


@mutant("M55", "the end bins are not open", ("DEC-2",))
class ClosedBins(Bins):
    open_ends = False


@mutant("P10", "the decoder's tails are cut at 1e-12", ("DEC-1",))
class CutTails(ReferenceSubject):
    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        return np.asarray(np.maximum(super().decoder_log_likelihood(x_0, mean, log_scale), np.log(1e-12)))


@mutant("P11", "the decoder's Phi is the tanh approximation", ("DEC-1",))
class TanhDecoder(ReferenceSubject):
    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        def phi(z: Array) -> Array:
            return np.asarray(0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))))

        low, high = (x_0 - mean - 1 / 255) * np.exp(-log_scale), (x_0 - mean + 1 / 255) * np.exp(-log_scale)
        below, above = np.where(x_0 < -0.999, 0, phi(low)), np.where(x_0 > 0.999, 1, phi(high))
        return np.asarray(np.log(np.maximum(above - below, 1e-12)))


@mutant("M58", "nats for bits", ("DEC-5",))
class NatsForBits(ReferenceSubject):
    def _bits(self, nats: Array) -> Array:
        return np.asarray(super()._bits(nats) * np.log(2))


@mutant("M58b", "the decoder answers in bits", ("DEC-1",))
class DecoderInBits(ReferenceSubject):
    def decoder_log_likelihood(self, x_0: Array, mean: Array, log_scale: Array) -> Array:
        return np.asarray(super().decoder_log_likelihood(x_0, mean, log_scale) / np.log(2), self.dtype)


@mutant("P12", "the first term of the bound is a KL term instead of the decoder", ("VLB-4",))
class NoDecoder(ReferenceSubject):
    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        terms = super().vlb_terms(eps_model, x_0, eps)
        return {**terms, "decoder": terms["kl"][0], "total": terms["total"] - terms["decoder"] + terms["kl"][0]}


# Training aids and images.


@mutant("M71", "decay and 1 - decay swapped in the moving average", ("EMA-1",))
class SwappedDecay(ReferenceSubject):
    def ema(self, values: Array, decay: float) -> Array:
        return super().ema(values, 1 - decay)


@mutant("M75", "grey levels divided by 256", ("TRN-3",))
class DividedBy256(ReferenceSubject):
    def from_uint8(self, u: Array) -> Array:
        return np.asarray(u / 128 - 1, self.dtype)


@mutant("M75b", "images are multiplied by 128, half of 256", ("IMG-1",))
class MultipliedBy128(ReferenceSubject):
    def to_uint8(self, x: Array) -> Array:
        return super().to_uint8((x + 1) * (128 / 127.5) - 1)


@mutant("P13", "images are truncated to grey levels, not rounded", ("IMG-1",))
class TruncatedImages(ReferenceSubject):
    def to_uint8(self, x: Array) -> Array:
        return super().to_uint8(x - 1 / 255)
