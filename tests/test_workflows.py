"""The weekly matrix: tox.ini, workflow and command line mean the same releases, and the workflow may do little."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from ddpm_bench.cli_versions import versions

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="the source tree is not here")
SECTION = "testenv:ms{270,271,272,280,290,2100}"


@pytest.fixture
def workflow() -> str:
    return (ROOT / ".github" / "workflows" / "versions.yml").read_text()


@pytest.fixture
def tox() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read(ROOT / "tox.ini")
    return parsed


def releases(tox: configparser.ConfigParser) -> dict[str, str]:
    """Name of an environment to the MindSpore in it."""
    return dict(re.findall(r"(ms\d+): mindspore==(\S+)", tox[SECTION]["deps"]))


def test_environments_are_called_after_their_releases_and_run_the_gate(tox: configparser.ConfigParser) -> None:
    found = releases(tox)
    assert set(found) == {f"ms{digits}" for digits in SECTION.partition("{")[2].rstrip("}").split(",")}
    assert all(name == f"ms{release.replace('.', '')}" for name, release in found.items())
    assert tox[SECTION]["commands"].startswith("ddpm-bench verify --mode both")


def test_environments_of_the_matrix_are_not_among_the_usual_ones(tox: configparser.ConfigParser) -> None:
    assert not set(tox["tox"]["env_list"].split(", ")) & set(releases(tox))


def test_workflow_runs_every_environment_and_compares_every_release(
    workflow: str, tox: configparser.ConfigParser
) -> None:
    (matrix,) = re.findall(r"environment: \[(.*)\]", workflow)
    assert matrix.split(", ") == list(releases(tox))
    (compared,) = re.findall(r"ddpm-bench versions ([\d. ]+)", workflow)
    assert compared.split() == list(releases(tox).values())


def test_workflow_gives_options_that_exist(workflow: str) -> None:
    (command,) = re.findall(r"ddpm-bench versions .*\n.*", workflow)
    known = {name for option in versions.params for name in option.opts}
    assert set(re.findall(r"--[a-z]+", command)) <= known


def test_workflow_may_read_and_publish_pages_and_nothing_else(workflow: str) -> None:
    granted = re.findall(r"^ *(contents|pages|id-token|[a-z-]+): (read|write)$", workflow, re.MULTILINE)
    assert granted == [("contents", "read"), ("pages", "write"), ("id-token", "write")]
    assert "permissions:\n  contents: read\n" in workflow
    assert "pull_request" not in workflow
    assert workflow.count("actions/checkout@") == workflow.count("persist-credentials: false")


def test_actions_are_githubs_own_at_a_major_version(workflow: str) -> None:
    used = re.findall(r"uses: (\S+)", workflow)
    assert len(used) == workflow.count("uses:") > 5
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used), used


def test_workflow_runs_once_a_week(workflow: str) -> None:
    (when,) = re.findall(r'cron: "(.*)"', workflow)
    minute, hour, day, month, weekday = when.split()
    assert (day, month) == ("*", "*")
    assert all(part.isdigit() for part in (minute, hour, weekday))
