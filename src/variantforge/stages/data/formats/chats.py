"""Chats and plain texts: what supervised training learns from."""

from __future__ import annotations

from typing import Any

from variantforge.stages.data.formats.order import conversation
from variantforge.stages.data.formats.prompts import prompt_in
from variantforge.stages.data.formats.tools import tools_in
from variantforge.stages.data.formats.turns import OPENAI, SHAREGPT, Message, Speech, holds_turns, messages_in
from variantforge.stages.data.formats.values import Content, Values, optional_text, parsed, text
from variantforge.stages.data.sources import BadRow, kind

_PAIR = ("instruction", "answer")


def messages(fields: Values) -> Content:
    return _chat(fields, "messages", OPENAI)


def sharegpt(fields: Values) -> Content:
    return _chat(fields, "conversations", SHAREGPT)


def _chat(fields: Values, name: str, speech: Speech) -> Content:
    turns = messages_in(fields[name], name, speech)
    return conversation(turns, optional_text(fields, "system"), tools_in(fields.get("tools")))


def alpaca(fields: Values) -> Content:
    """``instruction`` and ``input`` become one user turn, after the pairs of ``history``."""
    instruction, more = text(fields["instruction"], "instruction"), optional_text(fields, "input")
    asked = f"{instruction}\n\n{more}" if more else instruction
    turns = [*_history(fields.get("history")), *_pair(asked, text(fields["output"], "output"))]
    return conversation(turns, optional_text(fields, "system"))


def _history(value: Any) -> list[Message]:
    """Earlier turns as [[instruction, answer], ...]."""
    if value is None or value == "":
        return []
    pairs = parsed(value, "history")
    if not isinstance(pairs, list):
        raise BadRow("history is not a list", f"history is {kind(pairs)}, not a list of pairs")
    turns: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRow("history is not made of pairs", f"history {number}: not a pair [instruction, answer]")
        asked, answer = (text(part, what, f"history {number}: ") for part, what in zip(pair, _PAIR, strict=True))
        turns += _pair(asked, answer)
    return turns


def _pair(asked: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def prompt_completion(fields: Values) -> Content:
    return conversation(prompt_in(fields) + answer_in(fields, "completion"), "", tools_in(fields.get("tools")))


def answer_in(fields: Values, name: str) -> list[Message]:
    """An answer: text, messages, or one message. Raises BadRow."""
    value = fields[name]
    if isinstance(value, dict):
        value = [value]
    if holds_turns(value):
        return messages_in(value, name)
    return [{"role": "assistant", "content": text(value, name)}]


def plain(fields: Values) -> Content:
    return {"text": text(fields["text"], "text")}
