"""What is wrong with the form of one answer, by rules that are stated here.

A text *loops* when one run of ``GRAM`` words (``stages/data/words.py``) stands in it ``TIMES`` times or more, or when
one piece of up to 16 characters follows itself over ``TAIL_CHARS`` characters or more; rules and padding of tables
(``-----``) may be longer.

A text *leaks* its template when one of the model's control tokens stands in it, a marker of some other known template,
or a line that only opens a turn (``user:``, ``### Instruction:``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from variantforge.stages.data.words import words

VERSION = 1  # of the rules here: enters keys
GRAM, TIMES = 8, 4
TAIL_CHARS, RULE_CHARS = 64, 512

# Markers of chat templates, whoever's they are: a model trained through a wrong template writes another's.
MARKERS = re.compile(
    r"<\|(?:im_start|im_end|im_sep|endoftext|eot_id|eom_id|end_of_text|begin_of_text|start_header_id|end_header_id"
    r"|start|end|message|channel|return|user|assistant|system|end_of_turn|end_of_role|start_of_role)\|>"
    r"|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</?s>(?=\s|$)|<｜[^｜<>\n]{1,40}｜>|<\[?(?:BOS|EOS|PAD)\]?>"
)
_HEADER = re.compile(
    r"^[ \t]*(?:(?:#{2,3} ?)?(?:Human|User|Assistant|System|user|assistant|system) ?:|#{2,3} ?(?:Instruction|Response|"
    r"Input|Human|User|Assistant|System) ?:?)[ \t]*$|^(?:user|assistant|system|model)$",
    re.MULTILINE,
)
_REPEATED = re.compile(r"(\S(?:.{0,15}?))\1{3,}", re.DOTALL)
_RULE = frozenset("-=_*#.~+|:· \t\n")
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?```", re.DOTALL)
_UNREAD = object()


def loops(text: str, *, gram: int = GRAM, times: int = TIMES) -> bool:
    """Whether the text says the same again and again."""
    said = words(text)
    runs = Counter(zip(*(said[start:] for start in range(gram)), strict=False))
    if runs and max(runs.values()) >= times:
        return True
    return any(
        len(match[0]) >= (RULE_CHARS if _RULE.issuperset(match[1]) else TAIL_CHARS)
        for match in _REPEATED.finditer(text)
    )


def leaks(text: str, control: Collection[str] = ()) -> str:
    """The first piece of a template in the text, '' when there is none. ``control``: the model's control tokens."""
    places = [(at, token) for token in control if (at := text.find(token)) >= 0]
    places += [(match.start(), match[0].strip()) for pattern in (MARKERS, _HEADER) if (match := pattern.search(text))]
    return min(places)[1] if places else ""


def json_in(text: str, *, fenced: bool = False) -> Any:
    """The value that the whole text is; with ``fenced``, that the last ``json`` block is, where there is one.

    Raises ValueError when it is none. NaN and Infinity are Python's, not JSON's.
    """
    blocks = _FENCE.findall(text) if fenced else []
    try:
        return json.loads(blocks[-1] if blocks else text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(name: str) -> Any:
    raise ValueError(name)


def why_not_json(text: str, schema: Mapping[str, Any] | None, *, fenced: bool = False) -> str:
    """'' when the text is JSON, of ``schema`` where there is one."""
    try:
        value = json_in(text, fenced=fenced)
    except ValueError:
        return "not JSON"
    return "" if schema is None or fits(value, schema) else "not of the schema"


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    return bool(kind(schema, registry=Registry()).is_valid(value))  # nothing is fetched for a $ref


def why_no_schema(schema: Any) -> str:
    """What is wrong with a JSON Schema, '' for nothing."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        return f"not a JSON Schema: {error.message}"
    return ""


def why_wrong_call(message: Mapping[str, Any], wanted: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> str:
    """'' when the message makes exactly one call: the tool named in ``wanted``, with arguments that its own schema
    takes, and those values that ``wanted`` names. ``wanted`` = {"tool", "arguments"}."""
    calls = [call["function"] for call in message.get("tool_calls", ())]
    if len(calls) != 1:
        return "several calls" if calls else "no call"
    call = calls[0]
    if call["name"] != wanted["tool"]:
        return "another tool"
    schema = next((one.get("parameters") for one in map(function_of, tools) if one["name"] == call["name"]), None)
    if schema is not None and not fits(call["arguments"], schema):
        return "arguments not of the schema"
    same = all(_alike(call["arguments"].get(name, _UNREAD), value) for name, value in wanted["arguments"].items())
    return "" if same else "other arguments"


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """``{"type": "function", "function": {...}}`` or the function alone."""
    function = tool.get("function", tool)
    return function if isinstance(function, Mapping) else {}


def _alike(value: Any, wanted: Any) -> bool:
    """Texts may differ in case and white space."""
    if isinstance(value, str) and isinstance(wanted, str):
        return " ".join(value.split()).casefold() == " ".join(wanted.split()).casefold()
    return bool(value == wanted)
