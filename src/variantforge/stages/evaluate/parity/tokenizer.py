"""Whether two tokenizers cut 5,000 texts into the same tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from variantforge.errors import TokenizersDisagree
from variantforge.stages.evaluate.parity.strings import Text, texts

AT_MOST = 0.005  # of the texts; another pre-tokenizer moves 3 % and more of them, see docs/parity.md
_PER_ROW = 50
Encode = Callable[[Sequence[str]], list[list[int]]]


def compare_tokenizers(tokenizer: Any, theirs: Encode, *, file: str) -> list[dict[str, Any]]:
    """Rows of 50 texts each: ``strings``, and how many of them have ``same_ids``.

    Raises TokenizersDisagree when more than ``AT_MOST`` of them differ, or one that a control token stands alone in.
    """
    asked = texts(sorted(token.content for token in tokenizer.added_tokens_decoder.values()))
    ours, found = encoder(tokenizer)([it.text for it in asked]), theirs([it.text for it in asked])
    different = [place for place in range(len(asked)) if ours[place] != found[place]]
    _judge(tokenizer, asked, ours, found, different, file)
    return list(_rows(len(asked), set(different)))


def encoder(tokenizer: Any) -> Encode:
    """A transformers tokenizer, control tokens in texts taken as such and none added."""

    def encode(texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    return encode


def _rows(count: int, different: set[int]) -> Iterable[dict[str, Any]]:
    for number, start in enumerate(range(0, count, _PER_ROW)):
        places = range(start, min(start + _PER_ROW, count))
        same = sum(place not in different for place in places)
        yield {"id": f"tokenizer:{number:03d}", "strings": len(places), "same_ids": same}


def _judge(
    tokenizer: Any,
    asked: Sequence[Text],
    ours: Sequence[list[int]],
    theirs: Sequence[list[int]],
    different: Sequence[int],
    file: str,
) -> None:
    alone = [place for place in different if asked[place].sort == "special"]
    if not alone and len(different) <= AT_MOST * len(asked):
        return
    first = (alone or different)[0]
    sorts = Counter(asked[place].sort for place in different).most_common(4)
    raise TokenizersDisagree(
        f"{file} cuts text into other tokens than the model has learned: {len(different):,} of {len(asked):,} texts",
        why=f"{asked[first].text!r} is {_pieces(tokenizer, ours[first])}, "
        f"and there {_pieces(tokenizer, theirs[first])}. "
        f"Most of them: {', '.join(f'{sort} ({count})' for sort, count in sorts)}. "
        "The pre-tokenizer (tokenizer.ggml.pre), the merges or the added tokens are others.",
        next="make the file with a converter that knows this tokenizer, and quantize again",
    )


def _pieces(tokenizer: Any, ids: Sequence[int]) -> str:
    pieces = tokenizer.convert_ids_to_tokens(list(ids[:12]))
    return f"{pieces}{' ...' if len(ids) > 12 else ''}"
