"""Only builds whose steps are open get more rows, and a decided step is judged once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import sweeps

from benchmarks import versions, versions_rows
from benchmarks.arms import Arm
from benchmarks.cases import select
from benchmarks.duel import Bout
from benchmarks.layer_times import wanted as layers
from benchmarks.looks import EARLY, LOOKS
from benchmarks.measurement import BenchmarkError, Record

LABELS = ("2.7.0", "2.7.1", "2.8.0", "2.9.0", "2.10.0")
FAST, SLOW = LABELS[:3], LABELS[3:]
WHOLE = tuple((case, mode) for case in select(sweeps.FORWARD) for mode in ("graph", "pynative"))
PARTS = tuple((part, "graph") for part in layers(select(sweeps.FORWARD)))
GRAPH = (sweeps.FORWARD, "CPU", "graph")


def bout(labels: tuple[str, ...] = LABELS) -> Bout:
    picks = (*WHOLE, *PARTS)
    return Bout(tuple(map(Arm, labels)), picks, EARLY, looks=(), shared=True, about={"sweep": 1})


class Machine:
    """Measures bouts of builds that are 30 times as slow from 2.9.0 on, pairs of which differ by `noise`."""

    def __init__(self, noise: float = 0.001, **slower: float) -> None:
        self.noise, self.slower = noise, slower
        self.random = np.random.default_rng(2)
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...], int]] = []

    def __call__(self, asked: Bout) -> dict[str, Record]:
        labels = tuple(arm.label for arm in asked.arms)
        cells = [(case.id, mode) for case, mode in asked.picks if not case.small]
        self.asked.append((labels, tuple(mode for _, mode in cells), asked.most_pairs))
        return {label: self.arm(label, cells, asked.most_pairs) for label in labels}

    def arm(self, label: str, cells: list[tuple[str, str]], processes: int) -> Record:
        usual = 0.9 if label in SLOW else 0.03
        found = sweeps.arm(label, dict.fromkeys(cells, usual), processes=processes, noise=0.0)
        for row in found["measurements"]:
            noise = self.noise * self.slower.get(row["params"]["mode"], 1.0)
            factor = np.exp(self.random.normal(0, noise))
            row["seconds"] = [seconds * factor for seconds in row["seconds"]]
        return found


def judged(arms: Mapping[str, Record]) -> list[Record]:
    return versions._verdicts(arms, versions.Question(WHOLE))


def filled(machine: Machine, asked: Bout, most: int = LOOKS[-1], told: list[str] | None = None) -> Mapping[str, Record]:
    return versions_rows.filled(machine(asked), asked, most, judged, machine, ([] if told is None else told).append)


def test_a_gross_step_parts_the_builds_and_each_part_goes_on_by_itself() -> None:
    machine, told = Machine(), []
    arms = filled(machine, bout(), told=told)
    modes, more = ("graph", "pynative"), LOOKS[0] - EARLY
    assert machine.asked == [(LABELS, modes, EARLY), (FAST, modes, more), (SLOW, modes, more)]
    labels = {(v["old"], v["new"], v["label"]) for v in judged(arms)}
    assert labels == {
        ("2.7.0", "2.7.1", "equivalent"),
        ("2.7.1", "2.8.0", "equivalent"),
        ("2.8.0", "2.9.0", "slower"),
        ("2.9.0", "2.10.0", "equivalent"),
    }
    assert told[0].startswith(
        "not decided yet between 2.7.0, 2.7.1, 2.8.0: unet_forward[digits,b64] in graph mode and unet_forward"
    )


def test_a_decided_step_keeps_its_verdict_to_the_last_digit() -> None:
    """Rows of one run of builds have numbers that the next run's rows do not: they never were side by side."""
    machine = Machine(noise=0.02)
    first = machine(bout())
    (gross,) = [v for v in judged(first) if v["label"] == "slower" and v["params"]["mode"] == "graph"]
    arms = versions_rows.filled(first, bout(), LOOKS[-1], judged, machine, lambda _: None)
    assert len(arms["2.8.0"]["measurements"]) > len(first["2.8.0"]["measurements"])
    assert gross in judged(arms)
    assert versions_rows._together(arms, GRAPH, ("2.8.0", "2.9.0")) == EARLY


