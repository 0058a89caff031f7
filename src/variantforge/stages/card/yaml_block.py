"""The YAML block on top of any README.md: read strictly whoever wrote it, written in one way only.

Entries are kept with their own lines, so that what people wrote there can be carried over as they wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from variantforge.spec.yaml_events import MAX_BYTES, Node, plain_value, read_yaml

_FENCE = re.compile(r"\s*---[ \t]*(?:\r\n|\r|\n)")  # leading blank lines are what huggingface_hub allows, too
_CLOSING = re.compile(r"^---[ \t]*(?:\r\n|\r|\n|\Z)", re.MULTILINE)


class Entry(NamedTuple):
    """One key of the block with the lines it stands on; ``key`` is None for lines of comments alone."""

    key: str | None
    value: Any
    text: str


class Block(NamedTuple):
    """``entries`` in their order, and ``unread``: lines that are no plain YAML (a tag, an alias, a key that stands
    twice, a syntax error), as text."""

    entries: tuple[Entry, ...] = ()
    unread: str = ""

    @property
    def values(self) -> dict[str, Any]:
        return {entry.key: entry.value for entry in self.entries if entry.key is not None}


def split_block(text: str) -> tuple[str, str, str] | None:
    """A README's opening fence, the lines between the fences, and the closing fence with all that follows.

    None when there is no such block: a fence that is never closed opens nothing.
    """
    start = _FENCE.match(text)
    end = _CLOSING.search(text, start.end()) if start else None
    if start is None or end is None:
        return None
    return text[: start.end()], text[start.end() : end.start()], text[end.start() :]


def read_block(text: str) -> Block:
    """What stands between the fences. Bounded in size, depth and number of values; never raises."""
    text = text if text.endswith("\n") else text + "\n"
    lines = text[:-1].split("\n")
    if all(_is_gap(line) for line in lines):
        return Block(_comments(lines))
    root, bad = _strictly(text)
    if root is None or not isinstance(root.children, dict) or not bad <= root.children.keys():
        return Block(unread=text.strip("\n"))
    places = {key: node.key_mark for key, node in root.children.items() if node.key_mark}
    starts = [mark.line - 1 for mark in places.values()]
    if any(mark.column != 1 for mark in places.values()) or len(set(starts)) < len(starts):
        return _rewritten(root, bad, text)
    entries: list[Entry] = list(_comments(lines[: starts[0]]))
    unread: list[str] = []
    for key, start, end in zip(places, starts, [*starts[1:], len(lines)], strict=True):
        value, own = root.children[key].value, lines[start:end]
        if key in bad or not _reads_as(own, {key: value}):
            unread += own
            continue
        kept = _without_gap(own)
        kept = kept if _reads_as(kept, {key: value}) else own  # blank lines may be part of a literal text
        entries += [Entry(key, value, "\n".join(kept)), *_comments(own[len(kept) :])]
    return Block(tuple(entries), "\n".join(unread).strip("\n"))


def write_block(values: Mapping[str, Any]) -> str:
    """Lines of YAML: top-level keys in the order given, those inside sorted; equal values give equal lines.

    Texts that YAML 1.2 or 1.1 would take for something else are quoted, since readers of both kinds are about.
    """
    return write_yaml({key: _canonical(value) for key, value in values.items()}) if values else ""


def write_yaml(value: Any) -> str:
    dumped: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)
    return dumped.rstrip("\n")


def _strictly(text: str) -> tuple[Node | None, set[Any]]:
    """The root, and the top-level keys (None: the block itself) in which something is no plain YAML."""
    if len(text) > MAX_BYTES:
        return None, set()
    try:
        root, complaints = read_yaml(text)
    except (UnicodeError, yaml.YAMLError):
        return None, set()
    return root, {complaint.path[0] if complaint.path else None for complaint in complaints}


def _reads_as(lines: list[str], values: Mapping[str, Any]) -> bool:
    root, bad = _strictly("\n".join(lines) + "\n")
    return root is not None and not bad and root.value == values


def _rewritten(root: Node, bad: set[Any], text: str) -> Block:
    """A block whose keys do not stand on lines of their own (``{a: 1, b: 2}``): its values, on lines of ours."""
    if bad:
        return Block(unread=text.strip("\n"))
    return Block(tuple(Entry(key, value, write_block({key: value})) for key, value in root.value.items()))


def _is_gap(line: str) -> bool:
    """Nothing, a comment, or the end of a document, after which no key could be added."""
    return not line.strip() or line.startswith("#") or line.rstrip() == "..."


def _without_gap(lines: list[str]) -> list[str]:
    """Without the blank lines and comments at the end: they belong to what follows."""
    end = len(lines)
    while end > 1 and _is_gap(lines[end - 1]):
        end -= 1
    return lines[:end]


def _comments(lines: list[str]) -> tuple[Entry, ...]:
    told = [line for line in lines if line.startswith("#")]
    return (Entry(None, None, "\n".join(told)),) if told else ()


def _canonical(value: Any) -> Any:
    """Keys sorted, whole floats as whole numbers: editors written in JavaScript know no other."""
    if isinstance(value, Mapping):
        return {key: _canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        quoted = plain_value(text) != text
    except ValueError:
        quoted = True
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quoted else None)


_Dumper.add_representer(str, _text)
