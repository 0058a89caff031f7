"""How many greedy answers end by themselves, before the cap: a model that has lost its end of turn never stops."""

from __future__ import annotations

from itertools import islice
from typing import Any

from variantforge.stages.evaluate.answers import Prompt, Sampling, answers
from variantforge.stages.evaluate.parity.conversations import CONVERSATIONS
from variantforge.stages.rows import HELDOUT, TRAIN, as_answered, read_rows
from variantforge.step import StepContext


def stop_rate(context: StepContext, count: int, max_new_tokens: int) -> list[dict[str, Any]]:
    """Rows with ``asked``, ``stopped`` and ``answer_tokens``. Raises EvaluateError, Interrupted."""
    asked = _prompts(context, count)
    found = answers(context, asked, Sampling(max_new_tokens=max_new_tokens))
    return [
        {"id": f"stop:{prompt.id}", "asked": 1, "stopped": int(answer.finish == "stop"), "answer_tokens": answer.tokens}
        for prompt, (answer,) in zip(asked, found, strict=True)
    ]


def _prompts(context: StepContext, count: int) -> list[Prompt]:
    """What stands before the last answer of held-out rows; of rows trained on, where too few are held out; then chats
    of our own."""
    data, found = context.inputs["data"].path, dict[str, Prompt]()
    for file in (HELDOUT, TRAIN):
        for row in islice(filter(None, map(as_answered, read_rows(data / file))), 4 * count):
            messages = row.get("messages") or []
            if len(found) < count and messages and messages[-1]["role"] == "assistant":
                found.setdefault(row["id"], Prompt(row["id"], messages[:-1], row.get("tools") or ()))
    own = (
        Prompt(f"made:{chat.name}", chat.messages)
        for chat in CONVERSATIONS
        if not chat.wants and len(chat.messages) == 1
    )
    return [*found.values(), *islice(own, count - len(found))]
