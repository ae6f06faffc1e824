"""Reading a sampler's step off: one step is affine in (x_t, eps_hat, z), so a few inputs show all of it, with no
statistics.

Every time step is one row of a batch and every question one of its columns, so the coefficients of all T steps come
out of a single call of shape (T, 8). The columns:

0. nothing: an offset would show here, and so would a leak from the other columns, which share the row;
1. x_t alone, 2. eps_hat alone, 3. z alone: the three coefficients;
4. all three at once: is the step affine at all; 7. the same without z: what the noise added, bit for bit;
5. x_t alone and 6. eps_hat alone again, so large that the implied x_0 leaves [-1, 1]: is it clipped or not.

Inputs are powers of two times a few bits, so they and their products are exact in every floating-point type, and are
scaled for each t so that the x_0 they imply stays inside [-1, 1] in columns 1 to 4: a subject that clips is affine
there too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from verification.guard import SubjectError
from verification.oracle import ExactSchedule, exact
from verification.oracle_gaussian import Array, Integers, StepCoefficients
from verification.protocol import Subject
from verification.randomness import current

Result = TypeVar("Result")

NOTHING, X_T, EPS_HAT, NOISE, ALL, X_T_OUTSIDE, EPS_HAT_OUTSIDE, WITHOUT_NOISE = range(8)
COLUMNS = 8
ALL_FACTORS = (0.75, -0.5, -1.25)  # of x_t, eps_hat and z in column 4: three different sizes and both signs
OUTSIDE_FACTOR = 8.0  # columns 5 and 6 are columns 1 and 2 times this: an implied |x_0| between 2 and 4


@dataclass(frozen=True)
class Probe:
    """The inputs of one call: `x_t`, `eps_hat`, `z` (n, 8), and the unit of x_t and of eps_hat for each row, (n,)."""

    x_t: Array
    eps_hat: Array
    z: Array
    unit_x_t: Array
    unit_eps_hat: Array


def probe(tables: ExactSchedule, t: Integers) -> Probe:
    """Inputs for the rows `t` (n,). A unit implies |x_0| between 1/4 and 1/2."""
    unit_x_t = _power_of_two_below(tables.sqrt_alpha_bar[t] / 2)
    unit_eps_hat = _power_of_two_below(tables.sqrt_alpha_bar[t] / tables.sqrt_one_minus_alpha_bar[t] / 2)
    x_t, eps_hat, z = (np.zeros((len(t), COLUMNS)) for _ in range(3))
    x_t[:, X_T] = 1.0
    eps_hat[:, EPS_HAT] = 1.0
    z[:, NOISE] = 1.0
    x_t[:, ALL], eps_hat[:, ALL], z[:, ALL] = ALL_FACTORS
    x_t[:, WITHOUT_NOISE], eps_hat[:, WITHOUT_NOISE] = ALL_FACTORS[:2]
    x_t[:, X_T_OUTSIDE] = eps_hat[:, EPS_HAT_OUTSIDE] = OUTSIDE_FACTOR
    return Probe(x_t * unit_x_t[:, None], eps_hat * unit_eps_hat[:, None], z, unit_x_t, unit_eps_hat)


def _power_of_two_below(value: Array) -> Array:
    return np.asarray(np.exp2(np.floor(np.log2(value))))


@dataclass(frozen=True)
class Reading:
    """What a subject's step returned for `probe`, (n, 8) float64, and the coefficients read off it, (n,) each."""

    probe: Probe
    output: Array

    @property
    def x_t(self) -> Array:
        """The coefficient of x_t."""
        return np.asarray(self.output[:, X_T] / self.probe.unit_x_t)

    @property
    def eps_hat(self) -> Array:
        """The coefficient of eps_hat."""
        return np.asarray(self.output[:, EPS_HAT] / self.probe.unit_eps_hat)

    @property
    def z(self) -> Array:
        """The coefficient of z, sigma."""
        return self.output[:, NOISE]


