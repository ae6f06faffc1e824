"""Comparisons with real workers that need no MindSpore: pairs, turns, looks, budget, and what misfortune leaves."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fake_worker
import psutil
import pytest
from fake_worker import case

from benchmarks import compiled, duel, environment, pairs
from benchmarks.arms import HERE, Arm, checkout
from benchmarks.cases import select
from benchmarks.compare import compare_records
from benchmarks.duel import MOST_MISHAPS, Bout, fight
from benchmarks.measurement import BenchmarkError, Measurement, invalid_measurement, measurements
from benchmarks.pairs import ENOUGH_ROUNDS, FEWEST_ROUNDS, MOST_ROUNDS, TIMED_SECONDS, count_rounds
from benchmarks.proof import STUDIED
from benchmarks.worker import Answer


@pytest.fixture(autouse=True)
def timed_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_worker.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(pairs, "FEWEST_ROUNDS", 2)
    monkeypatch.setattr(pairs, "TIMED_SECONDS", 0.1)
    monkeypatch.setattr(pairs, "PYNATIVE_SECONDS", 0.1)


OLD, NEW = Arm("old"), Arm("new")


def measured(records: dict[str, Any]) -> dict[str, list[Measurement]]:
    return {label: measurements(record) for label, record in records.items()}


def test_pairs_take_turns_and_leave_a_record_an_arm_of_one_session() -> None:
    kept: list[Any] = []
    records = fight(
        Bout((OLD, NEW), ((case(sleep=0.01), "graph"),), most_pairs=2), reference="json:loads", on_pair=kept.append
    )
    assert records["old"]["session"] == records["new"]["session"]
    assert [record["arm"] for record in records.values()] == ["old", "new"]
    for rows in measured(records).values():
        assert [row.process for row in rows] == [0, 1]
        assert all(row.interleaved and row.invalid is None for row in rows)
        assert all(len(row.seconds) == row.params["rounds"] >= 2 for row in rows)
        assert rows[0].started is not None
        assert rows[0].conditions.keys() >= {"wall_seconds", "cpu_seconds", "stolen_seconds"}
    assert records["new"]["environment"]["clock"]
    assert len({row.params["rounds"] for rows in measured(records).values() for row in rows}) == 1
    assert [set(fresh) for fresh in kept] == [{"old", "new"}] * 2
    assert [len(fresh["old"]["measurements"]) for fresh in kept] == [1, 1]


def test_pair_that_takes_longer_than_expected_makes_the_others_last_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duel, "FIRST_GUESS", 0.01)
    told: list[tuple[int, float]] = []
    bout = Bout((OLD, NEW), ((case(sleep=0.05), "graph"),), most_pairs=2)
    fight(bout, reference="json:loads", on_progress=lambda done, _, left, __: told.append((done, left)))
    first = [left for done, left in told if done == 0]
    assert len(first) > 2
    assert first[0] == pytest.approx(0.02, abs=0.005)
    assert max(first) > 0.5, "another pair of half a second, at least"
    assert first[1:] == sorted(first[1:])


def test_planted_slowdown_is_measured_and_named_in_the_environment() -> None:
    slower = Arm("new", planted=1.0)
    records = fight(Bout((OLD, slower), ((case(sleep=0.02), "graph"),), most_pairs=2), reference="json:loads")
    verdict = compare_records(records["old"], records["new"], studied=STUDIED)["verdicts"][0]
    assert 1.6 < verdict["ratio"] < 2.4
    assert compare_records(records["old"], records["new"])["verdicts"][0]["label"] == "incomparable"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("die", "the worker was ended by SIGKILL"),
        ("raise", "ValueError: no such preset"),
        ("hang", "the pair was stopped"),
    ],
)
def test_worker_that_fails_is_a_reason_in_both_arms_and_not_a_hang(behaviour: str, reason: str) -> None:
    bout = Bout((OLD, NEW), ((case(behaviour=behaviour), "graph"),), most_pairs=1, timeout=5.0)
    records = fight(bout, reference="json:loads")
    rows = [row for found in measured(records).values() for row in found]
    assert len(rows) == 2
    assert all(row.seconds == () for row in rows)
    assert all(row.invalid for row in rows)
    assert any(reason in str(row.invalid) for row in rows), [row.invalid for row in rows]
    assert len(records["old"]["notes"]) == (0 if behaviour == "hang" else MOST_MISHAPS)


@pytest.mark.parametrize(
    ("behaviour", "mishap"),
    [("die once", "was ended by SIGSEGV"), ("raise once", "met RuntimeError: Create device context failed")],
)
def test_pair_whose_worker_had_a_mishap_is_measured_again_and_noted(
    tmp_path: Path, behaviour: str, mishap: str
) -> None:
    dying = case(behaviour=behaviour, mark=str(tmp_path / "mark"))
    kept: list[Any] = []
    bout = Bout((OLD, NEW), ((dying, "graph"),), most_pairs=2, compile_cache=True)
    records = fight(bout, reference="json:loads", on_pair=kept.append)
    for rows in measured(records).values():
        assert [(row.process, row.invalid) for row in rows] == [(0, None), (1, None)]
    assert len(kept) == 2
    (note,) = records["old"]["notes"]
    assert note.startswith("fake[a] in graph mode on CPU: the worker of ")
    assert note.endswith(f" {mishap}; its pair was measured again")


def test_pair_that_a_gate_refused_is_not_measured_again() -> None:
    records = fight(Bout((OLD, NEW), ((case(behaviour="wrong"), "graph"),), most_pairs=1), reference="json:loads")
    assert records["old"]["notes"] == []
    assert all("off by 1" in str(row.invalid) for rows in measured(records).values() for row in rows)


class Pairs:
    """Stands for `run_pair`: a pair takes `cost` seconds of a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: float = 10.0) -> None:
        self.now, self.cost = 0.0, cost
        self.order: list[tuple[str, str, int]] = []
        monkeypatch.setattr(duel, "run_pair", self)
        monkeypatch.setattr(duel.time, "perf_counter", lambda: self.now)

    def __call__(self, jobs: Any, variables: Any, **options: Any) -> list[Answer]:
        self.now += self.cost
        self.order.append((jobs[0].cases[0].id, jobs[0].side.label, jobs[0].process))
        return [Answer((), {}, self.cost) for _ in jobs]


