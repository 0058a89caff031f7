"""A prompt: text, or messages that end where an answer is due; and prompts without an answer, for rewards."""

from __future__ import annotations

import json
from typing import Any

from variantforge.stages.data.formats.order import offered, prove_order, with_system
from variantforge.stages.data.formats.tools import tools_in
from variantforge.stages.data.formats.turns import Message, holds_turns, messages_in
from variantforge.stages.data.formats.values import (
    Content,
    Values,
    is_missing,
    json_value,
    optional_text,
    parsed,
    text,
)
from variantforge.stages.data.sources import BadRow, kind


def prompt_in(fields: Values) -> list[Message]:
    """The field 'prompt' with 'input' and 'system', where there are such. Raises BadRow."""
    value, more = fields.get("prompt"), optional_text(fields, "input")
    if holds_turns(value):
        if more:
            raise BadRow("an input beside turns", "prompt is a list of turns, and there is a column 'input' as well")
        messages = messages_in(value, "prompt")
    else:
        asked = text(value, "prompt")
        messages = [{"role": "user", "content": f"{asked}\n\n{more}" if more else asked}]
    return with_system(messages, optional_text(fields, "system"))


def prove_prompt(messages: list[Message]) -> None:
    """Raises BadRow unless it is an assistant's turn now."""
    prove_order(messages)
    last = messages[-1]["role"] if messages else "nobody"
    if last not in ("user", "tool"):
        detail = f"the prompt ends with a turn of {last}; expected user or tool"
        raise BadRow("the prompt does not ask", detail)


def prompt_only(fields: Values) -> Content:
    messages = prompt_in(fields)
    prove_prompt(messages)
    given = fields.get("answer") if not is_missing(fields.get("answer")) else fields.get("solution")
    parts = {
        "answer": _answer(given),
        "tests": _tests(fields.get("tests")),
        "entry_point": optional_text(fields, "entry_point"),
        "extra": _extra(fields.get("extra")),
    }
    told = {name: part for name, part in parts.items() if part}
    return {"prompt": messages} | offered(messages, tools_in(fields.get("tools"))) | told


def _answer(value: Any) -> str:
    """Text, or a number as JSON writes it."""
    if is_missing(value):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(json_value(value, "answer"))
    return text(value, "answer")


def _tests(value: Any) -> str:
    """What a completion must pass: Python (a list of statements is one a line), or {input, output} pairs as JSON."""
    if isinstance(value, str) and value.startswith("["):
        value = parsed(value, "tests")
    if is_missing(value) or value == []:
        return ""
    if isinstance(value, list) and all(isinstance(case, dict) for case in value):
        return json.dumps(json_value(value, "tests"), ensure_ascii=False)
    if isinstance(value, list):
        return "\n".join(text(line, f"tests[{number}]") for number, line in enumerate(value))
    return text(value, "tests")


def _extra(value: Any) -> dict[str, Any]:
    if is_missing(value):
        return {}
    value = parsed(value, "extra")
    if not isinstance(value, dict):
        raise BadRow("extra is not an object", f"extra is {kind(value)}, not an object")
    return dict(json_value(value, "extra"))
