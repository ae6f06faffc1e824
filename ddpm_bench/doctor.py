"""What this machine and this MindSpore build do, and which traps they hold, each found by trying it.

`diagnose` asks fresh processes (`probe.py`) and turns what they saw into diagnoses: what was found, how bad it is, and
what to do. Nothing is concluded from a version number. This module imports no MindSpore, so it also works where
MindSpore does not.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import psutil

from ddpm_bench import operators, remedy
from ddpm_bench.doctor_record import Diagnosis, record, table
from ddpm_bench.errors import ConfigError
from ddpm_bench.probe import ProbeError, ask

__all__ = ["Diagnosis", "diagnose", "record", "table"]

TESTED_VERSIONS: Final = ((2, 7), (2, 10))
"""Oldest and newest minor version of MindSpore that the tests run under."""

DISGUISES: Final = {
    "MS_KERNEL_LAUNCH_SKIP": "skips kernels, so results are zeros",
    "MS_JIT": "turns graph mode into PyNative without a word",
    "MS_SIMULATION_LEVEL": "compiles without computing on the device",
    "MS_DEV_": "changes how operators and graphs are run, for MindSpore's developers",
    "MS_PROFILER_": "records a profile while running",
    "PROFILING_": "records a profile while running",
    "MINDSPORE_DUMP_CONFIG": "writes tensors to disk while running",
    "MS_COMPILER_CACHE_ENABLE": "takes compiled graphs from disk, so compile times mean nothing",
}
"""Environment variables under which MindSpore is not what it seems; a name ending in _ stands for all that begin so."""

LATE_WAIT: Final = 0.25
"""A wait that leaves more than this share of the work undone did not wait; a real one leaves under 1 %."""

BUSY_CORES: Final = 0.3
"""Other programs using so many cores disturb timings on machines of any size."""

SLOW_ADDITION: Final = 4.0
"""PyNative has the latency trap if `launch_blocking` makes an addition so many times faster; found: 6 to 80 or 1."""

LARGE_ERROR: Final = 1e-5
"""Relative error of a float32 kernel that is worth knowing: 170 roundings (unit roundoff 6e-8)."""


def diagnose(progress: Callable[[str], None] | None = None) -> list[Diagnosis]:
    """Try everything, in 30 to 60 seconds on two free cores; `progress` is told what comes next.

    Never raises for what it finds: a MindSpore that cannot be used is a diagnosis of severity "broken".
    """
    tell = progress or (lambda _: None)
    tell("environment and machine")
    found = [diagnose_variables(os.environ, _effect), diagnose_machine()]
    tell("MindSpore, its modes, operators and devices")
    try:
        traits = ask("traits", without=disguises(os.environ))
    except ProbeError as error:
        return [diagnose_broken(str(error)), *found]
    tell("speed of convolutions")
    convolutions = diagnose_convolution(traits["addition"])
    tell("speed of operators")
    judged = [judge(traits) for judge in JUDGES]
    return [*judged, *diagnose_devices(traits), *convolutions, diagnose_operators(), *found]


# What stops everything ------------------------------------------------------------------------------------------------


def diagnose_broken(last_words: str) -> Diagnosis:
    """Why MindSpore does not even add two numbers."""
    version, numpy = remedy.mindspore_version(), importlib.metadata.version("numpy")
    if version is None:
        return Diagnosis("MindSpore", "broken", "MindSpore is not installed", "pip install 'mindspore>=2.7,<2.11'")
    data = {"version": version, "numpy": numpy, "said": last_words}
    if int(numpy.split(".")[0]) >= 2 or "multiarray" in last_words:
        found = f"MindSpore {version} fails with NumPy {numpy} (up to 2.10.0 it is built for NumPy 1): {last_words}"
        return Diagnosis("NumPy ABI", "broken", found, "pip install 'numpy>=1.26,<2'", data)
    found = f"MindSpore {version} does not add two numbers: {last_words}"
    return Diagnosis(
        "MindSpore", "broken", found, f"reinstall it: pip install --force-reinstall mindspore=={version}", data
    )


# What one process tells about MindSpore -------------------------------------------------------------------------------


def diagnose_version(traits: Mapping[str, Any]) -> Diagnosis:
    """Which MindSpore this is, and whether the tests know it."""
    version, seconds = traits["version"], traits["import_seconds"]
    found = f"MindSpore {version} imports in {seconds:.1f} s"
    data = {"version": version, "import_seconds": seconds}
    oldest, newest = (".".join(map(str, bound)) for bound in TESTED_VERSIONS)
    if TESTED_VERSIONS[0] <= tuple(int(part) for part in version.split(".")[:2]) <= TESTED_VERSIONS[1]:
        return Diagnosis("MindSpore", "ok", found, "", data)
    return Diagnosis(
        "MindSpore",
        "note",
        f"{found}; only {oldest} to {newest} are tested",
        "trust what verify says, not the version",
        data,
    )


def diagnose_numpy(traits: Mapping[str, Any]) -> Diagnosis:
    """Whether MindSpore reads NumPy's memory: an operator on a NumPy-made tensor, 1 + 1."""
    data = {"numpy": traits["numpy"], "one_plus_one": traits["one_plus_one"]}
    if traits["one_plus_one"] == 2:
        return Diagnosis("NumPy ABI", "ok", f"MindSpore and NumPy {traits['numpy']} understand each other", "", data)
    found = f"MindSpore computes 1 + 1 = {traits['one_plus_one']:g} from NumPy {traits['numpy']}'s memory"
    return Diagnosis("NumPy ABI", "broken", found, "pip install 'numpy>=1.26,<2'", data)


