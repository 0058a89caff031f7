from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from variantforge.errors import DataError, NoSupervisedTokens, StopTokenNotSupervised, WrongSupervisedSpan
from variantforge.stages.tokens import Tokens, prove_supervision, tokenize_row

IM_END = 2
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# What Qwen3 does: an empty think block before the last answer, none in earlier turns, and text before </think> dropped.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content.split('</think>')[-1].strip() + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_STOP = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + THINKING
)
SPACED = THINKING.replace("'<|im_end|>\n'", "' <|im_end|>\n'")
EVERYTHING = (
    "{% generation %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% endgeneration %}"
)
CONTENT_ONLY = MARKED.replace(" + '<|im_end|>' }}{% endgeneration %}", " }}{% endgeneration %}{{ '<|im_end|>' }}")


def row(*turns: tuple[str, str], **other: Any) -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"id": "0123456789abcdef", "source": "chats", "messages": messages, **other}


def learned(tokenizer: Any, data: dict[str, Any]) -> list[str]:
    """The supervised stretches as text, after the proof."""
    tokens = tokenize_row(tokenizer, data, stop_ids=[IM_END])
    prove_supervision(tokenizer, data, tokens, [IM_END])
    stretches, open_ = [], False
    for token, supervised in zip(tokens.ids, tokens.supervised, strict=True):
        if supervised:
            stretches[len(stretches) - open_ :] = [[*(stretches[-1] if open_ else []), token]]
        open_ = supervised
    return [tokenizer.decode(stretch) for stretch in stretches]


CHAT = row(("user", "Hi"), ("assistant", "Hello there."), ("user", "Bye"), ("assistant", "Goodbye."))


def test_answers_and_their_stop_tokens_are_learned_and_nothing_else(tokenizer: Any) -> None:
    """SmolLM2's template puts a system prompt of its own before the first turn."""
    assert learned(tokenizer, CHAT) == ["Hello there.<|im_end|>", "Goodbye.<|im_end|>"]


def test_templates_that_mark_answers_give_the_same(tokenizer: Any) -> None:
    tokenizer.chat_template = MARKED
    assert learned(tokenizer, CHAT) == ["Hello there.<|im_end|>", "Goodbye.<|im_end|>"]


def test_a_mark_that_leaves_the_stop_token_out_is_stretched_to_it(tokenizer: Any) -> None:
    tokenizer.chat_template = CONTENT_ONLY
    assert learned(tokenizer, CHAT) == ["Hello there.<|im_end|>", "Goodbye.<|im_end|>"]


def test_a_mark_around_everything_is_not_believed(tokenizer: Any) -> None:
    tokenizer.chat_template = EVERYTHING
    assert learned(tokenizer, CHAT) == ["Hello there.<|im_end|>", "Goodbye.<|im_end|>"]


def test_a_template_that_writes_the_last_turn_differently_is_followed(tokenizer: Any) -> None:
    """The empty think block is what the model must write first, so it is learned."""
    tokenizer.chat_template = THINKING
    assert learned(tokenizer, CHAT) == ["Hello there.<|im_end|>", "<think>\n\n</think>\n\nGoodbye.<|im_end|>"]


def test_a_template_that_drops_a_part_of_the_answer_is_told_of(tokenizer: Any) -> None:
    tokenizer.chat_template = THINKING
    with pytest.raises(WrongSupervisedSpan, match="row 0123456789abcdef of 'chats'"):
        learned(tokenizer, row(("user", "Hi"), ("assistant", "<think>hm</think>Hello")))


def test_white_space_the_template_strips_is_no_difference(tokenizer: Any) -> None:
    tokenizer.chat_template = THINKING
    assert learned(tokenizer, row(("user", "Hi"), ("assistant", "\n  Hello \n")))[-1].endswith("Hello<|im_end|>")


def test_white_space_before_the_stop_token_is_learned_with_it(tokenizer: Any) -> None:
    tokenizer.chat_template = SPACED
    assert learned(tokenizer, CHAT)[0] == "Hello there. <|im_end|>"


