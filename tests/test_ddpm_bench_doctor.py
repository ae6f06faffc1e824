"""The doctor: each trap planted and found, and one examination of this machine as it is."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rich.console

from ddpm_bench import doctor, operators, remedy
from ddpm_bench.doctor import Diagnosis
from ddpm_bench.probe import ProbeError

HEALTHY: dict[str, Any] = {
    "version": "2.10.0",
    "numpy": "1.26.4",
    "import_seconds": 3.0,
    "one_plus_one": 2.0,
    "synchronise": {
        "left_after_first": 0.001,
        "left_after_second": 0.001,
        "proof": {"holds": True, "ratio": 2.0, "seconds_fetch": 1e-4},
    },
    "devices": {"CPU": None, "GPU": None, "Ascend": None},
    "modes": {"compiled_in_pynative": 0, "compiled_in_graph": 2, "kernels_run": True, "same_bits": True},
    "defaults": {"max_pool_stride": 2, "convolution_has_bias": True, "convolution_keeps_size": False},
    "gather_minus_one": "IndexError",
    "kernels": {"tanh": 1e-7, "log1p": 1e-7},
    "reseeding_repeats": True,
    "float64_convolution": True,
    "events": True,
    "peak_memory": 1,
    "addition": 0.0002,
}


def traits(**planted: Any) -> dict[str, Any]:
    """What a healthy MindSpore says, with some entries, or entries of entries, replaced."""
    result = copy.deepcopy(HEALTHY)
    for name, value in planted.items():
        result[name] = {**result[name], **value} if isinstance(value, dict) else value
    return result


def test_module_does_not_import_mindspore() -> None:
    code = "import ddpm_bench.doctor, sys; print('mindspore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("judge", doctor.JUDGES)
def test_healthy_mindspore_gets_nothing_but_ok(judge: Any) -> None:
    diagnosis = judge(traits())
    assert (diagnosis.severity, diagnosis.remedy) == ("ok", ""), diagnosis


@pytest.mark.parametrize(
    ("judge", "planted", "severity", "words"),
    [
        (doctor.diagnose_version, {"version": "2.6.9"}, "note", "only 2.7 to 2.10 are tested"),
        (doctor.diagnose_version, {"version": "2.11.0rc1"}, "note", "only 2.7 to 2.10 are tested"),
        (doctor.diagnose_numpy, {"one_plus_one": 0.0}, "broken", "1 + 1 = 0"),
        (doctor.diagnose_numpy, {"one_plus_one": float("nan")}, "broken", "1 + 1 = nan"),
        (doctor.diagnose_modes, {"modes": {"compiled_in_graph": 0}}, "trap", "graph mode 0, expected 0 and 2"),
        (doctor.diagnose_modes, {"modes": {"compiled_in_pynative": 1}}, "trap", "PyNative compiled 1"),
        (doctor.diagnose_modes, {"modes": {"same_bits": False}}, "note", "different bits"),
        (doctor.diagnose_synchronise, {"synchronise": {"left_after_first": 0.99}}, "trap", "99 % of the work undone"),
        (
            doctor.diagnose_synchronise,
            {"synchronise": {"proof": {"holds": False, "ratio": 1.0, "seconds_fetch": 0.05}}},
            "trap",
            "1.00 times as long and fetching the result 50.0 ms",
        ),
        (doctor.diagnose_defaults, {"defaults": {"max_pool_stride": 1}}, "trap", "stride 1"),
        (doctor.diagnose_defaults, {"defaults": {"convolution_has_bias": False}}, "trap", "no bias"),
        (doctor.diagnose_defaults, {"defaults": {"convolution_keeps_size": True}}, "trap", "pads"),
        (doctor.diagnose_gather, {"gather_minus_one": "last entry"}, "trap", "silently returns the last entry"),
        (doctor.diagnose_kernels, {"kernels": {"log1p": 1.0}}, "trap", "log1p 1e+00"),
        (doctor.diagnose_kernels, {"kernels": {"tanh": float("nan")}}, "trap", "tanh nan"),
        (doctor.diagnose_seeding, {"reseeding_repeats": False}, "trap", "does not restart the noise"),
        (doctor.diagnose_tools, {"events": False}, "note", "no timing events"),
        (doctor.diagnose_tools, {"peak_memory": 0}, "note", "no memory statistics"),
        (doctor.diagnose_tools, {"float64_convolution": False}, "note", "no float64 convolutions"),
    ],
)
def test_planted_trap_is_found_and_has_a_remedy(judge: Any, planted: dict[str, Any], severity: str, words: str) -> None:
    diagnosis = judge(traits(**planted))
    assert diagnosis.severity == severity
    assert words in diagnosis.found
    assert diagnosis.remedy


def test_absent_device_is_unavailable_with_its_reason() -> None:
    found = doctor.diagnose_devices(traits(devices={"GPU": "unavailable: at the repair shop"}))
    assert [(one.name, one.severity, one.found) for one in found] == [
        ("device CPU", "ok", "can be used"),
        ("device GPU", "unavailable", "at the repair shop"),
        ("device Ascend", "ok", "can be used"),
    ]


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"MS_KERNEL_LAUNCH_SKIP": "ALL"}, ["MS_KERNEL_LAUNCH_SKIP"]),
        ({"MS_JIT": "0"}, ["MS_JIT"]),
        ({"MS_JIT": "1", "MS_JIT_MODULES": "x", "PATH": "/bin", "MS_SIMULATION_LEVEL": ""}, []),
        ({"MS_SIMULATION_LEVEL": "0"}, ["MS_SIMULATION_LEVEL"]),
        ({"MS_DEV_RUNTIME_CONF": "x", "MS_PROFILER_OPTIONS": "y"}, ["MS_DEV_RUNTIME_CONF", "MS_PROFILER_OPTIONS"]),
        ({"PROFILING_MODE": "true", "MINDSPORE_DUMP_CONFIG": "f"}, ["MINDSPORE_DUMP_CONFIG", "PROFILING_MODE"]),
    ],
)
def test_disguising_variables_are_named_and_harmless_ones_are_not(
    environment: dict[str, str], names: list[str]
) -> None:
    assert list(doctor.disguises(environment)) == names
    diagnosis = doctor.diagnose_variables(environment, lambda: "tried: so")
    assert diagnosis.severity == ("trap" if names else "ok")
    assert diagnosis.remedy == (f"unset {' '.join(names)}" if names else "")
    assert all(name in diagnosis.found for name in names)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"compiled_in_graph": 0}, "was not compiled in graph mode and computed"),
        ({"kernels_run": False}, "was compiled and returned zeros"),
    ],
)
def test_effect_of_a_disguise_is_told(seen: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask", lambda _: {**HEALTHY["modes"], **seen})
    assert words in doctor._effect()


def fails(_: str, **__: Any) -> dict[str, Any]:
    raise ProbeError("RuntimeError: no such graph (exit code 1)")


def test_disguise_that_breaks_mindspore_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask", fails)
    assert "a small graph fails, RuntimeError: no such graph" in doctor._effect()


@pytest.mark.parametrize(
    ("version", "numpy", "said", "name", "remedy_words"),
    [
        (None, "1.26.4", "ModuleNotFoundError", "MindSpore", "pip install 'mindspore>=2.7"),
        ("2.10.0", "2.2.6", "SystemError: returned a result", "NumPy ABI", "numpy>=1.26,<2"),
        ("2.10.0", "1.26.4", "ImportError: numpy.core.multiarray failed to import", "NumPy ABI", "numpy>=1.26,<2"),
        ("2.10.0", "1.26.4", "ImportError: libgomp.so.1", "MindSpore", "--force-reinstall mindspore==2.10.0"),
    ],
)
def test_unusable_mindspore_is_broken_with_its_last_words(
    version: str | None, numpy: str, said: str, name: str, remedy_words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remedy, "mindspore_version", lambda: version)
    monkeypatch.setattr("importlib.metadata.version", lambda _: numpy)
    diagnosis = doctor.diagnose_broken(said)
    assert (diagnosis.name, diagnosis.severity) == (name, "broken")
    assert remedy_words in diagnosis.remedy
    assert version is None or said in diagnosis.found


def test_examination_of_an_unusable_mindspore_still_tells_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask", fails)
    severities = {one.name: one.severity for one in doctor.diagnose()}
    assert severities["MindSpore"] == "broken"
    assert {"environment", "machine"} <= set(severities)


class Machine:
    """Stands in for `probe.ask` with these seconds for a convolution: as things are, and capped."""

    def __init__(self, here: float, capped: float) -> None:
        self.here, self.capped = here, capped

    def ask(self, _: str, *, without: tuple[str, ...] = (), **environment: str) -> dict[str, float]:
        seconds = self.capped if environment else self.here
        return {"matmul": 0.001, "convolution": seconds, "addition": 0.0001}


@pytest.mark.parametrize(
    ("here", "capped", "setting", "severity", "words"),
    [
        (0.4, 0.002, None, "trap", "ONEDNN_MAX_CPU_ISA=AVX2 makes it 200 times faster"),
        (0.4, 0.3, None, "trap", "400.0 times as long"),
        (0.002, 0.002, None, "ok", "2.0 times as long"),
        (0.002, 0.002, "AVX2", "ok", "with ONEDNN_MAX_CPU_ISA=AVX2 a convolution takes 2.0"),
    ],
)
def test_slow_convolution_is_found_by_its_time(
    here: float,
    capped: float,
    setting: str | None,
    severity: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(remedy.VARIABLE, setting or "")
    monkeypatch.setattr(doctor, "ask", Machine(here, capped).ask)
    convolution, latency = doctor.diagnose_convolution(0.004)
    assert convolution.severity == severity
    assert words in convolution.found
    assert latency.severity == "trap"
    assert (remedy._read() is None) == (setting is not None), "only the stock timing is cached"


def test_operators_are_timed_anew_and_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fast, slow, broken = ({"native": 0.02, "other": other} for other in (0.01, 0.04, None))
    seconds = {
        "norm": {"graph": fast, "pynative": fast},
        "upsample": {"graph": fast, "pynative": broken},
        "conv": {"graph": fast, "pynative": fast},
        "clip": {"graph": fast, "pynative": slow},
    }
    asked: list[tuple[str, ...]] = []

    def ask(_: str, *, without: tuple[str, ...], **__: str) -> dict[str, Any]:
        asked.append(without)
        return seconds

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MS_JIT", "0")
    monkeypatch.delenv(operators.VARIABLE, raising=False)
    monkeypatch.setattr(operators, "ask", ask)
    for _ in range(2):
        diagnosis = doctor.diagnose_operators()
    assert asked == [(operators.VARIABLE, "MS_JIT")] * 2, "compiled, whatever disguises it"
    assert diagnosis.severity == "ok"
    assert "norm in 50% of the native time (50% in PyNative)" in diagnosis.found
    assert "upsample in 50% of the native time (no way in PyNative); conv in 50% of the" in diagnosis.found
    choice = "norm,upsample:graph,conv128,clip:graph@CPU"
    assert f"DDPM_BENCH_OPERATORS={choice}" in diagnosis.found
    assert diagnosis.data == {**seconds, "choice": choice}
    assert operators.as_record(operators.cached() or {}) == seconds
    assert len(asked) == 2


def test_operators_that_cannot_be_timed_are_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ask(*_: object, **__: object) -> dict[str, Any]:
        raise ProbeError("no answer within 120 s")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(operators.VARIABLE, raising=False)
    monkeypatch.setattr(operators, "ask", ask)
    diagnosis = doctor.diagnose_operators()
    assert diagnosis.severity == "note"
    assert diagnosis.found == "could not be timed, so MindSpore's own are used: no answer within 120 s"


@pytest.mark.parametrize(
    ("setting", "severity", "words"),
    [
        ("norm:graph,clip@CPU", "ok", "compiled norm,clip, in PyNative clip; nothing is timed"),
        ("nrom", "trap", "did you mean norm?"),
    ],
)
def test_operators_set_by_the_user_are_explained(
    setting: str, severity: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(operators.VARIABLE, setting)
    diagnosis = doctor.diagnose_operators()
    assert diagnosis.severity == severity
    assert words in diagnosis.found
    assert bool(diagnosis.remedy) is (severity == "trap")


@pytest.mark.parametrize(("stock", "severity"), [(0.00039, "ok"), (0.004, "trap")])
def test_slow_pynative_is_found_by_its_time(stock: float, severity: str) -> None:
    assert doctor.diagnose_latency(stock, 0.0001).severity == severity


@pytest.mark.parametrize(("percent", "severity"), [([1.0, 20.0], "ok"), ([90.0, 80.0], "note")])
def test_busy_machine_is_noted(percent: list[float], severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_percent", lambda **_: percent)
    assert doctor.diagnose_machine().severity == severity


@pytest.fixture(scope="module")
def examination(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Diagnosis]]:
    """This machine, with `MS_JIT=0` planted and no oneDNN setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MS_JIT", "0")
        for name in remedy.SAME_MEANING:
            patch.delenv(name, raising=False)
        steps: list[str] = []
        found = doctor.diagnose(steps.append)
        assert len(steps) == 4
        yield {one.name: one for one in found}


