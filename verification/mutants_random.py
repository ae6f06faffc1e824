"""Mistakes in what is drawn, and in what is made of it. With given noise most of them are right: exact checks pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from verification.mutants import mutant
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject

# Training.


class OtherEps(ReferenceSubject, ABC):
    """Training noise that is `spoilt`."""

    @abstractmethod
    def spoilt(self, eps: Array) -> Array:
        """What becomes of the noise of all steps, (K, B, C, H, W), or what is broadcast to that."""

    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        drawn = super().training_batches(x_0, batch_size, num_steps, seed)
        return {**drawn, "eps": np.ascontiguousarray(np.broadcast_to(self.spoilt(drawn["eps"]), drawn["eps"].shape))}


@mutant("R01", "training noise is drawn once and used in every step", ("FWD-5", "RNG-1"))
class OneEpsForAllSteps(OtherEps):
    def spoilt(self, eps: Array) -> Array:
        return eps[:1]


@mutant("R02", "training noise is one image for the whole batch", ("FWD-5", "RNG-1"))
class OneEpsForAllImages(OtherEps):
    def spoilt(self, eps: Array) -> Array:
        return eps[:, :1]


@mutant("R03", "noise is one number for all pixels of an image", ("FWD-5", "SMP-9"))
class OneNumberForAllPixels(OtherEps):
    def spoilt(self, eps: Array) -> Array:
        return eps[..., :1, :1]

    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        noise = super().sampling_noise(shape, num_steps, seed)
        return tuple(np.ascontiguousarray(np.broadcast_to(each[..., :1, :1], each.shape)) for each in noise)  # type: ignore[return-value]  # two


# Sampling.


class OtherNoise(ReferenceSubject, ABC):
    """Sampling noise that is `spoilt`."""

    @abstractmethod
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        """What becomes of x_T (B, ...) and of z (steps, B, ...), or what is broadcast to them."""

    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        x_T, z = super().sampling_noise(shape, num_steps, seed)
        other_x_T, other_z = self.spoilt(x_T, z)
        return np.array(np.broadcast_to(other_x_T, x_T.shape)), np.array(np.broadcast_to(other_z, z.shape))


@mutant("R04", "a sampler's noise is drawn once and used in every step", ("SMP-4", "RNG-1", "SMP-8"))
class OneZForAllSteps(OtherNoise):
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T, z[:1]


@mutant("R05", "x_T has variance 1.05", ("SMP-9",))
class WideStart(OtherNoise):
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T * np.sqrt(1.05), z


@mutant("R06", "a sampler's noise is one image for the whole batch", ("SMP-4", "RNG-1"))
class OneZForAllImages(OtherNoise):
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T, z[:, :1]


@mutant("R07", "every batch of a hundred images is seeded alike", ("RNG-1",))
class BatchesAlike(OtherNoise):
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        again = np.arange(len(x_T)) % 100
        return x_T[again], z[:, again]


@mutant("R10", "x_T is uniform, of mean 0 and variance 1", ("SMP-9",))
class UniformStart(OtherNoise):
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return np.sqrt(12) * (ndtr(x_T) - 0.5), z


@mutant("R14", "the first step's noise is x_T again", ("RNG-1",))
class StartAgain(OtherNoise):
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T, np.concatenate([x_T[None], z[1:]])


@mutant("R21", "the noise of each step has a tenth of the one before in it", ("SMP-4", "RNG-1"))
class DependentSteps(OtherNoise):
    def spoilt(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T, np.sqrt(1 - 0.1**2) * z + 0.1 * np.concatenate([x_T[None], z[:-1]])


class OtherSigma(ReferenceSubject):
    """Steps whose noise is `factor` times too large."""

    factor = 1.0

    def p_step(self, x_t: Array, t: Array, eps_hat: Array, z: Array) -> Array:
        return super().p_step(x_t, t, eps_hat, self.factor * z)


@mutant("R08", "sigma is 6 % too large", ("SMP-2", "SMP-4", "SMP-8"))
class LargeSigma(OtherSigma):
    factor = 1.06


@mutant("R20", "sigma is 2 % too small", ("SMP-2", "SMP-4"))
class SmallSigma(OtherSigma):
    factor = 0.98


# The loss and the bound.


@mutant("R09", "the model is told the t of another image", ("GRD-4", "LOS-1"))
class OthersTime(ReferenceSubject):
    def loss(self, eps_model: EpsModel, x_0: Array, t: Array, eps: Array) -> float:
        return super().loss(lambda x, at: eps_model(x, np.roll(at, 1)), x_0, t, eps)


class OtherBound(ReferenceSubject, ABC):
    """A total that is `wrong`."""

    @abstractmethod
    def wrong(self, terms: dict[str, Array]) -> Array:
        """The total, (B,), made of the right terms."""

    def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
        terms = super().vlb_terms(eps_model, x_0, eps)
        return {**terms, "total": self.wrong(terms)}


@mutant("R18", "the KL terms are averaged over t, not added", ("VLB-2", "VLB-3"))
class AveragedTerms(OtherBound):
    def wrong(self, terms: dict[str, Array]) -> Array:
        return np.asarray(terms["prior"] + terms["kl"].mean(axis=0) + terms["decoder"])


@mutant("R19", "the prior term is taken off the bound", ("VLB-2", "VLB-3"), variance="beta")
class NegativePrior(OtherBound):
    def wrong(self, terms: dict[str, Array]) -> Array:
        return np.asarray(terms["total"] - 2 * terms["prior"])


@mutant("R23", "the first KL term counts twice", ("VLB-2", "VLB-3"), variance="beta")
class FirstTermTwice(OtherBound):
    def wrong(self, terms: dict[str, Array]) -> Array:
        return np.asarray(terms["total"] + terms["kl"][0])


# Time steps and seeds.


@mutant("R11", "one t for the whole batch", ("TRN-2",))
class OneTimeForAll(ReferenceSubject):
    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        drawn = super().training_batches(x_0, batch_size, num_steps, seed)
        return {**drawn, "t": np.repeat(drawn["t"][:, :1], batch_size, axis=1)}


@mutant("R12", "training never draws t = 0", ("TRN-2",))
class NeverTheFirst(ReferenceSubject):
    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        drawn = super().training_batches(x_0, batch_size, num_steps, seed)
        return {**drawn, "t": np.maximum(drawn["t"], 1)}


@mutant("R22", "half of the images are never drawn", ("TRN-2",))
class HalfTheImages(ReferenceSubject):
    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        return super().training_batches(x_0[: len(x_0) // 2], batch_size, num_steps, seed)


@mutant("R13", "sampling and training share one stream", ("RNG-1",))
class OneStream(ReferenceSubject):
    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        x_T, z = super().sampling_noise(shape, num_steps, seed)
        return x_T, np.random.default_rng(seed).standard_normal(z.shape).astype(z.dtype)

    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        drawn = super().training_batches(x_0, batch_size, num_steps, seed)
        return {**drawn, "eps": np.random.default_rng(seed).standard_normal(drawn["eps"].shape).astype(self.dtype)}


@mutant("R15", "the sampler ignores its seed", ("RNG-2",))
class SeedlessSampling(ReferenceSubject):
    def sampling_noise(self, shape: Sequence[int], num_steps: int, seed: int) -> tuple[Array, Array]:
        return super().sampling_noise(shape, num_steps, 0)


@mutant("R16", "training ignores its seed", ("RNG-2",))
class SeedlessTraining(ReferenceSubject):
    def training_batches(self, x_0: Array, batch_size: int, num_steps: int, seed: int) -> dict[str, Array]:
        return super().training_batches(x_0, batch_size, num_steps, 0)


@mutant("R17", "a seed counts only the first time: later draws go on from where the generator was", ("RNG-2",))
class GlobalGenerator(ReferenceSubject):
    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self._calls = 0

    def draw_timesteps(self, n: int, seed: int) -> Array:
        self._calls += 1
        return super().draw_timesteps(n, seed + 1000 * self._calls)
