"""The log-density of a path is that of SciPy, and the two ways to it agree for correct subjects only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from verification.paths import Path, _log_density, _points, _steps, both_ways
from verification.protocol import Array
from verification.reference import ReferenceSubject

KINDS = ("taken by the process", "straight line", "white noise")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_both_ways_agree(kind: str, size: float, dtype: str) -> None:
    assert both_ways(ReferenceSubject("linear", 60, dtype=dtype), Path(kind, size, 3)).passed


def test_forward_density_is_scipy_s() -> None:
    subject = ReferenceSubject("linear", 30)
    x = _points(subject, Path("white noise", 1.0, 5))
    mean, deviation = np.sqrt(subject.alpha)[:, None] * x[:-1], np.sqrt(subject.beta)[:, None]
    logs, error = _log_density(_steps(subject, x))
    np.testing.assert_allclose(logs, norm.logpdf(x[1:], mean, deviation).sum(axis=0), rtol=1e-12)
    assert (error < 1e-9 * np.abs(logs)).all()


def test_paths_are_exact_inputs_and_replayable() -> None:
    subject = ReferenceSubject("cosine", 30, dtype="float32")
    for kind in KINDS:
        first, again = (_points(subject, Path(kind, 1.0, 7)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first, first.astype(np.float32))


def test_path_taken_by_the_process_has_its_spread() -> None:
    x = _points(ReferenceSubject("linear", 1000), Path("taken by the process", 1.0, 0))
    steps = (x[1:] - np.sqrt(1 - np.linspace(1e-4, 0.02, 1000))[:, None] * x[:-1]) / np.sqrt(
        np.linspace(1e-4, 0.02, 1000)
    )[:, None]
    assert abs(steps.std() - 1) < 0.05


class OneStepWrong(ReferenceSubject):
    """The posterior variance of one t is 1e-3 too large."""

    def q_posterior(self, x_0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
        mean, variance = super().q_posterior(x_0, x_t, t)
        return mean, np.where((t == 9).reshape(variance.shape), 1.001 * variance, variance)


def test_one_wrong_step_is_noticed_in_float64() -> None:
    assert not both_ways(OneStepWrong("linear", 60), Path("taken by the process", 1.0, 3)).passed
