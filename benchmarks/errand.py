"""What an arm's interpreter is sent for beside being timed: to say which kernels it runs, to have itself judged."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.arms import Arm
from benchmarks.worker import worker_variables


class ErrandError(Exception):
    """Why there is no answer, in words that go on with "… ended with", "… took longer"."""


def errand(
    arm: Arm,
    arguments: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
    seconds: float,
) -> subprocess.CompletedProcess[str]:
    """The interpreter of `arm` run with `arguments` in `folder`, its code first on the path, for at most `seconds`.

    `variables` are its environment, with the arm's own and the `extra` ones on top. Raises `ErrandError` where it
    cannot be started or takes too long; how it ended otherwise is for the caller to judge.
    """
    environment = worker_variables(variables, {**arm.variables, **(extra or {})}, code=arm.code)
    try:
        return subprocess.run(  # noqa: S603 - an interpreter with our own arguments
            [arm.python, *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ErrandError(f"took longer than {seconds:.0f} s") from None
    except OSError as error:
        raise ErrandError(f"could not be started: {error.strerror}") from None
