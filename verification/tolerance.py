"""How far from the truth a correct computation may be, rule by rule, and the one comparator that applies it.

Rounding errors are counted, not guessed: each bound below is a unit roundoff times the operations that were done, times
how much the formula magnifies them. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, is the source
of the model fl(a op b) = (a op b)(1 + d), |d| <= u, and of gamma_n.

* T0 `exactly`: copied data, integers, shapes. Bits are equal.
* T1 `terms_bound`: a sum of products; the error is relative to the terms, not to a result that may have cancelled.
* T2 `gamma`, `probabilistic_gamma`: products or sums of length n.
* T3 `conditioned`: a formula that magnifies the relative error of its argument by kappa.
* T4 `kernel_bound`: a transcendental kernel; theory promises nothing, so the bound is measured: `kernel_ledger.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from verification.check import Evidence
from verification.guard import SubjectError
from verification.kernel_ledger import LEDGER
from verification.protocol import Array

Where = str | tuple[str, ...] | Callable[[tuple[int, ...]], str]

# Half the distance from 1 to the next number: the largest relative error of one rounded operation.
_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
# The smallest positive number: below the normal range an operation's error is absolute, half of this.
_SMALLEST = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}


def unit_roundoff(dtype: npt.DTypeLike | str) -> float:
    """The u of a floating-point type, by name or NumPy dtype; raises `ValueError` for a type that has none."""
    return _ROUNDOFF[_float_name(dtype)]


def smallest(dtype: npt.DTypeLike | str) -> float:
    """The smallest positive number of a floating-point type: what underflow may cost an operation."""
    return _SMALLEST[_float_name(dtype)]


def _float_name(dtype: npt.DTypeLike | str) -> str:
    name = "bfloat16" if str(dtype) == "bfloat16" else np.dtype(dtype).name
    if name not in _ROUNDOFF:
        raise ValueError(f"{name} has no unit roundoff: known are {', '.join(_ROUNDOFF)}")
    return name


def terms_bound(
    coefficients: Sequence[Any],
    values: Sequence[Any],
    *,
    dtype: npt.DTypeLike | str,
    operations: int = 3,
    coefficient_error: float | None = None,
) -> Array:
    """T1: the error of the sum of `coefficients[i] * values[i]`, absolute, in the broadcast shape of the terms.

    `operations` u of every term, because each is rounded that often on its way (in q_sample: product, sum, and the
    cast of the value), plus the coefficients' own relative error, by default 2u: tables are stored to within one unit
    in the last place. Underflow adds the smallest number once an operation.
    """
    u = unit_roundoff(dtype)
    own = 2 * u if coefficient_error is None else coefficient_error
    size: Any = sum(
        np.abs(np.asarray(c, float) * np.asarray(x, float)) for c, x in zip(coefficients, values, strict=True)
    )
    return np.asarray((operations * u + own) * size + operations * len(values) * smallest(dtype))


def gamma(n: int, u: float) -> float:
    """T2: nu / (1 - nu), the relative error of a product of n rounded factors (Higham 2002, Lemma 3.1).

    The same for a sum of n terms, relative to the sum of their magnitudes. Raises `ValueError` from nu = 1 on, where
    there is no bound.
    """
    if n * u >= 1:
        raise ValueError(f"{n} operations in a type with roundoff {u:g} have no error bound")
    return n * u / (1 - n * u)


def probabilistic_gamma(n: int, u: float, *, sigmas: float = 6.0) -> float:
    """T2 for long chains: rounding errors as independent, zero in the mean (Higham and Mary 2019, Theorem 2.4).

    exp(sigmas sqrt(n) u + n u^2 / (1 - u)) - 1; exceeded with probability at most 2 exp(-sigmas^2 (1 - u)^2 / 2),
    which is 3e-8 for 6. For n = 1000 in float32: 1.13e-5 instead of 6.0e-5.
    """
    return math.expm1(sigmas * math.sqrt(n) * u + n * u * u / (1 - u))


def conditioned(kappa: Any, *, u: float, operations: int = 1) -> Array:
    """T3: the relative error kappa * operations * u of a formula with condition number `kappa`."""
    return np.asarray(np.abs(kappa) * operations * u)


def kappa_one_minus(alpha_bar: Any) -> Array:
    """The condition number of 1 - alpha_bar: alpha_bar / (1 - alpha_bar), 9999 at the first linear step."""
    return np.asarray(alpha_bar / (1 - np.asarray(alpha_bar, float)))


def kernel_bound(op: str, values: Any, *, dtype: npt.DTypeLike | str, reach: float = 8.0) -> Array:
    """T4: the absolute error allowed of the kernel `op` where its exact results are `values`.

    `reach` is the largest magnitude of the arguments; the ledger's narrowest row that covers it applies. Raises
    `ValueError` if nobody has measured that kernel that far.
    """
    rows = [row for row in LEDGER if (row.op, row.dtype) == (op, _float_name(dtype)) and row.reach >= reach]
    if not rows:
        raise ValueError(f"the ledger has no {op} in {_float_name(dtype)} for arguments up to {reach:g}: measure it")
    row = min(rows, key=lambda each: each.reach)
    return np.asarray(row.relative * np.abs(values) + row.absolute)


def compare(
    observed: Any,
    expected: Any,
    bound: Any,
    *,
    where: Where = "",
    labels: tuple[str, ...] = (),
    reason: str,
    diagnosis: str | Callable[[], str] = "",
) -> Evidence:
    """Evidence that `observed` is within `bound` of `expected`, entry by entry; the worst entry speaks.

    The two must have exactly the same shape, at least one entry, and `observed` only finite numbers: anything else is
    evidence that fails. `bound` is absolute, a number or an array that broadcasts to that shape; 0 demands equality.
    `labels` name the axes, so that the place reads "t=17"; `where` is what to put before it (or the labels themselves,
    or a function of the index). `diagnosis` may be a function, called only on failure.
    Raises `ValueError` if what the judge expects is itself not finite or its bound negative.
    """
    truth, allowed = _sound(expected, bound)
    place = _place(where, labels)
    wrong = _unfit(observed, truth.shape)
    if wrong:
        return Evidence(math.inf, 0.0, place(None), f"{wrong}; {reason}")
    seen = np.asarray(observed).astype(float)
    with np.errstate(all="ignore"):
        error = np.abs(seen - truth)
        ratio = np.where(error == 0, 0.0, error / allowed)
    index = np.unravel_index(int(np.argmax(np.where(np.isnan(ratio), np.inf, ratio))), truth.shape)
    position = tuple(int(i) for i in index)
    evidence = (float(error[index]), float(allowed[index]), place(position))
    if bool(np.all(error <= allowed)):
        return Evidence(*evidence, reason)
    beyond = int(np.sum(~(error <= allowed)))
    detail = f"{beyond} of {truth.size} beyond the bound, worst: got {float(seen[index])!r} for {float(truth[index])!r}"
    return Evidence(*evidence, f"{detail}; {reason}", diagnosis() if callable(diagnosis) else diagnosis)


def exactly(
    observed: Any,
    expected: Any,
    *,
    where: Where = "",
    labels: tuple[str, ...] = (),
    reason: str,
    diagnosis: str | Callable[[], str] = "",
) -> Evidence:
    """T0: evidence that two arrays agree in shape, dtype and every value. NaN agrees with nothing; -0 is 0.

    `observed` of the evidence is the number of entries that differ.
    """
    truth = np.asarray(expected)
    place = _place(where, labels)
    wrong = _unfit(observed, truth.shape)
    if not wrong and np.asarray(observed).dtype != truth.dtype:
        wrong = f"dtype {np.asarray(observed).dtype} instead of {truth.dtype}"
    if wrong:
        return Evidence(math.inf, 0.0, place(None), f"{wrong}; {reason}")
    seen = np.asarray(observed)
    differs = ~(seen == truth)
    if not differs.any():
        return Evidence(0.0, 0.0, place(None), reason)
    index = tuple(int(i) for i in np.argwhere(differs)[0])
    detail = f"{int(differs.sum())} of {truth.size} differ, first: got {seen[index]!r} for {truth[index]!r}"
    named = diagnosis() if callable(diagnosis) else diagnosis
    return Evidence(float(differs.sum()), 0.0, place(index), f"{detail}; {reason}", named)


def holds(condition: bool, *, where: str, reason: str, diagnosis: str = "") -> Evidence:
    """Evidence for a claim that is either true or not: observed 0 or 1 against an allowed one half."""
    return Evidence(0.0 if condition else 1.0, 0.5, where, reason, "" if condition else diagnosis)


def expect_raises(call: Callable[[], object], must_mention: Sequence[str] = (), *, where: str = "") -> Evidence:
    """Evidence that `call` raises an exception whose message mentions every word of `must_mention`."""
    try:
        returned = call()
    except SubjectError:  # a breach of the protocol is not the refusal that was asked for
        raise
    except Exception as error:  # noqa: BLE001 - any kind of refusal will do; what it says is what counts
        absent = [word for word in must_mention if word not in str(error)]
        said = f"raised {type(error).__name__}: {error}"
        return holds(not absent, where=where, reason=f"{said}; not mentioned: {absent}" if absent else said)
    return holds(False, where=where, reason=f"returned {type(returned).__name__} where it should refuse")


def _sound(expected: Any, bound: Any) -> tuple[Array, Array]:
    """The judge's own side, in float64; an unsound one is the judge's mistake and raises."""
    truth = np.asarray(expected).astype(float)
    allowed = np.broadcast_to(np.asarray(bound, float), truth.shape)
    if not np.isfinite(truth).all():
        raise ValueError("the expected values are not all finite")
    if not (np.isfinite(allowed) & (allowed >= 0)).all():
        raise ValueError("the bound is not everywhere a finite number >= 0")
    return truth, allowed


def _unfit(observed: Any, shape: tuple[int, ...]) -> str:
    """Why `observed` cannot be compared at all, or nothing."""
    if not isinstance(observed, (np.ndarray, np.generic, float, int)):
        return f"returned {type(observed).__name__}, not a NumPy array"
    array = np.asarray(observed)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        return f"returned dtype {array.dtype}, not real numbers"
    if array.shape != shape:
        return f"shape {array.shape} instead of {shape}"
    return "nothing to compare: the arrays are empty" if array.size == 0 else ""


def _place(where: Where, labels: tuple[str, ...]) -> Callable[[tuple[int, ...] | None], str]:
    """How to name the entry at an index; an index of None is the whole array."""
    if callable(where):
        name_of = where
        return lambda index: "" if index is None else name_of(index)
    names = where if isinstance(where, tuple) else labels
    prefix = where if isinstance(where, str) else ""

    def place(index: tuple[int, ...] | None) -> str:
        numbers = [] if index is None else [f"{name}={i}" for name, i in zip(names, index, strict=False)]
        return ", ".join([prefix, *numbers] if prefix else numbers)

    return place
