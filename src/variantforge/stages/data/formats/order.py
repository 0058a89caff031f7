"""Whose turn it is: the order that templates can render and that makes sense to learn.

    system?   then   user, assistant [, tool answers, assistant]*   again and again

A tool answers an assistant; one assistant turn may get several answers. Once tools have answered, the assistant may
speak several turns in a row, until the user does. An assistant's calls are answered, unless they are the last turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from variantforge.stages.data.formats.tools import Tool, prove_declared
from variantforge.stages.data.formats.turns import Message
from variantforge.stages.data.formats.values import Content
from variantforge.stages.data.sources import BadRow

_RULE = "user and assistant take turns, and tools answer an assistant"


def prove_order(messages: Sequence[Message]) -> None:
    """Raises BadRow at the first turn that is not one of those expected there."""
    before: Message = {}
    used_tools = False
    for number, message in enumerate(messages, 1):
        expected = _expected(before, used_tools)
        if message["role"] not in expected:
            detail = f"turn {number} is {message['role']}, expected {' or '.join(expected)}: {_RULE}"
            raise BadRow("turns out of order", detail)
        used_tools = message["role"] == "tool" or (used_tools and message["role"] != "user")
        before = message
    _prove_answers(messages)


def _expected(before: Message, used_tools: bool) -> tuple[str, ...]:
    match before.get("role"):
        case None:
            return ("user", "system")
        case "system":
            return ("user",)
        case "user":
            return ("assistant",)
        case "tool":
            return ("assistant", "tool")
        case _ if "tool_calls" in before:
            return ("tool",)
        case _:
            return ("user", "tool", "assistant") if used_tools else ("user", "tool")


def _prove_answers(messages: Sequence[Message]) -> None:
    """No more answers than calls, and none to a call that was not made."""
    open_calls: list[Any] | None = None
    for number, message in enumerate(messages, 1):
        if message["role"] != "tool":
            open_calls = list(message["tool_calls"]) if "tool_calls" in message else None
            continue
        if open_calls is None:  # the call stands in the text
            continue
        if not open_calls:
            raise BadRow("more tool answers than calls", f"turn {number}: more tool answers than calls before it")
        ids = [call["id"] for call in open_calls if "id" in call]
        answered = message.get("tool_call_id")
        if ids and answered is not None and answered not in ids:
            detail = f"turn {number}: tool_call_id {answered!r}"[:120] + " names no call before it"
            raise BadRow("an answer to a call that was not made", detail)
        open_calls = [call for call in open_calls if call.get("id") != answered] if answered in ids else open_calls[1:]


def with_system(messages: list[Message], system: str) -> list[Message]:
    """The messages under the prompt of a system column."""
    if not system:
        return messages
    if messages[0]["role"] == "system":
        raise BadRow("two system prompts", "a system turn, and a system column as well")
    return [{"role": "system", "content": system}, *messages]


def conversation(messages: list[Message], system: str = "", tools: Iterable[Tool] = ()) -> Content:
    """A chat that ends with an answer to learn. Raises BadRow."""
    messages = with_system(messages, system)
    prove_order(messages)
    if messages[-1]["role"] != "assistant":
        raise BadRow(
            "last turn is not assistant", f"the last turn is {messages[-1]['role']}: there is no answer to learn"
        )
    return {"messages": messages} | offered(messages, tools)


def offered(messages: list[Message], tools: Iterable[Tool]) -> Content:
    """The row's tools, when there are some, proven to hold what is called."""
    tools = list(tools)
    if tools:
        prove_declared(messages, tools)
    return {"tools": tools} if tools else {}
