"""A sweep for build machines: a test a case, mode and step; worse fails, unknown is skipped, neither passes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
import sweeps

from benchmarks import announce_versions

PASSED, FAILED, SKIPPED = None, "failure", "skipped"


def suite(record: sweeps.Record) -> ET.Element:
    (found,) = ET.fromstring(announce_versions.junit(record))  # noqa: S314 - what we have just written
    return found


def status(test: ET.Element) -> str | None:
    return next((child.tag for child in test if child.tag != "properties"), None)


def one(speed: str, numbers: str) -> sweeps.Record:
    """A sweep with one step, made up to have these labels."""
    found = sweeps.sweep({label: sweeps.arm(label, {(sweeps.FORWARD, "graph"): 0.01}) for label in ("2.9.0", "2.10.0")})
    return {
        **found,
        "verdicts": [{**found["verdicts"][0], "label": speed, "why": "the speed's reason"}],
        "numbers": [{**found["numbers"][0], "label": numbers, "why": "the numbers' reason"}],
    }


@pytest.mark.parametrize(
    ("speed", "numbers", "expected", "kind"),
    [
        ("equivalent", "identical", PASSED, None),
        ("equivalent", "rounding", PASSED, None),
        ("faster", "identical", PASSED, "notice"),
        ("slower", "identical", FAILED, "error"),
        ("equivalent", "changed", FAILED, "error"),
        ("incomparable", "changed", FAILED, "error"),
        ("slower", "incomparable", FAILED, "error"),
        ("inconclusive", "identical", SKIPPED, "warning"),
        ("incomparable", "rounding", SKIPPED, "warning"),
        ("faster", "incomparable", SKIPPED, "warning"),
    ],
)
def test_step_is_the_worse_of_speed_and_numbers(
    speed: str, numbers: str, expected: str | None, kind: str | None
) -> None:
    record = one(speed, numbers)
    (test,) = suite(record)
    assert status(test) == expected
    lines = announce_versions.github(record)
    assert [line.split(" ", 1)[0] for line in lines] == ([f"::{kind}"] if kind else [])


def test_reason_is_that_of_what_failed() -> None:
    (test,) = suite(one("inconclusive", "changed"))
    assert test[1].get("message") == "outputs changed: the numbers' reason"
    (test,) = suite(one("slower", "changed"))
    assert "the speed's reason; outputs changed: the numbers' reason" in str(test[1].get("message"))
    (test,) = suite(one("inconclusive", "incomparable"))
    assert "inconclusive: the speed's reason; outputs incomparable" in str(test[1].get("message"))


def test_every_case_mode_and_step_is_a_test_of_its_own_name() -> None:
    found = suite(sweeps.eventful())
    names = [str(test.get("name")) for test in found]
    assert len(set(names)) == len(names) == 3 * 5 + 6  # and the DDPM under each build
    assert "unet_forward[digits,b64] (CPU, pynative): 2.8.0 to 2.9.0" in names
    counted = [found.get(key) for key in ("tests", "failures", "skipped", "errors")]
    assert counted == ["21", "8", "6", "0"]


def test_numbers_that_are_missing_are_skipped_and_not_passed() -> None:
    (test,) = suite({**one("equivalent", "identical"), "numbers": []})
    assert status(test) == SKIPPED


def test_ratio_and_ulps_are_properties_of_the_test() -> None:
    (test,) = suite(one("slower", "identical"))
    found = {p.get("name"): p.get("value") for p in test.iter("property")}
    assert found.keys() >= {"ratio", "interval", "outputs", "ulps"}
    assert (found["outputs"], found["ulps"]) == ("identical", "0")


def test_sweep_without_a_step_is_an_error() -> None:
    empty = {**one("equivalent", "identical"), "verdicts": []}
    assert suite(empty).get("errors") == "1"
    assert announce_versions.github(empty)[0].startswith("::warning title=ddpm-bench versions::nothing was compared")


def test_slower_operator_is_not_judged_and_does_not_fail() -> None:
    arms = sweeps.with_operators(("2.10.0", "2.11.0"), nets=1, operators=1)  # 10 % slower than the faster 2.10.0
    found = {str(test.get("name")).partition("[")[0]: test for test in suite(sweeps.sweep(arms))}
    assert status(found["conv3x3"]) == PASSED
    assert [p.get("value") for p in found["conv3x3"].iter("property") if p.get("name") == "label"] == ["inconclusive"]
    changed = suite(sweeps.sweep(arms, outputs={"2.11.0": sweeps.OUTPUT * 2}))
    assert {status(test) for test in changed} == {FAILED}
    assert not any("slower" in str(test[1].get("message")) for test in changed)
