"""A slowdown of known size, planted on purpose: how the clock shows that it would notice one.

The planted call waits for its own result and then keeps the core busy for a share of the time that this very call took,
so it is slower by that share whatever the machine does meanwhile, and its output is untouched: every gate still passes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from benchmarks.timing import Workload


def slowed(workload: Workload, synchronize: Callable[[], None], share: float) -> Workload:
    """The `workload` with calls that take the `share` longer (0.03 for 3 %); as it is for a share of 0."""
    if not share:
        return workload

    def call(*arguments: Any) -> Any:
        start = time.perf_counter()
        output = workload.call(*arguments)
        synchronize()
        end = start + (1 + share) * (time.perf_counter() - start)
        while time.perf_counter() < end:
            pass
        return output

    return dataclasses.replace(workload, call=call)
