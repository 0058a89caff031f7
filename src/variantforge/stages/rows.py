"""Canonical rows: what data steps write and every later stage reads.

One row is one line of JSON (UTF-8, no spaces; the keys of row and message sorted, those within tools and calls as they
came, since templates print them in their order), in ``train.jsonl`` or ``heldout.jsonl``: ``id`` (16 hex digits),
``source`` (the dataset's name), and the content of one of these kinds (TRL's words):

    messages              {"messages": [message, ...]}                        a chat with answers to learn
    text                  {"text": ...}                                       learned from as it is
    preference            {"prompt": [...], "chosen": [...], "rejected": [...]}     lists of messages
    unpaired_preference   {"prompt": [...], "completion": [...], "label": true | false}
    prompt_only           {"prompt": [...]} and what rewards read: "answer", "tests", "entry_point", "extra": {...}

"answer" and "entry_point" are texts; "tests" is Python, or the JSON text of a list of {"input", "output"}. "extra" has
the columns that the user keeps, as any JSON.

Kinds with messages may have "tools" (a list of JSON schemas). A message is {"role", "content"} and, where there are
such, "reasoning_content", "tool_calls", "name", "tool_call_id". The id is the hash of the content alone, so equal rows
of two datasets are one row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from variantforge.fsops import writing
from variantforge.hashing import canonical_json

ID_BITS = 64
TRAIN, HELDOUT = "train.jsonl", "heldout.jsonl"
# kind -> the field that tells it, in the order to ask
_MARKS = {
    "messages": "messages",
    "text": "text",
    "preference": "chosen",
    "unpaired_preference": "label",
    "prompt_only": "prompt",
}
KINDS = tuple(_MARKS)
_OF_THE_ROW = ("id", "source")
_TURNS = ("messages", "prompt", "chosen", "rejected", "completion")


def kind_of(row: Mapping[str, Any]) -> str:
    """Which of ``KINDS`` a row or its content is."""
    for kind, mark in _MARKS.items():
        if mark in row:
            return kind
    raise KeyError(f"no canonical row: {', '.join(row)}")


def content_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a model or a reward sees of a row, and nothing of where it came from."""
    return {name: value for name, value in row.items() if name not in _OF_THE_ROW}


def as_chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as one chat or text that a template can render: a prompt with its chosen, or its only, completion."""
    if kind_of(row) in ("messages", "text"):
        return dict(row)
    tools = {"tools": row["tools"]} if "tools" in row else {}
    answer = row.get("chosen") or row.get("completion") or []
    return {"id": row["id"], "source": row["source"], "messages": [*row["prompt"], *answer], **tools}


def as_answered(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """``as_chat`` for what scores answers; None when the row's answer is labelled bad, or it has none."""
    good = kind_of(row) != "prompt_only" and row.get("label", True)
    return as_chat(row) if good else None


def messages_of(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All messages of a row, in reading order; none of a text."""
    for part in _TURNS:
        yield from row.get(part, ())


def texts_of(row: Mapping[str, Any]) -> Iterator[str]:
    """All text of a row that a tokenizer will read, in reading order; tool calls and tools as canonical JSON."""
    if "text" in row:
        yield row["text"]
    if "tools" in row:
        yield canonical_json(row["tools"])
    for message in messages_of(row):
        yield from (message[part] for part in ("reasoning_content", "content") if message.get(part))
        if message.get("tool_calls"):
            yield canonical_json(message["tool_calls"])


def row_id(row: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical content."""
    return hashlib.sha256(canonical_json(content_of(row)).encode("ascii")).hexdigest()[: ID_BITS // 4]


def make_row(source: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A canonical row from content of the dataset ``source``."""
    return {"id": row_id(content), "source": source, **content_of(content)}


def encode_row(row: Mapping[str, Any]) -> bytes:
    """The row's one line, with its newline. Raises ValueError for NaN and for what UTF-8 cannot hold."""
    ordered = {name: _sorted_turns(row[name]) if name in _TURNS else row[name] for name in sorted(row)}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _sorted_turns(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(sorted(message.items())) for message in turns]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes rows as they come, holding one at a time; returns how many."""
    count = 0
    with writing(path) as file:
        for row in rows:
            file.write(encode_row(row))
            count += 1
    return count


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file that ``write_rows`` wrote, one at a time."""
    with open(path, "rb") as file:  # bytes: only "\n" ends a line, whatever else the text holds (U+2028, "\r")
        for line in file:
            yield json.loads(line)
