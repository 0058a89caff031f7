"""How values and names are spoken of in messages about a family file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from variantforge.registry import near

_LISTED = 12  # more names than this are not read by anyone


def describe(value: Any) -> str:
    """A written value for a message: ``the text 'abc'``, ``the number 3``, ``a list``."""
    if isinstance(value, str):
        return f"the text {value if len(value) <= 60 else value[:57] + '...'!r}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "a mapping"


def not_an_option(value: Any, options: Sequence[str]) -> str:
    """The sentence for a value that is none of a fixed few, with the nearest or with all of them."""
    if len(options) == 1:
        return f"'{options[0]}' is wanted here, not {describe(value)}"
    hint = near(value, list(options)) if isinstance(value, str) else ""
    if hint and len(options) > _LISTED:
        return f"{describe(value)} is not known here.{hint}"
    return f"{describe(value)} is none of {listed(options)}.{hint}"


def no_such(noun: str, name: str, known: Sequence[str]) -> str:
    """``there is no dataset 'paris'. Did you mean 'pairs'?``"""
    hint = near(name, list(known)) or (f" Known: {listed(known)}." if known else "")
    return f"there is no {noun} '{name}'.{hint}"


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + ", ..." * (len(names) > _LISTED)
