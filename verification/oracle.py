"""Exact schedules: what every table of a DDPM must hold, reached by another road than the paper's formulas.

The code under test multiplies alphas and divides by 1 − ā_t. Here the same numbers come from

* **beta**: exact fractions of the declared ends; for the cosine schedule, whose betas are 1 − cos²b/cos²a, the equal
  1 − (1 + cos 2b)/(1 + cos 2a);
* **ā_t**: the exponential of a running sum of ln(1 − beta_s);
* **the posterior**: multiplying two Gaussians in x_{t−1} adds their precisions, 1/(1 − ā_{t−1}) from q(x_{t−1} | x_0)
  and alpha_t/beta_t from q(x_t | x_{t−1}); the mean is the precision-weighted mean of what each says of x_{t−1}.

All of it in 200-bit arithmetic, where cancellation costs nothing, and rounded once, correctly, to float64. With 53 bits
the cancellation in 1 − ā_t is most of a DDPM's rounding error: one ulp of ā_1 is 1e-12 of 1 − ā_1. So every table comes
with the error that float64 arithmetic may put in it (`rounding`).

A subject that declares no schedule is taken at its word for `beta`, which it may have stored with fewer bits than it
computed with: `delta` carries half an ulp of the stored beta into every other table.

Indices are 0-based: entry 0 belongs to the paper's t = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import mpmath
import numpy as np
import numpy.typing as npt

from verification.protocol import Subject, dtype_of
from verification.tolerance import unit_roundoff

Array = npt.NDArray[np.float64]

U64: Final = 2.0**-53
"""Unit roundoff of float64."""

BETA_ROUNDINGS: Final = 4
"""Roundings of 1 that a float64 beta may carry, absolutely: code that keeps only ā gets its betas back as
1 − ā_t/ā_{t−1}, where product, quotient and difference each round a number near 1. The formulas themselves add less."""

_mp = mpmath.mp.clone()  # a context of our own: nobody else's precision is changed, nor ours by them
_mp.prec = 200


@dataclass(frozen=True, eq=False)
class ExactSchedule:
    """Every table of one schedule, (T,) float64, read-only, correctly rounded from 200-bit arithmetic.

    `alpha_bar_prev` starts with 1 and `one_minus_alpha_bar_prev` with 0; `posterior_log_variance` starts with its
    second entry (for T = 1 with ln beta_1), because the first posterior variance is 0.
    """

    beta: Array
    alpha: Array
    alpha_bar: Array
    one_minus_alpha_bar: Array
    alpha_bar_prev: Array
    one_minus_alpha_bar_prev: Array
    sqrt_alpha_bar: Array
    sqrt_one_minus_alpha_bar: Array
    posterior_variance: Array
    posterior_log_variance: Array
    posterior_coef_x_0: Array
    posterior_coef_x_t: Array
    snr: Array
    rounding: Mapping[str, Array]
    """Table name -> (T,) relative error (absolute for the logarithm) of float64 arithmetic in any sensible order."""
    delta: Mapping[str, Array]
    """Table name -> (T,) the same for the rounding of an undeclared beta; all zeros when the schedule is declared."""
    declared: bool
    """False when beta was taken from the subject's own tables."""

    @property
    def T(self) -> int:  # noqa: N802 - the paper's letter, as in the arrays' shape (T,)
        """Number of time steps."""
        return len(self.beta)

    def table(self, name: str) -> Array:
        """The table called `name`, (T,) float64; raises KeyError when there is none."""
        if name not in self.rounding:
            raise KeyError(name)
        values: Array = getattr(self, name)
        return values

    def error(self, name: str) -> Array:
        """(T,) absolute error of table `name` in a correct float64 program: `rounding` and `delta` together."""
        relative = self.rounding[name] + self.delta[name]
        return relative if name == "posterior_log_variance" else relative * np.abs(self.table(name))


def exact(subject: Subject) -> ExactSchedule:
    """The exact tables for `subject`: of its declared schedule, or of its stored betas when it declares none.

    Raises ValueError, in a sentence, for a declaration that is not understood or betas outside (0, 1). Cached.
    """
    if subject.schedule is None:
        beta = np.asarray(subject.tables()["beta"])
        unit = max(unit_roundoff(beta.dtype.name), unit_roundoff(dtype_of(subject)))
        return _from_stored_beta(beta.astype(np.float64).tobytes(), beta.shape, unit)
    return exact_schedule(subject.schedule, subject.num_timesteps)


