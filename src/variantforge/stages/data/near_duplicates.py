"""Rows that say nearly the same: found by MinHash, confirmed by what they share.

The *likeness* of two rows is the Jaccard similarity of their sets of word 5-grams: shared / all. Rows are
**near-twins** when it is at least the threshold, of the whole rows *and* of what is learned of them (answers; chosen
and rejected each): one long document with another question and answer is another row. System messages and tools are
not compared, since thousands of rows share them. Rows of different kinds or labels are never twins, nor is a row
without a word.

Candidates come of banded MinHash signatures (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
3.4): a pair at the threshold is missed with a chance of at most ``MISSED``, a more alike one with less. Every candidate
is then compared in full, so nothing is dropped that is not a near-twin. Memory is 8 bytes a band and row, however long
the rows are.

Of near-twins, the row that stands first stays; a row leaves only for one that stays. So what stays holds no twins that
could be found, and to sift it again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.stages.data.words import grams, words
from variantforge.stages.rows import kind_of, texts_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bands = NDArray[np.uint64]  # one row of a dataset each: [rows, bands]

SHINGLE = 5  # words
PERMUTATIONS = 128
MISSED = 0.001
_KEPT_PARTS = 4096  # sets of 5-grams kept while candidates are compared
_AT_ONCE = 4096  # 5-grams of one row that are permuted at once: 4 MB
_MASK = (1 << 64) - 1
Row = Mapping[str, Any]
Grams = set[Any]


class Parts(NamedTuple):
    """What of a row is compared. ``kind``: rows of another one are never twins. ``learned``: one set for each part."""

    kind: tuple[Any, ...]
    whole: Grams
    learned: tuple[Grams, ...]


class Twin(NamedTuple):
    """The row at ``position`` is a near-twin of the one at ``of``, which stands before it and stays."""

    position: int
    of: int
    likeness: float


# --- what is compared -----------------------------------------------------------------------------------------------


def parts_of(row: Row) -> Parts:
    """The sets of 5-grams that tell how alike two rows are."""
    kind = kind_of(row)
    if kind == "text":
        return Parts((kind,), _grams(row["text"]), ())
    if kind == "messages":
        learned = [[message for message in row["messages"] if message["role"] == "assistant"]]
    else:
        learned = [row[part] for part in ("chosen", "rejected", "completion") if part in row]
    return Parts((kind, row.get("label")), _grams(told(row)), tuple(_grams(_text(part)) for part in learned))


def told(row: Row) -> str:
    """The text of a row without its system messages and tools."""
    parts = ("messages", "prompt", "chosen", "rejected", "completion")
    spoken = {part: [one for one in row[part] if one["role"] != "system"] for part in parts if part in row}
    return "\n".join(texts_of({**spoken, "text": row["text"]} if "text" in row else spoken))


def likeness(one: Parts, other: Parts) -> float:
    """The least of the Jaccard similarities of their parts; 0 for rows that are never twins."""
    if one.kind != other.kind or len(one.learned) != len(other.learned) or not one.whole or not other.whole:
        return 0.0
    pairs = [(one.whole, other.whole), *zip(one.learned, other.learned, strict=True)]
    return min(_jaccard(*pair) for pair in pairs)


def _jaccard(one: Grams, other: Grams) -> float:
    shared = len(one & other)
    whole = len(one) + len(other) - shared
    return shared / whole if whole else 1.0


def _grams(text: str) -> Grams:
    return grams(words(text), SHINGLE)


def _text(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(texts_of({"messages": messages}))


# --- candidates -------------------------------------------------------------------------------------------------------


def bands_for(threshold: float) -> tuple[int, int]:
    """``(bands, rows)`` of a signature: the longest bands that miss a pair at the threshold often enough seldom."""
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= MISSED:
            return bands, rows
    return PERMUTATIONS, 1


def signatures(rows: Iterable[Row], count: int, threshold: float) -> Bands:
    """The bands of ``count`` rows, of shape [count, bands]: near-twins most likely have one in common."""
    import numpy as np

    bands, length = bands_for(threshold)
    multipliers, offsets = _permutations(bands * length)
    found = np.empty((count, bands), np.uint64)
    for position, row in enumerate(rows):
        hashes = _hashes(words(told(row)))
        least = np.full(bands * length, _MASK, np.uint64)
        for start in range(0, len(hashes), _AT_ONCE):
            some = hashes[start : start + _AT_ONCE, None]
            np.minimum(least, (some * multipliers + offsets).min(axis=0), out=least)
        found[position] = _mixed((least.reshape(bands, length) * _multipliers(length)).sum(axis=1))
    return found


def _hashes(found: Sequence[str]) -> NDArray[np.uint64]:
    """One number for each 5-gram of the words (for all words together, where they are fewer)."""
    import numpy as np

    if not found:
        return np.empty(0, np.uint64)
    numbers = np.array([_number(word) for word in found], np.uint64)
    length = min(SHINGLE, len(numbers))
    count = len(numbers) - length + 1
    multipliers, total = _multipliers(length), np.full(count, length, np.uint64)
    for place in range(length):
        total += numbers[place : place + count] * multipliers[place]
    return _mixed(total)


@lru_cache(maxsize=1 << 17)
def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer: every bit of the input moves every bit of the output."""
    import numpy as np

    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


