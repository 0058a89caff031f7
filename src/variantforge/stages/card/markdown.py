"""Writing Markdown that means what its author meant: text is escaped unless it was made here.

Every value that a template prints passes ``printed``: foreign text comes out as plain words on one line, whatever
it holds; a float that no filter has rounded is a mistake in the template, and an error.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_SPECIAL = re.compile(r"([\\`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_]))")  # '_' between letters is only itself
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_JOINERS = "\u200c\u200d"  # invisible, but part of words and emoji
_BLOCK_START = re.compile(r"(?:[-+=]|\d+[.)](?= |$))")


class Reading(Protocol):
    """A value with its 95 % interval, as evaluations and gates give it."""

    @property
    def value(self) -> float | None: ...

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...


class Metric(Protocol):
    """A metric by name, and which way is better: ``lower``, ``higher`` or None."""

    @property
    def name(self) -> str: ...

    @property
    def better(self) -> str | None: ...


class Markdown(str):
    """Text that is Markdown already, made by this module."""


def one_line(text: str) -> str:
    """The text on one line, without control characters, lone surrogates, or other characters nobody sees."""
    seen = (c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cf", "Cs") or c in _JOINERS)
    return " ".join("".join(seen).split())


def plain(text: str) -> Markdown:
    """Foreign text as words: no heading, list, table cell, link, image, code, math or HTML comes of it."""
    escaped = _SPECIAL.sub(r"\\\1", "".join(_ENTITIES.get(c, c) for c in one_line(text)))
    if start := _BLOCK_START.match(escaped):
        escaped = f"{escaped[: start.end() - 1]}\\{escaped[start.end() - 1 :]}"
    return Markdown(escaped)


def code(value: Any) -> Markdown:
    """A name or value as inline code; also fit for a cell of a table."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    text = one_line(text).replace("`", "'").replace("|", "\\|")
    return Markdown(f"`{text or ' '}`")


def literal(value: str) -> Markdown:
    """A value as a string of a Python or shell snippet; it cannot close the string, the line or the block."""
    return Markdown(json.dumps(one_line(value), ensure_ascii=False).replace("$", "\\u0024").replace("`", "\\u0060"))


def word(value: str) -> Markdown:
    """An id or file name as one word of a shell line."""
    return Markdown(re.sub(r"[^\w./:+-]", "", value, flags=re.ASCII))


def figure(value: float) -> Markdown:
    """Four significant digits; whole thousands with separators; counts as they are."""
    if isinstance(value, int) or abs(value) >= 1000:
        return Markdown(f"{value:,.0f}")
    return Markdown(f"{value:.4g}")


def reading(it: Reading | None) -> Markdown:
    """A measured value with its interval in brackets; a dash for what was not measured."""
    if it is None or it.value is None:
        return Markdown("–")
    if it.low is None or it.high is None:
        return figure(it.value)
    return Markdown(f"{figure(it.value)} ({figure(it.low)} to {figure(it.high)})")


def value(it: Reading | None) -> Markdown:
    """The value alone, where its interval stands elsewhere."""
    return Markdown("–") if it is None or it.value is None else figure(it.value)


def metric(it: Metric) -> Markdown:
    """``heldout.loss ↓``: the metric's name and which way is better."""
    arrow = {"lower": " ↓", "higher": " ↑"}.get(it.better or "", "")
    return Markdown(f"{code(it.name)}{arrow}")


def count(n: int | None) -> Markdown:
    return Markdown("–") if n is None else figure(n)


def subject(name: str) -> Markdown:
    """What was measured, for people: ``base``, ``merged``, ``Q4_K_M``."""
    return plain(name.removeprefix("gguf:"))


def hub_link(id: str, kind: str = "") -> Markdown:
    return Markdown(f"[{plain(id)}](https://huggingface.co/{kind}{quote(id)})")


def hub_dataset(id: str) -> Markdown:
    return hub_link(id, "datasets/")


def percent(share: float) -> Markdown:
    return Markdown(f"{100 * share:.3g} %")


def size(size_bytes: int) -> Markdown:
    """In decimal units, as the Hub shows sizes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return Markdown(f"{figure(size_bytes / factor)} {unit}")
    return Markdown(f"{size_bytes} bytes")


_FILTERS = (code, literal, word, figure, percent, size, reading, value, metric, count, subject, hub_link, hub_dataset)


def printed(value: Any) -> str:
    """What a template's ``{{ value }}`` becomes."""
    if isinstance(value, Markdown):
        return value
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return figure(value)
    raise TypeError(f"a template prints {value!r}: give it to a filter first")


@cache
def environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Undefined) else printed(value)

    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        finalize=finalize,
        autoescape=False,  # HTML's rules are not Markdown's: ``finalize`` escapes
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for filter in _FILTERS:
        made.filters[filter.__name__] = filter
    return made


def render(template: str, **values: Any) -> str:
    """The template filled in, without runs of empty lines. Raises jinja2.UndefinedError for a missing value."""
    text = environment().get_template(template).render(**values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
