"""Which kind of layer made a step is measured in new workers, where kernels do not say; noise is named hardly ever."""

from __future__ import annotations

import re
from typing import Any

import derivation
import numpy as np
import pytest
import sweeps

from benchmarks import attribution, versions_page, versions_text
from benchmarks.arms import Arm
from benchmarks.cases import select
from benchmarks.duel import Bout
from benchmarks.estimate import ALPHA
from benchmarks.implementations import Kernels
from benchmarks.layer_times import wanted
from benchmarks.onednn import Choice, Primitive
from benchmarks.talking import CALLS
from benchmarks.versions_layers import pairs_of, unexplained

OLD, NEW = "nightly-a", "nightly-b"
"""Labels of builds that say nothing of their kernels (`sweeps.asked`)."""

PARTS = wanted(select(sweeps.FORWARD))
KINDS = sorted({str(part.params["kind"]) for part in PARTS})


def bout(*labels: str, layers: bool = True) -> Bout:
    whole = tuple((case, mode) for case in select(f"{sweeps.FORWARD} {sweeps.STEP}") for mode in ("graph", "pynative"))
    parts = tuple((part, "graph") for part in PARTS) if layers else ()
    return Bout(tuple(Arm(label) for label in labels), (*whole, *parts), 8, small_pairs=2)


def slower(forward: float = 0.036, pynative: float = 0.08) -> dict[str, Any]:
    """Two builds, the newer of which is 6 % slower in graph mode unless told otherwise."""
    arms = {OLD: sweeps.arm(OLD, sweeps.times()), NEW: sweeps.arm(NEW, sweeps.times(forward, pynative=pynative))}
    return sweeps.sweep(arms)


def slightly(closer: dict[str, float] | None = None, **slower: float) -> dict[str, Any]:
    """Two builds, the newer surely slower in graph mode, by less than is worth knowing; and `slower` elsewhere."""
    times = {OLD: sweeps.times(), NEW: sweeps.times(0.0348, **slower)}
    arms = {label: sweeps.arm(label, seconds, noise=0.006) for label, seconds in times.items()}
    return sweeps.sweep(arms, closer=closer)


def said(seconds: float, case: str = sweeps.FORWARD) -> dict[str, dict[str, Kernels]]:
    """What both builds say of a convolution that takes the newer one so many seconds more."""

    def of(total: float) -> dict[str, Kernels]:
        kernel = {Primitive("convolution", "forward", "mb64"): Choice("gemm:jit", CALLS, CALLS * total)}
        return {"graph": Kernels("oneDNN", {case: kernel})}

    return {OLD: of(0.01), NEW: of(0.01 + seconds)}


NOTHING: dict[str, dict[str, Kernels]] = {OLD: {}, NEW: {}}


def test_layers_of_an_unexplained_step_are_measured_again_in_its_two_builds() -> None:
    (closer,) = unexplained(slower(), bout(OLD, NEW), NOTHING)
    assert closer.step == (OLD, NEW)
    assert [arm.label for arm in closer.bout.arms] == [OLD, NEW]
    assert [case for case, _ in closer.bout.picks] == list(PARTS)
    assert {mode for _, mode in closer.bout.picks} == {"graph"}
    assert closer.bout.most_pairs == closer.bout.small_pairs == pairs_of(len(KINDS))
    assert closer.bout.plan != bout(OLD, NEW).plan


def test_a_step_smaller_than_what_is_worth_knowing_is_named_and_not_looked_into() -> None:
    arms = {
        label: sweeps.arm(label, sweeps.times(forward), noise=0.006) for label, forward in ((OLD, 0.034), (NEW, 0.0348))
    }
    found = sweeps.sweep(arms)
    assert "slower" in {verdict["label"] for verdict in found["verdicts"]}
    assert unexplained(found, bout(OLD, NEW), NOTHING) == []
    assert unexplained({**found, "effect": 0.015}, bout(OLD, NEW), NOTHING) != []


def test_other_builds_are_left_out() -> None:
    arms = {label: sweeps.arm(label, sweeps.times(s)) for label, s in (("n0", 0.034), ("n1", 0.036), ("n2", 0.036))}
    found = unexplained(sweeps.sweep(arms), bout(*arms), {label: {} for label in arms})
    assert [closer.step for closer in found] == [("n0", "n1")]
    assert [arm.label for arm in found[0].bout.arms] == ["n0", "n1"]


@pytest.mark.parametrize(("share", "explained"), [(0.5, False), (0.85, False), (0.95, True), (1.3, True)])
def test_exchanged_kernels_that_account_for_a_step_are_answer_enough(share: float, explained: bool) -> None:
    """The same kernels in two processes are not: they take other times by a few per cent, as small steps are."""
    changes = [{"step": [OLD, NEW], "case": sweeps.FORWARD}]
    kernels = said(share * (0.036 - 0.034))
    found = unexplained({**slower(), "kernels": {"said": [], "changes": changes}}, bout(OLD, NEW), kernels)
    assert (found == []) is explained
    assert unexplained(slower(), bout(OLD, NEW), kernels) != []


@pytest.mark.parametrize("slower", [{"step": 0.23}, {"pynative": 0.09}])
def test_layers_of_a_slightly_slower_pass_explain_a_slower_case_beside_it(slower: dict[str, float]) -> None:
    """A training step and PyNative mode have no layers of their own to be measured."""
    assert unexplained(slightly(), bout(OLD, NEW), NOTHING) == []
    (closer,) = unexplained(slightly(**slower), bout(OLD, NEW), NOTHING)
    assert [case for case, _ in closer.bout.picks] == list(PARTS)


