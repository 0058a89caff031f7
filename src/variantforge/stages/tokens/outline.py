"""What a template writes *around* the pieces of a chat, found by writing a chat of the same shape with placeholders.

The pieces of a chat are the contents of its messages, the assistant's reasoning, and the names of the tools it calls.
An outline is the text before, between and after them, so a row's text can be read piece by piece (``read``): each
character of it belongs to a known piece of a known message, or to the template. Outlines depend on the shape alone:
a thousand chats of one user turn and one answer share one, and cost one rendering each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from variantforge.errors import DataError
from variantforge.hashing import canonical_json
from variantforge.stages.tokens.template import Chat, Message, render, template_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

Span = tuple[int, int]  # [start, end) in characters

_PLACEHOLDER = re.compile(r"VFPIECE(\d{3})X")
_MOST_PIECES = 1000
_ONE_TAG = re.compile(r"\s*<[^<>]+>(\s*</[^<>]+>)?\s*")
_KEPT = 1000  # outlines kept for a tokenizer


@dataclass(frozen=True)
class Piece:
    """``part`` of message ``place``: "content", "reasoning_content", or "call N" for the name of its N-th call."""

    place: int
    part: str

    def of(self, chat: Chat) -> str:
        message = chat.messages[self.place]
        if self.part.startswith("call "):
            return str(message["tool_calls"][int(self.part[5:])]["function"]["name"])
        return str(message[self.part])


@dataclass(frozen=True)
class Outline:
    """``around[n]`` stands before ``pieces[n]``, ``around[-1]`` after all. ``missing``: what the template leaves out.

    ``starts[place]``: how much of the text before a turn's first piece a generation prompt writes; the model writes
    the rest. ``exact[place]``: whether the generation prompt ends there, too. ``form``: how messages must be handed to
    the template.
    """

    around: tuple[str, ...]
    pieces: tuple[Piece, ...]
    missing: tuple[Piece, ...]
    starts: dict[int, int]
    exact: dict[int, bool]
    form: Form

    def first(self, place: int) -> int:
        return next(number for number, piece in enumerate(self.pieces) if piece.place == place)

    def last(self, place: int) -> int:
        """Where the last piece of a message stands; a template may repeat a call's name in the tool's answer."""
        return max(self.pieces.index(piece) for piece in self.pieces if piece.place == place)


# --- forms: templates disagree on how calls are handed to them --------------------------------------------------------

Form = Callable[[Message], dict[str, Any]]


def as_it_is(message: Message) -> dict[str, Any]:
    return dict(message)


def with_arguments_as_text(message: Message) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return dict(message)
    return {**message, "tool_calls": [_with_text(call) for call in message["tool_calls"]]}


def _with_text(call: Message) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


FORMS: tuple[Form, ...] = (as_it_is, with_arguments_as_text)


def in_form(chat: Chat, form: Form) -> Chat:
    return replace(chat, messages=[form(message) for message in chat.messages])


# --- finding an outline -----------------------------------------------------------------------------------------------

_known: WeakKeyDictionary[Any, dict[tuple[str, str], Outline | None]] = WeakKeyDictionary()


def outline_of(tokenizer: Tokenizer, chat: Chat) -> Outline | None:
    """The outline of all chats of this shape; None when the template does not write placeholders as it writes text."""
    blank, pieces = _blank(chat)
    known = _known.setdefault(tokenizer, {})
    key = (template_of(tokenizer, chat), canonical_json([blank.messages, blank.tools]))
    if key not in known:
        if len(known) >= _KEPT:
            known.clear()
        known[key] = _find(tokenizer, blank, pieces)
    return known[key]


def _blank(chat: Chat) -> tuple[Chat, list[Piece]]:
    """The chat with placeholders, numbered as the pieces are. What is empty stays empty and is no piece."""
    pieces: list[Piece] = []

    def placeholder(place: int, part: str) -> str:
        pieces.append(Piece(place, part))
        return f"VFPIECE{len(pieces) - 1:03d}X"

    messages = []
    for place, message in enumerate(chat.messages):
        blank = dict(message)
        for part in ("reasoning_content", "content"):
            if message.get(part):
                blank[part] = placeholder(place, part)
        if message.get("tool_calls"):
            named = enumerate(message["tool_calls"])
            blank["tool_calls"] = [_renamed(call, placeholder(place, f"call {number}")) for number, call in named]
        messages.append(blank)
    return replace(chat, messages=messages), pieces


def _renamed(call: Message, name: str) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "name": name}}


def _find(tokenizer: Tokenizer, blank: Chat, pieces: list[Piece]) -> Outline | None:
    called = any(message.get("tool_calls") for message in blank.messages)
    found = [outline for form in FORMS[: None if called else 1] if (outline := _try(tokenizer, blank, pieces, form))]
    best = min(found, key=lambda outline: len(outline.missing), default=None)
    return best and _with_starts(tokenizer, blank, best)


def _try(tokenizer: Tokenizer, blank: Chat, pieces: list[Piece], form: Form) -> Outline | None:
    if len(pieces) >= _MOST_PIECES - 1:
        return None
    try:
        around, numbers = _split(render(tokenizer, in_form(blank, form)))
    except DataError:
        return None
    if any(number >= len(pieces) for number in numbers):
        return None
    missing = tuple(piece for number, piece in enumerate(pieces) if number not in numbers)
    return Outline(around, tuple(pieces[number] for number in numbers), missing, {}, {}, form)


def _split(text: str) -> tuple[tuple[str, ...], list[int]]:
    parts = _PLACEHOLDER.split(text)
    return tuple(parts[::2]), [int(number) for number in parts[1::2]]


def _with_starts(tokenizer: Tokenizer, blank: Chat, outline: Outline) -> Outline | None:
    written = {piece.place for piece in outline.pieces}
    for place in blank.turns():
        if place not in written:
            continue
        header, before = outline.around[outline.first(place)], in_form(blank.until(place), outline.form)
        asked = _asked(tokenizer, before, prompt=True)
        if asked == _asked(tokenizer, before, prompt=False):  # the template has no generation prompt
            start: int | None = _alike(header, _plain_header(tokenizer, before) or header)
        else:
            start = _shared(header, asked)
        if start is None:
            return None
        outline.starts[place], outline.exact[place] = start, header[:start] == asked
    return outline


def _asked(tokenizer: Tokenizer, before: Chat, *, prompt: bool) -> str | None:
    """What the template writes after the last piece, when the assistant is to begin; None when it refuses."""
    try:
        return _split(render(tokenizer, before, prompt=prompt))[0][-1]
    except DataError:
        return None


def _plain_header(tokenizer: Tokenizer, before: Chat) -> str | None:
    """What the template writes between the last piece and an answer without reasoning and calls."""
    plain = {"role": "assistant", "content": f"VFPIECE{_MOST_PIECES - 1}X"}
    try:
        around, _ = _split(render(tokenizer, replace(before, messages=[*before.messages, plain])))
    except DataError:
        return None
    return around[-2] if len(around) > 1 else None


def _shared(header: str, asked: str | None) -> int | None:
    """How much of ``header`` a generation prompt writes; all of it where there is none to compare with.

    A prompt may end with one tag more than earlier turns have (``<think>``). None when the two are not alike.
    """
    if asked is None:
        return len(header)
    alike = _alike(header, asked)
    if alike == len(asked):
        return alike
    if header.rfind("<", 0, alike) > header.rfind(">", 0, alike):  # both go on with a tag, but not with the same one
        alike = header.rfind("<", 0, alike)
    return alike if alike and _ONE_TAG.fullmatch(asked[alike:]) else None


def _alike(one: str, other: str) -> int:
    """Length of the common beginning."""
    differ = (number for number, (ours, theirs) in enumerate(zip(one, other, strict=False)) if ours != theirs)
    return next(differ, min(len(one), len(other)))


# --- reading a text by its outline ------------------------------------------------------------------------------------


def read(text: str, outline: Outline, chat: Chat) -> list[Span] | None:
    """Where each piece of ``outline.pieces`` stands in ``text``; None when the text is not of this outline."""
    spans, at = [], len(outline.around[0])
    if not text.startswith(outline.around[0]):
        return None
    for piece, after in zip(outline.pieces, outline.around[1:], strict=True):
        for written in _writings(piece.of(chat)):
            end = at + len(written)
            if text.startswith(written, at) and text.startswith(after, end):
                break
        else:
            return None
        spans.append((at, end))
        at = end + len(after)
    return spans if at == len(text) else None


def _writings(value: str) -> Iterator[str]:
    """How templates write a value: as it is, stripped, or inside a JSON text."""
    yield value
    yield from _once((value.strip(), value.strip("\n"), value.lstrip("\n"), value.rstrip(), value.lstrip()), value)
    texts = (value, value.strip())
    yield from _once((json.dumps(text, ensure_ascii=ascii)[1:-1] for text in texts for ascii in (False, True)), value)


def _once(values: Iterable[str], but: str) -> Iterator[str]:
    seen = {but}
    for value in values:
        if value not in seen:
            seen.add(value)
            yield value
