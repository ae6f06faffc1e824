"""Verdicts for the machines that run a build: JUnit XML, and GitHub's annotations.

| label        | JUnit   | GitHub    | because |
|--------------|---------|-----------|---------|
| equivalent   | passed  | nothing   | the only label that says "no regression" |
| faster       | passed  | ::notice  | worth a line, nothing to mend |
| slower       | failure | ::error   | the code is to blame |
| inconclusive | skipped | ::warning | the comparison took place and cannot say: more pairs, or a quieter machine |
| incomparable | error   | ::warning | the comparison did not take place: the way it was set up is to blame |

An empty comparison is an error in JUnit and a warning on GitHub: nothing compared is no success.
GitHub reads `::error title=…::message` and wants %, CR and LF percent-encoded in both, ':' and ',' in the title as well
(actions/toolkit, packages/core/src/command.ts).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measurement import BenchmarkError, Record

JUNIT = {"slower": "failure", "inconclusive": "skipped", "incomparable": "error"}
"""Label to the element that says so; a label without one has passed."""

GITHUB = {"slower": "error", "faster": "notice", "inconclusive": "warning", "incomparable": "warning"}
"""Label to the kind of annotation; a label without one gets none."""

NOTHING = "nothing was compared: the records have no cell"


def junit(comparison: Record) -> str:
    """A compare record as JUnit XML, a test a cell; the ratio and its interval are properties of the test."""
    cases = [_test(verdict) for verdict in comparison["verdicts"]] or [_nothing()]
    counted = {
        kind: str(sum(case.find(kind) is not None for case in cases)) for kind in ("failure", "error", "skipped")
    }
    suite = ET.Element(
        "testsuite", name="ddpm-bench compare", tests=str(len(cases)), failures=counted["failure"],
        errors=counted["error"], skipped=counted["skipped"], timestamp=str(comparison["created"])[:19],
    )  # fmt: skip
    suite.extend(cases)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_junit(path: Path, comparison: Record) -> None:
    """Write `junit(comparison)` to `path`. Raises `BenchmarkError` when that is impossible."""
    try:
        path.write_text(junit(comparison), encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror}") from None


def _test(verdict: Mapping[str, object]) -> ET.Element:
    case = ET.Element("testcase", classname="ddpm-bench.compare", name=_printable(name(verdict)))
    properties = ET.SubElement(case, "properties")
    for key in ("label", "ratio", "interval", "minimum_detectable_effect", "processes_needed"):
        if verdict.get(key) is not None:
            ET.SubElement(properties, "property", name=key, value=_printable(str(verdict[key])))
    kind = JUNIT.get(str(verdict["label"]))
    if kind:
        ET.SubElement(case, kind, message=_printable(f"{verdict['label']}: {verdict['why']}"))
    return case


def _nothing() -> ET.Element:
    case = ET.Element("testcase", classname="ddpm-bench.compare", name="comparison")
    ET.SubElement(case, "error", message=NOTHING)
    return case


def _printable(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold."""
    return "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)


def name(verdict: Mapping[str, object]) -> str:
    """Case, device, mode and tuning of a verdict, as a test or an annotation is called."""
    params = verdict["params"]
    return f"{verdict['case']} ({', '.join(map(str, params.values()))})" if isinstance(params, Mapping) else ""


def github(comparison: Record) -> list[str]:
    """A compare record as annotation lines of a GitHub workflow, one for each verdict that wants to be seen."""
    lines = [_annotation(verdict) for verdict in comparison["verdicts"] if verdict["label"] in GITHUB]
    return lines if comparison["verdicts"] else [f"::warning title=ddpm-bench compare::{NOTHING}"]


def _annotation(verdict: Record) -> str:
    by = "" if verdict["ratio"] is None else f"{_change(verdict['ratio'])}, "
    title = _escaped(f"{verdict['label']}: {name(verdict)}").replace(":", "%3A").replace(",", "%2C")
    return f"::{GITHUB[verdict['label']]} title={title}::{_escaped(by + str(verdict['why']))}"


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %" if math.isfinite(ratio) else str(ratio)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
