"""Are the outputs of the timed calls right? NumPy in float64 against what the device returned; no framework here.

The network's part of every expectation comes from a `Reference`: eps_hat in float64 from configuration and weights. The
command line names it ("module:function" in a worker's job), so that clock and judge need not know each other. What
surrounds the network is written down here once more from the papers, sharing nothing with `ddpm_bench`.

How far may float32 be off? A computed sum of n products is the exact one of operands that are off by about sqrt(n)·u
of themselves (backward error; Higham and Mary 2019), u = 2^−24. So the reference is asked again with every weight
moved by a random share of that, and `SAFETY` times the difference is allowed: this measures how the network itself
passes rounding on, where a formula would guess. Half precision and bfloat16 round by 2^−11 and 2^−8, far outside; so
are a missing step, image, update or input. Where half precision is asked for, u is its own, and an eps_hat as exact as
float32 is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reference = Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]], NDArray[Any], NDArray[Any]], NDArray[Any]]
"""eps_hat (B, C, H, W) from configuration, weights, x (B, C, H, W) and t (B,)."""

UNIT_ROUNDOFF = 2.0**-24
"""Of float32: half the distance from 1 to the next number."""

ROUNDOFFS = {"float32": UNIT_ROUNDOFF, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Of each type that a network may compute in."""

SAFETY = 8
"""One random perturbation stands for all roundings: the real ones may add up less luckily, at more entries."""

VECTOR_ROUNDINGS = 64
"""Granted to biases and normalisations, whose means run over up to 64² entries: sqrt(64²)."""

TABLE_ROUNDINGS = 16
"""Granted to a step's three products and two sums, whose factors come from tables in which numbers cancelled."""


SINUSOIDS = "time_embedding.dense_1.weight"
"""The weights that read the sinusoids of t: (4C, C), the columns are sines, then cosines."""

LARGEST_T = 1000


class Invalid(Exception):  # noqa: N818 - it is the answer "invalid", with the reason
    """Why a number may not be shown."""


class Refused(Invalid):
    """The gate's reason: what was computed is wrong."""


@dataclass(frozen=True)
class Network:
    """The network as the reference sees it: eps_hat as it should be, and as rounding might make it."""

    reference: Reference
    config: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    dtype: str = "float32"
    """what its layers compute in, one of `ROUNDOFFS`"""

    def eps(self, x: NDArray[Any], t: NDArray[Any]) -> Array:
        """eps_hat for `x` (B, C, H, W) and `t` (B,), in float64."""
        return np.asarray(self.reference(self.config, self.weights, x, t), np.float64)

    def rounded_eps(self, x: NDArray[Any], t: NDArray[Any]) -> Array:
        """The same with every weight moved by a random share of the rounding of the sum it belongs to."""
        return np.asarray(self.reference(self.config, self._moved, x, t), np.float64)

    def in_float32(self) -> Network:
        """The same network as it would be in float32."""
        return replace(self, dtype="float32")

    @cached_property
    def _moved(self) -> dict[str, Array]:
        random, unit = np.random.default_rng(0), ROUNDOFFS[self.dtype]
        moved = {name: _moved(np.asarray(value, np.float64), random, unit) for name, value in self.weights.items()}
        if SINUSOIDS in moved and self.config.get("time_embedding") == "sinusoidal":
            moved[SINUSOIDS] = moved[SINUSOIDS] * _moved_sinusoids(moved[SINUSOIDS].shape[1], random)
        return moved


def _moved(weight: Array, random: np.random.Generator, unit: float) -> Array:
    """`weight` with relative errors uniform in ±sqrt(n)·unit, n the products summed for one output."""
    roundings = math.sqrt(math.prod(weight.shape[1:])) if weight.ndim > 1 else VECTOR_ROUNDINGS
    return np.asarray(weight * (1 + roundings * unit * random.uniform(-1, 1, weight.shape)), np.float64)


def _moved_sinusoids(channels: int, random: np.random.Generator) -> Array:
    """Factors for the `channels` sinusoids of t, whose phase t·frequency float32 rounds before it takes the sine.

    At t = 1000 the fastest is off by 1000·u: the same for every pixel of an image, so nothing averages it out. Networks
    in half precision embed t in float32, too.
    """
    half = channels // 2
    frequencies = 10000.0 ** (-np.arange(half) / (half - 1))
    phases = LARGEST_T * np.concatenate([frequencies, frequencies])
    return np.asarray(1 + phases * UNIT_ROUNDOFF * random.uniform(-1, 1, channels), np.float64)


