"""Where Adam's step may lead when its gradients g_1 ... g_n are known to within bounds b_1 ... b_n.

Not by its recursion, but by what the recursion sums up to. With s weights that each add up to 1,

    s_1j = (1 - b1) b1^(n-j) / (1 - b1^n),  s_2j alike,      step = rate * sum s_1j g_j / (sqrt(sum s_2j g_j^2) + epsilon)

(Kingma and Ba 2015, Algorithm 1), and intervals for the two sums enclose their quotient. Three things are granted:

* Section 2 of that paper moves the corrections into the rate, which makes epsilon smaller by sqrt(1 - b2^n): either is
  Adam, and everything between.
* 1 - b2 of a b2 that was rounded to the type errs by b2 / (1 - b2) = 999 roundoffs, 1 - b2^n by as many; b1 by 9 (T3).
* Where a gradient is hardly larger than its bound the quotient could be anything, but by the inequality of Cauchy and
  Schwarz it is at most sqrt(sum s_1j^2 / s_2j): 1 in the first step, little more in the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verification.protocol import Array
from verification.tolerance import conditioned, gamma

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
ROUNDINGS = 8
"""Of the quotient: root, sum, quotient, product with the rate, and the rate's own four."""


@dataclass(frozen=True)
class Enclosure:
    """In units of the learning rate, to be taken off the weights: the exact step `due`, and where it may lie."""

    due: Array
    low: Array
    high: Array

    @property
    def reach(self) -> Array:
        """The distance from `due` to the farther end."""
        return np.maximum(self.high - self.due, self.due - self.low)


def enclosure(gradients: Sequence[Array], bounds: Sequence[float], u: float) -> Enclosure:
    """Of the n-th step, in a type with unit roundoff `u`; `gradients` are those of steps 1 to n, of one shape."""
    n = len(gradients)
    share_1, share_2 = shares(BETA_1, n), shares(BETA_2, n)
    g, b = np.stack([np.asarray(each, float) for each in gradients]), np.asarray(bounds, float)
    b = b.reshape(-1, *[1] * (g.ndim - 1))
    least, most = EPSILON, EPSILON / np.sqrt(1 - BETA_2**n)
    m, v = _total(share_1, g), _total(share_2, g**2)
    off = _total(share_1, b) + relative(BETA_1, n, u) * _total(share_1, np.abs(g) + b)
    error = relative(BETA_2, n, u)
    narrow = np.sqrt((1 - error) * _total(share_2, np.maximum(np.abs(g) - b, 0) ** 2)) + least
    wide = np.sqrt((1 + error) * _total(share_2, (np.abs(g) + b) ** 2)) + most
    if n == 1:
        ends = _alone(g[0] - b[0], least, most), _alone(g[0] + b[0], least, most)
        slack = relative(BETA_1, n, u) + error
        low, high = ends[0].min(axis=0), ends[1].max(axis=0)
        low, high = low - slack * np.abs(low), high + slack * np.abs(high)
    else:
        ends_of_m = np.stack([m - off, m + off])
        low = np.minimum(ends_of_m[0] / narrow, ends_of_m[0] / wide)
        high = np.maximum(ends_of_m[1] / narrow, ends_of_m[1] / wide)
    final = gamma(ROUNDINGS, u)
    largest = np.sqrt(np.sum(share_1**2 / share_2)) * (1 + relative(BETA_1, n, u) + error + final)
    due = m / (np.sqrt(v) + least)
    low, high = low - final * np.abs(low), high + final * np.abs(high)
    return Enclosure(due, np.minimum(np.clip(low, -largest, largest), due), np.maximum(np.clip(high, -largest, largest), due))


def shares(beta: float, n: int) -> Array:
    """How much each of n gradients, oldest first, counts in a mean that was corrected for its start; they add up to 1."""
    powers = (1 - beta) * beta ** np.arange(n - 1, -1, -1)
    return np.asarray(powers / (1 - beta**n))


def relative(beta: float, n: int, u: float) -> float:
    """T3 and T2: the relative error of a corrected mean of positive terms, from the constants and the sums."""
    return float(conditioned(2 * beta / (1 - beta), u=u)) + gamma(4 * n, u)


def _total(share: Array, values: Array) -> Array:
    return np.asarray(np.tensordot(share, values, axes=1))


def _alone(g: Array, least: float, most: float) -> Array:
    """The first step of gradient `g`, g / (|g| + epsilon), which grows with g, at both ends of epsilon: (2, ...)."""
    return np.stack([g / (np.abs(g) + epsilon) for epsilon in (least, most)])
