"""Records → one self-contained page: verdict first, then what was checked, then every timing with its interval.

Pure functions of records: nothing is measured here, and every number on the page carries the place in the page's
element `<script id="records">` that it is derived from (`marks.py`). The page loads nothing from anywhere, escapes
whatever it shows, and follows the reader's light or dark setting.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import breakdown, templating
from benchmarks.content import Page, page, read
from benchmarks.environment import CODE_KEYS, differences
from benchmarks.headline import headline
from benchmarks.headline import marked as marked_headline
from benchmarks.markdown import markdown
from benchmarks.marks import script
from benchmarks.measurement import BenchmarkError, Record
from benchmarks.pictures import pictures
from benchmarks.spreadsheet import table
from benchmarks.steps import SHORTEST
from benchmarks.summary import bandwidth, products, tally

__all__ = ["Page", "embedded", "headline", "html", "markdown", "page", "read", "table", "write"]

MOST_LAYERS = 20
"""How many layers the page lists, the slowest; all of them are embedded and drawn."""


def html(content: Page) -> str:
    """The page as one HTML document."""
    checks = _by_check(content.verify)
    bench = content.bench or {}
    parts = breakdown.layers(bench) if bench else []
    return templating.environment(content.records).get_template("report.html").render(
        page=content,
        V=content.index("verify"), B=content.index("bench"), C=content.index("compare"), D=content.index("doctor"),
        H=content.index("history"),
        headline=marked_headline(content),
        standing=_standing(content),
        tally=tally(_findings(content.verify)),
        subjects=_by_subject(content.verify),
        attention=[(i, f) for i, f in enumerate(_findings(content.verify)) if f["status"] != "passed"],
        checks=checks,
        pictures=pictures(content, {name: found for name, (_, found) in checks.items()}),
        peaks=products(bench.get("peaks", {})),
        bandwidth=bandwidth(bench.get("peaks", {})),
        layers=sorted(parts, key=lambda row: -row.seconds)[:MOST_LAYERS],
        every_layer=len(parts),
        operators=content.operators,
        explained=breakdown.explanations(bench) if bench else [],
        compiles=[(i, row) for i, row in enumerate(content.rows) if row.cold is not None],
        latencies=[(i, row) for i, row in enumerate(content.rows) if row.unit == "steps" and row.seconds],
        has_split=bool(bench and breakdown.splits(bench)),
        apart=_differing(content),
        shortest=SHORTEST,
        script=script(content.records),
    )  # fmt: skip


def _standing(content: Page) -> str:
    """How the verdict stands: "good", "bad" if a check failed or has an error, or "open"."""
    statuses = {finding["status"] for finding in _findings(content.verify)}
    if statuses & {"failed", "error"}:
        return "bad"
    return "good" if statuses and statuses <= {"passed", "known_failure"} else "open"


def _findings(verify: Record | None) -> list[dict[str, Any]]:
    return list(verify["findings"]) if verify else []


def _by_subject(verify: Record | None) -> dict[str, dict[str, int]]:
    """For each subject, how many findings ended in each status."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for finding in _findings(verify):
        grouped.setdefault(finding["subject"], []).append(finding)
    return {subject: tally(found) for subject, found in grouped.items()}


def _by_check(verify: Record | None) -> dict[str, tuple[int, dict[str, Any]]]:
    """For each check the finding closest to its bound (a failed one first), of any subject, and its place."""
    worst: dict[str, tuple[int, dict[str, Any]]] = {}
    for i, finding in enumerate(_findings(verify)):
        known = worst.get(finding["check"])
        if known is None or _severity(finding) > _severity(known[1]):
            worst[finding["check"]] = (i, finding)
    return worst


def _severity(finding: dict[str, Any]) -> tuple[bool, float]:
    ratio = finding["ratio"]
    return finding["status"] != "passed", -1.0 if ratio is None else float(ratio)


def _differing(content: Page) -> list[tuple[int, tuple[Any, ...], dict[str, str]]]:
    """Of each record whose environment is not the page's: its number, the path to the environment, the keys."""
    places: list[tuple[int, tuple[Any, ...]]] = [
        (i, ("environment",)) for i, record in enumerate(content.records) if "environment" in record
    ]
    if content.history:
        place = content.index("history")
        places += [(place, ("sessions", i, "environment")) for i in range(len(content.history["sessions"]))]
    found = []
    for i, path in places:
        other: Any = content.records[i]
        for key in path:
            other = other[key]
        lines = differences(content.environment, other, ignore=CODE_KEYS)
        keys = {line.partition(":")[0]: "absent" for line in lines}
        if keys:
            found.append((i, path, {key: str(other.get(key, absent)) for key, absent in keys.items()}))
    return found


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
