"""Proof, row by row, that a mask teaches the answers, how to end them, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from variantforge.errors import NoSupervisedTokens, StopTokenNotSupervised, WrongSupervisedSpan
from variantforge.stages.rows import texts_of
from variantforge.stages.tokens.outline import Outline, Span, outline_of
from variantforge.stages.tokens.rows import Tokens, ends_otherwise, runs_of
from variantforge.stages.tokens.template import Chat, Message, Row, chat_of, name_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

_TAGS = re.compile(r"(<[^<>]+>)*")
_LOOK_BACK = 24  # tokens decoded before a turn to see its header


def prove_supervision(tokenizer: Tokenizer, row: Row, tokens: Tokens, stop_ids: Collection[int]) -> None:
    """Raises unless this row teaches exactly its answers and how to end them.

    NoSupervisedTokens: nothing would be learned. StopTokenNotSupervised: an answer's end is outside the loss.
    WrongSupervisedSpan: what is supervised does not decode to the answer, or BOS stands there twice.
    """
    name, runs = name_of(row), runs_of(tokens.supervised)
    if not runs:
        raise NoSupervisedTokens(
            f"not one token of {name} would be learned from",
            why="The chat has no assistant message, or the template leaves it out.",
            next="give the row an assistant message with content, or remove it",
        )
    if "messages" in row:
        chat = chat_of(row)
        prove_one_bos(tokenizer, chat, tokens.ids)
        _prove_answers(tokenizer, chat, tokens.ids, runs, stop_ids)
        return
    prove_one_bos(tokenizer, Chat([], name=name), tokens.ids)
    if tokens.ids[-1] not in {*stop_ids, tokenizer.eos_token_id} or not tokens.supervised[-1]:
        raise no_stop(tokenizer, name, stop_ids)


def prove_one_bos(tokenizer: Tokenizer, chat: Chat, ids: Sequence[int]) -> None:
    """Raises WrongSupervisedSpan where BOS stands twice at the start, or where a message brings one of its own."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    brought = any(str(tokenizer.bos_token) in text for text in texts_of({"messages": chat.messages}))
    if brought or list(ids[:2]) == [bos, bos]:
        raise WrongSupervisedSpan(
            f"{tokenizer.bos_token} stands in {chat.name} twice",
            why="The text brings its own BOS, and tokenizer or template add another: a broken start is learned.",
            next=f"remove {tokenizer.bos_token} from the row's text",
        )


# --- answers ----------------------------------------------------------------------------------------------------------


def _prove_answers(
    tokenizer: Tokenizer, chat: Chat, ids: Sequence[int], runs: Sequence[Span], stop_ids: Collection[int]
) -> None:
    places, outline = chat.turns(), outline_of(tokenizer, chat)
    prove_calls_do_not_stop(tokenizer, chat, stop_ids)
    if len(runs) < len(places):  # answers that follow each other without a header (Mistral's)
        runs = [part for run in runs for part in _split_at_stops(ids, run, stop_ids)]
    if len(runs) != len(places):
        raise wrong_span(chat.name, f"{len(places)} answers, but {len(runs)} supervised spans")
    for place, (start, end) in zip(places, runs, strict=True):
        if ids[end - 1] not in stop_ids:
            if not ends_otherwise(tokenizer, chat, place, stop_ids):
                raise no_stop(tokenizer, chat.name, stop_ids)
            end += 1
        if not set(stop_ids).isdisjoint(ids[start : end - 1]):
            raise wrong_span(chat.name, f"a stop token stands inside the answer of message {place + 1}")
        prove_turn(tokenizer, chat, place, outline, ids[:start], ids[start : end - 1])


def prove_calls_do_not_stop(tokenizer: Tokenizer, chat: Chat, stop_ids: Collection[int]) -> None:
    """A stop token spelled out in a call's arguments would end the call in its middle."""
    stops = tokenizer.convert_ids_to_tokens(list(stop_ids))
    for place in chat.turns():
        calls = json.dumps(chat.messages[place].get("tool_calls") or [], ensure_ascii=False)
        if any(stop in calls for stop in stops):
            raise wrong_span(chat.name, f"a stop token stands inside the tool calls of message {place + 1}")


