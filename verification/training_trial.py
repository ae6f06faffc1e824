"""A subject's training beside what is known of it: four steps on given batches, and every shorter run before them.

A run of k steps shows the weights W_k and their average; runs of 0, 1, ... steps on the same batches show the whole
way. At each W_k on it the judge has the exact gradient of the next step, by its own network in float64 on the subject's
own x_t (`gradient_trial`), so what one step does is judged alone: no error is carried from step to step.

At the initial weights the last layers are zero, and in the first step only the very last of them moves; all
parameters do from the third step on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verification.affine import remembered
from verification.check import generator
from verification.gradient_trial import GradientTruth
from verification.guard import SubjectError
from verification.network_layout import Architecture, parameter_shapes
from verification.network_trial import config_of, network_dtype
from verification.network_truth import kept
from verification.protocol import Array, Subject

STEPS, BATCH = 4, 4
RATE = 2.0**-9
"""The learning rate, exact in every type."""

DECAYS = (0.9375, 0.21875, 0.0)
"""Of the average, exact in every type: above all decays of a warm-up of four steps, between its first two, and none."""

NEEDS = ("training_run", "weights", "network_config", "q_sample")


@dataclass(frozen=True)
class Batches:
    """`x_0`, `eps` (4, 4, C, H, W), `t` (4, 4)."""

    x_0: Array
    t: Array
    eps: Array


@dataclass(frozen=True)
class Run:
    """What a training run returned: `weights` and `average` by name, `losses` (K,)."""

    weights: Mapping[str, Array]
    average: Mapping[str, Array]
    losses: Array


def batches_for(subject: Subject) -> Batches:
    """Images of uniform pixels, noise, and time steps from end to end."""
    random, last = generator("OPT-1"), subject.num_timesteps - 1
    a = Architecture.parse(config_of(subject))
    shape = (STEPS, BATCH, a.in_channels, a.image_size, a.image_size)
    dtype = network_dtype(subject)
    t = random.integers(0, last + 1, (STEPS, BATCH))
    t[:, 0], t[:, -1] = 0, last
    return Batches(random.uniform(-1, 1, shape).astype(dtype), t, random.standard_normal(shape).astype(dtype))


def run_of(subject: Subject, steps: int = STEPS, *, decay: float = DECAYS[0], save_after: int | None = None) -> Run:
    """The subject's run on the first `steps` batches, done once. Raises `SubjectError` if it returns no such thing."""
    before_training(subject)

    def made() -> Run:
        all_of = batches_for(subject)
        returned = subject.training_run(
            all_of.x_0[:steps], all_of.t[:steps], all_of.eps[:steps],
            learning_rate=RATE, ema_decay=decay, save_after=save_after,
        )  # fmt: skip
        return _read(returned)

    return remembered(subject, f"training, {steps} steps, decay {decay}, saved after {save_after}", made)


def _read(returned: Any) -> Run:
    if not isinstance(returned, Mapping):
        raise SubjectError("training_run", f"returned {type(returned).__name__}, not a dictionary")
    absent = sorted({"weights", "average", "losses"} - returned.keys())
    if absent:
        raise SubjectError("training_run", f"returned a dictionary without {', '.join(absent)}")
    for group in ("weights", "average"):
        if not isinstance(returned[group], Mapping):
            raise SubjectError("training_run", f"returned {group} that are no dictionary of arrays by name")
    # Copies: a later run may write where this one has.
    weights, average = ({name: np.array(array) for name, array in returned[g].items()} for g in ("weights", "average"))
    return Run(weights, average, np.array(returned["losses"]))


def before_training(subject: Subject) -> dict[str, Array]:
    """What training must leave alone, as it was before the first run of any check: tables, and the network at rest."""

    def made() -> dict[str, Array]:
        return _at_rest(subject)

    return remembered(subject, "before training", made)


def after_training(subject: Subject) -> dict[str, Array]:
    """The same as it is now, after a run."""
    run_of(subject)
    return _at_rest(subject)


def _at_rest(subject: Subject) -> dict[str, Array]:
    found = {f"weights of the network, {name}": np.array(array) for name, array in subject.weights().items()}
    if getattr(subject, "tables", None) is not None:
        found |= {f"table {name}": np.array(array) for name, array in subject.tables().items()}
    return found


def truth_of(subject: Subject, step: int) -> GradientTruth:
    """Loss and gradient of the `step`-th step (0, 1, ...) at the weights that the subject has come to.

    Raises `SubjectError` if those are not the parameters of the network, or not finite.
    """
    config, dtype = config_of(subject), network_dtype(subject).name
    weights = run_of(subject, step).weights
    _sound(weights, parameter_shapes(config), step)
    everything = batches_for(subject)
    x_0, t, eps = everything.x_0[step], everything.t[step], everything.eps[step]
    x_t, target = np.asarray(subject.q_sample(x_0, t, eps)), _target(subject, x_0, t, eps)
    arrays = {**weights, "images x": x_t, "images t": t, "images target": target}
    return kept(f"training in {dtype}", config, arrays, lambda: GradientTruth(config, weights, dtype, x_t, t, target))


def _target(subject: Subject, x_0: Array, t: Array, eps: Array) -> Array:
    kind = getattr(subject, "parameterization", "eps")
    return np.asarray(subject.velocity(x_0, t, eps)) if kind == "v" else eps if kind == "eps" else x_0


def _sound(weights: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], step: int) -> None:
    for name in sorted(weights.keys() ^ shapes.keys()):
        has = "no" if name in shapes else "a"
        raise SubjectError("training_run", f"returned weights with {has} {name}, which is not the network's layout")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise SubjectError("training_run", f"returned {name} of shape {weights[name].shape} instead of {shape}")
        if not np.isfinite(weights[name]).all():
            raise SubjectError("training_run", f"returned {name} with entries that are not finite, after {step} steps")
