"""Obligations of the network's outputs: what depends on what, and that every number is the oracle's.

All but the first look at one trial (`network_trial`): the subject's outputs on images chosen to show every detail,
beside a float64 oracle that computes the same network from the subject's weights. Where they disagree, the known wrong
network that explains it is found, and the check whose business that is fails; the others judge what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verification.check import Evidence, Run, check, generator
from verification.guard import SubjectError
from verification.network_evidence import confirmed, distinguishable
from verification.network_layout import Architecture, parameter_count, parameter_shapes
from verification.network_trial import (
    BLACK,
    BRIGHT,
    Trial,
    config_of,
    network_dtype,
    probe_images,
    time_trial_of,
    trial_of,
)
from verification.network_truth import Images
from verification.protocol import Subject
from verification.reverse_mode import Array
from verification.tolerance import compare, exactly, holds

NEEDS = ("network", "weights", "network_config")
APPENDIX_B = "Ho et al. 2020, appendix B"
ROUNDING = "T2 and T4: the rounding of the whole network, imitated operation by operation; see network_rounding"


@check(
    "NET-1",
    claim="eps_hat has the shape of the image: one image or many, and at another size, unless that is refused.",
    source=APPENDIX_B,
    needs=NEEDS,
    level=1,
    kills=("M02", "M07"),
    tolerance=ROUNDING,
)
def shape_is_kept(subject: Subject) -> Iterator[Evidence]:
    """NET-1. A network that never works at another size than its own may say so by raising."""
    own = probe_images(subject)
    yield _shape(own.x, f"a batch of {len(own.x)}", lambda: trial_of(subject).outputs, may_refuse=False)
    yield _shape(own.x[:1], "a batch of one", lambda: subject.network(own.x[:1], own.t[:1]), may_refuse=False)
    other = _other_size(subject, Architecture.parse(config_of(subject)))
    yield _shape(other.x, other.names[0], lambda: subject.network(other.x, other.t), may_refuse=True)


def _shape(x: Array, where: str, call: Callable[[], Array], *, may_refuse: bool) -> Evidence:
    try:
        outputs = call()
    except SubjectError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a network raises is its answer to images of this shape
        return holds(may_refuse, where=where, reason=f"raised {type(error).__name__}: {error}")
    reason = f"shape {np.shape(outputs)} for images of shape {x.shape}, and finite"
    return holds(np.shape(outputs) == x.shape and bool(np.isfinite(outputs).all()), where=where, reason=reason)


def _other_size(subject: Subject, architecture: Architecture) -> Images:
    """Images higher and wider than the configured ones, not square, that every level can still halve."""
    step = 2 ** (architecture.levels - 1)
    height, width = architecture.image_size + step, architecture.image_size + 2 * step
    x = generator("NET-1").standard_normal((2, architecture.in_channels, height, width))
    t = np.array([0, subject.num_timesteps - 1])
    return Images(x.astype(network_dtype(subject)), t, tuple(f"{height}x{width} pixels at t={step}" for step in t))


@check(
    "NET-2",
    claim="The output depends on t: at any two time steps it differs, for the same image.",
    source=f"{APPENDIX_B}: t is given to every residual block",
    needs=NEEDS,
    level=2,
    kills=("M03",),
    tolerance=f"{ROUNDING}; here `allowed` is the smallest difference seen, and rounding must be below it",
)
def output_depends_on_t(subject: Subject) -> Iterator[Evidence]:
    """NET-2, over every pair of sixteen time steps, neighbours among them."""
    trial = time_trial_of(subject)
    t, outputs = trial.images.t, np.asarray(trial.outputs, float)
    rounding = 2 * float(trial.bound.max())
    pairs = [(i, j) for j in range(len(t)) for i in range(j) if t[i] != t[j]]
    if not pairs:
        yield holds(True, where="t=0", reason="there is one time step")
    for i, j in pairs:
        apart = float(np.max(np.abs(outputs[i] - outputs[j])))
        yield Evidence(rounding, apart, f"t={t[i]} and t={t[j]}", "the difference is more than rounding of two outputs")
    yield from confirmed(trial, "NET-2")


@check(
    "NET-4",
    claim="Every output pixel sees every input pixel, and skips join the levels they belong to, youngest first.",
    source=f"{APPENDIX_B}; Ronneberger et al. 2015, Fig. 1",
    needs=NEEDS,
    level=2,
    kills=("M64", "N01", "N02"),
    tolerance=ROUNDING,
)
def pixels_and_skips_reach_the_output(subject: Subject) -> Iterator[Evidence]:
    """NET-4: one bright pixel in a black image changes every quarter of the output."""
    trial = trial_of(subject)
    for image in BRIGHT:
        change = np.abs(trial.outputs[image].astype(float) - trial.outputs[BLACK])
        rounding = float(trial.bound[image].max() + trial.bound[BLACK].max())
        for quarter, part in _quarters(change):
            where = f"{trial.images.names[image]}, {quarter} quarter"
            yield Evidence(rounding, float(part.max()), where, "the change is more than the rounding of two outputs")
    yield from confirmed(trial, "NET-4")


def _quarters(image: Array) -> Iterator[tuple[str, Array]]:
    height, width = -(-image.shape[1] // 2), -(-image.shape[2] // 2)
    for rows, side in ((slice(0, height), "upper"), (slice(-height, None), "lower")):
        for columns, end in ((slice(0, width), "left"), (slice(-width, None), "right")):
            yield f"{side} {end}", image[:, rows, columns]


@check(
    "NET-5",
    claim="An image's output does not depend on the others in the batch, nor on its place there.",
    source="Wu & He 2018: GroupNorm's statistics are one image's own",
    needs=NEEDS,
    level=2,
    kills=("M68", "N21"),
    tolerance=f"{ROUNDING}; twice, as two outputs are compared: another place in the batch may sum in another order",
)
def batch_does_not_matter(subject: Subject) -> Iterator[Evidence]:
    """NET-5: alone, in reverse order, and among other images."""
    trial = trial_of(subject)
    finite = bool(np.isfinite(trial.outputs).all())
    yield holds(finite, where="", reason="finite outputs, which alone can be compared")
    if finite:
        yield from _in_other_batches(subject, trial)


def _in_other_batches(subject: Subject, trial: Trial) -> Iterator[Evidence]:
    x, t, outputs, place = trial.images.x, trial.images.t, trial.outputs, trial.images.place
    reason = "the same image in another batch; twice the network's rounding"
    alone = subject.network(x[:1], t[:1])
    yield compare(alone, outputs[:1], 2 * trial.bound[:1], where=place, reason=f"{reason} (alone)")
    back = subject.network(x[::-1].copy(), t[::-1].copy())
    yield compare(back[::-1], outputs, 2 * trial.bound, where=place, reason=f"{reason} (reverse order)")
    half = len(x) // 2
    others = generator("NET-5").standard_normal(x[half:].shape).astype(x.dtype)
    among = subject.network(np.concatenate((x[:half], others)), np.concatenate((t[:half], t[half:][::-1])))[:half]
    yield compare(among, outputs[:half], 2 * trial.bound[:half], where=place, reason=f"{reason} (others)")


@check(
    "NET-7",
    claim="Attention is x + out(softmax(q k / sqrt(d)) v), the softmax over the keys.",
    source="Vaswani et al. 2017, Eq. 1; " + APPENDIX_B,
    needs=NEEDS,
    level=2,
    kills=("M66", "N03", "N04"),
    tolerance=ROUNDING,
)
def attention_is_softmax_attention(subject: Subject) -> Iterator[Evidence]:
    """NET-7, on the images that show attention's mistakes best."""
    yield from confirmed(trial_of(subject), "NET-7")


