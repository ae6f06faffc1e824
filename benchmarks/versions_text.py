"""A sweep as Markdown for a release note or an issue tracker: the sentence, the table, the steps, what they rest on."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.environment import CODE_KEYS
from benchmarks.estimate import ORDINARY
from benchmarks.formats import seconds
from benchmarks.markdown import inline
from benchmarks.measurement import Measurement, Record, measurements
from benchmarks.versions_builds import EDITED
from benchmarks.versions_words import Cell, cell_of, change, excludes, helped, operators, said

MACHINE = ("cpu", "cpu_isa", "cores_usable", "system", "python", "numpy")
"""What a reader wants to know of where the times were taken; all of it is in the record."""


MOST_KERNELS = 10
"""Lines about exchanged kernels."""

MOST_PARTS = 3
"""Kinds of kernels or of layers that a step's line names."""


def markdown(record: Record) -> str:
    """The sweep as text that stands for itself, with the command that reproduces it."""
    labels = list(record["arms"])
    worth = f"{100 * record['effect']:g} % worth knowing; {record['created']}"
    single = operators(record)
    cells = list(dict.fromkeys(cell for arm in record["arms"].values() for cell in _by_cell(arm)))
    lines = [
        f"**{_sentence(record)}**",
        "",
        f"Median time a call, and changes from build to build, of fastest and ordinary calls or as said; {worth}.",
        "",
        *_table(record, labels, [cell for cell in cells if cell not in single]),
        "",
        *_gates(record),
        *_operators(record, labels, [cell for cell in cells if cell in single]),
        *_steps(record),
        *_attributions(record),
        *_remedies(record),
        *_kernels(record),
        *_drift(record),
        *_ledgers(record),
        *(f"* {inline(b['label'])} could not be used: {inline(b['reason'])}" for b in record["builds"] if b["reason"]),
        *(f"* {inline(note)}" for note in record["notes"]),
        "",
        *_environment(record, labels),
        "",
        "Reproduce:",
        "",
        "```",
        record["command"],
        "```",
    ]
    return "\n".join(lines) + "\n"


def _sentence(record: Record) -> str:
    """The headline, with names of cases as code."""
    names = sorted({verdict["case"] for verdict in record["verdicts"]}, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, names))})", record["headline"]) if names else [record["headline"]]
    return "".join(_code(part) if part in names else _spaced(part) for part in parts)


def _spaced(text: str) -> str:
    """`text` on one line, with the blanks around it."""
    return f"{' ' * text.startswith(' ')}{inline(text)}{' ' * text.endswith(' ')}"


