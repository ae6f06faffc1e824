"""The figures printed in docs/clock.md are those that the code gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import clock_figures
import pytest

PAGE = Path(__file__).parent.parent / "docs" / "clock.md"


def printed(title: str) -> list[str]:
    """The table after its mark."""
    if not PAGE.exists():
        pytest.skip("the pages are not part of the wheel")
    return PAGE.read_text(encoding="utf-8").partition(f"<!-- {title} -->\n\n")[2].partition("\n\n")[0].split("\n")


@pytest.mark.parametrize("title", clock_figures.TABLES)
def test_page_has_the_tables_rows(title: str) -> None:
    """Made small here: only what is in which row, not the figures."""
    rows = list(clock_figures.TABLES[title](trials=10))
    assert [row.split("|")[1] for row in printed(title)] == [row.split("|")[1] for row in rows]


def test_page_prints_the_work_of_the_papers_net() -> None:
    assert printed("work") == list(clock_figures.work())


@pytest.mark.slow
@pytest.mark.parametrize(("title", "table"), clock_figures.TABLES.items())
def test_page_prints_what_simulation_gives(title: str, table: Callable[[], Iterable[str]]) -> None:
    assert printed(title) == list(table())
