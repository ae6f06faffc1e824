"""Subjects for the tests of the network's checks: the reference with whatever network is put into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.reference import ReferenceSubject
from verification.reference_network import SMALL, Pass, ReferenceNetwork
from verification.reverse_mode import Tape, Value

TINY: dict[str, Any] = {**SMALL, "base_channels": 8}


def with_network(network: ReferenceNetwork, **choices: Any) -> ReferenceSubject:
    """The reference, with this network; float64 unless `choices` say otherwise."""
    subject = ReferenceSubject(**choices)
    subject._use_network(network)
    return subject


class _SingleTape(Tape):
    """Every result and every adjoint is rounded to float32."""

    def _record(self, out: Value, adjoint: Callable[[], None]) -> Value:
        out.array = _single(out.array)

        def rounded_adjoint() -> None:
            out.gradient = _single(out.gradient)
            adjoint()

        return super()._record(out, rounded_adjoint)


class _SinglePass(Pass):
    """As other frameworks compute it: frequencies in float32, the variance of GroupNorm as E[x^2] - E[x]^2."""

    def sinusoids(self, phases: np.ndarray) -> np.ndarray:
        half = np.float32(self.architecture.base_channels // 2 - 1)
        step = np.float32(np.log(np.float32(10_000)) / half)
        frequencies = np.exp(-np.arange(self.architecture.base_channels // 2, dtype=np.float32) * step)
        t = np.rint(phases[:, :1]).astype(np.float32)  # the first frequency is 1
        return super().sinusoids(t * frequencies)

    def norm(self, x: Value, name: str) -> Value:
        right = super().norm(x, name)
        gamma, beta = (self.parameters[f"{name}.{part}"].array.astype(np.float32) for part in ("gamma", "beta"))
        values = x.array.astype(np.float32).reshape(len(x.array), self.architecture.groups, -1)
        mean = values.mean(axis=2, keepdims=True, dtype=np.float32)
        variance = np.maximum((values * values).mean(axis=2, keepdims=True, dtype=np.float32) - mean * mean, 0)
        normed = ((values - mean) / np.sqrt(variance + np.float32(self.norm_eps))).reshape(x.array.shape)
        right.array = (normed * gamma[:, None, None] + beta[:, None, None]).astype(float)
        return right


class SingleNetwork(ReferenceNetwork):
    """A right network in float32, programmed with other formulas than the reference's where there is a choice."""

    passes = _SinglePass

    def __init__(self, config: dict[str, Any], seed: int = 0) -> None:
        super().__init__(config, seed, dtype="float32")

    def tape(self) -> Tape:
        return _SingleTape()


def _single(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32).astype(float)
