"""Each added token of the tokenizer: in the file one token of the right type, and in llama.cpp one id.

A control token that a file calls ordinary text is cut into pieces, and no turn ends any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from variantforge.errors import WrongTokenType
from variantforge.stages.evaluate.parity.llama import Llama
from variantforge.stages.quantize.gguf_file import GgufFile

TYPES = {1: "NORMAL", 2: "UNKNOWN", 3: "CONTROL", 4: "USER_DEFINED", 5: "UNUSED", 6: "BYTE"}  # ggml's gguf.md
_CONTROL = {"CONTROL", "UNKNOWN"}  # the token for what is unknown has a type of its own
_TEXT = {"CONTROL", "USER_DEFINED", "UNKNOWN"}  # the converter makes control tokens of those that look like it


def check_added_tokens(tokenizer: Any, file: GgufFile, llama: Llama) -> list[dict[str, Any]]:
    """Rows with ``added`` and ``whole``. Raises WrongTokenType with the control tokens that are none.

    Added tokens that are text are counted only: converters write those with white space in a way of their own.
    """
    added = dict(sorted(tokenizer.added_tokens_decoder.items()))
    names, types = file.get("tokenizer.ggml.tokens", []), file.get("tokenizer.ggml.token_type", [])
    encoded = llama.tokenize([token.content for token in added.values()])
    complaints = {
        id: why
        for (id, token), ids in zip(added.items(), encoded, strict=True)
        if (why := _complaint(id, token, ids, names, types))
    }
    if wrong := [why for id, why in complaints.items() if added[id].special]:
        raise WrongTokenType(
            f"{file.path.name}: {len(wrong)} of {len(added)} added tokens are not the control tokens they should be",
            why="\n".join(wrong[:5]) + (f"\nand {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            next="make the file with a converter that knows this tokenizer, and quantize again",
        )
    return [{"id": f"token:{id}", "added": 1, "whole": int(id not in complaints)} for id in added]


def _complaint(id: int, token: Any, ids: Sequence[int], names: Sequence[str], types: Sequence[int]) -> str:
    """'' or what is wrong with one added token."""
    if id >= len(names):
        return f"{token.content}: the file has no token {id}"
    if names[id] != token.content:
        return f"{token.content}: token {id} of the file is {names[id]!r}"
    type = TYPES.get(types[id] if id < len(types) else 1, "of no known type")
    allowed = _CONTROL if token.special else _TEXT
    if type not in allowed:
        return f"{token.content}: its type is {type}, which should be {' or '.join(sorted(allowed))}"
    if list(ids) != [id]:
        return f"{token.content}: llama.cpp makes {list(ids[:8])} of it, not {id}"
    return ""
