"""The page of a sweep in real headless Chromium: it fits from a phone to a desk, can be read, and loads nothing."""

from __future__ import annotations

from pathlib import Path

import browser
import pytest
import sweeps
from browser import browse, measured, requested

from benchmarks import versions_page

pytestmark = browser.needed


@pytest.fixture(scope="module")
def page() -> str:
    """Every part of the page."""
    return versions_page.html(sweeps.eventful())


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
    assert "CONSOLE" not in browse(tmp_path, page, f"--log-net-log={log}").stderr
    assert requested(log) == []