def compare(observed: NDArray[Any], expected: Array, allowed: float, *, what: str) -> dict[str, float]:
    """The largest error and what was `allowed`, both absolute. Raises `Invalid` saying `what` is wrong and how much."""
    if observed.shape != expected.shape:
        raise Invalid(f"{what} has shape {observed.shape} and should have {expected.shape}")
    if expected.size > 1 and not np.ptp(expected) > 0:
        raise Invalid(f"{what} should be the same everywhere, which would prove nothing")
    error = float(np.abs(observed - expected).max())
    if not error <= allowed:  # also when it is not a number
        size = float(np.sqrt(np.mean(expected**2)))
        raise Invalid(f"{what} is off by {error:.3g} where {allowed:.3g} is allowed (its size is {size:.3g})")
    return {"error": error, "allowed": allowed}


def whole(observed: NDArray[Any], shape: tuple[int, ...], *, what: str) -> None:
    """Raise `Invalid` unless `observed` has this `shape`, is finite, and has no two images that are equal."""
    if observed.shape != shape:
        raise Invalid(f"{what} has shape {observed.shape} and should have {shape}")
    if not np.isfinite(observed).all():
        raise Invalid(f"{what} holds {int((~np.isfinite(observed)).sum())} entries that are not finite")
    if len(np.unique(observed.reshape(len(observed), -1), axis=0)) < len(observed):
        raise Invalid(f"{what} holds images that are equal, for inputs that differ")


def forward(
    network: Network, x: NDArray[Any], t: NDArray[Any], observed: NDArray[Any], images: slice
) -> dict[str, float]:
    """The gate of a forward pass: `observed` (B, C, H, W) for `x` and `t`; `images` are held against the reference."""
    whole(observed, x.shape, what="eps_hat")
    expected = network.eps(x[images], t[images])
    moved = network.rounded_eps(x[images], t[images])
    allowed = SAFETY * float(np.abs(moved - expected).max())
    found = compare(observed[images], expected, allowed, what="eps_hat")
    if network.dtype != "float32":
        exact = SAFETY * float(np.abs(network.in_float32().rounded_eps(x[images], t[images]) - expected).max())
        if found["error"] <= exact:
            off = f"eps_hat is off by {found['error']:.3g}, no more than float32 is"
            raise Invalid(f"{off}: nothing was computed in {network.dtype}")
    return found


