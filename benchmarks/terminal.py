"""Cases and records for the terminal; the page has the same and more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from benchmarks.cases import Case
from benchmarks.formats import number, seconds
from benchmarks.measurement import Record
from benchmarks.percentiles import Percentile
from benchmarks.summary import Row, bandwidth, fastest, rows


def table(record: Record) -> Table:
    """One row a cell with interval and rate; below, what was not measured and why."""
    result = Table(caption=Text("\n".join(_remarks(record))), caption_justify="left")
    for heading in ("case", "device, mode, setting", "a call", "95 % interval", "rate", "of peak"):
        result.add_column(heading, overflow="fold")
    for row in rows(record):
        result.add_row(*map(Text, _cells(row)))  # Text, not markup: case names have brackets
    return result


def _cells(row: Row) -> list[str]:
    where = f"{row.device}, {row.mode}, {row.tuning}"
    if row.seconds is None:
        return [row.case, where, "INVALID", "; ".join(row.invalid), "", ""]
    span = f"{seconds(row.interval[0])} … {seconds(row.interval[1])}" if row.interval else "n/a: one process"
    share = f"{row.fraction_of_peak:.0%}" if row.fraction_of_peak else "n/a"
    return [row.case, where, seconds(row.seconds), span, f"{number(row.rate)} {row.unit}/s", share]


def _remarks(record: Record) -> Iterable[str]:
    peaks = record.get("peaks", {})
    products, copies = fastest(peaks), bandwidth(peaks)
    if products and copies:
        yield f"peaks: {number(products / 1e9)} GFLOP/s of matrix products, {number(copies / 1e9)} GB/s copied"
    for row in rows(record):
        if row.unit == "steps" and row.seconds is not None:  # a latency: its tail matters, not its mean alone
            yield f"{row.case}, {row.mode}: {'; '.join(map(_percentile, row.percentiles))}"
    for row in record["unavailable"]:
        yield f"{row.get('case', 'every case')} on {row['device']}, {row['mode']}: {row['reason']}"
    yield from record.get("notes", ())


def _percentile(found: Percentile) -> str:
    if found.value is None:
        return f"{found.name} {found.reason}"
    high = "unbounded" if found.high is None else seconds(found.high)
    bounds = f"at most {high}" if found.low is None else f"{seconds(found.low)} … {high}"
    return f"{found.name} {seconds(found.value)} (95 %: {bounds})"


def verdicts(record: Record) -> list[str]:
    """The verdicts of a compare record, a line each."""
    return [_verdict(verdict) for verdict in record["verdicts"]]


def _verdict(verdict: Record) -> str:
    ratio = "" if verdict["ratio"] is None else f"{verdict['ratio']:.4f}, "
    where = ", ".join(verdict["params"].values())
    return f"{verdict['label']:13} {verdict['case']} ({where}): {ratio}{verdict['why']}"


def listing(cases: Sequence[Case]) -> str:
    """What each of `cases` does in one call, a line each; then how many they are."""
    lines = [
        f"{case.id:28} {case.work:g} {case.unit} a call; {', '.join(f'{k} {v}' for k, v in case.params.items())}"
        for case in cases
    ]
    return "\n".join([*lines, f"{len(cases)} cases"])
