"""Whatever people write: a row is refused by name, or exactly its answers are learned."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.templates.families import FAMILIES, Family
from variantforge.errors import StepError
from variantforge.stages.tokens import prove_supervision, tokenize_completion, tokenize_row
from variantforge.stages.tokens.rows import runs_of
from variantforge.stages.tokens.template import on_one_day

TAGS = ("<think>", "</think>", "<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>", "<|user|>", "<|end|>")
ODD = ("\n", "\n\n", " ", "  ", "{{ messages }}", "{", "}", '"', "\\", "日本", "é", "🎉", "\u2028", "None", "[/INST]")
NASTY = (*TAGS, *ODD, "a", "Sunny.", "assistant", "VFPIECE000X", "VFPIECE", "<tool_response>", "/nothink")
texts = st.lists(st.sampled_from(NASTY), min_size=1, max_size=6).map("".join)
asked = texts.map(lambda text: "question: " + text)
families = st.sampled_from([family for family in FAMILIES if family.name != "MiniCPM 2B"])


@cache
def tokenizer_of(family: Family) -> Any:
    return family.tokenizer()


@settings(max_examples=80, deadline=None)
@given(families, st.lists(st.tuples(asked, texts, st.none() | texts), min_size=1, max_size=3), st.booleans())
def test_a_row_is_refused_or_its_answers_are_learned(
    family: Family, turns: list[tuple[str, str, str | None]], tools: bool
) -> None:
    messages: list[dict[str, Any]] = []
    for question, answer, call in turns:
        messages.append({"role": "user", "content": question})
        if call and tools:
            function = {"name": "look", "arguments": {"text": call}}
            calls = [{"type": "function", "id": "call12345", "function": function}]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
            messages.append({"role": "tool", "content": "found: " + call, "name": "look", "tool_call_id": "call12345"})
        thought = {"reasoning_content": call} if call and not tools else {}
        messages.append({"role": "assistant", "content": answer, **thought})
    tokenizer = tokenizer_of(family)
    stops, row = family.stop_ids(tokenizer), {"id": "1", "source": "laws", "messages": messages}
    try:
        tokens = tokenize_row(tokenizer, row, stop_ids=stops)
        prove_supervision(tokenizer, row, tokens, stops)
    except StepError:
        return
    runs = runs_of(tokens.supervised)
    answers = [message for message in messages if message["role"] == "assistant"]
    assert len(runs) == len(answers)
    for (start, end), message in zip(runs, answers, strict=True):
        learned = str(tokenizer.decode(tokens.ids[start:end]))
        assert "".join(message["content"].rpartition("</think>")[2].split()) in "".join(learned.split())
        assert "question:" not in learned
        assert "found: " not in learned or "found: " in message["content"]
    seen = str(tokenizer.decode([id for id, counts in zip(tokens.ids, tokens.supervised, strict=True) if not counts]))
    assert seen.count("question:") == len(turns)


@settings(max_examples=50, deadline=None)
@given(families, asked, texts)
def test_an_answer_is_refused_or_stands_whole_behind_its_prompt(family: Family, question: str, answer: str) -> None:
    tokenizer = tokenizer_of(family)
    prompt, said = [{"role": "user", "content": question}], [{"role": "assistant", "content": answer}]
    try:
        before, after = tokenize_completion(tokenizer, prompt, said, stop_ids=family.stop_ids(tokenizer))
    except StepError:
        return
    whole = tokenizer.apply_chat_template([*prompt, *said], tokenize=False, chat_template=on_one_day(family.text))
    text = str(tokenizer.decode(before + after, skip_special_tokens=False))
    assert whole.startswith(text.removesuffix("<|user|>"))
    assert "question:" in str(tokenizer.decode(before))
    assert "question:" not in str(tokenizer.decode(after))
    assert after[-1] in family.stop_ids(tokenizer)
