"""Text as words, the same for texts that differ in case, punctuation, white space and Unicode form only.

A word is a run of letters, digits and underscores, in lower case and NFKC. Scripts written without spaces (Chinese,
Japanese, Thai, Lao, Khmer, Burmese) count each character as a word: else a sentence would be one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text, in reading order."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(text.lower())


def grams(found: Sequence[str], length: int) -> set[Hashable]:
    """All runs of ``length`` words; of a text that is shorter, the one run there is; none of a text without words."""
    if len(found) <= length:
        return {tuple(found)} if found else set()
    return set(zip(*(found[start:] for start in range(length)), strict=False))
