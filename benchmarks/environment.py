"""Everything a number depends on, as one flat mapping of names to text or integers, and what may not be set.

Two runs are comparable when their environments are equal but for the key that is studied, which by default is the code
(`compare.py`). So nothing that changes by itself belongs here: the load and the time of a run are in its measurements.
MindSpore is not imported: its version is read from the installed package, so a laptop without it can run this too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from benchmarks.measurement import BenchmarkError

Environment = dict[str, str | int]

PACKAGES = ("mindspore", "numpy", "pytest-benchmark", "psutil", "torch", "diffusers")
"""Installed packages that run inside a worker."""

CODE_KEYS = ("code", "ddpm_bench")
"""The keys that say which DDPM was timed: what `compare` studies unless told otherwise."""

COMPILING = ("MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH")
"""Variables that only say whether graphs are compiled or loaded: no call takes another time for it."""

WORKER_SOURCES = ("timing.py", "conftest.py", "test_*.py")
"""The clock's own files that decide what is timed: other ones may change without changing a number."""

_VARIABLES = re.compile(
    r"^(DDPM_BENCH_|MS_|ONEDNN_|DNNL_|OMP_|OPENBLAS_|MKL_|GOMP_|KMP_|BLIS_|GLOG_|CUDA_|ASCEND_|HCCL_|MALLOC_|LD_PRELOAD$|"
    r"PYTHONOPTIMIZE$|PYTHONMALLOC$|PYTHONDEVMODE$)"
)

DISGUISES = {
    r"MS_KERNEL_LAUNCH_SKIP": "skips kernels, so outputs are zeros and times are too short",
    r"MS_JIT": "turns graph runs into PyNative runs without saying so",
    r"MS_DEV_.*": "switches MindSpore's developer paths, which no user runs",
    r"MS_SIMULATION_LEVEL": "simulates the device instead of running on it",
    r"MS_PROFILER_OPTIONS|MS_ENABLE_PROFILER.*|PROFILER_SAMPLECONFIG|PROFILING_.*": "profiles, which slows every call",
    r"MS_DIAGNOSTIC_DATA_PATH|MINDSPORE_DUMP_CONFIG|MS_(ENABLE_)?DUMP.*": "writes tensors to disk while they are timed",
    r"MS_SUBMODULE_LOG_v|ONEDNN_VERBOSE|DNNL_VERBOSE": "makes every operator write a log line",
}
"""Variables under which a number would be about something else, with the reason; patterns match whole names."""


def disguises(variables: Mapping[str, str]) -> list[str]:
    """One sentence for each variable that would disguise a measurement, in order of their names."""
    return [
        f"{name}={variables[name]} is set, which {reason}: unset it to measure"
        for name in sorted(variables)
        for pattern, reason in DISGUISES.items()
        if re.fullmatch(pattern, name) and not _is_off(name, variables[name])
    ]


def _is_off(name: str, value: str) -> bool:
    """True where setting the variable to `value` is as good as not setting it; `MS_JIT=0` is the opposite."""
    return value == "" or (value == "0" and "VERBOSE" in name)


def refuse_disguises(variables: Mapping[str, str]) -> None:
    """Raise `BenchmarkError` naming the variables under which nothing may be recorded."""
    found = disguises(variables)
    if found:
        raise BenchmarkError("; ".join(found))


def collect(variables: Mapping[str, str] | None = None) -> Environment:
    """The environment of workers started from this process with `variables` (default: this process's own)."""
    given = os.environ if variables is None else variables
    return {**_code(), **_software(), **_hardware(), **_settings(), **_set_variables(given)}


def differences(old: Mapping[str, object], new: Mapping[str, object], *, ignore: Iterable[str] = ()) -> list[str]:
    """The keys in which two environments differ but for those to `ignore`, each with both values, sorted."""
    keys = (old.keys() | new.keys()) - set(ignore)
    return [
        f"{key}: {old.get(key, 'absent')} → {new.get(key, 'absent')}"
        for key in sorted(keys)
        if old.get(key) != new.get(key)
    ]


def _code() -> Environment:
    return {
        "code": _digest("ddpm_bench", ("*.py",)),
        "clock": _digest("benchmarks", WORKER_SOURCES),
        "ddpm_bench": _version("ddpm-bench"),
    }


def _digest(package: str, patterns: Iterable[str]) -> str:
    """SHA-256 over names and contents of a package's sources, found without importing it; "absent" without them."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for folder in folders for pattern in patterns for file in Path(folder).glob(pattern))
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest() if files else "absent"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _software() -> Environment:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        **{name: _version(name) for name in PACKAGES},
    }


def _hardware() -> Environment:
    return {
        "host": platform.node(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cpu_isa": _cpu_isa(),
        "cores_online": psutil.cpu_count() or 0,
        "cores_usable": len(os.sched_getaffinity(0)),
        "cpu_quota": _first_line("/sys/fs/cgroup/cpu.max"),
        "memory_bytes": int(psutil.virtual_memory().total),
    }


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _cpu_isa() -> str:
    """The widest vector instructions the CPU offers: what a number library chooses its kernels by."""
    flags = set(_cpuinfo("flags").split())
    known = ("avx512f", "avx2", "avx", "sse4_2")
    return next((name for name in known if name in flags), "unknown")


def _cpuinfo(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _settings() -> Environment:
    """What the system's owner may have set and speed depends on."""
    return {
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "boost": _first_line("/sys/devices/system/cpu/cpufreq/boost"),
        "huge_pages": _first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "timer": _first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    }


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip().splitlines()[0]
    except (OSError, IndexError):
        return "n/a"


def _set_variables(variables: Mapping[str, str]) -> Environment:
    """Each variable that number libraries read, as `env.NAME`, so that an unset one is simply absent."""
    read = (name for name in sorted(variables) if _VARIABLES.match(name) and name not in COMPILING)
    return {f"env.{name}": variables[name] for name in read}
