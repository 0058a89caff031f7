"""Which tokens are measured: the supervised tokens of held-out rows, the same ones for every subject."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import EvaluateError
from variantforge.hashing import canonical_json
from variantforge.stages.rows import HELDOUT, as_answered, read_rows
from variantforge.stages.tokens import tokenize_row


@dataclass(frozen=True)
class Example:
    """One held-out row. ``targets``: positions of the tokens that are measured, each predicted from those before."""

    id: str
    source: str
    ids: list[int]
    targets: list[int]


@dataclass(frozen=True)
class HeldOut:
    """``shortened``: rows cut at ``max_length``. ``without_targets``: rows that have nothing to measure, left out."""

    examples: list[Example]
    shortened: int
    without_targets: int

    @property
    def digest(self) -> str:
        """SHA-256 over ids and measured positions of all examples: equal only when the same tokens are measured."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(canonical_json([example.id, example.ids, example.targets]).encode() + b"\n")
        return digest.hexdigest()


def read_heldout(
    data: Path, tokenizer: Any, stop_ids: Collection[int], *, max_examples: int, max_length: int
) -> HeldOut:
    """The examples to measure, in the order of the file. Raises EvaluateError when there are none."""
    answered = list(filter(None, map(as_answered, read_rows(data / HELDOUT))))
    found = tokenized(answered, tokenizer, stop_ids, max_examples=max_examples, max_length=max_length)
    if not found.examples:
        raise EvaluateError(
            "there is not one held-out token to measure",
            why=f"{min(len(answered), max_examples)} rows are held out, and none answers within {max_length} tokens.",
            next="hold more rows out (evaluate: fraction), raise max_length, or add rows to the datasets",
        )
    return found


def tokenized(
    answered: Iterable[dict[str, Any]],
    tokenizer: Any,
    stop_ids: Collection[int],
    *,
    max_examples: int,
    max_length: int,
) -> HeldOut:
    """Rows with an answer as examples; perhaps none."""
    rows = [(row, tokenize_row(tokenizer, row, stop_ids=stop_ids)) for row in _chosen(answered, max_examples)]
    examples = [
        Example(
            row["id"], str(row.get("source", "")), tokens.ids[:max_length], _targets(tokens.supervised[:max_length])
        )
        for row, tokens in rows
    ]
    measured = [example for example in examples if example.targets]
    shortened = sum(len(tokens.ids) > max_length for _, tokens in rows)
    return HeldOut(measured, shortened, len(examples) - len(measured))


def _chosen(rows: Iterable[dict[str, Any]], max_examples: int) -> list[dict[str, Any]]:
    """At most ``max_examples`` rows, those with the lowest content hash: adding rows elsewhere moves few of them."""
    by_id = {str(row["id"]): row for row in rows}
    kept = set(sorted(by_id)[:max_examples])
    return [row for id, row in by_id.items() if id in kept]


def _targets(supervised: Sequence[bool]) -> list[int]:
    return [position for position, counts in enumerate(supervised) if counts and position > 0]