def diagnose_modes(traits: Mapping[str, Any]) -> Diagnosis:
    """Whether PyNative, `jit` and whole-graph mode are what they say, and agree."""
    seen = traits["modes"]
    if seen["compiled_in_pynative"] or seen["compiled_in_graph"] < 2:
        found = (
            f"PyNative compiled {seen['compiled_in_pynative']} graphs and graph mode {seen['compiled_in_graph']}, "
            f"expected 0 and 2"
        )
        return Diagnosis("modes", "trap", found, "do not compare modes on this machine before this is understood", seen)
    if not seen["same_bits"]:
        found = "PyNative and graph mode give different bits for the same operators"
        return Diagnosis("modes", "note", found, "compare modes with a tolerance", seen)
    return Diagnosis(
        "modes", "ok", "PyNative, jit and whole-graph mode do what they say and give the same bits", "", seen
    )


def diagnose_synchronise(traits: Mapping[str, Any]) -> Diagnosis:
    """Whether `runtime.synchronize()` waits, from the first call on, and whether ours does."""
    seen = traits["synchronise"]
    if not seen["proof"]["holds"]:
        found = (
            f"twice the operators took {seen['proof']['ratio']:.2f} times as long and fetching the result "
            f"{1e3 * seen['proof']['seconds_fetch']:.1f} ms after the wait: waiting cannot be trusted now"
        )
        return Diagnosis("synchronise", "trap", found, "time on a quiet machine, and only with asnumpy() inside", seen)
    if seen["left_after_first"] > LATE_WAIT:
        found = (
            f"the first mindspore.runtime.synchronize() of a process returned with "
            f"{100 * seen['left_after_first']:.0f} % of the work undone; later ones wait"
        )
        advice = "call it once before timing, as ddpm_bench.device.synchronize does"
        return Diagnosis("synchronise", "trap", found, advice, seen)
    return Diagnosis("synchronise", "ok", "mindspore.runtime.synchronize() waits, from the first call on", "", seen)


def diagnose_defaults(traits: Mapping[str, Any]) -> Diagnosis:
    """Whether layers mean what a reader of PyTorch code expects."""
    seen = traits["defaults"]
    surprises = [
        text
        for surprise, text in (
            (seen["max_pool_stride"] == 1, "nn.MaxPool2d(2) has stride 1 and does not halve the image"),
            (not seen["convolution_has_bias"], "nn.Conv2d has no bias"),
            (seen["convolution_keeps_size"], "nn.Conv2d pads (pad_mode='same')"),
        )
        if surprise
    ]
    if not surprises:
        return Diagnosis("layer defaults", "ok", "max-pooling and convolution default to what PyTorch's do", "", seen)
    return Diagnosis("layer defaults", "trap", "; ".join(surprises), "write stride, has_bias and pad_mode out", seen)


def diagnose_gather(traits: Mapping[str, Any]) -> Diagnosis:
    """Whether an index before the beginning is noticed."""
    seen = traits["gather_minus_one"]
    data = {"gather_minus_one": seen}
    if seen == "last entry":
        found = "ops.gather with index −1 silently returns the last entry, here ᾱ_T for ᾱ_0"
        return Diagnosis("gather", "trap", found, "never gather with t − 1; keep a table of previous values", data)
    return Diagnosis("gather", "ok", f"ops.gather with index −1 gives {seen}", "", data)


