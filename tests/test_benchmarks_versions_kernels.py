"""The kernels of builds: every build asked once, kept, and each exchange named with its step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import implementations
from benchmarks.arms import Arm
from benchmarks.cases import Case
from benchmarks.implementations import Kernels
from benchmarks.measurement import BenchmarkError
from benchmarks.onednn import Choice, Primitive
from benchmarks.selection import choose
from benchmarks.talking import CALLS
from benchmarks.versions_kernels import Said, as_record, asked, inside

CASES = choose("conv3x3[digits,b64,1-32@8] unet_forward[digits,b64]")
PICKS = [(case, mode) for case in CASES for mode in ("graph", "pynative")]
NET = CASES[0]
CONVOLUTION = Primitive("convolution", "forward_training", "mb64_ic1oc32")
ARMS = tuple(Arm(label) for label in ("2.8.0", "2.9.0", "2.10.0"))


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...], str]]:
    seen = []

    def ask(arm: Arm, cases: Sequence[Case], *, mode: str, **_: Any) -> Kernels:
        seen.append((arm.label, tuple(case.id for case in cases), mode))
        if arm.label == "2.10.0":
            return Kernels(None, {}, "asking for kernels ended with exit code 1")
        kernel, seconds = ("gemm:jit", 0.03) if arm.label == "2.8.0" else ("ref:any", 3.0)
        return Kernels("oneDNN", {case.id: {CONVOLUTION: Choice(kernel, 3 * CALLS, seconds)} for case in cases})

    monkeypatch.setattr(implementations, "ask", ask)
    return seen


def found(store: Path | None = None) -> dict[str, Any]:
    return as_record(said(store))


def said(store: Path | None = None) -> Said:
    return asked(ARMS, PICKS, device="CPU", store=store, session="s", tell=lambda _: None)


def test_every_build_is_asked_once_for_every_case_and_for_single_operators_in_one_mode(questions: list[Any]) -> None:
    found()
    every, whole = tuple(case.id for case in CASES), (NET.id,)
    assert questions == [
        (arm.label, cases, mode) for arm in ARMS for cases, mode in ((every, "graph"), (whole, "pynative"))
    ]


def test_seconds_inside_a_call_are_of_one_call_of_a_case_that_both_builds_tell_of(questions: list[Any]) -> None:
    assert questions == []
    within = inside(said(), "2.8.0", "2.9.0")
    assert set(within) == {(NET.id, "graph"), (NET.id, "pynative"), (CASES[1].id, "graph")}
    (part,) = within[NET.id, "graph"]
    assert (part.kind, part.count) == ("convolution forward_training", 3)
    assert (part.old, part.new) == (pytest.approx(0.03 / CALLS), pytest.approx(3.0 / CALLS))
    assert inside(said(), "2.9.0", "2.10.0") == {}


def test_an_exchange_is_named_with_its_step(questions: list[Any]) -> None:
    assert questions == []
    net, _ = found()["changes"]
    assert net["step"] == ["2.8.0", "2.9.0"]
    assert (net["case"], net["old"], net["new"]) == (NET.id, "gemm:jit", "ref:any")
    assert net["seconds"] == pytest.approx([0.01 / CALLS, 1.0 / CALLS])


def test_a_build_that_cannot_say_has_its_reason(questions: list[Any]) -> None:
    assert questions == []
    assert [one["reason"] for one in found()["said"]] == [None, None, "asking for kernels ended with exit code 1"]


def test_nobody_is_asked_twice_unless_the_answer_was_damaged(questions: list[Any], tmp_path: Path) -> None:
    first = found(tmp_path)
    assert found(tmp_path) == first
    assert len(questions) == 8  # two are of the build that could not say
    kept = sorted((tmp_path / "kernels" / "s").glob("*.json"))
    kept[0].write_text("{}")
    assert found(tmp_path) == first
    assert len(questions) == 11


def test_answer_of_another_schema_is_refused(questions: list[Any], tmp_path: Path) -> None:
    assert questions == []
    found(tmp_path)
    kept = next((tmp_path / "kernels" / "s").glob("*.json"))
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "schema": 99}))
    with pytest.raises(BenchmarkError, match="has schema 99"):
        found(tmp_path)
