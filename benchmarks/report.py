"""Records → one self-contained page: verdict first, then what was checked, then every timing with its interval.

Pure functions of records: nothing is measured or recomputed here, and every number on the page can be derived again
from the JSON that the page carries in its element `<script id="records">`. The page loads nothing from anywhere,
escapes whatever it shows, and follows the reader's light or dark setting.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from benchmarks import plots
from benchmarks.formats import number, seconds, size
from benchmarks.measurement import BenchmarkError, Record, check_record, read_json
from benchmarks.summary import Row, fastest, rows, tally, verified

KINDS = ("verify", "bench", "compare", "doctor")
"""The kinds of record a page can be made of."""

HEADLINE_CASES = ("unet_forward[cifar10", "training_step[cifar10", "unet_forward", "training_step")
"""What "how fast" means in the first line: the first of these that was timed, the paper's net before others."""


@dataclass(frozen=True)
class Page:
    """What the page is made of: the newest record of each kind, None where none was given."""

    verify: Record | None
    bench: Record | None
    compare: Record | None
    doctor: Record | None

    @property
    def rows(self) -> list[Row]:
        """The timings, one row a cell."""
        return rows(self.bench) if self.bench else []

    @property
    def unverified(self) -> str | None:
        """Why the timings are UNVERIFIED, None where they are not."""
        return verified(self.verify, self.bench) if self.bench else None

    @property
    def environment(self) -> dict[str, Any]:
        """What the numbers depend on."""
        record = self.bench or self.verify or self.compare or self.doctor or {}
        return dict(record.get("environment", {}))


def read(paths: Sequence[Path]) -> Page:
    """The page of the records in `paths`. Of two records of one kind the newer counts.

    Raises `BenchmarkError` for a file that cannot be read, is not a record, or has an unknown schema or kind.
    """
    records = []
    for path in paths:
        document = read_json(path)
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind is not None and kind not in KINDS:
            raise BenchmarkError(f"{path} is of kind {kind!r}; a report is made of {', '.join(KINDS)}")
        records.append(check_record(document, source=str(path), kind=str(kind)))
    return page(records)


def page(records: Sequence[Record]) -> Page:
    """The page of `records`; of two records of one kind the newer counts. Raises `BenchmarkError` without any."""
    if not records:
        raise BenchmarkError("no record was given: name at least one JSON file that verify or bench wrote")
    newest = {record["kind"]: record for record in sorted(records, key=lambda record: str(record.get("created")))}
    return Page(**{kind: newest.get(kind) for kind in KINDS})


def headline(content: Page) -> str:
    """The first line: is this DDPM correct on this machine, and how fast is it."""
    return f"{_correctness(content.verify)} {_speed(content)}".strip()


def _correctness(verify: Record | None) -> str:
    if verify is None:
        return "Not verified."
    counts = tally(verify["findings"])
    total, passed = sum(counts.values()), counts.get("passed", 0)
    if not total:
        return "Not verified: no check was run."
    if passed == total:
        return f"Correct on this machine: {_checks(verify)} passed."
    others = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items() if status != "passed")
    verdict = "Incorrect" if counts.get("failed") or counts.get("error") else "Not fully verified"
    return f"{verdict} on this machine: {others}, {passed} of {total} findings passed."


def _checks(verify: Record) -> str:
    """How much was checked, in words: "78 checks on 6 subjects"."""
    checks = len({finding["check"] for finding in verify["findings"]})
    subjects = len({finding["subject"] for finding in verify["findings"]})
    return f"{_count(checks, 'check')} on {_count(subjects, 'subject')}"


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _speed(content: Page) -> str:
    timed = [row for row in content.rows if row.seconds]
    if not timed:
        return "Nothing was timed." if content.bench else ""
    for start in HEADLINE_CASES:
        found = [row for row in timed if row.case.startswith(start)]
        if found:
            return _speed_of(min(found, key=lambda row: row.seconds or 0.0), content.unverified)
    return _speed_of(timed[0], content.unverified)


