"""The tables: T numbers beta, and everything that follows from them.

    alpha_t = 1 − beta_t,   ā_t = alpha_1 … alpha_t            Ho et al. 2020, section 2
    posterior_variance_t = beta_t (1 − ā_{t−1})/(1 − ā_t)      Eq. 7

Entry 0 belongs to the paper's t = 1. Tables are compared with the oracle's, entry by entry; the bound of an entry is
what float64 arithmetic may do to it in any sensible order (`ExactSchedule.rounding`) and two roundings in the subject's
dtype, the cast and one operation after it. Tables *computed* in float32 exceed that a thousandfold at the first steps,
where 1 − ā_t is a small difference, and are meant to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from verification.check import Evidence, check
from verification.diagnosis import diagnose
from verification.oracle import U64, ExactSchedule, exact, exact_schedule
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, holds, smallest, unit_roundoff

ROUNDINGS_OF_ENTRY = 2
"""The cast to the subject's dtype, and one operation after it, as in a square root of a cast table."""

VARIANCE_FLOOR = 1e-20
"""What code may put for a variance of 0 to keep its logarithm finite (improved-diffusion, diffusers)."""

PRIOR_LIMIT = 1e-3
"""Bits a dimension that x_T may still tell about the image; the paper's schedule leaves 3e-5."""

DERIVED = (
    "alpha",
    "alpha_bar",
    "one_minus_alpha_bar",
    "alpha_bar_prev",
    "sqrt_alpha_bar",
    "sqrt_one_minus_alpha_bar",
    "posterior_variance",
    "posterior_log_variance",
    "posterior_coef_x_0",
    "posterior_coef_x_t",
    "snr",
)
"""Tables that follow from beta, of which a subject may store any."""


def table_evidence(subject: Subject, name: str, stored: Array, schedule: ExactSchedule, *, reason: str) -> Evidence:
    """Evidence that the `stored` table (T,) called `name` is the exact one, to rounding."""
    truth, dtype = schedule.table(name), dtype_of(subject)
    bound = schedule.error(name) + ROUNDINGS_OF_ENTRY * (unit_roundoff(dtype) * np.abs(truth) + smallest(dtype))
    if name == "posterior_variance":
        bound = np.where(truth == 0, VARIANCE_FLOOR, bound)
    diagnosis = partial(diagnose, stored, name, schedule, truth=truth)
    return compare(stored, truth, bound, where=name, labels=("t",), reason=reason, diagnosis=diagnosis)


@check(
    "SCH-1",
    claim="Every table has one entry a time step, entry 0 is the paper's t = 1, and training draws exactly these t.",
    source="Ho et al. 2020, section 2",
    needs=("tables", "num_timesteps"),
    level=0,
    kills=("M09", "M10", "M19"),
    tolerance="T0 for shapes and indices; two roundings for entries that are the same number stored twice.",
)
def index_convention(subject: Subject) -> Iterator[Evidence]:
    """Shapes, the first entries, and the range of the time steps that training draws."""
    tables, T, u = subject.tables(), subject.num_timesteps, unit_roundoff(dtype_of(subject))
    stored = [name for name in ("beta", *DERIVED) if name in tables]
    yield holds("beta" in tables and "alpha_bar" in tables, where="tables", reason=f"stored are {', '.join(tables)}")
    for name in stored:
        shape = np.shape(tables[name])
        yield holds(shape == (T,), where=name, reason=f"shape {shape}, with num_timesteps = {T}")
    beta, alpha_bar = (np.asarray(tables[name], np.float64) for name in ("beta", "alpha_bar"))
    yield compare(
        alpha_bar[:1],
        1 - beta[:1],
        ROUNDINGS_OF_ENTRY * u + 4 * U64,
        where="alpha_bar, t=0",
        reason="alpha_bar_1 = 1 - beta_1: two roundings of numbers near 1",
    )
    if "alpha_bar_prev" in tables:
        expected = np.append(1.0, alpha_bar[:-1])
        bound = 2 * ROUNDINGS_OF_ENTRY * u * expected + 2 * smallest(dtype_of(subject))
        reason = "1, and then alpha_bar without its last entry: each rounded in its own way"
        yield compare(tables["alpha_bar_prev"], expected, bound, where="alpha_bar_prev", labels=("t",), reason=reason)
    if hasattr(subject, "draw_timesteps"):
        yield from _drawn_timesteps(subject, T)


def _drawn_timesteps(subject: Subject, T: int) -> Iterator[Evidence]:
    """Both ends are drawn, and nothing beyond. Of 40 T uniform draws none hits a given t with probability e^-40."""
    drawn = np.asarray(subject.draw_timesteps(40 * T, 0))
    ends = f"from {drawn.min()} to {drawn.max()}, where 0 to {T - 1} are the indices"
    yield holds(drawn.dtype.kind in "iu", where="draw_timesteps", reason=f"dtype {drawn.dtype}, indices are integers")
    yield holds(bool(drawn.min() == 0 and drawn.max() == T - 1), where="draw_timesteps", reason=ends)


@check(
    "SCH-2",
    claim="beta is the schedule that the subject declares, entry by entry.",
    source="Ho et al. 2020, section 4, and their code's get_beta_schedule; Nichol & Dhariwal 2021, Eq. 17",
    needs=("tables", "schedule"),
    level=0,
    kills=("M05",),
    tolerance="T3: four float64 roundings of 1, as for betas recovered from ratios of alpha_bar; two of the entry.",
)
def declared_betas(subject: Subject) -> Iterator[Evidence]:
    """The beta table against the oracle's for the declaration."""
    reason = "the declared formula in float64, cast once"
    yield table_evidence(subject, "beta", subject.tables()["beta"], exact(subject), reason=reason)


