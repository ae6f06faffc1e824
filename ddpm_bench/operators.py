"""Which of several equal ways the DDPM computes a part, and how that is decided.

| Part | "native" | the other way |
|---|---|---|
| `norm` | MindSpore's `nn.GroupNorm` | elementary operators, `group_norm.py` |
| `upsample` | pixels repeated, then `nn.Conv2d` | four small convolutions, `upsampling.py` |
| `conv` | `nn.Conv2d`, 3×3 | Winograd's products, `winograd.py` |
| `clip` | the gradient's squares added up at once | by a product with ones, `train_step.py` |

Both ways have the same parameters and, but for rounding, the same values and gradients; the judge checks either. Which
is faster depends on the machine, the MindSpore build and the mode, so it is measured: each part is timed both ways in a
fresh process, compiled and in PyNative mode, once for each MindSpore version and CPU. The answer is cached in the
user's cache folder. Only for the CPU: on GPU and Ascend everything is native.

`conv` may have a number behind it: the fewest channels, in and out, of convolutions that go the other way. Only wide
ones are worth it, so what is measured and chosen is `conv128`.

The environment variable `DDPM_BENCH_OPERATORS` decides, and is where the decision is kept: "native", or the parts that
go the other way, such as "norm,upsample", each in both modes or only in one, "norm:graph,clip"; with "@CPU" at the end,
only on that device. If the user has set it nothing is measured. Records carry it like every variable that numbers
depend on. This module imports no MindSpore; `exchange.py` puts the ways into a network.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeGuard

from ddpm_bench import remedy
from ddpm_bench.errors import ConfigError, unknown_name
from ddpm_bench.probe import ProbeError, ask
from ddpm_bench.probe_cache import Cache

VARIABLE = "DDPM_BENCH_OPERATORS"
NATIVE = "native"

MODES = ("graph", "pynative")
"""As `device.MODES`, which only a process with MindSpore can import."""

WIDE = 128
"""Channels from which on a convolution is worth it: with 256 it took 0.7 of the native time, with 64 1.8 times it."""

WORTHWHILE = 0.9
"""A part goes the other way in a mode if that takes at most so much of the native time in it."""

CACHE = Cache("operators", schema=1)
"""Its entries are {part: {mode: `Times`}}."""


@dataclass(frozen=True)
class Operators:
    """For each part, whether it goes the other way."""

    norm: bool = False
    upsample: bool = False
    conv: int = 0
    """the fewest channels of those that do; 0 for none"""
    clip: bool = False

    def for_narrow(self) -> Operators:
        """The same for networks in which no convolution is wide: all of them go the way that wide ones would."""
        return replace(self, conv=min(self.conv, 1))

    def __str__(self) -> str:
        """As `parse` reads it."""
        fewest = {"conv": str(self.conv)} if self.conv > 1 else {}
        return ",".join(f"{part}{fewest.get(part, '')}" for part in PARTS if getattr(self, part)) or NATIVE


PARTS = tuple(field.name for field in fields(Operators))

PLAIN = Operators()
"""All of it MindSpore's own."""


@dataclass(frozen=True)
class Times:
    """Seconds of one part in one mode, with its gradient where it has one, the least of several."""

    native: float
    other: float | None
    """None if the other way does not work with this MindSpore or gives something else"""

    @property
    def ratio(self) -> float:
        """Of the other way to the native one."""
        return math.inf if self.other is None else self.other / self.native


Found = Mapping[str, Mapping[str, Times]]
"""Each part's `Times`, by mode."""


def faster(times: Mapping[str, Times]) -> list[str]:
    """The modes in which the other way is worth it for the part that takes these `times`."""
    return [mode for mode in MODES if times[mode].ratio <= WORTHWHILE]


def told(part: str, times: Mapping[str, Times]) -> str:
    """For a person: what the other way takes."""
    compiled, pynative = (_share(times[mode]) for mode in MODES)
    return f"{part} in {compiled} of the native time ({pynative} in PyNative)"


def _share(times: Times) -> str:
    return "no way" if times.other is None else f"{times.ratio:.0%}"


def parse(text: str, device: str, mode: str) -> Operators:
    """What `DDPM_BENCH_OPERATORS=text` means on `device` in `mode`, "graph" or "pynative".

    Raises `ConfigError` for a part or a mode that there is not.
    """
    names, at, only = text.partition("@")
    if at and only != "CPU":
        raise ConfigError(f"{VARIABLE} is {text!r}: after @ only CPU can stand, where other operators are ever chosen")
    meant: dict[str, Any] = {}
    for entry in [] if names == NATIVE else names.split(","):
        name, colon, where = entry.partition(":")
        part, value = _part(name)
        if colon and where not in MODES:
            raise unknown_name(f"mode in {VARIABLE}", where, MODES)
        meant |= {part: value} if not colon or where == mode else {}
    return PLAIN if only and only != device else Operators(**meant)