def test_everything_is_tried_on_this_machine(examination: dict[str, Diagnosis]) -> None:
    expected = (
        "MindSpore, NumPy ABI, modes, synchronise, layer defaults, gather, float32 kernels, seeding, instruments, "
    )
    expected += "device CPU, device GPU, device Ascend, convolution, PyNative latency, operators, environment, machine"
    assert list(examination) == expected.split(", ")
    assert not [one for one in examination.values() if one.severity == "broken"]


def test_planted_variable_is_found_and_its_effect_seen(examination: dict[str, Diagnosis]) -> None:
    diagnosis = examination["environment"]
    assert diagnosis.severity == "trap"
    assert "MS_JIT=0 turns graph mode into PyNative" in diagnosis.found
    assert "was not compiled in graph mode" in diagnosis.found


def test_planted_variable_does_not_spoil_the_other_diagnoses(examination: dict[str, Diagnosis]) -> None:
    assert examination["modes"].severity == "ok"


@pytest.mark.parametrize("name", ["layer defaults", "gather", "float32 kernels", "seeding"])
def test_traps_of_every_mindspore_so_far_are_found(examination: dict[str, Diagnosis], name: str) -> None:
    """2.7.0 to 2.10.0 all have them; a release without one goes into the table of versions, and out of here."""
    assert examination[name].severity == "trap"


