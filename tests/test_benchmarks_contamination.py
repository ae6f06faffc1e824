"""Pairs are dropped for what the machine did to both arms, whoever won."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import contamination
from benchmarks.compare import compare_records
from benchmarks.contamination import Pair
from benchmarks.measurement import SCHEMA, Measurement, Record

ROW = Measurement(
    case="a", params={"device": "CPU", "mode": "graph", "tuning": "tuned"}, process=0, seconds=(0.01, 0.01), flops=None,
    first_call_seconds=1.0, peak_rss_bytes=None, cpu_over_wall=1.5, work=1, unit="images", import_seconds=1.0, proof={},
    conditions={"wall_seconds": 4.0, "cpu_seconds": 6.0, "stolen_seconds": 0.0}, interleaved=True,
)  # fmt: skip


def pair(process: int, old: dict[str, float] | None = None, new: dict[str, float] | None = None) -> Pair:
    rows = [replace(ROW, process=process, conditions={**ROW.conditions, **(given or {})}) for given in (old, new)]
    return rows[0], rows[1]


def test_quiet_pairs_are_all_kept() -> None:
    assert contamination.sort([pair(i) for i in range(6)]).dropped == {}


@pytest.mark.parametrize("arm", ["old", "new"])
def test_stolen_time_in_either_arm_drops_the_pair(arm: str) -> None:
    pairs = [*(pair(i) for i in range(5)), pair(5, **{arm: {"stolen_seconds": 1.0}})]
    found = contamination.sort(pairs)
    assert list(found.dropped) == [5]
    assert "12% of its time was stolen" in found.dropped[5]
    assert len(found.kept) == 5


@pytest.mark.parametrize("arm", ["old", "new"])
def test_starved_pair_is_dropped(arm: str) -> None:
    starved = {"cpu_seconds": 0.1, "wall_seconds": 12.0}
    found = contamination.sort([*(pair(i) for i in range(5)), pair(5, **{arm: starved})])
    assert list(found.dropped) == [5]


def test_exchanging_the_arms_drops_the_same_pairs() -> None:
    odd = {"stolen_seconds": 0.9}
    pairs = [pair(0), pair(1, odd), pair(2, None, odd), pair(3, {"cpu_seconds": 0.2}), pair(4), pair(5), pair(6)]
    there = contamination.sort(pairs).dropped
    back = contamination.sort([(new, old) for old, new in pairs]).dropped
    assert there.keys() == back.keys()
    assert there


def test_rows_that_do_not_say_are_kept() -> None:
    silent = replace(ROW, conditions={})
    assert contamination.sort([(silent, silent)]).dropped == {}


def record(rows: list[Measurement]) -> Record:
    return {
        "schema": SCHEMA, "kind": "bench", "session": "s", "environment": {"code": "x"},
        "measurements": [row.as_record() for row in rows],
    }  # fmt: skip


@pytest.mark.parametrize(("spoilt", "label"), [(2, "equivalent"), (3, "inconclusive")])
def test_more_than_a_fifth_dropped_says_nothing(spoilt: int, label: str) -> None:
    pairs = [pair(i, {"stolen_seconds": 2.0} if i < spoilt else None) for i in range(10)]
    verdict = compare_records(record([old for old, _ in pairs]), record([new for _, new in pairs]))["verdicts"][0]
    assert verdict["label"] == label
    assert len(verdict["dropped"]) == spoilt
