"""The checks of execution, on subjects whose modes differ or whose calls leave something behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from network_subjects import TINY

from verification.check import Finding, run_checks, select
from verification.reference import ReferenceSubject
from verification.reference_network import ReferenceNetwork


class TwoModes(ReferenceSubject):
    """The reference in two modes, of which the other may be wrong."""

    other: type[ReferenceNetwork] = ReferenceNetwork

    def __init__(self, **choices: Any) -> None:
        super().__init__(dtype="float32", **choices)
        self._use_network(ReferenceNetwork(TINY, dtype="float32"))

    def counterparts(self) -> dict[str, ReferenceSubject]:
        made = ReferenceSubject(dtype="float32")
        made._use_network(self.other(TINY, dtype="float32"))
        return {"this": self, "other": made}


class OneBitApart(ReferenceNetwork):
    def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        outputs = super().__call__(x, t)
        outputs[0, 0, 0, 0] = np.nextafter(outputs[0, 0, 0, 0], np.float32(np.inf))
        return outputs

    forward = __call__


class GradientApart(ReferenceNetwork):
    def gradient(self, x: np.ndarray, t: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        right = super().gradient(x, t, target)
        return {**right, "conv_in.bias": right["conv_in.bias"] * np.float32(1.01)}


class Q01(TwoModes):
    """One bit of the network differs between modes."""

    other = OneBitApart


class Q02(TwoModes):
    """One gradient differs between modes."""

    other = GradientApart


class Q03(TwoModes):
    """Noise is drawn in the step although it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng(0)

    def p_step(self, x_t: np.ndarray, t: np.ndarray, eps_hat: np.ndarray, z: np.ndarray) -> np.ndarray:
        return super().p_step(x_t, t, eps_hat, self.random.standard_normal(z.shape).astype(z.dtype))


class Q04(TwoModes):
    """Results are handed out in one buffer that the next call overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer: dict[tuple[int, ...], np.ndarray] = {}

    def q_sample(self, x_0: np.ndarray, t: np.ndarray, eps: np.ndarray) -> np.ndarray:
        made = super().q_sample(x_0, t, eps)
        buffer = self.buffer.setdefault(made.shape, made)
        buffer[...] = made
        return buffer


class Q05(TwoModes):
    """An input is overwritten."""

    def ddim_step(self, x_t: np.ndarray, *args: Any) -> np.ndarray:
        made = super().ddim_step(x_t, *args)
        x_t[...] = made
        return made


KILLED = {Q01: "MODE-1", Q02: "MODE-1.gradient", Q03: "MODE-3", Q04: "MODE-3", Q05: "MODE-3"}


def finding(subject: ReferenceSubject, check_id: str) -> Finding:
    (check,) = [each for each in select("full") if each.id == check_id]
    return run_checks(subject, [check])[0]


@pytest.mark.parametrize(
    ("mutant", "check_id"), KILLED.items(), ids=lambda each: each if isinstance(each, str) else each.__doc__
)
def test_mistake_of_execution_is_noticed_by_the_check_for_it(mutant: type[TwoModes], check_id: str) -> None:
    assert finding(mutant(), check_id).status == "failed"
    (check,) = [each for each in select("full") if each.id == check_id]
    assert mutant.__name__ in check.kills


@pytest.mark.parametrize("check_id", ["MODE-1", "MODE-1.gradient", "MODE-3"])
def test_right_subject_in_two_modes_passes(check_id: str) -> None:
    assert finding(TwoModes(), check_id).status == "passed"


def test_place_names_mode_and_method() -> None:
    assert finding(Q01(), "MODE-1").where.startswith("network in other")
    assert finding(Q02(), "MODE-1.gradient").where.startswith("conv_in.bias in other")


def test_subject_without_network_is_still_held_to_purity() -> None:
    assert finding(ReferenceSubject(), "MODE-3").status == "passed"
    assert finding(ReferenceSubject(), "MODE-1").status == "skipped"
