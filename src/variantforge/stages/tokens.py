"""Rows -> token ids, and which of them are learned from; proven, row by row, before anything is trained.

Of a chat, the assistant's answers are supervised, each together with the stop token that ends it. Where an answer
lies is found on the *rendered text*, in one of three ways, the first that fits:

1. the template marks it itself (``{% generation %}``);
2. the text with the answer begins with the text that asks for it (``messages[:i]`` and a generation prompt);
3. the answer swapped for a marker: what comes before and after it must stay the same (templates that write earlier
   turns differently from the last one, such as Qwen3's).

The text is then tokenized once, as it will be at inference, and characters become tokens by their offsets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import DataError, NoSupervisedTokens, StopTokenNotSupervised, WrongSupervisedSpan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

Row = Mapping[str, Any]
Message = Mapping[str, Any]
Span = tuple[int, int]  # [start, end) in characters or tokens

_MARKER = "VFANSWERMARKER"
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class Tokens:
    """One row: token ids, and for each whether the loss counts it. Both of shape [length]."""

    ids: list[int]
    supervised: list[bool]


def load_tokenizer(model_folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, from disk alone; no code from the folder is run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder, local_files_only=True, trust_remote_code=False)


def tokenize_row(tokenizer: Tokenizer, row: Row, *, stop_ids: Collection[int]) -> Tokens:
    """Token ids of a row and which are supervised.

    Chats: every assistant answer and its stop token. Text: all but the first token, with EOS appended.
    Raises DataError when the chat template refuses the row, WrongSupervisedSpan when an answer is not found in it.
    """
    if "messages" not in row:
        return _tokenize_text(tokenizer, row["text"], stop_ids)
    text = _render(tokenizer, row["messages"], row)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    supervised = [False] * len(ids)
    for span in _answer_spans(tokenizer, row, text):
        start, end = _to_stop_token(tokenizer, ids, _token_span(offsets, span), stop_ids)
        supervised[start:end] = [True] * (end - start)
    return Tokens(ids, supervised)


def prove_supervision(tokenizer: Tokenizer, row: Row, tokens: Tokens, stop_ids: Collection[int]) -> None:
    """Raises unless this row teaches exactly its answers and how to end them.

    NoSupervisedTokens: nothing would be learned. StopTokenNotSupervised: an answer's end is outside the loss.
    WrongSupervisedSpan: what is supervised does not decode to the answer, or BOS stands there twice.
    """
    runs = _runs(tokens.supervised)
    if not runs:
        raise NoSupervisedTokens(
            f"not one token of {_name(row)} would be learned from",
            why="The chat has no assistant message, or the template leaves it out.",
            next="give the row an assistant message with content, or remove it",
        )
    _prove_one_bos(tokenizer, row, tokens.ids)
    if "messages" in row:
        _prove_answers(tokenizer, row, tokens.ids, runs, stop_ids)
    elif tokens.ids[-1] not in {*stop_ids, tokenizer.eos_token_id}:
        raise _no_stop(tokenizer, row, stop_ids)


# --- text rows ------------------------------------------------------------------------------------------------


def _tokenize_text(tokenizer: Tokenizer, text: str, stop_ids: Collection[int]) -> Tokens:
    ids = list(tokenizer(text)["input_ids"])
    ends = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else sorted(stop_ids)[:1]
    if ids[-1:] != ends:
        ids += ends
    return Tokens(ids, [position > 0 for position in range(len(ids))])


# --- where the answers lie in the rendered text -----------------------------------------------------------------


def _render(tokenizer: Tokenizer, messages: Sequence[Message], row: Row, *, prompt: bool = False) -> str:
    """The chat as text, by the model's template (transformers runs it in a sandboxed jinja environment)."""
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, TypeError, ValueError) as error:
        raise DataError(
            f"the chat template refuses {_name(row)}",
            why=f"It says: {error}. Roles in the row: {', '.join(str(message.get('role')) for message in messages)}.",
            next="write the row's turns as the base model's template expects them",
        ) from error
    return str(text)


def _answer_spans(tokenizer: Tokenizer, row: Row, text: str) -> list[Span]:
    """Character spans of all answers, in order."""
    if _GENERATION.search(tokenizer.get_chat_template()):
        return _marked_by_template(tokenizer, row)
    messages = row["messages"]
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    return [_by_prefix(tokenizer, row, text, place) or _by_marker(tokenizer, row, text, place) for place in places]