def _part(name: str) -> tuple[str, int | bool]:
    """The part that an entry names, and what it is to be."""
    fewest = re.fullmatch("conv([1-9][0-9]*)?", name)
    if fewest:
        return "conv", int(fewest[1] or 1)
    if name not in PARTS:
        raise unknown_name(f"part in {VARIABLE}", name, (*PARTS, NATIVE))
    return name, True


def spelled(found: Found) -> str:
    """What to set the variable to where this was `found`."""
    names = {"conv": f"conv{WIDE}"}
    modes = {names.get(part, part): faster(times) for part, times in found.items()}
    entries = [part if len(each) == len(MODES) else f"{part}:{each[0]}" for part, each in modes.items() if each]
    return f"{','.join(entries)}@CPU" if entries else NATIVE


def current(device: str, mode: str) -> Operators:
    """What to use on `device` in `mode`: what the environment says, by default everything native.

    Raises `ConfigError` as `parse` does.
    """
    return parse(os.environ.get(VARIABLE) or NATIVE, device, mode)


def _check() -> None:
    """Raises `ConfigError` if what the user has set means nothing."""
    for mode in MODES:
        current("CPU", mode)


def apply(say: Callable[[str], None] | None = None) -> str | None:
    """Decide for this process, for networks on the CPU; call after `remedy.apply`, under which the parts are timed.

    Returns the sentence to tell the user and to record, or None if everything stays native or the user has decided.
    `say` is told before measuring, which takes about half a minute. Raises `ConfigError` if what the user has set means
    nothing.
    """
    if os.environ.get(VARIABLE):
        _check()
        return None
    found = cached(say)
    if found is None:
        return None
    os.environ[VARIABLE] = spelled(found)
    gains = [told(part, times) for part, times in found.items() if faster(times)]
    return f"{VARIABLE}={os.environ[VARIABLE]} is set for this process: {', '.join(gains)}" if gains else None


def settings(tuning: str, say: Callable[[str], None] | None = None) -> dict[str, dict[str, str | None]]:
    """The variables that a setting means, as `remedy.settings`.

    "tuned" has what the user has set `DDPM_BENCH_OPERATORS` to, or else what is faster here; "stock" unsets it. Raises
    `ConfigError` if what the user has set means nothing.
    """
    known = remedy.settings(tuning, say)
    if "stock" in known:
        known["stock"][VARIABLE] = None
    if "tuned" in known:
        known["tuned"] |= _variables(say)
    return known


def _variables(say: Callable[[str], None] | None) -> dict[str, str]:
    """What to put into the environment of a new process that shall be fast."""
    given = os.environ.get(VARIABLE)
    if given:
        _check()
        return {VARIABLE: given}
    found = cached(say)
    return {} if found is None else {VARIABLE: spelled(found)}


def measure(*, without: tuple[str, ...] = ()) -> Found:
    """Time every part both ways, in a fresh process, about half a minute; the variables `without` are not inherited.

    Raises `ProbeError` if that fails.
    """
    seconds = ask("operators", without=(VARIABLE, *without), **remedy.variables())
    return {part: _by_mode(seconds[part]) for part in PARTS}


def _by_mode(seconds: Mapping[str, Mapping[str, Any]]) -> dict[str, Times]:
    return {mode: Times(**seconds[mode]) for mode in MODES}


def cached(say: Callable[[str], None] | None = None) -> Found | None:
    """The cached answer, or a new one, written to the cache if that is possible. None if MindSpore cannot be asked."""
    if importlib.util.find_spec("mindspore") is None:
        return None
    with CACHE.locked():
        found = _read()
        if found is None:
            if say is not None:
                say("timing operators, once for this MindSpore and CPU")
            with contextlib.suppress(ProbeError):
                found = measure()
                CACHE.keep(_key(), as_record(found))
    return found


def as_record(found: Found) -> dict[str, dict[str, dict[str, float | None]]]:
    """What was `found` as JSON can hold it."""
    return {part: {mode: asdict(each) for mode, each in times.items()} for part, times in found.items()}


def remember(found: Found) -> None:
    """Put a fresh measurement into the cache, for the processes that start next."""
    with CACHE.locked():
        CACHE.keep(_key(), as_record(found))


def _key() -> str:
    """Which machine and build an answer is for; threads share the work of some operators and not of others."""
    return f"{remedy.key()} | {len(os.sched_getaffinity(0))} cores"


def _read() -> Found | None:
    """What the cache says about this machine and build, if it is anything that was kept there."""
    entry = CACHE.entries().get(_key())
    if not _has(entry, PARTS) or not all(_has(times, MODES) for times in entry.values()):
        return None
    for times in (times for by_mode in entry.values() for times in by_mode.values()):
        if not _has(times, ("native", "other")):
            return None
        seconds = [times["native"], *([] if times["other"] is None else [times["other"]])]
        if not all(isinstance(value, float) and value > 0 for value in seconds):
            return None
    return {part: _by_mode(entry[part]) for part in PARTS}


def _has(entry: Any, keys: Iterable[str]) -> TypeGuard[dict[str, Any]]:
    """True for a mapping with these keys and no other."""
    return isinstance(entry, dict) and set(entry) == set(keys)
