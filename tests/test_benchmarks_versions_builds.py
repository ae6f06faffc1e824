"""What a build holds is asked of its interpreter, and one that does not answer is not taken to hold nothing new."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import versions_builds
from benchmarks.builds import Outcome
from benchmarks.versions_builds import EDITED, Contents, contents


class Interpreter:
    """Answers what it is told to hold."""

    def __init__(self, packages: Sequence[str], **libraries: str) -> None:
        named = {name.replace("__", "."): digest for name, digest in libraries.items()}
        self.answer: dict[str, Any] = {"packages": packages, "code": "", "libraries": named, "edited": {}}

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


def test_edited_files_make_another_build_and_are_told() -> None:
    plain, edited, twice = (Interpreter(["mindspore==2.10.0"]) for _ in range(3))
    edited.answer["edited"] = {"mindspore/nn/layer/normalization.py": "Rl2JrwvmZpAaXYZ"}
    twice.answer["edited"] = {"mindspore/ops/a.py": "q", **edited.answer["edited"]}
    one, other, third = (contents(PYTHON, run=run) for run in (plain, edited, twice))
    assert len({one.packages, other.packages, third.packages}) == 3
    assert one.libraries == {}
    assert other.libraries == {EDITED: "mindspore/nn/layer/normalization.py Rl2JrwvmZpAa"}
    assert third.libraries[EDITED].endswith("normalization.py Rl2JrwvmZpAa and 1 more")


def test_edited_file_is_found_by_its_content_and_a_touched_one_is_not(tmp_path: Path) -> None:
    """A package called mindspore as an installer leaves it, with one file edited and one only touched since."""
    package, info = tmp_path / "mindspore", tmp_path / "mindspore-9.9.dist-info"
    for folder in (package, info):
        folder.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mindspore\nVersion: 9.9\n")
    rows = []
    for name in ("edited.py", "touched.py", "gone.py"):
        content = f"# {name}\n".encode()
        (package / name).write_bytes(content)
        digest = base64.urlsafe_b64encode(sha256(content).digest()).decode().rstrip("=")
        rows.append(f"mindspore/{name},sha256={digest},{len(content)}")
    (info / "RECORD").write_text("\n".join([*rows, "mindspore-9.9.dist-info/RECORD,,"]) + "\n")
    later = (info / "RECORD").stat().st_mtime + 3600
    (package / "edited.py").write_bytes(b"# EDITED.py\n"[: len(b"# edited.py\n")])
    for name in ("edited.py", "touched.py"):
        os.utime(package / name, (later, later))
    (package / "gone.py").unlink()
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); exec({versions_builds.ASK!r})"
    found = answered(program)
    assert set(found["edited"]) == {"mindspore/edited.py", "mindspore/gone.py"}
    assert found["edited"]["mindspore/gone.py"] == "absent"
    (info / "RECORD").write_text((info / "RECORD").read_text().replace("gone.py,sha256=", "gone.py,sha256=built-anew-"))
    assert answered(program)["code"] != found["code"]


def answered(program: str) -> Any:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_wheel_built_anew_under_the_same_version_is_another_build() -> None:
    one, other = (Interpreter(["mindspore==2.10.0"]) for _ in range(2))
    other.answer["code"] = "another digest"
    assert contents(PYTHON, run=one).packages != contents(PYTHON, run=other).packages


def test_interpreter_that_does_not_answer_is_unknown() -> None:
    assert contents(PYTHON, run=lambda *_: Outcome(1, "SyntaxError")) == Contents(None, {})
    assert contents(PYTHON, run=lambda *_: Outcome(0, "")) == Contents(None, {})
    assert contents(Path("/nowhere/python")) == Contents(None, {})


def test_real_interpreter_answers() -> None:
    found = contents(Path(sys.executable))
    assert found.packages is not None
    assert "libdnnl" in found.libraries
