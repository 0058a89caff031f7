"""Rows as a model will read them: rendered by the base's template, with the tokens that are learned from marked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from variantforge.errors import VariantforgeError
from variantforge.stages.data.hygiene import hidden_secrets
from variantforge.stages.rows import as_chat, kind_of
from variantforge.stages.tokens import Tokens, prove_supervision, tokenize_prompt, tokenize_row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """A stretch of tokens of one sort, as text. ``cut``: beyond ``max_length``, so never read."""

    text: str
    supervised: bool
    special: bool
    cut: bool


@dataclass(frozen=True)
class View:
    """One way in which a row is read: the whole of it ('row'), or a side of a comparison ('chosen', 'rejected', ...).

    ``tokens``, ``supervised``: how many, before it is cut; ``problem``: why it cannot be trained on, '' when it can.
    """

    name: str
    pieces: list[Piece]
    tokens: int
    supervised: int
    problem: str = ""


@dataclass(frozen=True)
class Sample:
    id: str
    source: str
    kind: str
    label: bool | None
    views: list[View]


def choose(rows: Iterable[Row], count: int) -> list[Row]:
    """The first rows, but one of each source and kind before a second one of any."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        group = groups.setdefault((row["source"], kind_of(row)), [])
        if len(group) < count:
            group.append(row)
    turns = [row for turn in range(count) for group in groups.values() for row in group[turn : turn + 1]]
    return turns[:count]


def sample(tokenizer: Tokenizer, row: Row, stop_ids: Collection[int], window: slice) -> Sample:
    """How a row is read. What cannot be read is told in its view, not raised."""
    views = [_view(tokenizer, name, part, stop_ids, window) for name, part in views_of(row)]
    return Sample(row["id"], row["source"], kind_of(row), row.get("label"), views)


def views_of(row: Row) -> Iterator[tuple[str, Row]]:
    """``name, row`` of each way in which a row is read, as rows of messages or text; a prompt alone stays as it is."""
    kind = kind_of(row)
    if kind == "preference":
        for side in ("chosen", "rejected"):
            yield side, as_chat({**row, "chosen": row[side]})
    elif kind == "unpaired_preference":
        yield "completion", as_chat(row)
    elif kind == "prompt_only":
        yield "prompt", row
    else:
        yield "row", row


def tokens_of(tokenizer: Tokenizer, row: Row, stop_ids: Collection[int]) -> Tokens:
    """A view's tokens, proven. Raises DataError or TrainError when it cannot be trained on."""
    if kind_of(row) == "prompt_only":
        ids = tokenize_prompt(tokenizer, row["prompt"], row.get("tools"), name=f"row {row['id']} of '{row['source']}'")
        return Tokens(ids, [False] * len(ids))
    tokens = tokenize_row(tokenizer, row, stop_ids=stop_ids)
    prove_supervision(tokenizer, row, tokens, stop_ids)
    return tokens


def _view(tokenizer: Tokenizer, name: str, row: Row, stop_ids: Collection[int], window: slice) -> View:
    problem = ""
    try:
        tokens = tokens_of(tokenizer, row, stop_ids)
    except VariantforgeError as error:
        problem = " ".join(part for part in (error.what, error.why) if part)
        try:
            tokens = tokenize_row(tokenizer, row, stop_ids=stop_ids)
        except VariantforgeError:
            tokens = Tokens([], [])
    return View(name, _pieces(tokenizer, tokens, window), len(tokens.ids), sum(tokens.supervised), problem)


def _pieces(tokenizer: Tokenizer, tokens: Tokens, window: slice) -> list[Piece]:
    """Neighbouring tokens of one sort together. Text is what the whole decodes to up to there, since a token may be a
    part of a character, and some tokenizers drop a space at the beginning of what they decode."""
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    read = set(range(len(tokens.ids))[window])
    sorts = [
        (learned, id in special, position not in read)
        for position, (id, learned) in enumerate(zip(tokens.ids, tokens.supervised, strict=True))
    ]
    borders, end = [0], 0
    found = []
    for sort, group in groupby(sorts):
        end += len(list(group))
        borders.append(len(_decode(tokenizer, tokens.ids[:end])))
        found.append(sort)
    shown = hidden_secrets(_decode(tokenizer, tokens.ids))
    return [
        Piece("".join(shown[start:end]), *sort)
        for sort, start, end in zip(found, borders[:-1], borders[1:], strict=True)
    ]


def _decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
