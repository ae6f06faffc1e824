"""Floats that count what is done with them, and what a layer did: `counted_layers.py` computes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.object_]

TALLY = {"products": 0, "sums": 0, "others": 0}
"""What has been done with `Number`s so far."""


class Number:
    """A float that counts each operation on it as one."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value

    def __mul__(self, other: Number) -> Number:
        TALLY["products"] += 1
        return Number(self.value * other.value)

    def __add__(self, other: Number) -> Number:
        TALLY["sums"] += 1
        return Number(self.value + other.value)

    def __sub__(self, other: Number) -> Number:
        TALLY["others"] += 1
        return Number(self.value - other.value)

    def __truediv__(self, other: Number) -> Number:
        TALLY["others"] += 1
        return Number(self.value / other.value)

    def __neg__(self) -> Number:
        TALLY["others"] += 1
        return Number(-self.value)

    def of(self, function: Callable[[float], float]) -> Number:
        TALLY["others"] += 1
        return Number(function(self.value))

    def larger(self, other: Number) -> Number:
        TALLY["others"] += 1
        return self if self.value > other.value else other


def numbers(array: Any) -> Numbers:
    array = np.asarray(array, np.float64)
    found = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        found[index] = Number(float(array[index]))
    return found


def zeros(*shape: int) -> Numbers:
    return numbers(np.zeros(shape))


def floats(array: Numbers) -> NDArray[np.float32]:
    return np.array([number.value for number in array.ravel()], np.float32).reshape(array.shape)


def total(terms: Iterable[Number]) -> Number:
    """The sum, of n terms with n − 1 additions."""
    return reduce(lambda a, b: a + b, terms)


ONE = Number(1.0)


def each(function: Callable[..., Number], *arrays: Numbers) -> Numbers:
    found = np.empty_like(arrays[0])
    for p in np.ndindex(found.shape):
        found[p] = function(*(array[p] for array in arrays))
    return found


Margin = tuple[int, int]
"""Rows and columns of zeros around an image: above and to the left, below and to the right."""


def padded(x: Numbers, margin: Margin) -> Numbers:
    """Images with their margin; anything else, and any without one, as it is."""
    if margin == (0, 0):
        return x
    b, c, h, w = x.shape
    found = zeros(b, c, h + sum(margin), w + sum(margin))
    found[:, :, margin[0] : margin[0] + h, margin[0] : margin[0] + w] = x
    return found


def cropped(x: Numbers, margin: Margin) -> Numbers:
    """Without the margin again."""
    if margin == (0, 0):
        return x
    first, behind = margin
    return x[:, :, first : x.shape[2] - behind, first : x.shape[3] - behind]


@dataclass(eq=False)
class Tensor:
    """An activation, its users in order, and the gradients that have come back from them so far."""

    value: Numbers
    users: list[str] = field(default_factory=list)
    gradients: list[Numbers] = field(default_factory=list)

    @property
    def gradient(self) -> Numbers:
        (one,) = self.gradients
        return one


@dataclass
class Seen:
    """What a layer did in one step."""

    products: int = 0
    sums: int = 0
    others: int = 0
    read: dict[int, int] = field(default_factory=dict)
    """array to its bytes, so that what is read twice counts once"""
    written: int = 0
    alive: list[Any] = field(default_factory=list)
    """the arrays, so that no two get the same identity"""

    def reads(self, *arrays: Any) -> None:
        for array in arrays:
            self.alive.append(array)
            self.read[id(array)] = (floats(array) if array.dtype == object else array).nbytes

    def writes(self, array: Any) -> None:
        self.written += floats(array).nbytes
