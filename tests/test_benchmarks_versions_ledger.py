"""Ledgers of kernels by build: measured once, kept, compared from step to step, and told without counting."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sweeps

from benchmarks import versions, versions_ledger, versions_page, versions_text
from benchmarks.arms import Arm
from benchmarks.errand import ErrandError
from benchmarks.measurement import BenchmarkError
from ddpm_bench import kernel_record

pytestmark = pytest.mark.needs_mindspore

ARMS = tuple(Arm(label) for label in ("2.8.0", "2.9.0", "2.10.0"))


def row(op: str, ulps: float) -> dict[str, Any]:
    return {"op": op, "dtype": "float32", "device": "CPU", "mode": "graph", "reach": 4.0, "ulps": ulps,
            "digest": f"{ulps}"}  # fmt: skip


class Kernels:
    """Stands for the errand: leaves the ledger that its build deserves."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.rows = {"2.8.0": [row("exp", 1.0), row("erf", 9.0)], "2.9.0": [row("exp", 1.0), row("erf", 2.0)],
                     "2.10.0": [row("exp", 3.0), row("erf", 2.0)]}  # fmt: skip
        self.error: ErrandError | None = None

    def __call__(self, arm: Arm, arguments: Sequence[str], *, folder: Path, **_: Any) -> Any:
        self.sent.append((arm.label, arguments[-1]))
        if self.error:
            raise self.error
        if arm.label not in self.rows:
            return subprocess.CompletedProcess((), 1, "", "AttributeError: no such operator\n")
        (folder / "kernels.json").write_text(json.dumps(self.rows[arm.label]))
        return subprocess.CompletedProcess((), 0, "", "")


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Kernels:
    fake = Kernels()
    monkeypatch.setattr(versions_ledger, "errand", fake)
    return fake


def ledgers(store: Path | None = None) -> dict[str, Any]:
    return versions_ledger.ledgers(
        ARMS, kernel_record.changes, device="CPU", store=store, session="s", tell=lambda _: None
    )


def test_every_step_says_what_became_better_or_worse(kernels: Kernels) -> None:
    found = ledgers()
    assert sorted(kernels.sent) == sorted((arm.label, "CPU") for arm in ARMS)
    assert [(*change["step"], change["what"]) for change in found["changes"]] == [
        ("2.8.0", "2.9.0", "erf up to 4, float32, graph on CPU: 9 → 2 ulps, better"),
        ("2.9.0", "2.10.0", "exp up to 4, float32, graph on CPU: 1 → 3 ulps, worse"),
    ]
    assert [(one["build"], one["rows"], one["reason"]) for one in found["said"]] == [(a.label, 2, None) for a in ARMS]


def test_a_build_that_cannot_be_measured_has_its_reason_and_no_steps(kernels: Kernels) -> None:
    del kernels.rows["2.9.0"]
    found = ledgers()
    assert found["changes"] == []
    assert found["said"][1] == {
        "build": "2.9.0", "rows": 0,
        "reason": "measuring operators ended with exit code 1: AttributeError: no such operator",
    }  # fmt: skip
    kernels.error = ErrandError("took longer than 600 s")
    assert {one["reason"] for one in ledgers()["said"]} == {"measuring operators took longer than 600 s"}


def test_nobody_is_measured_twice_unless_the_answer_was_damaged(kernels: Kernels, tmp_path: Path) -> None:
    first = ledgers(tmp_path)
    assert ledgers(tmp_path) == first
    assert len(kernels.sent) == 3
    kept = sorted((tmp_path / "ledger" / "s").glob("*.json"))
    kept[0].write_text('{"schema": 1, "rows": 3, "build": "x", "reason": null}')
    assert ledgers(tmp_path) == first
    assert len(kernels.sent) == 4
    kept[0].write_text(json.dumps({**json.loads(kept[1].read_text()), "schema": 99}))
    with pytest.raises(BenchmarkError, match="has schema 99"):
        ledgers(tmp_path)


def test_changes_are_told_on_the_page_and_in_markdown_and_do_not_count(kernels: Kernels) -> None:
    record = sweeps.sweep(sweeps.steady())
    told = {**record, "ledgers": ledgers()}
    assert kernels.sent
    assert versions.exit_code(told) == versions.exit_code(record) == 0
    page, text = versions_page.html(told), versions_text.markdown(told)
    for shown in (page, text):
        assert "erf up to 4, float32, graph on CPU: 9 → 2 ulps, better" in shown
    assert "<summary>Accuracy of operators: 2 changes</summary>" in text
    assert 'id="ledgers"' not in versions_page.html(record)
    quiet = {**record, "ledgers": {"said": told["ledgers"]["said"], "changes": []}}
    assert "Accuracy of operators: no step changed any." in versions_text.markdown(quiet)
    assert "No step changed any of them." in versions_page.html(quiet)


def test_mindspore_measures_its_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operators' worth of the program that a build is sent."""
    few = "from ddpm_bench import kernels; kernels.TRIALS = kernels.TRIALS[:1]; kernels.MANY = kernels.FEW = 50\n"
    monkeypatch.setattr(versions_ledger, "PROGRAM", few + versions_ledger.PROGRAM)
    found = versions_ledger.measure(Arm("here"), "CPU")
    assert found.reason is None
    assert {"graph", "pynative"} == {each["mode"] for each in found.rows}
    assert kernel_record.changes(found.rows, found.rows) == []
