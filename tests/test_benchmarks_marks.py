"""Every number on the page is marked with its source and is what a stranger derives from the embedded records."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import derivation
import full_record
import pytest
import records

from benchmarks import history, report, summary


@pytest.fixture(scope="module")
def full() -> str:
    """The page of everything there is, as large as it gets."""
    return report.html(report.page(full_record.all_kinds()))


def test_every_printed_number_is_derived_again_from_the_page(full: str) -> None:
    assert derivation.faults(full) == []
    reader = derivation.Reader()
    reader.feed(full)
    assert len(reader.marked) > 500


def test_page_of_a_small_record_is_derived_again_too() -> None:
    failed = records.finding("KL-1", "failed", ratio="inf", observed="nan", reason="got 2 for 3")
    two = records.measurement(process=1, seconds=[0.55, 0.56, 0.57])
    invalid = records.measurement("training_step[digits,b64]", seconds=[], invalid="42 is not 43")
    page = report.html(report.page([records.verify(failed), records.bench(records.measurement(), two, invalid)]))
    assert derivation.faults(page) == []


def test_unmarked_number_is_noticed(full: str) -> None:
    (told,) = derivation.faults(full.replace("</h1>", " 7</h1>", 1))
    assert told.endswith(" 7")


def test_altered_number_is_noticed(full: str) -> None:
    start = full.index("gflops")
    at = full.index(">", start) + 1
    altered = full[:at] + ("9" if full[at] != "9" else "8") + full[at + 1 :]
    (told,) = derivation.faults(altered)
    assert "gflops" in told


def test_full_page_is_under_two_megabytes(full: str) -> None:
    assert len(full.encode()) < 2_000_000


def test_absent_data_is_a_sentence_and_no_picture() -> None:
    page = report.html(report.page([records.bench(records.measurement())]))
    for told in ("No history:", "No roofline:", "No breakdown:", "does not split a worker's life"):
        assert told.replace("'", "&#39;") in page or told in page
    assert 'aria-label="timeline"' not in page


def test_history_folder_is_a_file_of_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for day in (1, 2):
        history.append(folder, full_record.bench(day, cells=2, processes=2, rounds=5))
    content = report.read([folder])
    assert content.history
    assert [session["created"][:10] for session in content.history["sessions"]] == ["2025-01-01", "2025-01-02"]
    assert derivation.faults(report.html(content)) == []


def test_step_of_a_long_history_is_shown_with_its_ratio() -> None:
    content = report.page(full_record.all_kinds(40, cells=1, processes=2, rounds=3)[2:])
    assert content.history
    ((step,),) = [line["steps"] for line in content.history["lines"]]
    assert step["session"] == pytest.approx(20, abs=1)
    assert math.isclose(step["ratio"], 1.06, rel_tol=0.02)
    assert derivation.faults(report.html(content)) == []


def test_sessions_of_another_machine_are_named_and_not_drawn() -> None:
    old, new = (full_record.bench(day, cells=1, processes=2, rounds=3) for day in (1, 2))
    old["environment"] = {**old["environment"], "cpu": "another processor"}
    content = report.page([old, new])
    assert content.history
    assert content.history["lines"] == []
    assert "another processor" in report.html(content)


def test_csv_has_a_row_for_each_process() -> None:
    bad = records.measurement(process=1, seconds=[], invalid='a "reason", told')
    rows = list(csv.DictReader(io.StringIO(report.table(report.page([records.bench(records.measurement(), bad)])))))
    assert [row["median_seconds"] for row in rows] == ["0.51", ""]
    assert rows[1]["invalid"] == 'a "reason", told'
    assert rows[0]["mode"] == "graph"


def test_new_fields_are_escaped() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    record = full_record.bench(1, cells=1, processes=2, rounds=3)
    record["layers"] = [{**layer, "layer": evil, "kind": evil, "case": evil} for layer in full_record.layers(3)]
    record["peaks"] = {evil: {"start": 1.0, "end": 1.0, "best": 1.0}}
    other = {**full_record.bench(2, cells=1, processes=2, rounds=3), "notes": [evil], "layers": record["layers"]}
    page = report.html(report.page([record, other]))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("<script") == 1


def test_interval_of_many_processes_is_derived_from_its_moments() -> None:
    record = full_record.bench(cells=1, processes=8)
    first = summary.rows(record)[0]
    assert first.interval is not None
    assert first.interval == pytest.approx([derivation.cell(record, 0, name) for name in ("low", "high")])
    assert first.seconds == pytest.approx(derivation.cell(record, 0, "seconds"))
