"""The laws hold for every right subject, and a mistake of the size that the design states is far from hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import complaints, failure

from verification.checks_law import COPIES, rank_effect
from verification.draws import COORDINATE_DEVIATIONS, COORDINATE_MEANS, STEPS
from verification.mutants import load_mutants
from verification.oracle import exact_schedule
from verification.oracle_gaussian import GaussianChain, ancestral_coefficients, output_law
from verification.protocol import Array
from verification.reference import ReferenceSubject

LAW = ("FWD-5", "SMP-4", "SMP-8", "GRD-4")
MUTANTS = load_mutants()


@pytest.mark.parametrize(
    "choices",
    [
        {"schedule": "jsd", "variance": "beta", "dtype": "float32"},
        {"schedule": "warmup50", "parameterization": "v", "num_timesteps": 1},
        {"dtype": "float16"},
    ],
    ids=str,
)
def test_right_subject_has_the_right_laws(choices: dict[str, Any]) -> None:
    assert not complaints(ReferenceSubject(**choices), *LAW)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_sigma_off_by_2_per_cent_moves_the_output_by_what_smp_4_answers_for(variance: str) -> None:
    """The chain's recursion with every sigma 1.02 times as large: what x_T leaves in the output is not noise."""
    tables = exact_schedule({"name": "linear", "beta_start": 1e-4, "beta_end": 0.02}, STEPS)
    chain = GaussianChain(tables, COORDINATE_MEANS, COORDINATE_DEVIATIONS**2)
    step = ancestral_coefficients(tables, variance)
    gain = step.x_t[:, None] + step.eps_hat[:, None] * chain.eps_gain
    one, other = (output_law(gain, factor * step.z, np.zeros(12), np.ones(12))[1] for factor in (1.0, 1.02))
    assert 1.025 < np.mean(other / one) < 1.0404


def test_ranks_of_a_wider_law_are_the_binomial_mixture() -> None:
    """A simulation of 400 000 ranks: frequencies near 1/17 are known to 0.4 %, the effect is 2 % of each (rms)."""
    random = np.random.default_rng(0)
    x, copies = np.sqrt(1.1) * random.normal(size=400_000), random.normal(size=(400_000, COPIES))
    counts = np.bincount((copies < x[:, None]).sum(axis=1), minlength=COPIES + 1)
    seen = float(np.sum((counts / counts.sum() * (COPIES + 1) - 1) ** 2) / (COPIES + 1))
    assert rank_effect(1.0, COPIES) == pytest.approx(0, abs=1e-12)
    assert seen == pytest.approx(rank_effect(1.1, COPIES), rel=0.15)


def test_noise_mismatch_is_named() -> None:
    found = failure(MUTANTS["M01"].make(), "GRD-4")
    assert found.diagnosis == "the noise in the target is independent of that in x_t"


def test_mixture_is_seen_where_gaussian_data_hide_the_mistake() -> None:
    """A sampler that answers with Gaussian numbers of the right mean and covariance."""

    class Matching(ReferenceSubject):
        def sample(self, eps_model: Any, x_T: Array, z: Array) -> Array:
            made = super().sample(eps_model, x_T, z)
            flat = made.reshape(len(made), -1)
            flat[:, 12:] = flat[:, 12:].mean() + flat[:, 12:].std() * x_T.reshape(len(made), -1)[:, 12:]
            return made

    found = failure(Matching(), "SMP-4")
    assert "mixture" in found.where


def test_noise_that_forgets_the_batch_size_is_seen_in_the_output() -> None:
    assert "output" in failure(MUTANTS["R06"].make(), "SMP-4").where
    assert "dependent" in failure(MUTANTS["R06"].make(), "SMP-4").diagnosis
