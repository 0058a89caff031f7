"""Single values of a row, proven to be what a tokenizer, a template and a file can hold. Nothing is trimmed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from variantforge.stages.data.sources import BadRow, kind

Values = Mapping[str, Any]
Content = dict[str, Any]

MAX_DEPTH = 64  # of JSON values: deeper than any schema, and far from where Python stops
_MAX_INT_BITS = 1024


def text(value: Any, what: str, where: str = "", *, empty: bool = False) -> str:
    """The value, when it is text; ``empty``: also when it holds nothing but spaces. Raises BadRow."""
    if not isinstance(value, str):
        raise BadRow(f"{what} is not text", f"{where}{what} is {kind(value)}, not text")
    if not empty and not value.strip():
        raise BadRow(f"{what} is empty", f"{where}{what} is empty")
    _prove_characters(value, what, where)
    return value


def _prove_characters(value: str, what: str, where: str) -> None:
    if "\0" in value:
        raise BadRow(f"{what} holds a NUL character", f"{where}{what} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        detail = f"{where}{what} holds half a character (U+{ord(value[error.start]):04X}) at {error.start + 1}"
        raise BadRow(f"{what} is not valid Unicode", detail) from None


def is_missing(value: Any) -> bool:
    """Nothing there: null, an empty CSV field, or what pandas writes for both."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def optional_text(fields: Values, name: str) -> str:
    """The text of a field that may be missing; then ''. Raises BadRow."""
    value = fields.get(name)
    return "" if value is None or value == "" else text(value, name)


def parsed(value: Any, what: str, where: str = "") -> Any:
    """A value that CSV and Parquet files hold as JSON text, as what it stands for. Raises BadRow."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{what} is not JSON", f"{where}{what} is not JSON: {error}") from None


def turns_in(value: Any, what: str) -> list[Any]:
    """A list of turns, or its JSON text; not empty. Raises BadRow."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parsed(value, what)
    if not isinstance(value, list):
        raise BadRow(f"{what} is not a list", f"{what} is {kind(value)}, not a list of turns")
    if not value:
        raise BadRow(f"{what} is empty", f"{what} is an empty list")
    return value


def json_value(value: Any, what: str, where: str = "", depth: int = 0) -> Any:
    """The value, proven to be JSON that canonical rows can hold: finite, of valid Unicode, not too deep."""
    match value:
        case None | bool():
            pass
        case str():
            _prove_characters(value, what, where)
        case int() if value.bit_length() <= _MAX_INT_BITS:
            pass
        case float() if value - value == 0:
            pass
        case list() | dict() if depth >= MAX_DEPTH:
            raise BadRow(f"{what} is nested too deep", f"{where}{what} is nested more than {MAX_DEPTH} deep")
        case list():
            return [json_value(inner, what, where, depth + 1) for inner in value]
        case dict() if all(isinstance(name, str) for name in value):
            return {
                json_value(name, what, where): json_value(inner, what, where, depth + 1)
                for name, inner in value.items()
            }
        case _:
            raise BadRow(f"{what} is not JSON", f"{where}{what} holds {kind(value)}, which JSON has not")
    return value


def listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)
