"""Reading the coefficients of a linear map off its outputs.

Nearly every formula of a DDPM is c_1(t) a + c_2(t) b for two arrays a and b. Put in (1, 0) and (0, 1) at every t and
the coefficients themselves come out, one of each for every time step, exactly as the implementation computes them; put
in two pairs of random numbers as well and nothing that is not linear can hide. One call on arrays (T, 4) does it all,
so that an implementation which compiles for each new shape compiles once.

The bound of a coefficient is what float64 may do to the tables behind it (`oracle.ExactSchedule.rounding`) and the
roundings of the subject's own arithmetic, each relative to the term that it rounds: T1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verification.check import Evidence
from verification.diagnosis import diagnose
from verification.oracle import U64, ExactSchedule, exact
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, smallest, unit_roundoff

COLUMNS = 4
ROUNDINGS_OF_TABLE = 5
"""c x + d y from cast tables: the cast, a square root taken after the cast (two), the product and the sum."""
ROUNDINGS_OF_FORMULA = 8
"""The same with coefficients put together from up to three cast tables on the way: three more operations."""


PER_TIME_STEP = (
    "q_sample",
    "q_step",
    "q_posterior",
    "predict_x_0",
    "predict_eps",
    "velocity",
    "predict_x_0_from_v",
    "score",
    "p_mean_variance",
)
"""The methods that combine two arrays with coefficients looked up by t."""


def call(subject: Subject, name: str, first: Array, t: npt.NDArray[np.int64], second: Array) -> Array:
    """The image-shaped output of one of `PER_TIME_STEP`: its mean, where a variance comes with it."""
    method = getattr(subject, name)
    if name == "q_posterior":
        return np.asarray(method(first, second, t)[0])
    if name == "p_mean_variance":
        return np.asarray(method(first, t, second)[0])
    return np.asarray(method(first, t, second))


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
    """Inputs for every t at once: `t` (T,) and two arrays (T, 4) whose first two columns are (1, 0) and (0, 1)."""

    t: npt.NDArray[np.int64]
    first: Array
    second: Array


def probe(subject: Subject, random: np.random.Generator) -> Probe:
    """The probe for `subject`, in its dtype, the last two columns from `random`."""
    T = subject.num_timesteps
    first, second = random.normal(size=(2, T, COLUMNS))
    first[:, :2] = 1, 0
    second[:, :2] = 0, 1
    return Probe(np.arange(T), as_input(subject, first), as_input(subject, second))


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
    u = unit_roundoff(dtype_of(subject))
    terms = [
        (c.value[:, None] * x, c.relative[:, None])
        for c, x in zip(coefficients, (inputs.first, inputs.second), strict=True)
    ]
    # Three float64 roundings of the judge's own are in the expected values.
    bound: Array = sum((roundings * u + 3 * U64 + error) * np.abs(term) for term, error in terms) + vanishing
    bound = bound + roundings * smallest(dtype_of(subject))
    expected = sum(term for term, _ in terms)
    columns = (f"coefficient of {names[1]}", f"coefficient of {names[2]}", "random inputs", "random inputs")

    def named() -> str:
        wrong = [i for i in (0, 1) if not (np.abs(observed - expected) <= bound)[:, i].all()]
        found = [(columns[i], _diagnosis(observed[:, i], coefficients[i], subject)) for i in wrong]
        return "; ".join(f"{place} {text}" for place, text in found if text)

    return compare(
        observed,
        expected,
        bound,
        where=lambda index: f"{names[0]}, t={index[0]}, {columns[index[1]]}",
        reason=reason,
        diagnosis=named,
    )


def _diagnosis(observed: Array, truth: Known, subject: Subject) -> str:
    return diagnose(observed, truth.formula, exact(subject), truth=truth.value)


def as_wide_as(mean: Array, variance: Array) -> Array:
    """A variance (B, 1, ...) as (B, ...) like `mean`; one of any other shape as it is, for the comparison to refuse."""
    per_image = mean.shape[:1] + (1,) * (mean.ndim - 1)
    return np.broadcast_to(variance, mean.shape) if np.shape(variance) == per_image else variance


def from_second_row(name: str) -> Callable[[tuple[int, ...]], str]:
    """How to name an entry of an array whose first row belongs to t = 1."""
    return lambda index: f"{name}, t={index[0] + 1}"


def relative_variance_error(subject: Subject, table: str) -> Array:
    """(T,) relative error of a variance that a method returns, perhaps as the exponential of its logarithm.

    A rounding of ln v is a relative error of v |ln v| times as large.
    """
    truth, u = known(exact(subject), table), unit_roundoff(dtype_of(subject))
    positive = np.where(truth.value > 0, truth.value, 1.0)
    relative: Array = truth.relative + (ROUNDINGS_OF_FORMULA + np.abs(np.log(positive))) * u + 2 * U64
    return relative
