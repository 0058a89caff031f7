"""Rows of any known shape -> content of one of the kinds of canonical rows (``stages.rows``).

    preference            chosen, rejected, prompt?, input?, system?       answers, or whole conversations
    unpaired_preference   completion, label, prompt?, input?, system?      an answer or a conversation, good or not
    messages              messages: [{role, content}, ...]                 system, user, assistant and tool turns
    sharegpt              conversations: [{from, value}, ...], system?     human, gpt, function_call, observation, tool
    prompt_completion     prompt, completion                               texts, or lists of messages
    alpaca                instruction, output, input?, history?, system?   instruction and input become one user turn
    text                  text                                             learned from as it is
    prompt_only           prompt, answer?, solution?, tests?, entry_point? for methods that write the answers themselves

Whatever has turns may have ``tools``. A conversation must end with an assistant turn: an answer is what training
learns. Nothing is trimmed or repaired. Canonical rows are read as what they are: a written file gives its rows again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from variantforge.stages.data.formats import chats, preferences, prompts
from variantforge.stages.data.formats.values import Content, Values


@dataclass(frozen=True)
class Format:
    """``content`` is handed the fields of one row and raises BadRow when they are not usable.

    ``kind``: of ``rows.KINDS``, what its rows become. ``shape``: one row of it, as messages show it. ``also``: field ->
    columns that 'auto' takes for it where the field's own name is no column.
    """

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    content: Callable[[Values], Content]
    shape: str
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[str, ...]:
        return self.required + self.optional


# In the order in which 'auto' tries them: the more telling columns first.
FORMATS: dict[str, Format] = {
    "preference": Format(
        "preference",
        ("chosen", "rejected"),
        ("prompt", "input", "system", "tools"),
        preferences.preference,
        '{"prompt": "…", "chosen": "…", "rejected": "…"}, each a text or a list of messages',
        {"prompt": ("question", "instruction", "conversations")},
    ),
    "unpaired_preference": Format(
        "unpaired_preference",
        ("completion", "label"),
        ("prompt", "input", "system", "tools"),
        preferences.unpaired_preference,
        '{"prompt": "…", "completion": "…", "label": true}',
    ),
    "messages": Format(
        "messages",
        ("messages",),
        ("system", "tools"),
        chats.messages,
        '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
        {"messages": ("conversations",)},
    ),
    "sharegpt": Format(
        "messages",
        ("conversations",),
        ("system", "tools"),
        chats.sharegpt,
        '{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}',
        {"conversations": ("messages",)},
    ),
    "prompt_completion": Format(
        "messages",
        ("prompt", "completion"),
        ("input", "system", "tools"),
        chats.prompt_completion,
        '{"prompt": "…", "completion": "…"}, each a text or a list of messages',
    ),
    "alpaca": Format(
        "messages",
        ("instruction", "output"),
        ("input", "history", "system"),
        chats.alpaca,
        '{"instruction": "…", "input": "…", "output": "…"}',
    ),
    "text": Format("text", ("text",), (), chats.plain, '{"text": "…"}'),
    "prompt_only": Format(
        "prompt_only",
        ("prompt",),
        ("answer", "solution", "tests", "entry_point", "extra", "input", "system", "tools"),
        prompts.prompt_only,
        '{"prompt": "…"}, a text or a list of messages, and perhaps "answer", "tests", "entry_point"',
    ),
}


def kind_of_format(name: str) -> str | None:
    """Which kind of canonical row a format makes; None for ``auto``, whose rows decide."""
    return FORMATS[name].kind if name != "auto" else None
