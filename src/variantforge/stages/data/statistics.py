"""What a variant's rows are like to the model that learns from them: lengths, cuts, what is learned, what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import VariantforgeError
from variantforge.stages.data import near_duplicates
from variantforge.stages.data.hygiene import ControlTokens, findings
from variantforge.stages.data.preview import tokens_of, views_of
from variantforge.stages.rows import TRAIN, kind_of, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

NEAR = 0.85  # likeness at which rows are told of where the policy names none
_BUCKETS = 8
_PLACES = 3  # rows named for each thing found
Progress = Callable[[int, int], None]


@dataclass
class Lengths:
    """Tokens of rows. ``histogram``: ``(least, most, rows)`` of each bucket; bounds are powers of two."""

    rows: int
    mean: float
    p50: int
    p90: int
    p99: int
    max: int
    histogram: list[tuple[int, int, int]]


@dataclass
class Statistics:
    """Of ``read`` rows of ``rows`` (all, or those that stand first in the shuffle). Shares are in [0, 1].

    ``cut``: rows longer than ``max_length``; ``lost``: rows whose answers all lie beyond it; ``supervised``: share of
    the tokens read that are learned from. ``refused``: reason -> rows that cannot be trained on. ``control_tokens`` and
    ``found``: what -> rows. ``places``: what -> ids of the first such rows.
    """

    rows: int
    read: int
    kinds: dict[str, int]
    max_length: int | None
    lengths: Lengths | None
    cut: int = 0
    lost: int = 0
    supervised: float = 0.0
    repeated: int = 0
    near_duplicates: int = 0
    near: float = NEAR
    refused: dict[str, int] = field(default_factory=dict)
    control_tokens: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    data: Path,
    tokenizer: Tokenizer,
    stop_ids: Collection[int],
    *,
    max_length: int | None,
    window: slice,
    control: ControlTokens,
    limit: int | None = None,
    near: float = NEAR,
    progress: Progress = lambda done, total: None,
) -> Statistics:
    """Reads ``train.jsonl`` in the folder ``data`` (of it, the first ``limit`` different rows)."""
    rows, count, different = _first_different(data / TRAIN, limit)
    tally = _Tally(window)
    for done, row in enumerate(rows):
        progress(done, len(rows))
        tally.add(tokenizer, row, stop_ids)
        tally.look(row, control)
    return Statistics(
        rows=count,
        read=len(rows),
        kinds=dict(Counter(kind_of(row) for row in rows)),
        max_length=max_length,
        lengths=lengths_of(tally.lengths),
        cut=tally.cut,
        lost=tally.lost,
        supervised=round(tally.learned / tally.seen, 6) if tally.seen else 0.0,
        repeated=count - different,
        near_duplicates=_near(rows, near),
        near=near,
        refused=dict(tally.refused),
        control_tokens=dict(tally.control),
        found=dict(tally.found),
        places=tally.places,
    )


def _first_different(path: Path, limit: int | None) -> tuple[list[dict[str, Any]], int, int]:
    """The first ``limit`` rows that differ, how many rows there are, and how many differ."""
    kept: list[dict[str, Any]] = []
    seen: set[str] = set()
    count = 0
    for row in read_rows(path):
        count += 1
        if row["id"] not in seen and (limit is None or len(kept) < limit):
            kept.append(row)
        seen.add(row["id"])
    return kept, count, len(seen)


def lengths_of(lengths: Sequence[int]) -> Lengths | None:
    """None of nothing. Percentiles are lengths of rows: the least that so many rows do not exceed."""
    if not lengths:
        return None
    ordered = sorted(lengths)

    def percentile(share: float) -> int:
        return ordered[max(ceil(share * len(ordered)) - 1, 0)]

    mean = round(sum(ordered) / len(ordered), 1)
    return Lengths(
        len(ordered), mean, percentile(0.5), percentile(0.9), percentile(0.99), ordered[-1], histogram(ordered)
    )


def histogram(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """At most eight buckets, the last one holding the longest; what is shorter than the first stands in it."""
    top = max(lengths).bit_length()
    counts = Counter(max(length.bit_length(), top - _BUCKETS + 1, 1) for length in lengths)
    first = min(counts)
    return [(0 if bits == first else 1 << (bits - 1), (1 << bits) - 1, counts[bits]) for bits in range(first, top + 1)]


class _Tally:
    def __init__(self, window: slice) -> None:
        self.window = window
        self.lengths: list[int] = []
        self.cut = self.lost = self.seen = self.learned = 0
        self.refused, self.control, self.found = Counter[str](), Counter[str](), Counter[str]()
        self.places: dict[str, list[str]] = {}

    def add(self, tokenizer: Tokenizer, row: Mapping[str, Any], stop_ids: Collection[int]) -> None:
        for _, view in views_of(row):
            try:
                tokens = tokens_of(tokenizer, view, stop_ids)
            except VariantforgeError as error:
                self._note(self.refused, type(error).__name__, row)
                return
            self.lengths.append(len(tokens.ids))
            kept = tokens.supervised[self.window]
            self.cut += len(kept) < len(tokens.ids)
            # the first token is never predicted: there is nothing before it
            if any(tokens.supervised[1:]) and not any(kept[1:]):
                self.lost += 1
                self.places.setdefault("lost", []).append(row["id"])
            self.seen += len(kept)
            self.learned += sum(kept)

    def look(self, row: Mapping[str, Any], control: ControlTokens) -> None:
        for token in control.found_in(row):
            self._note(self.control, token, row)
        for what in {finding.what for finding in findings(row)}:
            self._note(self.found, what, row)

    def _note(self, counter: Counter[str], what: str, row: Mapping[str, Any]) -> None:
        counter[what] += 1
        if counter[what] <= _PLACES:
            self.places.setdefault(what, []).append(row["id"])


def _near(rows: Sequence[Mapping[str, Any]], threshold: float) -> int:
    bands = near_duplicates.signatures(rows, len(rows), threshold)
    return sum(1 for _ in near_duplicates.find_twins(bands, rows.__getitem__, threshold))
