"""Steps in words and the sentence about the newest build: what is said is what the verdicts hold, and no more."""

from __future__ import annotations

from typing import Any

import pytest
import sweeps

from benchmarks.versions_words import change, headline, said


@pytest.mark.parametrize(
    ("ratio", "interval", "told"),
    [
        (1.12, (1.10, 1.14), "12 % slower (10 … 14)"),
        (0.88, (0.86, 0.90), "12 % faster (10 … 14)"),
        (1.0352, (1.02, 1.05), "3.5 % slower (2.0 … 5.0)"),
        (1.2, (1.195, 1.205), "20.0 % slower (19.5 … 20.5)"),
        (1.02, (0.99, 1.05), "2.0 % slower (-1.0 … 5.0)"),
        (99.2, (96.6, 102.0), "99.2 times as long (96.6 … 102)"),
        (0.01, (0.0098, 0.0103), "100 times as fast (97.1 … 102)"),
    ],
)
def test_step_is_said_as_a_person_would(ratio: float, interval: tuple[float, float], told: str) -> None:
    assert change(ratio, interval) == told


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("slower", "5.0 % slower (3.0 … 7.0)"),
        ("equivalent", "as fast (+3.0 … +7.0 %)"),
        ("inconclusive", "undecided (+3.0 … +7.0 %)"),
        ("incomparable", "not compared"),
    ],
)
def test_only_what_is_decided_has_a_size(label: str, told: str) -> None:
    assert said({"label": label, "ratio": 1.05, "interval": [1.03, 1.07]}) == told


def test_too_few_pairs_are_undecided_without_a_number() -> None:
    assert said({"label": "inconclusive", "ratio": None, "interval": None}) == "undecided"


def line(arms: dict[str, Any], **more: Any) -> str:
    return str(sweeps.sweep(arms, **more)["headline"])


def test_steady_build_is_as_fast_and_the_same_to_the_bit() -> None:
    assert line(sweeps.steady()) == (
        "MindSpore 2.10.0 is as fast as 2.9.0 in all 3 cases (within 3 %); every bit of its outputs is the same."
    )


def test_slower_build_is_named_with_its_worst_case() -> None:
    arms = {"2.9.0": sweeps.arm("2.9.0", sweeps.times()), "2.10.0": sweeps.arm("2.10.0", sweeps.times(0.072, 0.43))}
    told = line(arms, outputs={"2.10.0": sweeps.rounded()})
    assert told.startswith("MindSpore 2.10.0 is slower than 2.9.0 in 2 of 3 cases (most in ")
    assert "times as long" in told
    assert told.endswith("and as fast in 1; its outputs differ by rounding in 3.")


def test_sentence_is_about_the_newest_step_alone() -> None:
    arms = {"2.8.0": sweeps.arm("2.8.0", sweeps.times(0.01)), **sweeps.steady()}
    assert "as fast as 2.9.0 in all 3 cases" in line(arms)


def test_build_that_is_not_called_after_its_version_is_told_with_it() -> None:
    arms = {"2.9.0": sweeps.arm("2.9.0", sweeps.times()), "mine": sweeps.arm("mine", sweeps.times(), mindspore="2.11")}
    assert line(arms).startswith("mine (MindSpore 2.11) is as fast as 2.9.0")


def test_newest_build_that_could_not_be_used_comes_first() -> None:
    told = line(sweeps.steady(), broken={"2.11.0": "no such version"})
    assert told.startswith("MindSpore 2.11.0 could not be used. MindSpore 2.10.0 is as fast")


def test_invalid_number_is_never_called_as_fast() -> None:
    arms = {"2.9.0": sweeps.arm("2.9.0", sweeps.times()), "2.10.0": sweeps.arm("2.10.0", sweeps.times(step=None))}
    told = line(arms)
    assert "as fast as 2.9.0 in 2 of 3 cases and not compared in 1" in told
    assert "could not be compared in 1" in told


def test_single_operators_are_not_counted() -> None:
    told = line(sweeps.with_operators(("2.9.0", "2.10.0"), nets=1, operators=4))
    assert told == (
        "MindSpore 2.10.0 is as fast as 2.9.0 in all 2 cases (within 3 %); every bit of its outputs is the same."
    )


def test_outputs_of_single_operators_are_counted_by_themselves() -> None:
    record = sweeps.sweep(sweeps.with_operators(("2.9.0", "2.10.0"), nets=1, operators=4))
    nets = [entry for entry in record["numbers"] if entry["case"].startswith("unet_")]
    assert 0 < len(nets) < len(record["numbers"])
    for entry in nets[:1]:
        entry["label"] = "rounding"
    told = headline(record)
    operators = len(record["numbers"]) - len(nets)
    assert f"; its outputs differ by rounding in 1 and are the same to the bit in {len(nets) - 1}; " in told
    assert told.endswith(f"; those of {operators} single operators are the same to the bit in {operators}.")


def test_interval_that_says_nothing_is_not_shown() -> None:
    """Of two pairs Student's interval spans powers of ten."""
    wide = {"label": "inconclusive", "ratio": 1.2, "interval": [1e-3, 1e7]}
    assert said(wide) == "undecided"
    assert said({**wide, "interval": [0.8, 1.9]}) == "undecided (-20.0 … +90.0 %)"
