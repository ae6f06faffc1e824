"""Many images by a subject's sampling loops, and as many that a right sampler would have made, of a known law.

The model is the judge's own and the best there is for its data, so what the loop returns is the loop's affair alone.
Two laws of data:

* **Gaussian images**, 4×4: the output of the loop is Gaussian too, with mean and variance from the recursion over its
  steps (`oracle_gaussian.py`);
* **blurred digits**, 8×8: real images with a known density (`oracle_kde.py`). After finitely many steps the output's
  law is near that density, not on it (with 15 of 1000 steps the blur keeps less than half of its variance), so the
  subject's images are not compared with draws of the density, but with those of the judge's own loop: the same steps
  with other noise, in float64, from the coefficients of `oracle_gaussian.py`. Both are draws from one law, exactly.

Two loops are tried, `sample` and `sample_strided`. A long ancestral chain is made short first, where the subject offers
variants: on the cosine schedule, which reaches noise in 24 steps, where a linear one does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from verification.affine import remembered, shaped
from verification.guard import SubjectError
from verification.identification import as_input
from verification.oracle import ExactSchedule, exact
from verification.oracle_empirical import digits
from verification.oracle_gaussian import (
    Array,
    GaussianChain,
    ancestral_law,
    ddim_coefficients,
    ddim_law,
    posterior_coefficients,
    step_variance,
)
from verification.oracle_kde import kde_draw, kde_eps, kde_mean
from verification.protocol import Subject
from verification.randomness import cached_per_seed, generator

BLOCKS, BLOCK = 20, 128
IMAGES = BLOCKS * BLOCK
"""Blurred digits from each loop: in blocks, because a block is what has a score (`fidelity_null.critical_excess`)."""
REFERENCE_IMAGES = 1280
BANDWIDTH = 0.2  # of the blur, in units of [-1, 1]: between one and two of the digits' grey levels
GAUSSIAN_IMAGES = 16384
SIDE = 4  # of a Gaussian image
STRIDED_STEPS, SHORT_STEPS = 15, 24
LONG = 100  # a chain with more steps than this is made short where it can be
NOISE_BYTES = 2**25  # of noise that a subject is handed at a time


class Sampler(NamedTuple):
    """One loop of a subject: the method's name, the subject it is called on, and the indices it visits."""

    method: str
    subject: Subject
    timesteps: tuple[int, ...]

    def images(self, model: Callable[[Array, int], Array], shape: tuple[int, int, int], count: int) -> Array:
        """`count` images as rows (count, d), float64, by the subject's loop with `model(x_t (B, d), t) -> eps_hat`.

        In batches of one size. Raises `SubjectError` for outputs of another shape or that are not finite.
        """
        random, steps = generator(f"fidelity {self.method} {shape}"), len(self.timesteps)
        batch = count
        while batch % 2 == 0 and 8 * steps * batch * int(np.prod(shape)) > NOISE_BYTES:
            batch //= 2
        made = [self._batch(model, random.standard_normal((steps + 1, batch, *shape))) for _ in range(count // batch)]
        rows = np.concatenate(made).reshape(count, -1)
        if not np.isfinite(rows).all():
            raise SubjectError(self.method, "returned NaN or infinity")
        return rows

    def _batch(self, model: Callable[[Array, int], Array], noise: Array) -> Array:
        def eps_model(x_t: Array, t: Array) -> Array:
            rows = np.asarray(x_t).astype(np.float64).reshape(len(x_t), -1)
            return as_input(self.subject, model(rows, int(np.ravel(t)[0])).reshape(np.shape(x_t)))

        given = as_input(self.subject, noise)
        loop = getattr(self.subject, self.method)
        options = (len(self.timesteps), 1.0) if self.method == "sample_strided" else ()
        return shaped(self.method, loop(eps_model, given[0], given[1:], *options), noise.shape[1:])


def ancestral(subject: Subject) -> Sampler:
    """The loop `sample`, of a short variant of a long subject where there is one."""

    def make() -> Sampler:
        used = subject if subject.num_timesteps <= LONG else _short(subject)
        return Sampler("sample", used, tuple(range(used.num_timesteps - 1, -1, -1)))

    return remembered(subject, "fidelity: sample", make)


def _short(subject: Subject) -> Subject:
    try:
        return subject.variant(schedule="cosine", num_timesteps=SHORT_STEPS)
    except Exception:  # noqa: BLE001 - whatever it raises, it does not offer this variant, and is taken as it is
        return subject


def strided(subject: Subject) -> Sampler:
    """The loop `sample_strided` with as much noise as there can be (eta = 1), of the subject as it is."""

    def make() -> Sampler:
        visited = subject.timesteps(min(STRIDED_STEPS, subject.num_timesteps))
        return Sampler("sample_strided", subject, tuple(int(t) for t in np.ravel(visited)))

    return remembered(subject, "fidelity: sample_strided", make)


def gaussian_data(tables: ExactSchedule) -> GaussianChain:
    """Gaussian images: deviations 3/32 to 1/8, means within 1/4, so that clipping to [-1, 1] changes nothing."""
    d = SIDE**2
    return GaussianChain(tables, np.linspace(-1 / 4, 1 / 4, d)[::-1], np.linspace(3 / 32, 1 / 8, d) ** 2)


def gaussian_images(sampler: Sampler) -> Array:
    """What the subject makes of Gaussian data, (GAUSSIAN_IMAGES, 16)."""
    chain = gaussian_data(exact(sampler.subject))
    return sampler.images(chain.eps_hat, (1, SIDE, SIDE), GAUSSIAN_IMAGES)


def gaussian_law(sampler: Sampler) -> tuple[Array, Array]:
    """Mean and variance (16,) of what a right sampler makes of Gaussian data."""
    chain = gaussian_data(exact(sampler.subject))
    if sampler.method == "sample":
        return ancestral_law(chain, sampler.subject.variance)
    return ddim_law(chain, np.array(sampler.timesteps), 1.0)


def sampled_digits(sampler: Sampler) -> Array:
    """What the subject makes of blurred digits, (IMAGES, 64); the same images serve every check."""
    tables = exact(sampler.subject)

    def model(x_t: Array, t: int) -> Array:
        return kde_eps(tables, x_t, kde_mean(tables, digits(), BANDWIDTH, x_t, t), t)

    made = lambda: sampler.images(model, (1, 8, 8), IMAGES)  # noqa: E731 - a name for what is made once
    return remembered(sampler.subject, f"fidelity: digits by {sampler.method}", made)


class RightLoop(NamedTuple):
    """All that the law of a right sampler's images depends on, given the model: the same for many subjects."""

    tables: ExactSchedule
    method: str
    timesteps: tuple[int, ...]
    variance: str
    clip_x_0: bool


def right_loop(sampler: Sampler) -> RightLoop:
    """The loop that the subject should run."""
    subject = sampler.subject
    return RightLoop(exact(subject), sampler.method, sampler.timesteps, str(subject.variance), bool(subject.clip_x_0))


@cached_per_seed(maxsize=8)
def right_digits(loop: RightLoop) -> Array:
    """What a right sampler makes of blurred digits, (IMAGES, 64), by the judge's own loop."""
    random = generator(f"fidelity: right {loop.method}")
    x = random.standard_normal((IMAGES, 64))
    for t, of_x_0, of_x_t, sigma in zip(loop.timesteps, *coefficients(loop), strict=True):
        x_0 = kde_mean(loop.tables, digits(), BANDWIDTH, x, t)
        x_0 = np.clip(x_0, -1, 1) if loop.clip_x_0 else x_0
        x = of_x_0 * x_0 + of_x_t * x + sigma * random.standard_normal(x.shape)
    x.flags.writeable = False
    return np.asarray(x)


def coefficients(loop: RightLoop) -> tuple[Array, Array, Array]:
    """Of x_0 and of x_t, and the noise's size, (n,) each, in the order the steps are taken."""
    tables, t = loop.tables, np.array(loop.timesteps)
    if loop.method == "sample":
        posterior, sigma = posterior_coefficients(tables), np.sqrt(step_variance(tables, loop.variance))
        return posterior.x_0[t], posterior.x_t[t], np.where(t > 0, sigma[t], 0.0)
    step = ddim_coefficients(tables, t, np.append(t[1:], -1), 1.0)
    of_x_t = step.direction / tables.sqrt_one_minus_alpha_bar[t]  # eps_hat is what x_0 leaves of x_t
    return step.signal - of_x_t * tables.sqrt_alpha_bar[t], of_x_t, step.z


@cached_per_seed(maxsize=1)
def fresh_digits() -> Array:
    """Draws of the known density itself, (REFERENCE_IMAGES, 64): what both sides' blocks are scored against."""
    drawn = kde_draw(digits(), BANDWIDTH, REFERENCE_IMAGES, generator("fidelity: density"))
    drawn.flags.writeable = False
    return drawn
