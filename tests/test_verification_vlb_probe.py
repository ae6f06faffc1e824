"""The probe of the variational bound: five weighted points are an expectation, and its model says what it claims."""

from __future__ import annotations

import numpy as np
import pytest
from judged import failure

from verification.oracle_likelihood import LEVELS, expected_kl
from verification.protocol import Array, EpsModel
from verification.reference import ReferenceSubject
from verification.vlb_probe import (
    DEVIATIONS,
    FLOOR,
    GAUSSIAN,
    MEANS,
    OFF,
    ON_LEVELS,
    WEIGHTS,
    inputs,
    offset,
    vlb_probe,
)

SUBJECT = ReferenceSubject("linear", 40, "beta")


def test_five_points_give_the_mean_of_every_quadratic() -> None:
    x_0, eps = inputs(SUBJECT)
    xi = (x_0[GAUSSIAN].reshape(5, 6) - MEANS) / DEVIATIONS
    noise = eps[0, GAUSSIAN].reshape(5, 6)
    for power_of_xi, power_of_eps, mean in ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (2, 0, 1), (0, 2, 1)):
        np.testing.assert_allclose(WEIGHTS @ (xi**power_of_xi * noise**power_of_eps), mean, atol=1e-15)


def test_images_on_levels_are_grey_levels() -> None:
    x_0, _ = inputs(SUBJECT)
    distance = np.abs(x_0[ON_LEVELS].reshape(-1, 1) - LEVELS).min(axis=1)
    assert distance.max() < 1e-15


def test_the_model_knows_the_noise_of_one_image_and_is_off_by_a_known_amount_in_another() -> None:
    found = vlb_probe(SUBJECT)
    assert not found.miss[:, FLOOR].any()
    np.testing.assert_array_equal((found.eps_hat - found.eps)[:, OFF].max(axis=(1, 2, 3)), offset(found.tables))


def test_no_implied_x_0_leaves_the_range() -> None:
    for schedule in ("linear", "cosine"):
        found = vlb_probe(ReferenceSubject(schedule, 300))
        assert np.abs(found.x_0 - found.miss).max() <= 1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_weighted_terms_of_the_oracle_are_its_expectations(schedule: str) -> None:
    found = vlb_probe(ReferenceSubject(schedule, 40, "beta"))
    rows = np.asarray(found.terms["kl"])[:, GAUSSIAN] @ WEIGHTS * np.log(2)
    np.testing.assert_allclose(rows, expected_kl(found.chain, "beta").mean(axis=1)[1:], rtol=1e-9)


def test_a_bound_that_mixes_time_steps_in_a_call_fails_in_words() -> None:
    class Mixes(ReferenceSubject):
        def vlb_terms(self, eps_model: EpsModel, x_0: Array, eps: Array) -> dict[str, Array]:
            return super().vlb_terms(lambda x, t: eps_model(x, t + (np.arange(len(t)) == 3)), x_0, eps)

    assert "one t" in failure(Mixes("linear", 10), "VLB-4").reason