def given(*names: str, **choices: Any) -> Bout:
    return Bout((OLD, NEW), tuple((case(name), "graph") for name in names), **{"most_pairs": 4, **choices})


def test_cells_take_turns_and_every_other_pair_begins_with_the_other_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Pairs(monkeypatch)
    fight(given("a", "b", most_pairs=2), reference="json:loads", variables={})
    assert used.order == [("a", "old", 0), ("b", "old", 0), ("a", "new", 1), ("b", "new", 1)]


def test_each_of_three_arms_is_everywhere_in_turn_and_keeps_its_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[str] = []

    def pair(jobs: Any, *_: Any, **__: Any) -> list[Answer]:
        orders.append("".join(job.side.label for job in jobs))
        return [Answer((), {"environment": {"host": job.side.label}}, 1.0) for job in jobs]

    monkeypatch.setattr(duel, "run_pair", pair)
    bout = Bout(tuple(map(Arm, "abc")), ((case(), "graph"),), most_pairs=6)
    records = fight(bout, reference="json:loads", variables={})
    assert orders == ["abc", "cba", "bca", "acb", "cab", "bac"]
    assert {label: record["environment"]["host"] for label, record in records.items()} == {each: each for each in "abc"}


def test_decided_cell_gets_no_more_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Pairs(monkeypatch)
    bout = given("a", "b", most_pairs=5, looks=(2, 4))
    fight(bout, reference="json:loads", variables={}, undecided=lambda _, cell: cell[0] == "b")
    assert [name for name, *_ in used.order].count("a") == 2
    assert [name for name, *_ in used.order].count("b") == 5


def test_only_the_first_worker_of_an_arm_compiles_when_graphs_are_kept() -> None:
    bout = Bout((OLD, NEW), ((case(sleep=0.001), "graph"), (case(sleep=0.001), "pynative")), 2, compile_cache=True)
    records = fight(bout, reference="json:loads")
    for rows in measured(records).values():
        assert [row.params.get("compile_cache") for row in rows if row.params["mode"] == "graph"] == ["cold", "warm"]
        assert not any("compile_cache" in row.params for row in rows if row.params["mode"] == "pynative")
    assert not any("COMPILER_CACHE" in key for key in environment.collect({"MS_COMPILER_CACHE_ENABLE": "1"}))
    assert compare_records(records["old"], records["new"])["verdicts"][0]["label"] != "incomparable"


def test_training_is_always_compiled() -> None:
    (step,) = select("training_step[digits,b64]")
    (forward,) = select("unet_forward[digits,b64]")
    assert (compiled.safe([forward]), compiled.safe([step]), compiled.safe([forward, step])) == (True, False, False)
    assert not compiled.safe([dataclasses.replace(forward, small=True)])


