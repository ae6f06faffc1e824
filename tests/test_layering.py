"""Who may import whom: the judge has never seen the subject, and a laptop without MindSpore can compare and report.

The rules are read from the imports as written, and the two that matter at run time also from the modules that a fresh
interpreter has loaded. Each guard comes with the test that trips it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import benchmarks
import ddpm_bench
import verification

ROOMS = {module.__name__: Path(str(module.__file__)).parent for module in (ddpm_bench, verification, benchmarks)}
WITHOUT_MINDSPORE = ("ddpm_bench.schedule", "ddpm_bench.errors", "ddpm_bench.cli", "ddpm_bench.cli_clock")
WITH_TORCH = "fidelity_torch.py"  # the one file of the judge that speaks with torch-fidelity, and only when called
TIMED = {
    "conftest.py",
    "talking.py",
    *(f"test_{name}.py" for name in ("unet", "training", "sampling", "operators", "peaks", "peers")),
}


def imported(source: str, package: str = "") -> Iterator[str]:
    """Every module that `source` imports, wherever in the file it does so; relative imports count as `package`'s."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{package}.{node.module or ''}".rstrip(".") if node.level else str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names if not node.level)


def violations(source: str, forbidden: set[str], package: str = "") -> set[str]:
    return {name for name in imported(source, package) if name.split(".")[0] in forbidden}


def files(room: str) -> list[Path]:
    found = sorted(ROOMS[room].rglob("*.py"))
    assert found, f"no files in {room}: the guard would guard nothing"
    return found


@pytest.mark.parametrize("path", files("verification"), ids=lambda path: path.name)
def test_judge_imports_neither_subject_nor_clock(path: Path) -> None:
    torch = set() if path.name == WITH_TORCH else {"torch", "torchvision", "torch_fidelity"}
    assert not violations(path.read_text(), {"mindspore", "ddpm_bench", "benchmarks"} | torch, "verification")


@pytest.mark.parametrize("path", files("ddpm_bench"), ids=lambda path: path.name)
def test_subject_imports_neither_judge_nor_clock_outside_the_command_line(path: Path) -> None:
    if path.name in ("cli.py", "cli_clock.py", "cli_duel.py", "cli_versions.py"):
        pytest.skip("the command line is where the three rooms meet")
    assert not violations(path.read_text(), {"verification", "benchmarks"}, "ddpm_bench")


@pytest.mark.parametrize("path", files("benchmarks"), ids=lambda path: path.name)
def test_clock_imports_subject_only_in_timed_modules(path: Path) -> None:
    forbidden = {"verification"} | (set() if timed(path) else {"ddpm_bench", "mindspore"})
    assert not violations(path.read_text(), forbidden, "benchmarks")


def timed(path: Path) -> bool:
    return path.name in TIMED


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_imports_the_tests(room: str) -> None:
    for path in files(room):
        assert not violations(path.read_text(), {"tests"}, room)


@pytest.mark.parametrize(
    "line", ["import mindspore", "from mindspore import nn", "def f():\n    import mindspore.ops as ops"]
)
def test_guard_sees_an_import_wherever_it_stands(line: str) -> None:
    assert violations(line, {"mindspore"})


def test_guard_ignores_what_is_only_text() -> None:
    assert not violations('name = "import mindspore"  # import mindspore', {"mindspore"})


def loaded_after(statement: str) -> set[str]:
    """The modules in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", WITHOUT_MINDSPORE)
def test_light_modules_load_without_mindspore(module: str) -> None:
    assert not {"mindspore", "verification", "benchmarks"} & loaded_after(f"import {module}")


def test_judge_loads_without_mindspore() -> None:
    loaded = loaded_after("import verification.check as c, verification.fidelity_torch; c.load_checks()")
    assert "verification" in loaded
    assert not {"mindspore", "ddpm_bench", "benchmarks", "torch", "torchvision", "torch_fidelity"} & loaded


def test_guard_of_loaded_modules_can_fail() -> None:
    assert "benchmarks" in loaded_after("import benchmarks")


def reaches_mindspore(source: str) -> bool:
    """Whether loading `source` loads MindSpore, by itself or by a module of the rooms."""
    at_once = [node for node in ast.parse(source).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name for node in at_once for name in imported(ast.unparse(node))}
    return any(name.partition(".")[0] == "mindspore" or _module_reaches(name) for name in names)


@cache
def _module_reaches(name: str) -> bool:
    room, _, module = name.partition(".")
    path = ROOMS[room] / f"{module}.py" if room in ROOMS and module else None
    return path is not None and path.is_file() and reaches_mindspore(path.read_text(encoding="utf-8"))


def test_tests_of_the_clock_that_need_mindspore_say_so_and_run_under_each_release() -> None:
    """tox runs the others once: one more that needed MindSpore would not be run under the oldest, in silence."""
    by_a_process = {"test_benchmarks_versions_ledger.py"}
    found = {path.name: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_benchmarks_*.py")}
    marked = {name for name, source in found.items() if "pytestmark = pytest.mark.needs_mindspore" in source}
    assert marked == by_a_process | {name for name, source in found.items() if reaches_mindspore(source)}
    assert len(marked) < len(found) / 5