def _speed_of(row: Row, unverified: str | None) -> str:
    parts = [
        f"{'UNVERIFIED: ' if unverified else ''}{row.case} takes {seconds(row.seconds)} ({row.device}, {row.mode})",
        f"{number(row.rate)} {row.unit}/s",
    ]
    if row.fraction_of_peak and row.flops_per_second:
        parts += [f"{number(row.flops_per_second / 1e9)} GFLOP/s", f"{row.fraction_of_peak:.0%} of the matrix peak"]
    return ", ".join(parts) + "."


def html(content: Page) -> str:
    """The page as one HTML document."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("benchmarks"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(seconds=seconds, number=number, size=size)
    return environment.get_template("report.html").render(
        page=content,
        headline=headline(content),
        good=is_good(content),
        tally=tally(content.verify["findings"]) if content.verify else {},
        subjects=_by_subject(content.verify),
        attention=[f for f in _findings(content.verify) if f["status"] != "passed"],
        checks=_by_check(content.verify),
        pictures=_pictures(content),
        peak=fastest(content.bench.get("peaks", {})) if content.bench else None,
        records=[r for r in (content.verify, content.bench, content.compare, content.doctor) if r],
    )


def is_good(content: Page) -> bool:
    """Whether the verdict is green: something was verified, and nothing failed, was skipped or went untested."""
    statuses = {finding["status"] for finding in _findings(content.verify)}
    return bool(statuses) and statuses <= {"passed", "known_failure"}


def _findings(verify: Record | None) -> list[dict[str, Any]]:
    return list(verify["findings"]) if verify else []


def _by_subject(verify: Record | None) -> dict[str, dict[str, int]]:
    """For each subject, how many findings ended in each status."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for finding in _findings(verify):
        grouped.setdefault(finding["subject"], []).append(finding)
    return {subject: tally(found) for subject, found in grouped.items()}


def _by_check(verify: Record | None) -> dict[str, dict[str, Any]]:
    """For each check the finding closest to its bound (a failed one first), whichever subject it is of."""
    worst: dict[str, dict[str, Any]] = {}
    for finding in _findings(verify):
        known = worst.get(finding["check"])
        if known is None or _severity(finding) > _severity(known):
            worst[finding["check"]] = finding
    return worst


def _severity(finding: dict[str, Any]) -> tuple[bool, float]:
    ratio = finding["ratio"]
    return finding["status"] != "passed", -1.0 if ratio is None else float(ratio)


def _pictures(content: Page) -> dict[str, str]:
    """The page's plots as SVG by name; a plot without data is empty."""
    pictures = dict.fromkeys(("ratios", "intervals", "stacked", "spread", "bars"), "")
    judged = {name: found for name, found in _by_check(content.verify).items() if found["ratio"] is not None}
    if judged:
        ratios = [float(found["ratio"]) for found in judged.values()]
        pictures["ratios"] = plots.ratios(list(judged), ratios, [f["status"] != "passed" for f in judged.values()])
    timed = [row for row in content.rows if row.seconds]
    if timed:
        pictures["intervals"] = plots.intervals([_interval(row) for row in timed], "seconds a call (logarithmic)")
        pictures["stacked"] = _split(timed)
        pictures["spread"] = plots.spread([row.label for row in timed], [row.rounds for row in timed])
    counted = [row for row in timed if row.flops_per_second]
    if counted and content.bench:
        peaks = {name: peak["best"] / 1e9 for name, peak in content.bench.get("peaks", {}).items()}
        values = [float(row.flops_per_second or 0.0) / 1e9 for row in counted]
        pictures["bars"] = plots.bars([row.label for row in counted], values, peaks, "GFLOP/s")
    return pictures


def _interval(row: Row) -> plots.Interval:
    low, high = row.interval or (min(row.processes), max(row.processes))
    return plots.Interval(row.case, f"{row.device} {row.mode}", float(row.seconds or np.nan), low, high, row.processes)


