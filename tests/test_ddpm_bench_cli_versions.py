"""The verb `versions`: what a person can get wrong is one sentence, and what comes of it lies in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import builds, versions
from benchmarks.builds import Build
from ddpm_bench.cli import run_command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name at least two builds"),
        (["2.7.0"], "name at least two builds"),
        (["newest", "2.7.0"], "'newest' is not a version"),
        (["2.7.0", "--python", "/usr/bin/python3"], "--python /usr/bin/python3: give a name and an interpreter"),
        (["2.7.0", "2.8.0", "--pairs", "1"], "--pairs"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["versions", *arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_no_matching_case_is_nothing_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["versions", "2.7.0", "2.8.0", "--only", "nothing*"]) == 3
    assert "no case matches" in capsys.readouterr().err


def test_record_and_text_lie_in_the_folder_and_the_code_is_the_sweeps(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def sweep(found: list[Build], question: Any, **_: Any) -> dict[str, Any]:
        asked.append((found, question))
        return {
            "created": "now", "effect": 0.03, "arms": {}, "builds": [], "verdicts": [], "numbers": [],
            "notes": ["a note"],
        }  # fmt: skip

    monkeypatch.setattr(builds, "made", lambda label, *_, **__: Build(label, Path("/opt") / label, label))
    monkeypatch.setattr(builds, "named", lambda label, path: Build(label, path))
    monkeypatch.setattr(versions, "sweep", sweep)
    monkeypatch.setattr(versions, "exit_code", lambda _: 1)
    given = ["versions", "2.10.0", "2.9.0", "--python", "mine=/opt/mine", "--mode", "graph", "--pairs", "9"]
    assert run_command(given) == 1
    found, question = asked[0]
    assert [build.label for build in found] == ["2.9.0", "2.10.0", "mine"]
    assert {mode for _, mode in question.picks} == {"graph"}
    assert question.pairs == 9
    assert json.loads((folder / "versions" / "versions.json").read_text())["notes"] == ["a note"]
    text = (folder / "versions" / "versions.md").read_text()
    assert "ddpm-bench versions 2.10.0 2.9.0 --only" in text
    assert text in capsys.readouterr().out
