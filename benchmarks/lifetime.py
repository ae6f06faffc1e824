"""Where the seconds of a worker's life went: `Measurement.split`, whose parts sum to its wall time.

| Part | From … to |
|---|---|
| `start` | the process's birth to pytest's configuration: the interpreter, pytest and its plug-ins |
| `import` | MindSpore and ddpm_bench |
| `build` | the case made ready: network, weights, inputs, `mindspore.jit` around it |
| `compile` | the first call, less a steady one; 0 where nothing was compiled |
| `first_run` | the rest of the first call, and the others that are not timed |
| `rounds` | the timed calls, waiting included, what lies between them not |
| `gate` | proving that the outputs are right |
| `other` | what is left of the wall time: see below |

All parts but the last are read inside the worker, the whole outside of it. What is left: the proof that waiting waits,
inputs, turns of another arm, other cases of a shared worker, and the end of the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Linux, prctl(2): the signal to get when the parent ends."""

PARTS = ("start", "import", "build", "compile", "first_run", "rounds", "gate", "other")


def age() -> float:
    """Seconds since this process was born, to a scheduler tick (10 ms); 0 where the system does not tell.

    Not psutil's `create_time`, which adds the moment of booting, known to a second only.
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        born = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), in ticks since booting
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - born)
    except (OSError, AttributeError):  # not Linux
        return 0.0


def end_with(clock: int | None) -> None:
    """End when the `clock` does, even if that is killed: a worker nobody reads would disturb whatever is timed next.

    Whoever asks after it has ended gets no signal any more, and has another parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if clock is not None and os.getppid() != clock:
            signal.raise_signal(signal.SIGKILL)


def first_calls(untimed: Sequence[float], rounds: Sequence[float], *, compiled: bool) -> dict[str, float]:
    """The parts `compile` and `first_run` of the `untimed` calls, in seconds each.

    What a call costs in the end is the median of the `rounds`; so much of the first call was no compilation.
    """
    compiling = max(0.0, untimed[0] - statistics.median(rounds)) if compiled else 0.0
    return {"compile": compiling, "first_run": sum(untimed) - compiling}


def whole(parts: Mapping[str, float], wall: float) -> dict[str, float]:
    """The `parts` with `other`, so that they sum to the `wall` time of the worker, in the order of `PARTS`."""
    other = wall - sum(parts.values())
    return {name: {**parts, "other": other}[name] for name in PARTS if name in parts or name == "other"}
