"""The convolution remedy: what has to be decided before MindSpore is imported.

MindSpore 2.9.0 and 2.10.0 bundle oneDNN 3.10.1, which on CPUs with AVX-512 runs float32 convolutions in its reference
loop, about a hundred times slower than before. Capped with `ONEDNN_MAX_CPU_ISA=AVX2` it takes the fast one again.
oneDNN reads the variable once, when it is loaded.

Whether a build is affected is measured, not looked up: a convolution is timed against a matrix product of equal work,
in a fresh process, once for each MindSpore version and CPU; the answer is cached in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ddpm_bench.probe import ProbeError, ask
from ddpm_bench.probe_cache import Cache

VARIABLE = "ONEDNN_MAX_CPU_ISA"
VALUE = "AVX2"
SAME_MEANING = (VARIABLE, "DNNL_MAX_CPU_ISA")
"""oneDNN reads both; if the user has set either, the choice is theirs."""

SLOW_RATIO = 10.0
"""A convolution is slow if it takes so many times as long as a matrix product of equal work.

Measured 1.4 on MindSpore 2.7.0, 2.2 on 2.10.0 under the cap, and 83 to 423 in the trap, on two cores that ten programs
shared. Ten is about the middle on a logarithmic scale: a factor of four to either side."""

WORTHWHILE_SPEEDUP = 3.0
"""The cap is applied only if it makes the convolution at least so many times faster; in the trap it is 200."""

CACHE = Cache("convolution", schema=1)
"""Its entries are `Convolution`s."""


@dataclass(frozen=True)
class Convolution:
    """How this MindSpore convolves on this CPU; seconds for one call each, the least of several."""

    matmul: float
    stock: float
    """for a convolution with as many operations as `matmul`, nothing set"""
    capped: float | None
    """the same under `ONEDNN_MAX_CPU_ISA=AVX2`; None if `stock` is not slow"""

    @property
    def ratio(self) -> float:
        """Convolution over matrix product of equal work, nothing set."""
        return self.stock / self.matmul

    @property
    def slow(self) -> bool:
        """True if this is the trap."""
        return self.ratio > SLOW_RATIO

    @property
    def remedied(self) -> bool:
        """True if the cap cures it."""
        return self.capped is not None and self.stock / self.capped >= WORTHWHILE_SPEEDUP


def apply(say: Callable[[str], None] | None = None) -> str | None:
    """Set `ONEDNN_MAX_CPU_ISA` in this process if MindSpore needs it here; call before importing MindSpore.

    Returns the sentence to tell the user and to record, or None if nothing is to be done: the variable is already set,
    convolutions are fast, nothing helps, or MindSpore does not even import (whoever imports it next will say so).
    `say` is told before measuring, which takes some seconds, once for each MindSpore version and CPU.
    """
    found = _curable(say)
    if found is None:
        return None
    if "mindspore" in sys.modules:
        return (
            f"convolutions take {found.ratio:.0f} times as long as matrix products of equal work, and this process has "
            f"already imported MindSpore, too late to cure it: set {VARIABLE}={VALUE} before starting Python"
        )
    os.environ[VARIABLE] = VALUE
    _applied[VARIABLE] = VALUE
    return f"{VARIABLE}={VALUE} is set for this process: {_evidence(found)}"


_applied: dict[str, str] = {}


def variables(say: Callable[[str], None] | None = None) -> dict[str, str]:
    """What to put into the environment of a new process that shall convolve fast; `say` as for `apply`.

    Empty if that needs nothing, or if the user has set the variable: then it is inherited.
    """
    return dict(_applied) if _applied or _curable(say) is None else {VARIABLE: VALUE}


def settings(tuning: str, say: Callable[[str], None] | None = None) -> dict[str, dict[str, str | None]]:
    """The variables that a setting means: "stock" is MindSpore as it comes, "tuned" has `variables`; "both" is both."""
    known: dict[str, dict[str, str | None]] = {"stock": {}, "tuned": dict(variables(say))}
    return known if tuning == "both" else {tuning: known[tuning]}


def _curable(say: Callable[[str], None] | None) -> Convolution | None:
    """The timing of convolutions if they are slow here, the cap cures them, and nobody has set it."""
    if any(os.environ.get(name) for name in SAME_MEANING):
        return None
    found = cached_convolution(say)
    return found if found is not None and found.slow and found.remedied else None


def _evidence(found: Convolution) -> str:
    assert found.capped is not None
    return (
        f"without it, a convolution of MindSpore {mindspore_version()} takes {found.ratio:.0f} times as long here as a "
        f"matrix product of equal work; with it, convolutions are {found.stock / found.capped:.0f} times faster"
    )


def mindspore_version() -> str | None:
    """Version of the installed MindSpore, without importing it; None if there is none."""
    try:
        return importlib.metadata.version("mindspore")
    except importlib.metadata.PackageNotFoundError:
        return None


def measure_convolution() -> Convolution:
    """Time it now, in fresh processes, five to ten seconds. Raises `ProbeError` if MindSpore does not work."""
    stock = ask("convolution", without=SAME_MEANING)
    found = Convolution(stock["matmul"], stock["convolution"], None)
    if not found.slow:
        return found
    capped = ask("convolution", without=SAME_MEANING, **{VARIABLE: VALUE})
    return Convolution(found.matmul, found.stock, capped["convolution"])


def cached_convolution(say: Callable[[str], None] | None = None) -> Convolution | None:
    """The cached answer, or a new one, written to the cache if that is possible. None if MindSpore cannot be asked."""
    if importlib.util.find_spec("mindspore") is None:
        return None
    with CACHE.locked():
        found = _read()
        if found is None:
            if say is not None:
                say("timing a convolution, once for this MindSpore and CPU")
            with contextlib.suppress(ProbeError):
                found = measure_convolution()
                CACHE.keep(key(), asdict(found))
    return found


def remember(found: Convolution) -> None:
    """Put a fresh measurement into the cache, for the processes that start next."""
    with CACHE.locked():
        CACHE.keep(key(), asdict(found))


def key() -> str:
    """Which machine and build an answer is for: version of MindSpore, CPU model, a digest of what the CPU can do."""
    model, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() in ("flags", "Features"):
                flags = value.strip()
    return f"{mindspore_version()} | {model} | {hashlib.sha256(flags.encode()).hexdigest()[:12]}"


def _read() -> Convolution | None:
    """What the cache says about this machine and build, if it is anything that was kept there."""
    entry = CACHE.entries().get(key())
    if not isinstance(entry, dict) or set(entry) != {"matmul", "stock", "capped"}:
        return None
    seconds = [value for value in entry.values() if value is not None]
    if not all(isinstance(value, float) and value > 0 for value in seconds) or len(seconds) < 2:
        return None
    return Convolution(**entry)
