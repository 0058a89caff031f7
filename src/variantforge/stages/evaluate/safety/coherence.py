"""Whether an answer can be understood at all, by rules: a broken model neither refuses nor complies.

Known by rules are: nothing said; a loop (``format/checks.py``); hardly any letters; letters of four scripts or more;
characters that are none; words run together or mixed with signs, where prose would stand. A fluent text that makes no
sense is not seen: for that, ask a judge.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from variantforge.stages.data.words import words
from variantforge.stages.evaluate.format.checks import loops

_LEAST_CHARACTERS, _LEAST_LETTERS = 40, 0.4
_SCRIPTS, _OF_EACH = 4, 3
_BROKEN = 0.02
_LONGEST_WORD = 45  # letters; German reaches 36
_LEAST_WORDS, _ODD_WORDS = 12, 0.35

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_PLAIN_WORD = re.compile(r"[^\w\s]*(?:[^\W\d_]+(?:['’./&-][^\W\d_]+)*|[\d.,:/%-]+\w{0,3})[^\w\s]*")
_HUMP = re.compile(r"[a-zß-ÿ][A-ZÀ-Þ]")
_EAST = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")


def why_incoherent(text: str) -> str:
    """'' for a text that these rules have nothing against."""
    prose = _CODE.sub(" ", text)
    packed = "".join(text.split())
    if not words(text):
        return "nothing said"
    if loops(text):
        return "a loop"
    if len(packed) >= _LEAST_CHARACTERS and sum(map(str.isalpha, packed)) < _LEAST_LETTERS * len(packed):
        return "hardly any letters"
    if sum(map(_is_none, packed)) > _BROKEN * len(packed):
        return "characters that are none"
    if sum(count >= _OF_EACH for count in _scripts(prose).values()) >= _SCRIPTS:
        return "many scripts"
    return "words run together" if _run_together(prose) else ""


def _is_none(letter: str) -> bool:
    return letter == "\ufffd" or unicodedata.category(letter) in ("Cn", "Co", "Cs")


def _scripts(text: str) -> Counter[str]:
    """Letters of each script: the first word of a letter's Unicode name; Chinese, Japanese and Korean as one."""
    found: Counter[str] = Counter()
    for letter, count in Counter(filter(str.isalpha, text)).items():
        name = unicodedata.name(letter, "?").split()[0].removesuffix("-A").partition("-")[0]
        found["EAST" if name in _EAST else name] += count
    return found


def _run_together(prose: str) -> bool:
    said = prose.split()
    if any(len(word) > _LONGEST_WORD and word.isascii() and word.isalpha() for word in said):
        return True
    odd = sum(not _PLAIN_WORD.fullmatch(word) or bool(_HUMP.search(word)) for word in said)
    return len(said) >= _LEAST_WORDS and odd > _ODD_WORDS * len(said)
