"""What a run measures: the usual extents, what replaces their choices, and the plan as it is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fake_worker import case

from benchmarks.cases import CASES, select
from benchmarks.measurement import BenchmarkError
from benchmarks.plans import EXTENTS, Plan, plan


def test_quick_is_the_small_net_in_both_modes_within_a_minute() -> None:
    chosen = plan(extent="quick")
    assert {c.params["preset"] for c, _ in chosen.picks} == {"digits"}
    assert {mode for _, mode in chosen.picks} == {"graph", "pynative"}
    assert chosen.processes >= 2
    assert chosen.budget is not None
    assert chosen.budget <= 60


def test_main_job_has_the_papers_net_in_graph_mode_and_fits() -> None:
    chosen = plan(extent="run")
    assert ("unet_forward[cifar10,b4]", "graph") in {(c.id, mode) for c, mode in chosen.picks}
    assert {(c.id, mode) for c, mode in plan(extent="quick").picks} <= {(c.id, mode) for c, mode in chosen.picks}
    assert chosen.processes >= 2
    assert chosen.budget is not None
    assert chosen.budget <= 150


def test_full_extent_gives_every_case_a_worker_of_its_own() -> None:
    chosen = plan()
    assert len(chosen.picks) == 2 * len(CASES)
    assert not chosen.shared
    assert chosen.budget is None


def test_choices_replace_what_the_extent_would_choose() -> None:
    chosen = plan(select("unet_forward"), devices=["GPU"], modes=["graph"], processes=7, extent="quick", budget=9.0)
    assert [(c.id.partition("[")[0], mode) for c, mode in chosen.picks] == [("unet_forward", "graph")] * 3
    assert (chosen.devices, chosen.processes, chosen.budget) == (("GPU",), 7, 9.0)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"extent": "long"}, "unknown extent 'long'"),
        ({"modes": ["eager"]}, "unknown mode 'eager'"),
        ({"processes": 0}, "at least 1 process"),
    ],
)
def test_impossible_choice_is_one_sentence(choices: dict[str, Any], reason: str) -> None:
    with pytest.raises(BenchmarkError, match=reason):
        plan(**choices)


def test_cases_of_one_network_share_a_worker_only_where_the_plan_says_so() -> None:
    picks = tuple((case(name), mode) for mode in ("graph", "pynative") for name in ("a[x]", "b[x]", "c[y]"))
    shared = [([c.id for c in cases], mode) for cases, mode in Plan(picks, shared=True).workers]
    assert shared[:2] == [(["a[x]", "b[x]"], "graph"), (["c[y]"], "graph")]
    assert [len(cases) for cases, _ in Plan(picks).workers] == [1] * 6


@pytest.mark.parametrize("extent", EXTENTS)
def test_stored_plan_survives_json_and_no_budget_changes_it(extent: str) -> None:
    record = plan(extent=extent).as_record(["tuned"])
    assert json.loads(json.dumps(record)) == record
    assert plan(extent=extent, budget=7.0).as_record(["tuned"]) == record
    assert plan(extent=extent, processes=9).as_record(["tuned"]) != record


def test_stored_plan_knows_what_the_cases_are_and_not_only_their_names() -> None:
    ours = Plan(((case("a[x]", steps=4), "graph"),))
    assert replace(ours, picks=((case("a[x]", steps=5), "graph"),)).as_record(["tuned"]) != ours.as_record(["tuned"])
