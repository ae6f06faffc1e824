"""Turns: one at a time, in fair order; whoever leaves, dies or hangs stops the others and nobody waits for ever."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest

from benchmarks.gates import Invalid
from benchmarks.turnstile import TURNS, Alone, Hold, InTurn, Line, conduct, order

Act = Callable[[str, InTurn], None]


class Pair:
    """Two workers in threads of this process, each at the end of a real socket, and the clock between them."""

    def __init__(
        self,
        *acts: Act,
        cases: tuple[str, ...] = ("a",),
        rounds: tuple[int, int] = (4, 4),
        seconds: float = 5.0,
        holds: dict[str, Hold] | None = None,
        ready: list[float] | None = None,
    ) -> None:
        counts = dict(zip(("new", "old"), rounds[::-1], strict=True))  # who begins is not said by these
        self.ends: list[socket.socket] = []
        lines = {}
        threads = []
        self.errors: dict[str, str] = {}
        for name, act in zip(("old", "new"), acts, strict=True):
            ours, theirs = socket.socketpair()
            lines[name] = Line(ours)
            threads.append(threading.Thread(target=self._run, args=(name, act, theirs.detach()), daemon=True))
        for thread in threads:
            thread.start()

        def counted(_: str, __: object, seconds: float) -> dict[str, int]:
            if ready is not None:
                ready.append(seconds)
            return counts

        self.reason = conduct(lines, cases, rounds=counted, deadline=time.perf_counter() + seconds, holds=holds)
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive(), "a worker waits for ever"

    def _run(self, name: str, act: Act, end: int) -> None:
        turns = InTurn(end)
        try:
            act(name, turns)
        except Invalid as error:
            self.errors[name] = str(error)
            turns.over("a")


class Good:
    """A worker that does what it should and notes when it worked."""

    def __init__(self, *cases: str) -> None:
        self.cases = cases or ("a",)
        self.log: list[str] = []
        self.busy = 0
        self.most = 0
        self.lock = threading.Lock()

    def __call__(self, name: str, turns: InTurn) -> None:
        for case in self.cases:
            turns.take()
            self.work(name, "first")
            for _ in range(turns.warm(0.001, 99)):
                turns.take()
                self.work(name, "round")
                turns.give()
            turns.rest()
            self.log.append(f"{name} gate")
            turns.over(case)

    def work(self, name: str, what: str) -> None:
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        time.sleep(0.002)
        with self.lock:
            self.busy -= 1
            self.log.append(f"{name} {what}")


def test_rounds_alternate_and_each_begins_as_often() -> None:
    both = Good()
    assert Pair(both, both).reason is None
    assert both.log[:2] == ["old first", "new first"]
    assert both.log[2:-2] == [f"{name} round" for name in ("old", "new", "new", "old") * 2]
    assert sorted(both.log[-2:]) == ["new gate", "old gate"]


def test_nobody_has_gates_before_all_have_had_their_rounds() -> None:
    both = Good("a", "b")
    Pair(both, both, cases=("a", "b"), rounds=(2, 6))
    gates = [i for i, entry in enumerate(both.log) if entry.endswith("gate")]
    first = both.log[: gates[1] + 1]
    assert first.count("old round") == 2
    assert first.count("new round") == 6
    assert gates[1] == gates[0] + 1
    assert gates[2:] == [len(both.log) - 2, len(both.log) - 1]


@pytest.mark.parametrize("first", [False, True])
def test_worker_of_older_code_has_its_gates_heard_out_while_the_others_are_stopped(first: bool) -> None:
    """It does not wait after its last round, whether it is the first to have had that or the last."""
    stopped = set[str]()
    seen: list[bool] = []

    def older(name: str, turns: InTurn) -> None:
        turns.take()
        for _ in range(turns.warm(0.001, 99)):
            turns.take()
            turns.give()
        time.sleep(0.1)
        seen.append({"old": "new", "new": "old"}[name] in stopped)
        turns.over("a")

    holds = {name: Hold(partial(stopped.add, name), partial(stopped.discard, name)) for name in ("old", "new")}
    both = Good()
    pair = Pair(*(both, older) if first else (older, both), rounds=(2, 2), holds=holds)
    assert pair.reason is None
    assert pair.errors == {}
    assert seen == [True]
    assert both.log[-1].endswith("gate")


def test_worker_that_rests_is_let_go_when_another_fails_in_its_last_round() -> None:
    """Its rounds are complete, so it goes on to its gates."""

    def fails(name: str, turns: InTurn) -> None:
        turns.take()
        for i in range(turns.warm(0.001, 99)):
            turns.take()
            if i == 3:
                turns.over("a")
                return
            turns.give()

    both = Good()
    assert Pair(fails, both).errors == {}  # the fourth turn begins with "new"
    assert both.log[-1] == "new gate"


def test_whose_turn_it_is_not_is_stopped_until_all_have_had_theirs() -> None:
    both, stopped = Good(), set[str]()
    seen: list[tuple[str, bool, bool]] = []

    def hold(name: str) -> Hold:
        return Hold(lambda: stopped.add(name), lambda: stopped.discard(name))

    def work(name: str, what: str) -> None:
        seen.append((what, name in stopped, {"old": "new", "new": "old"}[name] in stopped))
        Good.work(both, name, what)

    both.work = work  # type: ignore[method-assign]  # to look while it works
    Pair(both, both, rounds=(2, 2), holds={name: hold(name) for name in ("old", "new")})
    assert not any(itself for _, itself, _ in seen)
    assert [other for what, _, other in seen if what == "first"] == [True, True]
    assert [other for what, _, other in seen if what == "round"] == [True, True, True, True]
    assert stopped == set()


def test_only_one_works_at_a_time() -> None:
    both = Good("a", "b")
    Pair(both, both, cases=("a", "b"))
    assert len(both.log) == 2 * 2 * 6
    assert both.most == 1


def test_all_time_the_number_of_rounds_that_the_clock_names() -> None:
    both = Good()
    Pair(both, both, rounds=(6, 6))
    assert both.log.count("old round") == both.log.count("new round") == 6


def test_clock_is_told_how_long_getting_ready_took() -> None:
    """Of each case its own: starting and compiling, not what the cases before it took."""
    told: list[float] = []

    class Slow(Good):
        def work(self, name: str, what: str) -> None:
            time.sleep(0.1 if what == "first" else 0.25)
            super().work(name, what)

    Pair(Slow("a", "b"), Slow("a", "b"), cases=("a", "b"), rounds=(2, 2), ready=told, seconds=30)
    assert len(told) == 2
    assert all(0.2 < seconds < 1.0 for seconds in told)  # the rounds of a case are another second


def test_arm_with_more_rounds_has_several_in_a_turn() -> None:
    both = Good()
    Pair(both, both, rounds=(2, 6))
    one, three = ["old round"], ["new round"] * 3
    assert both.log[2:-2] == [*one, *three, *three, *one]


def test_turns_of_fast_arms_are_side_by_side_however_slow_another_one_is() -> None:
    one = ["S", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert list(order({"S": 2, "a": 8, "b": 8})) == [*one, *one[::-1]]
    assert list(order({"a": 4, "b": 4})) == ["a", "b", "b", "a"] * 2


def test_each_of_three_or_more_follows_each_and_itself_as_often_as_the_others_do() -> None:
    """Where an arm stands among the others must not matter: what it finds in the cache depends on who ran before it."""
    for names in ("abc", "abcd", "abcdef"):
        turns = list(order(dict.fromkeys(names, 24 * len(names))))
        before = Counter(pairwise(turns))
        itself = [before[name, name] for name in names]
        assert max(itself) - min(itself) <= 1
        assert sum(itself) < 0.2 * len(turns)
        places = Counter((name, i % len(names)) for i, name in enumerate(turns))
        assert set(places.values()) == {24}


def test_fast_ones_beside_a_slow_one_follow_it_and_each_other_alike() -> None:
    turns = list(order({"S": 12, "a": 96, "b": 96, "c": 96}))
    before = Counter(pairwise(turns))
    assert max(before["S", name] for name in "abc") - min(before["S", name] for name in "abc") <= 3
    itself = [before[name, name] for name in "abc"]
    assert max(itself) - min(itself) <= 4


@pytest.mark.parametrize("counts", [(2, 2), (4, 8), (2, 8, 8, 4), (8, 2, 2, 8), (6, 96, 96, 12, 48), (2, 6)], ids=str)
def test_turns_are_as_many_as_asked_for_and_a_steady_drift_meets_all_alike(counts: tuple[int, ...]) -> None:
    asked = {str(i): count for i, count in enumerate(counts)}
    turns = list(order(asked))
    places = {name: [i for i, each in enumerate(turns) if each == name] for name in asked}
    assert {name: len(each) for name, each in places.items()} == asked
    assert {sum(each) / len(each) for each in places.values()} == {(len(turns) - 1) / 2}
    fast = [each for name, each in places.items() if asked[name] == max(counts)]
    assert all(abs(i - j) < len(counts) for a in fast for b in fast for i, j in zip(a, b, strict=True))


def test_worker_that_leaves_a_case_stops_the_other_there_and_not_later() -> None:
    def leaves_early(name: str, turns: InTurn) -> None:
        turns.over("a")
        Good("b")(name, turns)

    good = Good("a", "b")
    errors = {}

    def carries_on(name: str, turns: InTurn) -> None:
        try:
            turns.take()
            turns.warm(0.001, 1)
        except Invalid as error:
            errors["a"] = str(error)
        turns.over("a")
        Good("b")(name, turns)
        good.log.append("b done")

    pair = Pair(leaves_early, carries_on, cases=("a", "b"))
    assert pair.reason is None
    assert errors == {"a": "the worker of old left this case before its rounds were over"}
    assert good.log == ["b done"]


def test_worker_that_leaves_between_two_rounds_stops_the_other() -> None:
    def gives_up(name: str, turns: InTurn) -> None:
        turns.take()
        turns.warm(0.001, 1)
        turns.take()
        turns.over("a")

    pair = Pair(Good(), gives_up)
    assert pair.reason is None
    assert pair.errors == {"old": "the worker of new left this case before its rounds were over"}


def test_worker_that_dies_ends_the_pair() -> None:
    def dies(name: str, turns: InTurn) -> None:
        turns.take()
        turns._line.close()

    pair = Pair(Good(), dies)
    assert pair.reason == "the worker of new stopped: it has ended"
    assert pair.errors == {"old": "the worker of new stopped: it has ended"}


def test_worker_that_hangs_ends_the_pair_when_its_time_is_up() -> None:
    release = threading.Event()

    def hangs(name: str, turns: InTurn) -> None:
        turns.take()
        release.wait(3)

    start = time.perf_counter()
    pair = Pair(Good(), hangs, seconds=0.6)
    release.set()
    assert pair.reason == "the worker of new stopped: its time was up"
    assert time.perf_counter() - start < 4
    assert "old" in pair.errors


def test_worker_of_another_version_is_refused() -> None:
    ours, theirs = socket.socketpair()
    Line(theirs).send(say="hello", turns=TURNS + 1)
    reason = conduct({"old": Line(ours)}, ["a"], rounds=lambda *_: {"old": 1}, deadline=time.perf_counter() + 5)
    assert reason == "it takes turns in another way than this clock"


@pytest.mark.parametrize("action", ["take", "give"])
def test_worker_whose_clock_has_gone_says_so(action: str) -> None:
    ours, theirs = socket.socketpair()
    worker = InTurn(theirs.detach())
    ours.close()
    with pytest.raises(Invalid, match="the clock ended this pair"):
        getattr(worker, action)()
    worker.over("a")


def test_alone_nothing_is_waited_for() -> None:
    alone = Alone()
    alone.take()
    assert alone.warm(0.1, 7) == 7
    assert not alone.interleaved
