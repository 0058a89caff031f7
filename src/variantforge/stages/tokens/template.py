"""A chat written by the model's own template, and what is said when the template refuses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from variantforge.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

Message = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Chat:
    """Messages and the tools offered to the model. ``name`` says in errors which row this is."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    name: str = "the row"

    def until(self, place: int) -> Chat:
        """The chat before message ``place`` (from 0)."""
        return Chat(self.messages[:place], self.tools, self.name)

    def turns(self) -> list[int]:
        """Places of the assistant's messages."""
        return [place for place, message in enumerate(self.messages) if message["role"] == "assistant"]


def chat_of(row: Row) -> Chat:
    return Chat(row["messages"], row.get("tools") or (), name_of(row))


def name_of(row: Row) -> str:
    source = f" of '{row['source']}'" if row.get("source") else ""
    return f"row {row.get('id', '?')}{source}"


# Some templates write the day (Llama 3.2, gpt-oss). With it, equal steps would give other bytes tomorrow.
_DAY = {"%Y": "2024", "%y": "24", "%m": "07", "%B": "July", "%b": "Jul", "%d": "26", "%A": "Friday", "%a": "Fri"}
_TIME = {"%H": "12", "%M": "00", "%S": "00"}
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{- format"
    + "".join(f" | replace('{mark}', '{value}')" for mark, value in (_DAY | _TIME).items())
    + " -}}{%- endmacro -%}"
)


def on_one_day(template: str) -> str:
    """The template with a clock that stands still, on 26 July 2024, the day that Llama's templates have by default."""
    return _CLOCK + template if "strftime_now" in template else template


def template_of(tokenizer: Tokenizer, chat: Chat) -> str:
    """The template for a chat. Raises DataError when the tokenizer has none."""
    try:
        return on_one_day(str(tokenizer.get_chat_template(tools=_tools(chat))))
    except ValueError as error:
        raise DataError(
            f"{chat.name} is a chat, and the base has no chat template",
            why="Without one nobody knows how the model is to read turns.",
            next="give the base a chat_template.jinja, take an instruct base, or train on text rows",
        ) from error


def render(tokenizer: Tokenizer, chat: Chat, *, prompt: bool = False) -> str:
    """The chat as text; with ``prompt``, ending where the assistant is to begin. Raises DataError when refused.

    transformers runs templates in a sandboxed jinja environment.
    """
    from jinja2 import TemplateError

    messages, template = [dict(message) for message in chat.messages], template_of(tokenizer, chat)
    asked: dict[str, Any] = {"tokenize": False, "add_generation_prompt": prompt, "chat_template": template}
    try:
        text = tokenizer.apply_chat_template(messages, _tools(chat), **asked)
    except (TemplateError, TypeError, ValueError) as error:
        raise DataError(
            f"the chat template refuses {chat.name}",
            why=f"It says: {error}. Roles in the row: {', '.join(str(message.get('role')) for message in messages)}.",
            next="write the row's turns as the base model's template expects them, or take a base whose template does",
        ) from error
    return str(text)


def _tools(chat: Chat) -> list[Any] | None:
    return [dict(tool) for tool in chat.tools] or None