def _marked_by_template(tokenizer: Tokenizer, row: Row) -> list[Span]:
    from transformers.utils.chat_template_utils import render_jinja_template

    _, spans = render_jinja_template(
        [list(row["messages"])],
        chat_template=tokenizer.get_chat_template(),
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    return [(start, end) for start, end in spans[0]]


def _by_prefix(tokenizer: Tokenizer, row: Row, text: str, place: int) -> Span | None:
    messages = row["messages"]
    try:
        before = _render(tokenizer, messages[:place], row, prompt=True)
        through = _render(tokenizer, messages[: place + 1], row)
    except DataError:  # the template refuses a chat that is cut there: another way is tried
        return None
    if text.startswith(through) and through.startswith(before):
        return len(before), len(through)
    return None


def _by_marker(tokenizer: Tokenizer, row: Row, text: str, place: int) -> Span:
    messages = [dict(message) for message in row["messages"]]
    messages[place]["content"] = _MARKER
    before, found, after = _render(tokenizer, messages, row).partition(_MARKER)
    fits = len(before) + len(after) <= len(text) and text.startswith(before) and text.endswith(after)
    if not found or not fits:
        raise WrongSupervisedSpan(
            f"the answer in message {place + 1} of {_name(row)} is not found in what the chat template writes",
            why="The text before or after an answer changes with the answer itself, so its tokens cannot be told.",
            next="use a chat template that marks answers with {% generation %} … {% endgeneration %}",
        )
    return len(before), len(text) - len(after)


# --- characters -> tokens -----------------------------------------------------------------------------------------


def _token_span(offsets: Sequence[Span], span: Span) -> Span:
    """Tokens that hold at least one character of ``span``; also one that a merge stretches over its border."""
    inside = [index for index, (start, end) in enumerate(offsets) if start < span[1] and end > span[0] and start < end]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _to_stop_token(tokenizer: Tokenizer, ids: list[int], span: Span, stop_ids: Collection[int]) -> Span:
    """The span cut or stretched to end with the first stop token after its start; as it is when there is none."""
    start, end = span
    if start == end:
        return span
    stop = next((index for index in range(start, len(ids)) if ids[index] in stop_ids), None)
    if stop is None or (stop >= end and _decode(tokenizer, ids[end:stop]).strip()):
        return span
    return start, stop + 1


# --- proofs -------------------------------------------------------------------------------------------------------


def _prove_one_bos(tokenizer: Tokenizer, row: Row, ids: list[int]) -> None:
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        raise WrongSupervisedSpan(
            f"{_name(row)} begins with {tokenizer.bos_token} twice",
            why="The text brings its own BOS and the tokenizer adds another: the model would learn a broken start.",
            next=f"remove {tokenizer.bos_token} from the beginning of the row's text",
        )


def _prove_answers(
    tokenizer: Tokenizer, row: Row, ids: list[int], runs: Sequence[Span], stop_ids: Collection[int]
) -> None:
    places = [place for place, message in enumerate(row["messages"]) if message["role"] == "assistant"]
    if len(runs) != len(places):
        raise _wrong_span(row, f"{len(places)} answers, but {len(runs)} supervised spans")
    for place, (start, end) in zip(places, runs, strict=True):
        if ids[end - 1] not in stop_ids:
            raise _no_stop(tokenizer, row, stop_ids)
        answer, learned = row["messages"][place]["content"], _decode(tokenizer, ids[start : end - 1])
        if not _squeeze(learned).endswith(_squeeze(answer)):
            raise _wrong_span(row, f"supervised: {_short(learned)}; the answer: {_short(answer)}")
        lead = _squeeze(learned).removesuffix(_squeeze(answer))
        if lead and not _follows_the_prompt(tokenizer, row, place, _decode(tokenizer, ids[:start]), lead):
            raise _wrong_span(row, f"more than the answer is supervised: {_short(learned)}")


def _follows_the_prompt(tokenizer: Tokenizer, row: Row, place: int, before: str, lead: str) -> bool:
    """Whether text learned ahead of an answer (an empty ``<think>`` block) is what comes right after the prompt."""
    try:
        asked = _render(tokenizer, row["messages"][:place], row, prompt=True)
        header = asked.removeprefix(_render(tokenizer, row["messages"][:place], row))
    except DataError:
        return False
    edge, header = len(_squeeze(before)), _squeeze(header)
    at = (_squeeze(before) + lead).rfind(header)
    return bool(header) and at < edge <= at + len(header)


def _wrong_span(row: Row, why: str) -> WrongSupervisedSpan:
    return WrongSupervisedSpan(
        f"the supervised tokens of {_name(row)} are not its answer",
        why=why[:1].upper() + why[1:] + ".",
        next="look for a stop token written out in the answer, or text that the chat template cuts from it",
    )


def _no_stop(tokenizer: Tokenizer, row: Row, stop_ids: Collection[int]) -> StopTokenNotSupervised:
    stops = ", ".join(tokenizer.convert_ids_to_tokens(sorted(stop_ids))) or "none"
    return StopTokenNotSupervised(
        f"the end of an answer in {_name(row)} is not followed by a stop token",
        why=f"A model trained so never learns to stop. Stop tokens of the base: {stops}.",
        next="use a base whose chat template ends the assistant's turn with a stop token of its generation_config.json",
    )


def _runs(supervised: Iterable[bool]) -> list[Span]:
    """[start, end) of each stretch of supervised tokens."""
    runs, position = [], 0
    for value, group in groupby(supervised):
        length = len(list(group))
        if value:
            runs.append((position, position + length))
        position += length
    return runs


def _decode(tokenizer: Tokenizer, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _squeeze(text: str) -> str:
    """The text without white space: what a template may strip, and a merge over a border may move."""
    return "".join(text.split())


def _short(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def _name(row: Row) -> str:
    source = f" of '{row['source']}'" if row.get("source") else ""
    return f"row {row.get('id', '?')}{source}"
