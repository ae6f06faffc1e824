"""One call of `vlb_terms` that asks all questions about the variational bound at once.

Eight images of six pixels travel side by side; the model is the judge's own and answers each in its own way:

* image 0: pixels on inner grey levels, and a model that knows the noise: what remains of the bound is its floor;
* image 1: the same with the darkest and the brightest level, whose bins are open;
* image 2: the model's noise is off by a known amount, so the weights of the bound can be read off;
* images 3 to 7: the best model for Gaussian pixels at five points whose weighted mean replaces the expectation.

The last are a cubature: a KL term is a quadratic in (x_0, eps), and for two independent normal variables points at
the centre and at ±2 on each axis, weighing 1/2 and 1/8 each, give the exact mean of every quadratic. So an
expectation is checked without sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from verification.affine import remembered
from verification.check import generator
from verification.guard import SubjectError
from verification.identification import as_input
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, GaussianChain
from verification.oracle_likelihood import LEVELS
from verification.protocol import Subject

PIXELS = (1, 2, 3)
SHAPE = (8, *PIXELS)
FLOOR, OPEN, OFF, GAUSSIAN = 0, 1, 2, slice(3, 8)
ON_LEVELS = slice(0, 3)  # images whose pixels are grey levels, so that the decoder can be judged
WEIGHTS = np.array([1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 8])
MEANS: Array = np.array([1 / 8, -1 / 8, 0, 1 / 16, -1 / 4, 1 / 4])
DEVIATIONS: Array = np.array([1 / 4, 1 / 8, 3 / 16, 5 / 16, 1 / 16, 1 / 4])


@dataclass(frozen=True)
class VlbProbe:
    """The inputs `x_0` (8, 1, 2, 3) and `eps` (T, 8, 1, 2, 3), what the model was asked, what the subject returned."""

    tables: ExactSchedule
    x_0: Array
    eps: Array
    terms: dict[str, Array]
    asked: dict[int, Array]

    @property
    def chain(self) -> GaussianChain:
        """The law of the pixels of images 3 to 7."""
        return gaussian_pixels(self.tables)

    @cached_property
    def x_t(self) -> Array:
        """The exact x_t, (T, 8, 1, 2, 3); Ho et al. 2020, Eq. 4."""
        a, v = (table[:, None, None, None, None] for table in (self.tables.sqrt_alpha_bar, self.noise_scale))
        return np.asarray(a * self.x_0 + v * self.eps)

    @property
    def noise_scale(self) -> Array:
        """sqrt(1 - alpha_bar), (T,)."""
        return self.tables.sqrt_one_minus_alpha_bar

    @cached_property
    def eps_hat(self) -> Array:
        """What the model answers at the exact x_t, (T, 8, 1, 2, 3)."""
        return np.stack([answer(self.tables, self.eps[t], self.x_t[t], t) for t in range(len(self.eps))])

    @property
    def miss(self) -> Array:
        """x_0 - x̂_0 for what the model says, (T, 8, 1, 2, 3): the error of its eps, seen in x_0."""
        scale = self.noise_scale / self.tables.sqrt_alpha_bar
        return np.asarray(scale[:, None, None, None, None] * (self.eps_hat - self.eps))


@lru_cache(maxsize=8)
def gaussian_pixels(tables: ExactSchedule) -> GaussianChain:
    """Six Gaussian pixels, narrow enough that no x_0 which the model says leaves [-1, 1] at any of the five points."""
    return GaussianChain(tables, MEANS, np.square(DEVIATIONS))


def offset(tables: ExactSchedule) -> Array:
    """By how much the eps of image 2 is off, (T,): at most 1, and at most 1/2 as seen in x_0; a power of two."""
    limit = np.minimum(1.0, tables.sqrt_alpha_bar / tables.sqrt_one_minus_alpha_bar / 2)
    return np.asarray(np.exp2(np.floor(np.log2(limit))))


def answer(tables: ExactSchedule, eps: Array, x_t: Array, t: int) -> Array:
    """The model's eps_hat (8, 1, 2, 3) for x_t at index t, where `eps` is the noise that made x_t."""
    eps_hat = np.array(eps)
    eps_hat[OFF] += offset(tables)[t]
    best = gaussian_pixels(tables).eps_hat(x_t[GAUSSIAN].reshape(5, 6), t)
    eps_hat[GAUSSIAN] = best.reshape(5, *PIXELS)
    return eps_hat


def inputs(subject: Subject) -> tuple[Array, Array]:
    """x_0 and eps in float64, exact in the subject's type."""
    T = subject.num_timesteps
    levels = LEVELS[[[100, 64, 140, 128, 127, 185], [0, 255, 1, 254, 90, 30], [100, 80, 160, 128, 140, 117]]]
    points = np.array([0.0, 2.0, -2.0, 0.0, 0.0])
    gaussian = MEANS + points[:, None] * DEVIATIONS
    x_0 = as_input(subject, np.concatenate([levels, gaussian]).reshape(SHAPE)).astype(np.float64)
    eps = np.round(np.clip(generator("vlb").normal(size=(T, *SHAPE)), -2, 2) * 64) / 64
    eps[:, GAUSSIAN] = np.roll(points, 2).reshape(5, 1, 1, 1)
    return x_0, eps


def vlb_probe(subject: Subject, *, again: bool = False) -> VlbProbe:
    """`vlb_terms` on these inputs; the same call serves all checks of a subject, unless it is wanted `again`."""
    tables = exact(subject)
    x_0, eps = inputs(subject)

    def run() -> VlbProbe:
        asked: dict[int, Array] = {}

        def model(x_t: Array, t: Array) -> Array:
            if np.shape(x_t) != SHAPE or np.shape(t) != SHAPE[:1] or len(np.unique(t)) != 1:
                given = f"x_t of shape {np.shape(x_t)} and t {np.unique(t)[:3]} of shape {np.shape(t)}"
                raise SubjectError("vlb_terms", f"gave its model {given}: expected {SHAPE} and one t for all images")
            step = int(t[0])
            asked[step] = np.asarray(x_t, dtype=np.float64)
            return as_input(subject, answer(tables, eps[step], asked[step], step))

        return VlbProbe(tables, x_0, eps, dict(subject.vlb_terms(model, x_0, eps)), asked)

    return run() if again else remembered(subject, "vlb_terms", run)
