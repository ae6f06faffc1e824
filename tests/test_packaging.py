"""The wheel holds three packages, one script and nothing that was not meant to be there."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path, PurePosixPath

import pytest

DISTRIBUTION = importlib.metadata.distribution("ddpm-bench")


def installed() -> list[PurePosixPath]:
    """The files the wheel brought; an editable install has none of its own, so there is nothing to look at."""
    if Path(str(DISTRIBUTION.locate_file("pyproject.toml"))).exists() or editable():
        pytest.skip("not installed from a wheel: `tox -e pkg` looks at that")
    return [PurePosixPath(str(path)) for path in DISTRIBUTION.files or []]


def editable() -> bool:
    origin = json.loads(DISTRIBUTION.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


def test_wheel_brings_three_packages_and_no_other_name() -> None:
    tops = {name.parts[0] for name in installed() if not name.parts[0].endswith(".dist-info")}
    assert tops - {"..", "__pycache__"} == {"ddpm_bench", "verification", "benchmarks"}


def test_wheel_carries_no_main_module() -> None:
    assert not [name for name in installed() if name.name == "__main__.py"]


@pytest.mark.parametrize(
    "name",
    [
        "ddpm_bench/py.typed",
        "verification/py.typed",
        "benchmarks/py.typed",
        "verification/conftest.py",
        "verification/test_subject.py",
        "verification/data/digits.npy",
        "verification/schemas/verify.schema.json",
        "benchmarks/conftest.py",
        "benchmarks/templates/report.html",
        "benchmarks/templates/style.css",
        "benchmarks/templates/versions.html",
        "benchmarks/schemas/compare.schema.json",
        "benchmarks/schemas/versions.schema.json",
    ],
)
def test_wheel_carries_what_is_read_at_run_time(name: str) -> None:
    assert PurePosixPath(name) in installed()


def test_one_script_is_installed() -> None:
    scripts = [point.name for point in DISTRIBUTION.entry_points if point.group == "console_scripts"]
    assert scripts == ["ddpm-bench"]


def test_every_dependency_has_its_reason_beside_it() -> None:
    project = Path(__file__).parent.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("the source tree is not here")
    block = project.read_text().split("dependencies = [", 1)[1].split("\n]", 1)[0]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) > 10
    assert not [line for line in lines if "#" not in line]
