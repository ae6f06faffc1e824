"""Images as 8-bit pixels and back: x = u / 127.5 - 1, and the nearest pixel the other way.

Ho et al. 2020, section 3.3: pixels 0 … 255 scaled linearly to [-1, 1]. All 256 are tried, in one image of 16×16.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verification.check import Evidence, check
from verification.identification import as_input
from verification.oracle_likelihood import LEVELS
from verification.protocol import Subject, dtype_of
from verification.tolerance import compare, exactly, expect_raises, holds, unit_roundoff

PIXELS = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
NEAR = 0.4  # of a grey level: what is this far from a level still belongs to it


@check(
    "TRN-3",
    claim="Pixels 0 to 255 become numbers from -1 to 1 in equal steps, and come back as themselves, all 256.",
    source="Ho et al. 2020, section 3.3",
    needs=("to_uint8", "from_uint8"),
    level=1,
    kills=("M75",),
    tolerance="T1: two roundings of u / 127.5 and 1; T0 for the round trip.",
)
def data_range(subject: Subject) -> Iterator[Evidence]:
    """All grey levels there and back."""
    numbers = np.asarray(subject.from_uint8(PIXELS))
    yield compare(
        numbers.reshape(-1) if numbers.shape == PIXELS.shape else numbers,
        LEVELS,
        4 * unit_roundoff(dtype_of(subject)),
        where="from_uint8",
        labels=("pixel",),
        reason="u / 127.5 - 1",
        diagnosis=lambda: "divided by 256, not 255" if np.allclose(numbers.ravel(), PIXELS.ravel() / 128 - 1) else "",
    )
    back = np.asarray(subject.to_uint8(numbers))
    yield exactly(back, PIXELS, where="to_uint8(from_uint8(u))", reason="every pixel survives the round trip")


@check(
    "IMG-1",
    claim="Images go out as the nearest pixel: -1, 0, 1 as 0, 128 (or 127), 255; outside saturates; NaN is refused.",
    source="Ho et al. 2020, section 3.3; 0 lies between the pixels 127 and 128",
    needs=("to_uint8",),
    level=1,
    kills=("P13",),
    tolerance="T0: whole numbers.",
)
def images_out(subject: Subject) -> Iterator[Evidence]:
    """Ends, middle, numbers beside the levels and outside the range, and NaN; each an image of 16×16."""
    for shift in (-NEAR, NEAR):
        beside = np.clip(LEVELS + shift / 127.5, -1, 1).reshape(PIXELS.shape)
        found = np.asarray(subject.to_uint8(as_input(subject, beside)))
        yield exactly(
            found, PIXELS, where=f"{shift:+g} of a level", labels=("n", "c", "row", "column"), reason="nearest"
        )
    middle = int(np.asarray(subject.to_uint8(as_input(subject, np.zeros(PIXELS.shape)))).flat[0])
    yield holds(middle in (127, 128), where="0", reason=f"0 becomes {middle}; it lies between 127 and 128")
    for value, pixel in ((-1.0, 0), (1.0, 255), (-1.5, 0), (1.5, 255), (-100.0, 0), (100.0, 255), (np.inf, 255)):
        found = np.asarray(subject.to_uint8(as_input(subject, np.full(PIXELS.shape, value))))
        yield exactly(found, np.full_like(PIXELS, pixel), where=f"{value:g}", reason=f"becomes {pixel}")
    nan = as_input(subject, np.full(PIXELS.shape, np.nan))
    yield expect_raises(lambda: subject.to_uint8(nan), where="NaN")
