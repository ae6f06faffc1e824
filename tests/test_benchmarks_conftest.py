"""The timed modules on MindSpore itself: each kind of case is measured, each cheat gives a reason and no number."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor, float16, float32

from benchmarks import conftest, environment, timing
from benchmarks import test_peaks as timed_peaks
from benchmarks import test_sampling as timed_sampling
from benchmarks import test_training as timed_training
from benchmarks import test_unet as timed_unet
from benchmarks.cases import PEAKS, SETTLING_CALLS, Case, select
from benchmarks.timing import Workload
from benchmarks.worker import Job, run_worker, worker_variables
from ddpm_bench import device, sample
from verification.oracle_network import predict

pytestmark = pytest.mark.needs_mindspore

MAKERS: dict[str, Callable[..., Workload]] = {
    "forward": timed_unet.forward,
    "training_step": timed_training.training_step,
    "reverse_step": timed_sampling.reverse_step,
    "chain": timed_sampling.chain,
    "latency": timed_sampling.latency,
    "matmul": timed_peaks.matmul,
    "convolution": timed_peaks.convolution,
    "copy": timed_peaks.copy,
}


def small(name: str) -> Case:
    """The digits case of that name with a batch of 4, the least that the gate looks at, and a chain of 3 steps."""
    (case,) = select(f"{name}[digits,b64]")
    steps = {"steps": 3} if "steps" in case.params else {}
    return dataclasses.replace(case, params={**case.params, "batch": 4, **steps}, work=4)


class Benchmark:
    """pytest-benchmark's fixture without a clock."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Any, *, setup: Any, rounds: int, **_: Any) -> None:
        for _ in range(rounds):
            args, kwargs = setup()
            target(*args, **kwargs)


class Machine(conftest.MindSpore):
    """MindSpore in this process; the canary has its own tests and takes seconds on a crowded machine."""

    def canary(self) -> dict[str, Any]:
        return {"holds": True}


def row_of(case: Case, mode: str = "pynative", cheat: Callable[[Workload], Workload] | None = None) -> dict[str, Any]:
    """The row that two rounds of `case` leave, its workload changed by `cheat`."""
    machine = Machine(conftest.Job(mode=mode), 1.0, device)
    workload = MAKERS[case.maker](case, machine, predict)
    benchmark = Benchmark()
    timing.run_case(case, cheat(workload) if cheat else workload, machine, benchmark, {"rounds": 2})
    return dict(benchmark.extra_info["clock"])


KINDS = ("unet_forward", "training_step", "reverse_step", "sampling_chain", "sampling_latency")


@pytest.mark.parametrize(
    ("kind", "mode"), [("unet_forward", "graph"), ("reverse_step", "graph"), *((kind, "pynative") for kind in KINDS)]
)
def test_right_outputs_pass_their_gate_with_room(kind: str, mode: str) -> None:
    """The largest error is well inside what is allowed, or the gate would one day refuse an honest number.

    Chains and training compile for long in graph mode; the main job goes through them.
    """
    row = row_of(small(kind), mode)
    assert row["invalid"] is None
    gate = row["proof"]["gate"]
    assert 0 < gate["error"] < gate["allowed"] / 2
    assert (row["proof"]["device"], row["proof"]["dtype"]) == ("CPU", "Float32")
    assert (row["proof"]["compiled_by_first_call"] > 0) == (mode == "graph")


def tiny(case: Case) -> Case:
    """A peak that takes no time."""
    return dataclasses.replace(case, params={**case.params, "size": 16, "numbers": 1000, "channels": 8})


@pytest.mark.parametrize("case", PEAKS, ids=lambda case: case.id)
def test_peak_is_right_and_counted(case: Case) -> None:
    counted = {"matmul": 2 * 16**3, "convolution": 4 * 2 * (9 * 8 * 8) * 16**2, "copy": None}
    row = row_of(tiny(case))
    assert row["invalid"] is None
    assert row["flops"] == counted[case.maker]


def test_copies_count_what_is_read_and_what_is_written() -> None:
    copies = [case for case in PEAKS if case.maker == "copy"]
    assert [case.unit for case in copies] == ["bytes", "bytes"]
    assert all(case.work == 2 * np.dtype(np.float32).itemsize * case.params["numbers"] for case in copies)


def returning(wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[Workload], Workload]:
    """A cheat that replaces the timed call by what `wrapped` makes of it."""
    return lambda workload: dataclasses.replace(workload, call=wrapped(workload.call))


def remembered(call: Callable[..., Any]) -> Callable[..., Any]:
    outputs: list[Any] = []

    def cached(*args: Any) -> Any:
        if not outputs:
            outputs.append(call(*args))
        return outputs[0]

    return cached


def remembered_by_turns(call: Callable[..., Any]) -> Callable[..., Any]:
    """What two inputs gave, for ever after: right as long as no third one comes."""
    outputs: list[Any] = []
    calls = iter(range(10**6))

    def cached(*args: Any) -> Any:
        i = next(calls)
        if len(outputs) < 2:
            outputs.append(call(*args))
        return outputs[i % 2]

    return cached


def zeros(call: Callable[..., Any]) -> Callable[..., Any]:
    """As `MS_KERNEL_LAUNCH_SKIP` does it."""
    return lambda *args: Tensor(np.zeros_like(call(*args).asnumpy()))


def shortened(call: Callable[..., Any]) -> Callable[..., Any]:
    """Half the batch."""
    return lambda *args: call(*(arg[:2] for arg in args))


def shortened_and_filled(call: Callable[..., Any]) -> Callable[..., Any]:
    """Half the batch, twice."""
    return lambda *args: Tensor(np.concatenate([call(*(arg[:2] for arg in args)).asnumpy()] * 2))


