"""The page: verdict first, every number derivable from the records it carries, nothing loaded, everything escaped."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
import records

from benchmarks import formats, report, summary
from benchmarks.measurement import BenchmarkError

GOOD = (records.verify(records.finding()), records.bench(records.measurement(), records.measurement(process=1)))


def document(*given: records.Record) -> str:
    return report.html(report.page(given))


def visible(page: str) -> str:
    """What a reader sees: the text without scripts, styles and tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def first_line(*given: records.Record) -> str:
    return report.headline(report.page(given))


def test_first_line_says_correct_and_how_fast() -> None:
    line = first_line(*GOOD)
    assert line.startswith("Correct on this machine: 1 check on 1 subject passed.")
    assert "unet_forward[cifar10,b4] takes 510 ms" in line
    assert "UNVERIFIED" not in line


def test_first_line_says_incorrect_when_a_check_failed() -> None:
    line = first_line(records.verify(records.finding(), records.finding("KL-1", "failed")), GOOD[1])
    assert line.startswith("Incorrect on this machine: 1 failed, 1 of 2 findings passed.")
    assert "UNVERIFIED: unet_forward" in line


def test_skipped_checks_are_never_called_correct() -> None:
    assert first_line(records.verify(records.finding(), records.finding("NET-1", "skipped"))).startswith("Not fully")


def test_nothing_run_is_never_called_correct() -> None:
    assert first_line(records.verify()).startswith("Not verified")
    assert first_line(records.bench(records.measurement())).startswith("Not verified")


def test_colour_says_correct_incorrect_or_neither() -> None:
    """Red is for what failed: a page of timings alone, or with a check left out, is not wrong."""
    passed, failed, skipped = (records.finding("KL-1", status) for status in ("passed", "failed", "skipped"))
    found = [document(records.verify(*given), GOOD[1]) for given in ((passed,), (passed, failed), (passed, skipped))]
    found.append(document(GOOD[1]))
    assert [re.search(r"<h1[^>]*>", page)[0] for page in found] == [  # type: ignore[index]  # each page has one
        "<h1>", '<h1 class="bad">', '<h1 class="open">', '<h1 class="open">',
    ]  # fmt: skip


def test_every_printed_timing_is_derived_from_the_embedded_records() -> None:
    page = document(*GOOD)
    (bench,) = [record for record in report.embedded(page) if record["kind"] == "bench"]
    (row,) = summary.rows(bench)
    assert row.interval is not None
    for text in (
        formats.seconds(row.seconds),
        f"{formats.seconds(row.interval[0])} … {formats.seconds(row.interval[1])}",
        f"{formats.number(row.rate)} images/s",
        formats.seconds(row.compile_seconds),
        formats.size(row.peak_rss_bytes),
    ):
        assert text in visible(page)


def test_embedded_records_are_the_given_ones() -> None:
    assert report.embedded(document(*GOOD)) == json.loads(json.dumps(list(GOOD)))


def test_page_loads_nothing() -> None:
    page = document(*GOOD)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", re.sub(r"xlink:href=\"#", "", page))
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?#)", page)
    assert len(page.encode()) < 2_000_000


def test_whatever_is_shown_is_escaped() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    bad = records.finding(evil, "failed", subject=evil, where=evil, reason=evil, diagnosis=evil, reproduce=evil)
    page = document(records.verify(bad), records.bench(records.measurement(case=evil), cpu=evil))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("<script") == 1


def test_names_are_not_read_as_formulae() -> None:
    assert "$x^" in document(records.verify(records.finding("$x^")))


def test_invalid_case_shows_its_reason_and_no_number() -> None:
    page = visible(document(records.bench(records.measurement(seconds=[], invalid="zeros came back"))))
    assert "INVALID zeros came back" in page
    assert "images/s" not in page


def test_absent_device_is_said_with_its_reason() -> None:
    assert "unavailable: no GPU" in visible(document(*GOOD))


def test_infinite_ratio_is_shown() -> None:
    assert "inf" in visible(document(records.verify(records.finding(status="failed", ratio="inf", observed="nan"))))


def test_newer_record_of_a_kind_counts() -> None:
    old = {**records.verify(records.finding(status="failed")), "created": "2020-01-01T00:00:00+00:00"}
    assert first_line(GOOD[0], old).startswith("Correct")


def test_markdown_has_a_row_for_each_cell_and_survives_pipes() -> None:
    text = report.markdown(report.page([records.bench(records.measurement(seconds=[], invalid="a|b\nc"))]))
    assert r"INVALID: a\|b c" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[1]", "not a record"),
        ('{"schema": 1, "kind": "poem"}', "kind 'poem'"),
        ('{"schema": 99, "kind": "bench"}', "schema 99"),
    ],
)
def test_foreign_file_is_refused_in_one_sentence(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(content)
    with pytest.raises(BenchmarkError, match=told) as error:
        report.read([file])
    assert str(file) in str(error.value)


def test_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    report.write(target, "old")
    with pytest.raises(UnicodeEncodeError):
        report.write(target, "\ud800")
    assert target.read_text() == "old"


def test_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="cannot write"):
        report.write(tmp_path / "absent" / "report.html", "x")


def test_markdown_shows_a_failure_with_its_claim_and_a_block_to_copy() -> None:
    failed = records.finding("KL-1", "failed", where="a | b", reason="got *1*\n for 2", diagnosis="square root missing")
    about = {"KL-1": {"claim": "KL is <= nothing.", "source": "Ho et al. 2020", "level": 1, "tolerance": "T1"}}
    text = report.markdown(report.page([{**records.verify(failed, records.finding()), "checks": about}]))
    assert "- **KL-1** on linear-1000: failed. KL is \\<= nothing. (Ho et al. 2020)." in text
    assert "a \\| b; error 5.00e-08, allowed 1.00e-07; got \\*1\\* for 2; square root missing" in text
    assert "\n  ```\n  ddpm-bench verify --only KL-1\n  ```\n" in text


def test_markdown_groups_skips_and_lists_slack_bounds() -> None:
    reason = "the subject has no network"
    found = [records.finding(each, "skipped", ratio=None, reason=reason) for each in ("NET-1", "NET-2", "NET-1")]
    slack = [{"check": "KL-3", "ratio": 5e-8, "subjects": 6}]
    text = report.markdown(report.page([{**records.verify(*found), "slack": slack}]))
    assert f"- skipped, as {reason}: NET-1, NET-2\n" in text
    assert "Bounds that no subject used to a thousandth: KL-3 (5.00e-08)." in text


def test_page_lists_slack_bounds_and_does_without_them() -> None:
    slack = [{"check": "KL-3", "ratio": 5e-8, "subjects": 6}]
    assert "no subject used to a thousandth: KL-3 ." in visible(
        document({**records.verify(records.finding()), "slack": slack})
    )
    assert "to a thousandth" not in visible(document(records.verify(records.finding())))
