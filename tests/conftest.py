"""What libraries with threads of their own need before and after the tests import them, or some tests take three times
as long. No result depends on it; what does is tested in processes of its own.
"""  # fmt: skip

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from ddpm_bench import operators, remedy

# Before: on some CPUs MindSpore takes a second for a convolution otherwise.
remedy.apply()
# And what is tested is not decided by what was measured on the machine: every choice has tests of its own.
os.environ.setdefault(operators.VARIABLE, operators.NATIVE)


def pytest_collection_finish() -> None:
    """After: NumPy's products are small, and a second thread for them does nothing but wait, loudly. PyNative's threads
    wait for each other, a tick of the scheduler at a time, unless each operator waits for its result.
    """  # fmt: skip
    threadpool_limits(1, user_api="blas")
    if "mindspore" in sys.modules:
        sys.modules["mindspore"].runtime.launch_blocking()


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a killed process leaves lies among the files of the tests, which pytest clears away."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