def _split_at_stops(ids: Sequence[int], run: Span, stop_ids: Collection[int]) -> Iterator[Span]:
    start, end = run
    for place in range(start, end):
        if ids[place] in stop_ids or place == end - 1:
            yield start, place + 1
            start = place + 1


def prove_turn(
    tokenizer: Tokenizer, chat: Chat, place: int, outline: Outline | None, prompt: Sequence[int], answer: Sequence[int]
) -> None:
    """Raises WrongSupervisedSpan unless ``answer`` is message ``place``, and ``prompt`` ends with its header.

    White space that templates strip from an answer is no difference; nor is that of a header where one token holds it
    together with the beginning of the answer.
    """
    before, learned = decode(tokenizer, prompt[-_LOOK_BACK:]), decode(tokenizer, answer)
    last = place == chat.turns()[-1]
    if not any(
        _holds(squeeze(learned), pieces, chat.messages[place]) for pieces in _pieces(chat.messages[place], last)
    ):
        content = str(chat.messages[place].get("content") or "")
        raise wrong_span(chat.name, f"supervised: {_short(learned)}; message {place + 1}: {_short(content)}")
    if outline is None or place not in outline.starts:
        return
    header = outline.around[outline.first(place)][: outline.starts[place]]
    seen, blank = squeeze(before), header[len(header.rstrip()) :]
    stretched = len(decode(tokenizer, answer[:1])) > len(blank) or before.endswith(blank)
    if not stretched or not seen.endswith(squeeze(header)[-min(16, len(seen)) :] if seen else squeeze(header)):
        raise wrong_span(chat.name, f"more or less than message {place + 1} is supervised: {_short(learned)}")


def _holds(learned: str, pieces: Sequence[str], message: Message) -> bool:
    """Whether ``learned`` holds all pieces in order, and nothing behind them but the end of a tool call."""
    pieces, at = [piece for piece in pieces if piece], 0
    for piece in pieces:
        found = learned.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    if not pieces:
        return _TAGS.fullmatch(learned) is not None
    return bool(message.get("tool_calls")) or learned.endswith(pieces[-1])


def _pieces(message: Message, last: bool) -> Iterator[list[str]]:
    """The parts that must stand in a turn, in order: as they are, with the thought apart, and without it."""
    content, thought = str(message.get("content") or ""), str(message.get("reasoning_content") or "")
    calls = [piece for call in message.get("tool_calls") or () for piece in _call_pieces(call["function"])]
    thoughts = [squeeze(thought)] if thought else []
    yield [*thoughts, squeeze(content), *calls]
    if "</think>" in content:
        inline, _, content = content.rpartition("</think>")
        thoughts = [squeeze(inline.rpartition("<think>")[2])]
        yield [*thoughts, squeeze(content), *calls]
    if thoughts and not last:
        yield [squeeze(content), *calls]


def _call_pieces(function: Message) -> list[str]:
    return [squeeze(str(function["name"])), *(squeeze(name) for name in function["arguments"])]


# --- words ------------------------------------------------------------------------------------------------------------


def wrong_span(name: str, why: str) -> WrongSupervisedSpan:
    return WrongSupervisedSpan(
        f"the supervised tokens of {name} are not its answer",
        why=why[:1].upper() + why[1:] + ".",
        next="look for a stop token written out in the answer, or text that the chat template cuts from it",
    )


def no_stop(tokenizer: Tokenizer, name: str, stop_ids: Collection[int]) -> StopTokenNotSupervised:
    tokens: Any = tokenizer.convert_ids_to_tokens(sorted(stop_ids))
    return StopTokenNotSupervised(
        f"the end of an answer in {name} is not followed by a stop token",
        why=f"A model trained so never learns to stop. Stop tokens of the base: {', '.join(tokens) or 'none'}.",
        next="use a base whose chat template ends the assistant's turn with a stop token of its generation_config.json",
    )


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def squeeze(text: str) -> str:
    return "".join(text.split())


def _short(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
