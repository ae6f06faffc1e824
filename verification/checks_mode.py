"""Obligations of execution: every mode computes the same, and a call leaves nothing behind but its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from verification.check import Evidence, check, generator
from verification.gradient_trial import gradient_truth_of
from verification.network_trial import probe_images
from verification.protocol import Array, Subject, dtype_of
from verification.tolerance import compare, exactly

SHAPE = (8, 6)
"""Of the data of every call that needs no network: one shape, so that graph mode compiles each method once."""

Call = Callable[[Subject], Any]


@check(
    "MODE-1",
    claim="Every execution mode gives the same bits: the forward process, both samplers' steps, the network.",
    source="MindSpore's modes run the same kernels: on CPU bits are equal in 2.7.0 to 2.10.0",
    needs=("counterparts", "q_sample", "p_step", "ddim_step", "network", "weights", "network_config"),
    level=2,
    kills=("Q01", "Q06"),
    tolerance="T0: the same kernels in the same order",
)
def modes_agree_forward(subject: Subject) -> Iterator[Evidence]:
    """MODE-1, for each counterpart against the subject itself."""
    images = probe_images(subject)
    calls = {
        name: call for name, call in _calls(subject, seed=0).items() if name in ("q_sample", "p_step", "ddim_step")
    }
    calls["network"] = lambda one: one.network(images.x, images.t)
    own = {name: call(subject) for name, call in calls.items()}
    for mode, other in subject.counterparts().items():
        for name, call in calls.items():
            yield exactly(call(other), own[name], where=f"{name} in {mode}", reason="equal bits in every mode")


@check(
    "MODE-1.gradient",
    claim="Every execution mode gives the same gradient for every parameter of the network.",
    source="MindSpore's modes run the same kernels, but may add up the parts of a gradient in another order",
    needs=("counterparts", "network_gradient", "weights", "network_config"),
    level=2,
    kills=("Q02",),
    tolerance="T2 and T4: twice the rounding of one backward pass, imitated in float64; see gradient_trial",
)
def modes_agree_backward(subject: Subject) -> Iterator[Evidence]:
    """MODE-1, all gradients."""
    truth = gradient_truth_of(subject)
    own = subject.network_gradient(truth.x, truth.t, truth.target)
    reason = "twice the rounding of one backward pass"
    for mode, other in subject.counterparts().items():
        theirs = other.network_gradient(truth.x, truth.t, truth.target)
        for name, gradient in own.items():
            yield compare(theirs.get(name), gradient, 2 * truth.bound(name), where=f"{name} in {mode}", reason=reason)


@check(
    "MODE-3",
    claim="The same call twice gives the same bits, whatever was called between; inputs and results stay as they were.",
    source="definition: every random number is an argument",
    needs=("q_sample",),
    level=1,
    kills=("Q03", "Q04", "Q05", "Q07"),
    tolerance="T0: one computation, done twice",
)
def calls_are_pure(subject: Subject) -> Iterator[Evidence]:
    """MODE-3, for the methods that make up training and sampling, of those that the subject has.

    Changed inputs are noticed by the guard around the subject.
    """
    calls = {name: call for name, call in _calls(subject, seed=1).items() if getattr(subject, name, None) is not None}
    first = {name: _parts(call(subject)) for name, call in calls.items()}
    kept = {name: [part.copy() for part in parts] for name, parts in first.items()}
    for name, other in _calls(subject, seed=2).items():
        if name in calls:
            other(subject)
    for name, call in calls.items():
        for before, held in zip(kept[name], first[name], strict=True):
            yield exactly(held, before, where=name, reason="a result that was returned stays as it was")
        for before, after in zip(kept[name], _parts(call(subject)), strict=True):
            yield exactly(after, before, where=name, reason="the same call again, after calls of every method")


def _calls(subject: Subject, *, seed: int) -> dict[str, Call]:
    """The methods of training and sampling, each as a call with fixed arguments of the subject's type."""
    random = np.random.default_rng((generator("MODE-3").integers(2**31), seed))
    kind = np.float32 if dtype_of(subject) == "bfloat16" else np.dtype(dtype_of(subject))
    x, y, z = random.standard_normal((3, *SHAPE)).astype(kind)
    last = subject.num_timesteps - 1
    t = np.append(random.integers(0, last + 1, SHAPE[0] - 2), (0, last))
    return {
        "q_sample": lambda one: one.q_sample(x, t, z),
        "p_step": lambda one: one.p_step(x, t, y, z),
        "ddim_step": lambda one: one.ddim_step(x, t, t // 2 - 1, y, z, 0.5),
        "loss": lambda one: one.loss(lambda noisy, _: 0.5 * noisy, x, t, z),
        "tables": lambda one: one.tables(),
        "draw_timesteps": lambda one: one.draw_timesteps(SHAPE[0], seed),
        **_network_calls(subject, -1 if seed == 2 else 1),
    }


def _network_calls(subject: Subject, sign: int) -> dict[str, Call]:
    if getattr(subject, "network_config", None) is None or getattr(subject, "weights", None) is None:
        return {}
    images = probe_images(subject)
    calls: dict[str, Call] = {"network": lambda one: one.network(sign * images.x, images.t)}
    if getattr(subject, "network_gradient", None) is not None:
        truth = gradient_truth_of(subject)
        calls["network_gradient"] = lambda one: one.network_gradient(sign * truth.x, truth.t, truth.target)
    return calls


def _parts(result: Any) -> list[Array]:
    """The arrays of a result, whether it is one, several, or a dictionary of them."""
    if isinstance(result, Mapping):
        return [np.asarray(result[name]) for name in sorted(result)]
    return [np.asarray(part) for part in result] if isinstance(result, tuple) else [np.asarray(result)]
