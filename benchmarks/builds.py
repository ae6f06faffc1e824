"""One interpreter for every MindSpore to be compared: made once, kept, looked at before use, made again when broken.

A build is an environment of its own with one MindSpore and whatever else ddpm-bench asks for. The code that is timed is
not part of it: workers find it by PYTHONPATH, so all builds run the same. The folder of builds holds

    mindspore-2.7.0-cp311-1f6d0c2a/                the environment; the digits are of what it was asked to hold
    mindspore-2.7.0-cp311-1f6d0c2a/complete.json   written last: an environment without it was interrupted
    mindspore-2.7.0-cp311-1f6d0c2a.lock            held by whoever makes, looks at or removes it

uv makes an environment in seconds; where it is absent venv and pip do the same. Which versions exist is for the package
index to say: one that cannot be installed, or does not run, is a build with a reason, and the others go on.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import filelock
from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from benchmarks import errand
from benchmarks.measurement import BenchmarkError

INSTALL_SECONDS = 1800.0
"""After so long an installation is given up: 2.5 GB over a slow line take a quarter of an hour."""

LOOK_SECONDS = 120.0
"""After so long an interpreter that is asked for its versions counts as broken: importing takes 2 to 4 s."""

LOCK_SECONDS = INSTALL_SECONDS + LOOK_SECONDS
"""How long to wait for somebody who is making the same build."""

LOOK = """
import importlib, json, sys
found, missing = {}, []
for name in sys.argv[1:]:
    try:
        found[name] = str(getattr(importlib.import_module(name), "__version__", ""))
    except Exception as error:
        why = f" ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        absent = isinstance(error, ModuleNotFoundError) and error.name == name
        missing.append(name + ("" if absent else why))
if "mindspore" in found and "numpy" in found:  # a build against another NumPy imports and dies at the first tensor
    sys.modules["mindspore"].Tensor(sys.modules["numpy"].ones(1)) + 1
print("\\n" + json.dumps({"found": found, "missing": missing}))
"""
"""What an interpreter is asked: the versions of modules, by importing them, and one sum: only use tells if it works."""

MODULES = ("mindspore", "numpy", "scipy", "mpmath", "hypothesis", "psutil", "pytest", "pytest_benchmark", "filelock",
           "click", "rich", "platformdirs", "safetensors", "PIL")  # fmt: skip
"""What clock and judge import in a build."""

Tell = Callable[[str], None]
Run = Callable[[Sequence[str], float], "Outcome"]


@dataclass(frozen=True)
class Build:
    """A MindSpore to measure, or why it cannot be."""

    label: str
    """the version, or what the user calls it"""
    python: Path | None
    """its interpreter; None if there is none that works"""
    mindspore: str | None = None
    """the version it says it has"""
    reason: str | None = None
    """why it cannot be used; None if it can"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int | None
    """None when it was ended because its time was up"""
    output: str
    """standard output and standard error, in the order they came"""


