"""Whether llama.cpp, with the template in the file, writes the prompts that transformers writes: text and tokens.

A template is asked only about what it knows (tools, calls, reasoning), as llama.cpp finds out by trying; what it does
not know, llama.cpp makes up and transformers leaves out. The text of plain turns must be equal in all chats: else the
file is refused. The rest is a figure: of some templates llama.cpp writes calls in a way of its own, and some tokenizers
begin the text behind a control token with a space in one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from variantforge.errors import TemplatesDisagree
from variantforge.stages.evaluate.parity.conversations import CONVERSATIONS, Conversation
from variantforge.stages.evaluate.parity.llama import Llama, Refused
from variantforge.stages.evaluate.parity.tokenizer import encoder

_SUPPORTS = {
    "tools": ("supports_tools",),
    "tool_calls": ("supports_tools", "supports_tool_calls"),
    "parallel_tool_calls": ("supports_tools", "supports_tool_calls", "supports_parallel_tool_calls"),
}
_SAME_TEXT = "the text is the same, the tokens are not"
_AROUND = 30  # characters shown on each side of the first difference


@dataclass(frozen=True)
class Written:
    """What one of the two made of a chat: its text and tokens, or why its template refused."""

    text: str = ""
    ids: Sequence[int] = ()
    refused: str = ""


def compare_templates(tokenizer: Any, llama: Llama, template: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows (``conversations``, ``same_prompt``), and facts: chats that were not asked about, and that differ.

    ``template``: the one in the file. Raises TemplatesDisagree.
    """
    _same_source(tokenizer, llama, template)
    rows, differing = [], dict[str, str]()
    left_out, refused = list[str](), list[str]()
    for chat in CONVERSATIONS:
        if not _knows(llama, tokenizer, chat):
            left_out.append(chat.name)
            continue
        ours, theirs = _by_transformers(tokenizer, llama, chat), _by_llama(llama, chat)
        if why := _difference(ours, theirs, tokenizer):
            ours = _by_transformers(tokenizer, llama, chat, enable_thinking=True)  # which llama.cpp always says
            why = _difference(ours, theirs, tokenizer) and why
        if why:
            differing[chat.name] = why
            if not chat.wants and not why.startswith(_SAME_TEXT):
                refused.append(chat.name)
        rows.append({"id": f"template:{chat.name}", "conversations": 1, "same_prompt": int(not why)})
    _judge(llama, differing, refused)
    return rows, {"chats_left_out": left_out, "chats_that_differ": sorted(differing)}


def _same_source(tokenizer: Any, llama: Llama, template: str) -> None:
    own = str(tokenizer.get_chat_template())
    if template != own:
        at = _first_difference(own, template)
        raise TemplatesDisagree(
            f"{llama.file.name} holds another chat template than the model",
            why=f"From character {at} on, the model's is {own[at : at + 60]!r}, the file's {template[at : at + 60]!r}.",
            next="quantize this variant again from its merged model",
        )


def _knows(llama: Llama, tokenizer: Any, chat: Conversation) -> bool:
    """Whether the template reads what the chat holds."""
    if chat.wants == "reasoning":
        return "reasoning_content" in str(tokenizer.get_chat_template())
    if chat.messages[0]["role"] == "system" and not llama.supports.get("supports_system_role", True):
        return False
    return all(llama.supports.get(one) for one in _SUPPORTS.get(chat.wants, ()))


def _by_transformers(tokenizer: Any, llama: Llama, chat: Conversation, **more: Any) -> Written:
    from jinja2 import TemplateError

    messages = chat.messages if llama.supports.get("supports_object_arguments") else list(map(_as_text, chat.messages))
    asked = {"tokenize": False, "add_generation_prompt": chat.prompt, **more}
    try:
        text = str(tokenizer.apply_chat_template(messages, chat.tools or None, **asked))
    except (TemplateError, TypeError, ValueError) as error:
        return Written(refused=str(error) or type(error).__name__)
    return Written(text, encoder(tokenizer)([text])[0])


def _as_text(message: dict[str, Any]) -> dict[str, Any]:
    from variantforge.stages.evaluate.parity.llama import openai

    return openai(message)


def _by_llama(llama: Llama, chat: Conversation) -> Written:
    try:
        text = llama.render(chat)
    except Refused as refused:
        return Written(refused=str(refused))
    return Written(text, llama.tokenize([text], special=True)[0])


def _difference(ours: Written, theirs: Written, tokenizer: Any) -> str:
    """'' or how the two differ. llama.cpp takes the BOS off the text, and puts it back when it makes tokens of it."""
    if ours.refused or theirs.refused:
        if bool(ours.refused) == bool(theirs.refused):
            return ""
        who, why = ("transformers", ours.refused) if ours.refused else ("llama.cpp", theirs.refused)
        return f"{who} refuses it: {why[:200]}"
    bos = tokenizer.bos_token_id
    if bos is not None and list(theirs.ids[:2]) == [bos, bos]:
        return f"in llama.cpp it begins with {tokenizer.bos_token} twice"
    text = ours.text
    if theirs.text != text and tokenizer.bos_token:
        text = text.removeprefix(tokenizer.bos_token)
    if theirs.text != text:
        at = _first_difference(text, theirs.text)
        around = slice(max(0, at - _AROUND), at + _AROUND)
        return f"{text[around]!r} is {theirs.text[around]!r} in llama.cpp"
    if list(ours.ids) != list(theirs.ids):
        begin = f"{list(ours.ids[:6])} begin it, and {list(theirs.ids[:6])} in llama.cpp"
        return f"{_SAME_TEXT}: {begin}"
    return ""


def _first_difference(one: str, other: str) -> int:
    shared = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(shared, min(len(one), len(other)))


def _judge(llama: Llama, differing: dict[str, str], refused: Sequence[str]) -> None:
    if refused:
        raise TemplatesDisagree(
            f"{llama.file.name} writes {len(refused)} plain chats otherwise than transformers does",
            why=f"'{refused[0]}': {differing[refused[0]]}",
            next="give the base a chat_template.jinja that llama.cpp reads as transformers does, and train again",
        )
