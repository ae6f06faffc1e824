"""The same DDPM in every floating-point type: what a type rounds is bounded, and half of the bits are not half a DDPM.

Tables made in float64 and cast once are right to a unit roundoff in any type. Made in half precision they are not:
alpha_bar of the first linear step, 0.9999, is 1 there, so that 1 - alpha_bar is 0 and the step adds no noise at all.
A type that the subject refuses with a sentence is no failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from verification.check import Evidence, check
from verification.checks_choices import made
from verification.checks_forward import q_sample_coefficients, q_step_coefficients
from verification.checks_sampler import ancestral_step, reverse_transition, whole_loop
from verification.checks_strided import ddim_step, strided_loops
from verification.gradient_trial import gradient_truth_of
from verification.identification import ROUNDINGS_OF_TABLE
from verification.network_trial import trial_of
from verification.oracle import exact
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, holds, smallest, unit_roundoff

Run = Callable[[Subject], Iterator[Evidence]]

HALVES = ("float16", "bfloat16")
DTYPES = ("float64", "float32", *HALVES)
LARGEST = {"float64": 1.8e308, "float32": 3.4e38, "float16": 65504.0, "bfloat16": 3.4e38}
"""The largest number of each type: a chain is out of its reach whose x_0 = x_t/sqrt(alpha_bar) + … would pass it."""


@check(
    "MODE-2",
    claim="In float64, float32, float16 and bfloat16 the forward process errs by that type's rounding, and is finite.",
    source="Ho et al. 2020, Eqs. 2 and 4; a type's unit roundoff (IEEE 754)",
    needs=("variant", "q_sample", "q_step", "tables"),
    level=1,
    kills=("Q20",),
    tolerance="T1: those of FWD-1 and FWD-3, with the unit roundoff of each type.",
)
def every_type_is_as_right_as_it_can_be(subject: Subject) -> Iterator[Evidence]:
    """MODE-2: the coefficients at every t of the variants in each type, against 200-bit tables."""
    for dtype in DTYPES:
        other = made(subject, dtype=dtype)
        if isinstance(other, Evidence):
            yield other
            continue
        yield holds(dtype_of(other) == dtype, where=f"dtype={dtype}", reason=f"the variant says {dtype_of(other)}")
        for run in (q_sample_coefficients, q_step_coefficients):
            for evidence in run(other):
                yield replace(evidence, where=f"dtype={dtype}, {evidence.where}")


@check(
    "DTY-1",
    claim="In half precision the noise has its standard deviation sqrt(1 - alpha_bar_t) at every t, and is never lost.",
    source="Ho et al. 2020, Eq. 4, at t = 1 above all, where 1 - alpha_bar is 1e-4",
    needs=("variant", "q_sample"),
    level=1,
    kills=("Q20",),
    tolerance="T1: five roundings of the one term that is not zero, what float64 leaves uncertain, and underflow.",
)
def half_precision_keeps_the_noise(subject: Subject) -> Iterator[Evidence]:
    """DTY-1: x_0 = 0 and eps = 1 leave the standard deviation alone; float16 and bfloat16."""
    for dtype in HALVES:
        other = made(subject, dtype=dtype)
        yield from [other] if isinstance(other, Evidence) else _noise_kept(other, dtype)


def _noise_kept(subject: Subject, dtype: str) -> Iterator[Evidence]:
    tables, t = exact(subject), np.arange(subject.num_timesteps)
    ones = np.ones((len(t), 1), np.float16 if dtype == "float16" else np.float32)
    seen = np.asarray(subject.q_sample(np.zeros_like(ones), t, ones)).astype(float)
    due = tables.sqrt_one_minus_alpha_bar[:, None]
    own = tables.error("sqrt_one_minus_alpha_bar")[:, None]
    bound = ROUNDINGS_OF_TABLE * (unit_roundoff(dtype) * due + smallest(dtype)) + own
    reason = "sqrt(1 - alpha_bar_t), made in float64 and cast once"
    yield compare(seen, due, bound, where=lambda index: f"dtype={dtype}, t={index[0]}", reason=reason)
    lost = np.flatnonzero((seen.reshape(-1) == 0) & (due[:, 0] >= smallest(dtype)))
    where = f"dtype={dtype}, t={lost[0]}" if lost.size else f"dtype={dtype}"
    yield holds(not lost.size, where=where, reason=f"{lost.size} steps add no noise at all")


@check(
    "MODE-2.reverse",
    claim="In float64, float32 and half precision the steps back err by that type's rounding, and are finite.",
    source="Ho et al. 2020, Algorithm 2 and Eq. 7; Song et al. 2021, Eqs. 12 and 16",
    needs=("variant", "p_mean_variance", "p_step", "ddim_step", "num_timesteps", "variance"),
    level=5,
    kills=("Q21",),
    tolerance="T1: those of SMP-1, SMP-1.mean and SMP-6, with the unit roundoff of each type.",
)
def every_type_steps_back_as_right_as_it_can(subject: Subject) -> Iterator[Evidence]:
    """MODE-2 of the samplers' steps: their coefficients at every t of the variants in each other type."""
    for dtype, other in _others(subject):
        for evidence in _in_reach(other, dtype, (reverse_transition, ancestral_step, ddim_step)):
            yield replace(evidence, where=f"dtype={dtype}, {evidence.where}")


