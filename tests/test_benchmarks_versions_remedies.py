"""What would help a build that became slower: tried on those alone, in their worst case, and told with its effect."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import sweeps

from benchmarks import versions_page, versions_text
from benchmarks.arms import Arm
from benchmarks.cases import select
from benchmarks.duel import Bout
from benchmarks.looks import EARLY, LOOKS
from benchmarks.versions_remedies import trials

CAP = {"ONEDNN_MAX_CPU_ISA=AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}


@pytest.fixture(scope="module")
def eventful() -> dict[str, Any]:
    return sweeps.eventful()


def bout(*labels: str) -> Bout:
    picks = tuple((case, mode) for case in select("*[digits,b64]") for mode in ("graph", "pynative"))
    return Bout(tuple(Arm(label, variables={"A": "1"}) for label in labels), picks, 8)


def test_only_builds_that_became_slower_are_tried_in_the_case_they_lost_most_in(eventful: dict[str, Any]) -> None:
    found = trials(eventful, bout(*eventful["arms"]), CAP, 14)
    assert [trial.build for trial in found] == ["2.9.0", "nightly-of-today-and-more"]
    slower = [v for v in eventful["verdicts"] if v["new"] == "2.9.0" and v["label"] == "slower"]
    worst = max(slower, key=lambda verdict: float(verdict["ratio"]))
    ((case, mode),) = found[0].bout.picks
    assert (case.id, mode) == (worst["case"], worst["params"]["mode"])
    assert trials(sweeps.sweep(sweeps.steady()), bout("2.9.0", "2.10.0"), CAP, 14) == []
    assert trials({**eventful, "effect": 100.0}, bout(*eventful["arms"]), CAP, 14) == []  # none is worth explaining


def test_arms_differ_in_the_remedy_alone(eventful: dict[str, Any]) -> None:
    trial = trials(eventful, bout(*eventful["arms"]), CAP, 14)[0]
    plain, cured = trial.bout.arms
    assert (plain.python, plain.code, plain.tuning) == (cured.python, cured.code, cured.tuning)
    assert dict(cured.variables) == {**plain.variables, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert trial.studied == ("env.ONEDNN_MAX_CPU_ISA",)


def test_each_trial_is_a_session_of_its_own_in_the_store(eventful: dict[str, Any]) -> None:
    found = trials(eventful, bout(*eventful["arms"]), CAP, 14)
    plans = [str(trial.bout.plan) for trial in found]
    assert len(set(plans)) == len(plans)


def test_a_trial_ends_when_it_is_decided(eventful: dict[str, Any]) -> None:
    """A remedy of a gross step is known to help after three pairs: each takes as long as the step is large."""
    (asked, *_) = trials(eventful, bout(*eventful["arms"]), CAP, 14)
    assert (asked.bout.looks[0], asked.bout.most_pairs) == (EARLY, 14)
    assert set(LOOKS) <= set(asked.bout.looks)


def test_effect_is_told_on_the_page_and_in_the_text(eventful: dict[str, Any]) -> None:
    first = eventful["remedies"][0]
    assert (first["build"], first["remedy"], first["label"]) == ("2.9.0", "ONEDNN_MAX_CPU_ISA=AVX2", "faster")
    assert first["ratio"] == pytest.approx(0.01, rel=0.05)
    text = versions_text.markdown(eventful)
    named = "* 2.9.0 with `ONEDNN_MAX_CPU_ISA=AVX2`: `unet_forward[digits,b64]` in graph mode is"
    assert re.search(re.escape(named) + r" (99|100)\S* times as fast", text)
    page = versions_page.html(eventful)
    assert "Settings tried" in page
    assert "Settings tried" not in versions_page.html(sweeps.sweep(sweeps.steady()))


def test_setting_that_changes_nothing_is_not_told_as_a_cure(eventful: dict[str, Any]) -> None:
    """As fast as what? A reader would think of the release before."""
    useless = {**eventful["remedies"][0], "label": "equivalent", "ratio": 1.001, "interval": [0.99, 1.012]}
    text = versions_text.markdown({**eventful, "remedies": [useless]})
    assert "in graph mode takes as long as without (-1.0 … +1.2 %)" in text


def test_trial_belongs_to_the_sweep_that_found_the_loss(eventful: dict[str, Any]) -> None:
    """And has one plan however many pairs it may take: a later command that allows more goes on with it."""
    asked = bout(*eventful["arms"])
    plans = {
        session: [
            trials(eventful, replace(asked, about={"session": session}), CAP, most)[0].bout.plan for most in (8, 14)
        ]
        for session in ("one", "another")
    }
    assert all(few == many for few, many in plans.values())
    assert plans["one"] != plans["another"]
