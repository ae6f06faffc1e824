"""A DDPM by its coefficients is right as it stands, and wrong in just the one that is bent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verification.check import QUICK_LEVEL, run_checks, select
from verification.coefficients import COEFFICIENTS, JUDGES, TABLES, Coefficients, bent, off_at
from verification.reference import ReferenceSubject
from verification.report import sentence

X, Y, Z = np.random.default_rng(0).standard_normal((3, 6, 4))
T = np.array([0, 1, 2, 7, 8, 9])


@pytest.mark.parametrize(
    "choices",
    [
        {"num_timesteps": 50},
        {"num_timesteps": 50, "dtype": "float32"},
        {"schedule": "cosine", "num_timesteps": 20, "dtype": "float32", "clip_x_0": True, "variance": "beta"},
        {"num_timesteps": 2},
    ],
    ids=str,
)
def test_unbent_it_passes_every_exact_check(choices: dict[str, Any]) -> None:
    checks = [check for check in select("full") if check.level <= QUICK_LEVEL]
    findings = run_checks(Coefficients(**choices), checks)
    wrong = [f"{f.check}: {sentence(f)}" for f in findings if f.status not in ("passed", "skipped")]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", TABLES)
def test_one_bent_coefficient_changes_its_own_method_only(name: str) -> None:
    right, wrong = Coefficients(num_timesteps=10), bent(name, lambda at, t, _: 2 * at(t))(num_timesteps=10)
    for method in JUDGES:
        if method != "tables":
            same = all(map(np.array_equal, called(right, method), called(wrong, method)))
            assert same is (method != name.partition(".")[0]), method


def called(subject: ReferenceSubject, method: str) -> tuple[np.ndarray, ...]:
    arguments = {"q_posterior": (X, Y, T), "p_step": (X, T, Y, Z), "ddim_step": (X, T, T - 1, Y, Z, 0.5)}
    made = getattr(subject, method)(*arguments.get(method, (X, T, Y)))
    return made if isinstance(made, tuple) else (made,)


def test_error_at_one_time_step_is_there_and_nowhere_else() -> None:
    right, wrong = Coefficients(num_timesteps=10), bent("q_sample.x_0", off_at(7, 1e-3))(num_timesteps=10)
    zero = np.zeros_like(X)
    ratio = wrong.q_sample(X, T, zero) / right.q_sample(X, T, zero)
    np.testing.assert_allclose(ratio - 1, np.where(T == 7, 1e-3, 0.0)[:, None] * np.ones(4), atol=1e-12)


def test_stored_table_is_bent_without_what_the_methods_use() -> None:
    wrong = bent("tables.alpha_bar", off_at(3, 0.5))(num_timesteps=10)
    right = ReferenceSubject(num_timesteps=10)
    assert np.flatnonzero(wrong.tables()["alpha_bar"] != right.tables()["alpha_bar"]).tolist() == [3]
    np.testing.assert_allclose(wrong.q_sample(X, T, Y), right.q_sample(X, T, Y), rtol=1e-13)


def test_unknown_coefficient_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"q_sample\.x_0"):
        bent("q_sample.x0", off_at(0, 1.0))
    assert len(set(COEFFICIENTS)) == len(COEFFICIENTS)
