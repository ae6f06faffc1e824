"""PyTorch beside MindSpore: who takes part in what, what a worker is sent, and what is made of the records."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import records

from benchmarks import peers, selection, test_sampling, test_training, test_unet, worker
from benchmarks.arms import Arm
from benchmarks.cases import CASES, select
from benchmarks.measurement import BenchmarkError, Record
from ddpm_bench import cli

pytestmark = pytest.mark.needs_mindspore

CASE = "unet_forward[cifar10,b4]"


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("peers", True),
        ("peers *[digits,*]", True),
        ("unet_forward[digits,*] peers", True),
        ("peer*", False),
        (None, False),
    ],
)
def test_the_word_asks_for_peers(pattern: str | None, asked: bool) -> None:
    assert peers.asked(pattern) is asked


@pytest.mark.parametrize(
    ("pattern", "batches", "chosen"),
    [
        ("peers", (), ["unet_forward[cifar10,b4]", "training_step[cifar10,b4]", "reverse_step[cifar10,b4]"]),
        ("peers unet_forward[digits,*]", (), ["unet_forward[digits,b64]"]),
        ("peers training_step", (16,), ["training_step[cifar10,b16]", "training_step[digits,b16]"]),
        ("peers sampling_chain[digits,*]", (), []),
        ("peers conv3x3*", (), []),
    ],
)
def test_cases_are_those_that_both_have(pattern: str, batches: tuple[int, ...], chosen: list[str]) -> None:
    assert [case.id for case in selection.choose(pattern, batches=batches)] == chosen


def test_every_timed_case_is_made_by_a_function_of_the_same_name_on_the_other_side() -> None:
    """Read from the source: PyTorch is not imported here."""
    source = (Path(peers.__file__).parent / "test_peers.py").read_text()
    ours = {"unet_forward": test_unet, "training_step": test_training, "reverse_step": test_sampling}
    assert tuple(ours) == peers.TIMED
    for case in select("*[cifar10,b4]"):
        if case.id.partition("[")[0] in peers.TIMED:
            assert hasattr(ours[case.id.partition("[")[0]], case.maker)
            assert f"\ndef {case.maker}(case: Case, machine: Torch, reference: gates.Reference) -> Workload:" in source
            assert peers.theirs(case).module == peers.MODULE
            assert peers.theirs(case).maker == case.maker


def test_arms_are_the_same_interpreter_setting_and_code_in_five_ways() -> None:
    ours = Arm("x", python="/p", variables={"A": "b"}, tuning="tuned")
    found = peers.arms(ours)
    assert [arm.label for arm in found] == [peers.OURS, *peers.PEERS]
    assert [arm.peer for arm in found] == [None, *peers.PEERS]
    assert {(arm.python, arm.code, arm.tuning, tuple(arm.variables)) for arm in found} == {
        ("/p", ours.code, "tuned", ("A",))
    }
    assert {(each.compiled, each.channels_last) for each in peers.PEERS.values()} == {
        (compiled, last) for compiled in (False, True) for last in (False, True)
    }


def test_worker_of_a_peer_is_sent_to_its_module_and_told_which(tmp_path: Path) -> None:
    (case,) = select(CASE)
    for peer, module in ((None, "test_unet.py"), ("PyTorch", "test_peers.py")):
        job = worker.Job((case,), "CPU", "graph", "tuned", 0, Arm("x", peer=peer))
        command = worker._prepare(job, tmp_path, None, None)
        content = json.loads((tmp_path / "job.json").read_text())
        assert Path(command[-1]).name == module
        assert content["peer"] == peer
        assert content["cases"][0]["id"] == CASE
        assert content["cases"][0]["make"].split(".")[-1].startswith(f"{module[:-3]}:forward")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"torch": object(), "diffusers": None}
    monkeypatch.setattr(importlib.util, "find_spec", there.get)
    assert peers.absent() == "peers need diffusers, which this Python does not have: pip install 'ddpm-bench[peers]'"
    there["torch"] = None
    assert "need torch and diffusers" in str(peers.absent())
    there |= {"torch": object(), "diffusers": object()}
    assert peers.absent() is None


def arm(factor: float, pairs: int = 6, **changes: Any) -> Record:
    """A record whose calls take `factor` times as long as those of 1.0, scattered by a thousandth."""
    rows = [
        records.measurement(process=i, seconds=[0.5 * factor * (1 + 0.001 * math.sin(7 * i + factor))] * 3, **changes)
        for i in range(pairs)
    ]
    return records.bench(*rows)


def measured(**changes: Any) -> dict[str, Record]:
    speeds = dict(zip([peers.OURS, *peers.PEERS], (1.0, 0.5, 0.8, 1.0, 2.0), strict=True))
    return {name: arm(factor, **changes) for name, factor in speeds.items()}


def test_each_peer_has_a_verdict_whose_ratio_is_ours_over_its() -> None:
    result = peers.compared(measured(), 0.03, most=None)
    assert result["kind"] == "compare"
    assert [v["params"]["against"] for v in result["verdicts"]] == list(peers.PEERS)
    assert [v["label"] for v in result["verdicts"]] == ["slower", "slower", "equivalent", "faster"]
    assert [v["ratio"] for v in result["verdicts"]] == pytest.approx([2, 1.25, 1, 0.5], rel=0.01)
    assert peers.exit_code(result) == 0, "to be slower than somebody else is no error"


def test_verdicts_are_sorted_by_case() -> None:
    both = measured()
    for name, record in measured(case="training_step[cifar10,b4]").items():
        both[name] = {**both[name], "measurements": [*both[name]["measurements"], *record["measurements"]]}
    cases = [v["case"] for v in peers.compared(both, 0.03, most=None)["verdicts"]]
    assert cases == [CASE] * 4 + ["training_step[cifar10,b4]"] * 4


def test_peer_that_could_not_be_measured_is_incomparable_and_counts() -> None:
    found = measured()
    broken = {**found["PyTorch compiled"]["measurements"][0], "seconds": [], "invalid": "InductorError: no compiler"}
    found["PyTorch compiled"] = {**found["PyTorch compiled"], "measurements": [broken]}
    result = peers.compared(found, 0.03, most=None)
    (verdict,) = (v for v in result["verdicts"] if v["params"]["against"] == "PyTorch compiled")
    assert verdict["label"] == "incomparable"
    assert "no compiler" in verdict["why"]
    assert peers.exit_code(result) == 3


def test_open_comparison_counts_too() -> None:
    assert peers.exit_code(peers.compared(measured(pairs=1), 0.03, most=None)) == 3


def test_nothing_measured_is_said() -> None:
    nothing = {name: {**record, "measurements": []} for name, record in measured().items()}
    with pytest.raises(BenchmarkError, match="no peer was measured"):
        peers.compared(nothing, 0.03, most=None)


def run(*arguments: str) -> int:
    return cli.run_command(["bench", *arguments])


def test_without_the_packages_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is timed, to find out what is fast here."""
    monkeypatch.setattr(peers, "absent", lambda: "peers need torch")
    monkeypatch.setattr("ddpm_bench.cli_clock.settings", lambda *_: pytest.fail("something was timed"))
    assert run("--only", "peers") == 3
    assert capsys.readouterr().err.strip().endswith("peers need torch")
    assert run("--only", "peers", "--list") == 0


@pytest.mark.parametrize(
    "option", [("--dtype", "float16"), ("--layers",), ("--quick",), ("--self-test",), ("--against", ".")], ids=" ".join
)
def test_options_that_do_not_fit_are_named(option: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--only", "peers", *option) == 3
    assert f"leave out {option[0]}" in capsys.readouterr().err


def test_list_shows_what_would_be_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--only", "peers", "--list") == 0
    assert capsys.readouterr().out.count("[cifar10,b4]") == len(peers.TIMED)
    assert len(CASES) > len(peers.TIMED)
