"""Noise of known law, mean 0 and standard deviation 1, for the tests of the clock's statistics."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
Shape = tuple[int, ...]


def draw(law: str, shape: Shape, seed: int | np.random.Generator = 0) -> Array:
    """An array of independent values, or of values that remember each other along the last axis ("ar0.5")."""
    random = np.random.default_rng(seed)
    if law == "normal":
        return random.standard_normal(shape)
    if law == "heavy":
        return np.asarray(random.standard_t(3, shape)) / math.sqrt(3)
    if law == "bimodal":
        return np.asarray((random.choice((-1.0, 1.0), shape) + 0.1 * random.standard_normal(shape)) / math.sqrt(1.01))
    if law == "sticky":
        return np.asarray((speeds(shape, random) + 0.1 * random.standard_normal(shape)) / math.sqrt(1.01))
    if law == "lognormal":
        variance = (math.e - 1) * math.e
        return np.asarray((random.lognormal(size=shape) - math.sqrt(math.e)) / math.sqrt(variance))
    if law in ("skewed", "skewed down"):
        return (1 if law == "skewed" else -1) * (random.standard_exponential(shape) - 1)
    if law == "skewed processes":
        return (random.standard_exponential(shape) - random.standard_exponential(shape)) / math.sqrt(2)
    if law.startswith("ar"):
        return autoregressive(float(law[2:]), shape, random)
    raise ValueError(f"no noise is called {law}")


def speeds(shape: Shape, random: np.random.Generator, stay: float = 0.75) -> Array:
    """±1, each like the one before with probability `stay`: at 3/4 the correlation is that of AR(0.5)."""
    changes = random.random(shape) > stay
    changes[..., 0] = random.random(shape[:-1]) < 0.5
    return np.where(np.cumsum(changes, axis=-1) % 2 == 0, 1.0, -1.0)


def autoregressive(rho: float, shape: Shape, random: np.random.Generator) -> Array:
    """AR(1) with the lag-one correlation `rho`, stationary from its first value on."""
    innovations = math.sqrt(1 - rho**2) * random.standard_normal(shape)
    innovations[..., 0] /= math.sqrt(1 - rho**2)
    return np.asarray(signal.lfilter([1.0], [1.0, -rho], innovations, axis=-1))


def abba(processes: Array) -> Array:
    """(…, 2 n) process effects in order of time → (…, n) log-ratios new over old of an ABBA session."""
    first, second = processes[..., ::2], processes[..., 1::2]
    sign = np.where(np.arange(first.shape[-1]) % 2 == 0, 1.0, -1.0)  # the old arm goes first in pairs 0, 2, …
    return np.asarray(sign * (second - first))
