"""Pictures tell the numbers: what is drawn stands where the picture's own ticks have the numbers of the record."""

from __future__ import annotations

import json
import math
import re
import statistics
from typing import Any

import derivation
import full_record
import pytest
import records
import sweeps
from drawing import PIXEL, Picture, missing

from benchmarks import plots_versions, report, versions_page


@pytest.fixture(scope="module")
def page() -> str:
    given = full_record.all_kinds(3, cells=4, processes=3, rounds=12)
    checks = [records.finding("KL-1", "failed"), records.finding()]
    return report.html(report.page([records.verify(*checks), *given[1:]]))


def embedded(page: str) -> list[Any]:
    found = re.search(r'<script id="records" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return list(json.loads(found[1]))


def bench(page: str) -> tuple[int, Any]:
    return next((i, record) for i, record in enumerate(embedded(page)) if record["kind"] == "bench")


def cells(record: Any) -> dict[tuple[str, ...], list[Any]]:
    """The rows of each cell that stands in pictures: not those of single operators, not without a number."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for row in record["measurements"]:
        if row["unit"] != "calls" and row["seconds"]:
            where = tuple(row["params"][key] for key in ("device", "mode", "tuning"))
            found.setdefault((row["case"], *where), []).append(row)
    return found


def test_intervals_are_drawn_where_the_axis_has_them(page: str) -> None:
    place, record = bench(page)
    picture = Picture.of(page, "intervals")
    assert picture.logarithmic
    points, middles, ends = [], [], []
    for i, rows in enumerate(cells(record).values()):
        points += [statistics.median(row["seconds"]) for row in rows]
        middles.append(derivation.cell(embedded(page)[place], i, "seconds"))
        ends.append([derivation.cell(embedded(page)[place], i, name) for name in ("low", "high")])
    wanted = [picture.place(value) for value in (*points, *middles)]
    assert len(picture.marks) == len(wanted)
    assert missing(wanted, picture.marks) == []
    for low, high in ends:
        near = [s for s in picture.strokes if abs(s[0] - picture.place(low)) <= PIXEL]
        assert any(abs(s[1] - picture.place(high)) <= PIXEL for s in near)


def test_rates_are_drawn_as_long_as_they_are(page: str) -> None:
    place, record = bench(page)
    picture = Picture.of(page, "bars")
    rates = [derivation.cell(embedded(page)[place], i, "gflops") for i in range(len(cells(record)))]
    assert not picture.logarithmic
    assert {round(left - picture.place(0), 1) for left, _ in picture.bars} == {0.0}
    assert len(picture.bars) == len(rates)
    assert missing([picture.place(rate) for rate in rates], [right for _, right in picture.bars]) == []


def test_ratios_are_drawn_where_the_axis_has_them() -> None:
    findings = [
        {**records.finding(f"KL-{i}"), "observed": ratio * 1e-3, "allowed": 1e-3, "ratio": ratio}
        for i, ratio in enumerate((0.5, 3e-5, 0.97))
    ]
    page = report.html(report.page([records.verify(*findings)]))
    picture = Picture.of(page, "ratios")
    assert picture.logarithmic
    assert missing([picture.place(finding["ratio"]) for finding in findings], picture.marks) == []


def test_layers_of_a_call_are_drawn_as_long_as_they_take(page: str) -> None:
    _, record = bench(page)
    picture = Picture.of(page, "layers")
    total: dict[tuple[str, ...], float] = {}
    for layer in record["layers"]:
        owner = tuple(str(layer[key]) for key in ("case", "device", "mode", "tuning"))
        total[owner] = total.get(owner, 0.0) + 1e3 * statistics.median(layer["seconds"])
    ends = [right for _, right in picture.bars]
    assert missing([picture.place(seconds) for seconds in total.values()], ends) == []


@pytest.mark.parametrize("times", [(0.034, 0.0345, 0.0352), (0.034, 3.4, 1.7)])
def test_timeline_of_builds_is_drawn_where_the_axis_has_them(times: tuple[float, ...]) -> None:
    labels = ("2.8.0", "2.9.0", "2.10.0")
    arms = {
        label: sweeps.arm(label, {(sweeps.FORWARD, "graph"): seconds})
        for label, seconds in zip(labels, times, strict=True)
    }
    page = versions_page.html(sweeps.sweep(arms))
    picture = Picture.of(page, "timeline0")
    (record,) = embedded(page)
    middles = [derivation.time(record, i, "seconds") for i in range(3)]
    unit = 1.0 if "s a call" in page and min(middles) >= 1 else 1e-3
    assert picture.logarithmic == (max(middles) > plots_versions.WIDE * min(middles))
    assert len(picture.marks) == 3
    assert missing([picture.place(value / unit) for value in middles], picture.marks) == []


def test_a_mark_in_a_wrong_place_and_a_wrong_tick_are_noticed(page: str) -> None:
    picture = Picture.of(page, "intervals")
    assert missing([picture.marks[0] + 1.0], picture.marks[:1]) == [picture.marks[0] + 1.0]
    assert missing([picture.marks[0]] * 2, picture.marks[:1]) == [picture.marks[0]]
    (_, first), *_ = picture.ticks()
    svg = re.search(r'<svg [^>]*aria-label="intervals".*?</svg>', page, re.DOTALL)
    assert svg
    moved = Picture.of(svg[0].replace(f">{first:g}</text>", f">{1.3 * first:g}</text>", 1), "intervals")
    with pytest.raises(AssertionError, match="ticks"):
        moved.place(1.0)
    assert not math.isnan(picture.place(1.0))
