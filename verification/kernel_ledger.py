"""How accurate transcendental kernels are: measured, because theory promises nothing about them.

A row says |error| <= relative * |f(x)| + absolute for arguments up to `reach` in magnitude. The float32 rows are the
worst that MindSpore's CPU kernels do, the least accurate of those met so far: its exp is a Taylor polynomial of degree
5 whose error grows with |x|, its log loses digits near 1, its tanh is a rational fit cut at 5, its log1p and expm1 are
the naive formulas. A correct DDPM may be built on any of them, so no bound may be narrower.

Source: `ddpm-bench doctor --kernels` with MindSpore 2.10.0, CPU, x86-64 with AVX-512: float32 against NumPy and SciPy
in float64 on 400 000 points a row, float64 against mpmath on 4 000; figures rounded up in the second digit. MindSpore
2.7.0 gives the same bits for all of them. The float64 rows also cover a libm that is good to 2 units in the last place.
`beyond` says which kernels of another measurement are worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kernel:
    """One row: the kernel `op` in `dtype` on arguments with |x| <= `reach`; those of softmax differ by at most that."""

    op: str
    dtype: str
    reach: float
    relative: float
    absolute: float


LEDGER = (
    Kernel("exp", "float32", 8, 5.3e-6, 0.0),
    Kernel("exp", "float32", 20, 8.3e-6, 0.0),
    Kernel("exp", "float32", 87, 2.5e-5, 2.4e-38),  # 0 instead of what is below 2^-125, in PyNative 2^-125.5
    Kernel("log", "float32", 1e4, 5e-7, 3e-7),  # near 1 only the absolute part counts
    Kernel("log1p", "float32", 1e4, 5e-7, 3e-7),  # log(1 + x), so it inherits that of log
    Kernel("expm1", "float32", 8, 5.3e-6, 5.4e-6),  # exp(x) - 1, so it inherits that of exp, relative to exp(x)
    Kernel("erf", "float32", 8, 7.6e-8, 0.0),
    Kernel("erfc", "float32", 9, 6e-8, 0.0),
    Kernel("sin", "float32", 1000, 6e-8, 0.0),
    Kernel("cos", "float32", 1000, 6e-8, 0.0),
    Kernel("sqrt", "float32", 1e4, 6e-8, 0.0),
    Kernel("rsqrt", "float32", 1e4, 9e-8, 0.0),
    Kernel("tanh", "float32", 8, 1.1e-4, 0.0),
    Kernel("sigmoid", "float32", 8, 2.4e-6, 0.0),
    Kernel("silu", "float32", 8, 2.5e-6, 0.0),
    Kernel("softmax", "float32", 20, 9e-6, 0.0),
    Kernel("exp", "float64", 700, 4.5e-16, 0.0),
    Kernel("log", "float64", 1e4, 4.5e-16, 0.0),
    Kernel("log1p", "float64", 1e4, 4.5e-16, 2.3e-16),  # 1 + x is rounded before the logarithm
    Kernel("expm1", "float64", 8, 4.5e-16, 4.5e-16),
    Kernel("erf", "float64", 8, 4.5e-16, 0.0),
    Kernel("erfc", "float64", 9, 7.8e-15, 0.0),
    Kernel("sin", "float64", 1000, 4.5e-16, 0.0),
    Kernel("cos", "float64", 1000, 4.5e-16, 0.0),
    Kernel("sqrt", "float64", 1e4, 1.2e-16, 0.0),
    Kernel("rsqrt", "float64", 1e4, 4.5e-16, 0.0),
    Kernel("tanh", "float64", 8, 4.5e-16, 0.0),
    Kernel("sigmoid", "float64", 8, 4.5e-16, 0.0),
    Kernel("silu", "float64", 8, 7e-16, 0.0),
    Kernel("softmax", "float64", 20, 2.3e-15, 0.0),  # x - max is rounded: 20 u of the exponential
)


def beyond(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The measured kernels that are worse than the ledger grants, a sentence each.

    `rows` are those that `ddpm-bench doctor --kernels` writes: `op`, `dtype`, `reach`, and the corners `hull` of the
    convex hull of (size, error), which break a bound relative * size + absolute if any result does. A kernel is held
    against the row of the ledger that the checks would take for it; the ledger's absent ones grant nothing to anybody.
    """
    found: list[str] = []
    for row in rows:
        granted = [each for each in LEDGER if (each.op, each.dtype) == (row["op"], row["dtype"])]
        granted = [each for each in granted if each.reach >= row["reach"]]
        if "unsupported" not in row and granted:
            found += _excess(row, min(granted, key=lambda each: each.reach))
    return found


def _excess(row: Mapping[str, Any], granted: Kernel) -> Iterator[str]:
    named = f"{row['op']} {row['dtype']} up to {row['reach']:g}, {row['mode']} on {row['device']}"
    if row["not_finite"]:
        yield f"{named}: {row['not_finite']} results are no finite numbers"
    used = [_used(granted.relative * size + granted.absolute, error) for size, error in row["hull"]]
    if max(used) > 1:
        size, error = row["hull"][used.index(max(used))]
        yield f"{named}: error {error:.3g} where the result is {size:.3g}, {max(used):.3g} times what is granted"


def _used(allowed: float, error: float) -> float:
    return error / allowed if allowed > 0 else math.inf if error else 0.0
