"""Prompts that an evaluator puts to its subjects: from a file of the user's, or from rows that were held out.

A line of a file is ``{"prompt": TEXT}`` or ``{"messages": [...]}``, with an ``id`` if you like and whatever else the
evaluator reads. Files are small and are read while planning too, so that a wrong line costs no training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from variantforge.errors import DataError
from variantforge.hashing import key_of
from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec
from variantforge.stages.data.sources import READERS, BadRow, open_table, readable
from variantforge.stages.evaluate.suites import SuiteText
from variantforge.stages.rows import HELDOUT, kind_of, read_rows, row_id
from variantforge.stages.stage import Desk
from variantforge.step import Pin

ROLES = ("system", "user", "assistant", "tool")
_KNOWN = ("id", "prompt", "messages")


@dataclass(frozen=True)
class Item:
    """One prompt. ``more``: what else its line says. ``source``: the dataset of a held-out row."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    more: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    @property
    def text(self) -> str:
        return "\n".join(str(message.get("content") or "") for message in self.messages)

    @property
    def hash(self) -> str:
        """Of what is asked, whatever its id."""
        return row_id({"messages": [dict(message) for message in self.messages]})


Check = Callable[[Item], str]  # what is wrong with an item, '' for nothing


def of_text(id: str, text: str, **more: Any) -> Item:
    return Item(id, ({"role": "user", "content": text},), more)


def read_items(path: Path, name: str, check: Check = lambda item: "") -> list[Item]:
    """The prompts of a file, in its order. Raises DataError with the place of the first line that is none."""
    found: dict[str, Item] = {}
    for record in open_table(path, name).records:
        item = record.values if isinstance(record.values, BadRow) else _item(record.values)
        why = item.detail if isinstance(item, BadRow) else check(item)
        if isinstance(item, Item) and item.id in found and not why:
            why = f"the id '{item.id}' stands in an earlier line too"
        if why or isinstance(item, BadRow):
            raise DataError(f"{record.place}  {why}", next=f"correct {name}")
        found[item.id] = item
    if not found:
        raise DataError(f"{name} holds no prompts", next=f'write lines such as {{"prompt": "..."}} into {name}')
    return list(found.values())


def _item(values: Mapping[str, Any]) -> Item | BadRow:
    prompt, messages = values.get("prompt"), values.get("messages")
    if (prompt is None) == (messages is None):
        return BadRow("no prompt", "one of 'prompt' (a text) and 'messages' (a list) is wanted")
    if prompt is not None:
        if not isinstance(prompt, str) or not prompt.strip():
            return BadRow("no prompt", "'prompt' is not a text with something in it")
        messages = [{"role": "user", "content": prompt}]
    if why := _not_a_chat(messages):
        return BadRow("no chat", why)
    told = tuple(dict(message) for message in messages or ())
    more = {key: value for key, value in values.items() if key not in _KNOWN and value is not None}
    id = values.get("id")
    return Item(str(id) if id not in (None, "") else row_id({"messages": list(told), **more}), told, more)


def _not_a_chat(messages: Any) -> str:
    if not isinstance(messages, list) or not messages:
        return "'messages' is not a list of messages"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return f"a message has a 'role', one of {', '.join(ROLES)}"
        if not isinstance(message.get("content", ""), str):
            return "the 'content' of a message is a text"
    last = messages[-1]["role"]
    return "" if last in ("user", "tool") else f"the last message is the {last}'s: there is nothing to answer"


def heldout_items(data: Path) -> tuple[list[Item], int]:
    """The prompts of a variant's held-out rows, each once, by content hash; and how many rows have none to ask: plain
    text, and chats with tools."""
    found: dict[str, Item] = {}
    passed = 0
    for row in read_rows(data / HELDOUT):
        messages = _asked(row)
        if "tools" in row or not messages or any("tool_calls" in one or one["role"] == "tool" for one in messages):
            passed += 1
            continue
        item = Item(row_id({"messages": messages}), tuple(messages), source=str(row.get("source", "")))
        found.setdefault(item.id, item)
    return [found[id] for id in sorted(found)], passed


def _asked(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages before the last answer; [] where they do not end with a question."""
    kind = kind_of(row)
    if kind == "text":
        return []
    messages = list(row["messages"] if kind == "messages" else row["prompt"])
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    asked = messages[: answers[-1]] if kind == "messages" and answers else messages
    if not asked or asked[-1]["role"] != "user":
        return []
    return [{key: one[key] for key in ("role", "content", "tool_calls") if key in one} for one in asked]


# --- planning ---------------------------------------------------------------------------------------------------------


def pin_items(desk: Desk, written: str, key: str, check: Check = lambda item: "") -> Pin | None:
    """The file that ``key`` names, pinned and read once; None after a problem."""
    try:
        ref = Ref.parse(written)
    except ValueError as error:
        desk.problem(key, str(error))
        return None
    if ref.kind not in ("path", "package") or not readable(ref.name):
        what = f"a local file is wanted here (./prompts.jsonl, or another of {', '.join(READERS)})"
        desk.problem(key, f"{what}, not {written}")
        return None
    pin = desk.pin(ref, key=key)
    if pin is None:
        return None
    if why := desk.once(_why_unreadable, pin, written, check):
        desk.problem(key, why)
        return None
    return pin


def _why_unreadable(family: FamilySpec, pin: Pin, name: str, check: Check) -> str:
    try:
        read_items(Path(pin.at), name, check)
    except DataError as error:
        return f"{error.what}. {error.why}".rstrip(" .")
    return ""


def digest_of(items: Iterable[Item]) -> str:
    """Of all that is asked and wanted: what a suite of ours is known by in keys."""
    return key_of([[item.id, [dict(message) for message in item.messages], dict(item.more)] for item in items])


def suite_texts_of(items: Iterable[Item]) -> Iterator[SuiteText]:
    for item in items:
        yield SuiteText(item.id, item.text)