def diagnose_kernels(traits: Mapping[str, Any]) -> Diagnosis:
    """Whether float32 kernels are as accurate as float32."""
    seen = traits["kernels"]
    poor = {name: error for name, error in seen.items() if not error <= LARGE_ERROR}
    if not poor:
        return Diagnosis("float32 kernels", "ok", f"relative errors are below {LARGE_ERROR:.0e}", "", seen)
    found = "relative errors of " + ", ".join(f"{name} {error:.0e}" for name, error in poor.items())
    return Diagnosis(
        "float32 kernels", "trap", found, "use erf and log of sums instead, or compute tables in NumPy", seen
    )


def diagnose_seeding(traits: Mapping[str, Any]) -> Diagnosis:
    """Whether setting the seed again restarts the noise of a compiled Cell."""
    data = {"reseeding_repeats": traits["reseeding_repeats"]}
    if traits["reseeding_repeats"]:
        return Diagnosis("seeding", "ok", "seeding again repeats the noise of a compiled Cell", "", data)
    found = "seeding again does not restart the noise of an already compiled Cell"
    return Diagnosis(
        "seeding", "trap", found, "pass noise and time steps in as arguments, as everything here does", data
    )


def diagnose_tools(traits: Mapping[str, Any]) -> Diagnosis:
    """What MindSpore lacks here that a benchmark or a reference would want."""
    data = {name: traits[name] for name in ("events", "peak_memory", "float64_convolution")}
    lacking = [
        text
        for works, text in (
            (traits["events"], "timing events"),
            (traits["peak_memory"] > 0, "memory statistics (they are zero)"),
            (traits["float64_convolution"], "float64 convolutions"),
        )
        if not works
    ]
    if not lacking:
        return Diagnosis(
            "instruments", "ok", "timing events, memory statistics and float64 convolutions work", "", data
        )
    advice = "time with a synchronised clock, take the peak resident memory, keep a float64 reference in NumPy"
    return Diagnosis("instruments", "note", f"this device has no {', no '.join(lacking)}", advice, data)


JUDGES: Final[tuple[Callable[[Mapping[str, Any]], Diagnosis], ...]] = (
    diagnose_version,
    diagnose_numpy,
    diagnose_modes,
    diagnose_synchronise,
    diagnose_defaults,
    diagnose_gather,
    diagnose_kernels,
    diagnose_seeding,
    diagnose_tools,
)


def diagnose_devices(traits: Mapping[str, Any]) -> list[Diagnosis]:
    """One diagnosis for each kind of device."""
    found = []
    for name, reason in traits["devices"].items():
        if reason is None:
            found.append(Diagnosis(f"device {name}", "ok", "can be used"))
        else:
            found.append(Diagnosis(f"device {name}", "unavailable", reason.removeprefix("unavailable: ")))
    return found


# What needs a process with other settings -----------------------------------------------------------------------------


def diagnose_convolution(stock_addition: float) -> list[Diagnosis]:
    """How fast convolutions are, and, from the same process, how fast PyNative is under `launch_blocking`.

    `stock_addition`: seconds for an addition with nothing set, from another process.
    """
    clean = disguises(os.environ)
    setting = next((f"{name}={os.environ[name]}" for name in remedy.SAME_MEANING if os.environ.get(name)), None)
    try:
        seen = ask("convolution", without=clean)
        latency = diagnose_latency(stock_addition, seen["addition"])
        ours = remedy.Convolution(seen["matmul"], seen["convolution"], None)
        if ours.slow:
            others = tuple({*clean, *remedy.SAME_MEANING})
            capped = ask("convolution", without=others, **{remedy.VARIABLE: remedy.VALUE})["convolution"]
            ours = remedy.Convolution(ours.matmul, ours.stock, capped)
    except ProbeError as error:
        return [Diagnosis("convolution", "broken", f"a convolution ended its process: {error}", "reinstall MindSpore")]
    if setting is None:
        remedy.remember(ours)
    return [judge_convolution(ours, setting), latency]


def judge_convolution(seen: remedy.Convolution, setting: str | None) -> Diagnosis:
    """Whether convolutions are as fast as matrix products, under the user's own `setting` of oneDNN if there is one."""
    data = {"matmul": seen.matmul, "here": seen.stock, "capped": seen.capped, "ratio": seen.ratio, "setting": setting}
    under = f"with {setting} " if setting else ""
    took = f"{under}a convolution takes {seen.ratio:.1f} times as long as a matrix product of equal work"
    if not seen.slow:
        return Diagnosis("convolution", "ok", took, "", data)
    if not seen.remedied or seen.capped is None:
        return Diagnosis("convolution", "trap", took, "use a MindSpore release whose convolutions are fast here", data)
    cured = f"{took}; {remedy.VARIABLE}={remedy.VALUE} makes it {seen.stock / seen.capped:.0f} times faster"
    advice = (
        f"export {remedy.VARIABLE}={remedy.VALUE} before Python starts; train, sample and verify do so by themselves"
    )
    return Diagnosis("convolution", "trap", cured, advice, data)


