"""The convolution remedy: when it is applied, what it says, and that its cache can only help."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ddpm_bench import probe_cache, remedy
from ddpm_bench.probe import ProbeError

TRAP = {"matmul": 0.001, "convolution": 0.4}
FAST = {"matmul": 0.001, "convolution": 0.002}


class Machine:
    """Stands in for `probe.ask`: answers as a machine with these timings would, and counts."""

    def __init__(self) -> None:
        self.stock: dict[str, float] = TRAP
        self.capped: dict[str, float] = FAST
        self.asked: list[str] = []
        self.error: str | None = None

    def ask(self, task: str, *, without: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
        assert task == "convolution"
        assert set(without) == set(remedy.SAME_MEANING)
        self.asked.append(environment.get(remedy.VARIABLE, "stock"))
        if self.error:
            raise ProbeError(self.error)
        return self.capped if environment else self.stock


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A fresh machine and process: nothing set, MindSpore not imported, an empty cache."""
    found = Machine()
    monkeypatch.setattr(remedy, "ask", found.ask)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in remedy.SAME_MEANING:
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "mindspore", raising=False)
    monkeypatch.setattr(remedy, "_applied", {})
    return found


def cache_file(tmp_path: Path) -> Path:
    return tmp_path / "ddpm-bench" / "convolution.json"


def test_module_does_not_import_mindspore() -> None:
    code = "import ddpm_bench.remedy, sys; print('mindspore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_slow_convolution_is_cured_and_told_with_figures(machine: Machine) -> None:
    told = remedy.apply()
    assert os.environ[remedy.VARIABLE] == "AVX2"
    assert told is not None
    assert all(part in told for part in ("ONEDNN_MAX_CPU_ISA=AVX2", "400 times as long", "200 times faster"))


def test_fast_convolution_is_left_alone(machine: Machine) -> None:
    machine.stock = FAST
    assert remedy.apply() is None
    assert remedy.VARIABLE not in os.environ
    assert machine.asked == ["stock"]


def test_cap_that_does_not_help_is_not_applied(machine: Machine) -> None:
    machine.capped = {"matmul": 0.001, "convolution": 0.2}
    assert remedy.apply() is None
    assert remedy.VARIABLE not in os.environ


@pytest.mark.parametrize("name", remedy.SAME_MEANING)
def test_users_own_setting_stands(machine: Machine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "AVX512_CORE")
    assert remedy.apply() is None
    assert os.environ[name] == "AVX512_CORE"
    assert machine.asked == []


def test_new_processes_are_told_what_to_set(machine: Machine) -> None:
    """Before and after this process has cured itself."""
    cure = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert remedy.variables() == cure
    assert remedy.VARIABLE not in os.environ
    remedy.apply()
    assert remedy.variables() == cure
    assert machine.asked == ["stock", "AVX2"]


def test_new_processes_are_told_nothing_where_convolutions_are_fast(machine: Machine) -> None:
    machine.stock = FAST
    assert remedy.variables() == {}


def test_new_processes_inherit_the_users_setting(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remedy.VARIABLE, "AVX512_CORE")
    assert remedy.variables() == {}


def test_too_late_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("mindspore")
    module = type(sys)("mindspore")
    module.__spec__ = spec
    monkeypatch.setitem(sys.modules, "mindspore", module)
    told = remedy.apply()
    assert told is not None
    assert "already imported" in told
    assert "set ONEDNN_MAX_CPU_ISA=AVX2 before starting Python" in told
    assert remedy.VARIABLE not in os.environ


def test_missing_mindspore_is_somebody_elses_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert remedy.apply() is None
    assert machine.asked == []


def test_broken_mindspore_is_somebody_elses_error(machine: Machine, tmp_path: Path) -> None:
    machine.error = "ImportError: no"
    assert remedy.apply() is None
    assert not cache_file(tmp_path).exists()


