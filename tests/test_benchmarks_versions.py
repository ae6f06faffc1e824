"""A sweep over builds: neighbours are judged, broken builds are rows with reasons, and the text can be pasted."""

from __future__ import annotations

import json
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sweeps

from benchmarks import duel, versions
from benchmarks.builds import Build
from benchmarks.cases import select
from benchmarks.measurement import SCHEMA, BenchmarkError, read_record, write_record
from benchmarks.versions import Question

(CASE,) = select("unet_forward[digits,b64]")
QUESTION = Question(((CASE, "graph"),), pairs=8, verify=False)
OUTPUT = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
SECONDS = {"2.7.0": 0.010, "2.8.0": 0.010, "2.9.0": 0.100}


def build(label: str, reason: str | None = None) -> Build:
    return Build(label, None if reason else Path("/opt") / label, label, reason)


def record(label: str, seconds: float, **environment: str) -> dict[str, Any]:
    rows = [
        {
            "case": CASE.id, "params": {"device": "CPU", "mode": "graph", "tuning": "stock"}, "process": i,
            "seconds": [seconds * (1 + 1e-3 * ((i * 7 + len(label)) % 5))] * 12, "first_call_seconds": 1.0,
            "flops": None, "peak_rss_bytes": None, "cpu_over_wall": None, "work": 1, "unit": "images",
            "import_seconds": 1.0,
            "proof": {"gate": {"error": 1e-6, "allowed": 1e-5}}, "interleaved": True,
        }
        for i in range(8)
    ]  # fmt: skip
    return {
        "schema": SCHEMA, "kind": "bench", "created": "2025-01-01", "session": "s", "arm": label, "notes": [],
        "measurements": rows,
        "environment": {"mindspore": label, "cpu": "a", **environment},
    }  # fmt: skip


@pytest.fixture
def bouts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []

    def fight(bout: Any, *, on_outputs: Any, **_: Any) -> dict[str, Any]:
        seen.append(bout)
        for arm in bout.arms:
            on_outputs(arm.label, (CASE.id, "CPU", "graph"), [OUTPUT + np.float32(arm.label == "2.9.0")])
        return {arm.label: record(arm.label, SECONDS[arm.label]) for arm in bout.arms}

    monkeypatch.setattr(duel, "fight", fight)
    return seen


def test_each_build_is_judged_against_the_one_before_it(bouts: list[Any]) -> None:
    found = versions.sweep([build(label) for label in SECONDS], QUESTION, reference="m:f")
    assert [(v["old"], v["new"], v["label"]) for v in found["verdicts"]] == [
        ("2.7.0", "2.8.0", "equivalent"),
        ("2.8.0", "2.9.0", "slower"),
    ]
    assert found["verdicts"][1]["ratio"] == pytest.approx(10, rel=0.01)
    assert versions.exit_code(found) == 1
    (bout,) = bouts
    assert [arm.tuning for arm in bout.arms] == [versions.TUNING] * 3
    assert {case.settle for case, _ in bout.picks} == {2}, "a slow build would make its row a minute longer"
    assert [arm.python for arm in bout.arms] == [f"/opt/{label}" for label in SECONDS]


