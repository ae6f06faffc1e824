"""The subject's promises to whoever judges it. Whether its numbers are right, the judge and other tests must say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from ddpm_bench import device
from ddpm_bench.errors import ConfigError, ShapeError
from ddpm_bench.schedule import make_schedule
from ddpm_bench.subject import EXECUTE, GATE, MindSporeSubject
from verification.protocol import Subject

SHORT: dict[str, Any] = {"num_timesteps": 8, "variance": "beta"}
B, SHAPE = 3, (3, 1, 2, 2)
STEPS = np.array([0, 4, 7])


@pytest.fixture(scope="module")
def subject() -> MindSporeSubject:
    """In PyNative, where nothing compiles."""
    return MindSporeSubject(**SHORT, mode="pynative")


@pytest.fixture(scope="module")
def others() -> dict[str, MindSporeSubject]:
    """The subject of `subject` in each mode."""
    return {mode: MindSporeSubject(**SHORT, mode=mode) for mode in EXECUTE}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def half(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return x / 2


def every_call() -> dict[str, Callable[[MindSporeSubject], Any]]:
    """One call of each method that computes in `dtype`, on float64 arrays that it has to cast."""
    a, b, c = (normal(*SHAPE, seed=seed) for seed in range(3))
    w, d, e = normal(4, 4), normal(B, 4), normal(B, 4, seed=1)
    pixel = np.round(127.5 * np.tanh(a)) / 127.5
    return {
        "q_sample": lambda s: s.q_sample(a, STEPS, b),
        "q_step": lambda s: s.q_step(a, STEPS, b),
        "q_posterior": lambda s: s.q_posterior(a, b, STEPS),
        "predict_x_0": lambda s: s.predict_x_0(a, STEPS, b),
        "predict_eps": lambda s: s.predict_eps(a, STEPS, b),
        "velocity": lambda s: s.velocity(a, STEPS, b),
        "predict_x_0_from_v": lambda s: s.predict_x_0_from_v(a, STEPS, b),
        "score": lambda s: s.score(a, STEPS, b),
        "p_mean_variance": lambda s: s.p_mean_variance(a, STEPS, b),
        "p_step": lambda s: s.p_step(a, STEPS, b, c),
        "ddim_step": lambda s: s.ddim_step(a, STEPS, STEPS - 1, b, c, 0.3),
        "sample": lambda s: s.sample(half, a, normal(8, *SHAPE)),
        "sample_strided": lambda s: s.sample_strided(half, a, normal(3, *SHAPE), 3, 0.5),
        "linear_loss_gradient": lambda s: s.linear_loss_gradient(w, d, STEPS, e),
        "normal_kl": lambda s: s.normal_kl(a, b, c, a),
        "decoder_log_likelihood": lambda s: s.decoder_log_likelihood(pixel, b, c),
        "vlb_terms": lambda s: tuple(s.vlb_terms(half, pixel, normal(8, *SHAPE)).values()),
        "ema": lambda s: s.ema(normal(5, 3), 0.9),
    }


def as_tuple(result: Any) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_subject_has_everything_the_protocol_names(subject: MindSporeSubject) -> None:
    for name in (*Subject.__annotations__, *vars(Subject)):
        if not name.startswith("_"):
            assert hasattr(subject, name), name


def test_network_has_everything_the_protocol_names_too(subject: MindSporeSubject) -> None:
    assert subject.network_config["image_size"] == 8
    assert set(subject.weights()) == set(subject.initial_weights())


WHOLE = ["q_posterior", "p_step", "ddim_step", "linear_loss_gradient", "normal_kl"]
"""What is tried in the third mode: one of each kind, as every compilation takes its second."""


@pytest.mark.parametrize(
    ("mode", "call"), [*(("graph", call) for call in every_call()), *(("whole_graph", c) for c in WHOLE)]
)
def test_all_modes_answer_the_same_bits_in_the_right_dtype(
    others: dict[str, MindSporeSubject], mode: str, call: str
) -> None:
    pynative, compiled = (as_tuple(every_call()[call](others[name])) for name in ("pynative", mode))
    for one, other in zip(pynative, compiled, strict=True):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("call", every_call())
def test_float64_subject_answers_in_float64_and_close_to_float32(subject: MindSporeSubject, call: str) -> None:
    # At t = 0 of this schedule the noise level is 0.01, its inverse 100; float32's roundings times that, and a few
    # hundred operations in the longest of these. The widest of these answers is about 1e3.
    double = as_tuple(every_call()[call](subject.variant(dtype="float64")))
    for one, single in zip(double, as_tuple(every_call()[call](subject)), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(single, one, rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("call", every_call())
def test_nothing_is_remembered_between_calls(subject: MindSporeSubject, call: str) -> None:
    first = [np.array(array) for array in as_tuple(every_call()[call](subject))]
    for one, other in zip(first, as_tuple(every_call()[call](subject)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_graph_is_compiled_once_for_all_eta() -> None:
    graph = MindSporeSubject(**SHORT, mode="graph")
    a, b, c = (normal(*SHAPE, seed=seed) for seed in range(3))
    graph.ddim_step(a, STEPS, STEPS - 1, b, c, 0.0)
    before = device.compile_count()
    results = [graph.ddim_step(a, STEPS, STEPS - 1, b, c, eta) for eta in (0.1, 0.5, 1.0)]
    assert device.compile_count() == before
    assert len({result.tobytes() for result in results}) == 3


def test_graph_mode_compiles_and_pynative_mode_does_not(subject: MindSporeSubject) -> None:
    before = device.compile_count()
    subject.q_sample(normal(7, 3), np.zeros(7, int), normal(7, 3))
    assert device.compile_count() == before
    MindSporeSubject(**SHORT, mode="graph").q_sample(normal(7, 3), np.zeros(7, int), normal(7, 3))
    assert device.compile_count() > before


def test_whole_graph_mode_leaves_the_process_in_pynative(others: dict[str, MindSporeSubject]) -> None:
    others["whole_graph"].q_sample(normal(*SHAPE), STEPS, normal(*SHAPE))
    assert ms.get_context("mode") == ms.PYNATIVE_MODE


def test_counterparts_are_the_same_choices_in_each_mode(subject: MindSporeSubject) -> None:
    counterparts = subject.counterparts()
    assert {name: other.mode for name, other in counterparts.items()} == {
        "pynative": "pynative",
        "jit": "graph",
        "graph": "whole_graph",
    }
    assert counterparts["pynative"] is subject
    for other in counterparts.values():
        assert (other.num_timesteps, other.variance, other.schedule) == (8, "beta", subject.schedule)


METHODS = ["q_sample", "q_step", "predict_x_0", "predict_eps", "velocity", "predict_x_0_from_v", "score"]
METHODS += ["p_mean_variance", "q_posterior", "p_step", "ddim_step", "loss", "linear_loss_gradient"]


def called(subject: MindSporeSubject, method: str, x: np.ndarray, t: Any, y: np.ndarray) -> Any:
    """`method` at `t`, its other arguments made up from `x` and `y`."""
    arguments = {
        "q_posterior": (x, y, t),
        "p_step": (x, t, y, y),
        "ddim_step": (x, t, np.asarray(t) - 1, y, y, 0.0),
        "loss": (half, x, t, y),
        "linear_loss_gradient": (np.eye(4), x, t, y),
    }.get(method, (x, t, y))
    return getattr(subject, method)(*arguments)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("t", "given"), [([0, -1, 2], "-1 to 2"), ([0, 8, 2], "0 to 8")])
def test_time_steps_that_do_not_exist_are_refused_and_never_wrap(
    subject: MindSporeSubject, method: str, t: list[int], given: str
) -> None:
    with pytest.raises(ConfigError, match=rf"t goes from {given}; it must stay in 0\.\.\.7|t_prev"):
        called(subject, method, np.zeros((3, 4)), np.array(t), np.zeros((3, 4)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_shapes_that_do_not_fit_are_refused_before_anything_compiles(
    others: dict[str, MindSporeSubject], method: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for x, t, y in (
        (np.zeros((3, 4)), np.zeros(2, int), np.zeros((3, 4))),
        (np.zeros((3, 4)), np.zeros((3, 1), int), np.zeros((3, 4))),
        (np.zeros((3, 4)), np.zeros(3, int), np.zeros((3, 1))),
        (np.zeros((3, 4)), np.zeros(3), np.zeros((3, 4))),
    ):
        with pytest.raises(ShapeError):
            called(others[mode], method, x, t, y)
    assert not list(tmp_path.iterdir()), "a graph that does not compile leaves a folder rank_0"


def test_ddim_step_refuses_to_go_anywhere_but_back(subject: MindSporeSubject) -> None:
    x, t = np.zeros((3, 4)), np.array([3, 3, 3])
    for t_prev in ([3, 2, 1], [4, 2, 1], [2, 2]):
        with pytest.raises(ConfigError, match="t_prev"):
            subject.ddim_step(x, t, np.array(t_prev), x, x, 0.0)
    with pytest.raises(ConfigError, match=r"t goes from -2 to 2; it must stay in -1\.\.\.7"):
        subject.ddim_step(x, t, np.array([-2, 2, 1]), x, x, 0.0)
    with pytest.raises(ConfigError, match="eta is 2"):
        subject.ddim_step(x, t, np.array([2, 2, 1]), x, x, 2)


def test_model_that_answers_another_shape_is_refused(subject: MindSporeSubject) -> None:
    with pytest.raises(ShapeError, match=r"answered shape \(3, 1\) to x of shape \(3, 4\)"):
        subject.loss(lambda x, _t: x[:, :1], np.zeros((3, 4)), STEPS, np.zeros((3, 4)))


def test_model_may_scribble_on_what_it_is_given(subject: MindSporeSubject) -> None:
    def scribbler(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        answer = x / 2
        x[:], t[:] = 99, 99
        return answer

    x_T, z = normal(*SHAPE), normal(8, *SHAPE)
    np.testing.assert_array_equal(subject.sample(scribbler, x_T, z), subject.sample(half, x_T, z))


def test_elementwise_functions_do_not_broadcast(subject: MindSporeSubject) -> None:
    with pytest.raises(ShapeError, match="cannot be combined"):
        subject.normal_kl(np.zeros(3), np.zeros(3), np.zeros(1), np.zeros(3))
    with pytest.raises(ShapeError, match="cannot be combined"):
        subject.decoder_log_likelihood(np.zeros(3), np.zeros(1), np.zeros(3))


def test_variants_differ_in_what_was_asked_for_alone(subject: MindSporeSubject) -> None:
    variant = subject.variant(schedule="cosine", clip_x_0=True, parameterization="v", dtype="float64")
    assert (variant.schedule or {})["name"] == "cosine"
    assert (variant.clip_x_0, variant.parameterization, variant.dtype) == (True, "v", "float64")
    assert (variant.num_timesteps, variant.variance, variant.mode) == (8, "beta", "pynative")
    assert (subject.schedule or {})["name"] == "linear"


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"schedule": "linaer"}, "unknown schedule 'linaer': did you mean linear"),
        (
            {"variance": "posteriour"},
            "unknown variance 'posteriour': did you mean posterior.*known are beta, posterior",
        ),
        ({"parameterization": "epsilom"}, "unknown parameterization 'epsilom'.*known are eps, v, x_0"),
        ({"dtype": "float23"}, "unknown dtype 'float23'.*known are float16, float32, float64"),
        ({"num_timesteps": 0}, "number of time steps is 0"),
        ({"shedule": "linear"}, "unknown choice 'shedule': did you mean schedule"),
    ],
)
def test_impossible_variants_are_refused_naming_the_possible(
    subject: MindSporeSubject, choice: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        subject.variant(**choice)


def test_unknown_mode_and_preset_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown mode 'eager'"):
        MindSporeSubject(mode="eager")
    with pytest.raises(ConfigError, match="unknown preset 'digit': did you mean digits"):
        MindSporeSubject(preset="digit")


def test_gate_reaches_both_variances_clipping_and_a_schedule_without_ends() -> None:
    subjects = [MindSporeSubject(**choices) for choices in GATE]
    assert {subject.variance for subject in subjects} == {"posterior", "beta"}
    assert {subject.clip_x_0 for subject in subjects} == {True, False}
    assert {(subject.schedule or {})["name"] for subject in subjects} == {"linear", "cosine"}
    assert len({subject.name for subject in subjects}) == len(GATE)


def test_tables_are_the_float64_ones_cast_once(subject: MindSporeSubject) -> None:
    schedule = make_schedule("linear", 8)
    tables = subject.tables()
    assert len(tables) == 10
    for name, table in tables.items():
        assert table.dtype == np.float32
        np.testing.assert_array_equal(table, getattr(schedule, name).astype(np.float32), err_msg=name)


@pytest.mark.parametrize("parameterization", ["eps", "x_0", "v"])
def test_loss_is_against_what_the_parameterization_names(subject: MindSporeSubject, parameterization: str) -> None:
    # LOS-1: the model that returns its target scores 0 to the bit, and one that is 1/2 off everywhere 1/4.
    variant = subject.variant(parameterization=parameterization)
    x_0, eps = (normal(*SHAPE, seed=seed).astype(np.float32) for seed in range(2))
    target = {"eps": eps, "x_0": x_0, "v": variant.velocity(x_0, STEPS, eps)}[parameterization]
    assert variant.loss(lambda _x, _t: target, x_0, STEPS, eps) == 0.0
    assert variant.loss(lambda _x, _t: target + np.float32(0.5), x_0, STEPS, eps) == pytest.approx(
        0.25, rel=1e-6, abs=0
    )


@pytest.mark.parametrize("mode", EXECUTE)
def test_gradient_of_a_linear_model_is_the_closed_form(others: dict[str, MindSporeSubject], mode: str) -> None:
    # -2 / (B D) (eps - x_t w^T)^T x_t: sums of B + D products in float32, on numbers below 10.
    w, x_0, eps = normal(4, 4), normal(B, 4), normal(B, 4, seed=1)
    x_t = others[mode].variant(dtype="float64").q_sample(x_0, STEPS, eps)
    expected = -2 / (B * 4) * (eps - x_t @ w.T).T @ x_t
    gradient = others[mode].linear_loss_gradient(w, x_0, STEPS, eps)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=100 * 10 * 2.0**-24)


def test_linear_model_of_another_width_is_refused(subject: MindSporeSubject) -> None:
    with pytest.raises(ShapeError, match=r"w has shape \(3, 4\) for data of shape \(3, 4\)"):
        subject.linear_loss_gradient(np.zeros((3, 4)), np.zeros((3, 4)), STEPS, np.zeros((3, 4)))


def test_moving_average_of_a_jump_is_the_closed_form(subject: MindSporeSubject) -> None:
    # From 0 to 1: 1 - decay^k after k steps, each with three roundings in float32.
    values = np.ones((11, 2))
    values[0] = 0
    np.testing.assert_allclose(subject.ema(values, 0.9), 1 - 0.9**10, rtol=3 * 10 * 2.0**-24)


def test_all_pixels_survive_the_round_trip(subject: MindSporeSubject) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    floats = subject.from_uint8(pixels)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(subject.to_uint8(floats), pixels)


def test_network_weights_hide_nothing_and_repeat(subject: MindSporeSubject) -> None:
    weights = subject.weights()
    for name, values in weights.items():
        assert np.isfinite(values).all()
        assert (values != 0).all(), name
        assert (values != 1).all(), name
        assert not np.array_equal(values, subject.initial_weights()[name]), name
    same = MindSporeSubject(mode="graph").weights()
    for name, values in weights.items():
        np.testing.assert_array_equal(values, same[name])
    other = MindSporeSubject(mode="pynative", seed=1).weights()
    assert all(not np.array_equal(values, other[name]) for name, values in weights.items())


def test_initial_weights_have_the_zeros_that_training_starts_from(subject: MindSporeSubject) -> None:
    assert not subject.initial_weights()["conv_out.weight"].any()


def test_exported_weights_are_copies(subject: MindSporeSubject) -> None:
    subject.weights()["conv_out.weight"][:] = 0
    assert subject.weights()["conv_out.weight"].all()


def test_network_answers_in_dtype_and_alike_in_all_modes(others: dict[str, MindSporeSubject]) -> None:
    x, t = normal(B, 1, 8, 8), STEPS
    answers = {mode: other.network(x, t) for mode, other in others.items()}
    for answer in answers.values():
        assert answer.dtype == np.float32
        np.testing.assert_array_equal(answer, answers["pynative"])
    assert 0.1 < answers["pynative"].std() < 10, "activations are to stay near 1"
    assert others["pynative"].variant(dtype="float64").network(x, t).dtype == np.float64


def test_network_gradient_is_the_slope_of_its_loss(subject: MindSporeSubject) -> None:
    # Along the gradient g itself the loss changes by |g|^2 a step. A central difference over 2h, h = 1e-2 / |g|, is off
    # by the third derivative times h^2 (below 1 %) and by the roundings of the loss, 1e-6 / 2e-2.
    x, t, target = normal(B, 1, 8, 8), STEPS, normal(B, 1, 8, 8, seed=1)
    gradient = subject.network_gradient(x, t, target)
    weights = subject.weights()
    assert {name: g.shape for name, g in gradient.items()} == {name: w.shape for name, w in weights.items()}
    length = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradient.values()))
    losses = []
    network = subject._network
    for sign in (1, -1):
        for name, parameter in network._parameters.items():
            parameter.set_data(ms.Tensor((weights[name] + sign * 1e-2 / length * gradient[name]).astype(np.float32)))
        losses.append(np.mean((subject.network(x, t).astype(np.float64) - target) ** 2))
    for name, parameter in network._parameters.items():
        parameter.set_data(ms.Tensor(weights[name]))
    assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(length, rel=0.02, abs=0)
