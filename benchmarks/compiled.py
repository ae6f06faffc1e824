"""Compiled graphs kept from one worker to the next of its kind, so that only the first one compiles.

MindSpore writes them into a folder (`MS_COMPILER_CACHE_ENABLE`, `MS_COMPILER_CACHE_PATH`) and finds them again by the
order in which a process asks for them. So workers share a folder only if they do the same in every respect, by
interpreter, code, settings, cases and mode. What is loaded instead of compiled is gated like everything that is
timed: so it was found that a training step loaded from there turns every loss but the first into NaN (MindSpore 2.8.0
and 2.9.0, CPU). Training steps are always compiled. So are single operators: once all four workers of a pair that
timed them under GRAPH_MODE, with graphs kept, met "Parameter[16] has no default param" (2.10.0); why was not found.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.worker import Answer, Job


@dataclass(frozen=True)
class Graphs:
    """Compiled graphs below a `folder` that nobody else writes into."""

    folder: Path

    def state(self, job: Job) -> str:
        """Whether a worker that does `job` finds its graphs compiled, "warm", or not, "cold"."""
        return "warm" if self._place(job).exists() else "cold"

    def variables(self, job: Job) -> dict[str, str]:
        """MindSpore's variables for a worker that does `job`."""
        place = self._place(job)
        place.mkdir(exist_ok=True)
        return {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(place)}

    def forget(self, job: Job) -> None:
        """Remove the graphs of workers that do `job`: one that was killed may have left half of one."""
        shutil.rmtree(self._place(job), ignore_errors=True)

    def _place(self, job: Job) -> Path:
        return self.folder / hashlib.sha256(repr((job.arm, job.side)).encode()).hexdigest()[:16]


def safe(cases: Iterable[Case]) -> bool:
    """Whether graphs of all these `cases` can be loaded: none of them trains or is a single operator."""
    return not any(case.maker == "training_step" or case.small for case in cases)


@contextmanager
def kept(wanted: bool) -> Iterator[Graphs | None]:
    """A folder for the graphs of one run, which ends with it; None where every worker is to compile."""
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="ddpm-bench-graphs-") as name:
        yield Graphs(Path(name))


def noting(answer: Answer, state: str) -> Answer:
    """The `answer` whose rows in graph mode say whether their graphs were compiled already."""
    rows = (
        replace(row, params={**row.params, "compile_cache": state}) if row.params["mode"] == "graph" else row
        for row in answer.measurements
    )
    return replace(answer, measurements=tuple(rows))
