"""Watching a whole sampling loop through the model it calls.

The model is the judge's own, so it sees every x_t and t that the loop passes through, and knows every eps_hat it
answered. With the noise given, each recorded x_{t-1} must be the step of the recorded x_t, so one run of a loop is
checked step by step, with the tolerance of a single step: a skipped step, a wrong order, a noise used twice shows at
its own t.

All loops carry the same batch of eight images of 8×8 pixels, in which different questions travel side by side:

* images 0 to 3: the best model for Gaussian pixels (`oracle_gaussian`), with its own mean and variance in each pixel;
  in image 0 no noise;
* images 4 and 5: a model that says x_0 = ±2, outside what clipping allows;
* images 6 and 7: the best model for the real digits (`oracle_empirical`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verification.affine import remembered, shaped
from verification.check import generator
from verification.guard import SubjectError
from verification.identification import as_input
from verification.oracle import ExactSchedule, exact
from verification.oracle_empirical import digits, empirical_eps
from verification.oracle_gaussian import Array, GaussianChain, Integers
from verification.protocol import Subject

GAUSSIAN, OUTSIDE, REAL = slice(0, 4), slice(4, 6), slice(6, 8)
SHAPE = (8, 1, 8, 8)
SAID_X_0 = np.array([2.0, -2.0])  # of images 4 and 5


@dataclass
class Spy:
    """A model that answers with `model` and keeps what it was asked: x_t, t and the answer of every call."""

    model: Callable[[Array, int], Array]
    subject: Subject
    loop: str
    x_t: list[Array] = field(default_factory=list)
    t: list[Integers] = field(default_factory=list)
    eps_hat: list[Array] = field(default_factory=list)

    def __call__(self, x_t: Array, t: Array) -> Array:
        """The answer for x_t (8, 1, 8, 8) at t (8,), in the subject's own type; `SubjectError` on anything else."""
        if np.shape(x_t) != SHAPE or np.shape(t) != SHAPE[:1] or np.asarray(t).dtype.kind not in "iu":
            given = f"x_t of shape {np.shape(x_t)} and t of shape {np.shape(t)}, {np.asarray(t).dtype}"
            raise SubjectError(self.loop, f"gave its model {given}: expected {SHAPE} and whole numbers {SHAPE[:1]}")
        self.t.append(np.array(t))
        self.x_t.append(np.array(x_t, dtype=np.float64))
        answer = as_input(self.subject, self.model(self.x_t[-1], int(self.t[-1][0])))
        self.eps_hat.append(answer.astype(np.float64))
        return answer


@dataclass(frozen=True)
class Loop:
    """One watched run of a loop of n steps: what the model saw and answered, the noise z, each (n, 8, 1, 8, 8), t (n,
    8).

    `after` is what followed each x_t: the next x_t, and at the end the output.
    """

    x_T: Array  # noqa: N815 - the paper's letter
    x_t: Array
    t: Integers
    eps_hat: Array
    z: Array
    output: Array

    @property
    def after(self) -> Array:
        """x_{t-1} for each x_t."""
        return np.concatenate([self.x_t[1:], self.output[None]])


def pixels(tables: ExactSchedule) -> GaussianChain:
    """Gaussian data in 64 pixels, none alike: standard deviations 1/16 to 1/4, means -1/4 to 1/4."""
    deviation = np.linspace(1 / 16, 1 / 4, 64)
    return GaussianChain(tables, np.linspace(-1 / 4, 1 / 4, 64)[::-1], deviation**2)


def model_of(tables: ExactSchedule) -> Callable[[Array, int], Array]:
    """The model that all loops ask: (x_t (8, 1, 8, 8), t) -> eps_hat."""
    chain, images = pixels(tables), digits()

    def answer(x_t: Array, t: int) -> Array:
        flat = x_t.reshape(8, 64)
        eps_hat = np.empty_like(flat)
        eps_hat[GAUSSIAN] = chain.eps_hat(flat[GAUSSIAN], t)
        said = SAID_X_0[:, None] * tables.sqrt_alpha_bar[t]
        eps_hat[OUTSIDE] = (flat[OUTSIDE] - said) / tables.sqrt_one_minus_alpha_bar[t]
        eps_hat[REAL] = empirical_eps(tables, images, flat[REAL], t)
        return eps_hat.reshape(SHAPE)

    return answer


def start_and_noise(num_steps: int) -> tuple[Array, Array]:
    """x_T and z, (8, 1, 8, 8) and (num_steps, 8, 1, 8, 8): normal numbers on a grid of 1/64, exact in every type.

    They are cut off at 2.5, which keeps the x_0 that the Gaussian images imply inside [-1, 1]. Image 0 has no noise,
    image 1 starts at 0.
    """
    random = generator("loops")

    def draw(*shape: int) -> Array:
        return np.asarray(np.round(np.clip(random.normal(size=shape), -2.5, 2.5) * 64) / 64)

    x_T, z = draw(*SHAPE), draw(num_steps, *SHAPE)
    z[:, 0] = 0.0
    x_T[1] = 0.0
    return x_T, z


def watch(subject: Subject, loop: str, num_steps: int, *options: Any) -> Loop:
    """Run the method `loop` on the batch of this module, and record it."""
    x_T, z = start_and_noise(num_steps)
    spy = Spy(model_of(exact(subject)), subject, loop)
    output = shaped(loop, getattr(subject, loop)(spy, x_T, z, *options), SHAPE)
    # A loop that never asks is recorded all the same, as arrays of no steps.
    seen = (np.array(each).reshape(-1, *SHAPE) for each in (spy.x_t, spy.eps_hat))
    return Loop(x_T, next(seen), np.array(spy.t, dtype=np.int64).reshape(-1, len(x_T)), next(seen), z, output)


def ancestral_loop(subject: Subject) -> Loop:
    """One watched run of `sample`; the same run serves every check of a subject."""
    return remembered(subject, "sample", lambda: watch(subject, "sample", subject.num_timesteps))


def strided_loop(subject: Subject, num_steps: int, eta: float) -> Loop:
    """One watched run of `sample_strided`."""
    key = f"sample_strided {num_steps} {eta}"
    return remembered(subject, key, lambda: watch(subject, "sample_strided", num_steps, num_steps, eta))
