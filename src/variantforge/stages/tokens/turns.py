"""Where the assistant's turns lie in a chat's text: what the model writes itself, from its first character on.

Two ways, the first that fits: the text is read by its outline (see ``outline``); or, where a template treats this very
text differently from placeholders, by prefixes: what it writes for ``messages[:place]`` and a generation prompt, and
for ``messages[:place + 1]``, must both be beginnings of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from variantforge.errors import DataError, WrongSupervisedSpan
from variantforge.stages.tokens.outline import Outline, Piece, Span, as_it_is, in_form, outline_of, read
from variantforge.stages.tokens.template import Chat, Message, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

_END_OF_THOUGHT = "</think>"


@dataclass(frozen=True)
class Turn:
    """Characters of one assistant turn. ``start``: the first that the model writes. ``said``: where the last piece of
    the message ends. ``limit``: where the next message's first piece begins; its stop token lies in between.

    ``exact``: whether a generation prompt for the turn ends at ``start``; False where it goes on (with ``<think>``).
    """

    place: int
    start: int
    said: int
    limit: int
    exact: bool


@dataclass(frozen=True)
class Written:
    """A chat as the template writes it. ``how``: "outline" or "prefix". ``chat``: as it was read, and its form."""

    text: str
    turns: tuple[Turn, ...]
    chat: Chat
    how: str


def write(tokenizer: Tokenizer, chat: Chat) -> Written:
    """The chat's text, and where its assistant turns lie.

    Raises DataError when the template refuses the chat or leaves out a part of it, WrongSupervisedSpan when it leaves
    out a part of an answer, or when an answer's place cannot be told.
    """
    outline = outline_of(tokenizer, chat)
    form = outline.form if outline else as_it_is
    text = render(tokenizer, in_form(chat, form))
    for candidate in (chat, _with_thoughts_apart(chat)):
        written = candidate and _by_outline(tokenizer, candidate, text)
        if written:
            return written
    turns = [_by_prefix(tokenizer, chat, text, place) for place in chat.turns()]
    return Written(text, tuple(turns), chat, "prefix")


# --- by outline -------------------------------------------------------------------------------------------------------


def _by_outline(tokenizer: Tokenizer, chat: Chat, text: str) -> Written | None:
    outline = outline_of(tokenizer, chat)
    spans = read(text, outline, chat) if outline else None
    if outline is None or spans is None:
        return None
    prove_nothing_is_left_out(tokenizer, chat, outline)
    if any(place not in outline.starts for place in chat.turns()):  # an empty answer: no piece to find it by
        return None
    turns = tuple(_turn(outline, spans, place, len(text)) for place in chat.turns())
    return Written(text, turns, chat, "outline")


def _turn(outline: Outline, spans: Sequence[Span], place: int, length: int) -> Turn:
    first, last = outline.first(place), outline.last(place)
    start = spans[first][0] - len(outline.around[first]) + outline.starts[place]
    limit = spans[last + 1][0] if last + 1 < len(spans) else length
    return Turn(place, start, spans[last][1], limit, outline.exact[place])


def _with_thoughts_apart(chat: Chat) -> Chat | None:
    """The chat with reasoning taken out of contents, as templates do that know ``<think>``; None if there is none."""
    messages = [_thought_apart(message) for message in chat.messages]
    return replace(chat, messages=messages) if messages != list(chat.messages) else None


def _thought_apart(message: Message) -> dict[str, Any]:
    content = str(message.get("content") or "")
    if message["role"] != "assistant" or _END_OF_THOUGHT not in content or message.get("reasoning_content"):
        return dict(message)
    thought = content.split(_END_OF_THOUGHT)[0].split("<think>")[-1].strip()
    return {**message, "reasoning_content": thought, "content": content.split(_END_OF_THOUGHT)[-1]}


# --- what a template leaves out ---------------------------------------------------------------------------------------


def prove_nothing_is_left_out(tokenizer: Tokenizer, chat: Chat, outline: Outline) -> None:
    """Raises DataError or WrongSupervisedSpan for what the template does not write; earlier reasoning may be cut."""
    for piece in outline.missing:
        if not _may_be_cut(tokenizer, chat, piece):
            raise _left_out(chat, piece)
    if chat.tools or any(message.get("tool_calls") for message in chat.messages):
        _prove_tools(chat, "".join(outline.around))


def _may_be_cut(tokenizer: Tokenizer, chat: Chat, piece: Piece) -> bool:
    """Reasoning of an earlier turn, by a template that does write the last turn's."""
    if piece.part != "reasoning_content" or piece.place == len(chat.messages) - 1:
        return False
    thought = {"role": "assistant", "content": "b", "reasoning_content": "c"}
    outline = outline_of(tokenizer, Chat([{"role": "user", "content": "a"}, thought]))
    return outline is not None and not outline.missing


def _left_out(chat: Chat, piece: Piece) -> DataError | WrongSupervisedSpan:
    role = str(chat.messages[piece.place]["role"])
    part = {"content": "text", "reasoning_content": "reasoning"}.get(piece.part, "tool calls")
    what = f"the chat template leaves out the {part} of message {piece.place + 1} ({role}) of {chat.name}"
    if role == "assistant":
        fix = {
            "text": "move that text into reasoning_content or a turn of its own",
            "reasoning": "remove the reasoning",
        }
        return WrongSupervisedSpan(
            what,
            why="What the template does not write, the model cannot learn.",
            next=f"{fix.get(part, 'remove these rows')}, or give the base a chat_template.jinja that writes it",
        )
    return DataError(
        what,
        why="The model would learn to answer without having seen it.",
        next=f"remove {role} messages from the dataset, or take a base whose chat template writes them",
    )


def _prove_tools(chat: Chat, around: str) -> None:
    for tool in chat.tools:
        name = str(tool.get("function", tool).get("name", ""))
        if name not in around:
            raise DataError(
                f"the chat template leaves out the tools of {chat.name}",
                why=f"'{name}' is declared, and not written: the model would learn to call what it never saw.",
                next="take a base whose chat template writes tools, or remove 'tools' from the rows",
            )
    for place, message in enumerate(chat.messages):
        for number, call in enumerate(message.get("tool_calls") or ()):
            if any(argument not in around for argument in call["function"]["arguments"]):
                raise _left_out(chat, Piece(place, f"call {number}"))


# --- by prefixes ------------------------------------------------------------------------------------------------------


def _by_prefix(tokenizer: Tokenizer, chat: Chat, text: str, place: int) -> Turn:
    try:
        before = render(tokenizer, chat.until(place), prompt=True)
        through = render(tokenizer, chat.until(place + 1))
    except DataError:  # the template refuses a chat that is cut there
        before = through = text + "x"
    if not text.startswith(through) or not through.startswith(before):
        raise WrongSupervisedSpan(
            f"the answer in message {place + 1} of {chat.name} is not found in what the chat template writes",
            why="The text around an answer changes with the answer itself, or the template rewrites the answer.",
            next="look for tags of the template (<think>, <tool_call>) written out in the row's messages",
        )
    return Turn(place, len(before), len(before), len(through), True)
