"""Which kernels a build runs: its lines sorted by case, two builds compared, and MindSpore asked in earnest."""

from __future__ import annotations

import os

import pytest

from benchmarks import implementations
from benchmarks.arms import Arm
from benchmarks.implementations import changes, heard, inside
from benchmarks.selection import choose
from benchmarks.talking import CALLS

LINE = "onednn_verbose,v1,primitive,exec,cpu,{what},{kernel},{direction},src:f32,,alg:x,mb4,{ms}"


def said(kernel: str, ms: float, case: str = "conv3x3[n,b4,1-2@8]") -> list[str]:
    conv = LINE.format(what="convolution", kernel=kernel, direction="forward_training", ms=ms)
    return ["onednn_verbose,v1,info,oneDNN v3.10.1 (commit x)", f"ddpm-bench case: {case}", "noise", conv, conv]


def test_lines_belong_to_the_case_announced_before_them() -> None:
    other = LINE.format(what="matmul", kernel="brg", direction="undef", ms=1)
    found = heard([*said("gemm:jit", 2.0), "ddpm-bench case: silu[n]", "ddpm-bench case: matmul[n]", other])
    assert found.library == "oneDNN v3.10.1"
    assert list(found.by_case) == ["conv3x3[n,b4,1-2@8]", "matmul[n]"]  # a case without a line is not known
    (choice,) = found.by_case["conv3x3[n,b4,1-2@8]"].values()
    assert (choice.implementation, choice.runs, choice.seconds) == ("gemm:jit", 2, pytest.approx(4e-3))
    assert found.reason is None


def test_what_is_said_while_warming_up_is_no_cases() -> None:
    conv = LINE.format(what="convolution", kernel="slow:any", direction="forward_training", ms=99)
    found = heard(["ddpm-bench warms up", conv, *said("gemm:jit", 2.0), "ddpm-bench warms up", conv])
    ((case, choices),) = found.by_case.items()
    assert case == "conv3x3[n,b4,1-2@8]"
    assert [choice.implementation for choice in choices.values()] == ["gemm:jit"]


def test_kernels_inside_a_call_are_summed_by_kind() -> None:
    lines = [
        LINE.format(what=what, kernel="k", direction=direction, ms=ms).replace("mb4", problem)
        for what, direction, problem, ms in (
            ("convolution", "forward_training", "mb4", 2.0),
            ("convolution", "forward_training", "mb8", 4.0),
            ("matmul", "undef", "4x4", 1.0),
        )
        for _ in range(CALLS)
    ]
    case = "unet_forward[n]"
    old, new = (heard([f"ddpm-bench case: {case}", *part]).by_case[case] for part in (lines, lines[: 2 * CALLS]))
    convolution, matmul = inside(old, new)
    assert (convolution.kind, convolution.count) == ("convolution forward_training", 2)
    assert (convolution.old, convolution.new) == (pytest.approx(6e-3), pytest.approx(6e-3))
    assert (matmul.kind, matmul.count, matmul.new) == ("matmul", 1, 0.0)
    assert matmul.old == pytest.approx(1e-3)


def test_two_builds_differ_where_another_implementation_computes_the_same() -> None:
    (change,) = changes(heard(said("gemm:jit", 2.0)), heard(said("ref:any", 200.0)))
    assert (change["case"], change["old"], change["new"]) == ("conv3x3[n,b4,1-2@8]", "gemm:jit", "ref:any")
    assert change["seconds"] == pytest.approx([2e-3, 0.2])
    assert changes(heard(said("gemm:jit", 2.0)), heard(said("gemm:jit", 9.0))) == []


def test_what_ends_early_keeps_what_was_said_with_the_reason() -> None:
    found = heard([*said("gemm:jit", 2.0), "ddpm-bench failed: RuntimeError: no such kernel"], -9)
    assert found.by_case
    assert found.reason == "asking for kernels ended with exit code -9; RuntimeError: no such kernel"


@pytest.mark.parametrize(("python", "why"), [("/bin/false", "exit code 1"), ("/no/such/python", "No such file")])
def test_interpreter_that_cannot_answer_is_a_reason(python: str, why: str) -> None:
    found = implementations.ask(Arm("none", python=python), (), device="CPU", mode="graph", variables={})
    assert found.by_case == {}
    assert why in str(found.reason)


def test_mindspore_says_which_convolution_it_runs() -> None:
    cases = choose("conv3x3[digits,b64,1-32@8] silu[digits,b64,32-32@8]")
    found = implementations.ask(Arm("here"), cases, device="CPU", mode="pynative", variables=dict(os.environ))
    assert found.reason is None
    primitives = found.by_case["conv3x3[digits,b64,1-32@8]"]
    assert {primitive.name for primitive in primitives} >= {"convolution"}
    assert all(choice.implementation for choice in primitives.values())