def _split(timed: Sequence[Row]) -> str:
    parts = {
        "import": [row.import_seconds or 0.0 for row in timed],
        "compile and set-up": [row.compile_seconds or 0.0 for row in timed],
        "one call": [row.seconds or 0.0 for row in timed],
    }
    return plots.stacked([row.label for row in timed], parts, "seconds until the first result")


def markdown(content: Page) -> str:
    """The same in Markdown: the first line, what did not pass and how to see it again, one table of timings."""
    lines = [f"**{headline(content)}**", ""]
    if content.verify:
        lines += _markdown_findings(content.verify)
    if content.rows:
        lines += ["", "| case | device | mode | a call | 95 % interval | rate | of peak |", "|---" * 7 + "|"]
        lines += [_markdown_row(row) for row in content.rows]
    if content.unverified:
        lines += ["", f"UNVERIFIED: {content.unverified}."]
    return "\n".join(lines) + "\n"


def _markdown_findings(verify: Record) -> list[str]:
    """A paragraph for each finding that did not pass, a line for each reason to skip, and the slack bounds."""
    lines: list[str] = []
    skipped: dict[str, list[str]] = {}
    for finding in verify["findings"]:
        if finding["status"] == "skipped":
            skipped.setdefault(finding["reason"], []).append(finding["check"])
        elif finding["status"] != "passed":
            lines += _markdown_finding(finding, verify.get("checks", {}).get(finding["check"]))
    for reason, checks in skipped.items():
        lines += [f"- skipped, as {_inline(reason)}: {', '.join(dict.fromkeys(checks))}"]
    slack = [f"{each['check']} ({number(each['ratio'])})" for each in verify.get("slack", ())]
    if slack:
        lines += ["", f"Bounds that no subject used to a thousandth: {', '.join(slack)}."]
    return lines


def _markdown_finding(finding: Record, about: Record | None) -> list[str]:
    """What was claimed, what was seen, and a block to copy that shows it again."""
    error = (
        "" if finding["ratio"] is None else f"error {number(finding['observed'])}, allowed {number(finding['allowed'])}"
    )
    seen = "; ".join(
        _inline(part) for part in (finding["where"], error, finding["reason"], finding["diagnosis"]) if part
    )
    claim = f" {_inline(about['claim'])} ({_inline(about['source'])})." if about else ""
    first = f"- **{finding['check']}** on {_inline(finding['subject'])}: {finding['status'].replace('_', ' ')}.{claim}"
    return [first, "", f"  {seen}", "", "  ```", f"  {finding['reproduce']}", "  ```", ""]


def _inline(text: str) -> str:
    """`text` on one line, with nothing that Markdown would take for more than text."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(text.split()))


def _markdown_row(row: Row) -> str:
    if row.seconds is None:
        reason = "; ".join(row.invalid).replace("|", "\\|").replace("\n", " ")
        return f"| {row.case} | {row.device} | {row.mode} | INVALID: {reason} | | | |"
    low_high = f"{seconds(row.interval[0])} … {seconds(row.interval[1])}" if row.interval else "one process: none"
    share = f"{row.fraction_of_peak:.0%}" if row.fraction_of_peak else ""
    rate = f"{number(row.rate)} {row.unit}/s"
    return f"| {row.case} | {row.device} | {row.mode} | {seconds(row.seconds)} | {low_high} | {rate} | {share} |"


def write(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all. Raises `BenchmarkError` where it cannot be written."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror}; choose a place that can be written to") from None


def embedded(document: str) -> list[Record]:
    """The records that an HTML page of this module carries: what its numbers are derived from.

    Raises `BenchmarkError` when `document` carries none.
    """
    start = '<script id="records" type="application/json">'
    if start not in document:
        raise BenchmarkError("this page carries no records: was it written by ddpm-bench?")
    return list(json.loads(document.split(start, 1)[1].split("</script>", 1)[0]))
