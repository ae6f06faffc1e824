"""What a run's budget left out, as rows and sentences of its record, and why a worker was stopped.

A worker for which there was no time is dropped, never shortened: what a cell lacks is whole processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.worker import Job


def never_ran(dropped: Sequence[Job], processes: int, budget: float | None) -> list[dict[str, str]]:
    """A row for every case of which all `processes` were `dropped`."""
    missing = Counter(job.arm for job in dropped)
    first = {job.arm: job for job in dropped if missing[job.arm] == processes}
    return [
        {"device": job.device, "mode": job.mode, "case": case.id, "reason": _used_up(budget)}
        for job in first.values()
        for case in job.cases
    ]


def notes(dropped: Sequence[Job], processes: int, budget: float | None) -> list[str]:
    """One sentence for every arm that got fewer processes than planned."""
    return [
        f"{', '.join(cases)} in {mode} mode on {device} ({tuning}) ran in {processes - missing} of {processes} "
        f"processes, because {_used_up(budget)}"
        for (cases, device, mode, tuning), missing in Counter(job.arm for job in dropped).items()
    ]


def too_late(allowed: float, timeout: float, budget: float | None) -> str:
    """Why a worker is stopped after the seconds it is `allowed`."""
    if allowed < timeout:
        return f"it was stopped after {allowed:.0f} s because {_used_up(budget)}"
    return f"it was stopped after {timeout:.0f} s, longer than a worker may take"


def _used_up(budget: float | None) -> str:
    return f"the budget of {budget:g} s was used up"
