"""A comparison ended at any moment goes on: the same set of cells, none lost, none twice. Fake pairs, a real store."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_worker import case

from benchmarks import duel, history
from benchmarks.arms import Arm
from benchmarks.duel import Bout, fight
from benchmarks.environment import CODE_KEYS
from benchmarks.measurement import BenchmarkError, Record, from_record, measurements
from benchmarks.resume import find
from benchmarks.worker import Answer, Job

BOUT = Bout((Arm("old"), Arm("new")), tuple((case(f"fake[{name}]"), "graph") for name in "abc"), most_pairs=3)
WANTED = sorted((arm, f"fake[{name}]", i) for arm in ("old", "new") for name in "abc" for i in range(3))


class Pairs:
    """Stands for `run_pair`: every pair is marked, so that halves of two different ones are noticed."""

    code = "1"

    def __call__(self, jobs: Sequence[Job], *_: object, **__: object) -> list[Answer]:
        time.sleep(0.001)
        mark = random.SystemRandom().random() + 1.0
        return [
            Answer((self.row(job, mark),), {"environment": dict.fromkeys(CODE_KEYS, self.code)}, 0.001) for job in jobs
        ]

    @staticmethod
    def row(job: Job, mark: float) -> Any:
        params = {"device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": 2}
        fields = {"case": job.cases[0].id, "params": params, "process": job.process, "seconds": [mark, mark]}
        absent = ("first_call_seconds", "flops", "peak_rss_bytes", "cpu_over_wall", "import_seconds")
        rest = {"work": 1, "unit": "images", "proof": {}, **dict.fromkeys(absent)}
        return from_record({**fields, **rest, "interleaved": True})


@pytest.fixture(autouse=True)
def fake_pairs(monkeypatch: pytest.MonkeyPatch) -> Pairs:
    fake = Pairs()
    monkeypatch.setattr(duel, "run_pair", fake)
    return fake


def go(store: Path, *, die_after: int | None = None) -> dict[str, Record]:
    """The comparison, resumed if it can be; with `die_after` this process is killed after so many appends."""
    appended = 0

    def keep(fresh: Mapping[str, Record]) -> None:
        nonlocal appended
        for record in fresh.values():
            history.append(store, record)
            appended += 1
            if appended == die_after:
                os.kill(os.getpid(), signal.SIGKILL)

    return fight(BOUT, reference="json:loads", on_pair=keep, earlier=find(store, BOUT.plan, ["old", "new"]))


def killed(store: Path, *, after: float = 10.0, die_after: int | None = None) -> int:
    """Run it in a process of its own and kill that `after` seconds; the signal it ended by, or 0."""
    child = os.fork()
    if child == 0:
        try:
            go(store, die_after=die_after)
        finally:
            os._exit(0)
    if die_after is None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def check_complete(store: Path, records: Mapping[str, Record]) -> None:
    """In the store and in the records every cell once, and the two of each pair measured together."""
    kept = [(str(record["arm"]), row) for record in history.read(store).records for row in measurements(record)]
    for rows in (kept, [(arm, row) for arm, record in records.items() for row in measurements(record)]):
        assert sorted((arm, row.case, row.process) for arm, row in rows) == WANTED
        marks = {arm: {(row.case, row.process): row.seconds for a, row in rows if a == arm} for arm in ("old", "new")}
        assert marks["old"] == marks["new"]


def test_run_killed_at_50_random_moments_ends_with_every_cell_once(tmp_path: Path) -> None:
    moments = random.Random(20)  # noqa: S311 - moments to be killed at are no secret
    begun = time.perf_counter()
    go(tmp_path / "whole")
    whole = time.perf_counter() - begun
    ended = 0
    for i in range(50):
        store = tmp_path / str(i)
        ended += killed(store, after=moments.uniform(0.0, 1.2 * whole)) == signal.SIGKILL
        check_complete(store, go(store))
    assert ended >= 25


@pytest.mark.parametrize("die_after", [1, 3, 17])
def test_half_a_pair_is_measured_again_and_said(tmp_path: Path, die_after: int) -> None:
    assert killed(tmp_path, die_after=die_after) == signal.SIGKILL
    records = go(tmp_path)
    check_complete(tmp_path, records)
    assert "half a pair" in " ".join(records["new"]["notes"])


def test_finished_comparison_measures_nothing_more(tmp_path: Path) -> None:
    first = go(tmp_path)
    assert go(tmp_path)["new"]["measurements"] == first["new"]["measurements"]


def test_other_code_than_before_is_refused(tmp_path: Path, fake_pairs: Pairs) -> None:
    killed(tmp_path, die_after=4)
    fake_pairs.code = "2"
    with pytest.raises(BenchmarkError, match="no longer what the earlier pairs measured"):
        go(tmp_path)
