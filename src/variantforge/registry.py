"""Tables of plug-ins: a readable ``name -> "module:attr"``, loaded on use.

A name stands once: a second one is an error, also when it comes from another distribution's entry points
(group ``variantforge.<table>``). A name that is missing is answered with the nearest ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from variantforge.errors import UsageError

T = TypeVar("T")

plugged_in: set[str] = set()  # "module:attr" of everything from other distributions that this process has loaded


def near(name: str, known: Iterator[str] | list[str]) -> str:
    """``" Did you mean 'x'?"``, or nothing when no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


class Registry(Generic[T]):
    """``rows`` maps a name to ``"module:attr"``; ``noun`` names one row in messages ("training method")."""

    def __init__(self, table: str, noun: str, rows: Mapping[str, str]) -> None:
        self.table, self.noun, self._own = table, noun, dict(rows)
        self._loaded: dict[str, T] = {}

    @cached_property
    def rows(self) -> dict[str, str]:
        """Own rows and those of installed plug-ins. Raises UsageError when two claim one name."""
        rows = dict(self._own)
        for point in entry_points(group=f"variantforge.{self.table}"):
            if rows.get(point.name, point.value) != point.value:
                raise UsageError(
                    f"two packages offer the {self.noun} '{point.name}': {rows[point.name]} and {point.value}",
                    next="uninstall one of them",
                )
            rows[point.name] = point.value
        return rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self._own or name in self.rows

    def load(self, name: str) -> T:
        """The object behind a name. Raises UsageError, with near names, when there is none."""
        if name not in self._loaded:
            target = self._own.get(name) or self.rows.get(name)
            if target is None:
                raise UsageError(self.unknown(name))
            if name not in self._own:
                plugged_in.add(target)
            module, _, attr = target.partition(":")
            loaded: Any = getattr(import_module(module), attr)
            self._loaded[name] = loaded
        return self._loaded[name]

    def unknown(self, name: str) -> str:
        """The sentence for a name that is not in the table."""
        hint = near(name, list(self.rows)) or f" Known: {', '.join(sorted(self.rows))}."
        return f"unknown {self.noun} '{name}'.{hint}"
