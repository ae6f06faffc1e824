"""What does not fit the diffusion process is refused in a sentence: nothing is broadcast, cast or guessed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor

from ddpm_bench import device
from ddpm_bench.diffusion import GaussianDiffusion
from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.sample import Compiled
from ddpm_bench.schedule import make_schedule

SCHEDULE = make_schedule("linear", 1000)

MAPS = ("q_step", "q_sample", "predict_x_0", "predict_eps", "velocity", "predict_x_0_from_v", "predict_eps_from_v")
METHODS = (*MAPS, "score", "p_mean_variance", "q_posterior", "p_step", "ddim_step", "target", "eps_from_output", "loss")


@cache
def make(mode: str = "pynative") -> Any:
    """A process in the given mode."""
    return Compiled(GaussianDiffusion(SCHEDULE), lambda method: device.compiled(method, mode))


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a graph that does not compile may leave its notes (a folder `rank_0` in the working directory)."""
    monkeypatch.chdir(tmp_path)


WRONG = {
    "t for two of three samples": (
        (np.zeros((3, 2), "float32"), np.zeros(2, np.int32), np.zeros((3, 2), "float32")),
        r"t has shape \(2,\) beside samples of shape \(3, 2\); give one time step per sample, \(3,\)",
    ),
    "t as a column": (
        (np.zeros((3, 2), "float32"), np.zeros((3, 1), np.int32), np.zeros((3, 2), "float32")),
        r"t has shape \(3, 1\)",
    ),
    "one t for all": ((np.zeros((3, 2), "float32"), np.int32(1), np.zeros((3, 2), "float32")), r"t has shape \(\)"),
    "t that is no whole number": (
        (np.zeros((3, 2), "float32"), np.zeros(3, "float32"), np.zeros((3, 2), "float32")),
        "t has dtype Float32; give whole-number time steps",
    ),
    "noise that would be broadcast": (
        (np.zeros((3, 2), "float32"), np.zeros(3, np.int32), np.zeros((3, 1), "float32")),
        r"shapes \(3, 2\), \(3, 1\) cannot be combined",
    ),
    "another dtype": (
        (np.zeros((3, 2), "float64"), np.zeros(3, np.int32), np.zeros((3, 2), "float32")),
        "dtype Float64, Float32 given to a Float32 process",
    ),
}


@pytest.mark.usefixtures("in_a_folder_of_its_own")
@pytest.mark.parametrize("mode", device.MODES)
@pytest.mark.parametrize("case", WRONG)
def test_nothing_is_broadcast_or_cast_in_silence(case: str, mode: str) -> None:
    arguments, sentence = WRONG[case]
    x, t, eps = map(Tensor, arguments)
    with pytest.raises(ShapeError, match=sentence):
        make(mode).q_sample(x, t, eps)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_shapes_that_do_not_fit(method: str) -> None:
    x, short, t = (Tensor(np.zeros(shape, "float32")) for shape in ((3, 2), (3, 1), (3, 2)))
    t = Tensor(np.zeros(3, np.int32))
    arguments = {
        "q_posterior": (x, short, t),
        "p_step": (x, t, x, short),
        "ddim_step": (x, t, t, x, short, 0.0),
        "eps_from_output": (x, short, t),
        "loss": (short, x, t, x),
    }.get(method, (x, t, short))
    with pytest.raises(ShapeError, match="cannot be combined"):
        getattr(make(), method)(*arguments)


def test_ddim_step_refuses_a_target_for_other_samples() -> None:
    x, t = Tensor(np.zeros((3, 2), "float32")), Tensor(np.zeros(3, np.int32))
    with pytest.raises(ShapeError, match=r"t has shape \(2,\)"):
        make().ddim_step(x, t, Tensor(np.zeros(2, np.int32)), x, x, 0.0)


def test_unknown_names_are_refused_naming_the_known() -> None:
    with pytest.raises(ConfigError, match="unknown variance 'small': known are beta, posterior"):
        GaussianDiffusion(SCHEDULE, variance="small")
    with pytest.raises(ConfigError, match=r"unknown parameterization 'epsilon': .*known are eps, v, x_0"):
        GaussianDiffusion(SCHEDULE, parameterization="epsilon")
