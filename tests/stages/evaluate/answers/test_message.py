"""What a model wrote, as a message: in the forms that models write calls and thoughts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variantforge.stages.evaluate.answers.message import message_of

ADD = {"name": "add", "arguments": {"a": 1, "b": [2]}}
SUB = {"name": "sub", "arguments": {}}
AS_JSON = '{"name": "add", "arguments": {"a": 1, "b": [2]}}'


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("Hello.\n", "Hello.\n", []),
        (f"<tool_call>\n{AS_JSON}\n</tool_call>", "", [ADD]),
        (f'So:\n<tool_call>{AS_JSON}</tool_call>\n<tool_call>{{"name": "sub", "arguments": {{}}}}', "So:", [ADD, SUB]),
        (f"[TOOL_CALLS][{AS_JSON}]", "", [ADD]),
        ('[TOOL_CALLS]add[ARGS]{"a": 1, "b": [2]}[TOOL_CALLS]sub{}', "", [ADD, SUB]),
        ('{"name": "add", "parameters": {"a": 1, "b": [2]}}', "", [ADD]),
        ('<|python_tag|>{"name": "sub", "parameters": {}}', "", [SUB]),
        (
            "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n[2]\n</parameter>\n"
            "</function>\n</tool_call>",
            "",
            [ADD],
        ),
        ('<function=add>{"a": 1, "b": [2]}</function>', "", [ADD]),
        ('<tool_call>{"name": "add", "arguments": </tool_call>', None, []),
        ('{"name": "Bob", "age": 7}', None, []),
        ("[1, 2]", None, []),
        ("{}", None, []),
        ('{"name": 3, "arguments": {}}', None, []),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:20].encode("unicode_escape").decode(),
)
def test_calls_are_read_in_the_forms_that_models_write(text: str, content: str | None, calls: list[Any]) -> None:
    message = message_of(text)
    assert message["content"] == (text if content is None else content)
    assert [call["function"] for call in message.get("tool_calls", [])] == calls


def test_thoughts_are_told_apart() -> None:
    assert message_of("<think>\nWell.\n</think>\n\nYes.") == {
        "role": "assistant",
        "reasoning_content": "Well.",
        "content": "Yes.",
    }
    assert message_of("Well.\n</think>Yes.")["reasoning_content"] == "Well."  # the template has opened it
    assert message_of("<think>\n\n</think>\n\nYes.") == {"role": "assistant", "content": "Yes."}
    assert "tool_calls" in message_of(f"<think>x</think><tool_call>{AS_JSON}</tool_call>")
    assert message_of("<think>no end") == {"role": "assistant", "content": "<think>no end"}


@given(
    st.text()
    | st.lists(st.sampled_from(["<tool_call>", "[TOOL_CALLS]", "{", "}", '"name"', ":", "[", "]"])).map("".join)
)
def test_any_text_is_a_message(text: str) -> None:
    message = message_of(text)
    assert message["role"] == "assistant"
    assert isinstance(message["content"], str)