def affine_output(step: StepCoefficients, inputs: Probe) -> Array:
    """What the affine map `step`, coefficients (n,), makes of `inputs`, (n, 8)."""
    return np.asarray(
        step.x_t[:, None] * inputs.x_t + step.eps_hat[:, None] * inputs.eps_hat + step.z[:, None] * inputs.z
    )


def read_ancestral(subject: Subject) -> Reading:
    """`p_step` at every t, in one call."""

    def call() -> Reading:
        t = np.arange(subject.num_timesteps)
        inputs = probe(exact(subject), t)
        return _reading("p_step", inputs, subject.p_step(inputs.x_t, t, inputs.eps_hat, inputs.z))

    return remembered(subject, "p_step", call)


def read_mean(subject: Subject) -> tuple[Reading, Array]:
    """The mean of `p_mean_variance` at every t and its variance, (T,) float64, in one call."""

    def call() -> tuple[Reading, Array]:
        t = np.arange(subject.num_timesteps)
        inputs = probe(exact(subject), t)
        mean, variance = subject.p_mean_variance(inputs.x_t, t, inputs.eps_hat)
        wide = np.broadcast_shapes(np.shape(variance), inputs.x_t.shape) == inputs.x_t.shape
        if not wide or np.shape(variance)[:1] != t.shape:
            raise SubjectError(
                "p_mean_variance", f"returned a variance of shape {np.shape(variance)} for {t.shape} images"
            )
        return _reading("p_mean_variance", inputs, mean), np.asarray(variance).astype(float).reshape(len(t), -1)[:, 0]

    return remembered(subject, "p_mean_variance", call)


def read_ddim(subject: Subject, t: Integers, t_prev: Integers, eta: float) -> Reading:
    """`ddim_step` for any number of pairs (t, t_prev), in calls of T rows each.

    One shape for all calls, because a framework that compiles does so for every new one; the last is filled up.
    """
    rows = subject.num_timesteps
    padded = np.arange(math.ceil(len(t) / rows) * rows) % len(t)
    inputs = probe(exact(subject), t[padded])
    parts = []
    for part in (slice(start, start + rows) for start in range(0, len(padded), rows)):
        steps = (t[padded[part]], t_prev[padded[part]])
        output = subject.ddim_step(inputs.x_t[part], *steps, inputs.eps_hat[part], inputs.z[part], eta)
        parts.append(shaped("ddim_step", output, (rows, COLUMNS)))
    kept = Probe(*(each[: len(t)] for each in vars(inputs).values()))
    return Reading(kept, np.concatenate(parts)[: len(t)])


def read_neighbours(subject: Subject, eta: float) -> Reading:
    """`ddim_step` from every t to t - 1, which from t = 0 is x_0 itself."""
    t = np.arange(subject.num_timesteps)
    return remembered(subject, f"ddim_step {eta}", lambda: read_ddim(subject, t, t - 1, eta))


def _reading(method: str, inputs: Probe, output: Any) -> Reading:
    return Reading(inputs, shaped(method, output, inputs.x_t.shape))


def shaped(method: str, output: Any, shape: tuple[int, ...]) -> Array:
    """The `output` of a method in float64; raises `SubjectError` if it has another shape."""
    seen = np.asarray(output).astype(float)
    if seen.shape != shape:
        raise SubjectError(method, f"returned shape {seen.shape} for arrays of shape {shape}")
    return seen


_memory: WeakKeyDictionary[Any, dict[tuple[str, int], Any]] = WeakKeyDictionary()


def remembered(subject: Subject, key: str, compute: Callable[[], Result]) -> Result:
    """`compute()`, once for each subject, `key` and seed: several checks look at the same outputs from different sides.

    A subject that cannot be kept in a dictionary is asked again each time.
    """
    try:
        shelf = _memory.setdefault(getattr(subject, "_subject", subject), {})
    except TypeError:  # not hashable, or without weak references
        return compute()
    slot = (key, current().seed)
    if slot not in shelf:
        shelf[slot] = compute()
    result: Result = shelf[slot]
    return result
