"""Timing one case: what is a round, what is not, and every gate that turns a number into a reason."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import timing
from benchmarks.cases import SETTLING_CALLS, Case
from benchmarks.gates import Invalid
from benchmarks.timing import Workload, run_case
from benchmarks.turnstile import Alone


@dataclass
class Machine:
    """A device on which work is done when it is waited for."""

    device: str = "CPU"
    mode: str = "pynative"
    import_seconds: float = 1.5
    settings: dict[str, str] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=lambda: {"holds": True})
    compiled: int = 0
    pending: list[Callable[[], None]] = field(default_factory=list)
    waits: int = 0
    lazy: bool = False
    """a wait that does not wait"""

    def synchronize(self) -> None:
        self.waits += 1
        while self.pending and not self.lazy:
            self.pending.pop(0)()

    def canary(self) -> dict[str, Any]:
        return self.proof

    def compile_count(self) -> int:
        return self.compiled

    def peak_resident_memory(self) -> int | None:
        return 123


class Benchmark:
    """pytest-benchmark's fixture as far as it is used: `pedantic` with a setup, one call a round."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}
        self.seconds: list[float] = []

    def pedantic(self, target: Any, *, setup: Any, rounds: int, iterations: int, warmup_rounds: int) -> None:
        assert (iterations, warmup_rounds) == (1, 0)
        for _ in range(rounds):
            args, kwargs = setup()
            start = time.perf_counter()
            target(*args, **kwargs)
            self.seconds.append(time.perf_counter() - start)


CASE = Case("x[a]", {}, "nowhere:make", 4, "images", 3)


def timed(
    machine: Machine,
    *,
    case: Case = CASE,
    rounds: int = 3,
    keep: list[Any] | None = None,
    turns: Any = None,
    **changes: Any,
) -> SimpleNamespace:
    """Run a case whose call takes 5 ms on `machine`; the row, the benchmark and what was called."""
    calls: list[Any] = []

    def call(number: int) -> dict[str, int]:
        calls.append(number)
        machine.pending.append(lambda: time.sleep(0.005))
        return {"number": number}

    given = {
        "call": call, "prepare": lambda i: (i,), "fetch": lambda output: output["number"], "flops": 7,
        "gate": lambda kept: {"kept": kept}, "placement": {"device": "CPU", "dtype": "Float32"},
    }  # fmt: skip
    benchmark = Benchmark()
    invalid = run_case(
        case,
        Workload(**{**given, **changes}),
        machine,
        benchmark,
        {"rounds": rounds},
        turns,
        keep=None if keep is None else keep.extend,
    )
    row = benchmark.extra_info["clock"]
    assert row["invalid"] == invalid
    return SimpleNamespace(row=row, benchmark=benchmark, calls=calls, invalid=invalid)


def test_calls_that_settle_are_not_rounds() -> None:
    done = timed(Machine(), rounds=3)
    assert done.calls == list(range(SETTLING_CALLS + 3))
    assert len(done.benchmark.seconds) == 3


def test_case_may_settle_in_fewer_calls() -> None:
    done = timed(Machine(), case=dataclasses.replace(CASE, settle=2), rounds=3)
    assert done.calls == [0, 1, 2, 3, 4]
    assert done.row["proof"]["gate"] == {"kept": [(3, 3), (4, 4)]}


def test_what_is_about_to_be_timed_is_told_by_the_last_untimed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first five of a graph are slower."""
    told: list[float] = []

    class Told(Alone):
        def warm(self, seconds: float, rounds: int) -> int:
            told.append(seconds)
            return rounds

    compiling_for(1.0, monkeypatch, slow_calls=5, turns=Told())
    assert told == [pytest.approx(0.005)]


def test_round_pays_for_the_work_and_not_for_the_launch() -> None:
    done = timed(Machine())
    assert min(done.benchmark.seconds) >= 0.005


def test_compile_stays_out_of_the_rounds() -> None:
    """A first call of 0.3 s beside calls of 5 ms."""
    machine = Machine(mode="graph")

    def call(number: int) -> int:
        if number == 0:
            time.sleep(0.3)
            machine.compiled += 1
        machine.pending.append(lambda: time.sleep(0.005))
        return number

    done = timed(machine, call=call, fetch=lambda output: output)
    assert done.row["first_call_seconds"] >= 0.3
    assert max(done.benchmark.seconds) < 0.2
    assert done.row["proof"]["compiled_by_first_call"] == 1


def test_inputs_are_made_and_waited_for_before_the_watch_starts() -> None:
    machine = Machine()

    def prepare(number: int) -> tuple[int]:
        machine.pending.append(lambda: time.sleep(0.2))
        return (number,)

    assert max(timed(machine, prepare=prepare).benchmark.seconds) < 0.15


def test_gate_sees_the_outputs_of_the_last_timed_calls() -> None:
    last = SETTLING_CALLS + 4
    assert timed(Machine(), rounds=5).row["proof"]["gate"] == {"kept": [(last - 1, last - 1), (last, last)]}


def test_outputs_that_are_kept_are_of_the_first_calls_however_many_are_timed() -> None:
    """So two builds that time other numbers of rounds leave outputs of the same inputs."""
    first = SETTLING_CALLS
    for rounds in (2, 5):
        kept: list[Any] = []
        timed(Machine(), rounds=rounds, keep=kept)
        assert kept == [(first, first), (first + 1, first + 1)]


def test_outputs_are_kept_of_a_case_that_its_gate_refuses() -> None:
    """What became of the numbers is then all the more worth knowing."""
    kept: list[Any] = []

    def gate(_: Any) -> dict[str, Any]:
        raise Invalid("eps_hat is off")

    timed(Machine(), gate=gate, keep=kept)
    assert len(kept) == 2


class Turns(Alone):
    """Nobody else's turns, noted down."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def take(self) -> None:
        self.log.append("take")

    def give(self) -> None:
        self.log.append("give")

    def rest(self) -> None:
        self.log.append("rest")