def exact_schedule(spec: Mapping[str, Any], num_timesteps: int) -> ExactSchedule:
    """The exact tables of a declared schedule such as {"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}.

    Raises ValueError for an unknown name, missing or unknown keys, or ends that give betas outside (0, 1). Cached.
    """
    values = tuple(sorted((key, float(value)) for key, value in spec.items() if key != "name"))
    return _from_declaration(str(spec.get("name")), values, int(num_timesteps))


def _ends(spec: Mapping[str, float]) -> tuple[Fraction, Fraction]:
    return Fraction(spec["beta_start"]), Fraction(spec["beta_end"])


def _line(first: Fraction, last: Fraction, count: int) -> list[Fraction]:
    """`count` equally spaced fractions from `first` to `last`, both included; `first` alone when `count` is 1."""
    if count == 1:
        return [first]
    return [(first * (count - 1 - i) + last * i) / (count - 1) for i in range(count)]


def _linear(spec: Mapping[str, float], T: int) -> Sequence[Any]:
    return _line(*_ends(spec), T)


def _quadratic(spec: Mapping[str, float], T: int) -> Sequence[Any]:
    """Equal steps in sqrt(beta), squared out: the square roots enter only through sqrt(first · last)."""
    first, last = (_real(end) for end in _ends(spec))
    middle = _mp.sqrt(first * last)
    weights = [_real(w) for w in _line(Fraction(0), Fraction(1), T)]
    return [first * (1 - w) ** 2 + 2 * middle * w * (1 - w) + last * w**2 for w in weights]


def _sigmoid(spec: Mapping[str, float], T: int) -> Sequence[Any]:
    """The logistic curve over −6 … 6, through its equal 1/(1 + e^−x) = (1 + tanh(x/2))/2."""
    first, last = (_real(end) for end in _ends(spec))
    half = [_real(x) / 2 for x in _line(Fraction(-6), Fraction(6), T)]
    return [first + (last - first) * (1 + _mp.tanh(x)) / 2 for x in half]


def _constant(spec: Mapping[str, float], T: int) -> Sequence[Any]:
    return [Fraction(spec["beta_end"])] * T


def _warmup(percent: int) -> Callable[[Mapping[str, float], int], Sequence[Any]]:
    """A line over the first `percent` of the steps (rounded down), then constant."""

    def betas(spec: Mapping[str, float], T: int) -> Sequence[Any]:
        first, last = _ends(spec)
        rising = T * percent // 100
        return (_line(first, last, rising) if rising else []) + [last] * (T - rising)

    return betas


def _jsd(spec: Mapping[str, float], T: int) -> Sequence[Any]:
    cap = Fraction(spec["max_beta"])
    return [min(Fraction(1, T - i), cap) for i in range(T)]


def _cosine(spec: Mapping[str, float], T: int) -> Sequence[Any]:
    """1 − cos²b/cos²a for the angles a, b before and after each step (Nichol & Dhariwal 2021, Eq. 17), capped."""
    twice_squares = [1 + _mp.cos(2 * angle) for angle in _cosine_angles(spec["s"], T)]
    cap = _real(Fraction(spec["max_beta"]))
    return [min(1 - after / before, cap) for before, after in pairwise(twice_squares)]


def _cosine_angles(offset: float, T: int) -> list[Any]:
    """(t/T + s)/(1 + s) · π/2 for t = 0 … T."""
    s = Fraction(offset)
    return [_real((Fraction(t, T) + s) / (1 + s)) * _mp.pi / 2 for t in range(T + 1)]


_ENDS: Final = ("beta_end", "beta_start")
_SCHEDULES: Final[dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, float], int], Sequence[Any]]]]] = {
    "linear": (_ENDS, _linear),
    "quadratic": (_ENDS, _quadratic),
    "sigmoid": (_ENDS, _sigmoid),
    "warmup10": (_ENDS, _warmup(10)),
    "warmup50": (_ENDS, _warmup(50)),
    "constant": (("beta_end",), _constant),
    "jsd": (("max_beta",), _jsd),
    "cosine": (("max_beta", "s"), _cosine),
}
SCHEDULES: Final = tuple(_SCHEDULES)
"""The names a subject may declare; for anything else it declares None and its betas are taken from its tables."""