def rounded(call: Callable[..., Any]) -> Callable[..., Any]:
    """Through half precision once: the least that computing in it would do."""
    return lambda *args: call(*args).astype(float16).astype(args[0].dtype)


@pytest.mark.parametrize("cheat", [remembered, remembered_by_turns, zeros, shortened, shortened_and_filled, rounded])
@pytest.mark.parametrize("kind", ["unet_forward", "reverse_step"])
def test_wrong_output_gives_a_reason_and_no_other_proof(kind: str, cheat: Any) -> None:
    row = row_of(small(kind), cheat=returning(cheat))
    assert row["invalid"]
    assert row["proof"] == {"gate": {"refused": row["invalid"]}}


def zeroed(call: Callable[..., Any]) -> Callable[..., Any]:
    """Nothing computed, whatever the library."""
    return lambda *args: call(*args) * 0


@pytest.mark.parametrize("case", PEAKS, ids=lambda case: case.id)
def test_peak_of_nothing_computed_gives_a_reason(case: Case) -> None:
    assert row_of(tiny(case), cheat=returning(zeroed))["invalid"]


@pytest.mark.parametrize("library", ["numpy", "mindspore"])
def test_copy_made_earlier_gives_a_reason(library: str) -> None:
    (case,) = select(f"copy[{library}]", PEAKS)
    assert row_of(tiny(case), cheat=returning(remembered))["invalid"] == "the copy differs from what was copied"


@pytest.mark.parametrize("cheat", [remembered, zeros])
@pytest.mark.parametrize("kind", ["sampling_chain", "sampling_latency"])
def test_wrong_sample_gives_a_reason(kind: str, cheat: Any) -> None:
    assert row_of(small(kind), cheat=returning(cheat))["invalid"]


def test_half_precision_inside_the_network_is_refused() -> None:
    """Every convolution and dense layer computes in float16; parameters and output stay float32."""

    def halved(workload: Workload) -> Workload:
        workload.call.to_float(float16)  # type: ignore[attr-defined]  # in PyNative mode the call is the Cell itself
        return workload

    row = row_of(small("unet_forward"), cheat=halved)
    assert "eps_hat is off by" in str(row["invalid"])


def test_chain_with_fewer_steps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample.ddim

    def hurried(eps_model: Any, diffusion: Any, x_T: Any, z: Any, num_steps: int, eta: float) -> Any:
        return whole(eps_model, diffusion, x_T, z[: num_steps - 1], num_steps - 1, eta)

    monkeypatch.setattr(sample, "ddim", hurried)
    assert "the images is off" in str(row_of(small("sampling_chain"))["invalid"]).replace("are", "is")


class WithCell(Machine):
    """Gives a test the network that a workload is made of, after `change`."""

    def __init__(self, change: Callable[[Any], Any] = lambda cell: cell) -> None:
        super().__init__(conftest.Job(mode="pynative"), 1.0, device)
        self.change = change

    def network(self, preset: str, **changes: Any) -> Any:
        self.cell = self.change(super().network(preset, **changes))
        return self.cell


def test_training_that_skips_its_update_is_refused() -> None:
    """Weights are put back after the first timed call."""
    machine = WithCell()
    workload = timed_training.training_step(small("training_step"), machine, predict)
    step, calls = workload.call, []

    def skipping() -> Any:
        before = conftest.weights(machine.cell)
        calls.append(step())
        if len(calls) == SETTLING_CALLS + 1:
            for name, parameter in machine.cell.parameters_and_names():
                parameter.set_data(Tensor(before[name]))
        return calls[-1]

    workload = dataclasses.replace(workload, call=skipping)
    invalid = timing.run_case(small("training_step"), workload, machine, Benchmark(), {"rounds": 2})
    assert f"training step {SETTLING_CALLS + 1} left" in str(invalid)


def test_training_in_half_precision_is_refused() -> None:
    """Forward and backward in float16, eps_hat cast back: only the loss can tell, in its fourth digit."""

    def halved(cell: Any) -> Any:
        construct = cell.to_float(float16).construct
        cell.construct = lambda x, t: construct(x, t).astype(float32)
        return cell

    machine = WithCell(halved)
    workload = timed_training.training_step(small("training_step"), machine, predict)
    invalid = timing.run_case(small("training_step"), workload, machine, Benchmark(), {"rounds": 2})
    assert "the last timed loss is" in str(invalid)


def test_real_worker_measures_a_case_from_end_to_end() -> None:
    """A fresh process with its own import, canary and reference."""
    own = ("HCCL_", "KMP_")  # that MindSpore has set when it was imported into this process
    variables = worker_variables({k: v for k, v in os.environ.items() if not k.startswith(own)}, {})
    job = Job((small("unet_forward"),), "CPU", "pynative", "tuned", 0)
    answer = run_worker(
        job, variables, reference="verification.oracle_network:predict", timeout=300, late="it took five minutes"
    )
    (measurement,) = answer.measurements
    assert measurement.invalid is None
    assert len(measurement.seconds) == small("unet_forward").rounds
    assert measurement.proof["canary"]["holds"]
    assert measurement.import_seconds is not None
    assert measurement.import_seconds > 0.3
    assert answer.seen["devices"]["CPU"] is None
    given = environment.collect(variables)
    seen = answer.seen["environment"]
    assert {key for key in seen if key.startswith("env.")} == {key for key in given if key.startswith("env.")}, (
        "what MindSpore sets by itself when it is imported is no difference to another framework's workers"
    )
    assert measurement.proof["settings"]["device"] == "CPU"
