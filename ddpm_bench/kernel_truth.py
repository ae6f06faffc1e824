"""What kernels are asked, and the exact answers: for each operator its arguments and the function it should compute.

Up to float32 the answers come from NumPy and SciPy in float64, whose own error, some 1e-16, is less than a millionth of
a float32 rounding. For float64 they come from mpmath with 50 digits, point by point, so there are fewer points.

Functions of one number are asked all over |x| <= reach and densely near 0 (and near 1, where a logarithm vanishes):
that is where kernels lose digits. Sums of products are measured against the sum of the magnitudes of their terms, which
is what rounding is relative to; a group norm against 1, the deviation of its output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import mpmath
import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[Any]

DIGITS: Final = 50
"""Of the exact answers for float64."""

GROUPS: Final = 4
GROUP_NORM_EPSILON: Final = 1e-5


@dataclass(frozen=True)
class Trial:
    """The operator `op` on arguments up to `reach` in magnitude.

    `arguments(n)` gives about `n` of them, float64, to be rounded to the type under test. `rough` answers in float64
    for float64 arrays, `exact` in mpmath for arrays of mpmath's numbers. `size` is what the error is relative to, where
    that is not the answer itself.
    """

    op: str
    reach: float
    arguments: Callable[[int], tuple[Array, ...]]
    rough: Callable[..., Array]
    exact: Callable[..., Array]
    size: Callable[..., Array] | None = None


def answers(trial: Trial, arguments: Sequence[Array], *, precise: bool) -> Array:
    """The truth for `arguments`, float64 arrays: in float64, or if `precise` as mpmath's numbers."""
    if not precise:
        with np.errstate(all="ignore"):  # an answer that overflows is no answer: the caller leaves it out
            return np.asarray(trial.rough(*arguments))
    with mpmath.workdps(DIGITS):
        return np.asarray(trial.exact(*(_mpf(np.asarray(argument)) for argument in arguments)), dtype=object)


def sizes(trial: Trial, arguments: Sequence[Array], truth: Array) -> Array:
    """What errors are relative to, float64, in the shape of `truth`."""
    if trial.size is None:
        return np.asarray(np.abs(truth.astype(float)))
    return np.asarray(np.broadcast_to(np.asarray(trial.size(*arguments), float), truth.shape))


def errors(computed: Array, truth: Array) -> Array:
    """|computed - truth|, taken in the precision of `truth` and then float64; infinite where `computed` is none."""
    finite = np.isfinite(computed)
    seen = np.where(finite, computed, 0.0)
    with mpmath.workdps(DIGITS):
        difference = np.abs((_mpf(seen) if truth.dtype == object else seen) - truth)
    return np.where(finite, difference.astype(float), np.inf)


_mpf = np.vectorize(lambda value: mpmath.mpf(float(value)), otypes=[object])


def _pointwise(function: Callable[..., Any]) -> Callable[..., Array]:
    return np.vectorize(function, otypes=[object])


# Arguments ------------------------------------------------------------------------------------------------------------


