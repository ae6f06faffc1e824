"""Cases and records for the terminal; the page has the same and more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from benchmarks.breakdown import Explanation, explanations
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
        if row.invalid or not (row.unit == "calls" and record.get("layers")):  # parts have a table of their own
            result.add_row(*map(Text, _cells(row)))  # Text, not markup: case names have brackets
    return result


def explained(record: Record) -> list[Table]:
    """For each forward pass whose parts were timed, where its time goes, by kind of part."""
    return [_explanation(found) for found in explanations(record)]


def _explanation(found: Explanation) -> Table:
    whole = "not measured" if found.whole is None else seconds(found.whole)
    between = "" if found.between is None else f"; {_between(found.between)}"
    caption = f"the parts together {seconds(found.parts)}, the whole call {whole}{between}"
    if found.least is not None:
        caption += f"\nat the measured peaks, everything through memory, the parts would take {seconds(found.least)}"
    result = Table(
        title=Text(f"{found.case} ({found.where}), part by part"), caption=Text(caption), caption_justify="left"
    )
    for heading in ("kind", "parts", "a call", "of all parts", "GFLOP/s", "GB/s"):
        result.add_column(heading, overflow="fold", justify="left" if heading == "kind" else "right")
    for kind in found.kinds:
        result.add_row(
            kind.kind,
            str(kind.layers),
            seconds(kind.seconds),
            f"{kind.seconds / found.parts:.1%}",
            number(kind.rate / 1e9) if kind.rate else "n/a",
            number(kind.bytes / kind.seconds / 1e9),
        )
    return result


def _between(difference: float) -> str:
    """What the whole takes beyond its parts, or they beyond it."""
    return f"between them {seconds(difference)}" if difference >= 0 else f"together they save {seconds(-difference)}"


def _cells(row: Row) -> list[str]:
    where = f"{row.device}, {row.mode}, {row.tuning}"
    if row.seconds is None:
        return [row.case, where, "INVALID", "; ".join(row.invalid), "", ""]
    span = f"{seconds(row.interval[0])} … {seconds(row.interval[1])}" if row.interval else "n/a: one process"
    span += " (two speeds)" if row.unmet else ""
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
        if row.cold is not None:
            again = "" if row.warm is None else f", {seconds(row.warm)} where an earlier process has"
            yield f"{row.case}, {row.mode}: compiling takes {seconds(row.cold)}{again}"
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
    times = "" if not verdict.get("seconds") else f"{' → '.join(map(seconds, verdict['seconds']))}, "
    ratio = "" if verdict["ratio"] is None else f"{verdict['ratio']:.4f}, "
    where = ", ".join(verdict["params"].values())
    return f"{verdict['label']:13} {verdict['case']} ({where}): {times}{ratio}{verdict['why']}"


def listing(cases: Sequence[Case]) -> str:
    """What each of `cases` does in one call, a line each; then how many they are.

    Single operators are only counted where there are other cases too: they are many.
    """
    large = [case for case in cases if not case.small]
    shown = large or cases
    lines = [f"{case.id:28} {case.work:g} {case.unit} a call; {_params(case)}" for case in shown]
    hidden = len(cases) - len(shown)
    more = f', and {hidden} of single operators: see `bench --list --only "conv3x3*"` and so on' if hidden else ""
    return "\n".join([*lines, f"{len(shown)} cases{more}"])


def _params(case: Case) -> str:
    return ", ".join(f"{name} {value}" for name, value in case.params.items())
