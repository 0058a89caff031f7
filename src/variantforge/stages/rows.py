"""Canonical rows: what data steps write and every later stage reads.

One row is one line of canonical JSON (sorted keys, UTF-8, no spaces), in ``train.jsonl`` or ``heldout.jsonl``:

    {"id": 16 hex digits, "source": dataset name, "messages": [{"role": ..., "content": ...}, ...]}
    {"id": 16 hex digits, "source": dataset name, "text": ...}

The id is the hash of the content alone, so equal rows of two datasets are one row.
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


def content_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a model sees of a row: its messages or its text, and nothing of where it came from."""
    return {"messages": row["messages"]} if "messages" in row else {"text": row["text"]}


def row_id(row: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical content."""
    return hashlib.sha256(canonical_json(content_of(row)).encode("ascii")).hexdigest()[: ID_BITS // 4]


def make_row(source: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A canonical row from content (``{"messages": ...}`` or ``{"text": ...}``) of the dataset ``source``."""
    return {"id": row_id(content), "source": source, **content_of(content)}


def encode_row(row: Mapping[str, Any]) -> bytes:
    """The row's one line, with its newline. Raises ValueError for NaN and for what UTF-8 cannot hold."""
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


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
