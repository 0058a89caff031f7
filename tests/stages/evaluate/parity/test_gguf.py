"""A GGUF file beside the model it was made from, in llama.cpp: what is right passes, what is spoilt is told by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.parity.spoilt import with_normal_token, with_pre_tokenizer, with_template
from variantforge.errors import EvaluateError, TemplatesDisagree, TokenizersDisagree, WrongTokenType
from variantforge.stages.evaluate.parity.added_tokens import check_added_tokens
from variantforge.stages.evaluate.parity.conversations import CONVERSATIONS
from variantforge.stages.evaluate.parity.llama import Llama, running
from variantforge.stages.evaluate.parity.template import compare_templates
from variantforge.stages.evaluate.parity.tokenizer import compare_tokenizers
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.tokens import load_tokenizer
from variantforge.step import Artifact

Spoil = Callable[[Path, Path], Path]


@pytest.fixture(scope="module")
def tokenizer(merged: Artifact) -> Any:
    return load_tokenizer(merged.path / "model")


@pytest.fixture(scope="module")
def llama(gguf: Artifact) -> Iterator[Llama]:
    with running(gguf.path / "model.gguf") as one:
        yield one


def file_of(llama: Llama) -> GgufFile:
    return GgufFile.open(llama.file)


def test_all_texts_all_chats_and_all_added_tokens_are_equal(tokenizer: Any, llama: Llama):
    rows = compare_tokenizers(tokenizer, llama.tokenize, file="model.gguf")
    assert sum(row["strings"] for row in rows) == sum(row["same_ids"] for row in rows) == 5_000
    added = check_added_tokens(tokenizer, file_of(llama), llama)
    assert len(added) == len(tokenizer.added_tokens_decoder) > 10
    chats, facts = compare_templates(tokenizer, llama, file_of(llama).chat_template)
    assert all(row["same_prompt"] for row in chats)
    known = {chat.name for chat in CONVERSATIONS if not chat.wants}
    assert {row["id"].removeprefix("template:") for row in chats} == known
    assert set(facts["chats_left_out"]) == {chat.name for chat in CONVERSATIONS} - known  # SmolLM2 knows no tools


def test_tokens_come_back_text_by_text(tokenizer: Any, llama: Llama):
    asked = ["", "one", "", "two <|im_end|>", "\n"]
    assert llama.tokenize(asked) == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in asked]


def test_the_stop_token_ends_an_answer_and_a_letter_does_not(tokenizer: Any, llama: Llama):
    assert llama.ends_with(tokenizer.eos_token_id)
    assert not llama.ends_with(tokenizer("a")["input_ids"][0])


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (with_pre_tokenizer("llama-bpe"), TokenizersDisagree, "of 5,000 texts"),
        (with_pre_tokenizer("gpt-2"), TokenizersDisagree, "numbered lines"),
        (with_normal_token("<|im_end|>"), WrongTokenType, "<|im_end|>: its type is NORMAL"),
        (with_template(lambda text: text.replace("<|im_end|>", "", 1)), TemplatesDisagree, "From character"),
    ],
    ids=["pre-tokenizer of Llama 3", "pre-tokenizer of GPT-2", "control token", "template"],
)
def test_a_spoilt_header_is_told_by_name(
    tmp_path: Path, tokenizer: Any, gguf: Artifact, spoil: Spoil, error: type[Exception], words: str
):
    file = spoil(gguf.path / "model.gguf", tmp_path / "spoilt.gguf")
    with running(file) as llama, pytest.raises(error) as caught:
        check_added_tokens(tokenizer, file_of(llama), llama)
        compare_tokenizers(tokenizer, llama.tokenize, file=file.name)
        compare_templates(tokenizer, llama, file_of(llama).chat_template)
    assert words in str(caught.value)
    assert caught.value.exit_code == 6  # type: ignore[attr-defined]


REFUSING = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
DATED = "{% if enable_thinking is defined %}{{ 'think' }}{% endif %}"


@pytest.mark.parametrize(
    ("added", "differ"), [(REFUSING, set()), (DATED, set())], ids=["raises", "thinks where it is told to"]
)
def test_templates_of_other_manners_are_equal(
    tmp_path: Path, merged: Artifact, gguf: Artifact, added: str, differ: set[str]
):
    tokenizer: Any = load_tokenizer(merged.path / "model")
    tokenizer.chat_template = added + tokenizer.chat_template
    file = with_template(lambda text: added + text)(gguf.path / "model.gguf", tmp_path / "other.gguf")
    with running(file) as llama:
        _, facts = compare_templates(tokenizer, llama, file_of(llama).chat_template)
    assert set(facts["chats_that_differ"]) == differ


def test_a_file_whose_template_refuses_every_chat_is_one_that_llama_cpp_cannot_run(tmp_path: Path, gguf: Artifact):
    spoil = with_template(lambda text: "{{ raise_exception('never') }}" + text)
    with (
        pytest.raises(EvaluateError, match="cannot run"),
        running(spoil(gguf.path / "model.gguf", tmp_path / "never.gguf")),
    ):
        pass