@lru_cache(maxsize=128)
def _from_declaration(name: str, values: tuple[tuple[str, float], ...], T: int) -> ExactSchedule:
    if T < 1:
        raise ValueError(f"a schedule needs at least one time step, the subject states num_timesteps = {T}")
    if name not in _SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ValueError(f"the subject declares schedule {name!r}; known are {known}; declare None for any other")
    keys, build = _SCHEDULES[name]
    spec = dict(values)
    if tuple(spec) != keys:
        raise ValueError(f"schedule {name!r} is declared by {', '.join(keys)}; the subject gives {', '.join(spec)}")
    beta = [_real(value) for value in build(spec, T)]
    if not all(0 < value < 1 for value in beta):
        raise ValueError(f"the declared schedule {name!r} with {spec} has betas outside (0, 1) at T = {T}")
    beta_error = np.full(T, BETA_ROUNDINGS * U64)
    if name == "cosine":
        beta_error += _cosine_error(spec["s"], T)
    return _assemble(beta, beta_error, np.zeros(T), declared=True)


@lru_cache(maxsize=128)
def _from_stored_beta(data: bytes, shape: tuple[int, ...], unit: float) -> ExactSchedule:
    values = np.frombuffer(data, dtype=np.float64)
    if len(shape) != 1 or not len(values) or not np.all((values > 0) & (values < 1)):
        raise ValueError(f'tables()["beta"] must hold numbers between 0 and 1, shape (T,); its shape is {shape}')
    beta = [_mp.mpf(float(value)) for value in values]
    return _assemble(beta, np.full(len(beta), BETA_ROUNDINGS * U64), unit * values, declared=False)


def _cosine_error(offset: float, T: int) -> Array:
    """(T,) absolute error of float64 betas from the textbook ratio of squared cosines.

    An angle carries six roundings, and cos² turns a relative error r of its angle x into 2 x tan(x) r: near π/2, where
    the last ratios are taken, that is thousands of roundings. The two squares and their ratio, perhaps by way of
    f(t)/f(0), add ten.
    """
    angle = np.array([float(a) for a in _cosine_angles(offset, T)])
    # The last angle is π/2 itself: its cosine is a rounding error, and its square far below every other error here.
    per_cosine = 12 * U64 * angle * np.append(np.tan(angle[:-1]), 0.0)
    ratio = (np.cos(angle[1:]) / np.cos(angle[:-1])) ** 2
    error: Array = ratio * (per_cosine[1:] + per_cosine[:-1] + 10 * U64)
    return error


def _assemble(beta: Sequence[Any], beta_error: Array, stored_error: Array, *, declared: bool) -> ExactSchedule:
    """All tables of 200-bit `beta`, with what absolute errors of it, (T,), do to each table."""
    tables = {name: _rounded(values) for name, values in _exact_tables(beta).items()}
    rounding = _propagated(tables, beta_error, U64)
    delta = _propagated(tables, stored_error, 0.0)
    return ExactSchedule(**tables, rounding=rounding, delta=delta, declared=declared)


def _exact_tables(beta: Sequence[Any]) -> dict[str, list[Any]]:
    alpha_bar = _exp_of_running_sum([_mp.log(1 - b) for b in beta])
    prev = [_mp.mpf(1), *alpha_bar[:-1]]
    variance, coef_x_0, coef_x_t = zip(*map(_posterior, beta, prev), strict=True)
    log_variance = [_mp.log(v) for v in (*variance[1:2], *variance[1:])] or [_mp.log(beta[0])]
    return {
        "beta": list(beta),
        "alpha": [1 - b for b in beta],
        "alpha_bar": alpha_bar,
        "one_minus_alpha_bar": [1 - a for a in alpha_bar],
        "alpha_bar_prev": prev,
        "one_minus_alpha_bar_prev": [1 - a for a in prev],
        "sqrt_alpha_bar": [_mp.sqrt(a) for a in alpha_bar],
        "sqrt_one_minus_alpha_bar": [_mp.sqrt(1 - a) for a in alpha_bar],
        "posterior_variance": list(variance),
        "posterior_log_variance": log_variance,
        "posterior_coef_x_0": list(coef_x_0),
        "posterior_coef_x_t": list(coef_x_t),
        "snr": [a / (1 - a) for a in alpha_bar],
    }


def _exp_of_running_sum(logs: Sequence[Any]) -> list[Any]:
    total, out = _mp.mpf(0), []
    for value in logs:
        total += value
        out.append(_mp.exp(total))
    return out


