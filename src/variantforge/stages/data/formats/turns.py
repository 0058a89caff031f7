"""One turn of a conversation -> one message; ``{"role", "content"}`` and ``{"from", "value"}`` are both read.

A message is {"role", "content"}; an assistant's may have "reasoning_content" and "tool_calls" (its content may then be
''), a tool's "name" and "tool_call_id".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from variantforge.registry import near
from variantforge.stages.data.formats.tools import calls_in
from variantforge.stages.data.formats.values import listed, text, turns_in
from variantforge.stages.data.sources import BadRow, kind

Message = dict[str, Any]


class Speech(NamedTuple):
    """How a dataset writes a turn. ``roles``: its word -> ours; 'call' is an assistant's turn that is a call alone."""

    format: str
    role: str
    content: str
    roles: Mapping[str, str]


# Templates know 'system'; most leave a 'developer' turn out without a word.
OPENAI = Speech(
    "messages",
    "role",
    "content",
    {role: role for role in ("system", "user", "assistant", "tool")} | {"developer": "system", "function": "tool"},
)
SHAREGPT = Speech(
    "sharegpt",
    "from",
    "value",
    {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
    | {"function_call": "call", "tool_call": "call"}
    | {"tool": "tool", "observation": "tool", "tool_response": "tool", "function_response": "tool"},
)
_REASONING = ("reasoning_content", "reasoning", "thinking")
_WEIGHTS = ("weight", "train")  # of one turn in the loss


def messages_in(value: Any, what: str, speech: Speech | None = None) -> list[Message]:
    """All turns of a list, or of its JSON text; without ``speech`` the first turn tells how it is written."""
    turns = turns_in(value, what)
    speech = speech or (SHAREGPT if isinstance(turns[0], dict) and "from" in turns[0] else OPENAI)
    prefix = "" if what in ("messages", "conversations") else f"{what}, "
    return [_message(turn, f"{prefix}turn {number}: ", speech) for number, turn in enumerate(turns, 1)]


def _message(turn: Any, where: str, speech: Speech) -> Message:
    if not isinstance(turn, dict):
        raise BadRow("a turn is not an object", f"{where}{kind(turn)} instead of an object")
    role = _role(turn, where, speech)
    if role == "call":
        if not (calls := calls_in(turn.get(speech.content), where)):
            raise BadRow("a call is empty", f"{where}no call in '{speech.content}'")
        return {"role": "assistant", "content": "", "tool_calls": calls}
    plain = len(turn) == 2 and speech.content in turn  # as most turns are
    extras = {} if plain else _assistants_extras(turn, where)
    if extras and role != "assistant":
        raise BadRow(f"'{next(iter(extras))}' in a {role} turn", f"{where}'{next(iter(extras))}' in a {role} turn")
    content = _content(turn, where, speech, empty=role == "tool" or "tool_calls" in extras)
    return {"role": role, "content": content} | extras | (_tools_extras(turn, where) if role == "tool" else {})


def _role(turn: dict[str, Any], where: str, speech: Speech) -> str:
    if speech.role not in turn:
        other = SHAREGPT if speech is OPENAI else OPENAI
        shape = f" (that is the format '{other.format}')" if other.role in turn else ""
        raise BadRow(f"a turn has no '{speech.role}'", f"{where}no '{speech.role}'; it has {listed(turn)}{shape}")
    role = turn[speech.role]
    if not isinstance(role, str) or role not in speech.roles:
        hint = near(str(role), list(speech.roles)) or f" Known: {listed(speech.roles)}."
        raise BadRow("unknown role", f"{where}unknown role {role!r}."[:120] + hint)
    return speech.roles[role]


def _content(turn: dict[str, Any], where: str, speech: Speech, *, empty: bool) -> str:
    name = speech.content
    if name not in turn and not empty:
        raise BadRow(f"a turn has no '{name}'", f"{where}no '{name}'; it has {listed(turn)}")
    value = turn.get(name)
    if empty and value is None:
        return ""
    if isinstance(value, list):
        value = "".join(_part(part, f"{where}{name} part {number} ") for number, part in enumerate(value, 1))
    return text(value, name, where, empty=empty)


def _part(part: Any, where: str) -> str:
    """Text of a message's content that was written in parts."""
    told = part.get("type", "text") if isinstance(part, dict) else None
    if told != "text" or not isinstance(part.get("text"), str):
        what = f"of type {told!r}"[:80] if isinstance(told, str) and told != "text" else f"{kind(part)}"
        raise BadRow("a part of the content is not text", f"{where}is {what}, not {{'type': 'text', 'text': ...}}")
    return str(part["text"])


def _assistants_extras(turn: dict[str, Any], where: str) -> Message:
    for key in _WEIGHTS:
        if turn.get(key) not in (None, True):  # 1 is True
            detail = f"{where}'{key}' is not supported: every assistant turn is learned; cut the conversation instead"
            raise BadRow(f"'{key}' in a turn", detail)
    extras: Message = {}
    thoughts = {turn[key]: key for key in _REASONING if isinstance(turn.get(key), str) and turn[key].strip()}
    if wrong := next((key for key in _REASONING if turn.get(key) is not None and not isinstance(turn[key], str)), None):
        text(turn[wrong], wrong, where)
    if len(thoughts) > 1:
        raise BadRow("reasoning stands twice", f"{where}{listed(thoughts.values())} differ: keep one of them")
    for thought, key in thoughts.items():
        extras["reasoning_content"] = text(thought, key, where)
    called = turn.get("tool_calls") or turn.get("function_call")
    if calls := calls_in(called, where):
        extras["tool_calls"] = calls
    return extras


def _tools_extras(turn: dict[str, Any], where: str) -> Message:
    return {key: text(turn[key], key, where) for key in ("name", "tool_call_id") if turn.get(key) is not None}


def holds_turns(value: Any) -> bool:
    """A list is turns; text is, when it is the JSON of turns: CSV has no other way to hold them."""
    if isinstance(value, list):
        return True
    if not isinstance(value, str) or not value.startswith("[{"):
        return False
    try:
        turns = json.loads(value)
    except (ValueError, RecursionError):
        return False
    return all(isinstance(turn, dict) and ({"role", "content"} <= turn.keys() or "from" in turn) for turn in turns)