def _code(text: str) -> str:
    """`text` as code, on one line, also in a table."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _table(record: Record, labels: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    rows = {label: _by_cell(arm) for label, arm in record["arms"].items()}
    steps = {(cell_of(verdict), verdict["new"]): verdict for verdict in record["verdicts"]}
    lines = [f"| case | mode | {' | '.join(map(inline, labels))} |", "|---|---|" + "---|" * len(labels)]
    for cell in cells:
        entries = [_entry(rows[label].get(cell, []), steps.get((cell, label))) for label in labels]
        lines.append(f"| {_code(cell[0])} | {cell[2]} | {' | '.join(entries)} |")
    return lines


def _operators(record: Record, labels: Sequence[str], single: Sequence[Cell]) -> list[str]:
    """The table of single operators, folded up where Markdown can be."""
    if not single:
        return []
    return [f"<details><summary>{len(single)} single operators, timed to explain and not judged</summary>", "",
            *_table({**record, "verdicts": []}, labels, single), "", "</details>", ""]  # fmt: skip


def _by_cell(record: Record) -> dict[Cell, list[Measurement]]:
    found: dict[Cell, list[Measurement]] = {}
    for row in measurements(record):
        found.setdefault((row.case, str(row.params["device"]), str(row.params["mode"])), []).append(row)
    return found


def _entry(rows: Sequence[Measurement], verdict: Mapping[str, Any] | None) -> str:
    """One cell of one build: its time, and the step to it."""
    reasons = [row.invalid for row in rows if row.invalid]
    if not rows or reasons:
        return f"INVALID: {inline(reasons[0])}" if reasons else "not measured"
    time = seconds(statistics.median(row.value for row in rows))
    if verdict is None:
        return time
    return f"{time}, {said(verdict)}{'; ordinary calls' if verdict['judged_by'] == ORDINARY else ''}"


def _steps(record: Record) -> list[str]:
    """A line for each step that has a name, by build."""
    if not record["steps"]:
        return ["No step made a case slower or faster." if record["verdicts"] else "No case was measured.", ""]
    named = [f"* {inline(s['build'])}: {_code(s['case'])} in {s['mode']} mode: {s['change']}" for s in record["steps"]]
    return ["Steps, with their intervals:", "", *named, ""]


def _attributions(record: Record) -> list[str]:
    """What made each step: the kernels and the kinds of layers that contribute most."""
    lines = []
    for one in record.get("attribution", ()):
        more = one["new"] - one["old"]
        divisions = [f"{how} {_division(one[name], more)}" for name, how in DIVISIONS.items() if one[name]]
        lines.append(
            f"* {inline(one['step'][1])}: {_code(one['cell'][0])} in {one['cell'][2]} mode takes {seconds(abs(more))} "
            f"{'more' if more >= 0 else 'less'} a call. {' '.join(divisions)}"
        )
    return ["What made the steps:", "", *lines, ""] if lines else []


DIVISIONS = {"kernels": "Its kernels, by their library's own watch:", "parts": "Its layers, each timed by itself:"}


def _division(parts: Sequence[Mapping[str, Any]], more: float) -> str:
    """The parts that contribute most to `more` seconds a call, and what all of them sum to.

    Of parts that have intervals those that are told from noise, and what they sum to.
    """
    judged = all(part["interval"] for part in parts)
    told = [part for part in parts if not judged or excludes(part["interval"])]
    named = [
        f"{inline(part['kind'])} {seconds(part['old'])} → {seconds(part['new'])}{_told(part)}"
        for part in told[:MOST_PARTS]
        if part["new"] != part["old"]
    ]
    total = sum(part["new"] - part["old"] for part in told)
    if judged and not told:
        return "none of their kinds is told from noise."
    share = f"together {100 * total / more:.0f} % of it" if more else "the calls' medians are equal"
    return f"{', '.join(named)}; {share}."


def _told(part: Mapping[str, Any]) -> str:
    """By how much a part with an interval changed, in parentheses."""
    return f" ({change(part['new'] / part['old'], part['interval'])})" if part["interval"] else ""


def _remedies(record: Record) -> list[str]:
    """What the settings did that were tried on builds that became slower."""
    lines = [
        f"* {inline(tried['build'])} with {_code(tried['remedy'])}: {_code(tried['case'])} in {tried['mode']} mode "
        f"{helped(tried)}"
        for tried in record.get("remedies", ())
    ]
    return (
        ["Settings tried on builds that became slower, against the same build without:", "", *lines, ""]
        if lines
        else []
    )


def _gates(record: Record) -> list[str]:
    """Whether the DDPM is right under each build; one line where it is under all."""
    gates = record.get("gates", [])
    bad = [gate for gate in gates if gate["reason"] or gate["passed"] < gate["findings"]]
    if not bad:
        return [f"The DDPM passes all of its {gates[0]['findings']} checks under every build.", ""] if gates else []
    lines = [f"* {inline(gate['build'])}: {_gate(gate)}" for gate in bad]
    return ["The DDPM, judged under each build; under the others all checks pass:", "", *lines, ""]


def _gate(gate: Mapping[str, Any]) -> str:
    if gate["reason"]:
        return f"UNVERIFIED, {inline(gate['reason'])}"
    return f"{gate['passed']} of {gate['findings']} checks pass; not {inline(', '.join(gate['failed']))}"


def _kernels(record: Record) -> list[str]:
    """The kernels that were exchanged at each step, those that changed the time of a run most."""
    changes = (record.get("kernels") or {"changes": []})["changes"]
    if not changes:
        return []
    ordered = sorted(changes, key=lambda each: -abs(each["seconds"][1] - each["seconds"][0]))
    lines = [
        f"* {inline(c['step'][1])}: {_code(c['case'])}: {inline(c['primitive'])} {inline(c['direction'])} by "
        f"{_code(c['new'])}, was {_code(c['old'])} (a run {seconds(c['seconds'][1])}, was {seconds(c['seconds'][0])})"
        for c in ordered[:MOST_KERNELS]
    ]
    return [f"Kernels that were exchanged, {len(lines)} of {len(changes)}:", "", *lines, ""]


def _drift(record: Record) -> list[str]:
    """What the steps did to the numbers: a line for each that did something."""
    changes = [number for number in record["numbers"] if number["label"] != "identical"]
    if not record["numbers"]:
        return ["Outputs were not compared.", ""]
    if not changes:
        return ["Outputs for the same inputs: every bit is the same in all builds.", ""]
    lines = [
        f"* {inline(n['new'])}: {_code(n['case'])} in {n['mode']} mode: {n['label']}, {inline(n['why'])}"
        for n in changes
    ]
    return ["Outputs for the same inputs, where a bit or more differs from the build before:", "", *lines, ""]


def _ledgers(record: Record) -> list[str]:
    """What became of the accuracy of operators, folded up where Markdown can be."""
    found = record.get("ledgers")
    if not found:
        return []
    silent = [f"* {inline(one['build'])}: {inline(one['reason'])}" for one in found["said"] if one["reason"]]
    changes = found["changes"]
    lines = [f"* {inline(each['step'][1])}: {inline(each['what'])}" for each in changes]
    count = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
    folded = [f"<details><summary>Accuracy of operators: {count}</summary>", "", *lines, "", "</details>", ""]
    told = folded if changes else ["Accuracy of operators: no step changed any.", ""]
    return [*told, *([*silent, ""] if silent else [])]


def _environment(record: Record, labels: Sequence[str]) -> list[str]:
    arms = [record["arms"][label]["environment"] for label in labels]
    shared = [f"{key} {arms[-1].get(key, 'absent')}" for key in MACHINE]
    apart = [key for key in differing(arms) if key not in CODE_KEYS]
    lines = [f"Measured on: {inline(', '.join(map(str, shared)))}.", ""]
    for key in apart:
        if [str(arm.get(key)) for arm in arms] == list(labels):
            continue  # the builds are called after it
        values = (f"{label} {arm.get(key, 'absent')}" for label, arm in zip(labels, arms, strict=True))
        lines.append(f"* {inline(key)} differs: {inline('; '.join(values))}")
    edited = [(b["label"], b["libraries"][EDITED]) for b in record["builds"] if EDITED in b.get("libraries", {})]
    return [*lines, *(f"* {inline(label)} was {EDITED}: {inline(what)}" for label, what in edited)]


def differing(environments: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that do not have one value in all of `environments`, sorted."""
    keys = {key for each in environments for key in each}
    return sorted(key for key in keys if len({str(each.get(key, "absent")) for each in environments}) > 1)
