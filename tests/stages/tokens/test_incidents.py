"""What went wrong elsewhere without an error, planted here: each has a name, and its clean twin passes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.templates.families import FAMILIES
from variantforge.errors import DataError, NoSupervisedTokens, StopTokenNotSupervised, WrongSupervisedSpan
from variantforge.stages.tokens import Tokens, prove_supervision, tokenize_completion, tokenize_prompt, tokenize_row
from variantforge.stages.tokens.rows import runs_of

ASKED, SUNNY = {"role": "user", "content": "How warm is it?"}, {"role": "assistant", "content": "Sunny."}
ROW = {"id": "0123456789abcdef", "source": "chats", "messages": [ASKED, SUNNY, ASKED, SUNNY]}
LLAMA = next(family for family in FAMILIES if family.name == "Llama 3.1")
IGNORED = -100


@pytest.fixture(scope="module")
def llama() -> Any:
    return LLAMA.tokenizer()


@pytest.fixture(scope="module")
def stops(llama: Any) -> list[int]:
    return LLAMA.stop_ids(llama)


@pytest.fixture
def clean(llama: Any, stops: list[int]) -> Tokens:
    tokens = tokenize_row(llama, ROW, stop_ids=stops)
    prove_supervision(llama, ROW, tokens, stops)
    return tokens


def test_a_mask_of_zeros_alone(llama: Any, stops: list[int], clean: Tokens) -> None:
    with pytest.raises(NoSupervisedTokens, match="not one token of row 0123456789abcdef of 'chats'"):
        prove_supervision(llama, ROW, Tokens(clean.ids, [False] * len(clean.ids)), stops)


@pytest.mark.parametrize("turn", [0, 1])
def test_a_stop_token_outside_the_mask(llama: Any, stops: list[int], clean: Tokens, turn: int) -> None:
    end = runs_of(clean.supervised)[turn][1]
    mask = [learned and place != end - 1 for place, learned in enumerate(clean.supervised)]
    with pytest.raises(StopTokenNotSupervised):
        prove_supervision(llama, ROW, Tokens(clean.ids, mask), stops)


@pytest.mark.parametrize("more", [1, 2, 4, 1000], ids=["a token", "two tokens", "its header", "the whole prompt"])
def test_tokens_of_the_prompt_in_the_mask(llama: Any, stops: list[int], clean: Tokens, more: int) -> None:
    start = runs_of(clean.supervised)[0][0]
    mask = [learned or start - more <= place < start for place, learned in enumerate(clean.supervised)]
    with pytest.raises(WrongSupervisedSpan):
        prove_supervision(llama, ROW, Tokens(clean.ids, mask), stops)


def test_an_answer_that_is_not_in_the_mask(llama: Any, stops: list[int], clean: Tokens) -> None:
    start, end = runs_of(clean.supervised)[0]
    mask = [learned and not start <= place < end for place, learned in enumerate(clean.supervised)]
    with pytest.raises(WrongSupervisedSpan, match="are not its answer"):
        prove_supervision(llama, ROW, Tokens(clean.ids, mask), stops)


def test_a_second_bos(llama: Any, stops: list[int], clean: Tokens) -> None:
    assert clean.ids.count(llama.bos_token_id) == 1
    with pytest.raises(WrongSupervisedSpan, match="twice"):
        prove_supervision(llama, ROW, Tokens([clean.ids[0], *clean.ids], [False, *clean.supervised]), stops)
    brought = {**ROW, "messages": [{"role": "user", "content": "<|begin_of_text|>Hi"}, SUNNY]}
    with pytest.raises(WrongSupervisedSpan, match="twice"):
        prove_supervision(llama, brought, tokenize_row(llama, brought, stop_ids=stops), stops)
    with pytest.raises(WrongSupervisedSpan, match="twice"):
        tokenize_prompt(llama, brought["messages"][:1])
    with pytest.raises(WrongSupervisedSpan, match="twice"):
        tokenize_completion(llama, brought["messages"][:1], [SUNNY], stop_ids=stops)


def test_a_text_that_brings_the_bos_that_its_tokenizer_adds(stops: list[int]) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = LLAMA.tokenizer()
    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    plain, brought = {"id": "1", "text": "Once."}, {"id": "1", "text": f"{bos[0]}Once."}
    tokens = tokenize_row(tokenizer, plain, stop_ids=stops)
    prove_supervision(tokenizer, plain, tokens, stops)
    assert tokens.ids.count(bos[1]) == 1
    with pytest.raises(WrongSupervisedSpan, match="twice"):
        prove_supervision(tokenizer, brought, tokenize_row(tokenizer, brought, stop_ids=stops), stops)


def test_a_stop_token_spelled_out_in_a_tool_call(llama: Any, stops: list[int]) -> None:
    """The call would be learned up to there, and to end there."""
    for city, refused in (("Pa<|eot_id|>ris", True), ("Paris", False)):
        call = {"type": "function", "function": {"name": "weather", "arguments": {"city": city}}}
        calling = {"role": "assistant", "content": "", "tool_calls": [call]}
        row = {**ROW, "messages": [ASKED, calling]}
        tokens = tokenize_row(llama, row, stop_ids=stops)
        if not refused:
            prove_supervision(llama, row, tokens, stops)
            continue
        with pytest.raises(WrongSupervisedSpan, match="row 0123456789abcdef"):
            prove_supervision(llama, row, tokens, stops)
        with pytest.raises(WrongSupervisedSpan):
            tokenize_completion(llama, [ASKED], [calling], stop_ids=stops)


def test_a_system_prompt_that_would_be_lost_is_told_of(llama: Any, stops: list[int]) -> None:
    tokenizer = LLAMA.tokenizer()
    tokenizer.chat_template = LLAMA.text.replace("{{- system_message }}", "")
    row = {**ROW, "messages": [{"role": "system", "content": "Be brief, friend."}, *ROW["messages"]]}
    tokenize_row(llama, row, stop_ids=stops)
    with pytest.raises(DataError, match=r"leaves out the text of message 1 \(system\)"):
        tokenize_row(tokenizer, row, stop_ids=stops)


# --- padding with the very token that must be learned: the real collators -----------------------------------------


def test_a_stop_token_that_pads_as_well_stays_in_the_labels(llama: Any, stops: list[int], clean: Tokens) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    short = tokenize_row(llama, {**ROW, "messages": [ASKED, SUNNY]}, stop_ids=stops)
    examples = [{"input_ids": one.ids, "labels": labels(one)} for one in (clean, short)]
    eot = examples[0]["input_ids"][runs_of(clean.supervised)[-1][1] - 1]
    batch = DataCollatorForLanguageModeling(pad_token_id=eot)(examples)
    assert batch["labels"].tolist() == [labels(clean), labels(short) + [IGNORED] * (len(clean.ids) - len(short.ids))]
    assert [row.count(eot) for row in batch["labels"].tolist()] == [2, 1]
    flat = DataCollatorForLanguageModeling(pad_token_id=eot, padding_free=True)(examples)
    assert flat["labels"].flatten().tolist().count(eot) == 3


def test_a_stop_token_that_pads_as_well_counts_in_answers_that_are_compared(llama: Any, stops: list[int]) -> None:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    prompt, chosen = tokenize_completion(llama, [ASKED], [SUNNY], stop_ids=stops)
    _, rejected = tokenize_completion(
        llama, [ASKED], [{"role": "assistant", "content": "No idea at all."}], stop_ids=stops
    )
    row = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
    batch = DataCollatorForPreference(pad_token_id=chosen[-1])([row])
    for ids, mask, answer in zip(batch["input_ids"], batch["completion_mask"], (chosen, rejected), strict=True):
        assert ids[mask.bool()].tolist() == answer


def labels(tokens: Tokens) -> list[int]:
    return [id if learned else IGNORED for id, learned in zip(tokens.ids, tokens.supervised, strict=True)]