def test_arms_and_cases_keep_their_graphs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    places: dict[tuple[str, str], set[str]] = {}

    def pair(jobs: Any, variables: Any, **_: Any) -> list[Answer]:
        for job in jobs:
            place = job.side.variables["MS_COMPILER_CACHE_PATH"]
            assert Path(place).is_dir()
            places.setdefault((job.cases[0].id, job.side.label), set()).add(place)
        return [Answer((), {}, 1.0) for _ in jobs]

    monkeypatch.setattr(duel, "run_pair", pair)
    fight(given("a", "b", most_pairs=3, compile_cache=True), reference="json:loads", variables={})
    assert all(len(found) == 1 for found in places.values())
    assert len(set().union(*places.values())) == len(places) == 4
    assert not any(Path(place).exists() for place in set().union(*places.values()))


def test_nobody_looks_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Pairs(monkeypatch)
    fight(given("a", most_pairs=6, looks=(4,)), reference="json:loads", variables={}, undecided=lambda *_: False)
    assert len(used.order) == 4


def test_budget_ends_the_comparison_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Pairs(monkeypatch)
    records = fight(given("a", most_pairs=50, budget=35.0), reference="json:loads", variables={})
    assert len(used.order) == 3
    assert records["new"]["notes"] == [
        "a in graph mode on CPU ended after 3 of 50 pairs, because the budget was used up"
    ]


def test_a_pair_that_is_expected_to_last_longer_than_the_budget_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Pairs(monkeypatch)
    fight(given("a", most_pairs=5, budget=35.0, expected=36.0), reference="json:loads", variables={})
    assert used.order == []


def test_pair_that_the_budget_cut_short_is_no_result_of_any_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of a third of a budget, the third of which takes longer than the two before."""

    class Cut(Pairs):
        def __call__(self, jobs: Any, variables: Any, **options: Any) -> list[Answer]:
            self.cost = options["timeout"] if len(self.order) == 2 else self.cost
            late = options["late"] if len(self.order) == 2 else None
            super().__call__(jobs, variables, **options)
            return [Answer((self.row(job, late),), {}, self.cost) for job in jobs]

        @staticmethod
        def row(job: Any, late: str | None) -> Measurement:
            one = job.cases[0]
            params = {"device": job.device, "mode": job.mode, "tuning": job.tuning, "rounds": 2}
            row = invalid_measurement(one.id, params, job.process, late or "", work=one.work, unit=one.unit)
            return row if late else dataclasses.replace(row, seconds=(1.0, 1.0), invalid=None)

    used = Cut(monkeypatch)
    kept: list[Any] = []
    records = fight(
        given("a", most_pairs=9, budget=35.0), reference="json:loads", variables={}, on_pair=kept.append
    )  # fmt: skip
    assert (len(used.order), len(kept)) == (3, 2)
    assert [row.invalid for row in measured(records)["new"]] == [None, None]
    told = "a in graph mode on CPU ended after 2 of 9 pairs, because the budget was used up"
    assert records["new"]["notes"] == [told]
    slow = Cut(monkeypatch)
    slow.order += [("before", "", 0)] * 2
    forever = fight(given("a", most_pairs=1, timeout=20.0), reference="json:loads", variables={})
    assert ["longer than it may take" in str(row.invalid) for row in measured(forever)["new"]] == [True]


def test_arms_need_names_of_their_own() -> None:
    with pytest.raises(BenchmarkError, match="at least two arms"):
        fight(Bout((OLD, OLD), ((case(), "graph"),), most_pairs=1), reference="json:loads", variables={})


def test_disguising_variable_of_an_arm_is_refused() -> None:
    cheat = Arm("new", variables={"MS_KERNEL_LAUNCH_SKIP": "ALL"})
    with pytest.raises(BenchmarkError, match="MS_KERNEL_LAUNCH_SKIP"):
        fight(Bout((OLD, cheat), ((case(), "graph"),), most_pairs=1), reference="json:loads", variables={})


def test_rounds_are_even_and_take_about_as_long_as_starting_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert count_rounds({"old": 1e-6}) == {"old": MOST_ROUNDS}
    assert count_rounds({"old": 10.0}) == {"old": FEWEST_ROUNDS}
    assert count_rounds({"old": 0.05}) == {"old": 80}
    assert count_rounds({"old": TIMED_SECONDS / ENOUGH_ROUNDS}) == {"old": ENOUGH_ROUNDS}
    assert all(count_rounds({"old": seconds / 1000})["old"] % 2 == 0 for seconds in range(1, 500))


def test_arms_of_about_one_speed_time_equally_many_rounds_and_much_faster_ones_multiples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert count_rounds({"old": 0.05, "new": 0.034}) == {"old": 94, "new": 94}
    assert count_rounds({"old": 0.034, "new": 1.25, "third": 0.3}) == {"old": 96, "new": 6, "third": 12}
    assert count_rounds({"old": 0.31, "new": 4.2, "third": 0.28}) == {"old": 8, "new": 2, "third": 8}
    assert count_rounds({"old": 0.001, "new": 30.0}) == {"old": 64, "new": 2}
    assert count_rounds({"old": 0.001, "new": 0.048}) == {"old": 98, "new": 98}  # 1 ms counts as the 4 s / 120


def test_rounds_take_a_share_of_what_getting_ready_took_where_that_was_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    arms = (OLD, NEW, Arm("third"))
    whole = Bout(arms, ((case(), "graph"),), most_pairs=1)
    assert whole.timed(case(), "graph", 6.0) == pairs.TIMED_SECONDS
    assert whole.timed(case(), "pynative", 6.0) == pairs.PYNATIVE_SECONDS > pairs.TIMED_SECONDS
    for mode in ("graph", "pynative"):
        assert whole.timed(case(), mode, 120.0) == pytest.approx(20.0)
        assert whole.timed(dataclasses.replace(case(), small=True), mode, 120.0) == pairs.SMALL_SECONDS


def test_arms_of_about_one_speed_have_equally_many_rounds_beside_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, 58 ms a call would have 64 and 66 ms 32, the powers of two times 4 that fit into 4 s."""
    monkeypatch.undo()
    assert count_rounds({"a": 0.058, "slow": 1.8, "b": 0.066}) == {"a": 64, "slow": 4, "b": 64}
    assert count_rounds({"slow": 3.2, "a": 0.12, "b": 0.15, "c": 0.13}) == {"slow": 2, "a": 16, "b": 16, "c": 16}
    assert count_rounds({"a": 0.030, "slow": 4.0, "b": 0.048}) == {"a": 64, "slow": 2, "b": 64}
    assert count_rounds({"slow": 8.0, "a": 0.25, "b": 0.17, "c": 0.12}) == {"slow": 2, "a": 16, "b": 16, "c": 16}