@pytest.mark.parametrize(
    "answer", ["\nyes", "  indented", "🎉 done 🎉", "x", "", "def f():\n    return 1\n\n", "日本語"]
)
def test_merges_over_the_border_lose_nothing_of_the_answer(tokenizer: Any, answer: str) -> None:
    (text,) = learned(tokenizer, row(("user", "Go"), ("assistant", answer)))
    assert text.removesuffix("<|im_end|>").endswith(answer)
    assert not text.removesuffix("<|im_end|>").removesuffix(answer).strip()


def test_a_chat_that_begins_with_the_assistant_is_learned_too(tokenizer: Any) -> None:
    data = row(("assistant", "How can I help?"), ("user", "Not"), ("assistant", "Well."))
    assert learned(tokenizer, data) == ["How can I help?<|im_end|>", "Well.<|im_end|>"]


def test_no_answer_means_no_supervised_tokens(tokenizer: Any) -> None:
    with pytest.raises(NoSupervisedTokens, match="row 0123456789abcdef of 'chats'"):
        learned(tokenizer, row(("user", "Hi")))


def test_a_template_without_a_stop_token_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = NO_STOP
    with pytest.raises(StopTokenNotSupervised, match="not followed by a stop token"):
        learned(tokenizer, CHAT)


def test_a_stop_token_cut_from_the_mask_is_found(tokenizer: Any) -> None:
    tokens = tokenize_row(tokenizer, CHAT, stop_ids=[IM_END])
    without = [learn and token != IM_END for token, learn in zip(tokens.ids, tokens.supervised, strict=True)]
    with pytest.raises(StopTokenNotSupervised):
        prove_supervision(tokenizer, CHAT, Tokens(tokens.ids, without), [IM_END])


def test_a_shifted_mask_is_found(tokenizer: Any) -> None:
    tokens = tokenize_row(tokenizer, CHAT, stop_ids=[IM_END])
    for shift in (-1, 1, 3):
        moved = [tokens.supervised[(place + shift) % len(tokens.ids)] for place in range(len(tokens.ids))]
        with pytest.raises((WrongSupervisedSpan, StopTokenNotSupervised)):
            prove_supervision(tokenizer, CHAT, Tokens(tokens.ids, moved), [IM_END])


def test_a_stop_token_written_out_inside_an_answer_is_refused(tokenizer: Any) -> None:
    with pytest.raises(WrongSupervisedSpan):
        learned(tokenizer, row(("user", "Hi"), ("assistant", "one<|im_end|>two")))


def test_what_the_template_refuses_is_told_in_its_own_words(tokenizer: Any) -> None:
    tokenizer.chat_template = NO_SYSTEM
    with pytest.raises(DataError, match=r"refuses row 0123456789abcdef(.|\n)*System role not supported"):
        learned(tokenizer, row(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")))


def test_a_base_without_a_template_is_told_of(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(DataError, match="row 0123456789abcdef of 'chats' is a chat, and the base has no chat template"):
        learned(tokenizer, CHAT)


def test_templates_cannot_reach_out_of_their_sandbox(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(DataError, match="refuses"):
        learned(tokenizer, CHAT)


def test_text_is_learned_whole_and_ends_with_eos(tokenizer: Any) -> None:
    data = {"id": "0123456789abcdef", "text": "Once upon a time."}
    tokens = tokenize_row(tokenizer, data, stop_ids=[IM_END])
    prove_supervision(tokenizer, data, tokens, [IM_END])
    assert tokenizer.decode(tokens.ids) == "Once upon a time.<|im_end|>"
    assert tokens.supervised == [False] + [True] * (len(tokens.ids) - 1)
    again = tokenize_row(tokenizer, {**data, "text": "Once upon a time.<|im_end|>"}, stop_ids=[IM_END])
    assert again == tokens


def test_a_doubled_bos_is_refused(tokenizer: Any) -> None:
    data = {"id": "0123456789abcdef", "text": "<|im_start|><|im_start|>Once"}
    with pytest.raises(WrongSupervisedSpan, match="twice"):
        prove_supervision(tokenizer, data, tokenize_row(tokenizer, data, stop_ids=[IM_END]), [IM_END])


def test_the_tokens_are_those_of_inference(tokenizer: Any, tmp_path: Path) -> None:
    tokens = tokenize_row(tokenizer, CHAT, stop_ids=[IM_END])
    assert tokens.ids == list(tokenizer.apply_chat_template(CHAT["messages"], return_dict=True)["input_ids"])
