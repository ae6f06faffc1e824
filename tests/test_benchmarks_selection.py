"""Choosing what to time: patterns, batch sizes, the parts of a net."""

from __future__ import annotations

import pytest

from benchmarks.cases import CASES
from benchmarks.operators import NETS, OPERATORS, parts
from benchmarks.selection import batch_of, choose, unmatched


def ids(*args: str, **options: object) -> list[str]:
    return [case.id for case in choose(*args, **options)]  # type: ignore[arg-type]  # options are the function's own


def test_single_operators_are_timed_when_asked_for_only() -> None:
    assert choose() == CASES
    assert ids("conv3x3[digits,*]")
    assert set(ids("*")) == {case.id for case in (*CASES, *OPERATORS)}
    assert choose("nothing*") == ()


def test_pattern_of_a_kind_takes_in_no_gradients_and_a_star_does() -> None:
    assert not any("gradient" in name for name in ids("conv3x3"))
    assert sum("gradient" in name for name in ids("conv3x3*")) == 2 * len(ids("conv3x3"))


def test_batch_sizes_replace_those_of_the_chosen_cases() -> None:
    assert ids("unet_forward[digits,*]", batches=(16, 32)) == ["unet_forward[digits,b16]", "unet_forward[digits,b32]"]
    (case,) = choose("training_step[cifar10,b4]", batches=(2,))
    assert (case.work, case.params["batch"]) == (2, 2)
    assert ids("unet_forward[cifar10,*]", batches=(8,)) == ["unet_forward[cifar10,b8]"]  # two batch sizes become one


def test_pattern_may_name_what_other_options_make_of_a_case() -> None:
    assert ids("training_step[cifar10,b16]", batches=(16,)) == ["training_step[cifar10,b16]"]
    assert ids("unet_forward[digits,b16]", batches=(16, 32)) == ["unet_forward[digits,b16]"]
    assert ids("peers unet_forward[cifar10,b16]", batches=(16,)) == ["unet_forward[cifar10,b16]"]
    half = "unet_forward[digits,b8,float16]"
    assert ids(half, batches=(8,), dtypes=("float16",)) == [half]
    assert unmatched(half, batches=(8,), dtypes=("float16",)) is None
    assert unmatched(half, batches=(8,)) == unmatched(half, dtypes=("float16",)) == half
    assert batch_of(half, ("float16",)) == 8
    assert batch_of(half) is batch_of("nothing[digits,b8]") is batch_of("unet_forward") is batch_of(None) is None


def test_word_that_no_case_matches_is_named_beside_words_that_some_do() -> None:
    """A batch size that is no usual one is asked for by another option: its case would be left out in silence."""
    assert unmatched("unet_forward[digits,b64] silu*") is None
    assert unmatched(None) is unmatched("peers") is None
    assert unmatched("unet_forward unet_forward[cifar10,b16] nothing") == "unet_forward[cifar10,b16]"
    assert unmatched("peers unet_forward sampling_chain*") == "sampling_chain*"
    assert unmatched("sampling_chain*") is None


def test_batch_of_an_operator_changes_what_it_moves() -> None:
    (small,), (large,) = choose("silu[digits,b64,32-32@8]"), choose("silu[digits,b64,32-32@8]", batches=(128,))
    assert large.params["bytes"] == 2 * small.params["bytes"]


def test_types_replace_float32_where_a_case_has_another() -> None:
    forward = "unet_forward[digits,b64]"
    assert ids(forward, dtypes=("float16",)) == ["unet_forward[digits,b64,float16]"]
    assert ids(forward, dtypes=("float32", "float16")) == [forward, "unet_forward[digits,b64,float16]"]
    (case,) = choose("sampling_chain[digits,*]", batches=(8,), dtypes=("bfloat16",))
    assert (case.id, case.params["dtype"]) == ("sampling_chain[digits,b8,bfloat16]", "bfloat16")
    assert not ids("training_step silu*", dtypes=("float16",))
    assert ids("training_step[digits,*]", dtypes=("float16", "float32")) == ["training_step[digits,b64]"]
    assert ids(forward, dtypes=("float16",), layers=True) == ["unet_forward[digits,b64,float16]"]


def test_the_usual_batch_size_gives_the_usual_cases() -> None:
    assert choose("*[digits,b64*", batches=(64,)) == choose("*[digits,b64*")


@pytest.mark.parametrize(("pattern", "batches"), [("unet_forward[digits,*]", ()), ("unet_forward[cifar10,b4]", (2,))])
def test_layers_bring_every_part_of_the_chosen_forward_passes(pattern: str, batches: tuple[int, ...]) -> None:
    (whole, *operators) = choose(pattern, batches=batches, layers=True)
    preset, batch = whole.params["preset"], whole.params["batch"]
    assert {case.id for case in operators} == {one.id(preset) for _, one in parts(NETS[preset], batch)}


def test_layers_of_what_is_no_forward_pass_are_none() -> None:
    assert ids("training_step[digits,*]", layers=True) == ["training_step[digits,b64]"]
