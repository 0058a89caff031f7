"""What is learned, family by family: proven on every kind of chat, held by a golden file, and told in the docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.templates.families import FAMILIES, Family
from variantforge.errors import DataError, StepError, StopTokenNotSupervised, WrongSupervisedSpan
from variantforge.stages.tokens import Tokens, prove_supervision, tokenize_completion, tokenize_prompt, tokenize_row
from variantforge.stages.tokens.rows import runs_of
from variantforge.stages.tokens.template import chat_of, on_one_day
from variantforge.stages.tokens.turns import write

REPO = Path(__file__).parents[3]
LEARNED = REPO / "tests" / "templates" / "learned.txt"
TABLE = REPO / "docs" / "templates.md"
Message = dict[str, Any]


def turn(role: str, content: str = "", **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def call(id: str, city: str) -> Message:
    return {"type": "function", "id": id, "function": {"name": "weather", "arguments": {"city": city}}}


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}}]
SYSTEM, ASKED, SUNNY = turn("system", "Be brief, friend."), turn("user", "How warm is it?"), turn("assistant", "Sunny.")
AGAIN, RAINY = turn("user", "And tomorrow?"), turn("assistant", "Rainy, alas.")
CALL = turn("assistant", tool_calls=[call("call12345", "Paris")])
TWO_CALLS = turn("assistant", tool_calls=[call("call12345", "Paris"), call("call67890", "Rome")])
WARM = turn("tool", "21 degrees", name="weather", tool_call_id="call12345")
COLD = turn("tool", "9 degrees", name="weather", tool_call_id="call67890")
THOUGHT = {"reasoning_content": "It is July."}

CHATS: dict[str, list[Message]] = {
    "one turn": [ASKED, SUNNY],
    "two turns": [ASKED, SUNNY, AGAIN, RAINY],
    "system": [SYSTEM, ASKED, SUNNY],
    "tools": [ASKED, CALL, WARM, SUNNY],
    "system and tools": [SYSTEM, ASKED, CALL, WARM, SUNNY, AGAIN, RAINY],
    "ends with a call": [ASKED, CALL],
    "answers in a row": [ASKED, CALL, WARM, SUNNY, RAINY],
    "a call in the text": [ASKED, turn("assistant", "weather(Paris)"), WARM, SUNNY],
    "two calls": [ASKED, TWO_CALLS, WARM, COLD, SUNNY],
    "text and a call": [ASKED, {**CALL, "content": "Let me look."}, WARM, SUNNY],
    "thinking": [ASKED, SUNNY | THOUGHT],
    "thinking twice": [ASKED, SUNNY | THOUGHT, AGAIN, RAINY | {"reasoning_content": "It is autumn."}],
    "thinking in the content": [ASKED, turn("assistant", "<think>\nIt is July.\n</think>\n\nSunny.")],
    "thinking and a call": [ASKED, CALL | THOUGHT, WARM, SUNNY | {"reasoning_content": "So be it."}],
}


# Where a prompt still shows thoughts that the template cuts as soon as an answer follows.
REWRITTEN = {("gpt-oss", "thinking and a call"), ("Qwen3", "answers in a row")}


def row_of(messages: list[Message]) -> dict[str, Any]:
    called = any("tool_calls" in message for message in messages)
    return {"id": "0123456789abcdef", "messages": messages} | ({"tools": TOOLS} if called else {})


@cache
def tokenizer_of(family: Family) -> Any:
    return family.tokenizer()


def tokenized(family: Family, messages: list[Message]) -> Tokens:
    tokenizer, row = tokenizer_of(family), row_of(messages)
    stops = family.stop_ids(tokenizer)
    tokens = tokenize_row(tokenizer, row, stop_ids=stops)
    prove_supervision(tokenizer, row, tokens, stops)
    return tokens


def decoded(family: Family, ids: list[int]) -> str:
    return str(tokenizer_of(family).decode(ids, skip_special_tokens=False))


def learned(family: Family, chat: str) -> list[str] | str:
    """The learned stretches as text, or the error and its first sentence."""
    try:
        tokens = tokenized(family, CHATS[chat])
    except StepError as error:
        return f"{type(error).__name__}: {error.what}"
    return [decoded(family, tokens.ids[start:end]) for start, end in runs_of(tokens.supervised)]


def learnable(family: Family) -> Iterator[tuple[str, Tokens]]:
    for name, messages in CHATS.items():
        try:
            yield name, tokenized(family, messages)
        except StepError:
            continue


families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_what_is_learned_of_every_kind_of_chat(golden: Callable[[Path, str], None]) -> None:
    golden(LEARNED, "\n".join(_listed(family) for family in FAMILIES))


def _listed(family: Family) -> str:
    lines = [family.name]
    for chat in CHATS:
        found = learned(family, chat)
        lines += [f"  {chat}", *(f"    {line}" for line in ([found] if isinstance(found, str) else map(repr, found)))]
    return "\n".join(lines) + "\n"


@families
def test_only_what_the_assistant_says_is_learned_and_all_of_it(family: Family) -> None:
    for name, tokens in learnable(family):
        seen = [id for id, counts in zip(tokens.ids, tokens.supervised, strict=True) if not counts]
        taught = [id for id, counts in zip(tokens.ids, tokens.supervised, strict=True) if counts]
        for message in CHATS[name]:
            ours, other = decoded(family, taught), decoded(family, seen)
            if message["role"] == "assistant":
                assert message["content"].rpartition("</think>")[2].strip() in ours, name
                assert message["content"] not in other or not message["content"], name
            else:
                assert message["content"] in other, name
                assert message["content"] not in ours, name


@families
def test_the_tokens_are_those_of_inference_with_at_most_a_stop_token_more(family: Family) -> None:
    tokenizer = tokenizer_of(family)
    for name, tokens in learnable(family):
        row = row_of(CHATS[name])
        asked = {"chat_template": on_one_day(family.text), "return_dict": True}
        ids = list(tokenizer.apply_chat_template(row["messages"], row.get("tools"), **asked)["input_ids"])
        assert tokens.ids[: len(ids)] == ids
        assert len(tokens.ids) == len(ids) or tokens.ids[len(ids) :] in [[id] for id in family.stop_ids(tokenizer)]
        if family.bos and family.name != "SmolLM2":  # its BOS begins every turn
            assert tokens.ids.count(tokenizer.bos_token_id) == ("bos_token" in family.text)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.training], ids=lambda family: family.name)
def test_trls_own_marks_agree(family: Family) -> None:
    """TRL's training templates are a second witness, wherever they write the very same text as the model's own."""
    agreed = [name for name, tokens in learnable(family) if _agrees(family, name, tokens)]
    assert {"two turns", "system"} - set(agreed) <= ({"two turns"} if family.name == "Qwen3" else set()) | _refused(
        family
    )


def _refused(family: Family) -> set[str]:
    return {chat for chat in CHATS if isinstance(learned(family, chat), str)}


def _agrees(family: Family, name: str, tokens: Tokens) -> bool:
    """True where the texts are equal and the marks too, but for line ends, headers, and ends that are no stop."""
    tokenizer, row = tokenizer_of(family), row_of(CHATS[name])
    training = on_one_day(str(family.training))
    marked = {"chat_template": training, "return_assistant_tokens_mask": True, "return_dict": True}
    theirs = tokenizer.apply_chat_template(row["messages"], row.get("tools"), **marked)
    if list(theirs["input_ids"]) != tokens.ids:
        return False
    more = {"", "<|end|>", "<|endoftext|>", "<｜Assistant｜>", "<|start|>assistant", "<|end|><|start|>assistant"}
    more |= {"<｜tool▁outputs▁end｜>"}
    pairs = list(zip(tokens.supervised, theirs["assistant_masks"], strict=True))
    assert not any(ours and not marked for ours, marked in pairs), f"{name}: more is learned than marked"
    for start, end in runs_of([marked and not ours for ours, marked in pairs]):
        assert decoded(family, tokens.ids[start:end]).strip() in more, f"{name}: marked, and not learned"
    return True


@families
def test_a_prompt_and_its_answer_are_the_whole_chat(family: Family) -> None:
    tokenizer = tokenizer_of(family)
    stops = family.stop_ids(tokenizer)
    for name, tokens in learnable(family):
        row = row_of(CHATS[name])
        prompt, answer = row["messages"][:-1], row["messages"][-1:]
        asked, said = tokenize_completion(tokenizer, prompt, answer, row.get("tools"), stop_ids=stops)
        end = runs_of(tokens.supervised)[-1][1]
        start = end - len(said)
        assert said == tokens.ids[start:end]
        assert all(tokens.supervised[start:end])
        assert said[-1] in stops
        at_inference = tokenize_prompt(tokenizer, prompt, row.get("tools"))
        if family.name == "DeepSeek-R1-Distill":  # its prompts end with <think>, which answers are written without
            assert at_inference[: len(asked)] == asked
            assert decoded(family, at_inference[len(asked) :]) in ("<think>\n", "")
        else:
            assert asked == at_inference
        assert (asked == tokens.ids[:start]) == ((family.name, name) not in REWRITTEN), name


@families
def test_tools_are_written_or_refused(family: Family) -> None:
    row, tokenizer = {**row_of([SYSTEM, ASKED, SUNNY]), "tools": TOOLS}, tokenizer_of(family)
    if "tools" not in re.sub(r"\{#.*?#\}", "", family.text):
        with pytest.raises(DataError, match=r"leaves out the tools|refuses"):
            tokenize_row(tokenizer, row, stop_ids=family.stop_ids(tokenizer))
    else:
        assert "weather" in decoded(family, tokenize_row(tokenizer, row, stop_ids=family.stop_ids(tokenizer)).ids)


# --- the ends that are special --------------------------------------------------------------------------------------


def named(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def test_an_earlier_turn_of_gpt_oss_is_not_taught_to_end_with_what_does_not_end_an_answer() -> None:
    family = named("gpt-oss")
    tokens = tokenized(family, CHATS["two turns"])
    first, last = runs_of(tokens.supervised)
    assert decoded(family, [tokens.ids[first[1]]]) == "<|end|>"
    assert decoded(family, [tokens.ids[last[1] - 1]]) == "<|return|>"


def test_a_turn_that_ends_where_the_next_begins_is_closed_by_it_also_at_the_end_of_a_chat() -> None:
    family = named("GLM-4.5")
    tokens = tokenized(family, CHATS["two turns"])
    assert [decoded(family, [tokens.ids[end - 1]]) for _, end in runs_of(tokens.supervised)] == ["<|user|>", "<|user|>"]
    called = tokenized(family, CHATS["ends with a call"])
    assert decoded(family, called.ids[-1:]) == "<|observation|>"


def test_a_template_without_an_end_is_refused_whatever_follows() -> None:
    with pytest.raises(StopTokenNotSupervised):
        tokenized(named("MiniCPM 2B"), CHATS["two turns"])


def test_reasoning_that_no_turn_would_show_is_refused_and_cut_from_earlier_turns_it_is_not() -> None:
    earlier = [ASKED, SUNNY | THOUGHT, AGAIN, RAINY]
    assert len(runs_of(tokenized(named("Qwen3"), earlier).supervised)) == 2
    with pytest.raises(
        WrongSupervisedSpan, match=r"leaves out the reasoning of message 2(.|\n)*Next: remove the reasoning"
    ):
        tokenized(named("Qwen2.5"), earlier)


@pytest.mark.parametrize(("name", "day"), [("Llama 3.2", "Today Date: 26 Jul 2024"), ("gpt-oss", "date: 2024-07-26")])
def test_what_is_trained_on_tomorrow_is_what_is_trained_on_today(name: str, day: str) -> None:
    tokens = tokenized(named(name), CHATS["tools"])
    assert day in decoded(named(name), tokens.ids)


# --- the table in the docs ------------------------------------------------------------------------------------------

BEGIN, END = "<!-- found by tests/stages/tokens/test_families.py -->\n", "<!-- end -->\n"


def test_the_docs_hold_what_was_found(golden: Callable[[Path, str], None]) -> None:
    before, _, rest = TABLE.read_text().partition(BEGIN)
    golden(TABLE, before + BEGIN + _table() + END + rest.partition(END)[2])


def _table() -> str:
    head = ["family", "turns found by", "ends with", "system prompt", "tools", "reasoning", "TRL's marks"]
    rows = [head, ["---"] * len(head), *(_line(family) for family in FAMILIES)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def _line(family: Family) -> list[str]:
    found = {chat: learned(family, chat) for chat in CHATS}
    if isinstance(found["one turn"], str):
        return [family.name, "refused: no stop token ends a turn", *["–"] * 5]
    how = {write(tokenizer_of(family), chat_of(row_of(CHATS[name]))).how for name, _ in learnable(family)}
    thinking, twice, two = found["thinking"], found["thinking twice"], found["two calls"]
    reasoning = "refused" if isinstance(thinking, str) else "learned"
    if isinstance(twice, list):
        reasoning += ", of all turns" if "July" in twice[0] else ", of the last turn"
    tools = (
        "refused"
        if isinstance(found["tools"], str)
        else "learned"
        if isinstance(two, list)
        else "learned, one call a turn"
    )
    agree = (
        "none" if family.training is None else f"agree on {sum(_agrees(family, *item) for item in learnable(family))}"
    )
    system = "refused" if isinstance(found["system"], str) else "read"
    return [family.name, " or ".join(sorted(how)), _stop(family), system, tools, reasoning, agree]


def _stop(family: Family) -> str:
    tokens = tokenized(family, CHATS["one turn"])
    stop = decoded(family, [tokens.ids[runs_of(tokens.supervised)[-1][1] - 1]])
    return f"`{stop}`".replace("|", r"\|")
