"""The choice of operators: what decides it, what it says, and that its cache can only help."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_bench import device, operators, probe_tasks, remedy, terminal
from ddpm_bench.errors import ConfigError
from ddpm_bench.operators import Operators, Times
from ddpm_bench.probe import ProbeError

FAST, SLOW = {"native": 0.02, "other": 0.01}, {"native": 0.01, "other": 0.02}
SECONDS = {
    part: {"graph": each, "pynative": each}
    for part, each in {"norm": FAST, "upsample": SLOW, "conv": SLOW, "clip": FAST}.items()
}
FOUND = {part: {mode: Times(**each) for mode, each in seconds.items()} for part, seconds in SECONDS.items()}
GREAT = {part: {mode: Times(1.0, 0.1) for mode in operators.MODES} for part in SECONDS}


class Machine:
    """Stands in for `probe.ask`: answers as a machine with these timings would, and counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, Any] = SECONDS
        self.asked: list[dict[str, str]] = []
        self.error: str | None = None

    def ask(self, task: str, *, without: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
        assert (task, without) == ("operators", (operators.VARIABLE,))
        self.asked.append(environment)
        if self.error:
            raise ProbeError(self.error)
        return self.seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A fresh machine and process with nothing set and an empty cache, on which convolutions want a remedy."""
    found = Machine()
    monkeypatch.setattr(operators, "ask", found.ask)
    monkeypatch.setattr(remedy, "variables", lambda _=None: {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    monkeypatch.setattr(remedy, "apply", lambda _=None: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(operators.VARIABLE, "")  # so that monkeypatch restores it
    monkeypatch.delenv(operators.VARIABLE)
    return found


def cache_file(tmp_path: Path) -> Path:
    return tmp_path / "ddpm-bench" / "operators.json"


def test_module_does_not_import_mindspore() -> None:
    code = "import ddpm_bench.operators, sys; print('mindspore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# What the variable means ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "device", "compiled", "pynative"),
    [
        ("native", "CPU", "native", "native"),
        ("norm", "CPU", "norm", "norm"),
        ("clip,norm", "CPU", "norm,clip", "norm,clip"),
        ("norm,upsample,clip", "Ascend", "norm,upsample,clip", "norm,upsample,clip"),
        ("norm@CPU", "CPU", "norm", "norm"),
        ("norm@CPU", "Ascend", "native", "native"),
        ("native@CPU", "CPU", "native", "native"),
        ("norm:graph", "CPU", "norm", "native"),
        ("norm:graph,upsample:pynative,clip", "CPU", "norm,clip", "upsample,clip"),
        ("norm:graph,norm:pynative", "CPU", "norm", "norm"),
        ("norm:graph@CPU", "GPU", "native", "native"),
        ("conv", "CPU", "conv", "conv"),
        ("conv1", "CPU", "conv", "conv"),
        ("conv128:graph,norm", "CPU", "norm,conv128", "norm"),
    ],
)
def test_variable_names_the_parts_that_go_the_other_way(text: str, device: str, compiled: str, pynative: str) -> None:
    meant = tuple(operators.parse(text, device, mode) for mode in ("graph", "pynative"))
    assert tuple(map(str, meant)) == (compiled, pynative)


def test_parts_are_what_they_are_called() -> None:
    assert operators.parse("norm", "CPU", "graph") == Operators(norm=True)
    assert operators.parse("upsample", "CPU", "graph") == Operators(upsample=True)
    assert operators.parse("conv", "CPU", "graph") == Operators(conv=1)
    assert operators.parse("conv128", "CPU", "graph") == Operators(conv=128)
    assert operators.parse("clip", "CPU", "graph") == Operators(clip=True)
    assert operators.parse("native", "CPU", "graph") == Operators(norm=False, upsample=False, conv=0, clip=False)


def test_modes_are_those_of_the_device() -> None:
    assert operators.MODES == device.MODES


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "nrom",
            "unknown part in DDPM_BENCH_OPERATORS 'nrom': did you mean norm? known are clip, conv, native, norm,",
        ),
        ("conv0", "unknown part in DDPM_BENCH_OPERATORS 'conv0'"),
        ("norm128", "unknown part in DDPM_BENCH_OPERATORS 'norm128'"),
        ("native,norm", "unknown part in DDPM_BENCH_OPERATORS 'native'"),
        ("norm,", "unknown part in DDPM_BENCH_OPERATORS ''"),
        ("@CPU", "unknown part in DDPM_BENCH_OPERATORS ''"),
        ("norm:grahp", "unknown mode in DDPM_BENCH_OPERATORS 'grahp': did you mean graph?"),
        ("norm:", "unknown mode in DDPM_BENCH_OPERATORS ''"),
        ("norm,clip:eager", "unknown mode in DDPM_BENCH_OPERATORS 'eager'"),
        ("native:graph", "unknown part in DDPM_BENCH_OPERATORS 'native'"),
        ("norm@GPU", "DDPM_BENCH_OPERATORS is 'norm@GPU': after @ only CPU can stand"),
        ("norm@", "DDPM_BENCH_OPERATORS is 'norm@': after @ only CPU can stand"),
    ],
)
def test_senseless_choice_is_refused_in_a_sentence_by_whatever_uses_it(
    machine: Machine, text: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(operators.VARIABLE, text)
    for use in (lambda: operators.current("CPU", "graph"), operators.apply, lambda: operators.settings("tuned")):
        with pytest.raises(ConfigError) as caught:
            use()
        assert sentence in str(caught.value)
    assert machine.asked == []


# What decides ---------------------------------------------------------------------------------------------------------


def test_what_is_faster_is_chosen_on_the_cpu_only_and_told_with_figures(machine: Machine) -> None:
    told = operators.apply()
    assert os.environ[operators.VARIABLE] == "norm,clip@CPU"
    for mode in operators.MODES:
        assert operators.current("CPU", mode) == Operators(norm=True, clip=True)
        assert operators.current("GPU", mode) == operators.current("Ascend", mode) == operators.PLAIN
    assert told is not None
    assert all(
        part in told for part in ("norm,clip@CPU is set", "norm in 50% of the native time (50% in", "clip in 50%")
    )
    assert machine.asked == [{"ONEDNN_MAX_CPU_ISA": "AVX2"}], "timed as it will run"


def test_nothing_is_said_where_everything_stays_native(machine: Machine) -> None:
    machine.seconds = dict.fromkeys(SECONDS, SECONDS["upsample"])
    assert operators.apply() is None
    assert os.environ[operators.VARIABLE] == "native"


def test_users_own_choice_stands_and_nothing_is_measured(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(operators.VARIABLE, "upsample")
    assert operators.apply() is None
    assert os.environ[operators.VARIABLE] == "upsample"
    assert operators.settings("tuned")["tuned"][operators.VARIABLE] == "upsample"
    assert machine.asked == []


@pytest.mark.parametrize(
    ("graph", "pynative", "choice"),
    [
        (0.9, 0.9, "norm@CPU"),
        (0.91, 0.9, "norm:pynative@CPU"),
        (0.9, 0.91, "norm:graph@CPU"),
        (0.1, 5.0, "norm:graph@CPU"),
        (1.0, 1.0, "native"),
        (None, 0.1, "norm:pynative@CPU"),
        (0.1, None, "norm:graph@CPU"),
        (None, None, "native"),
    ],
)
def test_other_way_is_taken_in_the_modes_in_which_it_is_worth_it(
    graph: float | None, pynative: float | None, choice: str
) -> None:
    times = {"graph": Times(1.0, graph), "pynative": Times(1.0, pynative)}
    slow = {mode: Times(1.0, 2.0) for mode in operators.MODES}
    found = {"norm": times, "upsample": slow, "conv": slow, "clip": slow}
    assert operators.spelled(found) == choice
    for mode, each in times.items():
        assert operators.parse(choice, "CPU", mode).norm is (each.ratio <= 0.9), "it reads as it is written"


def test_way_that_does_not_work_here_is_not_taken(machine: Machine) -> None:
    machine.seconds = {**SECONDS, "norm": {"graph": FAST, "pynative": {"native": 0.02, "other": None}}}
    told = operators.apply()
    assert told is not None
    assert "norm in 50% of the native time (no way in PyNative)" in told
    assert os.environ[operators.VARIABLE] == "norm:graph,clip@CPU"
    assert operators.cached() == FOUND | {"norm": {"graph": Times(**FAST), "pynative": Times(0.02, None)}}
    assert len(machine.asked) == 1, "that it does not work is remembered, too"


@pytest.mark.parametrize("broken", ["missing", "ending"])
def test_mindspore_that_does_not_work_is_somebody_elses_error(
    machine: Machine, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken == "missing":
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    machine.error = "ImportError: no"
    assert operators.apply() is None
    assert operators.VARIABLE not in os.environ
    assert not cache_file(tmp_path).exists()


def test_tuned_workers_use_the_choice_and_stock_ones_never(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this process has decided, the user has, or nobody."""
    tuned = {"ONEDNN_MAX_CPU_ISA": "AVX2", operators.VARIABLE: "norm,clip@CPU"}
    both = {"stock": {operators.VARIABLE: None}, "tuned": tuned}
    assert operators.settings("both") == both
    operators.apply()
    assert operators.settings("both") == both
    monkeypatch.setenv(operators.VARIABLE, "upsample")
    assert operators.settings("stock") == {"stock": {operators.VARIABLE: None}}
    assert operators.settings("tuned")["tuned"][operators.VARIABLE] == "upsample"


def test_work_on_the_cpu_is_prepared_with_the_choice(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.prepare()
    told = capsys.readouterr().err
    assert "timing operators, once for this MindSpore and CPU" in told
    assert "note: DDPM_BENCH_OPERATORS=norm,clip@CPU is set for this process" in told
    assert operators.current("CPU", "graph") == Operators(norm=True, clip=True)


def test_work_elsewhere_measures_nothing(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="Ascend"):
        terminal.prepare("Ascend")  # there is none here, which is found out last
    assert machine.asked == []
    assert operators.VARIABLE not in os.environ


# The cache ------------------------------------------------------------------------------------------------------------


def test_measuring_is_announced_and_happens_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[str] = []
    first = operators.apply(announced.append)
    monkeypatch.delenv(operators.VARIABLE)
    assert operators.apply(announced.append) == first
    assert len(machine.asked) == len(announced) == 1


def test_another_build_machine_or_number_of_cores_is_measured_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    operators.cached()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(99)))
    operators.cached()
    monkeypatch.setattr(remedy, "key", lambda: "other")
    operators.cached()
    assert len(machine.asked) == 3
    assert len(json.loads(cache_file(tmp_path).read_text())["operators"]) == 3, "and what was found before is kept"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "\udcff",
        '{"schema": 2, "operators": {"KEY": GOOD}}',
        '{"schema": 1, "operators": []}',
        '{"schema": 1, "operators": {"KEY": 5}}',
        '{"schema": 1, "operators": {"KEY": {"norm": GREAT}}}',
        '{"schema": 1, "operators": {"KEY": {"norm": 1, "upsample": 1, "conv": 1, "clip": 1}}}',
        '{"schema": 1, "operators": {"KEY": {"norm": GREAT, "conv": GREAT, "upsample": GREAT, "clip": {"graph": 1}}}}',
        *(
            '{"schema": 1, "operators": {"KEY": {"norm": GREAT, "upsample": GREAT, "conv": GREAT, "clip": '
            f'{{"graph": TIMES, "pynative": {spoilt}}}}}}}}}'
            for spoilt in (
                "5",
                '{"native": 1.0}',
                '{"native": "1", "other": 1.0}',
                '{"native": 0.0, "other": 1.0}',
                '{"native": NaN, "other": 1.0}',
                '{"native": null, "other": 1.0}',
            )
        ),
    ],
)
def test_spoilt_cache_is_measured_anew_and_replaced(machine: Machine, tmp_path: Path, content: str) -> None:
    """GOOD is an entry that would be believed under the right schema; it contradicts the machine, as its parts do."""
    good = {"GOOD": GREAT, "GREAT": GREAT["clip"], "TIMES": GREAT["clip"]["graph"]}
    text = content.replace("KEY", operators._key())
    for name, entry in good.items():
        text = text.replace(name, json.dumps(entry, default=asdict))
    path = cache_file(tmp_path)
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert operators.cached() == FOUND
    assert len(machine.asked) == 1
    assert json.loads(path.read_text())["schema"] == operators.CACHE.schema


