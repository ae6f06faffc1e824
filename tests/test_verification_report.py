"""Records are strict JSON and well-formed XML whatever the numbers, and the exit code never calls nothing a success."""

from __future__ import annotations

import dataclasses
import json
import math
import xml.etree.ElementTree as ET
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verification.check import Finding, load_checks, run_checks, select
from verification.protocol import VerificationError
from verification.reference import ReferenceSubject
from verification.report import (
    exit_code,
    ratio_text,
    record,
    sentence,
    summary,
    write_json,
    write_junit,
)

PASSED = Finding("A-1", "passed", 0.2, 1.0, 0.2, "t=1", "two roundings", "", 7, "ddpm-bench verify", "ref", 0.5)


def finding(status: str, **changes: Any) -> Finding:
    return dataclasses.replace(PASSED, status=status, **changes)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 3),
        (["skipped", "skipped"], 3),
        (["passed"], 0),
        (["passed", "skipped", "known_failure"], 0),
        (["known_failure"], 0),
        (["passed", "failed"], 1),
        (["skipped", "error"], 1),
        (["passed", "unexpected_pass"], 1),
    ],
)
def test_exit_code_is_one_for_any_failure_and_three_for_nothing_tested(statuses: list[str], code: int) -> None:
    assert exit_code([finding(status) for status in statuses]) == code


def forbid_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_record_is_strict_json_with_every_field(tmp_path: Path) -> None:
    bad = finding("failed", observed=math.nan, allowed=np.float64(1e-7), ratio=math.inf, seed=np.int64(3))
    skipped = finding("skipped", observed=None, allowed=None, ratio=None)
    document = record([PASSED, bad, skipped], [ReferenceSubject()], tier="quick", environment={"load": math.nan})
    write_json(tmp_path / "verify.json", document)
    read = json.loads((tmp_path / "verify.json").read_text(), parse_constant=forbid_constant)
    assert (read["schema"], read["kind"], read["tier"]) == (1, "verify", "quick")
    assert set(read["findings"][0]) == {field.name for field in dataclasses.fields(Finding)}
    assert (read["findings"][1]["observed"], read["findings"][1]["ratio"]) == ("nan", "inf")
    assert read["findings"][2]["ratio"] is None
    assert read["subjects"][0]["num_timesteps"] == 1000
    assert read["created"].endswith("+00:00")


def test_environment_of_the_record_names_the_versions_that_matter() -> None:
    environment = record([], [], tier="quick")["environment"]
    assert set(environment) == {"python", "machine", "system", "numpy", "scipy", "mpmath", "mindspore"}


def test_real_run_makes_a_strict_record(tmp_path: Path) -> None:
    subject = ReferenceSubject(num_timesteps=20)
    document = record(run_checks(subject, select(only="FWD-*")), [subject], tier="quick")
    write_json(tmp_path / "verify.json", document)
    assert json.loads((tmp_path / "verify.json").read_text(), parse_constant=forbid_constant) == document


def test_junit_has_one_case_a_finding_and_survives_any_text(tmp_path: Path) -> None:
    nasty = 'a <b> & "c" ]]> \x00\x1b[31m \ud800 −'
    findings = [PASSED, finding("failed", reason=nasty), finding("skipped"), finding("error"), finding("known_failure")]
    findings.append(finding("unexpected_pass", where=nasty, subject=nasty))
    write_junit(tmp_path / "out" / "verify.xml", findings)
    suite = ET.parse(tmp_path / "out" / "verify.xml").getroot()[0]  # noqa: S314 - our own file
    assert len(suite.findall("testcase")) == 6
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "6",
        "2",
        "1",
        "2",
    )
    assert len(suite.findall("testcase/failure")) == 2
    assert 'a <b> & "c" ]]> [31m  −' in str(suite.findall("testcase/failure")[0].get("message"))


def test_junit_case_carries_the_claim_and_the_command(tmp_path: Path) -> None:
    id_ = select()[0].id
    write_junit(tmp_path / "verify.xml", [finding("failed", check=id_)])
    case = ET.parse(tmp_path / "verify.xml").getroot()[0][0]  # noqa: S314 - our own file
    assert case.get("name") == f"{id_} {select()[0].claim}"
    assert case[0].text == "ddpm-bench verify\n# seed of the random inputs: 7"


def published() -> dict[str, Any]:
    """The schema that the wheel carries."""
    text = resources.files("verification").joinpath("schemas/verify.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def test_published_schema_describes_what_is_written(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    subject = ReferenceSubject(num_timesteps=20)
    judged = [*run_checks(subject, select(only="[CN]*-[123]")), finding("error", observed=math.nan, ratio=math.inf)]
    judged += [finding("passed", check="A-2", observed=1e-5, ratio=1e-5)]
    write_json(tmp_path / "verify.json", record(judged, [subject], tier="quick"))
    written = json.loads((tmp_path / "verify.json").read_text())
    validator = jsonschema.Draft202012Validator(published())
    validator.check_schema(published())
    assert not list(validator.iter_errors(written))
    assert {found["status"] for found in written["findings"]} == {"passed", "skipped", "error"}
    assert {"check": "A-2", "ratio": 1e-5, "subjects": 1} in written["slack"]
    assert set(written["checks"]) == {each.check for each in judged} - {"A-1", "A-2"}


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 2},
        {"tier": "slow"},
        {"findings": [{"check": "A-1"}]},
        {"findings": [{**dataclasses.asdict(PASSED), "status": "fine"}]},
        {"findings": [{**dataclasses.asdict(PASSED), "ratio": "many"}]},
        {"created": "yesterday"},
    ],
)
def test_published_schema_refuses_what_is_not_written(damage: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(published())
    right = record([PASSED], [ReferenceSubject()], tier="quick")
    assert validator.is_valid(right)
    assert not validator.is_valid({**right, **damage})


def test_published_schema_names_every_field_of_a_finding() -> None:
    described = published()["$defs"]["finding"]
    assert set(described["required"]) <= {field.name for field in dataclasses.fields(Finding)}
    assert set(described["required"]) == set(described["properties"])


def test_sentence_is_one_line_whatever_the_subject_raised() -> None:
    assert sentence(finding("error", reason="raised ValueError: a\n  b")).endswith("raised ValueError: a b")


def test_large_share_of_the_bound_is_a_warning_in_words_only() -> None:
    assert "warn" not in ratio_text(PASSED)
    close = finding("passed", ratio=0.6, observed=0.6)
    assert "warn" in ratio_text(close)
    assert exit_code([close]) == 0


def test_largest_of_many_random_numbers_is_near_its_bound_without_a_warning() -> None:
    load_checks()
    assert "warn" not in ratio_text(finding("passed", check="FWD-5", ratio=0.6, observed=0.6))
    assert "warn" in ratio_text(finding("passed", check="FWD-1", ratio=0.6, observed=0.6))


def test_summary_counts_what_there_is() -> None:
    assert summary([]) == "no check"
    assert summary([PASSED, PASSED, finding("known_failure")]) == "2 passed, 1 known failure"


def test_place_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VerificationError, match="cannot be written"):
        write_json(tmp_path / "file" / "verify.json", {})


def test_failed_write_leaves_the_old_record_and_no_debris(tmp_path: Path) -> None:
    write_json(tmp_path / "verify.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "verify.json", {"a": math.nan})
    assert [path.name for path in tmp_path.iterdir()] == ["verify.json"]
    assert json.loads((tmp_path / "verify.json").read_text()) == {"a": 1}
