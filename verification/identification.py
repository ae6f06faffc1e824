"""Reading the coefficients of a linear map off its outputs.

Nearly every formula of a DDPM is c_1(t) a + c_2(t) b for two arrays a and b. Put in (1, 0) and (0, 1) at every t and
the coefficients themselves come out, one of each for every time step, exactly as the implementation computes them; put
in two pairs of random numbers as well and nothing that is not linear can hide. One call, on T images of four numbers in
mixed order, does it all, so that an implementation which compiles for each new shape compiles once.

The bound of a coefficient is what float64 may do to the tables behind it (`oracle.ExactSchedule.rounding`) and the
roundings of the subject's own arithmetic, each relative to the term that it rounds: T1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from verification.check import Evidence
from verification.diagnosis import diagnose
from verification.guard import SubjectError
from verification.oracle import U64, ExactSchedule, exact
from verification.protocol import Array, Subject, dtype_of
from verification.step_rounding import log_snr_error
from verification.tolerance import compare, smallest, unit_roundoff

COLUMNS = 4
IMAGE = (1, 2, 2)
"""The shape of a row, so that a time step on a wrong axis does not fit."""
WITH_VARIANCE = ("q_posterior", "p_mean_variance")
ROUNDINGS_OF_TABLE = 5
"""c x + d y from cast tables: the cast, a square root taken after the cast (two), the product and the sum."""
ROUNDINGS_OF_FORMULA = 8
"""The same with coefficients put together from up to three cast tables on the way: three more operations."""


def applied(subject: Subject, name: str, first: Array, t: npt.NDArray[np.int64], second: Array) -> tuple[Array, Array]:
    """Output and variance of a method that combines two arrays (B, ...) with coefficients looked up by `t` (B,).

    The variance is (B, ...) too, repeated for every number of its image; zeros for a method that returns none.
    Raises `SubjectError` for outputs of another shape.
    """
    method = getattr(subject, name)
    returned = method(first, second, t) if name == "q_posterior" else method(first, t, second)
    mean, variance = returned if name in WITH_VARIANCE else (returned, np.zeros_like(first))
    if np.shape(mean) != first.shape:
        raise SubjectError(name, f"returned shape {np.shape(mean)} instead of {first.shape}")
    per_image = (len(t), *[1] * (first.ndim - 1))
    if np.shape(variance) not in (first.shape, per_image):
        raise SubjectError(name, f"returned a variance of shape {np.shape(variance)} instead of {per_image}")
    return mean, np.broadcast_to(variance, first.shape)


def at_every_t(subject: Subject, name: str, first: Array, second: Array) -> Array:
    """The method's output (T, 4), row by row at t = 0 … T − 1; see `applied`."""
    return moments_at_every_t(subject, name, first, second)[0]


def moments_at_every_t(subject: Subject, name: str, first: Array, second: Array) -> tuple[Array, Array]:
    """Mean and variance, (T, 4) each, row by row at t = 0 … T − 1; see `applied`.

    The rows are handed over as images, in mixed order, so an implementation that takes the row for t is wrong.
    """
    order = np.random.default_rng(0).permutation(len(first))
    images = (np.ascontiguousarray(rows[order]).reshape(len(order), *IMAGE) for rows in (first, second))
    mean, variance = applied(subject, name, next(images), order, next(images))
    back = np.argsort(order)
    return mean.reshape(-1, COLUMNS)[back], variance.reshape(-1, COLUMNS)[back]


@dataclass(frozen=True)
class Known:
    """A coefficient for every t: `formula`, exact `value` (T,), and the `relative` error (T,) of float64 arithmetic.

    Combining two of them adds their errors and one rounding, as it does in a program.
    """

    formula: str
    value: Array
    relative: Array

    def __truediv__(self, other: Known) -> Known:
        """The quotient."""
        formula = f"{self.formula} / {other.formula}"
        return Known(formula, self.value / other.value, self.relative + other.relative + U64)

    def __neg__(self) -> Known:
        """The negative, exact."""
        return Known(f"(-{self.formula})", -self.value, self.relative)

    def sqrt(self) -> Known:
        """The square root: half the relative error, and a rounding."""
        return Known(f"sqrt({self.formula})", np.sqrt(self.value), self.relative / 2 + U64)

    def inverse(self) -> Known:
        """One over it."""
        return Known(f"1 / {self.formula}", 1 / self.value, self.relative + U64)


def known(schedule: ExactSchedule, table: str) -> Known:
    """The exact table of that name with its error."""
    return Known(table, schedule.table(table), schedule.rounding[table] + schedule.delta[table])


