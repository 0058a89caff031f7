"""README.md as two hands write it: ours between two markers and under our front-matter keys, people's all around.

Laws, for every text ``x`` and every card that ``card_text`` made:

    managed(compose(card, x)) == card
    compose(card, compose(card, x)) == compose(card, x)
    compose(card, None) == compose(card, card) == card
    managed(with_new_version(compose(card, x), repo)) == card
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from variantforge.stages.card.yaml_block import Block, read_block, split_block, write_block

# Front-matter keys that we write, in our order. All others are people's: thumbnail, widget, extra_gated_prompt, ...
MANAGED_KEYS = (
    "license",
    "license_name",
    "license_link",
    "language",
    "library_name",
    "pipeline_tag",
    "tags",
    "datasets",
    "base_model",
    "base_model_relation",
    "model-index",
)
BEGIN = (
    "<!-- variantforge:begin - variantforge writes what stands from here to the end marker anew with every release; "
    "write above or below, and your text stays -->"
)
END = "<!-- variantforge:end - below this line the text is yours -->"
NEW_VERSION = "new_version"

_MARKER = re.compile(r"<!--[ \t]*variantforge:(begin|end)\b[^>\n]{0,300}-->")
_NEW_VERSION_LINES = re.compile(
    r"^([\"']?)new_version\1[ \t]*:[^\r\n]*(?:\r?\n|\Z)(?:[ \t][^\r\n]*(?:\r?\n|\Z))*", re.MULTILINE
)
_UNREAD = "The front matter of this page held lines that are no plain YAML. They are kept here:"


@dataclass(frozen=True)
class _Readme:
    """A README.md taken apart. ``ours`` is None when there is no begin marker with an end marker after it;
    ``open`` is what follows a begin marker without an end."""

    block: Block
    before: str
    ours: str | None
    after: str
    open: str = ""


def card_text(front: Mapping[str, Any], body: str) -> str:
    """A card as it is where nobody but us has written. Raises ValueError for a front-matter key that is not ours, and
    for none at all: text above the marker could then be taken for front matter."""
    if not front:
        raise ValueError("a card without front matter")
    if foreign := set(front) - set(MANAGED_KEYS):
        raise ValueError(f"front-matter keys that are left to people: {', '.join(sorted(foreign))}")
    return _joined(_front(front), [_block(_MARKER.sub(_defused, body))])


def compose(card: str, remote: str | None) -> str:
    """The README.md to publish: ``card``, and all that people wrote into ``remote`` (the README.md there now).

    Kept are the text before and after the markers, comments and keys of the front matter that are not ours, and, of
    a page without our markers, the whole text, below ours. Front matter that is no plain YAML (a syntax error, tags,
    aliases, a key that stands twice, more than 256 KiB) is kept as text at the end. Where the end marker is
    missing, our part ends at the first line that is not in ``card``; a second managed part is dropped.
    Raises ValueError when ``card`` itself has no managed part.
    """
    own, theirs = _read(card), _read(remote or "")
    if own.ours is None:
        raise ValueError("a card without its markers")
    front, carried = _front(_managed_values(own)), _carried(theirs)
    unread = theirs.block.unread
    if carried and read_block(f"{front}\n{carried}").unread:  # each reads alone, together they are too much
        carried, unread = "", f"{carried}\n{unread}".strip("\n")
    rest = [theirs.before, _block(own.ours), _beyond(own.ours, theirs.open), theirs.after, _fenced(unread)]
    return _joined("\n".join(filter(None, [front, carried])), rest)


def managed(text: str) -> str:
    """Our part of a README.md alone, in canonical form: two pages are equal here exactly when nothing of ours differs.

    The order of keys, quoting, line ends, and all that people wrote around it, make no difference. Of a page without
    (whole) markers only our front-matter keys are left: it equals no card.
    """
    readme = _read(text)
    return _joined(_front(_managed_values(readme)), [] if readme.ours is None else [_block(readme.ours)])


def new_version(text: str) -> str | None:
    """The repo that the Hub's banner sends readers of this page to."""
    named = _read(text).block.values.get(NEW_VERSION)
    return named if isinstance(named, str) else None


