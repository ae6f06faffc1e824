"""Evidence about sampler steps: their coefficients one by one, their sum, and loops that take them in order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from verification.affine import ALL, NOTHING, Reading, affine_output, read_neighbours, remembered
from verification.check import Evidence
from verification.diagnosis import diagnose
from verification.loops import Loop
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, Integers, StepCoefficients, ddim_coefficients, posterior_coefficients
from verification.protocol import Subject
from verification.step_rounding import StepBounds, bound_of_way, ddim_bounds, keeps, propagated
from verification.tolerance import compare, exactly, holds

ETAS = (0.0, 0.5, 1.0)
MEAN_NAMES = {"x_t": "recip_sqrt_alpha", "eps_hat": "p_mean_coef_eps"}
VARIANCE_NAMES = {"posterior": "posterior_variance", "beta": "beta"}
SIGMA_NAMES = {"posterior": "sqrt_posterior_variance", "beta": "sqrt_beta"}


def coefficient_evidence(
    seen: Reading, step: StepCoefficients, bounds: StepBounds, tables: ExactSchedule, names: dict[str, str], what: str
) -> Iterator[Evidence]:
    """Evidence for each coefficient of a step that `names` lists (field -> the name that `diagnose` knows it by)."""
    for field, known_as in names.items():
        observed, expected = getattr(seen, field), getattr(step, field)
        yield compare(
            observed,
            expected,
            getattr(bounds, field),
            where=f"{what}, coefficient of {field}",
            labels=("t",),
            reason="the affine step that conditioning Gaussians gives, within the rounding of its terms",
            diagnosis=partial(diagnose, observed, known_as, tables, truth=expected),
        )


def affine_evidence(seen: Reading, step: StepCoefficients, bounds: StepBounds, what: str) -> Iterator[Evidence]:
    """Evidence that nothing comes of nothing, also beside other columns, and that the parts of a step add up."""
    yield exactly(
        seen.output[:, NOTHING],
        np.zeros(len(seen.output)),
        where=f"{what} of zeros",
        labels=("t",),
        reason="x_t = 0, eps_hat = 0, z = 0 give 0: no offset, and nothing from the other elements of the batch",
    )
    inputs = seen.probe
    allowed = propagated(bounds, inputs.x_t, inputs.eps_hat, inputs.z)
    yield compare(
        seen.output[:, ALL],
        affine_output(step, inputs)[:, ALL],
        allowed[:, ALL],
        where=f"{what} of x_t, eps_hat and z together",
        labels=("t",),
        reason="the step is affine: together they give the sum of what each gives",
    )


def order_evidence(loop: Loop, timesteps: Integers, what: str) -> Evidence:
    """Evidence that a loop asked its model once at each of `timesteps`, in that order, the same t for all images."""
    expected = np.broadcast_to(timesteps[:, None], (len(timesteps), len(loop.x_T))).astype(np.int64)
    reason = f"the model is asked at {short_list(timesteps)}"
    if loop.t.shape != expected.shape:
        calls = f"{len(loop.t)} calls of the model, expected {len(timesteps)}"
        return holds(False, where=what, reason=f"{calls}; {reason}", diagnosis=wrong_order(loop.t, timesteps))
    return exactly(
        loop.t,
        expected,
        where=f"{what}, call of the model",
        labels=("i", "image"),
        reason=reason,
        diagnosis=lambda: wrong_order(loop.t, timesteps),
    )


def wrong_order(seen: Integers, timesteps: Integers) -> str:
    """What a loop does that asks its model in another order."""
    if len(seen) < len(timesteps):
        return f"{len(timesteps) - len(seen)} of {len(timesteps)} steps are skipped"
    first = seen.reshape(len(seen), -1)[:, 0]
    if np.array_equal(first, timesteps[::-1]):
        return "the loop runs upwards"
    if np.array_equal(first, np.maximum(timesteps - 1, 0)) or np.array_equal(first, timesteps - 1):
        return "the model is told t - 1"
    return "the model is told t + 1" if np.array_equal(first, timesteps + 1) else ""


def short_list(values: Integers) -> str:
    """The first three and the last of a sequence, for a sentence."""
    shown = [str(int(value)) for value in values]
    return ", ".join(shown if len(shown) < 6 else [*shown[:3], "...", shown[-1]])


def steps_evidence(
    loop: Loop, images: slice, expected: Array, allowed: Array, *, what: str, reason: str, diagnosis: str = ""
) -> Evidence:
    """Evidence that what followed each x_t of some `images` is `expected`, both (n, images, ...), within `allowed`."""
    finite = np.isfinite(loop.after[:, images]).reshape(len(expected), -1).all(axis=1)
    if not finite.all():
        broken = int(loop.t[int(np.argmin(finite)), 0])
        return holds(False, where=f"{what}, t={broken}", reason=f"the loop leaves the finite numbers; {reason}")
    return compare(
        loop.after[:, images],
        expected,
        allowed,
        where=lambda index: f"{what}, t={loop.t[index[0], 0]}, image {images.start + index[1]}",
        reason=reason,
        diagnosis=diagnosis,
    )


def column(values: Array, like: Array) -> Array:
    """(T,) coefficients shaped to multiply `like`, (T, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def ancestral_next(subject: Subject, tables: ExactSchedule, x_t: Array, eps_hat: Array) -> Array:
    """The mean of x_{t-1} for x_t and eps_hat (T, ...): the posterior mean at the x_0 they imply, clipped if so set."""
    posterior = posterior_coefficients(tables)
    x_0 = (x_t - column(tables.sqrt_one_minus_alpha_bar, x_t) * eps_hat) / column(tables.sqrt_alpha_bar, x_t)
    if subject.clip_x_0:
        x_0 = np.clip(x_0, -1, 1)
    return np.asarray(column(posterior.x_0, x_t) * x_0 + column(posterior.x_t, x_t) * x_t)


def ddim_next(
    subject: Subject, tables: ExactSchedule, pairs: tuple[Integers, Integers], eta: float, x_t: Array, eps_hat: Array
) -> Array:
    """x_prev without noise for `pairs` (t, t_prev), (n,) each, and x_t, eps_hat (n, ...): eps anew if clipped."""
    step = ddim_coefficients(tables, *pairs, eta)
    signal, direction, _, per_x_t, per_eps = (column(values, x_t) for values in step)
    x_0 = per_x_t * x_t - per_eps * eps_hat
    if subject.clip_x_0:
        x_0 = np.clip(x_0, -1, 1)
        eps_hat = (per_x_t * x_t - x_0) / per_eps
    return np.asarray(signal * x_0 + direction * eps_hat)


def neighbours(subject: Subject, tables: ExactSchedule, eta: float) -> tuple[Reading, StepCoefficients, StepBounds]:
    """What `ddim_step` does from each t to t - 1, what it should do, and how exactly, as it is evidently made."""
    t = np.arange(subject.num_timesteps)
    seen, step = read_neighbours(subject, eta), ddim_coefficients(tables, t, t - 1, eta).affine
    return seen, step, fitting_bounds(subject, tables, ddim_bounds(subject, tables, t, t - 1, eta))


def fitting_bounds(subject: Subject, tables: ExactSchedule, ways: tuple[StepBounds, ...]) -> StepBounds:
    """For each coefficient the bound that fits how the subject's DDIM step is evidently made."""
    way = remembered(subject, "way of ddim_step", lambda: way_of_ddim(subject, tables))
    return StepBounds(*(bound_of_way(each, way) for each in zip(*ways, strict=True)))


DECISIVE = ("eps_hat", "z")
"""Which coefficient tells way 0 of `ddim_bounds` from 1, and 1 from 2: each rounds quite differently in the two."""


LONG = 1000
"""Steps of a chain that always tells how a DDIM step is made."""


def way_of_ddim(subject: Subject, tables: ExactSchedule) -> int:
    """Which way of `ddim_bounds` the subject takes, from its steps between neighbours at three values of eta.

    The first that the decisive coefficient at eta = 1 speaks for and no coefficient at any eta against; else the last.
    A chain too short to tell is made as the subject's own variant of `LONG` steps is, unless it speaks against that.
    """
    told: int | None = None
    for way, decisive in enumerate(DECISIVE):
        verdicts = verdicts_on(subject, tables, way)
        if False in verdicts.values():
            continue
        if verdicts[1.0, decisive]:
            return way
        told = way_of_longer(subject) if told is None else told
        if told <= way:
            return way
    return len(DECISIVE)


def verdicts_on(subject: Subject, tables: ExactSchedule, way: int) -> dict[tuple[float, str], bool | None]:
    """Whether each coefficient at each eta is that of a program of this way and not of the next, by (eta, name)."""
    t = np.arange(subject.num_timesteps)
    found = {}
    for eta in ETAS:
        seen, step = read_neighbours(subject, eta), ddim_coefficients(tables, t, t - 1, eta).affine
        narrow, wide = ddim_bounds(subject, tables, t, t - 1, eta)[way : way + 2]
        for field in StepBounds._fields:
            error = np.abs(getattr(seen, field) - getattr(step, field))
            found[eta, field] = keeps(error, getattr(narrow, field), getattr(wide, field))
    return found


def way_of_longer(subject: Subject) -> int:
    """The way of the subject's variant with `LONG` steps; the last, if there is none."""
    if subject.num_timesteps >= LONG or not hasattr(subject, "variant"):
        return len(DECISIVE)
    try:
        longer = subject.variant(num_timesteps=LONG)
    except Exception:  # noqa: BLE001 - a subject that refuses so many steps, for whatever reason, tells nothing
        return len(DECISIVE)
    return way_of_ddim(longer, exact(longer))
