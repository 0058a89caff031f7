"""What is known of a variant's rows before they are tokenized: how long the longest can be, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from variantforge.stages.rows import TRAIN
from variantforge.step import Artifact

_READ_AT_MOST = 64 << 20  # bytes: a tenth of a second
# What a chat template may add to a row beside its own words: a default system prompt, headers, ends of turns.
_TEMPLATE_TOKENS = 64


@dataclass(frozen=True)
class Rows:
    """``longest``: no row has more tokens; None where the file is too large to be looked through while planning."""

    count: int
    size_bytes: int
    longest: int | None


def rows_of(mix: Artifact | None) -> Rows | None:
    """None where the rows were not mixed yet."""
    if mix is None:
        return None
    try:
        return _read(mix.key, str(mix.path / TRAIN), int(mix.facts["train"]))
    except (OSError, KeyError, TypeError, ValueError):
        return None


@lru_cache(maxsize=256)
def _read(key: str, path: str, count: int) -> Rows:
    """A token covers at least one byte of its text, and the JSON around a row's texts more bytes than their headers
    have tokens: so the longest line bounds the longest row."""
    size = Path(path).stat().st_size
    if size > _READ_AT_MOST:
        return Rows(count, size, None)
    with open(path, "rb") as file:
        longest = max(map(len, file), default=0)
    return Rows(count, size, longest + _TEMPLATE_TOKENS)
