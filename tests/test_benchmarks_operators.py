"""The parts of a net: complete, at the shapes that the network really has, each timed by one case."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn

from benchmarks import conftest, roofline
from benchmarks import test_operators as timed
from benchmarks.cases import Case, select
from benchmarks.gates import Invalid
from benchmarks.operators import CONVOLUTIONS, GRADIENTS, NETS, OPERATORS, Operator, cases, parts
from benchmarks.timing import Workload
from benchmarks.worker import Job, run_worker, worker_variables
from ddpm_bench import device
from ddpm_bench.operators import VARIABLE
from ddpm_bench.presets import PRESETS
from ddpm_bench.unet import UNet
from ddpm_bench.unet_blocks import conv
from verification.oracle_network import predict

pytestmark = pytest.mark.needs_mindspore


@pytest.mark.parametrize("name", NETS)
def test_nets_are_the_presets(name: str) -> None:
    for field in fields(NETS[name]):
        assert getattr(NETS[name], field.name) == getattr(PRESETS[name], field.name)


@pytest.mark.parametrize("name", NETS)
def test_parts_multiply_as_often_as_the_net(name: str) -> None:
    assert sum(part.flops for _, part in parts(NETS[name], 4)) == roofline.forward_flops(PRESETS[name], 4)


def test_parts_are_at_the_shapes_that_flow_through_the_network() -> None:
    """Every Cell of the network that is a part sees and gives what its operator says."""
    seen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def watch(path: str) -> Callable[..., None]:
        def hook(_: nn.Cell, inputs: Any, output: Any) -> None:
            seen[path] = (tuple(inputs[0].shape), tuple(output.shape))

        return hook

    net, batch = UNet(PRESETS["digits"]), 2
    operators = dict(parts(NETS["digits"], batch))
    for path, cell in net.cells_and_names():
        if path in operators:
            cell.register_forward_hook(watch(path))
    net(Tensor(np.zeros((batch, 1, 8, 8), np.float32)), Tensor([0, 1], mindspore.int32))
    without_cells = {path for path in operators if re.match("silu|add$|concat", path.rpartition(".")[2])}
    assert set(seen) == set(operators) - without_cells - {path for path in operators if ".concats." in path} - {
        "time_silu"
    }
    for path, (given, returned) in seen.items():
        operator = operators[path]
        assert given[:2] == (batch, operator.in_channels), path
        assert returned[:2] == (batch, operator.out_channels), path
        assert returned[2:] in ((), (operator.size,) * 2), path


def test_every_part_has_a_case_and_every_convolution_both_gradients() -> None:
    for name, batch in (("cifar10", 4), ("digits", 64)):
        ids = [case.id for case in cases(name, batch)]
        assert len(set(ids)) == len(ids)
        assert {operator.id(name) for _, operator in parts(NETS[name], batch)} <= set(ids)
        convolutions = [i for i in ids if i.startswith(("conv3x3[", "conv1x1[", "downsample["))]
        for case in convolutions:
            for direction in ("input_gradient", "weight_gradient"):
                assert case.replace("[", f".{direction}[", 1) in ids


def test_a_call_takes_milliseconds_by_its_estimate() -> None:
    for case in OPERATORS:
        operator = Operator.of(case.params)
        seconds = operator.flops / 50e9 + operator.bytes / 5e9
        assert case.work == operator.repeats
        assert operator.repeats == 16 or operator.repeats * seconds > 2e-3


SMALL: dict[str, dict[str, int]] = {
    "conv3x3": {"in_channels": 4, "out_channels": 6, "kernel": 3},
    "conv1x1": {"in_channels": 4, "out_channels": 6, "kernel": 1},
    "downsample": {"in_channels": 4, "out_channels": 4, "kernel": 3},
    "dense": {"in_channels": 4, "out_channels": 6, "size": 1},
    "group_norm": {},
    "silu": {},
    "attention": {},
    "upsample": {"kernel": 3},
    "add": {},
    "add_time": {},
    "concat": {},
    "matmul": {"in_channels": 20, "out_channels": 6},
}  # fmt: skip


def small(kind: str, direction: str = "forward") -> Case:
    """An operator of that kind with few channels, two runs a call."""
    shape = {"batch": 3, "in_channels": 4, "out_channels": 4, "size": 4, "kernel": 1, "groups": 2, "heads": 2}
    shape |= {"flops": 1, "bytes": 10**7} | SMALL[kind]
    return Operator(kind=kind, direction=direction, **shape).case("digits")


def outputs_of(case: Case, mode: str, *, whole: bool = False) -> tuple[Workload, Any]:
    """The workload and the fetched output of call 3."""
    machine = conftest.MindSpore(conftest.Job(mode=mode), 1.0, device, whole=whole)
    workload = timed.operator(case, machine, predict)
    return workload, workload.fetch(workload.call(*workload.prepare(3)))


KINDS = [
    *((kind, "forward") for kind in SMALL),
    *((kind, gradient) for kind in CONVOLUTIONS for gradient in GRADIENTS),
]


@pytest.mark.parametrize(("kind", "direction"), KINDS)
def test_right_output_passes_and_a_remembered_or_half_one_does_not(kind: str, direction: str) -> None:
    workload, output = outputs_of(small(kind, direction), "pynative")
    evidence = workload.gate([(3, output)])
    assert evidence["error"] <= evidence["allowed"]
    with pytest.raises(Invalid, match="off by"):
        workload.gate([(4, output)])
    with pytest.raises(Invalid, match="off by"):
        workload.gate([(3, output.astype(np.float16).astype(np.float32))])
    with pytest.raises(Invalid, match="has shape"):
        workload.gate([(3, output[1:])])


@pytest.mark.parametrize("direction", ["forward", *GRADIENTS])
def test_convolution_by_winograds_products_is_held_to_what_they_round(
    direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is more: a forward pass of these is off by more than plain sums may be off."""
    shape = {"batch": 4, "in_channels": 32, "out_channels": 32, "size": 8, "kernel": 3, "groups": 2, "heads": 2}
    case = Operator(kind="conv3x3", direction=direction, **shape, flops=1, bytes=10**7).case("digits")
    monkeypatch.setenv(VARIABLE, "native")
    plain, output = outputs_of(case, "pynative")
    plain.gate([(3, output)])
    monkeypatch.setenv(VARIABLE, "conv")
    workload, output = outputs_of(case, "pynative")
    evidence = workload.gate([(3, output)])
    assert evidence["error"] <= evidence["allowed"]
    with pytest.raises(Invalid, match="off by"):
        workload.gate([(3, output.astype(np.float16).astype(np.float32))])
    if direction == "forward":
        with pytest.raises(Invalid, match="off by"):
            plain.gate([(3, output)])


