"""24 chats in every shape that chat templates tell apart. All end where the assistant is to speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """``wants``: what of a template it needs beside turns: ``tools``, ``tool_calls``, ``reasoning``; '' for nothing."""

    name: str
    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)
    prompt: bool = True
    wants: str = ""


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _said(text: str, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


def _call(name: str, arguments: Mapping[str, Any], number: int = 0) -> dict[str, Any]:
    return {"id": f"call{number:05d}", "type": "function", "function": {"name": name, "arguments": dict(arguments)}}


def _tool(name: str, text: str, number: int = 0) -> Message:
    return {"role": "tool", "tool_call_id": f"call{number:05d}", "name": name, "content": text}


def _function(name: str, description: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_WEATHER = _function("weather", "Tells the weather of a city.", city={"type": "string", "description": "its name"})
_ADD = _function("add", "Adds two numbers.", a={"type": "number"}, b={"type": "number"})
_HELLO, _GREETING = _user("Hello, who are you?"), _said("I am a model that answers.")
_ASKED = [_user("What is the weather in Zürich?"), _said("", tool_calls=[_call("weather", {"city": "Zürich"})])]
_TWO_CALLS = [_call("weather", {"city": "Oslo"}, 1), _call("add", {"a": 2, "b": 0.5}, 2)]

CONVERSATIONS = (
    Conversation("one question", [_HELLO]),
    Conversation("one question, unprompted", [_HELLO], prompt=False),
    Conversation("system", [_system("You answer in one word."), _HELLO]),
    Conversation("system, unprompted", [_system("You answer in one word."), _HELLO], prompt=False),
    Conversation("empty system", [_system(""), _HELLO]),
    Conversation("three turns", [_HELLO, _GREETING, _user("And what do you do?")]),
    Conversation("three turns, unprompted", [_HELLO, _GREETING, _user("And what do you do?")], prompt=False),
    Conversation(
        "system and five turns",
        [_system("Be brief."), _HELLO, _GREETING, _user("Why?"), _said("Because."), _user("Oh.")],
    ),
    Conversation(
        "eleven turns",
        [part for n in range(5) for part in (_user(f"Count: {n}"), _said(f"{n + 1}"))] + [_user("Go on.")],
    ),
    Conversation(
        "scripts and emoji",
        [
            _user("Grüße, 世界! Привет \U0001f469\u200d\U0001f680 — naïve e\u0301?"),
            _said("\U0001f44d\U0001f3fd مرحبا"),
            _user("ok"),
        ],
    ),
    Conversation(
        "white space at the edges",
        [_user("  two before, two after  "), _said("\n\nlines around\n\n"), _user("\tso?\n")],
    ),
    Conversation("white space alone", [_user(" ")]),
    Conversation("an empty question", [_user("")]),
    Conversation("an empty answer", [_HELLO, _said(""), _user("Nothing?")]),
    Conversation("code", [_user("```python\ndef f(x):\n    return {'a': [x, \"b\"]}\n```\nWhat does it do?")]),
    Conversation("template's own signs", [_user("{{ messages }} {% raw %} {# no #} <b>&amp;</b> \\n %s {0}")]),
    Conversation(
        "quotes and backslashes", [_system("Use \"these\" and 'those'."), _user("C:\\temp\\new \"file\" 'name' \\\\")]
    ),
    Conversation("a long question", [_user("The parser reads one line and returns a node. " * 60)]),
    Conversation("tools on offer", [_user("Add 2 and 3.")], [_ADD], wants="tools"),
    Conversation(
        "system and two tools", [_system("Use tools."), _user("Add 2 and 3.")], [_WEATHER, _ADD], wants="tools"
    ),
    Conversation("a call and its answer", [*_ASKED, _tool("weather", '{"sun": true}')], [_WEATHER], wants="tool_calls"),
    Conversation(
        "a call, told, and a question",
        [*_ASKED, _tool("weather", "rain"), _said("It rains."), _user("Thanks, and now?")],
        [_WEATHER],
        wants="tool_calls",
    ),
    Conversation(
        "two calls at once",
        [_user("Both, please."), _said("", tool_calls=_TWO_CALLS), _tool("weather", "sun", 1), _tool("add", "2.5", 2)],
        [_WEATHER, _ADD],
        wants="parallel_tool_calls",
    ),
    Conversation(
        "reasoning before an answer",
        [_HELLO, _said("42.", reasoning_content="Six times seven."), _user("Sure?")],
        wants="reasoning",
    ),
)
