from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from variantforge.licences.document import tables
from variantforge.licences.table import ROWS

DOCS = Path(__file__).parents[2] / "docs" / "licences.md"
BEGIN, END = "--update-golden -->\n", "<!-- end -->\n"


def test_the_table_in_the_docs_is_fresh(golden: Callable[[Path, str], None]) -> None:
    before, _, rest = DOCS.read_text().partition(BEGIN)
    golden(DOCS, f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}")


def test_every_row_stands_in_it_with_every_reason() -> None:
    text = tables()
    for row in ROWS:
        assert f"[`{row.id}`]({row.url})" in text
        assert all(term.why in text for term in row.terms)
        assert row.outputs is None or row.outputs.why in text
