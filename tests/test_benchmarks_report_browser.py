"""The page in real headless Chromium, opened from disk: nothing is loaded, it fits, it can be read."""

from __future__ import annotations

import re
from pathlib import Path

import browser
import full_record
import pytest
import records
from browser import browse, measured, requested

from benchmarks import report

pytestmark = browser.needed


@pytest.fixture(scope="module")
def page() -> str:
    """Every part of the page, of a failed and of passed checks."""
    given = full_record.all_kinds(3, cells=4, processes=2, rounds=12)
    return report.html(report.page([records.verify(records.finding("KL-1", "failed"), records.finding()), *given[1:]]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_page_fits_and_can_be_read(tmp_path: Path, page: str, width: int, scheme: str) -> None:
    seen = measured(tmp_path, page, width, scheme)
    assert seen["dark"] == (scheme == "dark")
    assert seen["overflow"] <= 0
    assert seen["width"] == width
    assert seen["font"][0] >= 12 - 0.01, seen
    assert seen["contrast"][0] >= 4.5, seen
    assert seen["loaded"] == []


def test_no_request_leaves_and_nothing_is_complained_of(tmp_path: Path, page: str) -> None:
    log = tmp_path / "net.json"
    done = browse(tmp_path, page, f"--log-net-log={log}")
    assert "CONSOLE" not in done.stderr
    assert requested(log) == []


def test_a_page_that_loads_something_is_noticed(tmp_path: Path, page: str) -> None:
    """The two guards above trip: a picture from elsewhere is a complaint of the page's own policy."""
    loading = page.replace("</main>", '<img src="http://example.invalid/x.png"></main>')
    assert "CONSOLE" in browse(tmp_path, loading).stderr
    log = tmp_path / "net.json"
    allowed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", loading)
    browse(tmp_path, allowed, f"--log-net-log={log}")
    assert any("example.invalid" in url for url in requested(log))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_can_be_printed_on_white(tmp_path: Path, page: str, scheme: str) -> None:
    """A4 at 96 dots an inch; the rules for print are taken for a screen, since headless Chromium prints to PDF only."""
    assert page.count("@media print") == 1
    on_paper = (
        page.replace("@media print", "@media all")
        .replace("), print {", "), all {")
        .replace("media screen and", "media print and")
    )
    seen = measured(tmp_path, on_paper, 794, scheme)
    assert seen["overflow"] <= 0
    assert seen["contrast"][0] >= 4.5, seen
    assert seen["ground"] == [255, 255, 255]
    printed = tmp_path / "page.pdf"
    browse(tmp_path, page, f"--print-to-pdf={printed}")
    assert printed.read_bytes().startswith(b"%PDF")