def _posterior(beta: Any, alpha_bar_prev: Any) -> tuple[Any, Any, Any]:
    """Variance of q(x_{t−1} | x_t, x_0) and the weights of x_0 and x_t in its mean, by adding precisions."""
    if alpha_bar_prev == 1:  # x_{t−1} is x_0: the prior's precision is infinite and says it all
        return _mp.mpf(0), _mp.mpf(1), _mp.mpf(0)
    prior, likelihood = 1 / (1 - alpha_bar_prev), (1 - beta) / beta
    variance = 1 / (prior + likelihood)
    # q(x_{t−1} | x_0) says sqrt(ā_{t−1}) x_0; q(x_t | x_{t−1}), read as a law of x_{t−1}, says x_t/sqrt(alpha_t).
    return variance, variance * prior * _mp.sqrt(alpha_bar_prev), variance * likelihood / _mp.sqrt(1 - beta)


def _propagated(tables: Mapping[str, Array], beta_error: Array, unit: float) -> dict[str, Array]:
    """Table name -> (T,) relative error, to first order, when beta is off by `beta_error` and each operation by `unit`.

    ā_t collects the relative errors of the alphas before it, and t roundings of the product or of a running sum of
    logarithms, whose roundings are as large as the sum. 1 − ā_t turns a relative error of ā_t into SNR_t times as much,
    and has its own roundings: of a difference of numbers up to 1, or of a recurrence that adds up.
    """
    alpha_bar, beta = tables["alpha_bar"], tables["beta"]
    per_alpha = (beta_error + unit) / tables["alpha"]
    count = np.arange(2, len(beta) + 2)
    product = np.cumsum(per_alpha) + unit * count * (1 + np.abs(np.log(alpha_bar)))
    subtracted = 2 * unit / tables["one_minus_alpha_bar"]
    complement = tables["snr"] * product + subtracted + _recurrence_error(tables, unit)
    # The step before the first is exact: ā_0 = 1, whoever computes it.
    product_prev, complement_prev = (np.concatenate(([0.0], e[:-1])) for e in (product, complement))
    per_beta = (beta_error + unit) / beta
    variance = per_beta + complement_prev + complement + 4 * unit
    return {
        "beta": per_beta,
        "alpha": per_alpha,
        "alpha_bar": product,
        "one_minus_alpha_bar": complement,
        "alpha_bar_prev": product_prev,
        "one_minus_alpha_bar_prev": complement_prev,
        "sqrt_alpha_bar": product / 2 + unit,
        "sqrt_one_minus_alpha_bar": complement / 2 + unit,
        "posterior_variance": variance,
        "posterior_log_variance": _log_error(variance, tables["posterior_log_variance"], per_beta, unit),
        "posterior_coef_x_0": per_beta + product_prev / 2 + complement + 5 * unit,
        "posterior_coef_x_t": per_alpha / 2 + complement_prev + complement + 5 * unit,
        "snr": product + complement + unit,
    }


def _recurrence_error(tables: Mapping[str, Array], unit: float) -> Array:
    """(T,) relative error of 1 − ā_t as v_t = alpha_t v_{t−1} + beta_t: three roundings a step, fading with alpha."""
    kept = (tables["alpha"] * tables["one_minus_alpha_bar_prev"] / tables["one_minus_alpha_bar"]).tolist()
    error, out = 0.0, []
    for share in kept:
        error = share * error + 3 * unit
        out.append(error)
    return np.array(out)


def _log_error(variance: Array, log_variance: Array, per_beta: Array, unit: float) -> Array:
    """Absolute error of a logarithm: the relative error of its argument, and the rounding of the result."""
    argument = np.concatenate((variance[1:2], variance[1:])) if len(variance) > 1 else per_beta
    error: Array = argument + 2 * unit * np.abs(log_variance)
    return error


def _real(value: Any) -> Any:
    """A Fraction or a number as a 200-bit number."""
    if isinstance(value, Fraction):
        return _mp.mpf(value.numerator) / value.denominator
    return _mp.mpf(value)


def _rounded(values: Sequence[Any]) -> Array:
    """200-bit numbers to the nearest float64s, read-only. `float()` of an mpf truncates: round to 53 bits first."""
    with _mp.workprec(53):
        array = np.array([float(+value) for value in values])
    array.flags.writeable = False
    return array