@check(
    "MODE-2.samplers",
    claim="In half precision both whole loops take all their steps, each to that type's rounding, and end finite.",
    source="Ho et al. 2020, Algorithm 2; Song et al. 2021, section 4.2",
    needs=("variant", "sample", "sample_strided", "timesteps", "num_timesteps", "variance"),
    level=5,
    kills=("Q24",),
    tolerance="T1: those of SMP-3 and STR-2, with the unit roundoff of each type.",
)
def every_type_samples_as_right_as_it_can(subject: Subject) -> Iterator[Evidence]:
    """MODE-2 of the samplers, every step of a loop from where the last one ended; SMP-3 and STR-2 do wider types."""
    for dtype, other in _others(subject, HALVES):
        for evidence in _in_reach(other, dtype, (whole_loop, strided_loops)):
            yield replace(evidence, where=f"dtype={dtype}, {evidence.where}")


@check(
    "MODE-2.network",
    claim="Asked in any type, the network gives its numbers and its gradient to that type's rounding, and no NaN.",
    source="a type's unit roundoff (IEEE 754); the network's own arithmetic may be wider",
    needs=("variant", "network", "network_gradient", "weights", "network_config"),
    level=5,
    kills=("Q22", "Q23"),
    tolerance="T2 and T4: those of NET-8 and GRD-2 in the type of the weights; T1: one rounding to the type asked for.",
)
def every_type_gets_the_same_network(subject: Subject) -> Iterator[Evidence]:
    """MODE-2 of the network: outputs and every parameter's gradient of the variants in each other type."""
    for dtype, other in _others(subject):
        if isinstance(other, Evidence):
            yield other
            continue
        trial = trial_of(other)
        bound = trial.bound + _cast(dtype, trial.exact)
        where = lambda index, trial=trial, dtype=dtype: f"dtype={dtype}, {trial.images.place(index)}"  # noqa: E731
        yield compare(trial.outputs, trial.exact, bound, where=where, reason="the float64 oracle, given in this type")
        truth = gradient_truth_of(other)
        seen = other.network_gradient(truth.x, truth.t, truth.target)
        for name, exact_gradient in truth.exact.items():
            allowed = truth.bound(name) + _cast(dtype, exact_gradient)
            yield compare(
                seen.get(name), exact_gradient, allowed, where=f"dtype={dtype}, gradient of {name}",
                reason="the float64 oracle's gradient, given in this type",
            )  # fmt: skip


def _others(subject: Subject, dtypes: Sequence[str] = DTYPES) -> Iterator[tuple[str, Subject | Evidence]]:
    """The subject's variants in those of the types that are not its own, or evidence that they are refused."""
    for dtype in dtypes:
        if dtype != dtype_of(subject):
            yield dtype, made(subject, dtype=dtype)


def _in_reach(subject: Subject | Evidence, dtype: str, runs: Sequence[Run]) -> Iterator[Evidence]:
    """The evidence of `runs`, or that there is nothing to ask for: the type is refused, or too small for the chain."""
    if isinstance(subject, Evidence):
        yield subject
        return
    steepest = 1 / float(exact(subject).sqrt_alpha_bar.min())
    if steepest > LARGEST[dtype]:
        reason = f"1/sqrt(alpha_bar) reaches {steepest:.1e}, which no number of this type holds: nothing to ask for"
        yield holds(True, where="the steps back", reason=reason)
        return
    for run in runs:
        yield from run(subject)


def _cast(dtype: str, values: Array) -> Array:
    """What rounding `values` to a type costs: half a unit in the last place, or of the smallest number it has."""
    return np.asarray(unit_roundoff(dtype) * np.abs(values) + smallest(dtype))
