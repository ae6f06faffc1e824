"""The report in Markdown, in the page's order: the first line, what did not pass, one table of timings."""

from __future__ import annotations

import re

from benchmarks.content import Page
from benchmarks.formats import number, seconds
from benchmarks.headline import headline
from benchmarks.measurement import Record
from benchmarks.summary import Row


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
        lines += [f"- skipped, as {inline(reason)}: {', '.join(dict.fromkeys(checks))}"]
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
        inline(part) for part in (finding["where"], error, finding["reason"], finding["diagnosis"]) if part
    )
    claim = f" {inline(about['claim'])} ({inline(about['source'])})." if about else ""
    first = f"- **{finding['check']}** on {inline(finding['subject'])}: {finding['status'].replace('_', ' ')}.{claim}"
    return [first, "", f"  {seen}", "", "  ```", f"  {finding['reproduce']}", "  ```", ""]


def inline(text: str) -> str:
    """`text` on one line, with nothing that Markdown would take for more than text."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(text.split()))


def _markdown_row(row: Row) -> str:
    if row.seconds is None:
        reason = "; ".join(row.invalid).replace("|", "\\|").replace("\n", " ")
        return f"| {row.case} | {row.device} | {row.mode} | INVALID: {reason} | | | |"
    low_high = f"{seconds(row.interval[0])} … {seconds(row.interval[1])}" if row.interval else "one process: none"
    low_high += " (two speeds)" if row.unmet else ""
    share = f"{row.fraction_of_peak:.0%}" if row.fraction_of_peak else ""
    rate = f"{number(row.rate)} {row.unit}/s"
    return f"| {row.case} | {row.device} | {row.mode} | {seconds(row.seconds)} | {low_high} | {rate} | {share} |"