@pytest.mark.parametrize(("share", "explained"), [(-3.0, False), (0.85, False), (0.95, True), (1.3, True)])
def test_case_beside_a_pass_whose_own_kernels_account_for_its_step_needs_no_layers(
    share: float, explained: bool
) -> None:
    kernels = said(share * (0.23 - 0.21), sweeps.STEP)
    assert (unexplained(slightly(step=0.23), bout(OLD, NEW), kernels) == []) is explained


def test_pass_that_exchanged_kernels_account_for_is_not_looked_into_beside_a_slower_case() -> None:
    changes = [{"step": [OLD, NEW], "case": sweeps.FORWARD}]
    found = {**slower(pynative=0.09), "kernels": {"said": [], "changes": changes}}
    assert unexplained(found, bout(OLD, NEW), said(0.036 - 0.034)) == []


def test_pass_that_was_looked_into_beside_a_slower_case_is_divided_as_well() -> None:
    found = slightly({"group_norm": 1.15}, step=0.23)
    (one,) = found["attribution"]
    assert one["cell"][0] == sweeps.FORWARD
    assert "group\\_norm 17.0 ms → 19." in versions_text.markdown(found)


def test_nothing_is_measured_without_a_step_without_layers_or_in_another_mode() -> None:
    assert unexplained(slower(0.034), bout(OLD, NEW), NOTHING) == []
    assert unexplained(slower(), bout(OLD, NEW, layers=False), NOTHING) == []
    assert unexplained(slower(0.034, 0.09), bout(OLD, NEW), NOTHING) == []


def test_planted_slowdown_of_one_kind_is_named_with_its_interval_and_no_other_is() -> None:
    arms = {OLD: sweeps.arm(OLD, sweeps.times()), NEW: sweeps.arm(NEW, sweeps.times(0.036))}
    found = sweeps.sweep(arms, closer={"group_norm": 1.15})
    (one,) = found["attribution"]
    told = {part["kind"]: part["interval"] for part in one["parts"]}
    assert sorted(told) == KINDS
    assert told["group_norm"][0] > 1.05
    assert all(low < 1 < high for kind, (low, high) in told.items() if kind != "group_norm")
    text = versions_text.markdown(found)
    (line,) = [line for line in text.splitlines() if "Its layers, each timed by itself:" in line]
    assert re.search(r"itself: group\\_norm 17\.0 ms → 19\.\d ms \(\d+ % slower \(\d+ … \d+\)\); together", line)
    assert "conv3x3" not in line
    page = versions_page.html(found)
    assert '"interval"' in page
    assert "<th>new / old</th>" in page[page.index('id="attribution"') :]
    assert derivation.faults(page) == []


def test_that_no_kind_is_told_from_noise_is_said() -> None:
    arms = {OLD: sweeps.arm(OLD, sweeps.times()), NEW: sweeps.arm(NEW, sweeps.times(0.036))}
    text = versions_text.markdown(sweeps.sweep(arms, closer={}))
    assert "Its layers, each timed by itself: none of their kinds is told from noise." in text


def test_two_pairs_give_parts_without_an_interval() -> None:
    assert _named(np.ones((len(KINDS), 2)) * 1.2) == []
    assert len(_named(np.full((len(KINDS), pairs_of(len(KINDS))), 1.2))) == len(KINDS)


def test_noise_names_a_kind_in_two_of_a_hundred_steps_at_most() -> None:
    """2 · K bounds at ALPHA / K each: 2 % of steps, by whatever symmetric noise. Of 1000, 20 are expected at most, and
    more than 36 are seen with probability 0.0003; with bounds at ALPHA each it would be about 200.
    """
    random = np.random.default_rng(20)
    count = pairs_of(len(KINDS))
    false = sum(bool(_named(np.exp(0.05 * random.standard_t(2, (len(KINDS), count))))) for _ in range(1000))
    assert false <= 36
    assert 1 - (1 - 2 * 2.0**-7) ** len(KINDS) > 0.15, "what seven pairs without a correction would do"


def test_kind_that_takes_an_eighth_longer_is_named_amid_noise_of_a_twelfth() -> None:
    """Of 200 steps 191 are expected, and fewer than 178 are seen with probability 0.00003; with one spare pair, 143."""
    random = np.random.default_rng(21)
    noise = 0.08 * random.standard_normal((200, len(KINDS), pairs_of(len(KINDS))))
    noise[:, KINDS.index("group_norm")] += 0.12
    assert sum("group_norm" in _named(np.exp(one)) for one in noise) >= 178


def _named(ratios: np.ndarray[Any, np.dtype[np.float64]]) -> list[str]:
    """The kinds that are told from 1, of which the newer build takes `ratios`, a row for each kind."""
    cell = (sweeps.FORWARD, "CPU", "graph", "stock")

    def record(times: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
        layers = [
            {"case": cell[0], "device": cell[1], "mode": cell[2], "tuning": cell[3], "layer": kind, "kind": kind,
             "seconds": list(row)}
            for kind, row in zip(KINDS, times, strict=True)
        ]  # fmt: skip
        return {**sweeps.arm("n", {cell[0::2][:2]: 0.03}), "layers": layers}  # type: ignore[dict-item]  # a pair of texts

    (found,) = attribution.attribute(record(np.ones_like(ratios)), record(ratios), [cell], {})
    return [part.kind for part in found.parts if part.interval and not part.interval[0] <= 1 <= part.interval[1]]


def test_pairs_are_as_many_as_the_kinds_ask_for() -> None:
    for kinds in range(1, 20):
        assert 2.0 ** -(pairs_of(kinds) - 5) <= ALPHA / kinds < 2.0 ** -(pairs_of(kinds) - 6)
