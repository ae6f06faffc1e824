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
from benchmarks.versions_kernels import kernels

CASES = choose("conv3x3[digits,b64,1-32@8] silu[digits,b64,32-32@8]")
PICKS = [(case, mode) for case in CASES for mode in ("graph", "pynative")]
CONVOLUTION = Primitive("convolution", "forward_training", "mb64_ic1oc32")
ARMS = tuple(Arm(label) for label in ("2.8.0", "2.9.0", "2.10.0"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...], str]]:
    seen = []

    def ask(arm: Arm, cases: Sequence[Case], *, mode: str, **_: Any) -> Kernels:
        seen.append((arm.label, tuple(case.id for case in cases), mode))
        if arm.label == "2.10.0":
            return Kernels(None, {}, "asking for kernels ended with exit code 1")
        kernel, seconds = ("gemm:jit", 0.02) if arm.label == "2.8.0" else ("ref:any", 2.0)
        return Kernels("oneDNN", {CASES[0].id: {CONVOLUTION: Choice(kernel, 2, seconds)}})

    monkeypatch.setattr(implementations, "ask", ask)
    return seen


def found(store: Path | None = None) -> dict[str, Any]:
    return kernels(ARMS, PICKS, device="CPU", store=store, session="s", tell=lambda _: None)


def test_every_build_is_asked_once_for_every_case_in_one_mode(asked: list[Any]) -> None:
    found()
    assert asked == [(arm.label, tuple(case.id for case in CASES), "graph") for arm in ARMS]


def test_an_exchange_is_named_with_its_step(asked: list[Any]) -> None:
    assert asked == []
    (change,) = found()["changes"]
    assert change["step"] == ["2.8.0", "2.9.0"]
    assert (change["case"], change["old"], change["new"]) == (CASES[0].id, "gemm:jit", "ref:any")
    assert change["seconds"] == pytest.approx([0.01, 1.0])


def test_a_build_that_cannot_say_has_its_reason(asked: list[Any]) -> None:
    assert asked == []
    assert [one["reason"] for one in found()["said"]] == [None, None, "asking for kernels ended with exit code 1"]


def test_nobody_is_asked_twice_unless_the_answer_was_damaged(asked: list[Any], tmp_path: Path) -> None:
    first = found(tmp_path)
    assert found(tmp_path) == first
    assert len(asked) == 3
    kept = sorted((tmp_path / "kernels" / "s").glob("*.json"))
    kept[0].write_text("{}")
    assert found(tmp_path) == first
    assert len(asked) == 4


def test_answer_of_another_schema_is_refused(asked: list[Any], tmp_path: Path) -> None:
    assert asked == []
    found(tmp_path)
    kept = next((tmp_path / "kernels" / "s").glob("*.json"))
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "schema": 99}))
    with pytest.raises(BenchmarkError, match="has schema 99"):
        found(tmp_path)
