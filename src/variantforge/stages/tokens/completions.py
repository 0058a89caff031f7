"""Prompts, and answers to them, as token ids: what methods that compare, score or generate answers are fed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from variantforge.errors import DataError
from variantforge.stages.tokens.outline import in_form, outline_of
from variantforge.stages.tokens.proof import no_stop, prove_calls_do_not_stop, prove_one_bos, prove_turn, wrong_span
from variantforge.stages.tokens.rows import Encoded, encode, learned_span
from variantforge.stages.tokens.template import Chat, Message, render
from variantforge.stages.tokens.turns import Turn, prove_nothing_is_left_out, write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


def tokenize_prompt(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    name: str = "the row",
) -> list[int]:
    """The prompt as at inference: rendered with a generation prompt, tokenized whole, exactly one BOS.

    Raises DataError when the template refuses it or leaves out a part of it, WrongSupervisedSpan for a second BOS.
    """
    chat = Chat(messages, tools or (), name)
    ids = encode(tokenizer, _asked(tokenizer, chat)).ids
    prove_one_bos(tokenizer, chat, ids)
    return ids


def tokenize_completion(
    tokenizer: Tokenizer,
    prompt: Sequence[Message],
    completion: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    stop_ids: Collection[int],
    name: str = "the row",
) -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids) of one answer, ending with its stop token.

    The prompt is tokenized as ``tokenize_prompt`` does. Where no token of the whole text lies across the border the
    two together are the whole text's tokens; where one does (a merge of two line ends), the answer is tokenized by
    itself, as a model that goes on from the prompt's tokens would write it. A prompt that ends with an opening
    ``<think>`` which answers are written without (DeepSeek-R1's) ends before it.

    Raises what ``tokenize_row`` and ``prove_supervision`` raise, and DataError for a completion that is not one
    assistant message.
    """
    _prove_one_answer(completion, name)
    chat = Chat([*prompt, *completion], tools or (), name)
    written = write(tokenizer, chat)
    turn, encoded = written.turns[-1], encode(tokenizer, written.text)
    _, end, closing = learned_span(tokenizer, written.chat, encoded, turn, stop_ids)
    asked = _asked(tokenizer, chat.until(turn.place)) if turn.exact else written.text[: turn.start]
    prompt_ids = encode(tokenizer, asked).ids
    answer = _answer_ids(tokenizer, written.text, encoded, turn, prompt_ids, end) + closing
    prove_one_bos(tokenizer, chat, [*prompt_ids, *answer])
    _prove_completion(tokenizer, chat, prompt_ids, answer, stop_ids)
    return prompt_ids, answer


def _asked(tokenizer: Tokenizer, chat: Chat) -> str:
    outline = outline_of(tokenizer, chat)
    if outline is None:
        return render(tokenizer, chat, prompt=True)
    prove_nothing_is_left_out(tokenizer, chat, outline)
    return render(tokenizer, in_form(chat, outline.form), prompt=True)


def _answer_ids(
    tokenizer: Tokenizer, text: str, encoded: Encoded, turn: Turn, prompt_ids: list[int], end: int
) -> list[int]:
    border = len(prompt_ids)
    if encoded.ids[:border] == prompt_ids and border == encoded.covering(turn.start):
        return encoded.ids[border:end]
    return encode(tokenizer, text[turn.start : encoded.offsets[end - 1][1]]).ids


def _prove_one_answer(completion: Sequence[Message], name: str) -> None:
    roles = [str(message.get("role")) for message in completion]
    if roles != ["assistant"]:
        raise DataError(
            f"the completion of {name} is not one assistant message",
            why=f"It holds: {', '.join(roles) or 'nothing'}. Tokens of other turns would be scored as the model's own.",
            next="move all messages but the last answer into 'prompt'",
        )


def _prove_completion(
    tokenizer: Tokenizer, chat: Chat, prompt: list[int], answer: list[int], stop_ids: Collection[int]
) -> None:
    prove_calls_do_not_stop(tokenizer, chat, stop_ids)
    if not answer or answer[-1] not in stop_ids:
        raise no_stop(tokenizer, chat.name, stop_ids)
    if any(id in stop_ids for id in answer[:-1]):
        raise wrong_span(chat.name, "a stop token stands inside the answer")
    prove_turn(tokenizer, chat, len(chat.messages) - 1, outline_of(tokenizer, chat), prompt, answer[:-1])
