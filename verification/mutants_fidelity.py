"""Mistakes that spoil the images: the reference's loops with one thing wrong, which most single steps do not show."""

from __future__ import annotations

import numpy as np

from verification.fidelity_trial import BANDWIDTH
from verification.mutants import mutant
from verification.oracle_empirical import digit_labels, digits
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject


class WrongLoops(ReferenceSubject):
    """Both loops of the reference with other noise going in (`noise`) and other images coming out (`result`)."""

    def noise(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T, z

    def result(self, images: Array) -> Array:
        return images

    def sample(self, eps_model: EpsModel, x_T: Array, z: Array) -> Array:
        return self.result(super().sample(eps_model, *self.noise(x_T, z)))

    def sample_strided(self, eps_model: EpsModel, x_T: Array, z: Array, num_steps: int, eta: float) -> Array:
        return self.result(super().sample_strided(eps_model, *self.noise(x_T, z), num_steps, eta))


def of_digits(images: Array) -> bool:
    """Whether these are images of the size of the digits: what is fitted to digits leaves others as they are."""
    return images.reshape(len(images), -1).shape[1] == digits().shape[1]


def nearest_digit(images: Array) -> Array:
    """Which of the judge's digits each image is nearest to, (B,)."""
    rows = images.reshape(len(images), -1)
    return np.asarray((rows @ digits().T - (digits() ** 2).sum(axis=1) / 2).argmax(axis=1))


@mutant("F01", "mode collapse: eight different images a batch, the others their copies", ("FID-1", "FID-2", "FID-3"))
class Collapse(WrongLoops):
    def noise(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        same = np.arange(len(x_T)) % 8
        return x_T[same], z[:, same]


@mutant("F02", "training images returned in place of samples", ("FID-4",))
class Memorised(WrongLoops):
    def result(self, images: Array) -> Array:
        if not of_digits(images):
            return images
        return digits()[nearest_digit(images)].reshape(images.shape).astype(images.dtype)


@mutant("F03", "noise 5 % too small in every step", ("FID-1", "FID-4"))
class LessNoise(WrongLoops):
    def noise(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T, 0.95 * z


@mutant("F04", "the same noise in every step", ("FID-1", "FID-2", "FID-3", "FID-4"))
class OneNoise(WrongLoops):
    def noise(self, x_T: Array, z: Array) -> tuple[Array, Array]:
        return x_T, np.broadcast_to(z[:1], z.shape)


@mutant("F05", "images negated", ("FID-1", "FID-2", "FID-3", "FID-4"))
class Negative(WrongLoops):
    def result(self, images: Array) -> Array:
        return -images


@mutant("F06", "rows and columns of the images exchanged", ("FID-1", "FID-2", "FID-3", "FID-4"))
class Transposed(WrongLoops):
    def result(self, images: Array) -> Array:
        return np.swapaxes(images, -1, -2)


@mutant("F07", "images left at half their contrast", ("FID-1", "FID-2", "FID-3", "FID-4"))
class HalfContrast(WrongLoops):
    def result(self, images: Array) -> Array:
        return images / 2


@mutant("F08", "noise left in the images, as large as their blur", ("FID-1", "FID-3", "FID-4"))
class NoiseLeft(WrongLoops):
    def result(self, images: Array) -> Array:
        left = BANDWIDTH * np.random.default_rng(0).standard_normal(images.shape)
        return np.asarray(images + left, images.dtype)


@mutant("F09", "two of the ten digits are never drawn", ("FID-2", "FID-3"))
class MissingModes(WrongLoops):
    def result(self, images: Array) -> Array:
        if not of_digits(images):
            return images
        kept = images[digit_labels()[nearest_digit(images)] > 1]
        return np.resize(kept, images.shape)
