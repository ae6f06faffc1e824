"""The random numbers that a subject draws by itself, for all checks that look at them.

Few time steps and many images: `STEPS` steps of one `SHAPE`, so that every sample size of `significance.py` is reached
in a handful of large calls, and graph mode compiles each method once. The pixels are no picture. The first twelve are
Gaussian data with a full covariance and the last four a mixture (`SAMPLED`, `MIXTURE`), where a sampler is judged; all
sixteen are independent and take two values each, equally often (`corners`), where training is.

The subject judged is `with_few_steps`: the same one with `STEPS` steps, which predicts eps and does not clip, since all
this is exact for linear models only, and in float32 if its own type is shorter: rounding would hide what is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.fft import dct

from verification.affine import remembered, shaped
from verification.guard import SubjectError
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, GaussianChain, Integers
from verification.oracle_mixture import Mixture
from verification.protocol import Subject, dtype_of
from verification.randomness import seed_of

STEPS = 40
SHAPE = (16384, 1, 4, 4)
IMAGES, PIXELS = SHAPE[0], 16
SAMPLED = slice(0, 12)  # pixels of Gaussian data in the sampler's batch; the others are the mixture

MIXTURE = Mixture(weights=(0.35, 0.65), means=(-0.4, 0.3), deviations=(0.08, 0.1))
ROTATION: Array = np.asarray(dct(np.eye(12), norm="ortho"))  # orthogonal: from independent coordinates to pixels
COORDINATE_MEANS: Array = np.linspace(-0.5, 0.5, 12)
COORDINATE_DEVIATIONS: Array = np.linspace(0.0625, 0.25, 12)

CORNERS = 64
CORNER_MEANS: Array = np.arange(-8, 8) / 32  # exact in every floating-point type, and so are the deviations
CORNER_DEVIATIONS: Array = np.arange(1, 17) / 32


def with_few_steps(subject: Subject) -> Subject:
    """The subject with `STEPS` steps, no clipping, eps as what is predicted and at least float32; made once."""
    choices: dict[str, Any] = {"num_timesteps": STEPS, "clip_x_0": False}
    if dtype_of(subject) not in ("float32", "float64"):
        choices["dtype"] = "float32"
    if hasattr(subject, "parameterization"):
        choices["parameterization"] = "eps"
    return remembered(subject, "few steps", lambda: subject.variant(**choices))


def corners() -> Array:
    """Training images, (64, 1, 4, 4): mean + or - deviation in each pixel.

    The signs are Walsh functions, so over the 64 images every pixel has its mean and variance exactly, and any two
    pixels have no covariance; the first six say which image it is.
    """
    return (CORNER_MEANS + CORNER_DEVIATIONS * walsh_signs()).reshape(CORNERS, *SHAPE[1:])


@lru_cache(maxsize=1)
def walsh_signs() -> Array:
    """(64, 16): column p is (-1) to the number of bits that the row's number shares with the p-th code."""
    codes = [1, 2, 4, 8, 16, 32, 3, 5, 9, 17, 33, 6, 10, 18, 34, 63]
    shared = np.array([[bin(row & code).count("1") for code in codes] for row in range(CORNERS)])
    return np.asarray(1.0 - 2.0 * (shared % 2))


@dataclass(eq=False)
class Draws:
    """What the `subject`, which has `STEPS` steps, draws for its `seed`; each stream when it is first asked for."""

    subject: Subject
    seed: int

    @property
    def tables(self) -> ExactSchedule:
        """Of the subject."""
        return exact(self.subject)

    @cached_property
    def sampling(self) -> tuple[Array, Array]:
        """x_T (16384, 1, 4, 4) and z (40, 16384, 1, 4, 4), in the subject's type."""
        return noise_of(self.subject, SHAPE, STEPS, self.seed)

    @cached_property
    def training(self) -> tuple[Array, Integers, Array]:
        """x_0, t and eps of 40 steps with 16384 images each, from `corners`; t is (40, 16384)."""
        drawn = self.subject.training_batches(corners(), IMAGES, STEPS, self.seed)
        x_0, t, eps = (np.asarray(drawn[name]) for name in ("x_0", "t", "eps"))
        for values, shape in ((x_0, (STEPS, *SHAPE)), (t, (STEPS, IMAGES)), (eps, (STEPS, *SHAPE))):
            if values.shape != shape:
                raise SubjectError("training_batches", f"returned shape {values.shape} where {shape} was asked for")
        if t.dtype.kind not in "iu" or t.min() < 0 or t.max() >= STEPS:
            raise SubjectError("training_batches", f"drew t in {t.min()} ... {t.max()}, {t.dtype}, of {STEPS} steps")
        return x_0, t, eps

    @property
    def pixels(self) -> GaussianChain:
        """The law of training's pixels, were they Gaussian: a linear model sees only mean and variance."""
        return GaussianChain(self.tables, CORNER_MEANS, CORNER_DEVIATIONS**2)


def noise_of(subject: Subject, shape: tuple[int, ...], num_steps: int, seed: int) -> tuple[Array, Array]:
    """`sampling_noise` as two arrays of the promised shapes; `SubjectError` on anything else."""
    x_T, z = subject.sampling_noise(shape, num_steps, seed)
    for values, expected in ((x_T, shape), (z, (num_steps, *shape))):
        if np.shape(values) != expected:
            raise SubjectError("sampling_noise", f"returned shape {np.shape(values)} where {expected} was asked for")
    return x_T, z


_latest: list[Draws] = []


def draws(subject: Subject) -> Draws:
    """The draws of the subject with few steps in this run. Only the latest are kept: they are a hundred megabytes."""
    few, seed = with_few_steps(subject), seed_of("draws")
    if not (_latest and _latest[0].subject is few and _latest[0].seed == seed):
        _latest[:] = [Draws(few, seed)]
    return _latest[0]


def rows(values: Array) -> Array:
    """Images (B, ...) as rows of pixels (B, 16), float64; `SubjectError` cannot come from here, only from `shaped`."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def step_of(subject: Subject, method: str, *arguments: Any) -> Array:
    """A method's result on images of `SHAPE`, in the subject's own type, of that shape."""
    result = getattr(subject, method)(*arguments)
    shaped(method, result, SHAPE)
    return np.asarray(result)