@check(
    "SCH-3",
    claim="Betas stay within the declared ends or cap; the cosine schedule is capped where its formula goes beyond.",
    source="Nichol & Dhariwal 2021, Eq. 17 and section 3.2",
    needs=("tables", "schedule"),
    level=0,
    kills=("M08", "P02"),
    tolerance="T3: cos² turns a rounding of its angle x into 2 x tan x of them; two roundings of the entry.",
)
def caps_and_the_cosine(subject: Subject) -> Iterator[Evidence]:
    """The subject's own schedule within its limits, and its cosine schedule, if it has or can make one."""
    spec: Mapping[str, Any] = subject.schedule or {}
    u, beta = unit_roundoff(dtype_of(subject)), np.asarray(subject.tables()["beta"], np.float64)
    highest = float(spec.get("max_beta", spec.get("beta_end", 1)))
    lowest = float(spec.get("beta_start", highest if spec["name"] == "constant" else 0.0))
    for limit, beyond in ((max(lowest, highest), beta), (-min(lowest, highest), -beta)):
        t = int(np.argmax(beyond))
        allowed = ROUNDINGS_OF_ENTRY * u * abs(limit) + 4 * U64
        reason = f"the schedule declares {dict(spec)}"
        yield Evidence(max(0.0, float(beyond[t] - limit)), allowed, f"beta beyond its declared limit, t={t}", reason)
    if spec["name"] == "cosine":
        yield from _cosine(subject)
    elif hasattr(subject, "variant"):
        yield from _cosine(subject.variant(schedule="cosine"))


def _cosine(subject: Subject) -> Iterator[Evidence]:
    schedule, beta = exact_schedule(subject.schedule or {}, subject.num_timesteps), subject.tables()["beta"]
    yield table_evidence(subject, "beta", beta, schedule, reason="the ratio of squared cosines in float64, cast once")
    cap = (subject.schedule or {})["max_beta"]
    at_cap, expected = (int(np.sum(b == np.asarray(cap, b.dtype))) for b in (beta, schedule.beta))
    yield holds(at_cap == expected, where="cosine", reason=f"{at_cap} entries at the cap {cap}, expected {expected}")


@check(
    "SCH-5",
    claim="x_T forgets the image: L_T is at most 1e-3 bits/dim for any image in [-1, 1], or no more than the subject's "
    "declaration implies.",
    source="Ho et al. 2020, sections 2 and 4.1: L_T is about 1e-5 bits/dim",
    needs=("tables",),
    level=0,
    kills=("M22",),
    tolerance="Exact: -log2(1 - alpha_bar_T)/2 at mean square 1; the rounding of alpha_bar_T where it is compared.",
)
def reaches_the_prior(subject: Subject) -> Iterator[Evidence]:
    """The prior term at the brightest possible image, where it is 1/2 log2 1/(1 − ā_T).

    A chain that keeps 13 % of the image's variance to its end (T = 200 with betas meant for T = 1000) starts sampling
    from noise it never saw. Whether that is a mistake depends on what was meant. A subject that *declares* the short
    unscaled ramp is what it says it is: the finding passes, at a ratio of 1, and its reason gives the figure and the
    remedy. It fails when the tables forget less than the declaration says (T reduced, but not the betas that were
    announced), or when nothing is declared and L_T exceeds the limit.
    """
    seen = _prior_term(float(np.asarray(subject.tables()["alpha_bar"], np.float64)[-1]))
    where, allowed = f"L_T at T = {subject.num_timesteps}", PRIOR_LIMIT
    reason = f"a chain may remember {PRIOR_LIMIT:g} bits/dim; declare the schedule if it is meant to remember more"
    if subject.schedule is not None:
        schedule = exact(subject)
        last, u = float(schedule.alpha_bar[-1]), unit_roundoff(dtype_of(subject))
        error = float(schedule.error("alpha_bar")[-1]) + ROUNDINGS_OF_ENTRY * u * last
        declared = _prior_term(min(last + error, 1 - u))
        if declared > PRIOR_LIMIT:
            allowed = declared
            reason = (
                f"the declared schedule itself leaves {declared:.3g} bits/dim at this T, above {PRIOR_LIMIT:g}: "
                "samples start from noise that training never saw; betas times 1000/T would reach the prior"
            )
    yield Evidence(seen, allowed, where, reason)


def _prior_term(alpha_bar: float) -> float:
    """L_T in bits a dimension for x_0 = ±1: KL(N(sqrt(ā) x_0, 1 − ā) || N(0, 1)) = −ln(1 − ā)/2."""
    return -math.log1p(-alpha_bar) / (2 * math.log(2)) if alpha_bar < 1 else math.inf


@check(
    "SCH-6",
    claim="Every stored table is what follows from beta, at every t.",
    source="Ho et al. 2020, Eqs. 4 and 7",
    needs=("tables",),
    level=0,
    kills=("M08", "M09", "M10", "M24", "M27"),
    tolerance="T3: float64 rounding through the condition of each formula at each t; two roundings of the entry.",
)
def derived_tables(subject: Subject) -> Iterator[Evidence]:
    """Each table the subject stores against the oracle's."""
    tables, schedule = subject.tables(), exact(subject)
    for name in DERIVED:
        if name in tables:
            reason = f"{name} in float64, cast once, and one operation"
            yield table_evidence(subject, name, tables[name], schedule, reason=reason)
