"""Rows of every known shape become messages or text; what does not fit is told in words a person can act on."""

from __future__ import annotations

from typing import Any

import pytest

from variantforge.stages.data.formats.recognise import recognise
from variantforge.stages.data.sources import BadRow

NAN = float("nan")


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def content(values: dict[str, Any], format: str = "auto", **columns: str) -> dict[str, Any]:
    shape = recognise(values, format, columns)
    assert shape is not None
    return shape.content(values)


def recognised(values: dict[str, Any], **columns: str) -> str:
    shape = recognise(values, "auto", columns)
    return shape.name if shape else ""


GOOD = {
    "messages": ({"messages": [user("q"), assistant("a")]}, [user("q"), assistant("a")]),
    "messages with a system turn": (
        {"messages": [system("s"), user("q"), assistant("a"), user("r"), assistant("b")]},
        [system("s"), user("q"), assistant("a"), user("r"), assistant("b")],
    ),
    "messages as JSON text": ({"messages": '[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]'}, None),
    "messages under conversations": ({"conversations": [user("q"), assistant("a")]}, None),
    "sharegpt": ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, None),
    "sharegpt under messages": ({"messages": [{"from": "user", "value": "q"}, {"from": "gpt", "value": "a"}]}, None),
    "sharegpt with a system column": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
        [system("s"), user("q"), assistant("a")],
    ),
    "alpaca": ({"instruction": "q", "input": "", "output": "a", "text": "all of it"}, None),
    "alpaca with input": ({"instruction": "q", "input": "x", "output": "a"}, [user("q\n\nx"), assistant("a")]),
    "alpaca with a system prompt": (
        {"instruction": "q", "output": "a", "system": "s", "input": None},
        [system("s"), user("q"), assistant("a")],
    ),
    "prompt and completion": ({"prompt": "q", "completion": "a"}, None),
    "prompt and completion as lists": ({"prompt": [user("q")], "completion": [assistant("a")]}, None),
    "prompt as a list": (
        {"prompt": [system("s"), user("q")], "completion": "a"},
        [system("s"), user("q"), assistant("a")],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_row_becomes_messages(name: str) -> None:
    values, expected = GOOD[name]
    assert content(values) == {"messages": expected or [user("q"), assistant("a")]}


def test_text_stays_text_to_the_last_space() -> None:
    assert content({"text": "  as it is \n"}) == {"text": "  as it is \n"}


def test_control_tokens_and_odd_characters_are_left_as_they_are() -> None:
    odd = "<|im_start|>\u2028\ufeff\u202e🙂\r\n\t"
    assert content({"prompt": odd, "completion": odd}) == {"messages": [user(odd), assistant(odd)]}


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {"messages": None}, "messages is a missing value, not a list of turns"),
    ("messages", {"messages": []}, "messages is an empty list"),
    ("messages", {"messages": "[{"}, "messages is not JSON: "),
    ("messages", {"messages": "hello"}, "messages is text, not a list of turns"),
    ("messages", {"messages": ["hello"]}, "turn 1: text instead of an object"),
    ("messages", {"messages": [user("q")]}, "the last turn is user: there is no answer to learn"),
    ("messages", {"messages": [system("s")]}, "the last turn is system: there is no answer to learn"),
    ("messages", {"messages": [assistant("a")]}, "turn 1 is assistant, expected user"),
    ("messages", {"messages": [user("q"), user("q"), assistant("a")]}, "turn 2 is user, expected assistant"),
    ("messages", {"messages": [user("q"), system("s"), assistant("a")]}, "turn 2 is system, expected assistant"),
    ("messages", {"messages": [user("q"), assistant("")]}, "turn 2: content is empty"),
    ("messages", {"messages": [user(" \n"), assistant("a")]}, "turn 1: content is empty"),
    ("messages", {"messages": [user("q"), assistant(None)]}, "turn 2: content is a missing value, not text"),
    ("messages", {"messages": [user("q"), assistant(NAN)]}, "turn 2: content is a missing value, not text"),
    ("messages", {"messages": [user(["q"]), assistant("a")]}, "turn 1: content part 1 is text, not {'type': 'text'"),
    ("messages", {"messages": [user("q"), assistant(7)]}, "turn 2: content is a number, not text"),
    ("messages", {"messages": [user("q"), assistant(True)]}, "turn 2: content is true or false, not text"),
    ("messages", {"messages": [{"content": "q"}]}, "turn 1: no 'role'; it has content"),
    ("messages", {"messages": [{"from": "human", "value": "q"}]}, "turn 1: no 'role'; it has from, value (that is the"),
    ("messages", {"messages": [{"role": "User", "content": "q"}]}, "turn 1: unknown role 'User'. Did you mean 'user'?"),
    ("messages", {"messages": [{"role": "tool", "content": "q"}]}, "turn 1 is tool, expected user or system"),
    ("messages", {"messages": [{"role": [], "content": "q"}]}, "turn 1: unknown role []."),
    ("messages", {"messages": [user("q"), {**assistant("a"), "weight": 0}]}, "turn 2: 'weight' is not supported"),
    (
        "messages",
        {"messages": [user("q"), {**assistant("a"), "tool_calls": [{}]}]},
        "turn 2: call 1: name is a missing value",
    ),
    ("messages", {"message": []}, "no column 'messages'; the columns are: message. Did you mean 'message'?"),
    ("sharegpt", {"conversations": [{"from": "human", "value": "q"}]}, "the last turn is user"),
    ("sharegpt", {"conversations": [{"from": "bot", "value": "q"}]}, "turn 1: unknown role 'bot'. Known: human"),
    (
        "sharegpt",
        {"conversations": [{"from": "system", "value": "s"}, {"from": "gpt", "value": "a"}], "system": "s"},
        "a system turn, and a system column as well",
    ),
    ("alpaca", {"instruction": "q", "output": NAN}, "output is a missing value, not text"),
    ("alpaca", {"instruction": "q", "output": "a", "input": 3}, "input is a number, not text"),
    ("alpaca", {"instruction": "q"}, "no column 'output'; the columns are: instruction."),
    ("prompt_completion", {"prompt": "q", "completion": ""}, "completion is empty"),
    ("prompt_completion", {"prompt": [user("q")], "completion": [user("q")]}, "turn 2 is user, expected assistant"),
    ("prompt_completion", {"prompt": [], "completion": "a"}, "prompt is an empty list"),
    ("text", {"text": "a\0b"}, "text holds a NUL character"),
    ("text", {"text": "a\ud800b"}, "text holds half a character (U+D800) at 2"),
    ("text", {"text": {}}, "text is an object, not text"),
]


@pytest.mark.parametrize(("format", "values", "message"), BAD)
def test_a_row_that_does_not_fit_says_why(format: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRow) as caught:
        content(values, format)
    assert caught.value.detail.startswith(message)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"messages": [user("q")], "text": "x"}, "messages"),
        ({"prompt": "q", "completion": "a", "text": "x"}, "prompt_completion"),
        ({"instruction": "q", "output": "a", "text": "x"}, "alpaca"),
        ({"text": "x", "id": 3}, "text"),
        ({"question": "q", "answer": "a"}, ""),
        ({}, ""),
    ],
)
def test_auto_takes_the_most_telling_columns(values: dict[str, Any], name: str) -> None:
    assert recognised(values) == name


def test_auto_follows_the_columns_that_the_user_names() -> None:
    values = {"question": "q", "answer": "a"}
    assert recognised(values, prompt="question", completion="answer") == "prompt_completion"
    assert content(values, "auto", prompt="question", completion="answer") == {"messages": [user("q"), assistant("a")]}


def test_auto_says_why() -> None:
    shape = recognise({"conversations": [user("q"), assistant("a")]}, "auto", {})
    assert shape is not None
    assert (shape.name, shape.why) == ("messages", "column conversations, turns with 'role'")
