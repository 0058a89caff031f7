"""Rows -> what a trainer is fed: token ids and labels, each row proven before it is taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from variantforge.errors import Interrupted, NoSupervisedTokens
from variantforge.stages.tokens import prove_supervision, tokenize_row
from variantforge.step import StepContext

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

IGNORED = -100  # the label that torch's cross entropy skips


@dataclass(frozen=True)
class Examples:
    """``ids``: row ids. ``input_ids``, ``labels``: one list for each row, of equal length. ``cut``: answers cut off."""

    ids: list[str]
    input_ids: list[list[int]]
    labels: list[list[int]]
    cut: int
    dropped: int

    def dataset(self) -> Any:
        """As a ``datasets.Dataset``; TRL takes ``input_ids`` and ``labels`` as they are."""
        from datasets import Dataset

        return Dataset.from_dict({"id": self.ids, "input_ids": self.input_ids, "labels": self.labels})


def read_examples(
    context: StepContext,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    stop_ids: Collection[int],
    window: slice,
) -> Examples:
    """All rows, tokenized, proven, and cut to ``window`` (``slice(None, max_length)``).

    Rows whose supervised tokens all fall outside the window are left out, and counted.
    """
    ids, input_ids, labels, cut, dropped = [], [], [], 0, 0
    for done, row in enumerate(rows):
        tokens = tokenize_row(tokenizer, row, stop_ids=stop_ids)
        prove_supervision(tokenizer, row, tokens, stop_ids)
        label = [token if learned else IGNORED for token, learned in zip(tokens.ids, tokens.supervised, strict=True)]
        kept = label[window]
        # The first label is never predicted (there is nothing before it), so it teaches nothing.
        if not any(token != IGNORED for token in kept[1:]):
            dropped += 1
            continue
        cut += sum(tokens.supervised) > sum(tokens.supervised[window])
        ids.append(str(row["id"]))
        input_ids.append(tokens.ids[window])
        labels.append(kept)
        if done % 200 == 0:
            _report(context, done, len(rows))
    return Examples(ids, input_ids, labels, cut, dropped)


def _report(context: StepContext, done: int, total: int) -> None:
    context.progress(done, total, "row")
    if context.stopping():
        raise Interrupted("training stopped before its first step", next="the same command starts it again")


def tell_what_was_cut(context: StepContext, examples: Examples, max_length: int | None) -> None:
    """Notes for rows cut or left out. Raises NoSupervisedTokens when nothing is left."""
    if examples.dropped and not examples.ids:
        raise NoSupervisedTokens(
            "no row is left to train on: every answer lies beyond max_length",
            why=f"All {examples.dropped} rows are longer than {max_length} tokens before their answer begins.",
            next="raise train.args.max_length",
        )
    if not examples.ids:
        raise NoSupervisedTokens("there are no rows to train on", next="look at the variant's data.mix")
    if examples.dropped:
        context.note(f"rows left out, as their whole answer lies beyond max_length {max_length}: {examples.dropped}")
    if examples.cut:
        context.note(f"rows trained with a cut answer, as they are longer than max_length {max_length}: {examples.cut}")
