"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from benchmarks import formats


@pytest.mark.parametrize(
    ("value", "text"), [(0.563, "563 ms"), (1.65, "1.65 s"), (2.5e-5, "25.0 µs"), (3e-9, "3.00 ns"), (None, "n/a")]
)
def test_durations_carry_a_unit(value: float | None, text: str) -> None:
    assert formats.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.5, "1234"), (0.0123, "0.0123"), (1e9, "1.00e+09"), ("inf", "inf")]
)
def test_numbers_keep_three_digits(value: float | str, text: str) -> None:
    assert formats.number(value) == text


def test_negative_duration_is_its_opposite_with_a_sign() -> None:
    assert formats.seconds(-0.0475) == "-47.5 ms"
