"""The forward process: each step forgets a little, and all of them together have a closed form.

    x_t = sqrt(1 − beta_t) x_{t−1} + sqrt(beta_t) eps          Ho et al. 2020, Eq. 2 (`q_step`)
    x_t = sqrt(ā_t) x_0 + sqrt(1 − ā_t) eps                    Eq. 4 (`q_sample`)

Both are linear in their two arrays, with coefficients that depend on t alone, so their coefficients are read off for
every t in one call (`identification.py`) and nothing here is a matter of chance. That the two fit together, step after
step, is checked on the coefficients that the subject really uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from verification.check import Evidence, check, generator
from verification.identification import (
    ROUNDINGS_OF_TABLE,
    applied,
    as_input,
    at_every_t,
    compare_linear,
    known,
    probe,
)
from verification.oracle import U64, exact
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, exactly, smallest, unit_roundoff

CUBE = (4, 4, 4, 4)
"""Images whose axes all have one length: in them a time step on the wrong axis is wrong without raising anything."""


PIXEL = ("image", "channel", "row", "column")


@check(
    "FWD-1",
    claim="q_sample returns sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps at every t, and nothing else.",
    source="Ho et al. 2020, Eq. 4",
    needs=("q_sample", "tables"),
    level=1,
    kills=("M04", "M09", "M12", "M13", "M14", "P04"),
    tolerance="T1: five roundings of each term, and what float64 leaves uncertain in the two tables.",
)
def q_sample_coefficients(subject: Subject) -> Iterator[Evidence]:
    """Coefficients of `q_sample` at every t, with unit inputs."""
    inputs, schedule = probe(subject, generator("FWD-1")), exact(subject)
    yield compare_linear(
        at_every_t(subject, "q_sample", inputs.first, inputs.second),
        inputs,
        (known(schedule, "sqrt_alpha_bar"), known(schedule, "sqrt_one_minus_alpha_bar")),
        subject=subject,
        names=("q_sample", "x_0", "eps"),
        roundings=ROUNDINGS_OF_TABLE,
        reason="Eq. 4 with tables made in float64 and cast once: 5 u of each term",
    )


@check(
    "FWD-3",
    claim="q_step returns sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps at every t, and nothing else.",
    source="Ho et al. 2020, Eq. 2",
    needs=("q_step", "tables"),
    level=1,
    kills=("M16",),
    tolerance="T1: five roundings of each term, and what float64 leaves uncertain in the two tables.",
)
def q_step_coefficients(subject: Subject) -> Iterator[Evidence]:
    """Coefficients of `q_step` at every t, with unit inputs."""
    inputs, schedule = probe(subject, generator("FWD-3")), exact(subject)
    yield compare_linear(
        at_every_t(subject, "q_step", inputs.first, inputs.second),
        inputs,
        (known(schedule, "alpha").sqrt(), known(schedule, "beta").sqrt()),
        subject=subject,
        names=("q_step", "x_{t-1}", "eps"),
        roundings=ROUNDINGS_OF_TABLE,
        reason="Eq. 2 with tables made in float64 and cast once: 5 u of each term",
    )


@check(
    "FWD-2",
    claim="Each image of a batch is treated by its own time step, whatever its neighbours' are and wherever it stands.",
    source="Ho et al. 2020, Algorithm 1: t is drawn for each image",
    needs=("q_sample", "q_step"),
    level=1,
    kills=("M17",),
    tolerance="T0: the same arithmetic on the same numbers; rows of 64 numbers are whole vectors in every order.",
)
def each_image_has_its_own_time_step(subject: Subject) -> Iterator[Evidence]:
    """A batch of mixed time steps against batches of one time step each, and against the same batch turned round."""
    random = generator("FWD-2")
    first, second = (as_input(subject, random.normal(size=CUBE)) for _ in range(2))
    t = np.linspace(0, subject.num_timesteps - 1, len(first)).astype(np.int64)
    for name in ("q_sample", "q_step"):
        mixed = applied(subject, name, first, t, second)[0]
        alone = [applied(subject, name, first, np.full_like(t, t[i]), second)[0][i] for i in range(len(t))]
        reason = f"{name} of a batch with t = {t.tolist()}, and of batches with one t each"
        yield exactly(mixed, np.stack(alone), where=name, labels=PIXEL, reason=reason)
        turned = applied(subject, name, first[::-1].copy(), t[::-1].copy(), second[::-1].copy())[0][::-1]
        reason = f"{name} of a batch, and of the same batch in reverse order"
        yield exactly(turned, mixed, where=name, labels=PIXEL, reason=reason)


@check(
    "FWD-4",
    claim="Steps of q_step, composed from any starting point, are the closed form of q_sample.",
    source="Ho et al. 2020, Eqs. 2 and 4",
    needs=("q_step", "q_sample", "tables"),
    level=2,
    kills=("M09", "M12", "M13", "M14", "M16"),
    tolerance="T2: relative errors of the coefficients add up along a product; variances are sums of positive terms.",
)
def steps_compose_to_the_marginal(subject: Subject) -> Iterator[Evidence]:
    """Each step as a Gaussian map, with the coefficients it really uses; maps composed exactly, in float64."""
    T, steps = subject.num_timesteps, _identified(subject, "q_step")
    marginals = _after_x_0(_identified(subject, "q_sample"))
    one_on = _moved(_rows(marginals, slice(None, -1)), steps)
    yield from _agree(_rows(marginals, slice(1, None)), one_on, lambda t: f"one step after t={t - 1}: t={t}")
    for start in sorted({0, T // 3, 2 * T // 3}):
        many_on = _moved(_rows(marginals, slice(start, start + 1)), _composed(_rows(steps, slice(start, None))))
        places = partial(_split, start)
        yield from _agree(_rows(marginals, slice(start + 1, None)), many_on, places)


def _split(start: int, index: int) -> str:
    return f"{start} steps at once and then {index + 1} one by one: t={start + index}"


class _Gaussian(NamedTuple):
    """x -> N(signal x, variance), one an entry, (T,) each, and the relative errors that rounding allows them."""

    signal: Array
    variance: Array
    signal_error: Array
    variance_error: Array


def _rows(maps: _Gaussian, rows: slice) -> _Gaussian:
    return _Gaussian(*(values[rows] for values in maps))


def _after_x_0(maps: _Gaussian) -> _Gaussian:
    """The same with x_0 itself, N(x_0, 0), before the first: (T + 1,)."""
    return _Gaussian(*(np.insert(values, 0, first) for values, first in zip(maps, (1, 0, 0, 0), strict=True)))


def _identified(subject: Subject, name: str) -> _Gaussian:
    """The coefficients of `q_step` or `q_sample` as the subject computes them; from the tables, only their error."""
    inputs, schedule, u = probe(subject, generator("FWD-4")), exact(subject), unit_roundoff(dtype_of(subject))
    output = at_every_t(subject, name, inputs.first, inputs.second).astype(np.float64)
    signal, variance = ("alpha", "beta") if name == "q_step" else ("alpha_bar", "one_minus_alpha_bar")
    own = ROUNDINGS_OF_TABLE * u + 2 * U64
    errors = (known(schedule, signal).relative / 2 + own, known(schedule, variance).relative + 2 * own)
    return _Gaussian(output[:, 0], output[:, 1] ** 2, *errors)


def _moved(start: _Gaussian, by: _Gaussian) -> _Gaussian:
    """The map `start` followed by the map `by`. A sum of positive terms is no less exact than its worst term."""
    kept = 2 * by.signal_error + start.variance_error
    return _Gaussian(
        signal=start.signal * by.signal,
        variance=start.variance * by.signal**2 + by.variance,
        signal_error=start.signal_error + by.signal_error + U64,
        variance_error=np.where(start.variance > 0, np.maximum(kept, by.variance_error), by.variance_error) + 3 * U64,
    )


def _composed(steps: _Gaussian) -> _Gaussian:
    """Entry k: the first k + 1 steps as one map."""
    total, variances = 0.0, []
    for gain, added in zip(steps.signal.tolist(), steps.variance.tolist(), strict=True):
        total = gain * gain * total + added
        variances.append(total)
    product_error = np.cumsum(steps.signal_error + 2 * U64)
    variance_error = 2 * product_error + np.maximum.accumulate(steps.variance_error)
    return _Gaussian(np.cumprod(steps.signal), np.array(variances), product_error, variance_error)


def _agree(marginals: _Gaussian, composed: _Gaussian, where: Callable[[int], str]) -> Iterator[Evidence]:
    """`q_sample` against the composition, at every t of `marginals`."""
    reason = "relative errors of the coefficients multiplied add up, 5 u of each and what float64 leaves in its table"
    yield compare(
        marginals.signal,
        composed.signal,
        np.abs(composed.signal) * (composed.signal_error + marginals.signal_error),
        where=lambda index: f"coefficient of x_0, {where(index[0])}",
        reason=reason,
    )
    yield compare(
        marginals.variance,
        composed.variance,
        composed.variance * (composed.variance_error + marginals.variance_error),
        where=lambda index: f"variance of the noise, {where(index[0])}",
        reason=reason,
    )


@check(
    "FWD-6",
    claim="The forward process knows no direction: q_sample of rotated images and noise is the rotated q_sample.",
    source="Ho et al. 2020, Eq. 4: the covariance is a multiple of I",
    needs=("q_sample",),
    level=2,
    kills=("M17",),
    tolerance="T1: five roundings of each term on both sides, and one of each rotated input.",
)
def q_sample_is_isotropic(subject: Subject) -> Iterator[Evidence]:
    """A random rotation that mixes all channels and pixels of an image."""
    random, u = generator("FWD-6"), unit_roundoff(dtype_of(subject))
    size = math.prod(CUBE[1:])
    rotation = np.linalg.qr(random.normal(size=(size, size)))[0]
    x_0, eps = (as_input(subject, random.normal(size=CUBE)) for _ in range(2))
    t = np.linspace(0, subject.num_timesteps - 1, CUBE[0]).astype(np.int64)
    turned_x_0, turned_eps = (_turned(images, rotation) for images in (x_0, eps))
    turned_before = subject.q_sample(as_input(subject, turned_x_0), t, as_input(subject, turned_eps))
    # Neither coefficient exceeds 1, so the terms are at most the inputs; a rotation spreads an error over all pixels.
    spread = _turned(np.abs(x_0.astype(np.float64)) + np.abs(eps.astype(np.float64)), np.abs(rotation))
    bound = (ROUNDINGS_OF_TABLE + 1) * u * (np.abs(turned_x_0) + np.abs(turned_eps))
    yield compare(
        turned_before,
        _turned(subject.q_sample(x_0, t, eps), rotation),
        bound + (ROUNDINGS_OF_TABLE * u + size * U64) * spread,
        where="q_sample",
        labels=PIXEL,
        reason="rotating before and after: 5 u of each term on either side, 1 u for rounding the rotated inputs",
    )


def _turned(images: Array, rotation: Array) -> Array:
    """Each image as a vector, multiplied with `rotation` in float64."""
    return np.asarray(images.reshape(len(images), -1).astype(np.float64) @ rotation.T).reshape(images.shape)


@check(
    "FWD-7",
    claim="At the first step and at the last, q_sample scales an image without noise, and noise without an image.",
    source="Ho et al. 2020, Eq. 4",
    needs=("q_sample", "tables"),
    level=1,
    kills=("M04", "M12", "M13", "M14"),
    tolerance="T1: five roundings of the one term there is.",
)
def q_sample_at_its_corners(subject: Subject) -> Iterator[Evidence]:
    """Images with the extreme values of data, noise of several standard deviations, the first step and the last."""
    schedule, dtype = exact(subject), dtype_of(subject)
    ends = np.array([0, subject.num_timesteps - 1])
    image = np.resize(np.array([-1.0, 1.0, 0.5]), CUBE[1:])
    noise = np.resize(np.linspace(-6, 6, 13), CUBE[1:])
    none = np.zeros_like(image)
    kept = [known(schedule, table) for table in ("sqrt_alpha_bar", "sqrt_one_minus_alpha_bar")]
    expected = np.concatenate([np.multiply.outer(c.value[ends], x) for c, x in zip(kept, (image, noise), strict=True)])
    relative = np.concatenate([c.relative[ends] for c in kept]) + ROUNDINGS_OF_TABLE * unit_roundoff(dtype) + U64
    x_0, eps = (as_input(subject, np.stack(four)) for four in ([image, image, none, none], [none, none, noise, noise]))
    cases = ("t=0 without noise", "the last t without noise", "t=0 without image", "the last t without image")
    yield compare(
        subject.q_sample(x_0, np.tile(ends, 2), eps),
        expected,
        relative.reshape(4, 1, 1, 1) * np.abs(expected) + ROUNDINGS_OF_TABLE * smallest(dtype),
        where=lambda index: f"q_sample, {cases[index[0]]}",
        reason="one term only: 5 u of it",
    )
    nothing = np.zeros_like(x_0)
    found = subject.q_sample(nothing, np.tile(ends, 2), nothing)
    yield exactly(found, nothing, where="q_sample of zeros", reason="0 + 0 is 0")