def test_measuring_is_announced_and_happens_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[str] = []
    first = remedy.apply(announced.append)
    monkeypatch.delenv(remedy.VARIABLE)
    assert remedy.apply(announced.append) == first
    assert machine.asked == ["stock", "AVX2"]
    assert len(announced) == 1


@pytest.mark.parametrize("what", ["mindspore_version", "key"])
def test_another_version_or_machine_is_measured_again(
    machine: Machine, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remedy.cached_convolution()
    monkeypatch.setattr(remedy, what, lambda: "other")
    remedy.cached_convolution()
    assert machine.asked == ["stock", "AVX2"] * 2


def test_cache_keeps_what_other_builds_found(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2"):
        monkeypatch.setattr(remedy, "mindspore_version", lambda version=version: version)
        remedy.cached_convolution()
    assert len(json.loads(cache_file(tmp_path).read_text())["convolution"]) == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"schema": 2, "convolution": {"KEY": {"matmul": 1.0, "stock": 1.0, "capped": null}}}',
        '{"schema": 1, "convolution": {"KEY": {"matmul": 1.0, "other": 1.0}}}',
        '{"schema": 1, "convolution": {"KEY": {"matmul": "1", "stock": 1.0, "capped": null}}}',
        '{"schema": 1, "convolution": {"KEY": {"matmul": 0.0, "stock": 1.0, "capped": null}}}',
        '{"schema": 1, "convolution": {"KEY": {"matmul": 1.0, "stock": NaN, "capped": null}}}',
        '{"schema": 1, "convolution": {"KEY": {"matmul": 1.0, "stock": null, "capped": null}}}',
        '{"schema": 1, "convolution": {"KEY": 5}}',
        '{"schema": 1, "convolution": []}',
        "\udcff",
    ],
)
def test_spoilt_cache_is_measured_anew_and_replaced(machine: Machine, tmp_path: Path, content: str) -> None:
    path = cache_file(tmp_path)
    path.parent.mkdir()
    path.write_bytes(content.replace("KEY", remedy.key()).encode("utf-8", "surrogateescape"))
    assert remedy.cached_convolution() == remedy.Convolution(0.001, 0.4, 0.002)
    assert machine.asked == ["stock", "AVX2"]
    assert json.loads(path.read_text())["schema"] == remedy.CACHE.schema


def test_cache_that_cannot_be_written_is_no_hindrance(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert remedy.apply() is not None
    assert os.environ[remedy.VARIABLE] == "AVX2"


def test_interrupted_writing_keeps_the_old_cache(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remedy.cached_convolution()
    before = cache_file(tmp_path).read_text()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    remedy.remember(remedy.Convolution(1.0, 1.0, None))
    assert cache_file(tmp_path).read_text() == before
    assert {path.name for path in cache_file(tmp_path).parent.iterdir()} <= {
        "convolution.json",
        "convolution.json.lock",
    }


def test_processes_that_start_together_measure_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(task: str, **keywords: Any) -> dict[str, Any]:
        time.sleep(0.1)
        return machine.ask(task, **keywords)

    monkeypatch.setattr(remedy, "ask", slowly)
    threads = [threading.Thread(target=remedy.cached_convolution) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert machine.asked == ["stock", "AVX2"]


def test_lock_that_cannot_be_had_is_no_hindrance(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_cache, "LOCK_SECONDS", 0.05)
    with remedy.CACHE.locked():
        assert remedy.cached_convolution() == remedy.Convolution(0.001, 0.4, 0.002)


@pytest.mark.parametrize(
    ("stock", "capped", "slow", "remedied"),
    [(9.9, None, False, False), (10.1, None, True, False), (50.0, 16.0, True, True), (50.0, 17.0, True, False)],
)
def test_thresholds_are_where_they_are_said_to_be(
    stock: float, capped: float | None, slow: bool, remedied: bool
) -> None:
    found = remedy.Convolution(1.0, stock, capped)
    assert (found.slow, found.remedied) == (slow, remedied)