def diagnose_latency(stock: float, blocking: float) -> Diagnosis:
    """Whether a PyNative operator waits for the scheduler: seconds for an addition as it comes and launch-blocking."""
    data = {"stock": stock, "launch_blocking": blocking}
    found = f"one addition of 2 MB takes {1e3 * stock:.2f} ms, with runtime.launch_blocking() {1e3 * blocking:.2f} ms"
    if stock < SLOW_ADDITION * blocking:
        return Diagnosis("PyNative latency", "ok", found, "", data)
    advice = "call it before the first operator, as ddpm_bench.device.configure does; never in a stock measurement"
    return Diagnosis("PyNative latency", "trap", found, advice, data)


def diagnose_operators() -> Diagnosis:
    """Which parts of the DDPM this project computes by other operators than MindSpore's own: timed anew, or as set."""
    setting = os.environ.get(operators.VARIABLE)
    if setting:
        return judge_operator_setting(setting)
    try:
        seen = operators.measure(without=disguises(os.environ))
    except ProbeError as error:
        return Diagnosis("operators", "note", f"could not be timed, so MindSpore's own are used: {error}")
    operators.remember(seen)
    ways = "; ".join(operators.told(part, times) for part, times in seen.items())
    choice = operators.spelled(seen)
    found = f"by other operators, {ways}: run, train, sample, verify and bench use {operators.VARIABLE}={choice}"
    return Diagnosis("operators", "ok", found, "", {**operators.as_record(seen), "choice": choice})


def judge_operator_setting(setting: str) -> Diagnosis:
    """What the user's own setting of the operators means."""
    try:
        compiled, pynative = (operators.current("CPU", mode) for mode in operators.MODES)
    except ConfigError as error:
        return Diagnosis("operators", "trap", str(error), f"unset {operators.VARIABLE}", {"setting": setting})
    found = f"{operators.VARIABLE}={setting} is set: compiled {compiled}, in PyNative {pynative}; nothing is timed"
    return Diagnosis("operators", "ok", found, "", {"setting": setting})


def disguises(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the variables in `environment` under which MindSpore is not what it seems."""
    return tuple(sorted(name for name, value in environment.items() if _disguise(name, value)))


def _disguise(name: str, value: str) -> str:
    """What the variable does, or "" if it is harmless. `MS_JIT` is so unless it is 0."""
    if not value or (name == "MS_JIT" and value != "0"):
        return ""
    matches = (known for known in DISGUISES if name == known or (known.endswith("_") and name.startswith(known)))
    return next((DISGUISES[known] for known in matches), "")


def diagnose_variables(environment: Mapping[str, str], effect: Callable[[], str]) -> Diagnosis:
    """Whether environment variables disguise what is run; if so, `effect()` says what they did to a small graph."""
    names = disguises(environment)
    if not names:
        return Diagnosis("environment", "ok", "no variable changes what MindSpore runs")
    told = "; ".join(f"{name}={environment[name]} {_disguise(name, environment[name])}" for name in names)
    data = {name: environment[name] for name in names}
    return Diagnosis("environment", "trap", f"{told} ({effect()})", f"unset {' '.join(names)}", data)


def _effect() -> str:
    """What the environment, as it is, does to a small function in every mode."""
    try:
        seen = ask("modes")
    except ProbeError as error:
        return f"tried: a small graph fails, {error}"
    compiled = "was compiled" if seen["compiled_in_graph"] else "was not compiled in graph mode"
    return f"tried: a small function {compiled} and {'computed' if seen['kernels_run'] else 'returned zeros'}"


def diagnose_machine() -> Diagnosis:
    """How many cores there are for this process, and how busy others keep them (half a second is watched)."""
    cores = len(os.sched_getaffinity(0))
    busy = sum(psutil.cpu_percent(interval=0.5, percpu=True)) / 100
    data = {"cores": cores, "busy_cores": round(busy, 2), "load_average": list(os.getloadavg())}
    found = f"{cores} cores, of which other programs keep {busy:.1f} busy"
    if busy < BUSY_CORES:
        return Diagnosis("machine", "ok", found, "", data)
    return Diagnosis(
        "machine", "note", found, "timings are worth little until they stop; correctness is not affected", data
    )