@dataclass(frozen=True)
class Probe:
    """Inputs for every t at once: two arrays (T, 4) whose first two columns are (1, 0) and (0, 1)."""

    first: Array
    second: Array


def probe(subject: Subject, random: np.random.Generator) -> Probe:
    """The probe for `subject`, in its dtype, the last two columns from `random`."""
    T = subject.num_timesteps
    first, second = random.normal(size=(2, T, COLUMNS))
    first[:, :2] = 1, 0
    second[:, :2] = 0, 1
    return Probe(as_input(subject, first), as_input(subject, second))


def as_input(subject: Subject, values: Array) -> Array:
    """`values` rounded to the subject's dtype, so that they are exact inputs; bfloat16 values travel as float32."""
    name = dtype_of(subject)
    if name != "bfloat16":
        return values.astype(name)
    bits = values.astype(np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def compare_linear(
    observed: Array,
    inputs: Probe,
    coefficients: tuple[Known, Known],
    *,
    subject: Subject,
    names: tuple[str, str, str],
    roundings: int,
    reason: str,
    vanishing: Array | float = 0.0,
) -> Evidence:
    """T1: evidence that `observed` (T, 4) is the linear map with these `coefficients` on the probe's two inputs.

    `names` are those of the method and of its two inputs, for saying where: "q_sample, t=17, coefficient of x_0".
    `vanishing` (T, 4) is an absolute error besides, where a coefficient that should be 0 is a difference of equals.
    """
    expected, bound = _expected(inputs, coefficients, roundings, dtype_of(subject))
    bound = bound + vanishing
    columns = tuple(f"coefficient of {name}" for name in names[1:])
    units, random = np.s_[:, :2], np.s_[:, 2:]
    alone = compare(
        observed[units],
        expected[units],
        bound[units],
        where=lambda index: f"{names[0]}, t={index[0]}, {columns[index[1]]}",
        reason=reason,
        diagnosis=partial(
            _named, observed[units], expected[units], bound[units], columns, coefficients, exact(subject)
        ),
    )
    if not alone.passed:  # a wrong coefficient says more than what it does to random inputs
        return alone
    together = compare(
        observed[random],
        expected[random],
        bound[random],
        where=lambda index: f"{names[0]}, t={index[0]}, random inputs",
        reason=reason,
    )
    return max(alone, together, key=lambda evidence: (not evidence.passed, evidence.ratio))


def _expected(inputs: Probe, coefficients: tuple[Known, Known], roundings: int, dtype: str) -> tuple[Array, Array]:
    """The linear map on the probe, (T, 4) float64, and how far rounding may take a program from it."""
    expected, bound = np.zeros(inputs.first.shape), np.full(inputs.first.shape, roundings * smallest(dtype))
    for coefficient, values in zip(coefficients, (inputs.first, inputs.second), strict=True):
        term = coefficient.value[:, None] * values.astype(np.float64)
        # Three float64 roundings of the judge's own are in the expected values.
        relative = roundings * unit_roundoff(dtype) + 3 * U64 + coefficient.relative
        expected, bound = expected + term, bound + relative[:, None] * np.abs(term)
    return expected, bound


def _named(
    observed: Array,
    expected: Array,
    bound: Array,
    columns: tuple[str, ...],
    coefficients: tuple[Known, Known],
    schedule: ExactSchedule,
) -> str:
    """What formulas the coefficients follow that are beyond their bound, columns (T, 2)."""
    beyond = (~(np.abs(observed - expected) <= bound)).any(axis=0)
    found = [
        (place, diagnose(seen, truth.formula, schedule, truth=truth.value))
        for place, seen, truth, wrong in zip(columns, observed.T, coefficients, beyond, strict=True)
        if wrong
    ]
    return "; ".join(f"{place} {text}" for place, text in found if text)


def from_second_row(name: str) -> Callable[[tuple[int, ...]], str]:
    """How to name an entry of an array whose first row belongs to t = 1."""
    return lambda index: f"{name}, t={index[0] + 1}"


def relative_variance_error(subject: Subject, table: str) -> Array:
    """(T,) relative error of a variance that a method returns, perhaps as the exponential of its logarithm.

    A rounding of ln v is a relative error of v |ln v| times as large. The posterior variance may come from log SNRs.
    """
    truth, u = known(exact(subject), table), unit_roundoff(dtype_of(subject))
    positive = np.where(truth.value > 0, truth.value, 1.0)
    made = log_snr_error(exact(subject)) if table == "posterior_variance" else 0.0
    relative: Array = truth.relative + made + (ROUNDINGS_OF_FORMULA + np.abs(np.log(positive))) * u + 2 * U64
    return relative
