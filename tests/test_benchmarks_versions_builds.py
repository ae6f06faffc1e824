"""What a build holds is asked of its interpreter, and one that does not answer is not taken to hold nothing new."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.builds import Outcome
from benchmarks.versions_builds import Contents, contents


class Interpreter:
    """Answers what it is told to hold."""

    def __init__(self, packages: Sequence[str], **libraries: str) -> None:
        self.answer = {"packages": packages, "libraries": {name.replace("__", "."): d for name, d in libraries.items()}}

    def __call__(self, command: Sequence[str], seconds: float) -> Outcome:
        return Outcome(0, "a warning\n" + json.dumps(self.answer))


PYTHON = Path("/opt/python")


def test_equal_packages_have_equal_digests_and_others_do_not() -> None:
    one, same = (contents(PYTHON, run=Interpreter(["numpy==1.26.4"])) for _ in range(2))
    other = contents(PYTHON, run=Interpreter(["numpy==1.26.3"]))
    assert one == same
    assert one.packages != other.packages
    assert one.packages is not None


def test_libraries_a_net_runs_through_are_kept_with_file_and_digest() -> None:
    run = Interpreter([], libdnnl__so__3="Rl2JrwvmZpAaXYZ", libnccl__so="x", libmindspore_ops__so="y")
    assert contents(PYTHON, run=run).libraries == {
        "libdnnl": "libdnnl.so.3 Rl2JrwvmZpAa", "libmindspore_ops": "libmindspore_ops.so y",
    }  # fmt: skip


def test_interpreter_that_does_not_answer_is_unknown() -> None:
    assert contents(PYTHON, run=lambda *_: Outcome(1, "SyntaxError")) == Contents(None, {})
    assert contents(PYTHON, run=lambda *_: Outcome(0, "")) == Contents(None, {})
    assert contents(Path("/nowhere/python")) == Contents(None, {})


def test_real_interpreter_answers() -> None:
    found = contents(Path(sys.executable))
    assert found.packages is not None
    assert "libdnnl" in found.libraries
