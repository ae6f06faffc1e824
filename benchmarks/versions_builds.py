"""What a build is made of, found without running it: its packages, and the digests of MindSpore's shared libraries.

A wheel's RECORD holds the SHA-256 of every file that was installed, so the two gigabytes need not be read again; only a
file whose size or date says that it was edited since is. Two builds with equal `packages` measure the same thing, and
an interrupted sweep may go on in them; a wheel that was built anew under the same version has other files and is
another build. Of the libraries those are kept that a net on the CPU runs through: where
numbers or times changed, the library that changed is where to look (oneDNN's did from 2.8.0 to 2.9.0, and with it every
convolution).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from benchmarks.builds import Run, command_outcome

EDITED = "edited after installation"
"""What the entry about such files is called."""

SECONDS = 60.0
"""After so long an interpreter that is asked is given up; it takes a tenth of a second."""

ASK = """
import base64, hashlib, importlib.metadata as metadata, json
packages = sorted({f"{each.metadata['Name']}=={each.version}" for each in metadata.distributions()})
try:
    installed_files = metadata.files("mindspore") or ()
    files = [file for file in installed_files if file.hash]
    record = next(file for file in installed_files if file.name == "RECORD")
    installed = record.locate().stat().st_mtime
except (metadata.PackageNotFoundError, StopIteration, OSError):
    files, installed = [], 0.0

def digest(file):
    content = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")

edited = {}
for file in files:
    try:
        found = file.locate().stat()
        touched = found.st_size != file.size or found.st_mtime > installed + 60
        if touched and digest(file) != file.hash.value:
            edited[str(file)] = digest(file)
    except OSError:
        edited[str(file)] = "absent"
libraries = {file.name: file.hash.value for file in files if ".so" in file.name}
code = sorted(f"{file} {file.hash.value}" for file in files if ".so" in file.name or file.suffix == ".py")
code = hashlib.sha256("\\n".join(code).encode()).hexdigest()
print("\\n" + json.dumps({"packages": packages, "code": code, "libraries": libraries, "edited": edited}))
"""
"""What an interpreter is asked, without importing MindSpore. Only files that were touched since are read again."""

LIBRARIES = ("_c_expression", "libdnnl", "libmindspore_backend_common", "libmindspore_core", "libmindspore_frontend",
             "libmindspore_ops", "libmindspore_ops_cpu", "libmindspore_pyboost", "libmindspore_pynative")  # fmt: skip
"""Shared libraries by their names up to the first dot."""


@dataclass(frozen=True)
class Contents:
    """What an environment holds."""

    packages: str | None = None
    """digest of all packages with their versions, of MindSpore's code, and of edited files; None where the interpreter
    did not say"""
    libraries: dict[str, str] = field(default_factory=dict)
    """each of `LIBRARIES` that is there: its file's name and the first digits of its SHA-256 in base 64; and what was
    edited"""


def contents(python: Path, *, run: Run = command_outcome) -> Contents:
    """What the environment of the interpreter `python` holds; nothing where it cannot be asked."""
    outcome = run([str(python), "-c", ASK], SECONDS)
    try:
        answer = json.loads(outcome.output.strip().splitlines()[-1])
        packages, files, edited = list(answer["packages"]), dict(answer["libraries"]), dict(answer["edited"])
        code = str(answer["code"])
    except (IndexError, ValueError, KeyError, TypeError):  # it failed, or something else had the last word
        return Contents()
    known = {name.partition(".")[0]: f"{name} {digest[:12]}" for name, digest in sorted(files.items())}
    changed = [f"{name} {edited[name]}" for name in sorted(edited)]
    return Contents(
        sha256("\n".join(map(str, [*packages, code, *changed])).encode()).hexdigest(),
        {name: known[name] for name in LIBRARIES if name in known} | _told(changed),
    )


def _told(changed: Sequence[str]) -> dict[str, str]:
    """An entry for files that are no longer what was installed, the first by name."""
    if not changed:
        return {}
    name, _, digest = changed[0].partition(" ")
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return {EDITED: f"{name} {digest[:12]}{more}"}
