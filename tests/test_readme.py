"""README shows nothing that does not work: its Python runs, its commands exist, its links and pictures are there."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ddpm_bench.cli import cli

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = sorted([README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])

pytestmark = pytest.mark.skipif(not README.exists(), reason="the source tree is not here")


def blocks(text: str) -> list[list[str]]:
    """The lines of every fenced block without a language, which is how commands are shown."""
    found: list[list[str]] = []
    fence: str | None = None
    for line in text.splitlines():
        if fence is not None and line == "```":
            fence = None
        elif fence is None and line.startswith("```"):
            fence = line
            found.append([])
        elif fence == "```":
            found[-1].append(line)
    return found


def commands(text: str) -> list[str]:
    """Every line of such a block that calls ddpm-bench."""
    lines = [line.removeprefix(".venv/bin/") for block in blocks(text) for line in block]
    return [line for line in lines if line.startswith("ddpm-bench ")]


def all_commands() -> list[str]:
    return list(dict.fromkeys(line for path in DOCUMENTS for line in commands(path.read_text())))


def test_there_are_commands_to_try() -> None:
    assert len(all_commands()) > 8


@pytest.mark.parametrize("line", all_commands())
def test_every_command_shown_is_accepted(line: str) -> None:
    """Parsed by the command line itself, up to the point where the verb would run."""
    program, verb, *arguments = shlex.split(line, comments=True)
    assert program == "ddpm-bench"
    command = cli.commands[verb]
    context = click.Context(cli, info_name="ddpm-bench")
    command.make_context(verb, arguments, parent=context)


def test_a_command_with_a_wrong_option_would_be_noticed() -> None:
    (line,) = commands("```\nddpm-bench verify --moed both\n```\n")
    with pytest.raises(click.NoSuchOption):
        test_every_command_shown_is_accepted(line)


def test_python_examples_print_what_is_shown() -> None:
    result = doctest.testfile(str(README), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_are_there(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_names_in_the_where_is_table_exist() -> None:
    text = README.read_text()
    for name, file in re.findall(r"`(?:\w+\.)?(\w+)` (?:and neighbours )?in \[`([\w/]+\.py)`\]", text):
        assert re.search(rf"(def|class) {name}\b", (ROOT / file).read_text()), f"{name} in {file}"


SECONDS_TO_LIST = 60


@pytest.mark.parametrize("verb", ["verify", "bench"])
def test_lists_print_without_mindspore(verb: str) -> None:
    """In a process where MindSpore cannot be imported, as on a laptop that only reads reports."""
    code = f"import sys; sys.modules['mindspore'] = None; from ddpm_bench.cli import main; main(['{verb}', '--list'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=SECONDS_TO_LIST
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5