def test_convolution_of_few_or_of_no_whole_tiles_is_none_of_winograds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiles are wanted: one image has one, three have three, and 6 pixels are no whole tiles."""
    monkeypatch.setenv(VARIABLE, "conv4")
    cell = conftest.MindSpore(conftest.Job(mode="pynative"), 1.0, device).chosen(nn.SequentialCell([conv(4, 4)]))
    few = Operator.of(small("conv3x3").params)
    assert not timed._by_winograd(cell, replace(few, batch=1))
    assert timed._by_winograd(cell, few)
    assert not timed._by_winograd(cell, replace(few, size=6))


@pytest.mark.parametrize(
    ("kind", "direction"), [("conv3x3", "weight_gradient"), ("conv1x1", "input_gradient"), ("add", "forward")]
)
@pytest.mark.parametrize("whole", [False, True])
def test_graph_mode_gives_what_pynative_gives(kind: str, direction: str, whole: bool) -> None:
    """Compiled by `jit`, or because GRAPH_MODE is set, as it is in the workers."""
    compiled = device.compile_count()
    with device.whole_graph() if whole else nullcontext():
        workload, output = outputs_of(small(kind, direction), "graph", whole=whole)
    assert device.compile_count() > compiled
    workload.gate([(3, output)])


@pytest.mark.parametrize(
    ("mode", "cases", "variables", "whole"),
    [
        ("graph", (small("add"), small("silu")), {}, True),
        ("graph", (small("add"), *select("unet_forward[digits,*]")), {}, False),
        ("graph", (small("add"),), {device.JIT_LEVEL: "O1"}, False),
        ("graph", (small("add"),), {"MS_COMPILER_CACHE_ENABLE": "1"}, False),
        ("pynative", (small("add"),), {}, False),
    ],
)
def test_single_operators_alone_are_compiled_under_graph_mode(
    mode: str, cases: tuple[Case, ...], variables: dict[str, str], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert conftest.Job(mode=mode, cases=cases).whole_graphs is whole


def test_real_worker_times_single_operators_under_graph_mode() -> None:
    """The row is valid, so they were compiled, and says how."""
    job = Job((small("add"), small("dense")), "CPU", "graph", "tuned", 0)
    answer = run_worker(job, worker_variables(os.environ, {}), reference=None, timeout=300, late="it took five minutes")
    for measurement in answer.measurements:
        assert measurement.invalid is None
        assert measurement.proof["settings"]["graphs"] == "GRAPH_MODE"
