"""Other choices than the one under test: the edges of T, every schedule, and names that do not exist.

A subject with `variant` can be asked for the same implementation at other settings. Short chains show indices that run
over an end (with one step there is no step before the last), capped schedules bring beta close to 1, and a misspelt
name must be refused rather than replaced by a default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from verification.check import Evidence, check, generator
from verification.checks_schedule import DERIVED, VARIANCE_FLOOR, table_evidence
from verification.guard import SubjectError
from verification.identification import ROUNDINGS_OF_FORMULA, known, moments_at_every_t, probe
from verification.oracle import SCHEDULES, exact
from verification.protocol import Subject, dtype_of
from verification.tolerance import compare, expect_raises, holds, unit_roundoff

SHORT = (1, 2)
LONG = 4000
ANY_T = (1, 2, 3, 7, 50, 1000, 5000)


def made(subject: Subject, **choices: Any) -> Subject | Evidence:
    """The subject's variant, or evidence that it was refused: with a sentence, if the evidence passes."""
    where = ", ".join(f"{name}={value}" for name, value in choices.items())
    try:
        return subject.variant(**choices)
    except SubjectError:
        raise
    except Exception as error:  # noqa: BLE001 - any exception is a refusal; what counts is whether it says why
        said = str(error)
        return holds(len(said.split()) >= 3, where=where, reason=f"refused by {type(error).__name__}: {said}")


@check(
    "SCH-8",
    claim="The first step back ends at x_0; chains of 1, 2 and 4000 steps and betas near 1 are as right as any.",
    source="Ho et al. 2020, Eqs. 4 and 7 at t = 1 and t = T",
    needs=("q_posterior", "tables"),
    level=1,
    kills=("M09", "M10"),
    tolerance="T3, as for q_posterior and the tables.",
)
def edges(subject: Subject) -> Iterator[Evidence]:
    """The subject at its first step; its variants with the shortest chains, a long one, and with capped schedules."""
    yield from _first_step_back(subject)
    if not hasattr(subject, "variant"):
        return
    for T in SHORT:
        yield from _of_variant(subject, maps=True, num_timesteps=T)
    yield from _of_variant(subject, maps=False, num_timesteps=LONG)
    for schedule in ("cosine", "jsd"):
        yield from _of_variant(subject, maps=False, schedule=schedule, num_timesteps=10)


def _first_step_back(subject: Subject) -> Iterator[Evidence]:
    """q(x_0 | x_1, x_0) knows x_0: weight 1 for it, weight 0 for x_1, variance 0."""
    inputs, u = probe(subject, generator("SCH-8")), unit_roundoff(dtype_of(subject))
    mean, variance = moments_at_every_t(subject, "q_posterior", inputs.first, inputs.second)
    x_0, x_1 = inputs.first[:1].astype(np.float64), inputs.second[:1].astype(np.float64)
    float64 = known(exact(subject), "posterior_coef_x_0").relative[0]
    bound = (ROUNDINGS_OF_FORMULA * u + float64) * np.abs(x_0) + ROUNDINGS_OF_FORMULA * u * np.abs(x_1)
    reason = f"the mean of q(x_0 | x_1, x_0) is x_0, T = {subject.num_timesteps}"
    yield compare(mean[:1], x_0, bound, where="q_posterior at t=0", reason=reason)
    reason = f"the variance of q(x_0 | x_1, x_0) is 0, T = {subject.num_timesteps}"
    yield compare(variance[:1], np.zeros_like(x_0), VARIANCE_FLOOR, where="q_posterior variance at t=0", reason=reason)


def _of_variant(subject: Subject, *, maps: bool, **choices: Any) -> Iterator[Evidence]:
    """Tables of the variant, and with `maps` its first step back."""
    other = made(subject, **choices)
    if isinstance(other, Evidence):
        yield other
        return
    tables, schedule = other.tables(), exact(other)
    names = [name for name in ("beta", *DERIVED) if name in tables]
    reason = f"the variant with {', '.join(f'{name}={value}' for name, value in choices.items())}"
    evidence = [table_evidence(other, name, tables[name], schedule, reason=reason) for name in names]
    yield max(evidence, key=lambda each: (not each.passed, each.ratio))
    if maps:
        yield from _first_step_back(other)


@check(
    "SCH-10",
    claim="Every schedule at every T has 0 < beta < 1 and positive alpha_bar, or is refused with a sentence.",
    source="Ho et al. 2020, section 2",
    needs=("variant", "tables"),
    level=0,
    kills=("Q09", "Q10"),
    tolerance="None: inequalities.",
)
def any_number_of_steps(subject: Subject) -> Iterator[Evidence]:
    """All known schedules at T from 1 to 5000."""
    for schedule in SCHEDULES:
        for T in ANY_T:
            yield _sound_or_refused(subject, schedule, T)


def _sound_or_refused(subject: Subject, schedule: str, T: int) -> Evidence:
    other = made(subject, schedule=schedule, num_timesteps=T)
    if isinstance(other, Evidence):
        return other
    tables = other.tables()
    beta, alpha_bar = (np.asarray(tables[name], np.float64) for name in ("beta", "alpha_bar"))
    wrong = [
        sentence
        for sentence, right in (
            (f"beta has shape {beta.shape}, alpha_bar {alpha_bar.shape}", beta.shape == alpha_bar.shape == (T,)),
            (f"beta goes from {beta.min()} to {beta.max()}", bool(beta.min() > 0 and beta.max() < 1)),
            (f"alpha_bar falls to {alpha_bar.min()}", bool(alpha_bar.min() > 0)),
            (f"it says it has {other.num_timesteps} steps", other.num_timesteps == T),
        )
        if not right
    ]
    return holds(not wrong, where=f"{schedule}, T = {T}", reason="; ".join(wrong) or "0 < beta < 1 and 0 < alpha_bar")


@check(
    "NAM-1",
    claim="An unknown schedule, variance, parameterisation, dtype or option is refused, and the known ones are named.",
    source="The Subject protocol: variant",
    needs=("variant",),
    level=0,
    kills=("P03",),
    tolerance="None: it raises or it does not.",
)
def unknown_names_are_refused(subject: Subject) -> Iterator[Evidence]:
    """Misspelt names, an option nobody has, and impossible numbers of steps."""
    known_schedule = [str(subject.schedule["name"])] if subject.schedule else []
    misspelt: dict[str, tuple[Any, list[str]]] = {
        "schedule": ("linaer", known_schedule),
        "variance": ("posteriour", ["posterior", "beta"]),
        "dtype": ("float23", [dtype_of(subject)]),
        "num_timesteps": (0, []),
    }
    if hasattr(subject, "parameterization"):
        misspelt["parameterization"] = ("epsilom", ["eps"])
    for option, (value, names) in misspelt.items():
        yield _refused(subject, option, value, names)
    yield _refused(subject, "num_timesteps", -1, [])
    yield _refused(subject, "shedule", "linear", ["schedule"])


def _refused(subject: Subject, option: str, value: object, names: list[str]) -> Evidence:
    return expect_raises(lambda: subject.variant(**{option: value}), names, where=f"variant({option}={value!r})")
