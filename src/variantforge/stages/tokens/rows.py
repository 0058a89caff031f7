"""Rows -> token ids, and which of them are learned from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from variantforge.stages.tokens.outline import Span, outline_of
from variantforge.stages.tokens.template import Chat, Row, chat_of
from variantforge.stages.tokens.turns import Turn, write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True)
class Tokens:
    """One row: token ids, and for each whether the loss counts it, both of shape [length]; and of a chat, where each
    assistant turn begins. Turns may follow one another without a gap (Mistral's), so the flags do not tell."""

    ids: list[int]
    supervised: list[bool]
    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """A text's token ids, and the characters that each stands for."""

    ids: list[int]
    offsets: list[Span]

    def covering(self, character: int) -> int:
        """The first token that holds ``character`` or what comes after it."""
        token = bisect_left(self.offsets, (character,))
        while token > 0 and self.offsets[token - 1][1] > character:
            token -= 1
        return token


def load_tokenizer(model_folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, from disk alone; no code from the folder is run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder, local_files_only=True, trust_remote_code=False)


def encode(tokenizer: Tokenizer, text: str) -> Encoded:
    """The text tokenized once and whole, as it is at inference; the template has written all special tokens."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return Encoded(list(encoded["input_ids"]), list(encoded["offset_mapping"]))


def tokenize_row(tokenizer: Tokenizer, row: Row, *, stop_ids: Collection[int]) -> Tokens:
    """Token ids of a row of messages or text, and which are supervised.

    Chats: every assistant turn from where the generation prompt ends to its stop token, reasoning and tool calls
    included. Text: all but the first token, with EOS appended.
    Raises DataError when the chat template refuses the row or leaves out a part of it, WrongSupervisedSpan when an
    answer is not found in what it writes.
    """
    if "messages" not in row:
        return _tokenize_text(tokenizer, row["text"], stop_ids)
    written = write(tokenizer, chat_of(row))
    encoded = encode(tokenizer, written.text)
    ids, supervised, starts = encoded.ids, [False] * len(encoded.ids), []
    for turn in written.turns:
        start, end, closing = learned_span(tokenizer, written.chat, encoded, turn, stop_ids)
        supervised[start:end] = [True] * (end - start)
        ids, supervised = ids + closing, supervised + [True] * len(closing)
        starts.append(start)
    return Tokens(ids, supervised, tuple(starts))


def _tokenize_text(tokenizer: Tokenizer, text: str, stop_ids: Collection[int]) -> Tokens:
    ids = list(tokenizer(text)["input_ids"])
    ends = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else sorted(stop_ids)[:1]
    if ids[-1:] != ends:
        ids += ends
    return Tokens(ids, [position > 0 for position in range(len(ids))])


# --- characters -> tokens ---------------------------------------------------------------------------------------------


def learned_span(
    tokenizer: Tokenizer, chat: Chat, encoded: Encoded, turn: Turn, stop_ids: Collection[int]
) -> tuple[int, int, list[int]]:
    """[start, end) of a turn in tokens, its stop token included; and a stop token to append to the whole row.

    The last is for templates that end a turn with the beginning of the next one (GLM's ``<|user|>``). Where neither
    is there the span ends with the last word, and ``prove_supervision`` judges it.
    """
    start = encoded.covering(turn.start)
    said = max(encoded.covering(turn.said), start)
    for token in range(said, len(encoded.ids)):
        if encoded.offsets[token][0] >= turn.limit:
            break
        if encoded.ids[token] in stop_ids and encoded.offsets[token][0] >= turn.said:
            return start, token + 1, []
    at_the_end = not any(begin >= turn.limit for begin, _ in encoded.offsets[said:])
    closing = closing_of(tokenizer, chat, stop_ids) if at_the_end and turn.place == len(chat.messages) - 1 else []
    return (start, len(encoded.ids) if closing else said, closing)


def closing_of(tokenizer: Tokenizer, chat: Chat, stop_ids: Collection[int]) -> list[int]:
    """The stop token that the template would write if the chat, which ends with an answer, went on."""
    last, place = chat.messages[-1], len(chat.messages) - 1
    if last.get("tool_calls"):
        call = last["tool_calls"][0]
        answer = {"role": "tool", "name": call["function"]["name"], "content": "a"}
        follower = answer | ({"tool_call_id": call["id"]} if "id" in call else {})
    else:
        follower = {"role": "user", "content": "a"}
    now, then = outline_of(tokenizer, chat), outline_of(tokenizer, replace(chat, messages=[*chat.messages, follower]))
    if now is None or then is None or place not in then.starts:
        return []
    header = then.around[then.last(place) + 1].removeprefix(now.around[-1])
    return first_stop(encode(tokenizer, header), header, stop_ids)


def first_stop(encoded: Encoded, text: str, stop_ids: Collection[int]) -> list[int]:
    """The first token of ``text``, white space aside, when it is a stop token."""
    for id, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
        if text[start:end].strip():
            return [id] if id in stop_ids else []
    return []


def ends_otherwise(tokenizer: Tokenizer, chat: Chat, place: int, stop_ids: Collection[int]) -> bool:
    """Whether the template ends turn ``place`` with a stop token when it is the last, and otherwise in earlier turns.

    gpt-oss does: ``<|return|>`` at the end, ``<|end|>`` in what went before. Such an earlier turn is learned without
    its end, as the model must not end an answer so.
    """
    if place == len(chat.messages) - 1:
        return False
    now, as_the_last = outline_of(tokenizer, chat), outline_of(tokenizer, chat.until(place + 1))
    if now is None or as_the_last is None or place not in now.starts:
        return False
    ends = [encode(tokenizer, text).ids for text in (now.around[now.last(place) + 1], as_the_last.around[-1])]
    return [not set(stop_ids).isdisjoint(ids) for ids in ends] == [False, True]


def runs_of(supervised: Sequence[bool]) -> list[Span]:
    """[start, end) of each stretch of supervised tokens."""
    flags, runs = bytes(supervised), []
    start = flags.find(1)
    while start >= 0:
        end = flags.find(0, start)
        end = len(flags) if end < 0 else end
        runs.append((start, end))
        start = flags.find(1, end)
    return runs
