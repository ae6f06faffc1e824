"""Right training is right in every type and by either order of Adam; wrong training is told from it, and how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import complaints, failure

from verification.mutants import load_mutants
from verification.reference import ReferenceSubject
from verification.reference_training import TrainingRuns

CHECKS = ("OPT-1", "OPT-1.recursion", "LOS-1.training", "OPT-2", "GRD-3", "EMA-1.warm_up", "EMA-2")
Array = np.ndarray


def trained_by(training: type[TrainingRuns], **choices: Any) -> ReferenceSubject:
    made = ReferenceSubject(network=True, **choices)
    made.training_run = training(made).training_run
    return made


@pytest.mark.parametrize(
    "choices",
    [{"dtype": "float32", "parameterization": "v"}, {"dtype": "float16", "num_timesteps": 2, "schedule": "cosine"}],
    ids=str,
)
def test_right_training_passes(choices: dict[str, Any]) -> None:
    """In float64 with the defaults it is among the mutants' tests."""
    subject = ReferenceSubject(network=True, **choices)
    assert [complaint for check in CHECKS for complaint in complaints(subject, check)] == []


class SectionTwo(TrainingRuns):
    """The order of section 2: epsilon is added to a root that is not corrected yet."""

    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:
        return (1 - self.beta_2**n) ** 0.5 / (1 - self.beta_1**n) * m / (np.sqrt(v) + self.epsilon)


class WarmedUp(TrainingRuns):
    """The average as TensorFlow warms it up."""

    def averaged(self, average: Array, weight: Array, decay: float, n: int) -> Array:
        return super().averaged(average, weight, min(decay, (1 + n) / (10 + n)), n)


def test_either_order_of_adam_is_adam() -> None:
    subject = trained_by(SectionTwo, dtype="float32")
    assert [complaint for check in CHECKS[:2] for complaint in complaints(subject, check)] == []


def test_average_may_be_warmed_up() -> None:
    subject = trained_by(WarmedUp)
    assert [complaint for check in CHECKS[-2:] for complaint in complaints(subject, check)] == []


@pytest.mark.parametrize(
    ("number", "check", "diagnosis"),
    [
        ("O01", "OPT-1", "plain gradient descent"),
        ("O03", "OPT-1", "neither moment is corrected"),
        ("O05", "OPT-1", "the sign is flipped"),
        ("O18", "EMA-1.warm_up", "decay and 1 - decay are swapped"),
        ("O19", "EMA-1.warm_up", "updates are counted from 0"),
    ],
)
def test_mistake_is_called_by_its_name(number: str, check: str, diagnosis: str) -> None:
    assert failure(load_mutants()[number].make(), check).diagnosis.startswith(diagnosis)


class Decayed(TrainingRuns):
    """Weight decay so small that only a weight without a gradient shows it."""

    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:
        return super().direction(w, m, v, n) + 1e-9 * w


def test_weight_without_a_gradient_keeps_its_bits() -> None:
    """In float64 the weights' last digits move; that nothing is allowed there is what the finding says."""
    found = failure(trained_by(Decayed), "OPT-1")
    assert found.allowed == 0
    assert found.where.endswith("in step 1")


class Overstated(TrainingRuns):
    """Losses that are a little too large."""

    def training_run(self, x_0: Array, t: Array, eps: Array, **choices: Any) -> dict[str, Any]:
        made = super().training_run(x_0, t, eps, **choices)
        return {**made, "losses": made["losses"] * (1 + 2e-5)}


def test_loss_that_is_off_by_a_fifty_thousandth_is_noticed_in_single_precision() -> None:
    """The bound is the rounding of a sum of 768 squares in any order, 6e-6, and hardly more."""
    assert failure(trained_by(Overstated, dtype="float32"), "LOS-1.training").ratio > 3


class NotANumber(TrainingRuns):
    """Training that diverges in its second step."""

    def direction(self, w: Array, m: Array, v: Array, n: int) -> Array:
        return super().direction(w, m, v, n) * (np.nan if n > 1 else 1.0)


@pytest.mark.parametrize("check", ["OPT-1.recursion", "LOS-1.training", "EMA-2"])
def test_training_that_diverges_fails(check: str) -> None:
    assert failure(trained_by(NotANumber), check).status == "failed"


class ShortOf(TrainingRuns):
    """A result without one of its parts."""

    part = ""

    def training_run(self, x_0: Array, t: Array, eps: Array, **choices: Any) -> Any:
        made = super().training_run(x_0, t, eps, **choices)
        return {name: value for name, value in made.items() if name != self.part} if self.part else [made]


@pytest.mark.parametrize("part", ["weights", "average", "losses", ""])
def test_result_without_one_of_its_parts_is_a_breach(part: str) -> None:
    wrong = type("Wrong", (ShortOf,), {"part": part})
    for check in ("OPT-2", "GRD-3"):
        found = failure(trained_by(wrong), check)
        assert "training_run returned" in found.reason
        assert part in found.reason


class WithoutAName(TrainingRuns):
    """A parameter is missing from the average alone."""

    def training_run(self, x_0: Array, t: Array, eps: Array, **choices: Any) -> dict[str, Any]:
        made = super().training_run(x_0, t, eps, **choices)
        return {**made, "average": {n: a for n, a in made["average"].items() if n != "conv_in.bias"}}


def test_missing_average_is_named() -> None:
    assert "conv_in.bias" in failure(trained_by(WithoutAName), "GRD-3").where
    assert "conv_in.bias" in failure(trained_by(WithoutAName), "EMA-2").where


def test_subject_that_does_not_train_is_skipped() -> None:
    for check in CHECKS:
        assert any("training_run" in complaint for complaint in complaints(ReferenceSubject(), check))
