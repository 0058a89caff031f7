"""Answers that were judged -> what preference trainers are fed: token ids, proven as those of SFT are.

A *side* is one answer to one prompt. Its end is always learned; what tools returned in the middle of it never is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from variantforge.errors import NoSupervisedTokens
from variantforge.stages.tokens import prove_supervision, tokenize_completion, tokenize_row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """``ids``: prompt and answer; the answer begins at ``start``. ``learned``: of each token, whether it counts."""

    ids: list[int]
    learned: list[bool]
    start: int

    @property
    def teaches(self) -> bool:
        """Whether a token is learned. The first one is never predicted: there is nothing before it."""
        return any(self.learned[1:])

    def cut(self, window: slice) -> Side:
        """The part of it in ``window`` (``slice(None, max_length)``)."""
        first = range(len(self.ids))[window].start
        return Side(self.ids[window], self.learned[window], max(self.start - first, 0))


def tokenize_side(tokenizer: Tokenizer, row: Row, part: str, stop_ids: Collection[int]) -> Side:
    """The answer ``part`` (chosen, rejected or completion) of a row, with its prompt before it.

    Raises as ``prove_supervision`` does, and DataError where the chat template refuses the row.
    """
    if len(row[part]) > 1:
        return _tokenize_turns(tokenizer, row, part, stop_ids)
    name = f"row {row['id']} of '{row['source']}' ({part})"
    prompt, answer = tokenize_completion(
        tokenizer, row["prompt"], row[part], row.get("tools"), stop_ids=stop_ids, name=name
    )
    return Side([*prompt, *answer], [False] * len(prompt) + [True] * len(answer), len(prompt))


def _tokenize_turns(tokenizer: Tokenizer, row: Row, part: str, stop_ids: Collection[int]) -> Side:
    """An answer of several turns: tool calls, what the tools returned, and what was said then."""
    tools = {"tools": row["tools"]} if "tools" in row else {}
    chat = {"id": row["id"], "source": row["source"], "messages": [*row["prompt"], *row[part]], **tools}
    tokens = tokenize_row(tokenizer, chat, stop_ids=stop_ids)
    prove_supervision(tokenizer, chat, tokens, stop_ids)
    learned = tokens.supervised
    start = tokens.starts[-sum(message["role"] == "assistant" for message in row[part])]
    end = max(at for at, now in enumerate(learned) if now) + 1
    return Side(tokens.ids[:end], [now and at >= start for at, now in enumerate(learned[:end])], start)


def shared_prompt(chosen: Side, rejected: Side) -> int:
    """How many tokens both sides begin with before either answers."""
    prompts = zip(chosen.ids[: chosen.start], rejected.ids[: rejected.start], strict=False)
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], prompts))


@dataclass
class Counts:
    """What became of rows: ``dropped`` is all that are left out, ``equal`` those of them cut until both sides agree."""

    cut: int = 0
    dropped: int = 0
    equal: int = 0

    def facts(self, rows: int) -> dict[str, int]:
        return {"rows": rows, "rows_dropped": self.dropped, "rows_cut": self.cut}

    def tell(self, note: Any, max_length: int | None, kept: int) -> None:
        """Notes for rows cut or left out. Raises NoSupervisedTokens when nothing is left."""
        if not kept:
            raise NoSupervisedTokens(
                "no row is left to train on" if self.dropped else "there are no rows to train on",
                why=f"All {self.dropped} rows teach nothing within {max_length} tokens." if self.dropped else "",
                next="raise train.args.max_length" if self.dropped else "look at the variant's data.mix",
            )
        beyond = self.dropped - self.equal
        if beyond:
            note(f"rows left out, as a whole answer lies beyond max_length {max_length}: {beyond}")
        if self.equal:
            note(f"pairs left out, as both sides are equal within max_length {max_length}: {self.equal}")
        if self.cut:
            note(f"rows trained with a cut answer, as they are longer than max_length {max_length}: {self.cut}")


def cut_pair(chosen: Side, rejected: Side, window: slice, counts: Counts) -> tuple[Side, Side] | None:
    """Both sides within ``window``; None, and counted, when nothing can be told from what is left of them."""
    before = sum(chosen.learned) + sum(rejected.learned)
    chosen, rejected = chosen.cut(window), rejected.cut(window)
    equal = chosen.ids == rejected.ids
    if equal or not (chosen.teaches and rejected.teaches):
        counts.dropped, counts.equal = counts.dropped + 1, counts.equal + (equal and chosen.teaches)
        return None
    counts.cut += sum(chosen.learned) + sum(rejected.learned) < before
    return chosen, rejected


@dataclass(frozen=True)
class LearnedOnly:
    """A collator of TRL's, with everything masked that is not learned.

    TRL takes a whole completion as learned, tool results in it included. ``masks``: mask in the batch -> the columns
    that say of each token of a completion whether it is learned, in the order in which the batch holds their rows.
    """

    collator: Any
    masks: Mapping[str, tuple[str, ...]]

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        batch: dict[str, Any] = self.collator(examples)
        for name, columns in self.masks.items():
            sides = [(example, example[column]) for column in columns if column in examples[0] for example in examples]
            for mask, (example, learned) in zip(batch.get(name, ()), sides, strict=True):
                start = len(example["prompt_ids"])
                told = torch.as_tensor(learned, dtype=mask.dtype)[: len(mask) - start]
                mask[start : start + len(told)] *= told
        return batch


def columns(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as a ``datasets.Dataset``."""
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows])