def test_outputs_are_fetched_within_the_last_turn_and_gates_wait_until_nobody_is_timed() -> None:
    turns = Turns()

    def fetch(output: Any) -> Any:
        turns.log.append("fetch")
        return output

    def gate(_: Any) -> dict[str, Any]:
        turns.log.append("gate")
        return {}

    timed(Machine(), rounds=2, turns=turns, fetch=fetch, gate=gate)
    assert turns.log == ["take", "take", "give", "take", "fetch", "fetch", "give", "rest", "gate"]


def test_row_says_what_was_run_and_how() -> None:
    row = timed(Machine()).row
    assert (row["case"], row["work"], row["unit"], row["flops"]) == ("x[a]", 4, "images", 7)
    assert (row["import_seconds"], row["peak_rss_bytes"]) == (1.5, 123)
    assert row["proof"]["device"] == "CPU"
    assert row["proof"]["dtype"] == "Float32"
    assert 0 <= row["cpu_over_wall"] < 1  # sleeping costs no CPU
    assert row["conditions"].keys() >= {"load", "involuntary_switches", "stolen_seconds", "major_faults"}


def test_cpu_over_wall_counts_work() -> None:
    def call(number: int) -> dict[str, int]:
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return {"number": number}

    assert timed(Machine(), call=call).row["cpu_over_wall"] > 0.01  # a crowded machine gives a process little


def test_failed_gate_is_the_reason() -> None:
    def gate(_: Any) -> dict[str, Any]:
        raise Invalid("eps_hat is off")

    found = timed(Machine(), gate=gate)
    assert found.invalid == "eps_hat is off"
    assert found.row["proof"] == {"gate": {"refused": "eps_hat is off"}}
    assert timed(Machine(proof={"holds": False})).row["proof"] == {}, "no gate was asked"


@pytest.mark.parametrize("proof", [{"holds": False}, {}])
def test_sync_that_does_nothing_is_caught_by_the_canary(proof: dict[str, Any]) -> None:
    assert "the sync canary failed" in str(timed(Machine(proof=proof)).invalid)


def test_wait_that_did_not_wait_for_this_output_is_caught() -> None:
    machine = Machine(lazy=True)

    def fetch(output: dict[str, int]) -> int:
        time.sleep(0.05)
        return output["number"]

    assert "the wait did not wait" in str(timed(machine, fetch=fetch).invalid)


def test_graph_mode_that_compiled_nothing_is_caught() -> None:
    assert "the calls ran as PyNative" in str(timed(Machine(mode="graph")).invalid)


def compiling_in_call(machine: Machine, which: int) -> Callable[[int], dict[str, int]]:
    def call(number: int) -> dict[str, int]:
        machine.compiled += number == which
        return {"number": number}

    return call


@pytest.mark.parametrize("which", [0, SETTLING_CALLS - 1])
def test_pynative_mode_that_compiled_is_caught(which: int) -> None:
    machine = Machine()
    assert "1 graphs were compiled" in str(timed(machine, call=compiling_in_call(machine, which)).invalid)


@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_compiling_while_timed_is_caught(mode: str) -> None:
    machine = Machine(mode=mode)
    assert "during the timed calls" in str(timed(machine, call=compiling_in_call(machine, SETTLING_CALLS + 1)).invalid)


@pytest.mark.parametrize("device", ["GPU", None, "CPU,GPU"])
def test_parameters_on_another_device_are_caught(device: str | None) -> None:
    done = timed(Machine(), placement={"device": device, "dtype": "Float32"})
    assert f"the parameters are on {device} and CPU was asked for" == done.invalid


def test_outputs_are_held_until_after_the_wait() -> None:
    """An output that is dropped earlier would free its memory for the next call while the device still writes to it."""
    machine = Machine()
    alive: list[int] = []

    class Output(dict[str, int]):
        def __del__(self) -> None:
            alive.append(len(machine.pending))

    def call(number: int) -> Output:
        machine.pending.append(lambda: None)
        return Output(number=number)

    timed(machine, call=call)
    assert alive
    assert set(alive) == {0}


def test_too_few_rounds_for_the_gate_are_still_gated() -> None:
    assert timed(Machine(), rounds=1).row["proof"]["gate"] == {"kept": [(SETTLING_CALLS, SETTLING_CALLS)]}
    assert timing.KEPT_OUTPUTS == 2


def compiling_for(
    seconds: float, monkeypatch: pytest.MonkeyPatch, *, slow_calls: int = 0, **given: Any
) -> SimpleNamespace:
    """A case on a clock of its own, which only calls move: 5 ms each, some 10, and the first one `seconds` more."""
    clock = {"now": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])
    machine = Machine(mode="graph")

    def work(number: int) -> None:
        clock["now"] += (0.010 if number < slow_calls else 0.005) + (seconds if number == 0 else 0.0)

    def call(number: int) -> int:
        machine.compiled += number == 0
        machine.pending.append(lambda: work(number))
        return number

    return timed(machine, call=call, fetch=lambda output: output, rounds=5, **given)


def test_second_of_compiling_changes_no_round_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = (compiling_for(seconds, monkeypatch) for seconds in (0.0, 1.0))
    assert slow.benchmark.seconds == pytest.approx(quick.benchmark.seconds, rel=1e-12)
    assert slow.row["split"]["compile"] - quick.row["split"]["compile"] == pytest.approx(1.0)
    assert slow.row["split"]["first_run"] == pytest.approx(0.005 * SETTLING_CALLS)
    assert slow.row["split"]["rounds"] == pytest.approx(0.025)
