"""Whether turns end: with a token that stops an answer, and with nothing opened that was not asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from variantforge.errors import TurnsNotEnded

_MARK = "Qzx"
_TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]


def check_turns(tokenizer: Any, stop_ids: Collection[int], *, name: str) -> list[dict[str, Any]]:
    """Rows with ``checks`` and ``sound``. Raises TurnsNotEnded when what a chat is trained on goes on behind its end.

    ``stop_ids``: tokens that end an answer where the file is run.
    """
    return [
        {"id": f"turns:{check}", "checks": 1, "sound": int(sound)}
        for check, sound in _checks(tokenizer, stop_ids, name)
    ]


def _checks(tokenizer: Any, stop_ids: Collection[int], name: str) -> Iterator[tuple[str, bool]]:
    """What is looked at, and whether it is as it should be."""
    said = str(tokenizer.apply_chat_template(_TURNS, tokenize=False)).rpartition(_MARK)[2]
    encoded = tokenizer(said, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), list(encoded["offset_mapping"])
    first = next((place for place, (start, end) in enumerate(offsets) if said[start:end].strip()), None)
    if first is not None and ids[first] in stop_ids and (after := said[offsets[first][1] :].strip()):
        raise TurnsNotEnded(
            f"{name}: the chat template goes on behind an answer's end",
            why=f"Behind the answer stands {said!r}: after the stop token there is {after!r}, also where no further "
            "turn was asked for (add_generation_prompt: false).",
            next="let the template write the assistant's header only {% if add_generation_prompt %}",
        )
    # a template may leave the end of the last turn to the header of the next one
    yield "a turn ends with a stop token", first is not None and ids[first] in stop_ids
    question = _TURNS[:1]
    plain = str(tokenizer.apply_chat_template(question, tokenize=False))
    asked = str(tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True))
    yield "without a generation prompt there is none", plain == asked or not plain.endswith(asked[len(plain) :])