def test_figures_behind_the_traps_are_right(examination: dict[str, Diagnosis]) -> None:
    """A probe that finds everything bad would find every trap, too."""
    defaults = {"max_pool_stride": 1, "convolution_has_bias": False, "convolution_keeps_size": True}
    assert examination["layer defaults"].data == defaults
    kernels = examination["float32 kernels"].data
    assert kernels["erf"] < 1e-6 < kernels["tanh"] < 1e-3 < kernels["log1p"] <= 1
    assert examination["synchronise"].data["left_after_second"] < doctor.LATE_WAIT
    assert examination["NumPy ABI"].data["one_plus_one"] == 2


def test_record_is_json_with_its_schema(examination: dict[str, Diagnosis]) -> None:
    read = json.loads(json.dumps(doctor.record(examination.values()), allow_nan=False))
    assert (read["schema"], read["kind"]) == (1, "doctor")
    assert [one["name"] for one in read["diagnoses"]] == list(examination)
    assert set(read["diagnoses"][0]) == {"name", "severity", "found", "remedy", "data"}


def test_table_shows_every_diagnosis_and_takes_brackets_as_text() -> None:
    console = rich.console.Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115 - a sink
    console.print(doctor.table([Diagnosis("modes", "trap", "said [ERROR] and [/red]", "reinstall [all]")]))
    text = console.export_text()
    assert all(part in text for part in ("modes", "trap", "said [ERROR] and [/red]", "→ reinstall [all]"))
