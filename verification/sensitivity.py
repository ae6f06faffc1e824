"""How small an error the suite notices: the dose, for every coefficient that a DDPM uses or stores.

The coefficient at one time step is made wrong by a relative error, everything else stays right (`coefficients.py`), and
the check that identifies it must fail and name the time step. The dose is the smallest error that is noticed, found to
within a factor of two: an error e whose finding has the ratio r to its bound is noticed down to e / r, and where other
roundings hide it there, a little above. The worst dose of several time steps counts.

What is required, `LIMITS`, is not what rounding allows. It is what a wrong formula could hide behind: 1e-6 of an entry
in float64 and 1e-5 in float32, a hundred roundings.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verification.check import Finding, load_checks, run_checks
from verification.coefficients import COEFFICIENTS, DDIM, TABLES, bent, judge_of, off_at
from verification.reference import ReferenceSubject

LIMITS = {"float64": 1e-6, "float32": 1e-5}
"""The relative error in any single entry that must be noticed, by the subject's dtype."""

STEPS = 50
"""T of the subjects whose doses are reported."""


@dataclass(frozen=True)
class Dose:
    """The smallest relative error of `coefficient` that `check` notices at the worst of the time steps tried, `t`.

    `smallest` is infinite if even `limit` is not noticed, or not where it is: then `fault` says so.
    """

    coefficient: str
    dtype: str
    check: str
    smallest: float
    limit: float
    t: int

    @property
    def fault(self) -> str:
        """What is wrong with it, if anything is."""
        if self.smallest <= self.limit:
            return ""
        return (
            f"{self.check} does not notice and name a relative error of {self.limit:g} in {self.coefficient}, "
            f"{self.dtype}, t={self.t}"
        )


def entries(coefficient: str, T: int, schedule: str = "linear") -> list[int]:
    """Time steps to try: the first two, the middle, the last, and one at random, where the coefficient is not 0."""
    random = np.random.default_rng(zlib.crc32(f"{coefficient} {schedule} {T}".encode()))
    chosen = {0, min(1, T - 1), T // 2, T - 1, int(random.integers(T))}
    return sorted(t for t in chosen if t not in zeros(coefficient, T, schedule))


def zeros(coefficient: str, T: int, schedule: str) -> set[int]:
    """The time steps where a coefficient is 0, so that no relative error can be made in it."""
    right = ReferenceSubject(schedule, T)
    method, _, name = coefficient.partition(".")
    if coefficient in DDIM:  # the last step, to x_0, has no noise, and takes all of eps_hat away
        return {0} if coefficient == "ddim_step.z" else set()
    values = right.tables()[name] if method == "tables" else TABLES[coefficient](right)
    return set(np.flatnonzero(values == 0).tolist())


def check_for(coefficient: str, t: int) -> str:
    """The check that has to notice a single wrong entry of `coefficient` at `t`.

    The reverse variance has one of its own, and its first entry, which may be 0 or replaced, another.
    """
    if coefficient == "p_mean_variance.variance":
        return "VAR-1" if t else "VAR-2"
    return judge_of(coefficient)


def finding(coefficient: str, t: int, relative: float, **choices: Any) -> Finding:
    """What the responsible check finds when `coefficient` is off by `relative` at `t`."""
    subject = bent(coefficient, off_at(t, relative))(**choices)
    return run_checks(subject, [load_checks()[check_for(coefficient, t)]])[0]


def notices(found: Finding, t: int) -> bool:
    """Whether it failed and names the time step."""
    return found.status == "failed" and f"t={t}" in found.where.replace(",", " ").split()


def dose_at(coefficient: str, t: int, dtype: str, T: int = STEPS, schedule: str = "linear") -> float:
    """The smallest relative error noticed at `t`, to a factor of two; infinite if `LIMITS[dtype]` is not."""
    choices = {"schedule": schedule, "num_timesteps": T, "dtype": dtype}
    limit = LIMITS[dtype]
    found = finding(coefficient, t, limit, **choices)
    if not notices(found, t):
        return float("inf")
    guess = 1.5 * limit / (found.ratio or 1.0)
    while guess < limit:
        if notices(finding(coefficient, t, guess, **choices), t):
            return guess
        guess *= 2
    return limit


def trials() -> list[tuple[str, str]]:
    """The arguments of `doses_of`: every coefficient in every dtype."""
    return [(coefficient, dtype) for dtype in LIMITS for coefficient in COEFFICIENTS]


def doses_of(trial: tuple[str, str]) -> list[Dose]:
    """The dose of one coefficient in one dtype, as a list of one."""
    coefficient, dtype = trial
    worst, t = max((dose_at(coefficient, t, dtype), t) for t in entries(coefficient, STEPS))
    return [Dose(coefficient, dtype, check_for(coefficient, t), worst, LIMITS[dtype], t)]


def page(doses: Sequence[Dose]) -> str:
    """`doses` as a page in Markdown, each rounded up to a power of ten: digits would differ between machines."""
    found = {(dose.coefficient, dose.dtype): dose for dose in doses}
    rows = [
        f"| `{name}` | {found[name, 'float64'].check} | {' | '.join(power(found[name, d].smallest) for d in LIMITS)} |"
        for name in dict.fromkeys(dose.coefficient for dose in doses)
    ]
    return "\n".join(
        [
            "# The smallest error that is noticed",
            "",
            "A DDPM is right but for one coefficient, and that is off by a relative error at one time step. Here is",
            "how large the error must be for the check to fail and to name the time step, at the worst of the steps",
            f"tried (the first two, the middle, the last and a random one of T = {STEPS}), rounded up to a power of",
            f"ten. Required is {LIMITS['float64']:g} in float64 and {LIMITS['float32']:g} in float32. Digits, and your",
            "own machine's figures: `ddpm-bench verify --self-test`.",
            "",
            "| coefficient | check | float64 | float32 |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def power(dose: float) -> str:
    """The power of ten that is not below `dose`."""
    return f"1e{math.ceil(math.log10(dose) - 1e-9):+03d}" if math.isfinite(dose) else "not noticed"
