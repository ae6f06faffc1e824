"""Correct DDPMs of every kind, and ones that are off by very little in one entry, for tests of the checks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from evaluation_orders import ORDERS

from verification.check import Finding, load_checks, run_checks
from verification.protocol import Array
from verification.reference import SCHEDULES, ReferenceSubject

NUDGE = {"float64": 1e-6, "float32": 1e-5}
"""The relative error that must be noticed in any single entry, by dtype."""


def finding(check: str, subject: Any) -> Finding:
    """What `check` finds on `subject`."""
    (found,) = run_checks(subject, [load_checks()[check]])
    return found


def false_alarms(check: str, subjects: Iterable[Any]) -> list[str]:
    """Complaints of `check` about subjects that are right: none, if all is well."""
    found = [(subject, finding(check, subject)) for subject in subjects]
    assert found, "no subject was judged"
    return [
        f"{type(subject).__name__} {subject.name}: {f.status} {f.where} {f.ratio} {f.reason}"
        for subject, f in found
        if f.status not in ("passed", "skipped")
    ]


class Undeclared(ReferenceSubject):
    """The reference, saying nothing about its schedule."""

    def __init__(self, *args: Any, **choices: Any) -> None:
        super().__init__(*args, **choices)
        self.schedule = None


class NudgedTable(ReferenceSubject):
    """The reference with one entry of one stored table off by `NUDGE`."""

    def nudge(self, table: str, t: int) -> NudgedTable:
        self.nudged = (table, t)
        return self

    def tables(self) -> dict[str, Array]:
        tables, (name, t) = super().tables(), self.nudged
        tables[name][t] *= 1 + NUDGE[self.dtype]
        return tables


class NudgedMethod(ReferenceSubject):
    """The reference with one coefficient of one method off by `NUDGE` at one t."""

    def nudge(self, method: str, argument: int, t: int) -> NudgedMethod:
        """Multiply positional `argument` of `method` in the rows of `t`; argument -1 is the variance returned."""
        right = getattr(self, method)
        where = 2 if method == "q_posterior" else 1

        def wrong(*given: Array) -> Any:
            factor = np.where(given[where] == t, 1 + NUDGE[self.dtype], 1).astype(self.dtype)
            arguments = list(given)
            factors = factor.reshape(-1, *[1] * (given[0].ndim - 1))
            if argument >= 0:
                arguments[argument] = given[argument] * factors
                return right(*arguments)
            mean, variance = right(*given)
            return mean, variance * factors

        setattr(self, method, wrong)
        return self


@cache
def few_correct() -> tuple[Any, ...]:
    """Correct DDPMs of every schedule, order of arithmetic, dtype and variance, and of the lengths that are awkward."""
    choices: list[dict[str, Any]] = [{"schedule": name, "num_timesteps": 10} for name in SCHEDULES]
    choices += [{"num_timesteps": 1}, {"num_timesteps": 2}, {"schedule": "cosine", "num_timesteps": 2}]
    choices += [{"num_timesteps": 200, "variance": "beta", "clip_x_0": True}]
    both = [{**choice, "dtype": dtype} for choice in choices for dtype in NUDGE]
    others = [order(name, 100, dtype=dtype) for order in ORDERS[1:] for name in ("linear", "cosine") for dtype in NUDGE]
    return (*(ReferenceSubject(**choice) for choice in both), *others, Undeclared("cosine", 50, dtype="float32"))


@cache
def many_correct() -> tuple[Any, ...]:
    """These, and every schedule at T = 1, 2 and 100, and long chains."""
    lengths = [(name, T) for name in SCHEDULES for T in (1, 2, 100)] + [("linear", 1000), ("constant", 2000)]
    more = [ReferenceSubject(name, T, dtype=dtype) for name, T in lengths for dtype in NUDGE]
    return (*few_correct(), *more)
