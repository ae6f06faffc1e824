"""A subject behind glass: the judge's arrays stay the judge's, and what comes back is what the protocol promises.

Every array that goes in is a copy, compared with its original afterwards, so a subject that scribbles on its inputs is
noticed by whichever check called it and spoils no other comparison. Every floating-point array that comes out must be a
NumPy array of the subject's own dtype. Shapes and values are for the checks to compare.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from verification.protocol import Identity, Subject, dtype_of

# Methods whose floating-point results have the subject's dtype. Not here: integers (`timesteps`, `draw_timesteps`,
# `to_uint8`), `loss` (a Python float), `tables` and `weights` (shown as stored), `from_uint8` (images, not arithmetic).
IN_OWN_DTYPE = {
    *("q_sample", "q_step", "q_posterior", "predict_x_0", "predict_eps", "velocity", "predict_x_0_from_v", "score"),
    *("p_mean_variance", "p_step", "ddim_step", "sample", "sample_strided", "linear_loss_gradient"),
    *("sampling_noise",),
    *("normal_kl", "decoder_log_likelihood", "vlb_terms", "ema", "network", "network_with", "network_gradient"),
}


class SubjectError(Exception):
    """The subject broke the protocol in a call of `method`, whatever numbers it returned."""

    def __init__(self, method: str, sentence: str) -> None:
        super().__init__(f"{method} {sentence}")
        self.method = method


class Guarded:
    """Looks like the subject it holds; see the module."""

    def __init__(self, subject: Identity) -> None:
        self._subject = subject

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._subject, name)
        if name == "variant":
            return lambda **choices: guarded(found(**choices))
        if name == "counterparts":
            return lambda: {mode: guarded(other) for mode, other in found().items()}
        return self._watched(name, found) if callable(found) else found

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            lent = [_copy(value) for value in args]
            lent_by_name = {key: _copy(value) for key, value in kwargs.items()}
            returned = method(*lent, **lent_by_name)
            _unchanged(name, [*args, *kwargs.values()], [*lent, *lent_by_name.values()])
            if name in IN_OWN_DTYPE:
                _right_type(name, returned, dtype_of(self._subject))
            return returned

        return call


def guarded(subject: Identity) -> Subject:
    """`subject`, watched; one that is watched already is returned as it is."""
    return cast("Subject", subject if isinstance(subject, Guarded) else Guarded(subject))


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _unchanged(method: str, given: list[Any], lent: list[Any]) -> None:
    for position, (before, after) in enumerate(zip(given, lent, strict=True)):
        if isinstance(before, np.ndarray) and before.tobytes() != after.tobytes():
            raise SubjectError(method, f"changed its argument {position + 1}: inputs must be left as they are")


def _right_type(method: str, returned: Any, dtype: str) -> None:
    if isinstance(returned, (tuple, list)):
        parts = list(returned)
    elif isinstance(returned, Mapping):
        parts = list(returned.values())
    else:
        parts = [returned]
    for part in parts:
        if not isinstance(part, (np.ndarray, np.generic)):
            raise SubjectError(method, f"returned {type(part).__name__}, not a NumPy array")
        if part.dtype.name != dtype and (dtype, part.dtype.name) != ("bfloat16", "float32"):  # NumPy has no bfloat16
            raise SubjectError(method, f"returned {part.dtype.name}, but the subject's dtype is {dtype}")
