"""Tools and calls of them, in the one form that chat templates read (OpenAI's, with arguments as an object).

tool   {"type": "function", "function": {"name", "description", "parameters"}}
call   {"type": "function", "function": {"name", "arguments": {...}}, "id"?}
"""

from __future__ import annotations

from typing import Any

from variantforge.stages.data.formats.values import json_value, listed, parsed, text
from variantforge.stages.data.sources import BadRow, kind

Tool = dict[str, Any]
Call = dict[str, Any]


def tools_in(value: Any) -> list[Tool]:
    """The tools of a row: a list of schemas, or its JSON text; none for a missing or empty value. Raises BadRow."""
    if value is None or value == "" or value != value:
        return []
    value = parsed(value, "tools")
    if not isinstance(value, list):
        raise BadRow("tools is not a list", f"tools is {kind(value)}, not a list of JSON schemas")
    return [_tool(parsed(tool, "a tool"), f"tool {number}: ") for number, tool in enumerate(value, 1)]


def _tool(value: Any, where: str) -> Tool:
    """Schemas are written bare as well, and Anthropic's way: a template prints them, so they must look alike."""
    function = _function(value, where)
    text(function.get("name"), "name", where)
    if "input_schema" in function and "parameters" not in function:
        function = {"parameters" if name == "input_schema" else name: part for name, part in function.items()}
    told = {name: part for name, part in value.items() if name != "function"} if "function" in value else {}
    return {**json_value(told, "a tool", where), "type": "function", "function": json_value(function, "a tool", where)}


def _function(value: Any, where: str) -> dict[str, Any]:
    """What stands under 'function', or the object itself when it was written bare."""
    if not isinstance(value, dict):
        raise BadRow("not an object where a function is expected", f"{where}{kind(value)} instead of an object")
    if value.get("type", "function") != "function":
        raise BadRow("a tool that is no function", f"{where}type {value['type']!r}"[:120] + ", not 'function'")
    if "function" not in value:
        return {name: part for name, part in value.items() if name != "type"}
    if not isinstance(value["function"], dict):
        raise BadRow("not an object where a function is expected", f"{where}function is {kind(value['function'])}")
    return dict(value["function"])


def calls_in(value: Any, where: str) -> list[Call]:
    """The calls of a turn: a list, one call, or JSON text of either; none for a missing value. Raises BadRow."""
    if value is None or value == "":
        return []
    value = parsed(value, "tool_calls", where)
    calls = value if isinstance(value, list) else [value]
    return [_call(call, f"{where}call {number}: ") for number, call in enumerate(calls, 1)]


def _call(value: Any, where: str) -> Call:
    function = _function(value, where)
    name = text(function.get("name"), "name", where)
    given = function.get("arguments")
    arguments = {} if given is None else parsed(given, "arguments", where)
    if not isinstance(arguments, dict):
        raise BadRow("arguments is not an object", f"{where}arguments is {kind(arguments)}, not an object")
    call = {"type": "function", "function": {"name": name, "arguments": json_value(arguments, "arguments", where)}}
    return call | ({"id": text(value["id"], "id", where)} if value.get("id") is not None else {})


def prove_declared(messages: list[dict[str, Any]], tools: list[Tool]) -> None:
    """A call of a tool that the prompt does not offer teaches to make tools up. Raises BadRow."""
    known = [tool["function"]["name"] for tool in tools]
    for number, message in enumerate(messages, 1):
        for call in message.get("tool_calls", ()):
            if (name := call["function"]["name"]) not in known:
                detail = f"turn {number}: calls {name!r}"[:120] + f", but the row's tools are: {listed(known)}"
                raise BadRow("a call of a tool that is not among the row's tools", detail)
