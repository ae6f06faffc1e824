"""The page of what is covered is that of the code as it is, and a reader finds it."""

from __future__ import annotations

from pathlib import Path

from verification.check import select
from verification.coefficients import COEFFICIENTS
from verification.coverage import grouped, page, write
from verification.mutants import load_mutants

ROOT = Path(__file__).parent.parent


def test_page_is_up_to_date() -> None:
    """If this fails: python -c "from verification.coverage import write; write('docs/coverage.md')"."""
    assert (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8") == page()


def test_readme_names_it() -> None:
    assert "(docs/coverage.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_check_has_one_row_with_claim_source_level_tolerance_and_mistakes() -> None:
    rows = [line.split(" | ") for line in page().splitlines() if line.startswith("| ")]
    for check in select("full"):
        (row,) = [cells for cells in rows if cells[0] == f"| {check.id}"]
        assert len(row) == 6
        assert all(cell.strip(" |") for cell in row), check.id


def test_every_coefficient_has_a_row_with_the_check_that_notices_the_smallest_error() -> None:
    made = page()
    assert all(f"| `{coefficient}` | " in made for coefficient in COEFFICIENTS)


def test_mistakes_made_from_a_table_are_listed_by_what_they_bend() -> None:
    assert grouped(["M12", "q_step.eps:squared", "M13", "q_step.eps:late"]) == "M12, q_step.eps (squared, late), M13"


def test_pipes_in_a_claim_do_not_break_the_table(tmp_path: Path) -> None:
    write(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == page(select("full"), load_mutants())
    assert "KL(N_1 \\|\\| N_2)" in page()