def test_sound_cache_is_believed(machine: Machine, tmp_path: Path) -> None:
    path = cache_file(tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps({"schema": 1, "operators": {operators._key(): GREAT}}, default=asdict))
    assert operators.cached() == GREAT
    assert machine.asked == []


def test_fresh_measurement_replaces_the_cached_one(machine: Machine) -> None:
    operators.cached()
    operators.remember(GREAT)
    assert operators.cached() == GREAT


def test_cache_that_cannot_be_written_is_no_hindrance(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert operators.apply() is not None
    assert os.environ[operators.VARIABLE] == "norm,clip@CPU"


# What the probe answers -----------------------------------------------------------------------------------------------


def raising() -> list[Any]:
    raise RuntimeError("no such kernel")


@pytest.mark.parametrize(
    ("other", "works"),
    [(lambda: [np.ones(3), np.ones(1)], True), (lambda: [np.ones(3), np.full(1, 1.001)], False), (raising, False)],
)
def test_other_way_is_timed_only_if_it_does_the_same(other: Any, works: bool) -> None:
    seconds = probe_tasks.two_ways(lambda: [np.ones(3), np.ones(1)], other)
    assert seconds["native"] is not None
    assert (seconds["other"] is not None) is works


def test_every_way_works_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe itself, in this process and in no time."""
    monkeypatch.setattr(probe_tasks, "least_seconds", lambda **calls: dict.fromkeys(calls, 1.0))
    works = {mode: {"native": 1.0, "other": 1.0} for mode in operators.MODES}
    assert probe_tasks.operators() == dict.fromkeys(operators.PARTS, works)
