"""Did the numbers change between two builds? Outputs of the same case for the same inputs, bit against bit.

An output y in float32 is one of the numbers n·u apart; the distance between two of them in ulps counts the numbers that
lie between (Goldberg 1991). Both builds' outputs are also held against the case's float64 reference, whose bound says
how far rounding alone may lead (`gates.py`). So a change is one of

* identical: every bit is the same;
* rounding: bits differ, and both outputs keep the bound: another order of the same sums;
* changed: an output was refused by its gate, or it differs from the other one by more than both bounds together, or
  it leans: d = new − old follows y more closely than rounding can. Rounding has no opinion: over N independent entries
  the correlation of d with y has standard deviation 1/sqrt(N), so one beyond `LEAN` of those is a systematic change
  (right code is accused once in 5e8 outputs), as a factor or an approximation makes it;
* incomparable: shapes or dtypes differ, a side has no output, or bits differ and a side's was held against nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABELS = ("identical", "rounding", "changed", "incomparable")

LEAN = 6.0
"""Standard deviations of a correlation that rounding alone does not reach: two-sided 2e-9 for a normal law."""

FEWEST = 64
"""Entries from which on a correlation is looked at: fewer are not normal enough for six standard deviations."""


@dataclass(frozen=True)
class Drift:
    """How the output of a case differs between two builds."""

    case: str
    label: str
    why: str
    ulps: int | None = None
    """the largest distance of two entries"""
    share: float | None = None
    """of the entries, that differ"""
    largest: float | None = None
    """absolute difference"""
    lean: float | None = None
    """correlation of the difference with the output, in standard deviations of what rounding would give"""
    errors: tuple[float | None, float | None] = (None, None)
    """error over bound of the old and of the new output, against the float64 reference"""


def ulps(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.int64]:
    """Floating-point numbers between the entries of `old` and `new`, of one shape and dtype (float16, 32 or 64).

    Zero for equal entries and for two NaNs; the largest int64 where only one is a NaN.
    """
    distance: NDArray[np.int64] = np.abs(_ordinal(old) - _ordinal(new))
    nan = np.isnan(old), np.isnan(new)
    distance[nan[0] & nan[1]] = 0
    distance[nan[0] ^ nan[1]] = np.iinfo(np.int64).max
    return distance


def _ordinal(values: NDArray[Any]) -> NDArray[np.int64]:
    """Each number's place among all numbers of its dtype; both zeros are 0."""
    integer = np.dtype(f"i{values.dtype.itemsize}")
    bits = np.ascontiguousarray(values).view(integer).astype(np.int64)
    negative = np.int64(np.iinfo(integer).min)
    return np.where(bits < 0, negative - bits, bits)


def lean(old: NDArray[Any], new: NDArray[Any]) -> float | None:
    """Correlation of new − old with old times sqrt(N), about standard normal for rounding; None where it says nothing.

    Entries count once that differ: N is theirs, since equal ones hold no evidence either way.
    """
    reference = np.asarray(old, np.float64).ravel()
    difference = np.asarray(new, np.float64).ravel() - reference
    moved = difference != 0
    if moved.sum() < FEWEST or not np.isfinite(difference).all():
        return None
    y, d = reference[moved], difference[moved]
    size = float(np.linalg.norm(y) * np.linalg.norm(d))
    return float(y @ d) / size * math.sqrt(len(d)) if size else None


def compare(
    case: str,
    old: Sequence[NDArray[Any]] | None,
    new: Sequence[NDArray[Any]] | None,
    gates: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Drift:
    """The drift of a `case` from its outputs in two builds; `gates` are the evidence each left, "error" and "allowed".

    `old` and `new` are the outputs of the same calls, arrays of equal shapes; None for a build that gave none. Evidence
    of a gate that refused is "refused", its reason; of none it is empty.
    """
    if not old and not new:
        return Drift(case, "incomparable", "neither build has an output")
    if not old or not new:
        return Drift(case, "incomparable", f"only the {'new' if new else 'old'} build has an output")
    shapes = [[(a.shape, str(a.dtype)) for a in outputs] for outputs in (old, new)]
    if shapes[0] != shapes[1]:
        return Drift(case, "incomparable", f"the outputs are {shapes[0]} and {shapes[1]}")
    return _classified(case, _flat(old), _flat(new), gates)


def _flat(outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.asarray(output).ravel() for output in outputs])


def _classified(
    case: str, old: NDArray[Any], new: NDArray[Any], gates: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> Drift:
    distance = ulps(old, new)
    errors = (_over_bound(gates[0]), _over_bound(gates[1]))
    furthest, share = int(distance.max()), float(np.mean(distance > 0))
    if furthest == 0:
        return Drift(case, "identical", "every bit is the same", 0, 0.0, 0.0, None, errors)
    largest = float(np.abs(new.astype(np.float64) - old.astype(np.float64)).max())
    leaning = lean(old, new)
    broken = _what_broke(largest, leaning, errors, gates)
    unknown = next((name for name, gate in zip(("old", "new"), gates, strict=True) if not gate), None)
    if not broken and unknown:
        why = f"{share:.0%} of the entries differ, and the {unknown} build's output was held against nothing"
        return Drift(case, "incomparable", why, furthest, share, largest, leaning, errors)
    label = "changed" if broken else "rounding"
    why = broken or f"{share:.0%} of the entries differ, the furthest by {furthest} ulp; both keep the bound"
    return Drift(case, label, why, furthest, share, largest, leaning, errors)


def _what_broke(
    largest: float,
    leaning: float | None,
    errors: tuple[float | None, float | None],
    gates: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> str | None:
    """Why the difference is more than rounding, or None."""
    for name, error, gate in zip(("old", "new"), errors, gates, strict=True):
        if "refused" in gate:
            return f"the {name} build's output was refused: {gate['refused']}"
        if error is not None and not error <= 1:
            return f"the {name} build is off its reference by {error:.3g} times what rounding may do"
    bounds = [gate.get("allowed") for gate in gates]
    if None not in bounds and not largest <= sum(map(float, bounds)):  # type: ignore[arg-type]  # None was ruled out
        return f"the outputs differ by {largest:.3g}, more than both bounds together"
    if leaning is not None and not abs(leaning) <= LEAN:
        return f"the difference follows the output ({leaning:+.1f} standard deviations of what rounding does)"
    return None


def _over_bound(gate: Mapping[str, Any]) -> float | None:
    error, allowed = gate.get("error"), gate.get("allowed")
    return None if error is None or not allowed else float(error) / float(allowed)
