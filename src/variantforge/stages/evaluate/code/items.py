"""Problems to be solved by a program: HumanEval's, and those of a file of the user's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge import sandbox
from variantforge.errors import EvaluateError
from variantforge.hashing import file_digest
from variantforge.stages.evaluate.suites import item_name
from variantforge.step import Pin

FILE = "file"  # the role of the pin of a user's file
_MESSAGE = {"role", "content"}


@dataclass(frozen=True)
class Item:
    """``prompt``: text or the beginning of a program; ``messages``: a chat instead. ``entry_point``: what tests call,
    where they call one function."""

    id: str
    suite: str
    prompt: str
    messages: tuple[Mapping[str, Any], ...]
    tests: sandbox.Tests
    entry_point: str


def read_items(pins: Mapping[str, Pin], limit: int | None = None) -> list[Item]:
    """Of every pinned file, in its order. Raises EvaluateError with file and line for what cannot be used."""
    items: dict[str, Item] = {}
    for suite, pin in sorted(pins.items()):
        path = Path(pin.at)
        if not path.is_file() or file_digest(path) != pin.digest:
            raise EvaluateError(
                f"{path.name} was changed while it was read",
                next="run the same command again: it plans with the file as it is now",
            )
        for number, item in enumerate(_of_file(suite, path)):
            if limit is not None and number >= limit:
                break
            if item.id in items:
                raise EvaluateError(
                    f"two problems are called {item.id}", why=f"in {path.name}", next="give each an id of its own"
                )
            items[item.id] = item
    if not items:
        raise EvaluateError("there is not one problem to solve", why=", ".join(pin.at for pin in pins.values()))
    return list(items.values())


def _of_file(suite: str, path: Path) -> Iterator[Item]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        count = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                count += 1
                yield _item(suite, count, line, f"{path.name}, line {number}")


def _item(suite: str, number: int, line: bytes, place: str) -> Item:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise sandbox.BadTests("a problem is a JSON object")
        return _of_row(suite, row, number)
    except (ValueError, sandbox.BadTests) as error:
        raise EvaluateError(
            f"{place} is no problem that a program can solve",
            why=str(error),
            next='write {"prompt": …, "tests": …, "entry_point": …}: docs/evaluators.md has the forms',
        ) from error


def _of_row(suite: str, row: Mapping[str, Any], number: int) -> Item:
    """``number``: among the problems of its file, from 1."""
    prompt, messages = row.get("prompt", ""), row.get("messages", [])
    if not isinstance(prompt, str) or not isinstance(messages, list) or bool(prompt) == bool(messages):
        raise ValueError("it needs 'prompt', a text, or 'messages', a chat")
    if not all(isinstance(one, dict) and one.keys() >= _MESSAGE for one in messages):
        raise ValueError("each of 'messages' has a role and a content")
    entry_point = row.get("entry_point") or ""
    if not isinstance(entry_point, str):
        raise ValueError("entry_point is the name of a function")
    tests = next((row[field] for field in ("tests", "test", "test_list") if field in row), None)
    read = sandbox.read_tests(tests, entry_point or None)
    return Item(item_name(row, number), suite, prompt, tuple(messages), read, entry_point)