def with_new_version(text: str, repo: str) -> str:
    """The page with ``new_version: repo`` in its front matter, and everything else as it was."""
    line = write_block({NEW_VERSION: repo})
    split = split_block(text)
    if split is None:
        head = "\ufeff" if text.startswith("\ufeff") else ""
        split = split_block(text.removeprefix("\ufeff"))
        if split is None:
            return f"{head}---\n{line}\n---\n{text.removeprefix(head)}"
        split = (head + split[0], *split[1:])
    opening, inner, rest = split
    end = _line_end(opening)
    changed = _NEW_VERSION_LINES.sub("", inner) + line + end
    if read_block(_unix(changed)).unread and not read_block(_unix(inner)).unread:  # {a: 1, b: 2}, say
        changed = write_block(read_block(_unix(inner)).values | {NEW_VERSION: repo}).replace("\n", end) + end
    return opening + changed + rest


def without_new_version(text: str) -> str:
    """The page without that key, and everything else as it was."""
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    split = split_block(text.removeprefix(bom))
    if split is None:
        return text
    opening, inner, rest = split
    kept = _NEW_VERSION_LINES.sub("", inner)
    if kept == inner and NEW_VERSION in (values := read_block(_unix(inner)).values):
        del values[NEW_VERSION]
        kept = write_block(values).replace("\n", _line_end(opening)) + _line_end(opening) if values else ""
    if not kept.strip() and inner.strip():
        return bom + rest[rest.index("---") + 3 :].lstrip(" \t").removeprefix(_line_end(opening))
    return bom + opening + kept + rest


def _read(text: str) -> _Readme:
    text = _unix(text).removeprefix("\ufeff")
    split = split_block(text)
    block = read_block(split[1]) if split else Block()
    body = split[2].partition("\n")[2] if split else text
    begin = next((found for found in _MARKER.finditer(body) if found[1] == "begin"), None)
    if begin is None:
        return _Readme(block, "", None, _theirs(body))
    before, inside = _theirs(body[: begin.start()]), body[begin.end() :]
    end = next((found for found in _MARKER.finditer(inside) if found[1] == "end"), None)
    if end is None:
        return _Readme(block, before, None, "", _theirs(inside))
    return _Readme(block, before, inside[: end.start()].strip(), _theirs(inside[end.end() :]))


def _theirs(text: str) -> str:
    """What people wrote: without further managed parts, which are copies of ours, and markers that mark nothing."""
    kept, start, inside = [], 0, False
    marks = list(_MARKER.finditer(text))
    for place, mark in enumerate(marks):
        closes = any(later[1] == "end" for later in marks[place + 1 : place + 2])
        if not inside:
            kept.append(text[start : mark.start()])
        inside, start = mark[1] == "begin" and closes, mark.end()
    return "\n".join([*kept, text[start:]]).strip("\n")


def _managed_values(readme: _Readme) -> dict[str, Any]:
    values = readme.block.values
    return {key: values[key] for key in MANAGED_KEYS if key in values}


def _carried(theirs: _Readme) -> str:
    return "\n".join(entry.text for entry in theirs.block.entries if entry.key not in MANAGED_KEYS)


def _beyond(ours: str, unclosed: str) -> str:
    """Of a managed part that has lost its end: what comes after the lines that are still as we write them."""
    own, there = ours.split("\n"), unclosed.split("\n")
    same = next((place for place, pair in enumerate(zip(own, there, strict=False)) if pair[0] != pair[1]), len(own))
    return "\n".join(there[same:]).strip("\n")


def _front(values: Mapping[str, Any]) -> str:
    return write_block({key: values[key] for key in MANAGED_KEYS if key in values})


def _block(body: str) -> str:
    return f"{BEGIN}\n\n{_unix(body).strip()}\n\n{END}"


def _joined(front: str, parts: list[str]) -> str:
    fenced = [f"---\n{front}\n---"] if front else []
    return "\n\n".join([*fenced, *filter(None, parts)]) + "\n"


def _fenced(unread: str) -> str:
    """Text that no longer is front matter, as a block of code; its fence is longer than any inside."""
    if not unread:
        return ""
    unread = _MARKER.sub(_defused, unread)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", unread)), default=0))
    return f"{_UNREAD}\n\n{fence}yaml\n{unread}\n{fence}"


def _defused(marker: re.Match[str]) -> str:
    return marker[0].replace("<!--", "<! --")


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line_end(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else "\r" if line.endswith("\r") else "\n"
