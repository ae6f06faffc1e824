"""Properties find small counterexamples, the same every time, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies
from hypothesis.configuration import storage_directory

from verification.check import Evidence
from verification.properties import hold_for_all
from verification.randomness import using

NUMBERS = strategies.integers(0, 10_000)


def below(limit: int) -> list[int]:
    """The examples seen while claiming that all numbers are at most `limit`."""
    seen: list[int] = []

    def claim(number: int) -> Evidence:
        seen.append(number)
        return Evidence(float(number), float(limit), f"number {number}", "")

    below.evidence = hold_for_all(NUMBERS, claim, examples=50)  # type: ignore[attr-defined]  # handed to the test
    return seen


def test_smallest_counterexample_is_reported() -> None:
    below(100)
    found = below.evidence  # type: ignore[attr-defined]  # see above
    assert (found.passed, found.where) == (False, "number 101")
    assert found.reason.startswith("smallest example 101")


def test_worst_example_is_reported_of_a_claim_that_holds() -> None:
    seen = below(10_000)
    found = below.evidence  # type: ignore[attr-defined]  # see above
    assert found.passed
    assert found.observed == max(seen)


def test_examples_are_the_same_every_time() -> None:
    assert below(10_000) == below(10_000)
    assert len(set(below(10_000))) > 10


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = storage_directory(intent_to_write=False)
    below(10_000)
    assert not list(tmp_path.iterdir())
    after = storage_directory(intent_to_write=False)
    assert getattr(after, "path", after) == getattr(before, "path", before)


def test_nightly_profile_tries_many_more_examples_which_follow_from_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with using(1, "nightly"):
        first, again = below(10_000), below(10_000)
    with using(2, "nightly"):
        other = below(10_000)
    assert first == again != other
    assert len(first) > 5 * len(below(10_000))


def test_nightly_profile_keeps_what_failed_and_tries_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found under one seed, tried at once under another; and in the gate's profile nothing of this is seen."""
    monkeypatch.chdir(tmp_path)
    with using(1, "nightly"):
        below(100)
    kept = list((tmp_path / ".hypothesis" / "examples").rglob("*"))
    assert kept
    with using(2, "nightly"):
        assert 101 in below(100)[:3]
    assert below(100)[0] != 101
    assert list((tmp_path / ".hypothesis" / "examples").rglob("*")) != [], "and nothing is thrown away"


def test_exception_of_the_claim_passes_through() -> None:
    def claim(number: int) -> Evidence:
        raise KeyError(number)

    with pytest.raises(KeyError):
        hold_for_all(NUMBERS, claim, examples=5)
