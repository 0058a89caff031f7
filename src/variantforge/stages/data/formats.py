"""Rows of any known shape -> content: ``{"messages": [...]}`` for whatever is a chat, ``{"text": ...}`` for the rest.

    messages           messages: [{role, content}, ...]                 system?, then user and assistant in turn
    sharegpt           conversations: [{from, value}, ...], system?     human -> user, gpt -> assistant
    prompt_completion  prompt, completion                               texts, or lists of messages
    alpaca             instruction, output, input?, system?             instruction and input become one user turn
    text               text                                             learned from as it is

A conversation must end with an assistant turn: an answer is what training learns. Nothing is trimmed or repaired.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from variantforge.registry import near
from variantforge.stages.data.sources import BadRow, kind

Values = Mapping[str, Any]
Content = dict[str, Any]

_SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
# Keys of a message that change what should be learned; leaving them out silently would train something else.
_MEANINGFUL_KEYS = ("tool_calls", "function_call", "weight", "train", "reasoning_content", "thinking")


@dataclass(frozen=True)
class Format:
    """``content`` is handed the fields of one row and raises BadRow when they are not usable."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    content: Callable[[Values], Content]

    @property
    def fields(self) -> tuple[str, ...]:
        return self.required + self.optional


# --- texts and turns ------------------------------------------------------------------------------------------------


