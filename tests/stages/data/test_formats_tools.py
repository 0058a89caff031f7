"""Conversations with tools: calls and answers in the form that templates read, and in an order they can render."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stages.data.test_formats import assistant, content, system, user
from variantforge.stages.data.sources import BadRow

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "now", "parameters": {"type": "object", "properties": {"city": {}}}},
}
CALLED = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}


def call(**more: Any) -> dict[str, Any]:
    return CALLED | more


def calling(*calls: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls) or [CALLED], **more}


def tool(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": text, **more}


def turns(*messages: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return content({"messages": list(messages), **columns}, "messages")


WHOLE = [
    system("s"),
    user("q"),
    calling(call(id="c1"), call(id="c2"), reasoning_content="think"),
    tool("-3", tool_call_id="c2", name="weather"),
    tool("", tool_call_id="c1"),
    assistant("wait"),
    calling(),
    tool("-4"),
    assistant("cold"),
    user("thanks"),
    assistant("yes"),
]


def test_a_conversation_with_calls_answers_and_reasoning_is_kept_as_it_is() -> None:
    assert turns(*WHOLE, tools=[TOOL]) == {"messages": WHOLE, "tools": [TOOL]}


WRITTEN: dict[str, dict[str, Any]] = {
    "arguments as JSON text": {"tool_calls": [{"function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]},
    "written bare": {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]},
    "all of it as JSON text": {"tool_calls": json.dumps([CALLED])},
    "one call, not a list": {"tool_calls": CALLED},
    "the old function_call": {"function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
    "an old key left empty": {"tool_calls": [CALLED], "function_call": None},
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("text", [{"content": None}, {"content": ""}, {}], ids=["null", "empty", "none"])
def test_calls_are_brought_into_one_form(name: str, text: dict[str, Any]) -> None:
    assert turns(user("q"), {"role": "assistant", **text, **WRITTEN[name]}) == {"messages": [user("q"), calling()]}


def test_an_empty_list_of_calls_is_none() -> None:
    assert turns(user("q"), assistant("a") | {"tool_calls": [], "reasoning": " "}, tools="[]") == {
        "messages": [user("q"), assistant("a")]
    }


def test_a_call_without_arguments_has_none() -> None:
    called = turns(user("q"), calling({"name": "now"}))["messages"][1]["tool_calls"]
    assert called == [{"type": "function", "function": {"name": "now", "arguments": {}}}]


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL],
        json.dumps([TOOL]),
        [json.dumps(TOOL)],
        [TOOL["function"]],
        [{"type": "function", **TOOL["function"]}],  # type: ignore[dict-item]
        [{"name": "weather", "description": "now", "input_schema": TOOL["function"]["parameters"]}],  # type: ignore[index]
    ],
    ids=["schemas", "JSON text", "JSON texts", "bare", "flat", "input_schema"],
)
def test_tools_are_brought_into_one_form_with_their_keys_in_order(tools: Any) -> None:
    row = turns(user("q"), calling(), tools=tools)
    assert json.dumps(row["tools"]) == json.dumps([TOOL])


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_has_one_name(key: str) -> None:
    assert turns(user("q"), assistant("a") | {key: " so "})["messages"][1] == assistant("a") | {
        "reasoning_content": " so "
    }


def test_a_developers_turn_is_the_systems_which_every_template_knows() -> None:
    assert turns({"role": "developer", "content": "s"}, user("q"), assistant("a"))["messages"][0] == system("s")


def test_content_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert turns(user(parts), assistant("a"))["messages"][0] == user("one two")


def test_a_weight_that_changes_nothing_is_no_matter() -> None:
    rows = turns(user("q") | {"weight": None}, assistant("a") | {"weight": 1, "train": True})
    assert rows == {"messages": [user("q"), assistant("a")]}


@pytest.mark.parametrize("call_name", ["function_call", "tool_call"])
@pytest.mark.parametrize("answer_name", ["observation", "tool", "tool_response", "function_response"])
def test_sharegpt_has_calls_and_answers_as_turns(call_name: str, answer_name: str) -> None:
    conversations = [
        {"from": "human", "value": "q"},
        {"from": call_name, "value": json.dumps({"name": "weather", "arguments": {"city": "Oslo"}})},
        {"from": answer_name, "value": "-3"},
        {"from": "gpt", "value": "cold"},
    ]
    row = content({"conversations": conversations, "system": "s", "tools": json.dumps([TOOL["function"]])})
    assert row == {"messages": [system("s"), user("q"), calling(), tool("-3"), assistant("cold")], "tools": [TOOL]}


def test_a_call_that_stands_in_the_text_may_be_answered() -> None:
    messages = [user("q"), assistant("<tool_call>…"), tool("1"), tool("2"), assistant("a")]
    assert turns(*messages) == {"messages": messages}


BAD: list[tuple[str, list[dict[str, Any]], str]] = [
    ("an unanswered call", [user("q"), calling(), user("r"), assistant("a")], "turn 3 is user, expected tool"),
    ("user after a tool", [user("q"), calling(), tool("1"), user("r")], "turn 4 is user, expected assistant or tool"),
    ("a tool first", [tool("1"), assistant("a")], "turn 1 is tool, expected user or system"),
    (
        "two in a row",
        [user("q"), assistant("a"), assistant("b")],
        "turn 3 is assistant, expected user or tool: user and",
    ),
    ("ends with a tool", [user("q"), calling(), tool("1")], "the last turn is tool: there is no answer to learn"),
    (
        "too many answers",
        [user("q"), calling(), tool("1"), tool("2"), assistant("a")],
        "turn 4: more tool answers than",
    ),
    (
        "an answer to nothing",
        [user("q"), calling(call(id="a")), tool("1", tool_call_id="b"), assistant("a")],
        "turn 3: tool_call_id 'b' names no call before it",
    ),
    ("no content", [user("q"), {"role": "assistant"}], "turn 2: no 'content'; it has role"),
    ("a tool's null", [user("q"), calling(), tool(3), assistant("a")], "turn 3: content is a number, not text"),
    ("calls of a user", [user("q") | {"tool_calls": [CALLED]}, assistant("a")], "turn 1: 'tool_calls' in a user turn"),
    ("thoughts of a user", [user("q") | {"thinking": "x"}, assistant("a")], "turn 1: 'reasoning_content' in a user"),
    (
        "two thoughts",
        [user("q"), assistant("a") | {"thinking": "x", "reasoning": "y"}],
        "turn 2: reasoning, thinking differ: keep one",
    ),
    ("thoughts in parts", [user("q"), assistant("a") | {"thinking": ["x"]}], "turn 2: thinking is a list, not text"),
    ("an image", [user([{"type": "image", "url": "x"}]), assistant("a")], "turn 1: content part 1 is of type 'image'"),
    ("a weight", [user("q"), assistant("a") | {"train": False}], "turn 2: 'train' is not supported: every assistant"),
    ("arguments", [user("q"), calling({"name": "f", "arguments": "[1]"})], "turn 2: call 1: arguments is a list, not"),
    ("no JSON", [user("q"), calling({"name": "f", "arguments": "{"})], "turn 2: call 1: arguments is not JSON: "),
    ("a NaN", [user("q"), calling({"name": "f", "arguments": '{"x": NaN}'})], "turn 2: call 1: arguments holds a miss"),
    ("no call", [user("q"), calling("weather()")], "turn 2: call 1: text instead of an object"),
    ("nameless", [user("q"), calling({"arguments": {}})], "turn 2: call 1: name is a missing value, not text"),
    ("no function", [user("q"), calling({"type": "web_search"})], "turn 2: call 1: type 'web_search', not 'function'"),
]


@pytest.mark.parametrize(("messages", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_templates_cannot_render_is_told(messages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadRow) as caught:
        turns(*messages)
    assert caught.value.detail.startswith(message)


def test_a_call_of_a_tool_that_the_row_does_not_offer_is_told() -> None:
    with pytest.raises(BadRow, match="turn 2: calls 'wether', but the row's tools are: weather"):
        turns(user("q"), calling({"name": "wether"}), tools=[TOOL])


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("{", "tools is not JSON: "),
        ({"name": "x"}, "tools is an object, not a list of JSON schemas"),
        ([3], "tool 1: a number instead of an object"),
        ([TOOL, {"description": "x"}], "tool 2: name is a missing value, not text"),
        ([{"type": "function", "function": "f"}], "tool 1: function is text"),
        ([{"name": "x", "parameters": {"y": float("inf")}}], "tool 1: a tool holds a number, which JSON has not"),
    ],
)
def test_tools_that_are_none_are_told(tools: Any, message: str) -> None:
    with pytest.raises(BadRow) as caught:
        turns(user("q"), assistant("a"), tools=tools)
    assert caught.value.detail.startswith(message)


def test_a_value_nested_deeper_than_files_hold_is_told() -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    with pytest.raises(BadRow, match="arguments is nested more than 64 deep"):
        turns(user("q"), calling({"name": "f", "arguments": {"x": deep}}))
