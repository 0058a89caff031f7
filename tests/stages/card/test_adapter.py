"""What cards say of an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stages.card.made import made
from variantforge.spec.family import AdapterSpec, TrainSpec
from variantforge.stages.card.adapter import train_params, trained_as, vllm_rank


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ({}, "LoRA: rank 16, alpha 32, dropout 0, on `all-linear`"),
        ({"type": "qlora", "r": 8}, "QLoRA (the base in NF4): rank 8, alpha 32, dropout 0, on `all-linear`"),
        (
            {"type": "dora", "quantize_base": "nf4"},
            "DoRA (the base in NF4): rank 16, alpha 32, dropout 0, on `all-linear`",
        ),
        (
            {"type": "rslora", "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
            'rank-stabilized LoRA: rank 16, alpha 32, dropout 0, on `["q_proj"]`; `["lm_head"]` in full',
        ),
        ({"type": "loha", "args": {"r": 4}}, "`loha` of PEFT: `r` = `4`"),
        ({"type": "ia3"}, "`ia3` of PEFT"),
        ({"type": "full"}, ""),
    ],
)
def test_how_it_was_trained_in_words(adapter: dict[str, Any], words: str) -> None:
    assert trained_as(train_params(TrainSpec(adapter=AdapterSpec(**adapter)))["adapter"]) == words


def test_what_a_card_rests_on_is_what_it_was_for_an_adapter_of_old_keys() -> None:
    told = train_params(TrainSpec())["adapter"]
    assert told == {"type": "lora", "r": 16, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}


@pytest.mark.parametrize(
    ("adapter", "rank"),
    [
        ({}, 16),
        ({"type": "qlora", "r": 12}, 16),
        ({"type": "rslora", "r": 64}, 64),
        ({"type": "pissa", "r": 16}, 32),  # saved with the matrices that it started from
        ({"args": {"init_lora_weights": "olora"}, "r": 8}, 16),
        ({"r": 1024}, None),
        ({"type": "dora"}, None),
        ({"type": "loha"}, None),
        ({"modules_to_save": ["lm_head"]}, None),
        ({"target_parameters": "all-experts"}, None),
        ({"args": {"rank_pattern": {"q_proj": 4}}}, None),
    ],
)
def test_only_plain_lora_is_for_servers_that_load_lora(adapter: dict[str, Any], rank: int | None) -> None:
    assert vllm_rank(adapter) == rank


def test_a_repo_is_called_after_lora_only_where_it_holds_one(tmp_path: Path) -> None:
    family = made(tmp_path, {"variants": {"code": {"train": {"adapter": {"type": "loha", "args": {"r": 4}}}}}})
    card = family.card("code", "adapter")
    assert card.startswith("---")
    assert "# Small-code-adapter" in card
    assert "with `loha` of PEFT: `r` = `4`." in card
    assert "PeftModel.from_pretrained(base, repo)" in card
    assert "--enable-lora" not in card