def _text(value: Any, what: str, where: str = "") -> str:
    """The value, proven to be text that a tokenizer and a file can hold."""
    if not isinstance(value, str):
        raise BadRow(f"{what} is not text", f"{where}{what} is {kind(value)}, not text")
    if not value.strip():
        raise BadRow(f"{what} is empty", f"{where}{what} is empty")
    if "\0" in value:
        raise BadRow(f"{what} holds a NUL character", f"{where}{what} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        detail = f"{where}{what} holds half a character (U+{ord(value[error.start]):04X}) at {error.start + 1}"
        raise BadRow(f"{what} is not valid Unicode", detail) from None
    return value


def _optional_text(fields: Values, name: str) -> str:
    value = fields.get(name)
    return "" if value is None or value == "" else _text(value, name)


def _turns(value: Any, what: str) -> list[Any]:
    """A list of turns; CSV holds one as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRow(f"{what} is not JSON", f"{what} is not JSON: {error}") from None
    if not isinstance(value, list):
        raise BadRow(f"{what} is not a list", f"{what} is {kind(value)}, not a list of turns")
    if not value:
        raise BadRow(f"{what} is empty", f"{what} is an empty list")
    return value


def _turn(turn: Any, number: int, role_key: str, content_key: str, roles: Mapping[str, str]) -> dict[str, str]:
    where = f"turn {number}: "
    if not isinstance(turn, dict):
        raise BadRow("a turn is not an object", f"{where}{kind(turn)} instead of an object")
    for key in (role_key, content_key):
        if key not in turn:
            shape = " (that is the format 'sharegpt')" if "from" in turn else ""
            raise BadRow(f"a turn has no '{key}'", f"{where}no '{key}'; it has {_listed(turn)}{shape}")
    for key in _MEANINGFUL_KEYS:
        if turn.get(key) is not None:
            raise BadRow(f"'{key}' in a turn", f"{where}'{key}' is not supported; leaving it out would change the row")
    role = turn[role_key]
    if not isinstance(role, str) or role not in roles:
        hint = near(str(role), list(roles)) or f" Known: {', '.join(roles)}."
        raise BadRow("unknown role", f"{where}unknown role {role!r}."[:120] + hint)
    return {"role": roles[role], "content": _text(turn[content_key], content_key, where)}


def _message_list(value: Any, what: str) -> list[dict[str, str]]:
    roles = {role: role for role in ("system", "user", "assistant")}
    return [_turn(turn, number, "role", "content", roles) for number, turn in enumerate(_turns(value, what), 1)]


def _conversation(messages: list[dict[str, str]], system: str = "") -> Content:
    """Checks the order of turns: an optional system turn, then user and assistant in turn, the last an assistant's."""
    if system:
        if messages[0]["role"] == "system":
            raise BadRow("two system prompts", "a system turn, and a system column as well")
        messages = [{"role": "system", "content": system}, *messages]
    first = 1 if messages[0]["role"] == "system" else 0
    for number, message in enumerate(messages[first:], first + 1):
        expected = "user" if (number - first) % 2 else "assistant"
        if message["role"] != expected:
            detail = f"turn {number} is {message['role']}, expected {expected}: user and assistant take turns"
            raise BadRow("turns out of order", detail)
    if messages[-1]["role"] != "assistant":
        raise BadRow(
            "last turn is not assistant", f"the last turn is {messages[-1]['role']}: there is no answer to learn"
        )
    return {"messages": messages}


def _asked(user: str, answer: str, system: str = "") -> Content:
    return _conversation([{"role": "user", "content": user}, {"role": "assistant", "content": answer}], system)


# --- the formats ------------------------------------------------------------------------------------------------------


def _messages(fields: Values) -> Content:
    return _conversation(_message_list(fields["messages"], "messages"))


def _sharegpt(fields: Values) -> Content:
    turns = enumerate(_turns(fields["conversations"], "conversations"), 1)
    messages = [_turn(turn, number, "from", "value", _SHAREGPT_ROLES) for number, turn in turns]
    return _conversation(messages, _optional_text(fields, "system"))


def _alpaca(fields: Values) -> Content:
    instruction, more = _text(fields["instruction"], "instruction"), _optional_text(fields, "input")
    user = f"{instruction}\n\n{more}" if more else instruction
    return _asked(user, _text(fields["output"], "output"), _optional_text(fields, "system"))


def _prompt_completion(fields: Values) -> Content:
    prompt, completion = fields["prompt"], fields["completion"]
    if isinstance(prompt, list) or isinstance(completion, list):
        asked = _message_list(prompt, "prompt") if isinstance(prompt, list) else _turn_of("user", prompt, "prompt")
        is_list = isinstance(completion, list)
        answer = _message_list(completion, "completion") if is_list else _turn_of("assistant", completion, "completion")
        return _conversation(asked + answer)
    return _asked(_text(prompt, "prompt"), _text(completion, "completion"))


def _turn_of(role: str, value: Any, what: str) -> list[dict[str, str]]:
    return [{"role": role, "content": _text(value, what)}]


def _plain(fields: Values) -> Content:
    return {"text": _text(fields["text"], "text")}


# In the order in which ``auto`` tries them: the more telling columns first.
FORMATS: dict[str, Format] = {
    "messages": Format(("messages",), (), _messages),
    "sharegpt": Format(("conversations",), ("system",), _sharegpt),
    "prompt_completion": Format(("prompt", "completion"), (), _prompt_completion),
    "alpaca": Format(("instruction", "output"), ("input", "system"), _alpaca),
    "text": Format(("text",), (), _plain),
}


# --- which format a file has ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """A format, where its fields stand (``columns``: field -> column), and why it was taken."""

    name: str
    columns: Mapping[str, str]
    why: str

    def column(self, field: str) -> str:
        return self.columns.get(field, field)

    def content(self, values: Values) -> Content:
        """The content of one row. Raises BadRow."""
        form = FORMATS[self.name]
        fields = {field: values.get(self.column(field)) for field in form.fields}
        for field in form.required:
            if self.column(field) not in values:
                raise BadRow(f"no column '{self.column(field)}'", no_column(self.column(field), list(values)))
        return form.content(fields)

    @property
    def needed(self) -> list[str]:
        """Columns that every row must have."""
        return [self.column(field) for field in FORMATS[self.name].required]

    @property
    def named(self) -> list[str]:
        """Columns that the user named: they must stand in a row at least."""
        return list(self.columns.values())


def no_column(column: str, present: Sequence[str]) -> str:
    return f"no column '{column}'; the columns are: {_listed(present) or 'none'}.{near(column, list(present))}"


def recognise(values: Values, wanted: str, columns: Mapping[str, str]) -> Shape | None:
    """The shape of a dataset by its first row; None when ``wanted`` is ``auto`` and no format fits."""
    if wanted != "auto":
        return Shape(wanted, columns, "as declared")
    for turns in ("messages", "conversations"):
        if turns in values and not columns:
            return _by_turns(turns, values[turns])
    for name, form in FORMATS.items():
        shape = Shape(name, columns, f"columns {_listed(columns.get(field, field) for field in form.required)}")
        if set(columns) <= set(form.fields) and all(column in values for column in shape.needed):
            return shape
    return None


def _by_turns(column: str, value: Any) -> Shape:
    """Both names are used for both kinds of turns, so the turns themselves decide."""
    try:
        keys = _turns(value, column)[0]
    except BadRow:
        keys = {}
    default = "from" if column == "conversations" else "role"
    key = "from" if "from" in keys else "role" if "role" in keys else default
    name = "sharegpt" if key == "from" else "messages"
    field = FORMATS[name].required[0]
    return Shape(name, {} if field == column else {field: column}, f"column {column}, turns with '{key}'")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)
