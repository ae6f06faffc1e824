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
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measurement import BenchmarkError, Record

JUNIT = {"slower": "failure", "inconclusive": "skipped", "incomparable": "error"}
"""Label to the element that says so; a label without one has passed."""

GITHUB = {"slower": "error", "faster": "notice", "inconclusive": "warning", "incomparable": "warning"}
"""Label to the kind of annotation; a label without one gets none."""

PROPERTIES = ("label", "ratio", "interval", "minimum_detectable_effect", "processes_needed")
"""Of a verdict, what a test in JUnit tells besides its status."""

NOTHING = "nothing was compared: the records have no cell"


def junit(comparison: Record) -> str:
    """A compare record as JUnit XML, a test a cell; the ratio and its interval are properties of the test."""
    return document("compare", str(comparison["created"]), [_test(verdict) for verdict in comparison["verdicts"]])


def document(verb: str, created: str, tests: Sequence[ET.Element]) -> str:
    """The JUnit XML of what a `verb` tested; without any test it is an error that says so."""
    cases = tests or [_nothing(verb)]
    counted = {
        kind: str(sum(case.find(kind) is not None for case in cases)) for kind in ("failure", "error", "skipped")
    }
    suite = ET.Element(
        "testsuite", name=f"ddpm-bench {verb}", tests=str(len(cases)), failures=counted["failure"],
        errors=counted["error"], skipped=counted["skipped"], timestamp=created[:19],
    )  # fmt: skip
    suite.extend(cases)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_junit(path: Path, text: str) -> None:
    """Write what `junit` gave to `path`. Raises `BenchmarkError` when that is impossible."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror}") from None


def _test(verdict: Mapping[str, object]) -> ET.Element:
    kind = JUNIT.get(str(verdict["label"]))
    shown = {key: verdict.get(key) for key in PROPERTIES}
    return test("compare", name(verdict), shown, (kind, f"{verdict['label']}: {verdict['why']}") if kind else None)


def test(verb: str, title: str, properties: Mapping[str, object], said: tuple[str, str] | None) -> ET.Element:
    """A test of a `verb`; what it `said` is an element that is not a pass, with its message."""
    case = ET.Element("testcase", classname=f"ddpm-bench.{verb}", name=_printable(title))
    shown = ET.SubElement(case, "properties")
    for key, value in properties.items():
        if value is not None:
            ET.SubElement(shown, "property", name=key, value=_printable(str(value)))
    if said:
        ET.SubElement(case, said[0], message=_printable(said[1]))
    return case


def _nothing(verb: str) -> ET.Element:
    case = ET.Element("testcase", classname=f"ddpm-bench.{verb}", name="comparison")
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
    return annotation(GITHUB[verdict["label"]], f"{verdict['label']}: {name(verdict)}", by + str(verdict["why"]))


def annotation(kind: str, title: str, message: str) -> str:
    """A line that GitHub shows as an "error", a "warning" or a "notice"."""
    escaped = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={escaped}::{_escaped(message)}"


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %" if math.isfinite(ratio) else str(ratio)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
