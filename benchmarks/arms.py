"""Who is compared: an arm is an interpreter, the code it runs, and the settings it runs under.

Two arms of a comparison differ in what is studied and in nothing else: another checkout of this project (has a change
made it slower?), another MindSpore (has a release?), another setting (is it worth it?).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measurement import BenchmarkError

HERE = Path(__file__).resolve().parent.parent
"""The folder that holds this project's three packages."""

ROOMS = ("ddpm_bench", "verification", "benchmarks")


@dataclass(frozen=True)
class Arm:
    """One side of a comparison."""

    label: str
    python: str = sys.executable
    """the interpreter of its workers"""
    code: Path = HERE
    """the folder whose three packages its workers import"""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    """environment variables of its workers; None unsets one"""
    tuning: str = "tuned"
    """the name of its setting; any other than "stock" also sets what `device.configure` tunes"""
    peer: str | None = None
    """which of `peers.PEERS` its workers time instead of this project's network"""
    planted: float = 0.0
    """share by which its calls are slowed on purpose (`plant.py`), to see whether that is noticed"""


def checkout(path: Path) -> Path:
    """The folder of another checkout, if its clock can take turns with this one. Raises `BenchmarkError` if not."""
    absent = [room for room in ROOMS if not (path / room / "__init__.py").is_file()]
    if absent:
        raise BenchmarkError(
            f"{path} is not a checkout of ddpm-bench: it has no package {', '.join(absent)}; "
            "give the folder that holds pyproject.toml"
        )
    if not (path / "benchmarks" / "turnstile.py").is_file():
        raise BenchmarkError(
            f"the clock in {path} is too old to take turns with this one: "
            "measure both on their own with `bench --json`, then `compare` them"
        )
    return path.resolve()
