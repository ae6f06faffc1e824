"""Builds are made once, kept, repaired, and their failures are reasons; no network and no installation here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import builds
from benchmarks.builds import Outcome
from benchmarks.measurement import BenchmarkError


class Installer:
    """Stands for the commands: makes an interpreter's file where one is asked for, and answers what it holds."""

    def __init__(self, holds: str = "2.8.0", *, refuse: str | None = None, missing: Sequence[str] = ()) -> None:
        self.holds, self.refuse, self.missing = holds, refuse, list(missing)
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str], seconds: float) -> Outcome:
        self.commands.append(list(command))
        if "-c" in command:
            python = Path(command[0])
            if not python.exists() or python.read_text() == "broken":
                return Outcome(1, "SyntaxError: broken")
            found = {"mindspore": self.holds} if "mindspore" not in "".join(self.missing) else {}
            return Outcome(0, "a warning\n" + json.dumps({"found": found, "missing": self.missing}))
        if "install" in command:
            return Outcome(1, f"looking\nerror: {self.refuse}\n") if self.refuse else Outcome(0, "")
        python = Path(command[-1]) / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text("works")
        return Outcome(0, "")

    @property
    def installed(self) -> int:
        return sum("install" in command for command in self.commands)


def make(folder: Path, run: Installer, version: str = "2.8.0") -> builds.Build:
    return builds.made(version, folder, tell=lambda _: None, run=run)


def test_a_release_is_installed_once_and_kept(tmp_path: Path) -> None:
    run = Installer()
    first, second = make(tmp_path, run), make(tmp_path, run)
    assert first == second
    assert first.reason is None
    assert first.python is not None
    assert first.python.exists()
    assert run.installed == 1


@pytest.mark.parametrize("uv", ["/opt/bin/uv", None])
def test_bytecode_is_made_with_an_environment(uv: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By uv when told to, by pip without. Workers may write none, and would each compile what they import."""
    monkeypatch.setattr(builds.shutil, "which", lambda *_, **__: uv)
    run = Installer()
    make(tmp_path, run)
    (install,) = (command for command in run.commands if "install" in command)
    assert (install[0] == uv, "--compile-bytecode" in install) == ((True, True) if uv else (False, False))
    assert "--no-compile" not in install


@pytest.mark.parametrize("damage", ["marker", "interpreter"])
def test_an_interrupted_or_broken_environment_is_made_again(tmp_path: Path, damage: str) -> None:
    run = Installer()
    python = make(tmp_path, run).python
    assert python is not None
    if damage == "marker":
        (python.parent.parent / "complete.json").unlink()
    else:
        python.write_text("broken")
    again = make(tmp_path, run)
    assert again.reason is None
    assert run.installed == 2


def test_a_release_that_cannot_be_installed_is_a_reason_and_leaves_nothing(tmp_path: Path) -> None:
    build = make(tmp_path, Installer(refuse="there is no version of mindspore==2.8.0"))
    assert build.python is None
    assert build.reason == "cannot be installed: error: there is no version of mindspore==2.8.0"
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_an_environment_with_another_release_than_asked_for_is_refused(tmp_path: Path) -> None:
    assert make(tmp_path, Installer(holds="2.9.0")).reason == "holds MindSpore 2.9.0, not 2.8.0"


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    build = make(tmp_path, Installer(missing=["scipy (ModuleNotFoundError: No module named 'scipy')"]))
    assert build.reason is not None
    assert "scipy" in build.reason
    assert build.python is None


def test_something_that_is_no_version_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="'newest' is not a version"):
        make(tmp_path, Installer(), "newest")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchmarkError, match="cannot make an environment"):
        make(tmp_path / "file", Installer())


def test_requirements_are_the_projects_own_with_the_release_in_them() -> None:
    wanted = [Requirement(text) for text in builds.requirements("2.7.0")]
    assert [str(one.specifier) for one in wanted if one.name == "mindspore"] == ["==2.7.0"]
    assert {"numpy", "scipy", "pytest-benchmark"} <= {one.name for one in wanted}
    assert "torch" not in {one.name for one in wanted}


def test_versions_are_ordered_as_versions_and_not_as_text() -> None:
    assert builds.in_order(["2.10.0", "2.9.0", "2.7.1.post1", "2.7.1", "2.10.0"]) == [
        "2.7.1", "2.7.1.post1", "2.9.0", "2.10.0",
    ]  # fmt: skip


def test_a_named_interpreter_is_looked_at_and_not_changed(tmp_path: Path) -> None:
    run = Installer(holds="2.11.0.dev1")
    run(["venv", str(tmp_path / "mine")], 1)
    build = builds.named("nightly", tmp_path / "mine", run=run)
    assert (build.label, build.mindspore, build.reason) == ("nightly", "2.11.0.dev1", None)
    assert run.installed == 0


def test_a_named_interpreter_is_found_from_wherever_workers_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a link stays one: what it leads to does not know the environment's packages."""
    run = Installer(holds="2.11.0.dev1")
    run(["venv", str(tmp_path / "mine")], 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("mine")
    assert builds.named("nightly", Path("mine"), run=run).python == builds._python(tmp_path / "mine")
    assert builds.named("nightly", Path("link"), run=run).python == builds._python(tmp_path / "link")


def test_a_named_interpreter_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    assert "there is no interpreter" in str(builds.named("mine", tmp_path / "python").reason)


def test_a_real_interpreter_answers_with_what_it_lacks(tmp_path: Path) -> None:
    names = ["json", "no_such_module", "encodings.mbcs"]  # the last one is there, and fails but on Windows
    run = builds.command_outcome([sys.executable, "-S", "-I", "-c", builds.LOOK, *names], 60)
    assert run.code == 0
    answer = json.loads(run.output.strip().splitlines()[-1])
    absent, broken = answer["missing"]
    assert absent == "no_such_module"
    assert broken.startswith("encodings.mbcs (ImportError: cannot import name 'mbcs_encode'")


def test_a_command_that_takes_too_long_is_ended_and_said_so() -> None:
    late = builds.command_outcome([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)
    assert late.code is None