def linear_alpha_bar(num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Array:
    """alpha_bar of the linear schedule (Ho et al. 2020, Section 4), (T,) float64."""
    return np.asarray(np.exp(np.cumsum(np.log1p(-np.linspace(beta_start, beta_end, num_timesteps)))), np.float64)


def noised(alpha_bar: Array, x_0: NDArray[Any], t: NDArray[Any], eps: NDArray[Any]) -> Array:
    """x_t of Ho et al. 2020, Eq. 4, in float64. `x_0`, `eps` (B, ...); `t` (B,) 0-based."""
    signal = _column(alpha_bar[t], x_0)
    return np.asarray(np.sqrt(signal) * x_0 + np.sqrt(1 - signal) * eps, np.float64)


def _column(values: Array, like: NDArray[Any]) -> Array:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


@dataclass(frozen=True)
class Move:
    """One reverse step as the affine map it is; each factor is (B,) float64."""

    x_t: Array
    eps: Array
    z: Array

    def __call__(self, x_t: NDArray[Any], eps: NDArray[Any], z: NDArray[Any]) -> Array:
        """x_t, eps and z, each (B, ...), times their factors and added, in float64."""
        parts = ((self.x_t, x_t), (self.eps, eps), (self.z, z))
        return np.asarray(sum(_column(factor, value) * value for factor, value in parts), np.float64)

    def rounding(self, x_t: NDArray[Any], eps: NDArray[Any], z: NDArray[Any]) -> float:
        """How far float32 arithmetic of this step may be off, absolute."""
        parts = ((self.x_t, x_t), (self.eps, eps), (self.z, z))
        sizes = (float(np.abs(factor).max() * np.abs(value).max()) for factor, value in parts)
        return TABLE_ROUNDINGS * UNIT_ROUNDOFF * sum(sizes)


def ancestral_move(alpha_bar: Array, t: NDArray[Any]) -> Move:
    """One step of Algorithm 2 (Ho et al. 2020) from each `t` > 0, with the posterior variance of Eq. 7."""
    now, before = alpha_bar[t], alpha_bar[t - 1]
    alpha = now / before
    variance = (1 - alpha) * (1 - before) / (1 - now)
    return Move(1 / np.sqrt(alpha), -(1 - alpha) / np.sqrt(alpha * (1 - now)), np.sqrt(variance))


def ddim_move(alpha_bar: Array, t: NDArray[Any], t_prev: NDArray[Any], eta: float) -> Move:
    """One step of Song et al. 2021 (DDIM), Eqs. 12 and 16, from `t` to `t_prev`, each (B,); −1 means "to x_0"."""
    now = alpha_bar[t]
    before = np.where(t_prev < 0, 1.0, alpha_bar[np.maximum(t_prev, 0)])
    variance = eta**2 * (1 - before) / (1 - now) * (1 - now / before)
    direction = np.sqrt(np.maximum(1 - before - variance, 0.0))
    gain = np.sqrt(before / now)
    return Move(gain, direction - gain * np.sqrt(1 - now), np.sqrt(variance))


def step(
    network: Network,
    move: Move,
    x: NDArray[Any],
    t: NDArray[Any],
    z: NDArray[Any],
    observed: NDArray[Any],
    images: slice,
) -> dict[str, float]:
    """The gate of one reverse step: `observed` (B, C, H, W) from `x`, `t` (B,) and noise `z`, held against `move`."""
    whole(observed, x.shape, what="x after the step")
    part = Move(move.x_t[images], move.eps[images], move.z[images])
    x, t, z = x[images], t[images], z[images]
    eps = network.eps(x, t)
    expected, moved = part(x, eps, z), part(x, network.rounded_eps(x, t), z)
    allowed = SAFETY * float(np.abs(moved - expected).max()) + part.rounding(x, eps, z)
    return compare(observed[images], expected, allowed, what="x after the step")


def check_timesteps(timesteps: Sequence[int], steps: int, num_timesteps: int) -> None:
    """Raise `Invalid` unless a chain visits as many time steps as it says, falling, from the last to the first."""
    falling = all(a > b for a, b in itertools.pairwise(timesteps))
    if len(timesteps) != steps or not falling or (timesteps[0], timesteps[-1]) != (num_timesteps - 1, 0):
        raise Invalid(f"a chain of {steps} steps visits {list(timesteps)}")


def chain(
    network: Network,
    alpha_bar: Array,
    x_T: NDArray[Any],
    z: NDArray[Any],
    timesteps: Sequence[int],
    eta: float,
    observed: NDArray[Any],
    images: slice,
) -> dict[str, float]:
    """The gate of a whole DDIM chain: `observed` (B, C, H, W) from `x_T` and `z` (steps, B, C, H, W).

    A second chain beside the reference takes the rounded network and a random rounding of every step: what the chain
    makes of such errors on its way is what is allowed.
    """
    whole(observed, x_T.shape, what="the images")
    random = np.random.default_rng(0)
    exact = np.asarray(x_T[images], np.float64)
    rounded = exact.copy()
    for t, t_prev, noise in zip(timesteps, [*timesteps[1:], -1], z[:, images], strict=True):
        steps, steps_prev = np.full(len(exact), t), np.full(len(exact), t_prev)
        move = ddim_move(alpha_bar, steps, steps_prev, eta)
        eps = network.eps(exact, steps)
        slack = move.rounding(exact, eps, noise)
        rounded = move(rounded, network.rounded_eps(rounded, steps), noise)
        rounded += slack / SAFETY * random.uniform(-1, 1, rounded.shape)
        exact = move(exact, eps, noise)
    allowed = SAFETY * float(np.abs(rounded - exact).max())
    return compare(observed[images], exact, allowed, what="the images")
