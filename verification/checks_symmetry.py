"""What the network must not care about: the order of hidden channels, which axis is which, where an image begins.

None of it needs the right numbers: the network is asked twice, with weights and images that were moved in step, and has
to answer the same. So a mistake in an axis shows even to somebody who makes it in the oracle, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from verification.check import Evidence, check, generator
from verification.network_layout import Architecture
from verification.network_trial import config_of, network_dtype, probe_images
from verification.oracle_network import predict_with_bound
from verification.protocol import Array, Subject
from verification.tolerance import compare

Weights = dict[str, Array]

IMAGES = slice(0, 6)
"""Of the probes: noise at six time steps."""


@check(
    "NET-6",
    claim="Hidden channels may change places within their groups, height and width too, and images move by the stride.",
    source="Wu & He 2018 (groups of neighbouring channels); Vaswani et al. 2017 (attention knows no order of pixels)",
    needs=("network_with", "weights", "network_config", "num_timesteps"),
    level=5,
    kills=("N30", "N31", "N32"),
    tolerance="T1: both answers round, each as the whole network may (T2 and T4: imitated operation by operation).",
)
def symmetries(subject: Subject) -> Iterator[Evidence]:
    """NET-6: metamorphic, on noise at several time steps."""
    architecture = Architecture.parse(config_of(subject))
    images = probe_images(subject)
    x, t = images.x[IMAGES], images.t[IMAGES]
    weights = subject.weights()
    plain = subject.network_with(weights, x, t)
    for what, moved in (
        ("channels of each group in another order", within_groups(weights, architecture)),
        ("kernels and images turned", {name: turned(value) for name, value in weights.items()}),
    ):
        turn = what.endswith("turned")
        seen = subject.network_with(moved, turned(x) if turn else x, t)
        allowed = _allowed(subject, weights, x, t)
        yield compare(
            turned(seen) if turn else seen, plain, allowed, where=what, labels=AXES, reason="the same numbers as before"
        )
    yield from _translated(subject, architecture, x, t)


BETWEEN = ("time_proj.weight", "time_proj.bias", "norm_2.gamma", "norm_2.beta")
"""Parameters of a residual block that belong to the channels between its convolutions."""

AXES = ("image", "channel", "row", "column")


def _translated(subject: Subject, architecture: Architecture, x: Array, t: Array) -> Iterator[Evidence]:
    """With kernels of one tap, which reads no border, images that are rolled by the stride give rolled outputs."""
    pointwise = {name: one_tap(value) for name, value in subject.weights().items()}
    stride = 2 ** (architecture.levels - 1)
    if stride >= architecture.image_size:
        return
    plain, allowed = subject.network_with(pointwise, x, t), _allowed(subject, pointwise, x, t)
    for axis, name in ((2, "down"), (3, "to the right")):
        seen = subject.network_with(pointwise, np.roll(x, stride, axis), t)
        yield compare(
            seen, np.roll(plain, stride, axis), allowed, where=f"images rolled {name} by {stride}", labels=AXES,
            reason="the same outputs, rolled",
        )  # fmt: skip


def _allowed(subject: Subject, weights: Mapping[str, Array], x: Array, t: Array) -> Array:
    """How far two computations of the same outputs may be apart, (B, 1, 1, 1)."""
    given = {name: np.asarray(value) for name, value in weights.items()}
    _, bound = predict_with_bound(config_of(subject), given, x, t, dtype=network_dtype(subject).name)
    return 2 * bound


def turned(values: Array) -> Array:
    """Height and width of images or kernels exchanged; what has neither is left alone."""
    return np.ascontiguousarray(values.swapaxes(2, 3)) if values.ndim == 4 else values


def one_tap(values: Array) -> Array:
    """A 3x3 kernel with the middle one of its weights alone; others as they are."""
    if values.ndim < 4 or values.shape[-1] != 3:
        return values
    kept = np.zeros_like(values)
    kept[..., 1, 1] = values[..., 1, 1]
    return kept


def within_groups(weights: Mapping[str, Array], architecture: Architecture) -> Weights:
    """The same network: the channels between the two convolutions of every residual block, exchanged within groups."""
    random = generator("NET-6")
    moved = dict(weights)
    for name in weights:
        if name.endswith(".conv_1.weight"):
            block, channels = name.removesuffix(".conv_1.weight"), len(weights[name])
            order = random.permuted(np.arange(channels).reshape(architecture.groups, -1), axis=1).ravel()
            for part in ("conv_1.weight", "conv_1.bias", *BETWEEN):
                moved[f"{block}.{part}"] = weights[f"{block}.{part}"][order]
            moved[f"{block}.conv_2.weight"] = weights[f"{block}.conv_2.weight"][:, order]
    return moved