def command_outcome(command: Sequence[str], seconds: float) -> Outcome:
    """Run `command` for at most `seconds`, without input, and return how it ended."""
    environment = {**os.environ, "PYTHONNOUSERSITE": "1"}
    try:
        done = errand.run(command, environment=environment, seconds=seconds, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as late:
        return Outcome(None, (late.stdout or b"").decode(errors="replace"))
    except OSError as error:
        return Outcome(127, f"{command[0]}: {error.strerror}")
    return Outcome(done.returncode, done.stdout)


def requirements(mindspore: str) -> list[str]:
    """What ddpm-bench needs, with `mindspore` at exactly that version. Raises `BenchmarkError` for no version."""
    in_order([mindspore])
    asked = map(Requirement, importlib.metadata.requires("ddpm-bench") or ())
    needed = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    return sorted([f"mindspore=={mindspore}", *(str(one) for one in needed if one.name != "mindspore")])


def in_order(versions: Iterable[str]) -> list[str]:
    """`versions` from the oldest to the newest, each once. Raises `BenchmarkError` for what is none."""
    return sorted(dict.fromkeys(versions), key=_version)


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise BenchmarkError(
            f"{text!r} is not a version: give releases such as 2.10.0, or an interpreter with --python LABEL=PATH"
        ) from None


def made(mindspore: str, folder: Path, *, tell: Tell, run: Run = command_outcome) -> Build:
    """The build of a MindSpore release in `folder`: the one that is there if it works, or else a new one.

    `tell` gets a sentence before what takes time. Raises `BenchmarkError` when `mindspore` is no version, when `folder`
    cannot be written, or when another process has been making the same build for half an hour.
    """
    wanted = requirements(mindspore)
    place = folder / _name(mindspore, wanted)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{place}.lock", timeout=LOCK_SECONDS):
            return _kept(mindspore, place, run) or _new(mindspore, place, wanted, tell, run)
    except filelock.Timeout:
        raise BenchmarkError(
            f"another process has been making {place} for {LOCK_SECONDS / 60:.0f} minutes: wait for it, or end it"
        ) from None
    except OSError as error:
        raise BenchmarkError(
            f"cannot make an environment in {folder}: {error.strerror}; choose a place that can be written to"
        ) from None


def named(label: str, python: Path, *, run: Run = command_outcome) -> Build:
    """The build that the user brings: an interpreter, or the folder of an environment."""
    interpreter = _python(python) if python.is_dir() else python
    if not interpreter.exists():
        return Build(label, None, reason=f"there is no interpreter {interpreter}")
    return _looked_at(label, Path.cwd() / interpreter, None, run)  # workers stand elsewhere; a link has to stay one


def _name(mindspore: str, wanted: Sequence[str]) -> str:
    digest = sha256("\n".join(wanted).encode()).hexdigest()[:8]
    return f"mindspore-{mindspore}-cp{sys.version_info.major}{sys.version_info.minor}-{digest}"


def _python(environment: Path) -> Path:
    """Where an environment has its interpreter."""
    return environment / "bin" / "python"


def _kept(mindspore: str, place: Path, run: Run) -> Build | None:
    """The build at `place` if it was completed and works."""
    if not (place / "complete.json").exists():
        return None
    build = _looked_at(mindspore, _python(place), mindspore, run)
    return build if build.reason is None else None


def _new(mindspore: str, place: Path, wanted: Sequence[str], tell: Tell, run: Run) -> Build:
    """Make the build at `place`, in the place of whatever is there."""
    if place.exists():
        tell(f"the environment of MindSpore {mindspore} is incomplete or broken and is made again")
        shutil.rmtree(place)
    else:
        tell(f"making an environment with MindSpore {mindspore} (2.5 GB)")
    for command in _commands(place, wanted):
        outcome = run(command, INSTALL_SECONDS)
        if outcome.code != 0:
            shutil.rmtree(place, ignore_errors=True)  # the reason below is what matters, not what is left of it
            return Build(mindspore, None, reason=f"cannot be installed: {_why(outcome)}")
    build = _looked_at(mindspore, _python(place), mindspore, run)
    if build.reason is None:
        (place / "complete.json").write_text(json.dumps({"schema": 1, "requirements": list(wanted)}), encoding="utf-8")
    return build


def _commands(place: Path, wanted: Sequence[str]) -> list[list[str]]:
    """How to make an environment that holds what is `wanted`; of this interpreter, whose tags say which wheels fit.

    Compiled at once, as pip does: workers that may write no bytecode would each spend 3 s on what they import.
    """
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    base = getattr(sys, "_base_executable", sys.executable)
    if uv:
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(_python(place)), *wanted]
        return [[uv, "venv", "--quiet", "--python", base, str(place)], install]
    return [
        [base, "-m", "venv", str(place)],
        [str(_python(place)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
    ]


def _looked_at(label: str, python: Path, version: str | None, run: Run) -> Build:
    """The build with the interpreter `python`, or why it does not work; `version` is the MindSpore it must have."""
    outcome = run([str(python), "-c", LOOK, *MODULES], LOOK_SECONDS)
    answer = _last_object(outcome.output) if outcome.code == 0 else None
    if answer is None:
        return Build(label, None, reason=f"does not run: {_why(outcome)}")
    found = str(answer["found"].get("mindspore", "")) or None
    if answer["missing"]:
        return Build(label, None, found, f"cannot import {', '.join(answer['missing'])}: install what is missing there")
    if version is not None and (found is None or Version(found) != Version(version)):
        return Build(label, None, found, f"holds MindSpore {found}, not {version}")
    return Build(label, python, found)


def _last_object(output: str) -> dict[str, dict[str, str]] | None:
    """The JSON object in the last line of an `output`, in which other programs may have said other things before."""
    try:
        value = json.loads(output.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) and {"found", "missing"} <= value.keys() else None


def _why(outcome: Outcome) -> str:
    """One line of a failed command's output that says what went wrong, or what its ending says."""
    if outcome.code is None:
        return "it took too long"
    lines = [line.strip() for line in outcome.output.splitlines() if line.strip()]
    telling = [
        line for line in lines if any(word in line.lower() for word in ("error", "no solution", "because", "no "))
    ]
    return (telling or lines or [f"exit code {outcome.code}"])[-1][:300]