@check(
    "NET-8",
    claim="The whole forward pass gives the numbers of a float64 network written apart: blocks, norms, resampling.",
    source=APPENDIX_B,
    needs=NEEDS,
    level=2,
    kills=("M64", "M66", "M68", *(f"N{number:02d}" for number in range(1, 21))),
    tolerance=ROUNDING,
)
def forward_pass_is_the_oracles(subject: Subject) -> Iterator[Evidence]:
    """NET-8: every output of the trial, with the known wrong network that explains a difference."""
    trial = trial_of(subject)
    yield compare(
        trial.outputs,
        trial.exact,
        trial.bound,
        where=trial.images.place,
        reason="the float64 oracle on the subject's weights; the network's own rounding is allowed",
        diagnosis=lambda: trial.explanation.sentence if trial.explanation else "",
    )
    yield from distinguishable(trial, "NET-8")


@check(
    "NET-9",
    claim="t enters as sin(t f) and cos(t f), f from 1 to 1/10000 in equal ratios; no two time steps look alike.",
    source="Vaswani et al. 2017, section 3.5; " + APPENDIX_B,
    needs=NEEDS,
    level=2,
    kills=("N07", "N08"),
    tolerance=ROUNDING + "; a phase t f is rounded relative to its own size",
)
def time_embedding_is_exact(subject: Subject) -> Iterator[Evidence]:
    """NET-9: against 50-digit sinusoids (or the subject's own table) over the whole range of t."""
    trial = time_trial_of(subject)
    if trial.truth.architecture.time_embedding == "learned":
        rows, steps = trial.truth.architecture.num_timesteps, subject.num_timesteps
        yield holds(rows >= steps, where="the table", reason=f"{rows} rows for {steps} time steps")
    yield from confirmed(trial, "NET-9")


