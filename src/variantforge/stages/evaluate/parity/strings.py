"""5,000 texts that tokenizers are known to cut differently, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

COUNT = 5_000
_SEED = 20_260_401

_SENTENCE = (
    "the parser reads one line and returns a node; each request opens a connection, sends its headers and waits "
    "for an answer while nobody has ever measured how long that takes in Zürich or São Paulo"
)
_WORDS = _SENTENCE.split()
_CONTRACTED = (
    "I'm",
    "you're",
    "we've",
    "they'll",
    "he'd",
    "it's",
    "don't",
    "o'clock",
    "y'all'd've",
    "'tis",
    "rock'n'roll",
)
_SUFFIXES = (
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "'S",
    "'T",
    "'RE",
    "'VE",
    "'M",
    "'LL",
    "'D",
    "\u2019s",
    "\u2019t",
)
_SPACES = (
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    " \n",
    "\n ",
    "\t\t",
    "\u00a0",
    "\u3000",
    "\u2003",
    "    ",
    "\n\n\n",
)
_MARKS = tuple(
    "!?.,;:-_/\\|@#$%^&*()[]{}<>+=~`\"'\u2026\u2014\u2013\u00ab\u00bb\u201c\u201d\u00bf\u00a1\u20ac\u00a3\u00a7\u00b0"
)
_CODE = (
    "def add(a, b):\n    return a + b\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}",
    "x = {'key': [1, 2, 3]}",
    "SELECT id, name FROM users WHERE age >= 21;",
    "#include <stdio.h>\r\nint main(void) { return 0; }",
    "const f = async () => await fetch(`/api/${id}`);",
    '<div class="row"><p>Hi&nbsp;you</p></div>',
    'if not x:\n        raise ValueError(f"{x!r}")',
    "a->b::c<T>&&d||e",
    'git commit -m "fix: #42" && cd ../..',
    "\\frac{a}{b} + \\alpha_{1}^{2}",
    "0xFF 0b1010 1e-9 .5f 1_000_000",
    "__init__ camelCase snake_case SCREAMING_CASE",
)
_SCRIPTS = {  # first and last letter of the blocks that words are drawn from
    "latin": ((0x00C0, 0x00FF), (0x0100, 0x017F)),
    "greek": ((0x0391, 0x03A1), (0x03B1, 0x03C9)),
    "cyrillic": ((0x0410, 0x044F),),
    "arabic": ((0x0627, 0x063A), (0x0641, 0x064A)),
    "hebrew": ((0x05D0, 0x05EA),),
    "devanagari": ((0x0905, 0x0939), (0x093E, 0x094C)),
    "thai": ((0x0E01, 0x0E30),),
    "han": ((0x4E00, 0x62FF),),
    "kana": ((0x3041, 0x3093), (0x30A1, 0x30F3)),
    "hangul": ((0xAC00, 0xAFFF),),
}
_EMOJI = (
    "\U0001f600",
    "\U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea",
    "\u2764\ufe0f",
    "\U0001f3f4\u200d\u2620\ufe0f",
    "\U0001f9d1\u200d\U0001f4bb",
    "1\ufe0f\u20e3",
    "\u2705",
    "\U0001f680",
    "\U0001fae0",
)
_COMBINING = (
    "e\u0301",
    "a\u0308",
    "n\u0303",
    "o\u0302\u0323",
    "\u1e69",
    "s\u0323\u0307",
    "\ufb01",
    "\u2460",
    "\u00bd",
    "\u2167",
)


class Text(NamedTuple):
    """``sort`` names what is hard about it."""

    sort: str
    text: str


def texts(special: Sequence[str] = ()) -> list[Text]:
    """All of them. ``special``: the tokenizer's own control and added tokens; every one of them stands in some text
    alone, and in some among words, as far as 5,000 texts go."""
    draw = random.Random(_SEED)
    made = list(islice(_special(draw, special), COUNT // 5))
    makers = list(_MAKERS.items())
    while len(made) < COUNT:
        sort, make = makers[len(made) % len(makers)]
        made.append(Text(sort, make(draw)))
    return made


def _special(draw: random.Random, special: Sequence[str]) -> Iterator[Text]:
    for token in special:
        yield Text("special", token)
    for token in special:
        before, after = draw.choice(_WORDS), draw.choice(_WORDS)
        gap = draw.choice(("", " ", "\n", "  "))
        yield Text("special among words", f"{before}{gap}{token}{gap}{after}")


def _words(draw: random.Random) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randint(1, 12)))


def _contractions(draw: random.Random) -> str:
    made = [
        draw.choice(_CONTRACTED) if draw.random() < 0.5 else draw.choice(_WORDS) + draw.choice(_SUFFIXES)
        for _ in range(6)
    ]
    return " ".join(made)


def _digits(draw: random.Random) -> str:
    number = "".join(draw.choices("0123456789", k=draw.randint(1, 14)))
    form = draw.choice(("{}", "{},{}", "{}.{}", "-{}", "${}", "{}%", "v{}.{}", "{}e{}", "a{}b{}", "{}:{}", " {} {}"))
    return form.format(number, draw.randint(0, 99999))


def _after_blank_lines(draw: random.Random) -> str:
    return "\n".join(f"{draw.choice(_SPACES)}{n}. {draw.choice(_WORDS)}" for n in range(1, draw.randint(2, 12)))


def _spaces(draw: random.Random) -> str:
    parts = [draw.choice(_WORDS + ["7", "x"]) + "".join(draw.choices(_SPACES, k=draw.randint(1, 4))) for _ in range(5)]
    return draw.choice(("", " ", "\n", "\t")) + "".join(parts)


def _marks(draw: random.Random) -> str:
    runs = ("".join(draw.choices(_MARKS, k=draw.randint(1, 5))) for _ in range(4))
    return draw.choice(("", " ")).join(draw.choice(_WORDS) + run for run in runs)


def _code(draw: random.Random) -> str:
    indent = draw.choice(("", " " * draw.randint(1, 17), "\t"))
    return "".join(indent + line for line in draw.choice(_CODE).splitlines(keepends=True)) + draw.choice(
        ("", "\n", "\n\n")
    )


def _cases(draw: random.Random) -> str:
    change = draw.choice((str.upper, str.title, str.swapcase, str.capitalize))
    return draw.choice(("", "_", "-", " ")).join(change(word) for word in draw.choices(_WORDS, k=4))


def _emoji(draw: random.Random) -> str:
    return "".join(draw.choice(_EMOJI) + draw.choice(("", " ", draw.choice(_WORDS))) for _ in range(draw.randint(1, 6)))


def _combining(draw: random.Random) -> str:
    return "".join(draw.choice(_WORDS)[:3] + draw.choice(_COMBINING) for _ in range(4))


def _mixed(draw: random.Random) -> str:
    scripts = draw.sample(sorted(_SCRIPTS), k=3)
    return draw.choice(("", " ", ", ")).join(
        [
            _letters(draw, scripts[0]),
            draw.choice(_WORDS),
            _letters(draw, scripts[1]),
            str(draw.randint(0, 2030)),
            _letters(draw, scripts[2]),
        ]
    )


def _letters(draw: random.Random, script: str) -> str:
    low, high = draw.choice(_SCRIPTS[script])
    return "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 8)))


def _script(script: str) -> Callable[[random.Random], str]:
    return lambda draw: " ".join(_letters(draw, script) for _ in range(draw.randint(1, 6)))


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "words": _words,
    "contractions": _contractions,
    "digits": _digits,
    "numbered lines": _after_blank_lines,
    "white space": _spaces,
    "punctuation": _marks,
    "code": _code,
    "letter case": _cases,
    "emoji": _emoji,
    "combining marks": _combining,
    "mixed scripts": _mixed,
    **{script: _script(script) for script in _SCRIPTS},
}
