"""The timings as CSV, one row a process, for a spreadsheet or a plotting library; its rounds stay in the JSON."""

from __future__ import annotations

import csv
import io

from benchmarks.content import Page
from benchmarks.measurement import measurements

COLUMNS = (
    "created", "session", "arm", "code", "case", "device", "mode", "tuning", "process", "started", "rounds",
    "median_seconds", "least_seconds", "most_seconds", "first_call_seconds", "import_seconds", "work", "unit", "flops",
    "peak_rss_bytes", "cpu_over_wall", "invalid",
)  # fmt: skip
"""Seconds and bytes; empty where a number was not measured or is invalid."""


def table(content: Page) -> str:
    """A line of `COLUMNS` and one for each process of the bench record."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    record = content.bench or {"measurements": []}
    for row in measurements(record):
        about = {key: record.get(key) for key in ("created", "session", "arm")}
        cell = dict(zip(("case", "device", "mode", "tuning"), row.cell, strict=True))
        known = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
        times = {
            "rounds": len(row.seconds),
            "median_seconds": row.value if row.seconds else None,
            "least_seconds": min(row.seconds, default=None),
            "most_seconds": max(row.seconds, default=None),
        }
        writer.writerow({**about, "code": record["environment"].get("code"), **known, **cell, **times})
    return text.getvalue()
