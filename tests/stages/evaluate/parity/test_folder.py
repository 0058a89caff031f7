"""Folders that transformers loads: their config, their head, the ends of their turns, and a fresh process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.subjects import altered, model_artifact
from variantforge.errors import ReloadDiffers, TurnsNotEnded, WeightsDamaged, WrongQuantizationConfig
from variantforge.stages.evaluate.parity.folder import check_head, check_quantization
from variantforge.stages.evaluate.parity.reload import reloading
from variantforge.stages.evaluate.parity.turns import check_turns
from variantforge.stages.models import load_model
from variantforge.stages.tokens import load_tokenizer
from variantforge.step import Artifact


def config_folder(folder: Path, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_merged_weights_carry_no_quantization_config(tmp_path: Path):
    check_quantization(config_folder(tmp_path, model_type="llama"), "")
    left = config_folder(tmp_path, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(WrongQuantizationConfig, match="still carry a quantization_config"):
        check_quantization(left, "")


@pytest.mark.parametrize(
    ("format", "method", "right"),
    [
        ("nf4", "bitsandbytes", True),
        ("nf4", "gptq", False),
        ("nf4", None, False),
        ("w4a16", "compressed-tensors", True),
        ("of a plug-in", "anything", True),
        ("of a plug-in", None, False),
    ],
)
def test_quantized_weights_carry_their_own(tmp_path: Path, format: str, method: str | None, right: bool):
    folder = config_folder(tmp_path, **({"quantization_config": {"quant_method": method}} if method else {}))
    if right:
        check_quantization(folder, format)
    else:
        with pytest.raises(WrongQuantizationConfig, match=f"the {format} folder"):
            check_quantization(folder, format)


def test_a_head_that_is_tied_in_the_config_and_another_in_the_weights_would_be_lost(tmp_path: Path, merged: Artifact):
    check_head(merged.path / "model")

    def own_head(state: dict[str, Any]) -> None:
        state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()

    twice = altered(merged, tmp_path, "twice", own_head)
    check_head(twice.path / "model")  # the same weights, written twice

    def other_head(state: dict[str, Any]) -> None:
        state["lm_head.weight"] = state["model.embed_tokens.weight"].flip(0).clone()

    with pytest.raises(WeightsDamaged, match="would be lost when the merged weights are loaded"):
        check_head(altered(merged, tmp_path, "other", other_head).path / "model")


# --- turns ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer(merged: Artifact) -> Any:
    return load_tokenizer(merged.path / "model")


def test_turns_of_chatml_end(tokenizer: Any):
    rows = check_turns(tokenizer, [tokenizer.eos_token_id], name="it")
    assert [row["sound"] for row in rows] == [1, 1]


def test_a_template_that_always_opens_the_next_turn_is_refused(tokenizer: Any):
    tokenizer.chat_template = tokenizer.chat_template.replace("{% if add_generation_prompt %}", "{% if true %}")
    with pytest.raises(TurnsNotEnded, match="goes on behind an answer's end"):
        check_turns(tokenizer, [tokenizer.eos_token_id], name="it")


def test_an_end_that_stops_nothing_is_counted(tokenizer: Any):
    (other,) = tokenizer("a")["input_ids"]
    assert [row["sound"] for row in check_turns(tokenizer, [other], name="it")] == [0, 1]


# --- a fresh process --------------------------------------------------------------------------------------------------

PROMPTS = [[1, 5, 9, 200], [3, 77]]


def said(folder: Path) -> list[Any]:
    import torch

    model = load_model(folder)
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in PROMPTS]


@pytest.mark.slow
def test_a_fresh_process_says_what_we_do(merged: Artifact):
    with reloading(merged.path / "model", PROMPTS) as fresh:
        rows = fresh.compare(["a", "b"], said(merged.path / "model"))
    assert [(row["id"], row["reloaded"]) for row in rows] == [("reload:a", 1), ("reload:b", 1)]
    assert all(row["reload_kl"] < 0.005 for row in rows)


@pytest.mark.slow
def test_a_folder_that_says_something_else_is_refused(tmp_path: Path, merged: Artifact):
    def other(state: dict[str, Any]) -> None:
        state["model.norm.weight"] = state["model.norm.weight"] * 3

    changed = altered(merged, tmp_path, "changed", other)
    with reloading(changed.path / "model", PROMPTS) as fresh, pytest.raises(ReloadDiffers, match="something else"):
        fresh.compare(["a", "b"], said(merged.path / "model"))


@pytest.mark.slow
def test_a_folder_that_cannot_be_loaded_is_refused_with_the_last_line(tmp_path: Path, merged: Artifact):
    torn = model_artifact(tmp_path, "torn", merged.path / "model")
    (torn.path / "model" / "tokenizer.json").write_text("{")
    with (
        reloading(torn.path / "model", PROMPTS) as fresh,
        pytest.raises(ReloadDiffers, match="cannot be loaded") as told,
    ):
        fresh.compare(["a", "b"], [])
    assert told.value.why
