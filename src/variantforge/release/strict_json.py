"""JSON that others may have written, read strictly: bounded, no double keys, each value of the kind asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from variantforge.errors import IntegrityError

T = TypeVar("T")
LIMIT_BYTES = 8 << 20
_OID, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_REPO = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


class Unreadable(ValueError):
    """What is wrong with a document, as a clause: 'repos.acme/x.commit is no commit'."""


def parse_object(data: bytes) -> Fields:
    """The fields of one JSON object. Raises Unreadable."""
    if len(data) > LIMIT_BYTES:
        raise Unreadable(f"it has {len(data):,} bytes, more than {LIMIT_BYTES:,}")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_no_doubles, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"it is no JSON: {error.msg} at line {error.lineno}") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    return Fields(value, "")


def parsed(data: bytes, where: str, read: Callable[[Fields], T], next: str) -> T:
    """``read`` over the document; what is wrong with it becomes an IntegrityError that names ``where``."""
    try:
        return read(parse_object(data))
    except Unreadable as error:
        raise IntegrityError(f"{where} cannot be used: {error}", next=next) from None


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise Unreadable("a key stands twice in one object")
    return values


def _no_constant(name: str) -> Any:
    raise Unreadable(f"{name} is no JSON")


class Fields:
    """One object of the document; every method takes a key and raises Unreadable with the whole path to it."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise Unreadable(f"{path or 'the document'} is no object")
        self._values: Mapping[str, Any] = value
        self._path = path

    def names(self) -> list[str]:
        return list(self._values)

    def only(self, *known: str) -> None:
        for key in self._values:
            if key not in known:
                raise Unreadable(f"{self._at(key)} is unknown")

    def text(self, key: str, *, default: str | None = None, most: int = 4096) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str) or len(value) > most:
            raise Unreadable(f"{self._at(key)} is no text of at most {most} letters")
        return value

    def one_of(self, key: str, *words: str) -> str:
        value = self.text(key)
        if value not in words:
            raise Unreadable(f"{self._at(key)} is none of {', '.join(words)}")
        return value

    def matching(self, key: str, pattern: re.Pattern[str], what: str, *, default: str | None = None) -> str:
        value = self.text(key, default=default)
        if value != default and not pattern.fullmatch(value):
            raise Unreadable(f"{self._at(key)} is no {what}")
        return value

    def oid(self, key: str) -> str:
        return self.matching(key, _OID, "commit")

    def sha256(self, key: str) -> str:
        return self.matching(key, _SHA256, "sha256")

    def repo(self, key: str) -> str:
        return self.matching(key, _REPO, "repo id")

    def count(self, key: str) -> int:
        value = self._values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise Unreadable(f"{self._at(key)} is no count")
        return value

    def object(self, key: str) -> Fields:
        return Fields(self._values.get(key), self._at(key))

    def raw(self, key: str) -> Any:
        if key not in self._values:
            raise Unreadable(f"{self._at(key)} is missing")
        return self._values[key]

    def objects(self, key: str) -> list[Fields]:
        value = self._values.get(key)
        if not isinstance(value, list):
            raise Unreadable(f"{self._at(key)} is no list")
        return [Fields(item, f"{self._at(key)}[{place}]") for place, item in enumerate(value)]

    def repo_keys(self) -> list[str]:
        for key in self._values:
            if not _REPO.fullmatch(key):
                raise Unreadable(f"{self._at(key)}: that key is no repo id")
        return self.names()

    def path_keys(self) -> list[str]:
        for key in self._values:
            if not is_plain_path(key):
                raise Unreadable(f"{self._at(key)}: that key is no path inside a repo")
        return self.names()

    def _at(self, key: str) -> str:
        return f"{self._path}.{key[:200]}" if self._path else key[:200]


def is_plain_path(path: str) -> bool:
    """A relative path with '/' between plain names: it can leave no folder, and no tool reads more into it."""
    parts = path.split("/")
    return (
        0 < len(path) <= 1024
        and path.isprintable()
        and "\\" not in path
        and all(part not in ("", ".", "..") and part.lower() != ".git" for part in parts)
    )
