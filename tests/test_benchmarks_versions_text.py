"""The text that is pasted into a release note: sentence first, a row a case, every step and every change by name."""

from __future__ import annotations

from typing import Any

import pytest
import sweeps

from benchmarks.versions_builds import EDITED
from benchmarks.versions_text import markdown


@pytest.fixture(scope="module")
def text() -> str:
    return markdown(sweeps.eventful())


def test_sentence_about_the_newest_comes_first(text: str) -> None:
    assert text.startswith("**MindSpore 2.11.0 could not be used. ")
    assert "cases (`unet_forward[digits,b64]` in graph mode: " in text.splitlines()[0]


def test_table_has_a_row_a_case_and_a_column_a_build(text: str) -> None:
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert {row.count("|") for row in rows} == {2 + 6 + 1}
    assert "| 34.0 ms |" in rows[2]
    assert "INVALID: the output is off by 3" in rows[4]


def test_every_named_step_and_every_change_of_numbers_has_a_line(text: str) -> None:
    assert "* 2.9.0: `training_step[digits,b64]` in graph mode: 24" in text
    assert "* 2.10.0: `unet_forward[digits,b64]` in graph mode: 12" in text
    assert "* 2.9.0: `unet_forward[digits,b64]` in pynative mode: rounding, " in text
    assert "* 2.10.0: `unet_forward[digits,b64]` in graph mode: changed, " in text


def test_reasons_machine_and_command_are_there(text: str) -> None:
    assert "* 2.11.0 could not be used: cannot be installed: there is no version of mindspore==2.11.0" in text
    assert "Measured on: cpu a processor, cpu\\_isa avx2, cores\\_usable 2" in text
    assert f"```\n{sweeps.COMMAND}\n```\n" in text


def test_steady_builds_are_told_in_two_sentences() -> None:
    text = markdown(sweeps.sweep(sweeps.steady()))
    assert "No step made a case slower or faster." in text
    assert "every bit is the same in all builds" in text


def test_sweep_without_a_row_claims_nothing() -> None:
    """Its budget was used up before the first one was complete."""
    arms = {label: {**arm, "measurements": []} for label, arm in sweeps.steady().items()}
    text = markdown(sweeps.sweep(arms))
    assert text.startswith("**Nothing was measured of 2.10.0.**")
    assert "No case was measured." in text
    assert "Outputs were not compared." in text
    assert "every bit" not in text


def test_environments_that_differ_are_named_with_both_values() -> None:
    arms = {**sweeps.steady(("2.9.0",)), "2.10.0": sweeps.arm("2.10.0", sweeps.times(), numpy="1.26.3")}
    text = markdown(sweeps.sweep(arms))
    assert "* numpy differs: 2.9.0 1.26.4; 2.10.0 1.26.3" in text
    assert "not compared" in text


def test_nothing_shown_breaks_out_of_its_place() -> None:
    evil = "a|b`c\n# <d> [e](f)"
    arms: dict[str, Any] = {label: sweeps.arm(label, {(evil, "graph"): 0.01}) for label in ("2.9.0", "x|y")}
    text = markdown(sweeps.sweep(arms, broken={"<z>": evil}))
    assert "\n# " not in text
    assert "`a\\|b'c # <d> [e](f)`" in text
    assert "\\<z\\> could not be used" in text
    assert "| x\\|y |" in text


def test_single_operators_have_a_table_of_their_own() -> None:
    text = markdown(sweeps.sweep(sweeps.with_operators(("2.9.0", "2.10.0"), nets=1, operators=4)))
    before, _, folded = text.partition(
        "<details><summary>8 single operators, timed to explain and not judged</summary>\n"
    )
    assert "conv3x3" not in before
    rows = [line for line in folded.splitlines() if "conv3x3[digits,b64," in line]
    assert len(rows) == 8
    assert not any(word in row for row in rows for word in ("slower", "faster", "undecided"))
    assert "No step made a case slower or faster." in folded


def test_build_with_edited_files_says_which() -> None:
    record = sweeps.sweep(sweeps.steady())
    record["builds"][1]["libraries"][EDITED] = "mindspore/nn/layer/conv.py Rl2JrwvmZpAa and 1 more"
    shown = markdown(record)
    assert "* 2.10.0 was edited after installation: mindspore/nn/layer/conv.py Rl2JrwvmZpAa and 1 more" in shown
    assert "edited" not in markdown(sweeps.sweep(sweeps.steady()))


def test_change_of_ordinary_calls_alone_says_so() -> None:
    """The rest is of fastest and ordinary calls."""
    record = sweeps.eventful()
    step = next(verdict for verdict in record["verdicts"] if verdict["label"] == "slower")
    before = markdown({**record, "verdicts": [step]})
    after = markdown({**record, "verdicts": [{**step, "judged_by": "ordinary calls"}]})
    assert before.count("ordinary calls") == 1
    assert after.count("ordinary calls") == 2
    assert "); ordinary calls |" in after


def test_step_is_divided_among_kernels_and_layers() -> None:
    line = next(each for each in markdown(sweeps.eventful()).splitlines() if " more a call. " in each)
    assert line.startswith("* 2.9.0: `unet_forward[digits,b64]` in graph mode takes 3.")
    assert (
        "Its kernels, by their library's own watch: convolution forward 3.33 ms → 400 ms; together 12 % of it." in line
    )
    assert "Its layers, each timed by itself: conv3x3 20.0 ms → 3.30 s, group" in line


def test_step_that_the_medians_do_not_show_is_divided_without_shares() -> None:
    record = sweeps.eventful()
    for one in record["attribution"]:
        one["new"] = one["old"]
    line = next(each for each in markdown(record).splitlines() if " more a call. " in each)
    assert "convolution forward 3.33 ms → 400 ms; the calls' medians are equal." in line
