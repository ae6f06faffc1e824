"""Verdicts as JUnit and as annotations: every label has its own, and no text can break out of its place."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import announce
from benchmarks.compare import LABELS
from benchmarks.measurement import BenchmarkError


def verdict(label: str, why: str = "+1 % … +9 % excludes 0", case: str = "unet_forward[digits,b64]") -> dict[str, Any]:
    number = None if label == "incomparable" else 1.05
    return {
        "case": case, "label": label, "ratio": number, "interval": number and [1.01, 1.09], "why": why,
        "params": {"device": "CPU", "mode": "graph", "tuning": "tuned"}, "minimum_detectable_effect": None,
        "processes_needed": 9,
    }  # fmt: skip


def comparison(*verdicts: dict[str, Any]) -> dict[str, Any]:
    return {"created": "2026-01-01T00:00:00+00:00", "verdicts": list(verdicts)}


def suite(*verdicts: dict[str, Any]) -> ET.Element:
    (found,) = ET.fromstring(announce.junit(comparison(*verdicts)))  # noqa: S314 - what we have just written
    return found


@pytest.mark.parametrize(
    ("label", "element"),
    [
        ("equivalent", None),
        ("faster", None),
        ("slower", "failure"),
        ("inconclusive", "skipped"),
        ("incomparable", "error"),
    ],
)
def test_every_label_has_its_own_status(label: str, element: str | None) -> None:
    (case,) = suite(verdict(label))
    assert [child.tag for child in case if child.tag != "properties"] == ([element] if element else [])
    if element:
        assert "excludes 0" in str(case.find(element).get("message"))  # type: ignore[union-attr]  # found above


def test_suite_counts_what_it_holds() -> None:
    found = suite(*map(verdict, LABELS))
    assert [found.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["5", "1", "1", "1"]
    assert len({case.get("name") for case in found}) == 1, "a test is called after its cell, not after its verdict"


def test_ratio_and_interval_are_properties_of_the_test() -> None:
    (case,) = suite(verdict("slower"))
    found = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert found == {"label": "slower", "ratio": "1.05", "interval": "[1.01, 1.09]", "processes_needed": "9"}


def test_nothing_compared_is_an_error() -> None:
    assert suite().get("errors") == "1"
    assert announce.github(comparison()) == [f"::warning title=ddpm-bench compare::{announce.NOTHING}"]


def test_text_that_xml_cannot_hold_or_would_take_for_markup_survives() -> None:
    (case,) = suite(verdict("slower", why='\x00\x1b[31m <a> & "b" \ud7ff'))
    assert '\ufffd\ufffd[31m <a> & "b" \ud7ff' in str(case.find("failure").get("message"))  # type: ignore[union-attr]  # it is there


@pytest.mark.parametrize(
    ("label", "kind"),
    [("slower", "error"), ("faster", "notice"), ("inconclusive", "warning"), ("incomparable", "warning")],
)
def test_annotation_is_of_the_labels_kind(label: str, kind: str) -> None:
    (line,) = announce.github(comparison(verdict(label)))
    assert line.startswith(f"::{kind} title={label}%3A unet_forward[digits%2Cb64] (CPU%2C graph%2C tuned)::")


def test_equivalent_cells_say_nothing() -> None:
    assert announce.github(comparison(verdict("equivalent"))) == []


def test_annotation_cannot_be_broken_out_of() -> None:
    """Line ends would begin a command of their own, and colons or commas end the title."""
    hostile = "50 %\n::error::x\r"
    (line,) = announce.github(comparison(verdict("slower", why=hostile, case=f"a::b,{hostile}")))
    assert "\n" not in line
    assert "\r" not in line
    title, message = line.removeprefix("::error title=").split("::", 1)
    assert title == "slower%3A a%3A%3Ab%2C50 %25%0A%3A%3Aerror%3A%3Ax%0D (CPU%2C graph%2C tuned)"
    assert message == "+5.00 %25, 50 %25%0A::error::x%0D"


def test_folder_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="cannot write"):
        announce.write_junit(tmp_path / "none" / "junit.xml", announce.junit(comparison()))
    announce.write_junit(tmp_path / "junit.xml", announce.junit(comparison(verdict("slower"))))
    assert (tmp_path / "junit.xml").read_text().startswith("<?xml")
