"""What a card tells of how its data was cleaned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.card import made as by_hand
from tests.stages.card.made import made


def test_near_duplicates_and_contamination_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = {"items": 164, "not_looked_for": 1, "hit": 2, "share": 0.012195, "rows": 5, "dropped": True}
    clean = {**suite, "hit": 0, "share": 0.0, "rows": 0}
    more = {
        "near_duplicates": {"train": 31, "heldout": 2, "of_heldout": 4},
        "contamination": {"python": suite, "./private.jsonl": clean},
    }
    monkeypatch.setitem(by_hand.FACTS, "mix", by_hand.FACTS["mix"] | more)
    text = made(tmp_path).card("code", "merged")
    assert "Dropped as near-duplicates: 33." in text
    assert "Items of `python` found in the rows: 2 of 164, in 5 rows that were dropped." in text
    assert "Items of `./private.jsonl` found in the rows: 0 of 164." in text
