"""The library's lines of two generations are read alike; the samples are of MindSpore 2.7.0 and 2.10.0."""

from __future__ import annotations

import pytest

from benchmarks import onednn
from benchmarks.onednn import Choice, Primitive

SHAPE = "mb1_ic8oc8_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1"
OLD = f"""\
dnnl_verbose,info,oneDNN v2.2.0 (commit 197662efe918152ddcb0b0e5a63ff5823256e9b1)
dnnl_verbose,info,cpu,runtime:threadpool
dnnl_verbose,info,prim_template:operation,engine,primitive,implementation,prop_kind,memory_descriptors,attributes,auxiliary,problem_desc,exec_time
dnnl_verbose,exec,cpu,convolution,gemm:jit,forward_training,src_f32::blocked:abcd:f0 wei_f32::blocked:abcd:f0 bia_undef::undef::f0 dst_f32::blocked:abcd:f0,,alg:convolution_direct,{SHAPE},2.0
dnnl_verbose,exec,cpu,matmul,gemm:jit,undef,src_f32::blocked:ab:f0 wei_f32::blocked:ab:f0 dst_f32::blocked:ab:f0,,,16x16:16x16:16x16,0.5
""".splitlines()  # noqa: E501 - lines as the library prints them
NEW = f"""\
onednn_verbose,v1,info,oneDNN v3.10.1 (commit N/A)
onednn_verbose,v1,info,cpu,isa:Intel AVX-512 with Intel DL Boost and bfloat16 support
onednn_verbose,v1,primitive,info,template:operation,engine,primitive,implementation,prop_kind,memory_descriptors,attributes,auxiliary,problem_desc,exec_time
[WARNING] another program's line
onednn_verbose,v1,primitive,exec,cpu,convolution,jit_uni_ncsp:conv+ref:any,forward_training,src:f32::blocked:abcd::f0 wei:f32::blocked:abcd::f0 bia:undef::undef::: dst:f32::blocked:abcd::f0,,alg:convolution_direct,{SHAPE},200
onednn_verbose,v1,primitive,exec,cpu,convolution,jit_uni_ncsp:conv+ref:any,forward_training,src:f32::blocked:abcd::f0 wei:f32::blocked:abcd::f0 bia:undef::undef::: dst:f32::blocked:abcd::f0,,alg:convolution_direct,{SHAPE},100
onednn_verbose,v1,primitive,exec,cpu,convolution,x64:gemm:jit,backward_weights,src:f32::blo
""".splitlines()  # noqa: E501 - lines as the library prints them
CONVOLUTION = Primitive("convolution", "forward_training", SHAPE)


def test_the_library_names_itself_in_both_generations() -> None:
    assert (onednn.library(OLD), onednn.library(NEW)) == ("oneDNN v2.2.0", "oneDNN v3.10.1")
    assert onednn.library(["nothing"]) is None


def test_one_problem_is_the_same_primitive_in_both_generations() -> None:
    old, new = (onednn.choices(onednn.executions(lines)) for lines in (OLD, NEW))
    assert old[CONVOLUTION] == Choice("gemm:jit", 1, 0.002)
    assert new[CONVOLUTION].implementation == "jit_uni_ncsp:conv+ref:any"
    assert new[CONVOLUTION].runs == 2
    assert new[CONVOLUTION].seconds == pytest.approx(0.3)


def test_a_line_that_was_cut_short_is_left_out() -> None:
    assert len(onednn.executions(NEW)) == 2


def test_a_switch_names_both_implementations_and_their_time_a_run() -> None:
    old, new = (onednn.choices(onednn.executions(lines)) for lines in (OLD, NEW))
    (switch,) = onednn.switches(old, new)
    assert switch.primitive == CONVOLUTION
    assert (switch.old, switch.new) == ("gemm:jit", "jit_uni_ncsp:conv+ref:any")
    assert switch.seconds == pytest.approx((0.002, 0.15))


def test_the_same_choice_is_no_switch() -> None:
    old = onednn.choices(onednn.executions(OLD))
    assert onednn.switches(old, old) == []


def test_a_build_that_changes_its_mind_shows_both() -> None:
    lines = [*NEW, NEW[4].replace("jit_uni_ncsp:conv+ref:any", "gemm:jit")]
    assert (
        onednn.choices(onednn.executions(lines))[CONVOLUTION].implementation == "gemm:jit | jit_uni_ncsp:conv+ref:any"
    )
