"""The text of an answer as an assistant's message, read the same way for every runtime.

llama.cpp and vLLM have parsers of their own for each kind of model, which agree neither with each other nor with
transformers, which has none for most. To compare subjects, one reader for all; it knows the forms below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_THOUGHT_ENDS = "</think>"
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)  # Hermes, Qwen
_MISTRAL = re.compile(r"\[TOOL_CALLS\]\s*(\[.*?\](?=\s*(?:\[TOOL_CALLS\]|\Z)))", re.DOTALL)
_MISTRAL_NAMED = re.compile(
    r"\[TOOL_CALLS\]\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(\{.*?\})(?=\s*(?:\[TOOL_CALLS\]|\Z))", re.DOTALL
)
_FUNCTION = re.compile(r"<function=([\w.-]+)>\s*(.*?)\s*</function>", re.DOTALL)  # Qwen3-Coder, Llama 3.1's custom form
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_PYTHON_TAG = "<|python_tag|>"  # Llama 3


def message_of(text: str) -> dict[str, Any]:
    """``role``, ``content``, and where there are any ``reasoning_content`` and ``tool_calls`` (as OpenAI's API has
    them, with arguments as an object)."""
    thought, mark, said = text.rpartition(_THOUGHT_ENDS)
    said = said if mark else text
    content, calls = _calls_in(said)
    told: dict[str, Any] = {"role": "assistant", "content": content.strip() if calls or mark else content}
    if mark and (thought := thought.replace("<think>", "", 1).strip()):
        told["reasoning_content"] = thought
    if calls:
        told["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    return told


def _calls_in(text: str) -> tuple[str, list[dict[str, Any]]]:
    """The text without its calls, and the calls; a call that cannot be read is left where it stands."""
    for pattern in (_TAGGED, _MISTRAL, _MISTRAL_NAMED, _FUNCTION):
        found = [(match, list(_read(match))) for match in pattern.finditer(text)]
        if any(calls for _, calls in found):
            for match, calls in reversed(found):
                text = text[: match.start()] + text[match.end() :] if calls else text
            return text, [call for _, calls in found for call in calls]
    calls = list(_of_json(text.strip().removeprefix(_PYTHON_TAG)))
    return ("", calls) if calls else (text, [])


def _read(match: re.Match[str]) -> Iterator[dict[str, Any]]:
    if match.re is _MISTRAL_NAMED:
        yield from _of_json(f'{{"name": {json.dumps(match[1])}, "arguments": {match[2]}}}')
    elif match.re is _FUNCTION:
        yield _of_tags(match)
    elif function := _FUNCTION.fullmatch(match[1]):
        yield _of_tags(function)
    else:
        yield from _of_json(match[1])


def _of_tags(match: re.Match[str]) -> dict[str, Any]:
    found = _PARAMETER.findall(match[2])
    if not found and (calls := list(_of_json(f'{{"name": {json.dumps(match[1])}, "arguments": {match[2]}}}'))):
        return calls[0]
    return {"name": match[1], "arguments": {name: _value(value) for name, value in found}}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _of_json(text: str) -> Iterator[dict[str, Any]]:
    """Calls in JSON: {"name", "arguments" or "parameters"}, or a list of such; nothing when it is anything else."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return
    for call in told if isinstance(told, list) else [told]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return
        arguments = call.get("arguments", call.get("parameters"))
        if isinstance(arguments, dict):
            yield {"name": call["name"], "arguments": arguments}