def _both_signs(reach: float) -> Callable[[int], tuple[Array]]:
    """Evenly over -reach...reach, and by orders of magnitude towards 0."""

    def arguments(n: int) -> tuple[Array]:
        small = np.geomspace(1e-8, reach, n // 8)
        return (np.concatenate([np.linspace(-reach, reach, n - 2 * (n // 8)), small, -small]),)

    return arguments


def _positive(reach: float) -> Callable[[int], tuple[Array]]:
    """By orders of magnitude up to reach, and towards 1 from both sides."""

    def arguments(n: int) -> tuple[Array]:
        near = np.geomspace(1e-8, 0.5, n // 4)
        return (np.concatenate([np.geomspace(1e-8, reach, n - 2 * (n // 4)), 1 + near, 1 - near]),)

    return arguments


def _above_minus_one(reach: float) -> Callable[[int], tuple[Array]]:
    """By orders of magnitude towards 0 from both sides, and towards -1."""

    def arguments(n: int) -> tuple[Array]:
        small = np.geomspace(1e-8, reach, n // 2)
        return (np.concatenate([small, -np.geomspace(1e-8, 0.5, n // 4), np.geomspace(1e-6, 0.5, n // 4) - 1]),)

    return arguments


def _bases_and_exponents(reach: float) -> Callable[[int], tuple[Array, Array]]:
    """Bases by orders of magnitude up to reach; exponents from -3 to 3 in another order, every other one 0.5."""

    def arguments(n: int) -> tuple[Array, Array]:
        exponents = np.random.default_rng(0).uniform(-3, 3, n)
        exponents[::2] = 0.5
        return np.geomspace(1 / reach, reach, n), exponents

    return arguments


def _rows(reach: float) -> Callable[[int], tuple[Array]]:
    """Rows of 16 numbers that differ by up to reach: what a softmax depends on."""
    return lambda n: (np.random.default_rng(0).uniform(-reach / 2, reach / 2, (max(n // 16, 4), 16)),)


def _normal(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def _matrices(n: int) -> tuple[Array, Array]:
    """Sums of 256 products; of 64 where there must be few."""
    rows, terms = (64, 256) if n > 4096 else (8, 64)
    return _normal(rows, terms, seed=1), _normal(terms, rows, seed=2)


def _images_and_filters(n: int) -> tuple[Array, Array]:
    """3 by 3 filters, 16 channels; 2 where there must be few."""
    channels, side = (16, 16) if n > 4096 else (2, 6)
    return _normal(2, channels, side, side, seed=3), _normal(channels, channels, 3, 3, seed=4)


def _groups(offset: float) -> Callable[[int], tuple[Array, Array, Array]]:
    """Images of deviation 1 around `offset`, with a scale and a shift for each channel."""

    def arguments(n: int) -> tuple[Array, Array, Array]:
        channels, side = (16, 16) if n > 4096 else (8, 4)
        images = offset + _normal(2, channels, side, side, seed=5)
        return images, 1 + 0.1 * _normal(channels, seed=6), 0.1 * _normal(channels, seed=7)

    return arguments


# Answers that are more than a library's function ----------------------------------------------------------------------


def _softmax(x: Array) -> Array:
    powers = _pointwise(mpmath.exp)(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _convolution(images: Array, filters: Array) -> Array:
    """The sum over channels and the 3 by 3 neighbourhood, zeros outside; also of mpmath's numbers."""
    zero = images.flat[0] * 0
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=zero)
    windows: Array = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))  # type: ignore[call-overload]  # two axes are accepted
    return np.moveaxis(np.tensordot(windows, filters, axes=((1, 4, 5), (1, 2, 3))), -1, 1)


def _group_norm(root: Callable[[Array], Array]) -> Callable[[Array, Array, Array], Array]:
    """(x - mean) / sqrt(variance + epsilon) in each group of channels, scaled and shifted; Wu and He 2018, Eqs. 1-3."""

    def norm(x: Array, scale: Array, shift: Array) -> Array:
        grouped = x.reshape(len(x), GROUPS, -1)
        count = grouped.shape[-1]
        centred = grouped - grouped.sum(axis=-1, keepdims=True) / count
        variance = (centred**2).sum(axis=-1, keepdims=True) / count
        normal = (centred / root(variance + GROUP_NORM_EPSILON)).reshape(x.shape)
        return np.asarray(normal * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1))

    return norm


def _magnitudes(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *arguments: function(*(np.abs(argument) for argument in arguments))


def _one(*_: Array) -> Array:
    return np.ones(())


def _of_one_number(
    op: str,
    reach: float,
    arguments: Callable[[float], Callable[[int], tuple[Array, ...]]],
    rough: Callable[..., Array],
    exact: Callable[..., Any],
) -> Trial:
    return Trial(op, reach, arguments(reach), rough, _pointwise(exact))


TRIALS: Final = (
    *(_of_one_number("exp", reach, _both_signs, np.exp, mpmath.exp) for reach in (8, 20, 87)),
    _of_one_number("log", 1e4, _positive, np.log, mpmath.log),
    _of_one_number("log1p", 1e4, _above_minus_one, np.log1p, mpmath.log1p),
    _of_one_number("expm1", 8, _both_signs, np.expm1, mpmath.expm1),
    _of_one_number("erf", 8, _both_signs, special.erf, mpmath.erf),
    _of_one_number("erfc", 9, _both_signs, special.erfc, mpmath.erfc),
    _of_one_number("sin", 1000, _both_signs, np.sin, mpmath.sin),
    _of_one_number("cos", 1000, _both_signs, np.cos, mpmath.cos),
    _of_one_number("sqrt", 1e4, _positive, np.sqrt, mpmath.sqrt),
    _of_one_number("rsqrt", 1e4, _positive, lambda x: x**-0.5, lambda x: 1 / mpmath.sqrt(x)),
    _of_one_number("tanh", 8, _both_signs, np.tanh, mpmath.tanh),
    _of_one_number("sigmoid", 8, _both_signs, special.expit, lambda x: 1 / (1 + mpmath.exp(-x))),
    _of_one_number("silu", 8, _both_signs, lambda x: x * special.expit(x), lambda x: x / (1 + mpmath.exp(-x))),
    _of_one_number("softplus", 20, _both_signs, lambda x: np.logaddexp(0, x), lambda x: mpmath.log1p(mpmath.exp(x))),
    _of_one_number("gelu", 6, _both_signs, lambda x: x * special.ndtr(x), lambda x: x * mpmath.ncdf(x)),
    _of_one_number("pow", 1e4, _bases_and_exponents, np.power, mpmath.power),
    Trial("softmax", 20, _rows(20), lambda x: special.softmax(x, axis=-1), _softmax),
    Trial("matmul", 1, _matrices, np.dot, np.dot, _magnitudes(np.dot)),
    Trial("conv2d", 1, _images_and_filters, _convolution, _convolution, _magnitudes(_convolution)),
    *(
        Trial(
            "group_norm",
            reach,
            _groups(reach if reach > 1 else 0),
            _group_norm(np.sqrt),
            _group_norm(_pointwise(mpmath.sqrt)),
            _one,
        )
        for reach in (1, 100)
    ),
)
"""Everything that is asked.

`reach` is 1 where arguments are standard normal numbers. For group_norm it is their mean, for softmax the largest
difference within a row.
"""
