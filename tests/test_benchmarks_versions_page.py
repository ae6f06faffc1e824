"""The page of a sweep: the newest build first, every number derived from the record it carries, nothing unescaped."""

from __future__ import annotations

import html
import re
from typing import Any

import derivation
import pytest
import sweeps

from benchmarks import report, versions_page


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return sweeps.eventful()


@pytest.fixture(scope="module")
def page(record: dict[str, Any]) -> str:
    return versions_page.html(record)


def visible(page: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def test_every_printed_number_is_derived_again_from_the_page(page: str) -> None:
    assert derivation.faults(page) == []
    reader = derivation.Reader()
    reader.feed(page)
    assert len(reader.marked) > 150


def test_number_that_is_not_the_records_is_noticed(page: str) -> None:
    shown = '"seconds"]\'>34.0 ms<'
    altered = page.replace(shown, shown.replace("34.0", "33.0"), 1) if shown in page else page
    altered = (
        altered if altered != page else re.sub(r"(&#34;seconds&#34;\]\">)34\.0 ms", r"\g<1>33.0 ms", page, count=1)
    )
    assert altered != page
    assert len(derivation.faults(altered)) == 1


def test_verdict_comes_first_and_is_marked_as_bad(page: str, record: dict[str, Any]) -> None:
    first = page[page.index("<main>") :].splitlines()[1]
    assert first.startswith('<h1 class="bad">')
    assert visible(first).strip() == record["headline"]
    steady, few = sweeps.sweep(sweeps.steady()), sweeps.sweep(sweeps.steady())
    few["verdicts"][0] |= {"label": "inconclusive"}
    told = [re.search(r"<h1[^>]*>", versions_page.html(one))[0] for one in (steady, few)]  # type: ignore[index]  # each has one
    assert told == ["<h1>", '<h1 class="open">']


def test_every_step_is_named_in_text_and_picture(page: str) -> None:
    shown = visible(page)
    assert re.search(r"2\.9\.0 : unet_forward\[digits,b64\] in graph mode: 99\.\d times as long \(\d", shown)
    assert re.search(r">2\.10\.0: 12\.\d % faster \(1\d\.\d … 1\d\.\d\)</text>", page)
    assert ">2.10.0: no time</text>" in page


def test_drift_map_shows_every_label_with_its_ulps(page: str) -> None:
    shown = visible(page[page.index('id="numbers"') :])
    assert "identical" in shown
    assert "rounding, 1 ulp" in shown
    assert re.search(r"changed, 166\d\d ulps", shown)
    assert "incomparable" in shown


def test_exchanged_kernels_are_named_with_their_step_and_who_says_nothing(page: str) -> None:
    shown = visible(page[page.index('id="kernels"') :])
    assert "2.8.0 → 2.9.0 unet_forward[digits,b64] convolution forward mb64 gemm:jit → ref:any 5.00 ms 600 ms" in shown
    assert "nightly-of-today-and-more : asking for kernels ended with exit code 1" in shown


def test_output_that_is_no_number_is_said_and_not_counted() -> None:
    bad = sweeps.OUTPUT.copy()
    bad[0, 0] = float("nan")
    page = versions_page.html(sweeps.sweep(sweeps.steady(), outputs={"2.10.0": bad}))
    assert "changed, a number is none" in visible(page)
    assert derivation.faults(page) == []


def test_attribution_is_there_when_layers_were_timed_and_only_then(page: str) -> None:
    shown = visible(page[page.index('id="attribution"') :])
    assert re.search(r"conv3x3 2 20\.0 ms 3\.30 s 3\.28 s 97\.\d %", shown)
    assert re.search(r"The layers by themselves sum to 97\.\d % of it", shown)
    assert re.search(r"The kernels in the call sum to \d+\.\d % of the difference", shown)
    assert "left over" in shown
    assert "attribution" not in versions_page.html(sweeps.sweep(sweeps.steady()))


def test_unusable_builds_libraries_and_command_are_shown(page: str) -> None:
    shown = visible(page)
    assert "2.11.0 cannot be installed: there is no version of mindspore==2.11.0" in shown
    assert "libdnnl.so.2 Rl2J libdnnl.so.3 Rl2J" in shown
    assert sweeps.COMMAND in shown


def test_differing_environments_stand_beside_each_other() -> None:
    arms = {**sweeps.steady(("2.9.0",)), "2.10.0": sweeps.arm("2.10.0", sweeps.times(), numpy="1.26.3")}
    assert "numpy 1.26.4 1.26.3" in visible(versions_page.html(sweeps.sweep(arms)))


def test_page_loads_nothing(page: str) -> None:
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", re.sub(r"xlink:href=\"#", "", page))
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?#)", page)


def test_whatever_is_shown_is_escaped() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>$x^"
    arms = {label: sweeps.arm(label, {(evil, "graph"): 0.01}, host=evil) for label in ("2.9.0", evil)}
    page = versions_page.html({**sweeps.sweep(arms, broken={evil + "2": evil}), "notes": [evil], "command": evil})
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("<script") == 1


LABELS = ("2.7.0", "2.7.1", "2.7.1.post1", "2.7.2", "2.8.0", "2.9.0", "2.10.0")


@pytest.fixture(scope="module")
def largest() -> str:
    """Seven builds, 8 whole cases and 120 single operators, with as many workers as noise can ask for."""
    return versions_page.html(sweeps.sweep(sweeps.with_operators(LABELS, processes=27, rounds=2)))


def test_largest_sweep_stays_under_2_mb_and_says_what_it_left_out(largest: str) -> None:
    assert len(largest.encode()) < 2_000_000
    (embedded,) = report.embedded(largest)
    assert set(embedded["arms"]["2.7.0"]) == {"environment"}
    assert "their rounds are in versions.json" in visible(largest)
    assert len(embedded["times"]) == 128 * 7
    assert len(embedded["times"][0]["values"]) == 27


def test_single_operators_are_folded_up_and_have_no_pictures() -> None:
    page = versions_page.html(sweeps.sweep(sweeps.with_operators(("2.9.0", "2.10.0"), nets=1, operators=4)))
    assert page.count("<svg") == 2
    folded = "".join(re.findall(r"<details>.*?</details>", page, re.DOTALL))
    outside = re.sub(r"<details>.*?</details>|<script.*?</script>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert "conv3x3[digits,b64,3-3@8]" in folded
    assert "conv3x3[" not in outside
    assert "% faster" not in visible(folded)
    assert derivation.faults(page) == []


def test_small_sweep_carries_every_round(record: dict[str, Any], page: str) -> None:
    (embedded,) = report.embedded(page)
    assert {key: embedded[key] for key in record} == record
    assert "It holds every round of every worker" in visible(page)
