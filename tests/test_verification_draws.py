"""What the random checks look at: data with exact moments, and a subject's draws, made once and kept no longer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verification import draws as module
from verification.check import run_checks, select
from verification.draws import (
    CORNER_DEVIATIONS,
    CORNER_MEANS,
    CORNERS,
    ROTATION,
    SHAPE,
    STEPS,
    corners,
    draws,
    with_few_steps,
)
from verification.randomness import using
from verification.reference import ReferenceSubject


def test_corners_have_mean_variance_and_no_covariance_exactly() -> None:
    rows = corners().reshape(CORNERS, 16)
    assert (rows == rows.astype(np.float16)).all(), "exact in every type"
    assert rows.mean(axis=0) == pytest.approx(CORNER_MEANS, abs=1e-15)
    assert np.cov(rows.T, bias=True) == pytest.approx(np.diag(CORNER_DEVIATIONS**2), abs=1e-15)
    assert np.abs(rows).max() <= 1


def test_rotation_is_orthogonal_and_mixes_all_pixels() -> None:
    assert pytest.approx(np.eye(12), abs=1e-14) == ROTATION @ ROTATION.T
    assert (np.abs(ROTATION) > 0.01).all(axis=1).sum() > 6


def test_few_steps_do_not_clip_and_predict_eps() -> None:
    few = with_few_steps(ReferenceSubject(schedule="cosine", clip_x_0=True, variance="beta", parameterization="v"))
    assert (few.num_timesteps, few.clip_x_0, few.variance, few.parameterization) == (STEPS, False, "beta", "eps")
    assert few.schedule is not None
    assert few.schedule["name"] == "cosine"


def test_draws_are_made_once_for_a_subject_and_seed_and_only_the_latest_kept() -> None:
    subject = ReferenceSubject()
    first = draws(subject)
    assert draws(subject) is first
    assert first.sampling[0].shape == SHAPE
    with using(5):
        assert draws(subject) is not first
        assert draws(subject).seed != first.seed
    assert len(module._latest) == 1


class Crooked(ReferenceSubject):
    """Draws with what is asked for spoilt by a function of name and values."""

    spoil: Any = None

    def sampling_noise(self, shape: Any, num_steps: int, seed: int) -> Any:
        return type(self).spoil("noise", super().sampling_noise(shape, num_steps, seed))

    def training_batches(self, x_0: Any, batch_size: int, num_steps: int, seed: int) -> Any:
        return type(self).spoil("batches", super().training_batches(x_0, batch_size, num_steps, seed))


@pytest.mark.parametrize(
    ("check", "spoil", "said"),
    [
        ("SMP-9", lambda _, drawn: (drawn[0][1:], drawn[1]), "sampling_noise returned shape (16383, 1, 4, 4)"),
        ("SMP-9", lambda _, drawn: (drawn[0], drawn[1].astype("float32")), "sampling_noise returned float32"),
        ("GRD-4", lambda _, drawn: {**drawn, "t": drawn["t"][:, :-1]}, "training_batches returned shape (40, 16383)"),
        ("GRD-4", lambda _, drawn: {**drawn, "t": drawn["t"] + 1}, "training_batches drew t in 1 ... 40"),
        ("GRD-4", lambda _, drawn: {**drawn, "t": drawn["t"] + 0.5}, "training_batches drew t in 0.5"),
    ],
)
def test_draws_of_another_kind_fail_and_say_which(check: str, spoil: Any, said: str) -> None:
    kind = type("Kind", (Crooked,), {"spoil": staticmethod(spoil)})
    (finding,) = run_checks(kind(), select("full", check))
    assert finding.status == "failed"
    assert said in finding.reason


def test_subject_that_draws_nothing_is_skipped_and_says_so() -> None:
    class Silent(ReferenceSubject):
        sampling_noise = training_batches = draw_timesteps = None  # type: ignore[assignment]  # methods left out

    checks = [check for check in select("full") if check.level == 4]
    findings = {finding.check: finding for finding in run_checks(Silent(), checks)}
    assert {check for check, finding in findings.items() if finding.status != "skipped"} == {"VLB-3"}
    assert "no sampling_noise" in findings["SMP-4"].reason
