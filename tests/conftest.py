"""What MindSpore needs before and after the tests import it, or on some machines they take many times as long."""

from __future__ import annotations

import sys

from ddpm_bench import remedy

# Before: on some CPUs a convolution takes seconds otherwise.
remedy.apply()


def pytest_collection_finish() -> None:
    """After: on few cores PyNative's threads wait for each other, a tick of the scheduler at a time, unless every operator
    waits for its result. No result depends on it; what does depend on it is tested in processes of its own.
    """  # fmt: skip
    if "mindspore" in sys.modules:
        sys.modules["mindspore"].runtime.launch_blocking()
