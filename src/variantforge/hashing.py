"""Canonical JSON and digests: the only place where things become keys.

Laws: equal values give equal text whatever the order of their keys; the text is ASCII JSON without spaces;
a float that is a whole number is *not* an int (``2`` and ``2.0`` differ); NaN and infinities are refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

KEY_LENGTH = 32  # hex digits of a step's key: 128 bits, far from any collision a store could meet
_CHUNK_BYTES = 1 << 20
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(value: Any) -> str:
    """The one text of a JSON value. Raises ValueError for NaN or infinity, TypeError for what is not JSON."""
    return _CANONICAL.encode(value)


def key_of(value: Any) -> str:
    """The key of a JSON value: the first 32 hex digits of the SHA-256 of its canonical text."""
    return key_of_text(canonical_json(value))


def key_of_text(canonical: str) -> str:
    """The key of the JSON value that a canonical text stands for."""
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:KEY_LENGTH]


def text_digest(text: str) -> str:
    """SHA-256 of the UTF-8 bytes, as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def bytes_digest(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits; reads it in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def tree_digest(files: dict[str, str]) -> str:
    """One digest for a folder, from ``relative path -> digest of the file``."""
    return text_digest(canonical_json(files))