@check(
    "NET-10",
    claim="The parameters are those of the configuration: every name, every shape, the exact count.",
    source=f"{APPENDIX_B}: 35.7 million parameters for CIFAR-10 (35 746 307), 114 million for 256x256 (113 673 219)",
    needs=("weights", "network_config"),
    level=0,
    kills=("N26", "N27"),
    tolerance="T0: integers; the count is arithmetic",
)
def parameters_are_exact(subject: Subject) -> Iterator[Evidence]:
    """NET-10. Also that they are finite numbers of one dtype."""
    config, weights = config_of(subject), subject.weights()
    shapes = parameter_shapes(config)
    strange = sorted(set(shapes) ^ set(weights))
    yield holds(
        not strange, where=", ".join(strange[:3]), reason="names of the layout that the weights lack or have too many"
    )
    misshapen = [name for name in shapes if name in weights and np.shape(weights[name]) != shapes[name]]
    yield holds(not misshapen, where=", ".join(misshapen[:3]), reason="shapes as the configuration has them")
    count = sum(int(np.size(value)) for value in weights.values())
    yield exactly(count, parameter_count(config), where="all parameters", reason="the count by arithmetic")
    yield exactly(len(weights), len(shapes), where="all parameters", reason="the number of tensors")
    dtype = network_dtype(subject)
    for name, value in weights.items():
        sound = np.isfinite(value).all() and value.dtype == dtype
        yield holds(bool(sound), where=name, reason=f"finite numbers of dtype {dtype}, as all the others")


def _details(check_id: str) -> Run:
    """A check whose whole business is a detail that the parameter count cannot see."""

    def detail_is_right(subject: Subject) -> Iterator[Evidence]:
        yield from confirmed(trial_of(subject), check_id)

    return detail_is_right


def _register(check_id: str, claim: str, source: str, kills: tuple[str, ...]) -> None:
    run = _details(check_id)
    run.__doc__ = claim
    check(check_id, claim=claim, source=source, needs=NEEDS, level=2, kills=kills, tolerance=ROUNDING)(run)


_register(
    "NET-11.padding",
    "3x3 convolutions pad with zeros; with stride 2 they pad on the right and below only.",
    f"{APPENDIX_B}; TensorFlow's SAME padding in the authors' code",
    ("N09", "N10", "N20"),
)
_register(
    "NET-11.norm_eps",
    "GroupNorm's epsilon is 1e-6, as black images show.",
    "Wu & He 2018, Eq. 2; the authors' code",
    ("N11", "N20"),
)
_register(
    "NET-11.sine_first",
    "The time embedding has its sines before its cosines.",
    "the authors' code, get_timestep_embedding",
    ("N05",),
)
_register(
    "NET-11.divisor",
    "The frequencies divide by half - 1, so that the last is 1/10000 exactly.",
    "the authors' code, get_timestep_embedding",
    ("N06",),
)
_register(
    "NET-11.head_scale",
    "Attention has the configured heads, each on its own run of channels, scaled by 1/sqrt(d).",
    "Vaswani et al. 2017, section 3.2; " + APPENDIX_B,
    ("N12", "N13"),
)


@check(
    "NET-11.zero_init",
    claim="An untrained network is zero: last layers of blocks, of attentions and of the whole, and all biases are 0.",
    source=f"{APPENDIX_B}; the authors' code, init_scale=0",
    needs=("initial_weights", "network_config"),
    level=0,
    kills=("N28", "N29"),
    tolerance="T0: zeros and ones are set, not computed",
)
def last_layers_start_at_zero(subject: Subject) -> Iterator[Evidence]:
    """NET-11: and every other kernel starts at something else than zero."""
    made: Any = subject  # the protocol leaves this method out; `needs` has seen that it is there
    weights = made.initial_weights()
    shapes = parameter_shapes(config_of(subject))
    yield holds(set(weights) == set(shapes), where="", reason="the names are those of the layout")
    for name, value in weights.items():
        start = _start(name)
        if start is None:
            yield holds(bool(np.all(np.any(value, axis=0))), where=name, reason="drawn at random, no channel zero")
        else:
            yield exactly(
                np.asarray(value, float), np.full(np.shape(value), start), where=name, reason=f"starts at {start}"
            )


def _start(name: str) -> float | None:
    """What a parameter is before training; None: random."""
    if name.endswith((".bias", ".beta", ".conv_2.weight", ".out.weight")) or name == "conv_out.weight":
        return 0.0
    return 1.0 if name.endswith(".gamma") else None
