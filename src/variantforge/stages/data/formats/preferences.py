"""What answers are worth: one better than another (``preference``), or good or bad by itself (``unpaired``)."""

from __future__ import annotations

from typing import Any

from variantforge.stages.data.formats.chats import answer_in
from variantforge.stages.data.formats.order import offered, prove_order, with_system
from variantforge.stages.data.formats.prompts import prompt_in, prove_prompt
from variantforge.stages.data.formats.tools import tools_in
from variantforge.stages.data.formats.turns import Message
from variantforge.stages.data.formats.values import Content, Values, is_missing, optional_text
from variantforge.stages.data.sources import BadRow, kind

_LABELS: dict[Any, bool] = {"true": True, "false": False, "1": True, "0": False}


def preference(fields: Values) -> Content:
    """Answers to a prompt of its own, or two whole conversations: what they begin with alike is the prompt."""
    chosen, rejected = answer_in(fields, "chosen"), answer_in(fields, "rejected")
    if chosen == rejected:
        raise BadRow("chosen and rejected are equal", "chosen and rejected are equal: nothing is preferred")
    if chosen[0]["role"] == "assistant" and rejected[0]["role"] == "assistant":
        prompt = _asked(fields)
    else:
        system = optional_text(fields, "system")
        prompt, chosen, rejected = split(with_system(chosen, system), with_system(rejected, system))
        _prove_same_prompt(fields, prompt)
    prove_prompt(prompt)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        _prove_answer(name, prompt, answer)
    tools = offered([*prompt, *chosen, *rejected], tools_in(fields.get("tools")))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected} | tools


def _asked(fields: Values) -> list[Message]:
    if is_missing(fields.get("prompt")):
        raise BadRow("no prompt", "no prompt: neither a column of its own, nor conversations that begin with one")
    return prompt_in(fields)


def split(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt and two answers out of two whole conversations: the longest common beginning after which both answer.

    ``prompt + chosen`` and ``prompt + rejected`` are the conversations. Raises BadRow when nothing is in common.
    """
    shared = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        shared += 1
    shared = min(shared, len(chosen) - 1, len(rejected) - 1)
    while shared and not _answers_from(shared, chosen, rejected):
        shared -= 1
    if not shared:
        raise BadRow("no common prompt", "chosen and rejected have no first user turn in common")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _answers_from(start: int, *conversations: list[Message]) -> bool:
    asked = all(turns[start - 1]["role"] in ("user", "tool") for turns in conversations)
    return asked and all(turns[start]["role"] == "assistant" for turns in conversations)


def _prove_same_prompt(fields: Values, shared: list[Message]) -> None:
    """A prompt column beside whole conversations says again what they begin with, or something is wrong."""
    if is_missing(fields.get("prompt")):
        return
    said = prompt_in({**fields, "system": ""})
    asked = [message for message in shared if message["role"] == "user"]
    if said not in (shared, shared[1:], asked[:1], asked[-1:]):
        detail = "there are whole conversations beside the prompt, and it is not what they begin with"
        raise BadRow("the prompt is not that of the conversation", detail)


def unpaired_preference(fields: Values) -> Content:
    """An answer to a prompt of its own, or a whole conversation: its last turn is what was judged."""
    completion = answer_in(fields, "completion")
    if completion[0]["role"] == "assistant":
        prompt = _asked(fields)
    else:
        *prompt, last = with_system(completion, optional_text(fields, "system"))
        completion = [last]
        _prove_same_prompt(fields, prompt)
    prove_prompt(prompt)
    _prove_answer("completion", prompt, completion)
    tools = offered([*prompt, *completion], tools_in(fields.get("tools")))
    return {"prompt": prompt, "completion": completion, "label": label_in(fields["label"])} | tools


def label_in(value: Any) -> bool:
    """Good or bad: true or false, 1 or 0, also as text. Raises BadRow."""
    if isinstance(value, bool):
        return value
    known = str(value).lower() if isinstance(value, str | int) else ""
    if known not in _LABELS:
        shown = f" ({value!r})"[:40] if isinstance(value, str | int | float) else ""
        raise BadRow("label is neither true nor false", f"label is {kind(value)}{shown}, not true or false")
    return _LABELS[known]


def _prove_answer(name: str, prompt: list[Message], answer: list[Message]) -> None:
    try:
        prove_order([*prompt, *answer])
    except BadRow as bad:
        raise BadRow(bad.reason, f"prompt and {name}: {bad.detail}") from None
    for turn, which in ((answer[0], "first"), (answer[-1], "last")):
        if turn["role"] != "assistant":
            raise BadRow(f"{name} is no answer", f"the {which} turn of {name} is {turn['role']}, expected assistant")