def test_a_cell_that_is_decided_gets_no_more_rows_where_another_does() -> None:
    machine = Machine(noise=0.002, pynative=20.0)
    arms = filled(machine, bout(FAST), most=LOOKS[1])
    assert machine.asked[1:] == [
        (FAST, ("graph", "pynative"), LOOKS[0] - EARLY),
        (FAST, ("pynative",), LOOKS[1] - LOOKS[0]),
    ]
    rows = versions_rows._together(arms, GRAPH, FAST)
    assert rows == LOOKS[0]


def test_rows_end_at_the_most_that_are_asked_for_though_steps_are_open() -> None:
    machine = Machine(noise=0.1)
    arms = filled(machine, bout(FAST), most=10)
    assert [pairs for *_, pairs in machine.asked] == [EARLY, LOOKS[0] - EARLY, 10 - LOOKS[0]]
    assert versions_rows._together(arms, GRAPH, FAST) == 10
    assert {v["label"] for v in judged(arms)} == {"inconclusive"}


def test_measuring_ends_when_nothing_comes_of_it_or_the_budget_is_used_up() -> None:
    asked: list[Bout] = []

    def nothing(one: Bout) -> Mapping[str, Record]:
        asked.append(one)
        return {arm.label: {**first[arm.label], "measurements": []} for arm in one.arms}

    first = Machine(noise=0.1)(bout(FAST))
    for row in first["2.7.0"]["measurements"]:
        row["split"] = {"start": 20.0, "rounds": 10.0}
    for left, times in ((None, 1), (100.0, 1), (29.0, 0)):
        asked.clear()
        ends = None if left is None else time.perf_counter() + left
        arms = versions_rows.filled(first, bout(FAST), 27, judged, nothing, lambda _: None, ends)
        assert [len(arm["measurements"]) for arm in arms.values()] == [6, 6, 6]
        assert len(asked) == times
        assert all(one.expected == 30.0 for one in asked)
        notes = {note for arm in arms.values() for note in arm["notes"]}
        assert len(notes) == 1 - times
        assert all("used up before it was decided between 2.7.0, 2.7.1, 2.8.0: unet_" in note for note in notes)


def test_single_operators_beside_whole_cases_get_no_more_rows() -> None:
    part = next(case.id for case, _ in PARTS if case.id.startswith("conv"))
    arms = {label: sweeps.arm(label, {**sweeps.times(), (part, "graph"): 0.01}, processes=3) for label in FAST}
    assert (part, "inconclusive") in {(v["case"], v["label"]) for v in judged(arms)}
    found = versions_rows.wanted(arms, judged(arms), bout(FAST), 27)
    assert [[case.id for case, _ in asked.picks] for asked in found] == [[sweeps.FORWARD] * 2]


def test_each_look_has_a_plan_of_its_own_whatever_the_most_is() -> None:
    """Five rows follow the third as five follow the fourteenth."""
    machine = Machine(noise=0.1)
    first = machine(bout(FAST))
    second, third = (filled(machine, bout(FAST), most=LOOKS[i]) for i in (0, 1))
    found = [
        versions_rows.wanted(arms, judged(arms), bout(FAST), most)[0]
        for arms, most in ((first, 14), (first, 27), (second, 27), (third, 27))
    ]
    assert [asked.most_pairs for asked in found] == [5, 5, 6, 5]
    plans = [asked.plan for asked in found]
    assert plans[0] == plans[1]
    assert all(plans.count(plan) == 1 for plan in plans[2:])
    assert bout(FAST).plan not in plans


def test_build_that_was_changed_between_its_rows_is_refused() -> None:
    machine = Machine(noise=0.1)

    def changed(asked: Bout) -> Mapping[str, Record]:
        found = machine(asked)
        return {**found, "2.7.1": {**found["2.7.1"], "environment": {**sweeps.ENVIRONMENT, "mindspore": "2.7.9"}}}

    with pytest.raises(BenchmarkError, match=r"2\.7\.1 is no longer .*mindspore: 2\.7\.1 → 2\.7\.9.*--again"):
        versions_rows.filled(machine(bout(FAST)), bout(FAST), 14, judged, changed, lambda _: None)


def test_mishaps_of_later_rows_are_told() -> None:
    machine = Machine(noise=0.1)

    def unlucky(asked: Bout) -> Any:
        return {label: {**each, "notes": ["its pair was measured again"]} for label, each in machine(asked).items()}

    arms = versions_rows.filled(machine(bout(FAST)), bout(FAST), 14, judged, unlucky, lambda _: None)
    assert [arm["notes"] for arm in arms.values()] == [["its pair was measured again"]] * 3
