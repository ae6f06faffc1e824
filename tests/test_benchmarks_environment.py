"""The environment: complete, flat, stable; and the variables that would disguise a number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import environment
from benchmarks.environment import collect, differences, disguises, refuse_disguises
from benchmarks.measurement import BenchmarkError


def test_environment_is_flat_and_the_same_twice() -> None:
    first = collect({})
    assert first == collect({})
    assert all(isinstance(value, str | int) for value in first.values())


def test_environment_names_what_numbers_depend_on() -> None:
    keys = {"code", "clock", "python", "system", "mindspore", "numpy", "pytest-benchmark", "cpu", "cpu_isa", "host"}
    assert keys <= collect({}).keys()
    assert collect({})["cores_usable"] >= 1


def test_environment_holds_the_variables_that_libraries_read_and_no_others() -> None:
    given = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MS_X": "1", "OMP_NUM_THREADS": "2", "HOME": "/root", "API_TOKEN": "s"}
    found = {key: value for key, value in collect(given).items() if key.startswith("env.")}
    assert found == {"env.ONEDNN_MAX_CPU_ISA": "AVX2", "env.MS_X": "1", "env.OMP_NUM_THREADS": "2"}


def test_code_is_a_digest_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "subject_of_a_digest"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = [environment._digest("subject_of_a_digest", ("*.py",))]
    (package / "a.py").write_text("x = 2\n")
    digests.append(environment._digest("subject_of_a_digest", ("*.py",)))
    (package / "a.py").rename(package / "b.py")
    digests.append(environment._digest("subject_of_a_digest", ("*.py",)))
    assert len(set(digests)) == 3
    assert environment._digest("no_such_package", ("*.py",)) == "absent"


def test_collecting_imports_neither_mindspore_nor_the_subject() -> None:
    code = "import sys; from benchmarks import environment as e; e.collect(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"mindspore", "ddpm_bench"} & set(done.stdout.split())
    assert "benchmarks.environment" in done.stdout.split()


@pytest.mark.parametrize(
    "name",
    [
        "MS_KERNEL_LAUNCH_SKIP",
        "MS_JIT",
        "MS_DEV_RUNTIME_CONF",
        "MS_DEV_JIT",
        "MS_SIMULATION_LEVEL",
        "MS_PROFILER_OPTIONS",
    ],
)
def test_variable_that_disguises_a_number_is_refused_by_name_and_value(name: str) -> None:
    with pytest.raises(BenchmarkError, match=f"{name}=0 is set.*unset it"):
        refuse_disguises({name: "0", "PATH": "/bin"})


@pytest.mark.parametrize(
    "variables", [{}, {"MS_JIT": ""}, {"ONEDNN_VERBOSE": "0"}, {"MS_JITTER": "1"}, {"XMS_JIT": "0"}]
)
def test_variable_that_changes_nothing_is_let_through(variables: dict[str, str]) -> None:
    refuse_disguises(variables)


def test_every_disguise_is_named_at_once() -> None:
    assert len(disguises({"MS_JIT": "0", "MS_DEV_A": "1", "DNNL_VERBOSE": "2"})) == 3


def test_differences_name_both_values_and_absence() -> None:
    old, new = {"cpu": "A", "numpy": "1", "same": 1}, {"cpu": "B", "code": "c", "same": 1}
    assert differences(old, new) == ["code: absent → c", "cpu: A → B", "numpy: 1 → absent"]
    assert differences(old, new, ignore=("code", "numpy")) == ["cpu: A → B"]
