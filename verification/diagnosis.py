"""From wrong numbers to the formula that was probably meant: "equals alpha_bar[t-1] to 3e-08: index off by one".

A coefficient that a check has identified over all t is a fingerprint. It is held against the right formula bent in the
ways that people bend it (square root missing, one minus it, shifted by one, divided by T ...), against every other
coefficient of a DDPM, and at last against all products of powers of the schedule's quantities. The nearest is named,
with its largest relative mismatch over t, provided that it fits far better than the right formula does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from verification.oracle import ExactSchedule
from verification.protocol import Array

MATCH = 1e-3  # a formula named in a diagnosis fits at least this well: wrong formulas differ by more, float32 by less
BETTER = 20.0  # ... and so many times better than the right one
ROUNDING = 1.2e-7  # what agrees this well agrees: two roundings of float32
FEW = 3  # so many entries may be called exceptions to an otherwise right formula


def coefficients(schedule: ExactSchedule) -> dict[str, Array]:
    """Every coefficient of a DDPM by name, (T,) float64: the right formulas, and what may be mistaken for them."""
    s = schedule
    bar, rest, rest_prev = s.alpha_bar, s.one_minus_alpha_bar, s.one_minus_alpha_bar_prev
    return {
        "beta": s.beta,
        "sqrt_beta": np.sqrt(s.beta),
        "alpha": s.alpha,
        "sqrt_alpha": np.sqrt(s.alpha),
        "alpha_bar": bar,
        "sqrt_alpha_bar": np.sqrt(bar),
        "one_minus_alpha_bar": rest,
        "sqrt_one_minus_alpha_bar": np.sqrt(rest),
        "alpha_bar_prev": s.alpha_bar_prev,
        "sqrt_alpha_bar_prev": np.sqrt(s.alpha_bar_prev),
        "one_minus_alpha_bar_prev": rest_prev,
        "sqrt_one_minus_alpha_bar_prev": np.sqrt(rest_prev),
        "posterior_variance": s.posterior_variance,
        "sqrt_posterior_variance": np.sqrt(s.posterior_variance),
        "posterior_log_variance": s.posterior_log_variance,
        "log_beta": np.log(s.beta),
        "posterior_coef_x_0": s.posterior_coef_x_0,
        "posterior_coef_x_t": s.posterior_coef_x_t,
        "recip_sqrt_alpha": 1 / np.sqrt(s.alpha),
        "recip_sqrt_alpha_bar": 1 / np.sqrt(bar),
        "recip_sqrt_one_minus_alpha_bar": 1 / np.sqrt(rest),
        "sqrt_recip_alpha_bar_minus_one": np.sqrt(rest / bar),
        "p_mean_coef_eps": -s.beta / np.sqrt(s.alpha * rest),  # Eq. 11, of eps_hat in the mean
        "snr": bar / rest,
        "log_snr": np.log(bar) - np.log(rest),
        "exp(-cumsum(beta))": np.exp(-np.cumsum(s.beta)),
        "1 - cumsum(beta)": 1 - np.cumsum(s.beta),
        "1 - sqrt_alpha_bar": 1 - np.sqrt(bar),
        "sqrt(1 - alpha_bar^2)": np.sqrt(rest * (1 + bar)),
        "linear in t/T": s.beta[0] + (s.beta[-1] - s.beta[0]) * np.arange(len(bar)) / len(bar),
        "linear in (t+1)/T": s.beta[0] + (s.beta[-1] - s.beta[0]) * np.arange(1, len(bar) + 1) / len(bar),
        "linear in t/(T-1)": np.linspace(s.beta[0], s.beta[-1], len(bar)),
        "linear in the square root": np.linspace(s.beta[0] ** 0.5, s.beta[-1] ** 0.5, len(bar)) ** 2,
    }


def diagnose(observed: Array, truth_name: str, schedule: ExactSchedule, *, truth: Array | None = None) -> str:
    """What formula the `observed` coefficient (T,) follows instead of the one called `truth_name`; "" if none is close.

    `truth` (T,) is needed only for a name that `coefficients` does not have.
    Raises `KeyError` on such a name without it.
    """
    seen = np.asarray(observed, np.float64).reshape(-1)
    with np.errstate(all="ignore"):
        known = coefficients(schedule)
        right = known[truth_name] if truth is None else np.asarray(truth, np.float64).reshape(-1)
        known[truth_name] = right
        if seen.shape != right.shape or not np.isfinite(seen).all() or _mismatch(seen, right) <= ROUNDING:
            return ""
        return (
            _named(seen, right, known, truth_name)
            or _factor(seen, right, truth_name)
            or _half(seen, right, truth_name)
            or _exceptions(seen, right)
            or _power_product(seen, right, schedule)
        )


def _named(seen: Array, right: Array, known: dict[str, Array], name: str) -> str:
    """The named formula that fits: the first listed of those that fit about as well as the best."""
    candidates = itertools.chain(_bent(right, name), _others(known, name))
    different = [(text, values) for text, values in candidates if _mismatch(right, values) > ROUNDING]
    fits = [(_mismatch(seen, values), text) for text, values in different]
    best = min(misfit for misfit, _ in fits)
    if best > MATCH or best * BETTER > _mismatch(seen, right):
        return ""
    misfit, text = next(fit for fit in fits if fit[0] <= 10 * best + 1e-9)
    return f"equals {text} (matches to {misfit:.1g})"


def _mismatch(seen: Array, candidate: Array) -> float:
    """The largest relative difference over the entries where `candidate` is defined; NaN there means "any value"."""
    defined = ~np.isnan(candidate)
    if 2 * defined.sum() < len(seen):
        return np.inf
    error = np.abs(seen - candidate)[defined]
    return float(np.max(np.where(error == 0, 0.0, error / np.abs(candidate[defined]))))


def _shifted(values: Array, by: int) -> Array:
    """`values[t + by]`, NaN where there is none."""
    moved = np.full_like(values, np.nan)
    moved[max(0, -by) : len(values) - max(0, by)] = values[max(0, by) : len(values) - max(0, -by)]
    return moved


def _bent(right: Array, name: str) -> Iterator[tuple[str, Array]]:
    """The right formula, bent."""
    T = len(right)
    yield f"0 at every t: {name} is missing", np.zeros(T)
    yield f"1 at every t: {name} is missing", np.ones(T)
    yield f"{name}[t-1] with [-1] at the start: a negative index wraps around", np.roll(right, 1)
    yield f"{name}[t-1]: index off by one", _shifted(right, -1)
    yield f"{name}[t+1]: index off by one", _shifted(right, +1)
    yield f"-{name}: sign flipped", -right
    yield f"{name}^2: square root missing, or squared once too often", np.sign(right) * right**2
    yield f"sqrt({name}): a square root too many", np.sign(right) * np.sqrt(np.abs(right))
    yield f"1 - {name}: complement taken, or one minus missing", 1 - right
    yield f"sqrt(1 - {name}^2): signal and noise swapped", np.sqrt(1 - right**2)
    yield f"1 / {name}: inverted", 1 / right
    yield f"log({name}): the logarithm where the value belongs", np.log(right)
    yield f"log({name}) / 2: the logarithm where the value belongs", np.log(right) / 2
    yield f"exp({name}): the exponential of what belongs here", np.exp(right)
    yield f"exp({name} / 2): the square root of the exponential of what belongs here", np.exp(right / 2)
    yield f"exp({name}^2 / 2): a variance exponentiated as if it were its logarithm", np.exp(right**2 / 2)
    yield f"{name} / T", right / T
    yield f"{name} * T", right * T
    yield f"2 {name}: doubled", 2 * right
    yield f"{name} / 2: halved", right / 2
    yield f"{name}[T-1-t]: runs backwards", right[::-1]


def _others(known: dict[str, Array], truth_name: str) -> Iterator[tuple[str, Array]]:
    """The other coefficients, as they are, negated, or off by one."""
    for name, values in known.items():
        if name != truth_name:
            yield f"{name} where {truth_name} belongs", values
    for name, values in known.items():
        if name != truth_name:
            yield f"-{name} where {truth_name} belongs", -values
            yield f"{name}[t-1] where {truth_name} belongs", _shifted(values, -1)
            yield f"{name}[t+1] where {truth_name} belongs", _shifted(values, +1)
    yield f"cumsum({truth_name}): a running sum", np.cumsum(known[truth_name])
    yield f"cumprod({truth_name}): a running product", np.cumprod(known[truth_name])


def _factor(seen: Array, right: Array, name: str) -> str:
    """Whether `seen` is the right formula times one number for all t."""
    usable = right != 0
    if usable.sum() < 2 or seen[~usable].any():
        return ""
    ratio = seen[usable] / right[usable]
    middle, spread = float(np.median(ratio)), float(np.ptp(ratio))
    if spread * BETTER >= abs(middle - 1) or spread > MATCH * abs(middle):
        return ""
    return f"equals {name} times {middle:.7g} at every t"


def _half(seen: Array, right: Array, name: str) -> str:
    """Whether `seen` is the right formula in half precision."""
    rounded = right.astype(np.float16).astype(np.float64)
    return f"equals {name} rounded to float16 at every t" if _mismatch(seen, rounded) <= ROUNDING else ""


def _exceptions(seen: Array, right: Array) -> str:
    """Whether `seen` is the right formula except at a few t."""
    error = np.abs(seen - right)
    relative = np.where(error == 0, 0.0, error / np.abs(right))
    bad = np.flatnonzero(relative > min(np.max(relative), MATCH) / 10)
    rest = np.delete(relative, bad)
    if len(bad) > FEW or len(rest) < 2 * FEW or rest.max() > MATCH:
        return ""
    listed = ", ".join(f"t={t} ({seen[t]:.9g} for {right[t]:.9g})" for t in bad)
    return f"right except at {listed}"


# Powers of the five independent quantities; alpha_bar_prev is alpha_bar / alpha.
_POWERS = np.array(
    list(itertools.product((-1, -0.5, 0, 0.5, 1), (-1, -0.5, 0, 0.5, 1), *[(-1, -0.5, 0, 0.5, 1)] * 2, (-1, 0, 0.5, 1)))
)
_POWER_NAMES = ("alpha", "beta", "alpha_bar", "1 - alpha_bar", "1 - alpha_bar_prev")


def _power_product(seen: Array, right: Array, schedule: ExactSchedule) -> str:
    """The product of powers that `seen` follows from t = 1 on (at t = 0 the last quantity is 0)."""
    if len(seen) < 2 * len(_POWER_NAMES) or not seen[1:].all():
        return ""
    s = schedule
    bases = (s.alpha, s.beta, s.alpha_bar, s.one_minus_alpha_bar, s.one_minus_alpha_bar_prev)
    logs = np.log(np.stack(bases)[:, 1:])
    target = np.log(np.abs(seen[1:]))
    few = np.unique(np.linspace(0, len(target) - 1, 16).astype(int))
    rough = np.abs(_POWERS @ logs[:, few] - target[few]).max(axis=1)
    near = _POWERS[rough <= MATCH]
    misfits = np.abs(near @ logs - target).max(axis=1) if len(near) else np.array([np.inf])
    if misfits.min() > MATCH or misfits.min() * BETTER > _mismatch(seen, right):
        return ""
    # Of those that fit about as well as the best, the one that is simplest to say.
    simple = min(np.flatnonzero(misfits <= 10 * misfits.min() + 1e-12), key=lambda i: np.count_nonzero(near[i]))
    sign = "-" if np.median(seen) < 0 else ""
    return f"equals {sign}{_as_text(near[simple])} (matches to {misfits[simple]:.1g})"


def _as_text(powers: Array) -> str:
    """`sqrt(alpha) / (1 - alpha_bar)` for its powers."""
    above = [_factor_text(name, p) for name, p in zip(_POWER_NAMES, powers, strict=True) if p > 0]
    below = [_factor_text(name, -p) for name, p in zip(_POWER_NAMES, powers, strict=True) if p < 0]
    return " / ".join([" ".join(above) or "1", *below])


def _factor_text(name: str, power: float) -> str:
    if power != 1:
        return f"sqrt({name})"
    return f"({name})" if " " in name else name
