"""The guide shows nothing that does not work: its files are written, its commands run, what it shows is printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import verification

DOCS = Path(__file__).parent.parent / "docs"
GUIDE = DOCS / "judge-your-own.md"
MARKED = re.compile(r"^<!-- (file|run|shows)(?:: ([^\n]+))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="the source tree is not here")


@dataclass(frozen=True)
class Step:
    """A marked block of the guide: its `kind`, what the mark says after the colon, and its text."""

    kind: str
    argument: str
    text: str


def steps() -> list[Step]:
    return [Step(kind, argument, text) for kind, argument, text in MARKED.findall(GUIDE.read_text())]


def run(line: str, folder: Path, code: int) -> str:
    """What the command says on both streams; it must end with `code`."""
    program, *arguments = shlex.split(line)
    command = {
        "ddpm-bench": [sys.executable, "-c", "from ddpm_bench.cli import main; main()"],
        "pytest": [sys.executable, "-B", "-c", "import pytest, sys; sys.exit(pytest.main())", "-p", "no:cacheprovider"],
    }[program]
    room = str(Path(verification.__path__[0]).parent)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder, env={**clean, "PYTHONPATH": room}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{line} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_guide_works_from_top_to_bottom(tmp_path: Path) -> None:
    """In a folder that holds a copy of the template, as the guide asks for."""
    shutil.copy(DOCS / "subject_template.py", tmp_path)
    said = ""
    for step in steps():
        if step.kind == "file":
            (tmp_path / step.argument).write_text(step.text)
        elif step.kind == "run":
            said = "".join(run(line, tmp_path, int(step.argument)) for line in step.text.splitlines())
        else:
            for line in step.text.splitlines():
                assert line in said, f"{line!r} is not in what was printed:\n{said}"


def test_guide_has_blocks_of_every_kind_and_marks_every_command() -> None:
    assert {step.kind for step in steps()} == {"file", "run", "shows"}
    unmarked = MARKED.sub("", GUIDE.read_text())
    assert not re.findall(r"^(?:ddpm-bench|pytest) ", unmarked, re.MULTILINE)


def test_mark_that_is_misspelt_would_be_noticed() -> None:
    text = GUIDE.read_text()
    assert len(re.findall(r"^<!--", text, re.MULTILINE)) == len(steps())


def test_template_has_a_place_for_ones_own_in_each_toy() -> None:
    text = (DOCS / "subject_template.py").read_text()
    assert text.count("PUT YOUR OWN HERE") == 2
    assert "import torch\n" not in text.replace("`import torch`", "")


def test_judge_needs_only_what_the_guide_says(tmp_path: Path) -> None:
    """With everything else that the wheel asks for made impossible to import."""
    absent = "mindspore sklearn mlxtend safetensors pytest_benchmark filelock platformdirs"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent.split()!r})); from ddpm_bench.cli import main; main()"
    shutil.copy(DOCS / "subject_template.py", tmp_path)
    for arguments in (
        ["verify", "--subject", "subject_template:MySubject", "--only", "FWD-*", "--json", "verify.json"],
        ["report", "verify.json"],
    ):
        room = str(Path(verification.__path__[0]).parent)
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": room}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