def test_what_is_looked_into_belongs_to_the_sweep_that_asked(bouts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was begun anew and interrupted must not find the layers and remedies of the old one."""
    asked: list[Any] = []
    monkeypatch.setattr(versions.versions_remedies, "trials", lambda _, bout, *__: asked.append(bout) or [])
    monkeypatch.setattr(versions.versions_layers, "unexplained", lambda _, bout, *__: asked.append(bout) or [])
    found = versions.sweep([build(label) for label in SECONDS], QUESTION, reference="m:f")
    assert [bout.plan["session"] for bout in asked] == [found["session"]] * 2


def test_a_step_between_old_builds_is_no_alarm_for_the_newest(bouts: list[Any]) -> None:
    found = versions.sweep([build(label) for label in ("2.9.0", "2.7.0", "2.8.0")], QUESTION, reference="m:f")
    assert [v["label"] for v in found["verdicts"]] == ["faster", "equivalent"]
    assert versions.exit_code(found) == 0


def test_a_build_that_does_not_work_is_a_row_with_its_reason(bouts: list[Any]) -> None:
    found = versions.sweep(
        [build("2.7.0"), build("2.7.5", "cannot be installed: no such version"), build("2.8.0")],
        QUESTION, reference="m:f",
    )  # fmt: skip
    assert found["builds"][1] == {
        "label": "2.7.5", "mindspore": "2.7.5", "reason": "cannot be installed: no such version", "libraries": {},
    }  # fmt: skip
    assert list(found["arms"]) == ["2.7.0", "2.8.0"]


def test_fewer_than_two_working_builds_are_refused_with_the_reasons(bouts: list[Any]) -> None:
    with pytest.raises(BenchmarkError, match=r"1 of 2 builds can be used, and .* needs two: 2\.7\.5 \(broken"):
        versions.sweep([build("2.7.0"), build("2.7.5", "broken")], QUESTION, reference="m:f")
    assert bouts == []


def test_builds_that_differ_in_more_than_mindspore_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"2.7.0": record("2.7.0", 0.01), "2.8.0": record("2.8.0", 0.02, numpy="1.26.3")}
    monkeypatch.setattr(duel, "fight", lambda *_, **__: arms)
    found = versions.sweep([build("2.7.0"), build("2.8.0")], QUESTION, reference="m:f")
    assert [v["label"] for v in found["verdicts"]] == ["incomparable"]
    assert "numpy: absent → 1.26.3" in found["verdicts"][0]["why"]
    assert [n["label"] for n in found["numbers"]] == ["incomparable"]
    assert "numpy: absent → 1.26.3" in found["numbers"][0]["why"]
    assert versions.exit_code(found) == 3


def test_two_machines_are_not_compared_and_both_are_named() -> None:
    """In speed and in numbers: outputs that are the same to the bit would pass for a comparison otherwise."""
    arms = {"2.9.0": sweeps.arm("2.9.0", sweeps.times()), "2.10.0": sweeps.arm("2.10.0", sweeps.times(), host="b")}
    found = sweeps.sweep(arms)
    told = [*found["verdicts"], *found["numbers"]]
    assert {each["label"] for each in told} == {"incomparable"}
    assert all("host: a → b" in each["why"] for each in told)
    assert versions.exit_code(found) == 3


NEWEST = {
    "steady": (sweeps.times(), None, 0),
    "faster": (sweeps.times(0.02), None, 0),
    "slower": (sweeps.times(0.04), None, 1),
    "invalid": (sweeps.times(step=None), None, 3),
    "rounding": (sweeps.times(), sweeps.rounded(), 0),
    "changed": (sweeps.times(), sweeps.OUTPUT * np.float32(1.01), 1),
    "of another shape": (sweeps.times(), sweeps.OUTPUT[:2], 3),
    "slower and of another shape": (sweeps.times(0.04), sweeps.OUTPUT[:2], 1),
}


@pytest.mark.parametrize("kind", NEWEST)
def test_exit_code_is_about_the_newest_build(kind: str) -> None:
    times, output, code = NEWEST[kind]
    arms = {**sweeps.steady(("2.8.0", "2.9.0")), "2.10.0": sweeps.arm("2.10.0", times)}
    found = sweeps.sweep(arms, outputs={} if output is None else {"2.10.0": output})
    assert versions.exit_code(found) == code


@pytest.mark.parametrize(("whole", "code"), [(True, 0), (False, 1)])
def test_slower_operator_explains_and_is_an_alarm_only_by_itself(whole: bool, code: int) -> None:
    """Beside whole cases its few workers say nothing about its speed; what it does to the numbers is no chance."""
    nets = sweeps.times() if whole else {}
    arms = {
        label: sweeps.arm(label, {**nets, ("conv3x3[a]", "graph"): seconds})
        for label, seconds in (("2.9.0", 0.01), ("2.10.0", 0.02))
    }
    found = sweeps.sweep(arms)
    assert ("slower" in {verdict["label"] for verdict in found["verdicts"]}) is not whole
    assert versions.exit_code(found) == code
    changed = sweeps.sweep(arms, outputs={"2.10.0": sweeps.OUTPUT * np.float32(1.01)})
    assert versions.exit_code(changed) == 1


def test_undecided_newest_build_is_3() -> None:
    noisy = {label: sweeps.arm(label, sweeps.times(), noise=0.1) for label in ("2.9.0", "2.10.0")}
    assert versions.exit_code(sweeps.sweep(noisy)) == 3


def test_newest_build_that_could_not_be_used_is_never_a_success() -> None:
    """The newest that could be used is judged, and may alarm."""
    assert versions.exit_code(sweeps.sweep(sweeps.steady(), broken={"2.11.0": "no such version"})) == 3
    slower = {**sweeps.steady(("2.9.0",)), "2.10.0": sweeps.arm("2.10.0", sweeps.times(0.04))}
    assert versions.exit_code(sweeps.sweep(slower)) == 1
    assert versions.exit_code(sweeps.sweep(slower, broken={"2.11.0": "no such version"})) == 1


def test_record_of_a_build_that_gives_no_numbers_is_json(tmp_path: Path) -> None:
    bad = sweeps.OUTPUT.copy()
    bad[0, 0] = np.nan
    found = sweeps.sweep(sweeps.steady(), outputs={"2.10.0": bad})
    write_record(tmp_path / "versions.json", found)
    assert read_record(tmp_path / "versions.json", kind="versions") == found
    assert {number["largest"] for number in found["numbers"]} == {"nan"}


def test_layers_that_were_timed_divide_each_step_and_the_record_is_json(tmp_path: Path) -> None:
    found = sweeps.eventful()
    divided = {(*one["step"], one["cell"][2]): one for one in found["attribution"]}
    forward = divided["2.8.0", "2.9.0", "graph"]
    assert [part["kind"] for part in forward["parts"]] == ["conv3x3", "group_norm", "linear"]
    assert [part["kind"] for part in forward["kernels"]] == ["convolution forward"]
    named = {(s["before"], s["build"], s["mode"]) for s in found["steps"]}
    assert set(divided) <= named
    write_record(tmp_path / "versions.json", found)
    assert read_record(tmp_path / "versions.json", kind="versions") == found
    assert "attribution" not in sweeps.sweep(sweeps.steady())


def test_step_that_is_not_worth_explaining_is_named_and_not_divided() -> None:
    steps = {"2.9.0": 0.0348, "2.10.0": 0.034}
    small = {label: sweeps.arm(label, sweeps.times(forward), noise=0.006) for label, forward in steps.items()}
    for label, record in small.items():
        record["layers"] = sweeps.layers(sweeps.FORWARD, "graph", {"conv3x3": steps[label]})
    found = sweeps.sweep(small)
    assert {step["change"].split(" (")[0] for step in found["steps"]} == {"2.4 % faster"}
    assert "attribution" not in found


def test_first_rows_are_of_all_builds_and_more_of_those_with_open_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], int]] = []

    def fight(bout: Any, **_: Any) -> dict[str, Any]:
        asked.append(([arm.label for arm in bout.arms], bout.most_pairs))
        return {
            arm.label: {**whole, "measurements": whole["measurements"][: bout.most_pairs]}
            for arm, whole in ((arm, record(arm.label, SECONDS[arm.label])) for arm in bout.arms)
        }

    monkeypatch.setattr(duel, "fight", fight)
    found = versions.sweep([build(label) for label in SECONDS], QUESTION, reference="m:f")
    assert asked == [(list(SECONDS), 3), (["2.7.0", "2.8.0"], 5)]
    assert [v["label"] for v in found["verdicts"]] == ["equivalent", "slower"]
    assert [len(arm["measurements"]) for arm in found["arms"].values()] == [8, 8, 3]


@pytest.mark.parametrize("budget", [None, 90.0])
def test_budget_is_for_all_rows_together(budget: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[float | None] = []

    def fight(bout: Any, **_: Any) -> dict[str, Any]:
        budgets.append(bout.budget)
        time.sleep(0.6)
        return {
            arm.label: {**whole, "measurements": whole["measurements"][: bout.most_pairs]}
            for arm, whole in ((arm, record(arm.label, SECONDS[arm.label])) for arm in bout.arms)
        }

    monkeypatch.setattr(duel, "fight", fight)
    question = Question(((CASE, "graph"),), pairs=8, budget=budget, verify=False)
    versions.sweep([build("2.7.0"), build("2.8.0")], question, reference="m:f")
    assert budgets[0] == budget
    assert budgets[1] == (None if budget is None else pytest.approx(budget - 0.6, abs=0.3))


def test_what_a_step_did_to_the_numbers_is_said_and_counts(bouts: list[Any]) -> None:
    found = versions.sweep([build(label) for label in ("2.7.0", "2.9.0", "2.8.0")], QUESTION, reference="m:f")
    assert [(n["old"], n["new"], n["label"]) for n in found["numbers"]] == [
        ("2.7.0", "2.9.0", "changed"),
        ("2.9.0", "2.8.0", "changed"),
    ]
    assert versions.exit_code(found) == 1
    same = versions.sweep([build(label) for label in ("2.7.0", "2.8.0")], QUESTION, reference="m:f")
    assert same["numbers"][0]["label"] == "identical"


def schema() -> dict[str, Any]:
    """The schema that the wheel carries."""
    text = resources.files("benchmarks").joinpath("schemas/versions.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def test_published_schema_describes_every_sweep() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    bad = sweeps.OUTPUT.copy()
    bad[0, 0] = np.inf
    eventful = sweeps.eventful()
    for found in (eventful, sweeps.sweep(sweeps.steady(), outputs={"2.10.0": bad})):
        assert [error.message for error in validator.iter_errors(json.loads(json.dumps(found)))] == []
    assert not validator.is_valid({**eventful, "headline": ""})
    assert not validator.is_valid({**eventful, "numbers": [{**eventful["numbers"][0], "label": "odd"}]})


def test_schema_names_every_field_there_is() -> None:
    found = sweeps.eventful()
    assert set(found) == set(schema()["properties"])
    described = schema()["$defs"]
    for name, entry in (("build", found["builds"][0]), ("number", found["numbers"][0]), ("step", found["steps"][0])):
        assert set(entry) == set(described[name]["required"])
    assert set(found["attribution"][0]) == set(described["attribution"]["properties"])
