"""How accurate transcendental kernels are: measured, because theory promises nothing about them.

A row says |error| <= relative * |f(x)| + absolute for arguments up to `reach` in magnitude. The float32 rows are the
worst that MindSpore's CPU kernels do, the least accurate of those met so far: its exp is a Taylor polynomial of degree
5 whose error grows with |x|, its log loses digits near 1, its tanh is a rational fit cut at 5, its log1p and expm1 are
the naive formulas. A correct DDPM may be built on any of them, so no bound may be narrower.

Source: MindSpore 2.7.0 and 2.10.0 (equal to the digits given), CPU, x86-64 with AVX-512, against NumPy and SciPy in
float64 on 400 001 points a row; figures rounded up in the second digit. The float64 rows also cover a libm that is good
to 2 units in the last place.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """One row: the kernel `op` in `dtype` on arguments with |x| <= `reach`."""

    op: str
    dtype: str
    reach: float
    relative: float
    absolute: float


LEDGER = (
    Kernel("exp", "float32", 8, 5.3e-6, 0.0),
    Kernel("exp", "float32", 20, 8.3e-6, 0.0),
    Kernel("exp", "float32", 87, 2.5e-5, 0.0),
    Kernel("log", "float32", 1e4, 5e-7, 3e-7),  # near 1 only the absolute part counts
    Kernel("log1p", "float32", 1e4, 5e-7, 3e-7),  # log(1 + x), so it inherits that of log
    Kernel("expm1", "float32", 8, 5.3e-6, 5.4e-6),  # exp(x) - 1, so it inherits that of exp, relative to exp(x)
    Kernel("erf", "float32", 8, 7e-8, 0.0),
    Kernel("erfc", "float32", 9, 6e-8, 0.0),
    Kernel("sin", "float32", 1000, 6e-8, 0.0),
    Kernel("cos", "float32", 1000, 6e-8, 0.0),
    Kernel("sqrt", "float32", 1e4, 6e-8, 0.0),
    Kernel("rsqrt", "float32", 1e4, 9e-8, 0.0),
    Kernel("tanh", "float32", 8, 1.1e-4, 0.0),
    Kernel("sigmoid", "float32", 8, 2.4e-6, 0.0),
    Kernel("silu", "float32", 8, 2.4e-6, 0.0),
    Kernel("softmax", "float32", 20, 8.5e-6, 0.0),
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
    Kernel("softmax", "float64", 20, 1.4e-15, 0.0),
)
