"""What a network's outputs should be on given images, and what those of each known wrong network would be.

All of it follows from the configuration, the weights and the images, and none of it from the subject's outputs. So it
is kept by content: subjects that share a network, such as one network in two modes, and the wrong subjects of a
self-test, share the work.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from verification.network_layout import Architecture
from verification.network_rounding import Array
from verification.network_variants import Variant, applicable, changes, together
from verification.oracle_network import predict, predict_with_bound

SHOWN = (0, 5, 9, 10, 12, 13)
"""The images on which wrong networks are computed: enough of them to show every mistake, few enough to be quick."""

SUSPECT = 11
"""The image, black at the last t, on which pairs of wrongs are tried: there are hundreds, and most show here."""

FREQUENCIES = {"frequency_divisor", "max_period"}
"""The details that say how fast the phases of the time embedding turn."""

KEPT = 16
"""Truths in memory at once."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Images:
    """A batch `x` (B, C, H, W) as the subject gets it, its time steps `t` (B,), and what each image is."""

    x: Array
    t: Array
    names: tuple[str, ...]

    def place(self, index: tuple[int, ...]) -> str:
        """What stands at an index of the outputs."""
        return f"{self.names[index[0]]}, channel {index[1]}, pixel {index[2:]}"


@dataclass(frozen=True)
class Truth:
    """The network of `config` and `weights`, computing in `dtype`, on `images`."""

    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    dtype: str
    images: Images
    _wrong: dict[Variant, Array] = field(default_factory=dict, repr=False)
    _wrong_by_two: dict[tuple[Variant, Variant], Array] = field(default_factory=dict, repr=False)

    @cached_property
    def architecture(self) -> Architecture:
        """The configuration, read."""
        return Architecture.parse(self.config)

    @cached_property
    def right(self) -> tuple[Array, Array]:
        """The outputs in float64, (B, C, H, W), and how far from them rounding may lead, (B, 1, 1, 1)."""
        return self.with_wrongs(())

    def with_wrongs(self, variants: tuple[Variant, ...]) -> tuple[Array, Array]:
        """The same of the network that is wrong in all these ways."""
        details = together(variants)
        x, t = self.images.x, self.images.t
        return predict_with_bound(self.config, self.weights, x, t, dtype=self.dtype, details=details)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The known wrong networks that this architecture could be.

        At t = 0 every phase is 0, so a process of one step has no wrong frequencies.
        """
        known = applicable(self.architecture)
        return known if self.images.t.any() else tuple(each for each in known if not changes(each).keys() & FREQUENCIES)

    def outputs_of(self, variant: Variant) -> Array:
        """What a known wrong network would make of the images `SHOWN`, in float64."""
        if variant not in self._wrong:
            shown = list(SHOWN)
            alone = variant.details.norm_over != "batch"  # else every image of the batch counts
            x, t = (self.images.x[shown], self.images.t[shown]) if alone else (self.images.x, self.images.t)
            outputs = predict(self.config, self.weights, x, t, details=variant.details)
            self._wrong[variant] = outputs if alone else outputs[shown]
        return self._wrong[variant]

    def outputs_of_two(self, couple: tuple[Variant, Variant]) -> Array:
        """What a network with both these wrongs would make of the image `SUSPECT`, in float64."""
        if couple not in self._wrong_by_two:
            x, t = self.images.x[SUSPECT : SUSPECT + 1], self.images.t[SUSPECT : SUSPECT + 1]
            self._wrong_by_two[couple] = predict(self.config, self.weights, x, t, details=together(couple))
        return self._wrong_by_two[couple]

    def distance(self, variant: Variant, outputs: Array) -> float:
        """How far a wrong network is from a subject's outputs, on the images `SHOWN`, in bounds of the right one."""
        return float(self._apart(self.outputs_of(variant), outputs).max())

    def clearest(self, variant: Variant) -> tuple[int, float]:
        """The image on which a variant differs most from the right network, and by how many bounds."""
        by_image = self._apart(self.outputs_of(variant), self.right[0])
        return SHOWN[int(by_image.argmax())], float(by_image.max())

    def _apart(self, shown: Array, outputs: Array) -> Array:
        some = list(SHOWN)
        return np.asarray((np.abs(shown - outputs[some]) / self.right[1][some]).max(axis=(1, 2, 3)))


_KEPT: OrderedDict[bytes, Any] = OrderedDict()


def kept(kind: str, config: Mapping[str, Any], arrays: Mapping[str, Array], make: Callable[[], Made]) -> Made:
    """What `make` makes, or has made before from the same configuration and arrays; `kind` tells makers apart."""
    digest = hashlib.sha256(f"{kind} {sorted(config.items())}".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    key = digest.digest()
    if key not in _KEPT:
        _KEPT[key] = make()
        while len(_KEPT) > KEPT:
            _KEPT.popitem(last=False)
    _KEPT.move_to_end(key)
    made: Made = _KEPT[key]
    return made


def truth_of(config: Mapping[str, Any], weights: Mapping[str, Array], dtype: str, images: Images) -> Truth:
    """The truth about this network and these images."""
    arrays = {**weights, "images x": images.x, "images t": images.t}
    return kept(f"truth in {dtype}", config, arrays, lambda: Truth(config, weights, dtype, images))
