"""One subject's network beside the truth: the same images through both, once, for all the checks that look at them.

The images are chosen so that every detail shows somewhere: noise at the ends and the middle of the time range, black
images (whose normalisations divide by the smallest variances, where epsilon counts), noise of small and large size,
and single bright pixels in corners and centre (whose responses show every padding).

When the outputs disagree with the truth, `Trial.explanation` looks for the known wrong network, or two wrongs at once,
that they agree with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from verification.affine import remembered
from verification.check import generator
from verification.network_layout import Architecture
from verification.network_rounding import Array
from verification.network_truth import SUSPECT, Images, Truth, truth_of
from verification.network_variants import Variant, pairs
from verification.protocol import Subject

BATCH = 16
"""Images of every forward batch but those of one image: one shape, so that graph mode compiles once."""

BLACK, BRIGHT = 10, (12, 13, 14)
"""Where the black image and those with one bright pixel stand in the batch; all at t = 0."""


@dataclass(frozen=True)
class Explanation:
    """A network wrong in these ways: its exact `outputs`, their `bound`, and how far the subject is from them."""

    variants: tuple[Variant, ...]
    outputs: Array
    bound: Array
    error: float

    @property
    def sentence(self) -> str:
        """For a finding's diagnosis."""
        wrongs = "; and ".join(variant.sentence for variant in self.variants)
        return f"the outputs equal, to {self.error:.1e}, those of a network in which {wrongs}"

    def concerns(self, check_id: str) -> bool:
        """Whether one of the wrongs is the business of this check."""
        return any(variant.check == check_id for variant in self.variants)


@dataclass(frozen=True)
class Trial:
    """The subject's `outputs` on the images of `truth`."""

    truth: Truth
    outputs: Array
    explained_by: Trial | None = None  # the trial on other images that has looked for the explanation

    @property
    def images(self) -> Images:
        """What went in."""
        return self.truth.images

    @property
    def exact(self) -> Array:
        """What should have come out, in float64."""
        return self.truth.right[0]

    @property
    def bound(self) -> Array:
        """How far from that rounding may lead: (B, 1, 1, 1)."""
        return self.truth.right[1]

    @cached_property
    def explanation(self) -> Explanation | None:
        """The known wrong network that the outputs agree with, if the right one is not it."""
        if np.shape(self.outputs) != self.exact.shape or not np.isfinite(self.outputs).all():
            return None
        if np.all(np.abs(self.outputs - self.exact) <= self.bound):
            return None
        if self.explained_by:
            found = self.explained_by.explanation
            return self._agreeing(found.variants) if found else None
        nearest = min(self.truth.variants, key=lambda each: self.truth.distance(each, self.outputs))
        return self._agreeing((nearest,)) or self._explained_by_two()

    def _explained_by_two(self) -> Explanation | None:
        def distance(couple: tuple[Variant, Variant]) -> float:
            return float(np.max(np.abs(self.outputs[SUSPECT] - self.truth.outputs_of_two(couple)[0])))

        nearest: tuple[Variant, Variant] = min(pairs(self.truth.variants), key=distance)
        return self._agreeing(nearest)

    def _agreeing(self, variants: tuple[Variant, ...]) -> Explanation | None:
        """The explanation by these wrongs together, if the outputs are within rounding of it."""
        wrong, bound = self.truth.with_wrongs(variants)
        error = np.abs(self.outputs - wrong)
        return Explanation(variants, wrong, bound, float(error.max())) if np.all(error <= bound) else None


def trial_of(subject: Subject) -> Trial:
    """The subject's trial on `probe_images`, made at the first call and kept as long as the subject lives."""
    return _trial(subject, "probe", probe_images, None)


def time_trial_of(subject: Subject) -> Trial:
    """The same on `images_over_time`."""
    return _trial(subject, "time", images_over_time, trial_of(subject))


def _trial(subject: Subject, kind: str, make: Callable[[Subject], Images], explained_by: Trial | None) -> Trial:
    def made() -> Trial:
        images = make(subject)
        truth = truth_of(config_of(subject), subject.weights(), network_dtype(subject).name, images)
        return Trial(truth, subject.network(images.x, images.t), explained_by)

    return remembered(subject, f"{kind} trial of the network", made)


def config_of(subject: Subject) -> dict[str, Any]:
    """`network_config` as a dictionary, whether the subject has it as a mapping or as a dataclass."""
    config: Any = subject.network_config
    return dict(config) if isinstance(config, Mapping) else dataclasses.asdict(config)


def network_dtype(subject: Subject) -> np.dtype[Any]:
    """The type the network computes in: that of its weights, which need not be the process's."""
    return next(iter(subject.weights().values())).dtype


def probe_images(subject: Subject) -> Images:
    """The images of the trial; see the module."""
    architecture, last = Architecture.parse(config_of(subject)), subject.num_timesteps - 1
    size, channels = architecture.image_size, architecture.in_channels
    x = generator("NET-8").standard_normal((BATCH, channels, size, size))
    x *= np.array([1] * 6 + [1e-3, 1e-2, 0.1, 10] + [0] * 6)[:, None, None, None]
    x[BRIGHT[0], :, 0, 0] = x[BRIGHT[1], :, -1, -1] = x[BRIGHT[2], :, size // 2, size // 2] = 4.0
    x[15] = 1.0
    t = np.array(
        [0, min(1, last), last // 10, last // 2, max(last - 1, 0), last, *[last // 2] * 3, 0, 0, last, *[0] * 4]
    )
    names = tuple(f"noise at t={step}" for step in t[:6])
    names += ("noise times 0.001", "noise times 0.01", "noise times 0.1", "noise times 10")
    names += ("a black image at t=0", f"a black image at t={last}")
    names += (
        "a bright pixel above left",
        "a bright pixel below right",
        "a bright pixel in the middle",
        "a white image",
    )
    return Images(x.astype(network_dtype(subject)), t, names)


def images_over_time(subject: Subject) -> Images:
    """One image of noise at time steps from 0 to T-1: both ends with their neighbours, and equal ratios between."""
    architecture, last = Architecture.parse(config_of(subject)), subject.num_timesteps - 1
    between = np.geomspace(3, max(last - 2, 3), BATCH - 5).astype(int)
    t = np.clip(np.array([0, 1, 2, *between, last - 1, last]), 0, last)
    noise = generator("NET-2").standard_normal((1, architecture.in_channels, *[architecture.image_size] * 2))
    x = np.repeat(noise, BATCH, axis=0).astype(network_dtype(subject))
    return Images(x, t, tuple(f"noise at t={step}" for step in t))
