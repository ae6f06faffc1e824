"""A run on given batches is what `ddpm-bench train` would do with them, by way of a checkpoint or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ddpm_bench import train as training
from ddpm_bench.config import TrainConfig
from ddpm_bench.data import Dataset
from ddpm_bench.errors import ConfigError, DdpmBenchError, ShapeError
from ddpm_bench.subject import MindSporeSubject
from ddpm_bench.train import Batch, Trainer, draw_batch

K, B, T = 2, 3, 8
CHOICES: dict[str, Any] = {"learning_rate": 1e-3, "ema_decay": 0.5}


@pytest.fixture(scope="module")
def subject() -> MindSporeSubject:
    return MindSporeSubject(num_timesteps=T, mode="pynative")


def batches(steps: int = K) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.standard_normal((2, steps, B, 1, 8, 8)).astype(np.float32)
    return images[0], random.integers(T, size=(steps, B)), images[1]


def test_run_is_that_of_the_trainer_on_the_batches_it_draws(
    subject: MindSporeSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, in weights, average and losses; the trainer's own batches are noted and given to the subject."""
    given: list[Batch] = []

    def noted(*arguments: Any, **options: Any) -> Batch:
        given.append(draw_batch(*arguments, **options))
        return given[-1]

    monkeypatch.setattr(training, "draw_batch", noted)
    images = np.random.default_rng(1).standard_normal((5, 1, 8, 8), dtype=np.float32)
    config = TrainConfig(**{**vars(subject._train_config()), **CHOICES, "batch_size": B})
    trainer = Trainer(config, Dataset("five", images))
    for _ in range(K):
        trainer.advance()
    drawn = [np.stack([getattr(batch, name) for batch in given]) for name in ("x_0", "t", "eps")]
    run, due = subject.training_run(*drawn, **CHOICES), trainer.snapshot()
    assert np.array_equal(run["losses"], due.losses)
    for group in ("weights", "average"):
        for name, array in getattr(due, group).items():
            assert np.array_equal(run[group][name], array), (group, name)


def test_no_batches_are_the_initial_weights(subject: MindSporeSubject) -> None:
    run = subject.training_run(*batches(0), **CHOICES)
    assert run["losses"].shape == (0,)
    for name, array in subject.initial_weights().items():
        assert np.array_equal(run["weights"][name], array)
        assert np.array_equal(run["average"][name], array)


def test_result_stays_as_it_was_when_another_run_begins(subject: MindSporeSubject) -> None:
    first = subject.training_run(*batches(1), **CHOICES)
    kept = {name: array.copy() for name, array in first["weights"].items()}
    subject.training_run(*batches(), **CHOICES)
    assert all(np.array_equal(first["weights"][name], array) for name, array in kept.items())


def test_network_that_is_evaluated_does_not_train(subject: MindSporeSubject) -> None:
    before = subject.weights()
    subject.training_run(*batches(1), **CHOICES)
    assert all(np.array_equal(array, before[name]) for name, array in subject.weights().items())


def test_long_gradient_is_not_cut(subject: MindSporeSubject) -> None:
    x_0, t, eps = batches(1)
    run = subject.training_run(x_0, t, 1e6 * eps, **CHOICES)
    assert all(np.isfinite(array).all() for array in run["weights"].values())
    assert subject._at_rest[0].config.clip_norm == 1e30


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x_0, t, eps: (x_0, t, eps[:, :2]), "do not fit"),
        (lambda x_0, t, eps: (x_0[0], t[0], eps[0]), "do not fit"),
        (lambda x_0, t, eps: (x_0[..., :4], t, eps[..., :4]), r"with \(C, H, W\) \(1, 8, 8\)"),
        (lambda x_0, t, eps: (x_0, t.astype(float), eps), "whole-number"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(subject: MindSporeSubject, spoil: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        subject.training_run(*spoil(*batches()), **CHOICES)


def test_time_step_outside_the_chain_is_refused(subject: MindSporeSubject) -> None:
    x_0, t, eps = batches()
    with pytest.raises(ConfigError, match=r"must stay in 0\.\.\.7"):
        subject.training_run(x_0, t + T, eps, **CHOICES)


@pytest.mark.parametrize("save_after", [-1, K])
def test_checkpoint_outside_the_run_is_refused(subject: MindSporeSubject, save_after: int) -> None:
    with pytest.raises(ConfigError, match=f"save_after is {save_after}; give a number from 0 to 1"):
        subject.training_run(*batches(), **CHOICES, save_after=save_after)


def test_loss_that_is_not_finite_stops_the_run(subject: MindSporeSubject) -> None:
    x_0, t, eps = batches()
    with pytest.raises(DdpmBenchError, match="diverged at step 1"):
        subject.training_run(x_0, t, eps * np.float32(np.inf), **CHOICES)
