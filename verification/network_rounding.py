"""How far a correct network may lie from exact arithmetic, found by Monte Carlo arithmetic (Parker 1997).

Worst-case bounds multiply the gain of every layer and exceed the output itself after a few of them. Here each
rounded operation of the exact forward pass is given a random error as large as its own derived bound, the errors
travel through the true network, cancelling and growing as they really do, and the spread at the output is the
bound's scale. Per operation:

* a sum of n products: each product and each partial sum rounds once, by at most u times its size. Averaged over the
  orders of summation the square of the k-th sum is (k/n)^2 S^2 + k (n - k) / (n (n - 1)) (Q - S^2/n), with S the whole
  sum and Q the sum of squares; added up over k, with Q for the products, (n + 1)/3 S^2 + (n + 7)/6 Q. This is rule T2
  with sqrt(n) for n, as errors of random sign have it (Higham & Mary 2019), relative to the terms, not to the result.
* a transcendental kernel: its measured error (rule T4, `kernel_ledger`), once as a factor common to the layer, since
  a kernel's error is a function and not a coin, and once for each element.
* everything else: one rounding, u times the result.

The standard deviation given to an operation is its *bound*, so real errors are smaller; six of them are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from verification.tolerance import kernel_bound, unit_roundoff

Array = NDArray[np.float64]

DRAWS = 6
"""Perturbed passes. Their root mean square over a sample's pixels is uncertain by less than a third."""

DEVIATIONS = 6.0
"""Allowed standard deviations: of normal errors 2e-9 lie outside, and the model's deviations are themselves bounds."""

HALF_PRECISION_ULPS = 4.0
"""Roundoffs granted to a kernel in a type the ledger has no row for: half types are computed in single and rounded."""

KERNELS = {"silu": 8.0, "softmax": 20.0}
"""The kernels of a U-Net and the reach of their arguments, beyond which SiLU is 0 or x, and a softmax weight is 0."""


class Exact:
    """No rounding: every operation returns the value it was given."""

    def dot(self, value: Array, terms: int, squares: Callable[[], Array]) -> Array:  # noqa: ARG002 - see MonteCarlo
        """A sum of `terms` products; `squares()` is the sum of their squares, of the same shape."""
        return value

    def kernel(self, op: str, value: Array) -> Array:  # noqa: ARG002 - see MonteCarlo
        """The result of the transcendental kernel `op`, one of `KERNELS`."""
        return value

    def error(self, value: Array, size: Callable[[], Array]) -> Array:  # noqa: ARG002 - see MonteCarlo
        """A value whose rounding error is at most u times `size()`."""
        return value


@dataclass
class MonteCarlo(Exact):
    """Every operation errs at random by its own bound, as it might in `dtype`. One seed, one sequence of errors."""

    dtype: str
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._roundoff = unit_roundoff(self.dtype)

    def dot(self, value: Array, terms: int, squares: Callable[[], Array]) -> Array:
        """A sum of `terms` products, with the standard deviation of `sum_size`."""
        return self.error(value, lambda: sum_size(terms, value, squares()))

    def kernel(self, op: str, value: Array) -> Array:
        """The ledger's relative error of `op`, common to the layer and once more for each element."""
        relative = kernel_error(op, self.dtype)
        shifted = value * (1.0 + relative * self._random.standard_normal())
        return self.error(shifted, lambda: relative / self._roundoff * np.abs(value))

    def error(self, value: Array, size: Callable[[], Array]) -> Array:
        """`value` plus errors of standard deviation u `size()`, uniform as those of rounding are, one each element."""
        spread = self._roundoff * 12**0.5 * (self._random.random(value.shape) - 0.5)
        return value + size() * spread


@cache
def kernel_error(op: str, dtype: str) -> float:
    """Relative error allowed to the kernel `op`, one of `KERNELS`."""
    if dtype in ("float16", "bfloat16"):
        return HALF_PRECISION_ULPS * unit_roundoff(dtype)
    return float(kernel_bound(op, 1.0, dtype=dtype, reach=KERNELS[op]))


def sum_size(terms: int, total: Array, squares: Array) -> Array:
    """Standard deviation, in units of roundoff, of a sum of `terms` products; see the module. `squares` is Q."""
    return np.asarray(np.sqrt((terms + 1) / 3 * total**2 + (terms + 7) / 6 * squares))


def allowed_error(exact: Array, perturbed: Sequence[Array]) -> Array:
    """Allowed error of each sample: `DEVIATIONS` root mean squares of its perturbed outputs around the exact one.

    All are (B, C, H, W); returns (B, 1, 1, 1), in the outputs' unit. The pixels of a sample are pooled: the last
    convolution mixes everything before it, so they err alike, and few draws are enough.
    """
    deviation = np.stack(perturbed) - exact
    return np.asarray(DEVIATIONS * np.sqrt(np.mean(deviation**2, axis=(0, 2, 3, 4)))[:, None, None, None])
