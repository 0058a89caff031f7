"""When two prompts are one, and which added tokens may be told otherwise."""

from __future__ import annotations

from types import SimpleNamespace as Made

import pytest

from variantforge.stages.evaluate.parity.added_tokens import _complaint
from variantforge.stages.evaluate.parity.template import Written, _difference

TOKENIZER = Made(bos_token="<s>", bos_token_id=1)
OURS = Written("<s>hello", [1, 7])


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (OURS, Written("<s>hello", [1, 7]), ""),
        (OURS, Written("hello", [1, 7]), ""),  # llama.cpp takes BOS off the text, and puts it before the tokens
        (OURS, Written("<s>hello", [1, 1, 7]), "in llama.cpp it begins with <s> twice"),
        (OURS, Written("hallo", [1, 8]), "'hello' is 'hallo' in llama.cpp"),
        (OURS, Written("hello", [1, 9, 7]), "the text is the same, the tokens are not"),
        (OURS, Written(refused="no system"), "llama.cpp refuses it: no system"),
        (Written(refused="no system"), OURS, "transformers refuses it: no system"),
        (Written(refused="no system"), Written(refused="roles must alternate"), ""),
    ],
    ids=["equal", "without BOS", "BOS twice", "text", "tokens", "refused there", "refused here", "refused by both"],
)
def test_prompts_are_one_or_the_difference_is_told(ours: Written, theirs: Written, told: str):
    found = _difference(ours, theirs, TOKENIZER)
    assert found.startswith(told)
    assert bool(found) == bool(told)


CONTROL, TEXT = Made(content="<|end|>", special=True), Made(content="\t\t", special=False)
NAMES = ["a", "b", "<|end|>", "\t\t"]


@pytest.mark.parametrize(
    ("id", "token", "ids", "type", "told"),
    [
        (2, CONTROL, [2], 3, ""),
        (2, CONTROL, [2], 2, ""),
        (2, CONTROL, [2], 1, "its type is NORMAL"),
        (2, CONTROL, [2], 4, "its type is USER_DEFINED"),
        (2, CONTROL, [0, 1], 3, "llama.cpp makes [0, 1] of it"),
        (1, CONTROL, [1], 3, "token 1 of the file is 'b'"),
        (9, CONTROL, [9], 3, "the file has no token 9"),
        (3, TEXT, [3], 4, ""),
        (3, TEXT, [3], 3, ""),
        (3, TEXT, [3], 1, "its type is NORMAL"),
    ],
)
def test_an_added_token_is_one_token_of_its_type(id: int, token: Made, ids: list[int], type: int, told: str):
    found = _complaint(id, token, ids, NAMES, [type] * len(NAMES))
    assert told in found
    assert bool(found) == bool(told)
