"""Where Adam's step may lead when its gradients g_1 ... g_n are known to within bounds b_1 ... b_n.

Not by its recursion, but by what the recursion sums up to. With s weights that each add up to 1,

    s_1j = (1 - b1) b1^(n-j) / (1 - b1^n),  s_2j alike,    step = rate * sum s_1j g_j / (sqrt(sum s_2j g_j^2) + epsilon)

(Kingma and Ba 2015, Algorithm 1), and intervals for the two sums enclose their quotient. Section 2 of that paper moves
the corrections into the rate, which makes epsilon larger by 1 / sqrt(1 - b2^n), 32 in the first step; both are Adam,
and where a gradient is as small as epsilon they differ by half, so each is enclosed by itself. Two things are granted:

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
ORDERS = ("Algorithm 1", "the order of section 2")
"""Of the corrections and epsilon."""

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


def epsilon_of(order: str, n: int) -> float:
    """What stands beside the corrected root in the `n`-th step, by the `order` in which the paper has it."""
    return EPSILON / (1.0 if order == ORDERS[0] else float(np.sqrt(1 - BETA_2**n)))


def enclosure(gradients: Sequence[Array], bounds: Sequence[float], u: float, *, order: str) -> Enclosure:
    """Of the n-th step, in a type with unit roundoff `u`; `gradients` are those of steps 1 to n, of one shape."""
    n = len(gradients)
    share_1, share_2, epsilon = shares(BETA_1, n), shares(BETA_2, n), epsilon_of(order, n)
    error_1, error_2, final = relative(BETA_1, n, u), relative(BETA_2, n, u), gamma(ROUNDINGS, u)
    g = np.stack([np.asarray(each, float) for each in gradients])
    b = np.asarray(bounds, float).reshape(-1, *[1] * (g.ndim - 1))
    if n == 1:  # g / (|g| + epsilon) grows with g, so its ends are those of g
        low, high = (each / (np.abs(each) + epsilon) for each in (g[0] - b[0], g[0] + b[0]))
        final += error_1 + error_2
    else:
        m, off = _total(share_1, g), _total(share_1, b) + error_1 * _total(share_1, np.abs(g) + b)
        narrow = np.sqrt((1 - error_2) * _total(share_2, np.maximum(np.abs(g) - b, 0) ** 2)) + epsilon
        wide = np.sqrt((1 + error_2) * _total(share_2, (np.abs(g) + b) ** 2)) + epsilon
        low, high = np.minimum((m - off) / narrow, (m - off) / wide), np.maximum((m + off) / narrow, (m + off) / wide)
    largest = np.sqrt(np.sum(share_1**2 / share_2)) * (1 + error_1 + error_2 + final)
    due = _total(share_1, g) / (np.sqrt(_total(share_2, g**2)) + epsilon)
    low = np.clip(low - final * np.abs(low), -largest, largest)
    high = np.clip(high + final * np.abs(high), -largest, largest)
    return Enclosure(due, np.minimum(low, due), np.maximum(high, due))


def shares(beta: float, n: int) -> Array:
    """How much each of n gradients, oldest first, counts in a mean corrected for its start; they add up to 1."""
    powers = (1 - beta) * beta ** np.arange(n - 1, -1, -1)
    return np.asarray(powers / (1 - beta**n))


def relative(beta: float, n: int, u: float) -> float:
    """T3 and T2: the relative error of a corrected mean of positive terms, from the constants and the sums."""
    return float(conditioned(2 * beta / (1 - beta), u=u)) + gamma(4 * n, u)


def _total(share: Array, values: Array) -> Array:
    return np.asarray(np.tensordot(share, values, axes=1))
