"""Checks of images as pixels: silent on correct subjects, exact about planted mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from judged import complaints, failure, judge

from verification.protocol import Array
from verification.reference import ReferenceSubject

ALL = ("TRN-3", "IMG-1")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_correct_subjects_pass(dtype: str) -> None:
    assert not complaints(ReferenceSubject(num_timesteps=2, dtype=dtype), *ALL)


def test_a_middle_that_rounds_down_passes() -> None:
    class RoundsHalfDown(ReferenceSubject):
        def to_uint8(self, x: Array) -> Array:
            return np.asarray(255 - super().to_uint8(-x), np.uint8)

    assert not complaints(RoundsHalfDown(num_timesteps=2), *ALL)


def test_subjects_without_images_are_skipped_with_the_reason() -> None:
    class NoImages(ReferenceSubject):
        to_uint8 = None  # type: ignore[assignment]  # a subject of somebody else's, without this method

    for found in judge(NoImages(num_timesteps=2), *ALL):
        assert found.status == "skipped"
        assert "to_uint8" in found.reason


class Truncates(ReferenceSubject):
    def to_uint8(self, x: Array) -> Array:
        return np.clip(np.asarray(x) * 127.5 + 127.5, 0, 255).astype(np.uint8)


class WrapsAround(ReferenceSubject):
    def to_uint8(self, x: Array) -> Array:
        return np.floor(np.asarray(x) * 127.5 + 128).clip(-1e6, 1e6).astype(np.int64).astype(np.uint8)


class SwallowsNaN(ReferenceSubject):
    def to_uint8(self, x: Array) -> Array:
        return super().to_uint8(np.nan_to_num(x))


class From128(ReferenceSubject):
    def from_uint8(self, u: Array) -> Array:
        return np.asarray(u / 128 - 1, self.dtype)


class NoRange(ReferenceSubject):
    def from_uint8(self, u: Array) -> Array:
        return np.asarray(u / 255, self.dtype)


@pytest.mark.parametrize(
    ("subject", "check", "where"),
    [
        (Truncates, "IMG-1", "of a level"),
        (WrapsAround, "IMG-1", "1"),
        (SwallowsNaN, "IMG-1", "NaN"),
        (From128, "TRN-3", "from_uint8"),
        (NoRange, "TRN-3", "from_uint8"),
    ],
)
def test_wrong_images_are_noticed(subject: type[ReferenceSubject], check: str, where: str) -> None:
    assert where in failure(subject(num_timesteps=2), check).where
