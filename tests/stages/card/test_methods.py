"""A card tells by what method a variant was trained, in that method's own figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stages.card import made as by_hand
from tests.stages.card.made import made

MARGINS = {"rewards/margins": {"first": 0.0, "last": 0.4206}, "groups": 3}


def card(root: Path, **train: Any) -> str:
    return made(root, {"variants": {"code": {"train": train}}}).card("code", "merged")


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("sft", "SFT with QLoRA"),
        ("dpo", "DPO with QLoRA"),
        ("kto", "KTO with QLoRA"),
        ("continued", "continued pre-training with QLoRA"),
    ],
)
def test_the_method_is_called_by_its_name(tmp_path: Path, method: str, told: str) -> None:
    text = card(tmp_path, method=method)
    assert f"- **Training:** {told}" in text
    assert ("SFT" in text) == (method == "sft")
    assert "What it aims at" not in text


def test_what_a_method_aims_at_is_told_with_its_first_and_last_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(by_hand.FACTS, "train", by_hand.FACTS["train"] | {"objective": MARGINS})
    text = card(tmp_path, method="dpo")
    assert "- **What it aims at**, at the first and the last step logged: `rewards/margins` 0 and 0.4206." in text


def test_where_metrics_are_sent_makes_no_new_card(tmp_path: Path) -> None:
    keys = {
        made(tmp_path / name, {"variants": {"code": {"train": {"args": args}}}}).step("card", "code", "merged").key
        for name, args in {"silent": {}, "told": {"report_to": "tensorboard", "run_name": "mine"}}.items()
    }
    assert len(keys) == 1
