"""The verb `versions`: what a person can get wrong is one sentence, and what comes of it lies in the folder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import sweeps

from benchmarks import builds, looks, versions
from benchmarks.builds import Build
from ddpm_bench import cli_versions
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
        (["2.7.0", "2.7.0"], "name at least two builds"),
        (["newest", "2.7.0"], "'newest' is not a version"),
        (["2.7.0", "--python", "/usr/bin/python3"], "--python /usr/bin/python3: give a name and an interpreter"),
        (["2.7.0", "2.8.0", "--pairs", "6"], "--pairs"),
        (["2.7.0", "2.8.0", "--pairs", "28"], "--pairs"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["versions", *arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_nothing_is_installed_for_an_interpreter_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def make(label: str, *_: object, **__: object) -> Build:
        made.append(label)
        return Build(label, None, reason="not tried")

    monkeypatch.setattr(builds, "made", make)
    assert run_command(["versions", "2.8.0", "--python", "twin=nowhere/python"]) == 2
    told = "a comparison needs two builds, and twin (there is no interpreter nowhere/python) cannot be used"
    assert told in " ".join(capsys.readouterr().err.split())
    assert made == []
    assert run_command(["versions", "2.8.0", "2.9.0", "--python", "twin=nowhere/python"]) == 2
    assert sorted(made) == ["2.8.0", "2.9.0"]
    assert "0 of 3 builds can be used" in capsys.readouterr().err


def test_no_matching_case_is_nothing_to_compare(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for pattern, named in (("unet_forward nothing*", "'nothing*'"), (" ", "' '")):
        assert run_command(["versions", "2.7.0", "2.8.0", "--only", pattern]) == 3
        assert f"no case matches {named}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_wrong_command_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in (["2.8.0"], ["2.8.0", "--python", "twin"], ["2.8.0", "--python", "twin=nowhere/python"], ["2.8", "x"]):
        assert run_command(["versions", *wrong]) == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the sweep was asked, which then finds what `sweeps.eventful` makes up: a build that is slower."""
    seen: list[Any] = []

    def sweep(found: list[Build], question: Any, **more: Any) -> dict[str, Any]:
        seen.append((found, question, more["keeping"]))
        return {key: value for key, value in EVENTFUL.items() if key != "command"}

    monkeypatch.setattr(builds, "made", lambda label, *_, **__: Build(label, Path("/opt") / label, label))
    monkeypatch.setattr(builds, "named", lambda label, path: Build(label, path))
    monkeypatch.setattr(versions, "sweep", sweep)
    return seen


EVENTFUL = sweeps.eventful()


def test_record_page_and_text_lie_in_the_folder_and_the_code_is_the_sweeps(
    folder: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["versions", "2.10.0", "2.9.0", "--python", "mine=/opt/mine", "--mode", "graph", "--pairs", "9"]
    assert run_command(given) == 1
    found, question, keeping = asked[0]
    assert [build.label for build in found] == ["2.9.0", "2.10.0", "mine"]
    assert {mode for _, mode in question.picks} == {"graph"}
    assert question.pairs == 9
    assert (keeping.store, keeping.again) == (Path("versions/store"), False)
    record = json.loads((folder / "versions" / "versions.json").read_text())
    assert record["headline"] == EVENTFUL["headline"]
    text = (folder / "versions" / "versions.md").read_text()
    assert text in capsys.readouterr().out
    page = (folder / "versions" / "versions.html").read_text()
    assert page.startswith("<!doctype html>")
    for written in (record["command"], text, page):
        assert "ddpm-bench versions 2.10.0 2.9.0 --python=mine=PATH --mode graph --effect 0.03 --pairs 9" in written
        assert "/opt/mine" not in written


def test_cases_are_few_unless_others_are_asked_for() -> None:
    both = ("graph", "pynative")
    forward, step = "unet_forward[digits,b64]", "training_step[digits,b64]"
    usual = [(case.id, mode) for case, mode in cli_versions.picked(None, both, layers=False)]
    assert usual == [(forward, "graph"), (forward, "pynative"), (step, "graph")]
    assert [(c.id, m) for c, m in cli_versions.picked(None, ("pynative",), layers=False)] == [(forward, "pynative")]
    whole, parts = (cli_versions.picked(None, both, layers=layers) for layers in (False, True))
    assert parts[: len(whole)] == whole
    assert {(case.small, mode) for case, mode in parts[len(whole) :]} == {(True, "graph")}
    named = cli_versions.picked("training_step[digits,*]", both, layers=True)
    assert [(case.id, mode) for case, mode in named] == [(step, mode) for mode in both]
    assert cli_versions.picked("nothing*", both, layers=True) == ()


def test_store_can_be_elsewhere_and_begun_anew(asked: list[Any]) -> None:
    run_command(["versions", "2.9.0", "2.10.0", "--history", "kept", "--again", "--budget", "60"])
    _, question, keeping = asked[0]
    assert (keeping.store, keeping.again, question.budget) == (Path("kept"), True, 60)


def test_rows_of_workers_are_those_of_the_first_look_unless_more_are_asked_for(asked: list[Any]) -> None:
    run_command(["versions", "2.9.0", "2.10.0"])
    run_command(["versions", "2.9.0", "2.10.0", "--until-decided"])
    assert [question.pairs for _, question, _ in asked] == [versions.PAIRS, looks.LOOKS[-1]] == [8, 27]
    record = json.loads(Path("versions/versions.json").read_text())
    assert "--pairs 27" in record["command"]


def test_build_machines_get_junit_and_annotations(
    folder: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["versions", "2.9.0", "2.10.0", "--junit", "ci/junit.xml", "--github"]) == 1
    assert 'failures="8"' in (folder / "ci" / "junit.xml").read_text()
    assert "\n::error title=unet_forward" in capsys.readouterr().out


def test_reproducing_command_is_one_that_is_understood(asked: list[Any]) -> None:
    run_command(["versions", "2.9.0", "2.10.0", "--effect", "0.05", "--only", "unet_forward[digits,*]"])
    record = json.loads(Path("versions/versions.json").read_text())
    assert run_command(shlex.split(record["command"])[1:]) == 1
    assert asked[0][:2] == asked[1][:2]
