"""Values from inside, read in the trusted parent: builtin kinds alone are made, and nothing of them is executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class NotAValue(Exception):
    """What came out of a sandbox is not what may come out of it."""


@dataclass(frozen=True, eq=False)
class Ref:
    """An object that stayed inside; ``number`` is its name there. Equal to nothing but itself."""

    number: int

    def __repr__(self) -> str:
        return f"Ref({self.number})"


def decode_line(line: bytes) -> dict[str, Any]:
    """A reply: a JSON object whose values are not decoded yet. Raises NotAValue."""
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotAValue(f"no JSON: {error}") from None
    if not isinstance(reply, dict):
        raise NotAValue("no reply")
    return reply


def decode(value: Any) -> Any:
    """The value that ``inside.encode`` wrote. Raises NotAValue."""
    try:
        return _decode(value)
    except (RecursionError, TypeError, ValueError, KeyError) as error:
        raise NotAValue(f"no value: {error}") from None


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return _KINDS[kind](content)


def _many(kind: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    return lambda content: kind([_decode(item) for item in content])


def _dict(content: Any) -> dict[Any, Any]:
    return {_decode(key): _decode(value) for key, value in content}


def _float(content: Any) -> float:
    if content not in ("nan", "inf", "-inf"):
        raise ValueError("no float")
    return float(content)


def _ref(content: Any) -> Ref:
    if type(content) is not int:
        raise ValueError("no number")
    return Ref(content)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "dict": _dict,
    "tuple": _many(tuple),
    "set": _many(set),
    "frozenset": _many(frozenset),
    "complex": lambda content: complex(*content),
    "range": lambda content: range(*content),
    "bytes": bytes.fromhex,
    "float": _float,
    "ref": _ref,
}


def same(value: Any, wanted: Any) -> bool:
    """Type-exact equality of plain values: 1, 1.0 and True are three values. A tuple is the list that JSON makes of it.

    No method of what came from inside is called: both sides are builtin kinds.
    """
    if isinstance(wanted, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(wanted)
            and all(same(one, other) for one, other in zip(value, wanted, strict=True))
        )
    if type(value) is not type(wanted):
        return False
    if isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(same(value[key], wanted[key]) for key in wanted)
    return bool(value == wanted)
