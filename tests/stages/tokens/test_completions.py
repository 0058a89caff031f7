from __future__ import annotations

from typing import Any

import pytest

from variantforge.errors import DataError, StopTokenNotSupervised, WrongSupervisedSpan
from variantforge.stages.tokens import tokenize_completion, tokenize_prompt

IM_END = 2
PROMPT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
MERGING = (
    "{% for m in messages %}{{ '[' + m.role + ']\n' + m.content + ('<|im_end|>' if m.role == 'assistant' else '') }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '[assistant]\n' }}{% endif %}"
)


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_prompt_and_answer_are_together_the_tokens_of_the_whole_chat(tokenizer: Any) -> None:
    prompt, completion = tokenize_completion(tokenizer, PROMPT, answer("Hello there."), stop_ids=[IM_END])
    assert prompt == tokenize_prompt(tokenizer, PROMPT)
    assert tokenizer.decode(completion) == "Hello there.<|im_end|>"
    whole = tokenizer.apply_chat_template(PROMPT + answer("Hello there."), return_dict=True)["input_ids"]
    assert prompt + completion == list(whole)[: len(prompt + completion)]


def test_the_prompt_is_the_one_of_inference(tokenizer: Any) -> None:
    asked = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert tokenize_prompt(tokenizer, PROMPT) == list(asked)


@pytest.mark.parametrize("text", ["\n\nHello", "\nyes", "  indented", "日本語"])
def test_a_merge_over_the_border_leaves_the_prompt_as_it_is_at_inference(tokenizer: Any, text: str) -> None:
    tokenizer.chat_template = MERGING
    prompt, completion = tokenize_completion(tokenizer, PROMPT, answer(text), stop_ids=[IM_END])
    assert prompt == tokenize_prompt(tokenizer, PROMPT)
    assert tokenizer.decode(completion) == text + "<|im_end|>"


def test_a_completion_is_one_assistant_message(tokenizer: Any) -> None:
    more = [*answer("one"), {"role": "user", "content": "more"}, *answer("two")]
    for completion in (more, [], [{"role": "user", "content": "Hi"}]):
        with pytest.raises(DataError, match="not one assistant message"):
            tokenize_completion(tokenizer, PROMPT, completion, stop_ids=[IM_END])


def test_a_completion_that_does_not_stop_is_refused(tokenizer: Any) -> None:
    with pytest.raises(StopTokenNotSupervised):
        tokenize_completion(tokenizer, PROMPT, answer("Hello"), stop_ids=[7])


def test_a_completion_that_stops_early_is_refused(tokenizer: Any) -> None:
    with pytest.raises(WrongSupervisedSpan):
        tokenize_completion(tokenizer, PROMPT, answer("one<|im_end|>two"), stop_ids=[IM_END])


def test_tools_that_the_template_does_not_write_are_told_of(tokenizer: Any) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    with pytest.raises(DataError, match="leaves out the tools of row 7"):
        tokenize_prompt(tokenizer, PROMPT, tools, name="row 7")
    with pytest.raises(DataError, match="leaves out the tools"):
        tokenize_completion(tokenizer, PROMPT, answer("Hello"), tools, stop_ids=[IM_END])
