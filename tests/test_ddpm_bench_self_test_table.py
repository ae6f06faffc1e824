"""The kill matrix in a terminal: what was noticed by whom, and every fault in full."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from ddpm_bench.self_test_table import NAMED, show


def finding(status: str) -> dict[str, Any]:
    return {"status": status, "ratio": 2.0, "where": "", "diagnosis": ""}


RECORD: dict[str, Any] = {
    "seconds": 61.4,
    "unavailable": {"ddpm_bench.subject_mutants": "unavailable: No module named 'mindspore'"},
    "mutants": [
        {"id": "A", "checks": {"FWD-1": finding("failed"), "FWD-2": finding("passed")}},
        {"id": "q:squared", "checks": {"FWD-1": finding("failed"), "FWD-2": finding("failed")}},
        {"id": "q:late", "checks": {"FWD-1": finding("passed")}},
    ],
    "checks": [
        {"id": "FWD-1", "level": 1, "kills": ["A", "q:squared"]},
        {"id": "FWD-2", "level": 1, "kills": ["q:squared"]},
        {"id": "FWD-3", "level": 1, "kills": []},
    ],
    "doses": [
        {"coefficient": "q.x_0", "check": "FWD-1", "dtype": "float64", "smallest": 3e-14},
        {"coefficient": "q.x_0", "check": "FWD-1", "dtype": "float32", "smallest": "inf"},
    ],
    "faults": ["FWD-3 kills nothing: it passes 0 mutants [not markup]"],
}


def printed(record: dict[str, Any]) -> str:
    stream = io.StringIO()
    show(record, Console(file=stream, width=120))
    return stream.getvalue()


@pytest.mark.parametrize(
    "part",
    [
        "2/3",
        "A (alone); q: squared",
        "1/2",
        "0/0",
        "3e-14",
        "none",
        "No module named 'mindspore'",
        "FAULT    FWD-3 kills nothing: it passes 0 mutants [not markup]",
        "2 of 3 planted mistakes noticed, 2 of 3 checks seen to work, 1 faults, 61 s",
    ],
)
def test_table_says(part: str) -> None:
    assert part in printed(RECORD)


def test_long_rows_are_counted() -> None:
    many = [f"M{number}" for number in range(NAMED + 5)]
    mutants = [{"id": name, "checks": {"FWD-1": finding("failed")}} for name in many]
    record = {**RECORD, "mutants": mutants, "checks": [{"id": "FWD-1", "level": 1, "kills": many}]}
    assert "and 5 more" in " ".join(printed(record).replace("│", " ").split())


def test_without_doses_there_is_no_table_of_them() -> None:
    assert "smallest relative error" not in printed({**RECORD, "doses": []})
