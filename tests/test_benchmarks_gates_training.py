"""The gate of the training step, on a linear network trained in float32 NumPy: right, and cheated in every way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from benchmarks import gates_training
from benchmarks.gates import Invalid, Network, linear_alpha_bar, noised
from ddpm_bench import train_step

pytestmark = pytest.mark.needs_mindspore

RATE, DECAY = 2e-4, 0.9999
SHAPE = (8, 3, 4, 4)


def predict(_: Any, weights: Any, x: Any, __: Any) -> Any:
    """eps_hat = W x + b, images flattened."""
    return (x.reshape(len(x), -1) @ weights["out.weight"].T + weights["out.bias"]).reshape(x.shape)


@dataclass
class Trainer:
    """Adam and a moving average in float32; `cheat` names what is left out or replaced."""

    cheat: str = ""
    losses: list[float] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        random = np.random.default_rng(0)
        self.x_0 = random.uniform(-1, 1, SHAPE).astype(np.float32)
        self.eps = random.standard_normal(SHAPE).astype(np.float32)
        self.t = random.integers(0, 1000, SHAPE[0])
        self.x_t = noised(linear_alpha_bar(), self.x_0, self.t, self.eps).astype(np.float32)
        self.weights = {
            "out.weight": (random.standard_normal((48, 48)) / 7).astype(np.float32),
            "out.bias": np.zeros(48, np.float32),
        }
        self.average = {name: value.copy() for name, value in self.weights.items()}
        self.moments = [{name: np.zeros_like(value) for name, value in self.weights.items()} for _ in range(2)]
        self.look()

    def look(self) -> None:
        self.seen.append({name: value.copy() for name, value in self.weights.items()})

    def step(self) -> None:
        """One step; the loss is of the weights before it."""
        dtype = np.float16 if self.cheat == "half precision" else np.float32
        n = len(self.losses) + 1
        rows = slice(0, 4) if self.cheat == "smaller batch" else slice(None)
        w = {name: value.astype(dtype) for name, value in self.weights.items()}
        x, eps = self.x_t[rows].astype(dtype), self.eps[rows].astype(dtype)
        residual = (predict({}, w, x, None) - eps).astype(np.float32).reshape(len(x), -1)
        loss = float(np.mean(residual**2))
        cached = self.cheat == "cached loss" and self.losses
        self.losses.append(self.losses[0] * 0.99 if cached else loss)
        gradient = {
            "out.weight": 2 / residual.size * residual.T @ x.reshape(len(x), -1).astype(np.float32),
            "out.bias": 2 / residual.size * residual.sum(axis=0),
        }
        if not (self.cheat == "skipped update" and n == 3):
            self.adam(gradient, n)
        if not (self.cheat == "skipped average" and n == 3):
            self.average_in(n)
        self.look()

    def adam(self, gradient: dict[str, Any], n: int) -> None:
        beta_1, beta_2 = np.float32(0.9), np.float32(0.999)
        rate = np.float32(RATE * math.sqrt(1 - float(beta_2) ** n) / (1 - float(beta_1) ** n))
        rate *= np.float32(1.01) if self.cheat == "other learning rate" else np.float32(1)
        for name, g in gradient.items():
            first, second = (moment[name] for moment in self.moments)
            first[...] = beta_1 * first + (1 - beta_1) * g
            second[...] = beta_2 * second + (1 - beta_2) * g * g
            sign = -1 if self.cheat == "uphill" else 1
            self.weights[name] -= sign * rate * first / (np.sqrt(second) + np.float32(1e-8))

    def average_in(self, n: int) -> None:
        decay = np.float32(DECAY if self.cheat == "no warm-up" else train_step.average_decay(n, DECAY))
        for name, value in self.weights.items():
            self.average[name] = decay * self.average[name] + (1 - decay) * value


def judged(cheat: str, steps: int = 6) -> dict[str, Any]:
    trainer = Trainer(cheat)
    for _ in range(steps):
        trainer.step()
    if cheat == "not a number":
        trainer.losses[2] = math.nan
    run = gates_training.Run(
        trainer.losses, trainer.seen, trainer.weights, trainer.average, *trainer.moments, RATE, DECAY
    )
    network = Network(predict, {}, trainer.weights)
    return gates_training.check(run, network, linear_alpha_bar(), trainer.x_0, trainer.t, trainer.eps)


def test_real_training_is_let_through_with_room() -> None:
    evidence = judged("")
    assert evidence["steps"] == 6
    assert evidence["error"] < evidence["allowed"] / 3


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [
        ("skipped update", "training step 3 left out.weight as it was"),
        ("skipped average", "the moving average of out.weight is off"),
        ("no warm-up", "the moving average of out.weight is off"),
        ("other learning rate", "the last update of out.weight is off"),
        ("half precision", "the last timed loss is"),
        ("smaller batch", "the last timed loss is"),
        ("cached loss", "the last timed loss is"),
        ("uphill", "the last update of out.weight is off"),
        ("not a number", "the losses are"),
    ],
)
def test_training_that_cheats_is_refused_with_the_reason(cheat: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        judged(cheat)


def test_loss_that_does_not_fall_is_refused() -> None:
    with pytest.raises(Invalid, match="on one and the same batch"):
        judged("", steps=1)


def test_average_decay_is_the_trainings() -> None:
    for n in (1, 2, 10, 100, 10**6):
        assert gates_training.average_decay(n, DECAY) == train_step.average_decay(n, DECAY)
    ours = (gates_training.BETA_1, gates_training.BETA_2, gates_training.EPSILON)
    assert ours == (train_step.BETA_1, train_step.BETA_2, train_step.ADAM_EPSILON)
