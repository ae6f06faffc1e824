"""Noise schedules: how fast the forward process forgets the image.

The forward process of Ho et al. 2020 adds Gaussian noise in T small steps of variance beta_t (Eq. 2),

    q(x_t | x_{t-1}) = N(x_t; sqrt(1 - beta_t) x_{t-1}, beta_t I).

With alpha_t = 1 - beta_t and alpha_bar_t = alpha_1 ... alpha_t the steps compose to (Eq. 4)

    q(x_t | x_0) = N(x_t; sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I),

and by Bayes' rule one step back from x_t is again Gaussian once x_0 is known (Eqs. 6 and 7),

    q(x_{t-1} | x_t, x_0) = N(x_{t-1}; coef_x_0 x_0 + coef_x_t x_t, posterior_variance I).

The betas are therefore all there is to choose; every other table follows. Arrays are indexed from 0, so entry 0 is
the paper's t = 1. Everything is float64 NumPy, to be cast once by whoever needs another dtype: tables built in
float32 have 1 - alpha_bar wrong by 2e-4 at the first step. No MindSpore in here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpm_bench.errors import ConfigError, unknown_name

Array = npt.NDArray[np.float64]

COSINE_OFFSET = 0.008
"""s of Nichol & Dhariwal 2021, Eq. 17: keeps the first betas from vanishing."""

MAX_BETA = 0.999
"""Cap of schedules whose formula reaches beta = 1 at the last step (Nichol & Dhariwal 2021, section 3.2)."""


def make_schedule(
    name: str,
    num_timesteps: int,
    *,
    rescale: bool = False,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
) -> NoiseSchedule:
    """The schedule called `name` (one of `SCHEDULES`) with `num_timesteps` steps.

    `beta_start`, `beta_end`: the ends, for every schedule but cosine and jsd, which have none; the defaults are
    those of Ho et al. 2020, section 4, and meant for T = 1000. `rescale` multiplies both by 1000 / T, so that
    alpha_bar still reaches about 4e-5 when T is another number.

    Raises `ConfigError` for an unknown name, a T below 1, a `rescale` of a schedule without ends, and ends that put
    a beta outside (0, 1).
    """
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    num_timesteps = _checked_count("number of time steps", num_timesteps)
    if name in _WITHOUT_ENDS:
        if rescale:
            raise ConfigError(f"the {name} schedule has no beta_start and beta_end to rescale; leave rescale out")
        betas, parameters = _WITHOUT_ENDS[name]
        return NoiseSchedule(name, betas(num_timesteps), parameters)
    scale = 1000 / num_timesteps if rescale else 1.0
    first, last = beta_start * scale, beta_end * scale
    ends = {"beta_end": last} if name == "constant" else {"beta_start": first, "beta_end": last}
    _check_ends(name, num_timesteps, ends, rescale=rescale)
    return NoiseSchedule(name, _WITH_ENDS[name](first, last, num_timesteps), ends)


def strided_timesteps(num_timesteps: int, num_steps: int) -> npt.NDArray[np.int64]:
    """The (num_steps,) 0-based time steps of a sampler that takes fewer than T steps, in the order they are visited.

    Strictly decreasing and as evenly spaced as whole numbers allow. They always start at T - 1, because sampling
    starts from pure noise, and from two steps on they end at 0, because the last step must return an image.

    Raises `ConfigError` unless 1 <= num_steps <= num_timesteps.
    """
    num_timesteps = _checked_count("number of time steps", num_timesteps)
    num_steps = _checked_count("number of sampling steps", num_steps)
    if num_steps > num_timesteps:
        raise ConfigError(
            f"a sampler cannot take {num_steps} steps of a process that has {num_timesteps}; "
            f"give a number of steps from 1 to {num_timesteps}"
        )
    if num_steps == 1:
        return np.array([num_timesteps - 1])
    gaps = num_steps - 1
    rank = np.arange(gaps, -1, -1)
    # Whole-number arithmetic: round-half-up of rank (T - 1) / gaps, which can neither repeat nor miss an end.
    return (2 * rank * (num_timesteps - 1) + gaps) // (2 * gaps)


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The variances `beta` of the forward process and every table that follows from them, all (T,) float64.

    `name`: what to call it. `beta`: (T,) in (0, 1), copied and made read-only. `parameters`: the numbers that
    together with the name determine `beta`, or None for betas from elsewhere.

    Raises `ConfigError` if `beta` is not (T,) with T >= 1 and 0 < beta < 1, or if alpha_bar underflows to 0.
    """

    name: str
    beta: Array
    parameters: Mapping[str, float] | None = field(default=None)

    def __post_init__(self) -> None:
        """Copy, validate and freeze `beta`."""
        beta = np.array(self.beta, dtype=np.float64)
        _check_betas(self.name, beta)
        object.__setattr__(self, "beta", _frozen(beta))

    @property
    def spec(self) -> dict[str, Any] | None:
        """What this schedule says it is, `{"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}`, or None."""
        return None if self.parameters is None else {"name": self.name, **self.parameters}

    @property
    def num_timesteps(self) -> int:
        """T, the number of steps."""
        return len(self.beta)

    @cached_property
    def alpha(self) -> Array:
        """alpha_t = 1 - beta_t."""
        return _frozen(1 - self.beta)

    @cached_property
    def alpha_bar(self) -> Array:
        """alpha_bar_t = alpha_1 ... alpha_t, the share of the image's variance left in x_t (Eq. 4)."""
        return _frozen(np.cumprod(self.alpha))

    @cached_property
    def alpha_bar_prev(self) -> Array:
        """alpha_bar_{t-1}; the first entry is alpha_bar_0 = 1."""
        return _frozen(np.concatenate([[1.0], self.alpha_bar[:-1]]))

    @cached_property
    def one_minus_alpha_bar(self) -> Array:
        """1 - alpha_bar_t, the variance of the noise in x_t (Eq. 4).

        By v_t = alpha_t v_{t-1} + beta_t, v_0 = 0, which is Eq. 2 applied t times: a sum of positive terms. The
        difference 1 - alpha_bar would lose four digits at the first step.
        """
        return _frozen(np.array(_accumulated_variance(self.alpha, self.beta)))

    @cached_property
    def one_minus_alpha_bar_prev(self) -> Array:
        """1 - alpha_bar_{t-1}; the first entry is 0."""
        return _frozen(np.concatenate([[0.0], self.one_minus_alpha_bar[:-1]]))

    @cached_property
    def sqrt_alpha_bar(self) -> Array:
        """sqrt(alpha_bar_t), what Eq. 4 multiplies x_0 with."""
        return _frozen(np.sqrt(self.alpha_bar))

    @cached_property
    def sqrt_one_minus_alpha_bar(self) -> Array:
        """sqrt(1 - alpha_bar_t), what Eq. 4 multiplies eps with."""
        return _frozen(np.sqrt(self.one_minus_alpha_bar))

    @cached_property
    def snr(self) -> Array:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t)."""
        return _frozen(self.alpha_bar / self.one_minus_alpha_bar)

    @cached_property
    def posterior_variance(self) -> Array:
        """Variance of q(x_{t-1} | x_t, x_0), Eq. 7: beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t); first entry 0."""
        return _frozen(self.beta * (self.one_minus_alpha_bar_prev / self.one_minus_alpha_bar))

    @cached_property
    def posterior_log_variance(self) -> Array:
        """Log of `posterior_variance`, the first entry, log 0, replaced by the second (by log beta_1 when T = 1).

        Ho et al.'s code does so, and their decoder's width is this replaced first entry.
        """
        return _frozen(np.log(replace_first(self.posterior_variance, self)))

    @cached_property
    def posterior_coef_x_0(self) -> Array:
        """What Eq. 7 multiplies x_0 with: sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t); first entry 1."""
        return _frozen(np.sqrt(self.alpha_bar_prev) * (self.beta / self.one_minus_alpha_bar))

    @cached_property
    def posterior_coef_x_t(self) -> Array:
        """What Eq. 7 multiplies x_t with: sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t); first entry 0."""
        return _frozen(np.sqrt(self.alpha) * (self.one_minus_alpha_bar_prev / self.one_minus_alpha_bar))

    def respace(self, timesteps: Iterable[int]) -> NoiseSchedule:
        """The schedule of the process seen only at these 0-based `timesteps`, given in any order.

        alpha_bar stays what it was at the steps that are kept, so the new betas are 1 - alpha_bar_t / alpha_bar_s
        for neighbours s < t (Nichol & Dhariwal 2021, section 4).

        Raises `ConfigError` for no time steps, a repeated one, or one outside 0...T-1.
        """
        kept = self._checked_timesteps(timesteps)
        starts = [0, *(step + 1 for step in kept[:-1])]
        spans = [slice(start, stop + 1) for start, stop in zip(starts, kept, strict=True)]
        ratio = np.array([np.prod(self.alpha[span]) for span in spans])
        noise = np.array([_accumulated_variance(self.alpha[span], self.beta[span])[-1] for span in spans])
        # Both are right; the sum keeps the digits of a small beta, the difference those of a small 1 - beta.
        beta = np.where(ratio < noise, 1 - ratio, noise)
        return NoiseSchedule(f"{self.name}, {len(kept)} of {self.num_timesteps} steps", beta)

    def _checked_timesteps(self, timesteps: Iterable[int]) -> list[int]:
        """`timesteps` as an ascending list without repetitions."""
        given = [int(step) for step in timesteps]
        kept = sorted(set(given))
        if not kept or len(kept) < len(given) or kept[0] < 0 or kept[-1] >= self.num_timesteps:
            raise ConfigError(
                f"time steps {given} cannot be kept of a schedule with {self.num_timesteps}: "
                f"give at least one, each once, from 0 to {self.num_timesteps - 1}"
            )
        return kept


def replace_first(variance: Array, schedule: NoiseSchedule) -> Array:
    """A copy of `variance` (T,) whose first entry is the second posterior variance (beta_1 when T = 1).

    q(x_0 | x_1, x_0) has variance 0, of which no logarithm can be taken, and beta_1 overstates it; Ho et al.'s code
    uses the next step's posterior variance there, for the fixed-large variance as well.
    """
    return np.concatenate([np.append(schedule.posterior_variance[1:2], schedule.beta[:1])[:1], variance[1:]])


def _linear(beta_start: float, beta_end: float, num_timesteps: int) -> Array:
    """Evenly spaced betas (Ho et al. 2020, section 4)."""
    return np.linspace(beta_start, beta_end, num_timesteps)


def _quadratic(beta_start: float, beta_end: float, num_timesteps: int) -> Array:
    """Evenly spaced standard deviations ("quad" of Ho et al.'s code)."""
    deviation: Array = np.linspace(np.sqrt(beta_start), np.sqrt(beta_end), num_timesteps)
    return np.square(deviation)


def _sigmoid(beta_start: float, beta_end: float, num_timesteps: int) -> Array:
    """A logistic ramp between the ends, its argument from -6 to 6 ("sigmoid" of the DDIM code, Song et al. 2021)."""
    share: Array = 1 / (1 + np.exp(-np.linspace(-6, 6, num_timesteps)))
    return beta_start + (beta_end - beta_start) * share


def _constant(_beta_start: float, beta_end: float, num_timesteps: int) -> Array:
    """`beta_end` at every step ("const" of Ho et al.'s code)."""
    return np.full(num_timesteps, beta_end)


def _warmup(fraction: float) -> Callable[[float, float, int], Array]:
    """A linear rise over the first `fraction` of the steps, then `beta_end` ("warmup" of Ho et al.'s code)."""

    def betas(beta_start: float, beta_end: float, num_timesteps: int) -> Array:
        rising = int(num_timesteps * fraction)
        return np.concatenate([np.linspace(beta_start, beta_end, rising), np.full(num_timesteps - rising, beta_end)])

    return betas


def _cosine(num_timesteps: int) -> Array:
    """1 - alpha_bar_t / alpha_bar_{t-1}, capped, for alpha_bar_t ~ cos^2(angle_t) (Nichol & Dhariwal 2021, Eq. 17).

    With neighbouring angles a < b that is 1 - cos^2 b / cos^2 a = sin(b - a) sin(b + a) / cos^2 a, which loses no
    digits where the ratio is near 1; and the cosines are sines of the complement, exact where they near 0.
    """
    step = np.pi / 2 / ((1 + COSINE_OFFSET) * num_timesteps)
    rank = np.arange(num_timesteps + 1)
    sine = np.sin(step * (rank + COSINE_OFFSET * num_timesteps))
    cosine = np.sin(step * (num_timesteps - rank))
    sine_of_sum = sine[1:] * cosine[:-1] + cosine[1:] * sine[:-1]
    beta: Array = np.minimum(np.sin(step) * sine_of_sum / cosine[:-1] ** 2, MAX_BETA)
    return beta


def _jsd(num_timesteps: int) -> Array:
    """1/T, 1/(T-1), ..., 1/2, and the cap for 1/1 ("jsd" of Ho et al.'s code; alpha_bar falls linearly)."""
    beta: Array = np.minimum(1 / np.arange(num_timesteps, 0, -1), MAX_BETA)
    return beta


_WITH_ENDS: Mapping[str, Callable[[float, float, int], Array]] = {
    "linear": _linear,
    "quadratic": _quadratic,
    "sigmoid": _sigmoid,
    "constant": _constant,
    "warmup10": _warmup(0.1),
    "warmup50": _warmup(0.5),
}
_WITHOUT_ENDS: Mapping[str, tuple[Callable[[int], Array], Mapping[str, float]]] = {
    "cosine": (_cosine, {"s": COSINE_OFFSET, "max_beta": MAX_BETA}),
    "jsd": (_jsd, {"max_beta": MAX_BETA}),
}

SCHEDULES: tuple[str, ...] = (*_WITH_ENDS, *_WITHOUT_ENDS)
"""The names `make_schedule` knows."""


def _accumulated_variance(alpha: Array, beta: Array) -> list[float]:
    """Noise variance after each of the given steps, starting from none: v = alpha v + beta (from Eq. 2)."""
    variance, result = 0.0, []
    for a, b in zip(alpha.tolist(), beta.tolist(), strict=True):
        variance = a * variance + b
        result.append(variance)
    return result


def _frozen(array: Array) -> Array:
    """The same array, read-only: a table someone else writes to would be wrong for everyone."""
    array.flags.writeable = False
    return array


def _checked_count(what: str, count: object) -> int:
    """`count` as an int of at least 1; `ConfigError` naming `what` otherwise."""
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise ConfigError(f"the {what} is {count!r}; give a whole number of at least 1")
    return int(count)


def _check_ends(name: str, num_timesteps: int, ends: Mapping[str, float], *, rescale: bool) -> None:
    """Raise `ConfigError` unless both ends lie in (0, 1)."""
    for end, value in ends.items():
        if not 0 < value < 1:
            how = f" after rescaling by 1000/{num_timesteps}" if rescale else ""
            remedy = "use more time steps or leave rescale out" if rescale else "choose it between 0 and 1"
            raise ConfigError(f"{end} of the {name} schedule is {value:g}{how}, outside 0 < beta < 1; {remedy}")


def _check_betas(name: str, beta: Array) -> None:
    """Raise `ConfigError` unless `beta` is (T,) in (0, 1) and its alpha_bar stays above 0."""
    if beta.ndim != 1 or beta.size == 0:
        raise ConfigError(f"beta of the {name} schedule has shape {beta.shape}; give one number per time step, (T,)")
    outside = ~((beta > 0) & (beta < 1))
    if outside.any():
        t = int(np.argmax(outside))
        raise ConfigError(f"beta[{t}] of the {name} schedule is {beta[t]!r}; every beta must lie between 0 and 1")
    last = float(np.prod(1 - beta))
    if last < np.finfo(np.float64).tiny:
        raise ConfigError(
            f"alpha_bar of the {name} schedule falls to {last:g} after {beta.size} steps, too small to divide by; "
            "use fewer time steps or smaller betas"
        )
