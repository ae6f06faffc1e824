"""The list of cases, and choosing from it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks.cases import CASES, PEAKS, Case, select
from ddpm_bench.presets import PRESETS


def test_ids_are_unique() -> None:
    ids = [case.id for case in (*CASES, *PEAKS)]
    assert len(ids) == len(set(ids))


def test_papers_net_and_a_small_one_run_through_everything() -> None:
    kinds = ("unet_forward", "training_step", "reverse_step", "sampling_chain", "sampling_latency")
    wanted = {f"{kind}[{network}]" for kind in kinds for network in ("cifar10,b4", "cifar10,b1", "digits,b64")}
    assert {case.id for case in CASES} == wanted


@pytest.mark.parametrize("case", [*CASES, *PEAKS], ids=lambda case: case.id)
def test_case_can_be_made(case: Case) -> None:
    spec = importlib.util.find_spec(case.module)
    assert spec is not None
    assert f"def {case.maker}(" in Path(str(spec.origin)).read_text(encoding="utf-8")
    assert case.params.get("preset", "digits") in PRESETS
    assert case.rounds >= 2


def test_chain_says_how_many_steps_it_has() -> None:
    assert all("steps" in case.params for case in CASES if case.id.startswith("sampling_"))


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        (None, 15),
        ("*", 15),
        ("unet_forward", 3),
        ("unet_forward[cifar10,b4]", 1),
        ("unet_forward[cifar10,b?]", 2),
        ("*[digits,b64]", 5),
        ("sampling_*", 6),
        ("unet_forward training_step", 6),
        ("forward", 0),
        ("", 0),
        ("unet_forward[abc]", 0),
    ],
)
def test_pattern_selects_by_id_or_name_with_brackets_as_they_are(pattern: str | None, count: int) -> None:
    assert len(select(pattern)) == count


def test_cases_of_one_network_and_batch_are_one_group() -> None:
    assert {case.group for case in CASES} == {"cifar10,b4", "cifar10,b1", "digits,b64"}
