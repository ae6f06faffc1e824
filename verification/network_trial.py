"""One subject's network beside the oracle: the same images through both, once, for all the checks that look at them.

The images are chosen so that every detail shows somewhere: noise at the ends and the middle of the time range, black
images (whose normalisations divide by the smallest variances, where epsilon counts), noise of small and large size,
and single bright pixels in corners and centre (whose responses show every padding).

When the outputs disagree with the oracle, `Trial.explanation` looks for the known wrong network, or two wrongs at
once, that they agree with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from verification.check import generator
from verification.guard import Guarded
from verification.network_layout import Architecture
from verification.network_rounding import Array
from verification.network_variants import Variant, applicable, combined, pairs
from verification.oracle_network import predict, predict_with_bound
from verification.protocol import Subject, dtype_of

BATCH = 16
"""Images of every forward batch but those of one image: one shape, so that graph mode compiles once."""

BLACK, BRIGHT = 10, (12, 13, 14)
"""Where the black image and those with one bright pixel stand in the batch; all at t = 0."""

SUSPECTS = (0, BLACK, BRIGHT[0])
"""Images on which pairs of wrongs are tried: noise, black, a bright corner. Hundreds of pairs have to be quick."""


@dataclass(frozen=True)
class Images:
    """A batch `x` (B, C, H, W) in the subject's dtype, its time steps `t` (B,), and what each image is."""

    x: Array
    t: Array
    names: tuple[str, ...]

    def place(self, index: tuple[int, ...]) -> str:
        """What stands at an index of the outputs."""
        return f"{self.names[index[0]]}, channel {index[1]}, pixel {index[2:]}"


@dataclass(frozen=True)
class Trial:
    """`outputs` of the network `config` and `weights` on `images`, beside the oracle's."""

    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    dtype: str
    images: Images
    outputs: Array
    _wrong: dict[Variant, Array] = field(default_factory=dict, repr=False)

    @cached_property
    def architecture(self) -> Architecture:
        """The configuration, read."""
        return Architecture.parse(self.config)

    @cached_property
    def _truth(self) -> tuple[Array, Array]:
        return predict_with_bound(self.config, self.weights, self.images.x, self.images.t, dtype=self.dtype)

    @property
    def exact(self) -> Array:
        """What the outputs should be, in float64."""
        return self._truth[0]

    @property
    def bound(self) -> Array:
        """How far from that rounding may take them: (B, 1, 1, 1)."""
        return self._truth[1]

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The known wrong networks that this architecture could be."""
        return applicable(self.architecture)

    def outputs_of(self, variant: Variant) -> Array:
        """What the outputs of a known wrong network would be."""
        if variant not in self._wrong:
            x, t = self.images.x, self.images.t
            self._wrong[variant] = predict(self.config, self.weights, x, t, details=variant.details)
        return self._wrong[variant]

    def clearest(self, variant: Variant) -> tuple[int, float]:
        """The image on which a variant differs most from the right network, and by how many bounds."""
        apart = np.abs(self.outputs_of(variant) - self.exact) / self.bound
        by_image = apart.max(axis=(1, 2, 3))
        return int(by_image.argmax()), float(by_image.max())

    @cached_property
    def explanation(self) -> Explanation | None:
        """The known wrong network that the outputs agree with, if the right one is not it."""
        if np.shape(self.outputs) != self.exact.shape or not np.isfinite(self.outputs).all():
            return None
        if np.all(np.abs(self.outputs - self.exact) <= self.bound):
            return None
        nearest = min(self.variants, key=lambda each: self._distance(self.outputs_of(each), slice(None)))
        return self._agreeing((nearest,), nearest.details) or self._explained_by_two()

    def _explained_by_two(self) -> Explanation | None:
        some = list(SUSPECTS)
        x, t = self.images.x[some], self.images.t[some]

        def distance(couple: tuple[Variant, Variant]) -> float:
            return self._distance(predict(self.config, self.weights, x, t, details=combined(*couple)), some)

        nearest = min(pairs(self.variants), key=distance)
        return self._agreeing(nearest, combined(*nearest))

    def _distance(self, candidate: Array, images: Any) -> float:
        """Largest difference to the subject's outputs, in bounds."""
        return float(np.max(np.abs(self.outputs[images] - candidate) / self.bound[images]))

    def _agreeing(self, variants: tuple[Variant, ...], details: Any) -> Explanation | None:
        """The explanation, if the outputs are within rounding of the network with these details."""
        x, t = self.images.x, self.images.t
        wrong, bound = predict_with_bound(self.config, self.weights, x, t, dtype=self.dtype, details=details)
        error = float(np.max(np.abs(self.outputs - wrong)))
        return Explanation(variants, wrong, bound, error) if np.all(np.abs(self.outputs - wrong) <= bound) else None


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


_TRIALS: WeakKeyDictionary[Any, dict[str, Trial]] = WeakKeyDictionary()


def trial_of(subject: Subject) -> Trial:
    """The subject's trial on `probe_images`, made at the first call and kept as long as the subject lives."""
    return _kept(subject, "probe", probe_images)


def time_trial_of(subject: Subject) -> Trial:
    """The same on `images_over_time`."""
    return _kept(subject, "time", images_over_time)


def _kept(subject: Subject, kind: str, make: Callable[[Subject, Architecture], Images]) -> Trial:
    trials = _TRIALS.setdefault(unguarded(subject), {})
    if kind not in trials:
        config, weights = config_of(subject), subject.weights()
        images = make(subject, Architecture.parse(config))
        trials[kind] = Trial(config, weights, dtype_of(subject), images, subject.network(images.x, images.t))
    return trials[kind]


def unguarded(subject: Subject) -> Any:
    """The subject itself: each run of the judge puts a new guard around it."""
    return subject._subject if isinstance(subject, Guarded) else subject


def config_of(subject: Subject) -> dict[str, Any]:
    """`network_config` as a dictionary, whether the subject has it as a mapping or as a dataclass."""
    config: Any = subject.network_config
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) else dict(config)


def probe_images(subject: Subject, architecture: Architecture) -> Images:
    """The images of the trial; see the module."""
    last = subject.num_timesteps - 1
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
    return Images(x.astype(numpy_type(subject)), t, names)


def images_over_time(subject: Subject, architecture: Architecture) -> Images:
    """One image of noise at time steps from 0 to T-1: both ends with their neighbours, and equal ratios between."""
    last = subject.num_timesteps - 1
    between = np.geomspace(3, max(last - 2, 3), BATCH - 5).astype(int)
    t = np.clip(np.array([0, 1, 2, *between, last - 1, last]), 0, last)
    noise = generator("NET-2").standard_normal((1, architecture.in_channels, *[architecture.image_size] * 2))
    x = np.repeat(noise, BATCH, axis=0)
    return Images(x.astype(numpy_type(subject)), t, tuple(f"noise at t={step}" for step in t))


def numpy_type(subject: Subject) -> Any:
    """The type images are handed over in: the subject's own, where NumPy has it."""
    return np.dtype(np.float32 if dtype_of(subject) == "bfloat16" else dtype_of(subject))