@lru_cache(maxsize=PERMUTATIONS + 1)
def _multipliers(count: int) -> NDArray[np.uint64]:
    """Odd numbers: a sum of products with them tells one order of numbers from another."""
    import numpy as np

    return np.array([_number(f"multiplier {number}") for number in range(count)], np.uint64) | np.uint64(1)


@lru_cache(maxsize=4)
def _permutations(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """``h -> a h + b`` modulo 2^64 with odd a, a permutation each; always the same ones."""
    import numpy as np

    drawn = np.array([_number(f"permutation {number}") for number in range(2 * count)], np.uint64)
    return drawn[:count] | np.uint64(1), drawn[count:]


# --- twins ------------------------------------------------------------------------------------------------------------


def find_twins(bands: Bands, row: Callable[[int], Row], threshold: float) -> Iterator[Twin]:
    """The rows that leave, in no order that matters. Of two twins, the row with the lower position stays."""
    parts = lru_cache(maxsize=_KEPT_PARTS)(lambda position: parts_of(row(position)))
    for group in _groups(bands):
        kept: dict[tuple[int, int], list[int]] = defaultdict(list)  # band and its value -> rows that stay
        for position in group:
            buckets = [kept[band, value] for band, value in enumerate(bands[position].tolist())]
            candidates = sorted({other for bucket in buckets for other in bucket})
            twin = _first_twin(position, candidates, parts, threshold)
            if twin:
                yield twin
                continue
            for bucket in buckets:
                bucket.append(position)


def _first_twin(
    position: int, candidates: Sequence[int], parts: Callable[[int], Parts], threshold: float
) -> Twin | None:
    for other in candidates:
        alike = likeness(parts(position), parts(other))
        if alike >= threshold:
            return Twin(position, other, alike)
    return None


def _groups(bands: Bands) -> Iterator[list[int]]:
    """Rows that hang together by bands they share, ascending; rows that share none are left out."""
    import numpy as np

    leader = np.arange(len(bands))

    def find(position: int) -> int:
        while leader[position] != position:
            leader[position] = leader[leader[position]]
            position = int(leader[position])
        return position

    for column in bands.T:
        order = np.argsort(column, kind="stable")
        same = np.flatnonzero(column[order[1:]] == column[order[:-1]])
        for before, after in zip(order[same].tolist(), order[same + 1].tolist(), strict=True):
            one, other = find(before), find(after)
            leader[max(one, other)] = min(one, other)
    members: dict[int, list[int]] = defaultdict(list)
    for position in np.flatnonzero(leader != np.arange(len(bands))).tolist():
        members[find(position)].append(position)
    for first, others in members.items():
        yield [first, *others]
