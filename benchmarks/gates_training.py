"""Did every timed training step really train? Read from its losses and from a few weights after each step.

With W the weights, n the number of a step, lr the learning rate and d the decay of `average_decay`, Adam (Kingma and Ba
2015, Algorithm 1) and the moving average are

    W_n = W_{n−1} − lr · sqrt(1 − β₂ⁿ)/(1 − β₁ⁿ) · m_n/(sqrt(v_n) + ε)         a_n = d_n a_{n−1} + (1 − d_n) W_n

* W_n of the small weights, seen after every call, differ from W_{n−1}: no update was skipped;
* their moving average, folded again in float64, is the one the run holds: each call moved it, once;
* the last difference is what Adam's formula makes of the run's moments;
* the same formula, read backwards, gives *all* weights before the last step, and the loss the reference computes from
  them is the one that the last timed call returned;
* on one batch, seen again and again, the loss falls.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gates import SAFETY, UNIT_ROUNDOFF, Array, Invalid, Network, compare, noised

BETA_1, BETA_2, EPSILON = float(np.float32(0.9)), float(np.float32(0.999)), 1e-8
"""Adam's constants as its authors recommend them and as float32 holds them: 1 − β₂ is 1.3e-5 of itself off .001."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """What is known of a training run after its last step."""

    losses: Sequence[float]
    """returned by each call, of the weights before it"""
    seen: Sequence[Arrays]
    """some small weights before the first call and after each"""
    weights: Arrays
    average: Arrays
    moment_1: Arrays
    moment_2: Arrays
    learning_rate: float
    ema_decay: float


def average_decay(n: int, decay: float) -> float:
    """The moving average's decay at step `n` (1, 2, …), with TensorFlow's warm-up."""
    return min(decay, (1 + n) / (10 + n))


def update(run: Run, name: str) -> Array:
    """W_{n−1} − W_n of the parameter `name` at the last step, by Adam's formula, in float64."""
    n = len(run.losses)
    rate = run.learning_rate * math.sqrt(1 - BETA_2**n) / (1 - BETA_1**n)
    moment_1, moment_2 = (np.asarray(m[name], np.float64) for m in (run.moment_1, run.moment_2))
    return np.asarray(rate * moment_1 / (np.sqrt(moment_2) + EPSILON), np.float64)


def check(run: Run, network: Network, alpha_bar: Array, x_0: Array, t: NDArray[Any], eps: Array) -> dict[str, Any]:
    """The gate of a training run on one batch, `x_0` and `eps` (B, C, H, W) and `t` (B,). Raises `Invalid`.

    `network` has the weights after the last step; the reference is asked with those before it.
    """
    if not np.isfinite(run.losses).all():
        raise Invalid(f"the losses are {', '.join(f'{loss:.4g}' for loss in run.losses)}")
    for n, (before, after) in enumerate(itertools.pairwise(run.seen), start=1):
        still = [name for name in before if np.array_equal(before[name], after[name])]
        if still:
            raise Invalid(f"training step {n} left {still[0]} as it was: the update was skipped")
    for name in run.seen[0]:
        check_last_update(run, name)
        check_average(run, name)
    if not run.losses[-1] < run.losses[0]:
        raise Invalid(f"the loss went from {run.losses[0]:.6g} to {run.losses[-1]:.6g} on one and the same batch")
    return {"steps": len(run.losses), **check_loss(run, network, noised(alpha_bar, x_0, t, eps), t, eps)}


def check_last_update(run: Run, name: str) -> dict[str, float]:
    """The step seen is the step computed, but for the rounding of W itself and of the step.

    The step: eight operations, and β₁ⁿ and β₂ⁿ, whose rounding weighs more the nearer they are to 1.
    """
    n = len(run.losses)
    roundings = 16 + 1 / (1 - BETA_1**n) + 0.5 / (1 - BETA_2**n)
    after, expected = np.asarray(run.seen[-1][name], np.float64), update(run, name)
    observed = np.asarray(run.seen[-2][name], np.float64) - after
    allowed = UNIT_ROUNDOFF * float(2 * np.abs(after).max() + roundings * np.abs(expected).max())
    return compare(observed, expected, allowed, what=f"the last update of {name}")


def check_average(run: Run, name: str) -> dict[str, float]:
    """The average, folded again: each of its steps rounds four times at the size of the weights."""
    average = np.asarray(run.seen[0][name], np.float64)
    for n, seen in enumerate(run.seen[1:], start=1):
        decay = average_decay(n, run.ema_decay)
        average = decay * average + (1 - decay) * seen[name]
    largest = max(float(np.abs(seen[name]).max()) for seen in run.seen)
    allowed = 4 * len(run.seen) * UNIT_ROUNDOFF * largest
    return compare(np.asarray(run.average[name]), average, allowed, what=f"the moving average of {name}")


def check_loss(run: Run, network: Network, x_t: Array, t: NDArray[Any], eps: Array) -> dict[str, float]:
    """The last timed loss is that of the weights before the last step: mean of (eps − eps_hat)².

    What is allowed: `SAFETY` times what moved weights make of the loss, image by image so that chance cannot cancel it
    (errors within an image may be one and the same, those of different images are not), and the rounding of a
    float32 mean of N terms, sqrt(N)·u.
    """
    before = {name: np.asarray(value, np.float64) + update(run, name) for name, value in run.weights.items()}
    earlier = Network(network.reference, network.config, before)
    each, moved = (
        np.mean((eps - value).reshape(len(eps), -1) ** 2, axis=1, dtype=np.float64)
        for value in (earlier.eps(x_t, t), earlier.rounded_eps(x_t, t))
    )
    expected = float(each.mean())
    from_network = float(np.sqrt(np.sum((moved - each) ** 2))) / len(eps)
    allowed = SAFETY * from_network + math.sqrt(eps.size) * UNIT_ROUNDOFF * expected
    error = abs(run.losses[-1] - expected)
    if not error <= allowed:
        raise Invalid(
            f"the last timed loss is {run.losses[-1]:.9g} and should be {expected:.9g}; {allowed:.2g} is allowed"
        )
    return {"error": error, "allowed": allowed}