def test_one_slow_call_among_arms_of_one_speed_does_not_cost_all_of_them_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    unlucky = count_rounds({"a": 0.05, "b": 0.051, "c": 0.049, "d": 0.074})
    assert unlucky == dict.fromkeys("abcd", count_rounds({"a": 0.0505})["a"])


def test_much_faster_arm_has_several_rounds_a_turn_and_is_compared() -> None:
    slower = Arm("new", planted=4.0)
    records = fight(Bout((OLD, slower), ((case(sleep=0.01), "graph"),), most_pairs=2), reference="json:loads")
    rounds = {label: {row.params["rounds"] for row in rows} for label, rows in measured(records).items()}
    (old,), (new,) = rounds.values()
    assert old in (2 * new, 4 * new)
    verdict = compare_records(records["old"], records["new"], studied=STUDIED)["verdicts"][0]
    assert 4 < verdict["ratio"] < 6


def test_folder_that_is_no_checkout_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="is not a checkout of ddpm-bench"):
        checkout(tmp_path)
    assert checkout(HERE) == HERE


def test_checkout_whose_clock_cannot_take_turns_is_refused(tmp_path: Path) -> None:
    for room in ("ddpm_bench", "verification", "benchmarks"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    with pytest.raises(BenchmarkError, match="too old to take turns"):
        checkout(tmp_path)


def test_worker_is_really_stopped_and_let_go_on() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as process:
        hold = pairs._hold(process)
        try:
            for act, states in ((hold.stop, {psutil.STATUS_STOPPED}), (hold.resume, {"sleeping", "running"})):
                act()
                deadline = time.monotonic() + 5
                while psutil.Process(process.pid).status() not in states and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert psutil.Process(process.pid).status() in states
        finally:
            process.kill()
        process.wait()
        hold.stop()  # of one that has ended: nothing


def test_cases_of_a_network_share_their_workers_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def pair(jobs: Any, variables: Any, **_: Any) -> list[Answer]:
        seen.append([case.id for case in jobs[0].cases])
        return [Answer((), {}, 1.0) for _ in jobs]

    monkeypatch.setattr(duel, "run_pair", pair)
    small = dataclasses.replace(case("silu[n,b1]"), small=True)
    picks = ((case("forward[n,b1]"), "graph"), (case("step[n,b1]"), "graph"), (small, "graph"))
    for shared, wanted in (
        (True, [["forward[n,b1]", "step[n,b1]"], ["silu[n,b1]"]]),
        (False, [["forward[n,b1]"], ["step[n,b1]"], ["silu[n,b1]"]]),
    ):
        seen.clear()
        fight(Bout((OLD, NEW), picks, most_pairs=1, shared=shared), reference="json:loads", variables={})
        assert seen == wanted
