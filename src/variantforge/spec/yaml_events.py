"""Strict YAML 1.2: text -> a tree of nodes that know their places, and everything the text may not hold.

PyYAML's parser (libyaml where it is built in) is read as *events*: it constructs nothing, so a tag can call nothing
and an alias can multiply nothing. Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema):
``yes``, ``no``, ``on``, ``off`` and ``1:30`` are text, ``017`` is 17, ``0o17`` is 15, ``2e-4`` is a float.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000
MAX_INT = 2**63 - 1

KeyPath = tuple[str | int, ...]


class Mark(NamedTuple):
    """A place in the file; both count from one."""

    line: int
    column: int


class Complaint(NamedTuple):
    """One thing wrong, before its place is spelled out."""

    mark: Mark
    path: KeyPath
    text: str


class Node:
    """A value with its place, the place of its key, and the nodes inside it.

    ``unread`` marks a value that the text did not really give (an alias, a tag): nothing more is said about it.
    ``gaps`` marks a mapping some keys of which could not be read: what it lacks is not said.
    """

    __slots__ = ("children", "gaps", "key_mark", "mark", "unread", "value")

    def __init__(self, mark: Mark, value: Any, children: dict[str, Node] | list[Node] | None = None) -> None:
        self.mark, self.value, self.children = mark, value, children
        self.key_mark: Mark | None = None
        self.unread = self.gaps = False


class Unreadable(Exception):
    """The text cannot be read further than this."""

    def __init__(self, mark: Mark, text: str, path: KeyPath = ()) -> None:
        super().__init__(text)
        self.complaint = Complaint(mark, path, text)


def read_yaml(text: str) -> tuple[Node | None, list[Complaint]]:
    """The root of the document (None when the text cannot be read to its end) and all complaints about it."""
    reader = _Reader(text)
    try:
        return reader.document(), reader.complaints
    except Unreadable as stop:
        return None, [*reader.complaints, stop.complaint]
    except yaml.MarkedYAMLError as error:
        return None, [*reader.complaints, Complaint(*_explained(error, text))]
    except yaml.YAMLError as error:  # the reader's own: a character that no YAML file may hold
        return None, [*reader.complaints, Complaint(Mark(1, 1), (), f"not readable as YAML: {error}")]


class _Reader:
    """Walks the events of one document. ``path`` is where it stands."""

    def __init__(self, text: str) -> None:
        self.complaints: list[Complaint] = []
        self.path: list[str | int] = []
        self._nodes = 0
        self._depth = 0
        self._next: Callable[[], Any] = getattr(yaml, "CLoader", yaml.Loader)(text).get_event

    def document(self) -> Node:
        self._next()  # the stream's start
        start = self._next()
        if isinstance(start, yaml.StreamEndEvent):
            raise Unreadable(Mark(1, 1), "the file is empty")
        if start.tags or start.version not in (None, (1, 2)):
            self._complain(_mark(start), "only the directive '%YAML 1.2' is read; remove the lines that start with '%'")
        root = self._node(self._next())
        self._next()  # the document's end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise Unreadable(_mark(after), "a second document starts here; a family file holds one")
        return root

    def _complain(self, mark: Mark, text: str) -> None:
        self.complaints.append(Complaint(mark, tuple(self.path), text))

    def _node(self, event: Any) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unreadable(_mark(event), f"more than {MAX_NODES:,} values; split the family into several files")
        kind = type(event)
        if kind is yaml.ScalarEvent:
            node = self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            node = self._collection(event, self._mapping)
        elif kind is yaml.SequenceStartEvent:
            node = self._collection(event, self._sequence)
        else:
            self._complain(_mark(event), f"aliases are not read: write the value of '*{_short(event.anchor)}' out here")
            node = Node(_mark(event), None)
            node.unread = True
            return node
        if event.anchor is not None:
            self._complain(_mark(event), f"anchors are not read: remove '&{_short(event.anchor)}'")
        if event.tag is not None:
            self._complain(_mark(event), f"tags are not read: remove '{_short_tag(event.tag)}', write the plain value")
            node.unread = True
        return node

    def _collection(self, event: Any, fill: Callable[[Mark], Node]) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable(_mark(event), f"nested more than {MAX_DEPTH} deep", tuple(self.path[:4]))
        node = fill(_mark(event))
        self._depth -= 1
        return node

    def _sequence(self, mark: Mark) -> Node:
        items: list[Node] = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            self.path.append(len(items))
            items.append(self._node(event))
            self.path.pop()
        return Node(mark, [item.value for item in items], items)

    def _mapping(self, mark: Mark) -> Node:
        entries: dict[str, Node] = {}
        gaps = False
        while type(event := self._next()) is not yaml.MappingEndEvent:
            key, key_mark = self._key(event), _mark(event)
            self.path.append("?" if key is None else key)
            value = self._node(self._next())
            if key is None:
                gaps = True
            elif key in entries:
                first = entries[key].key_mark or mark
                self._complain(key_mark, f"this key stands twice; the first is on line {first.line}")
            else:
                value.key_mark = key_mark
                entries[key] = value
            self.path.pop()
        mapping = Node(mark, {key: node.value for key, node in entries.items()}, entries)
        mapping.gaps = gaps
        return mapping

    def _key(self, event: Any) -> str | None:
        """A key's text; None, after a complaint, when it is not text."""
        node = self._node(event)
        if node.unread:
            return None
        if isinstance(node.value, str):
            if node.value == "<<" and event.implicit[0]:
                self._complain(node.mark, "merge keys ('<<') are not part of YAML 1.2: write the keys out here")
                return None
            return node.value
        advice = (
            "it cannot be a list or a mapping" if node.children is not None else f"quote it: '{_short(event.value)}'"
        )
        self._complain(node.mark, f"a key is text: {advice}")
        return None

    def _scalar(self, event: Any) -> Node:
        text, mark = event.value, _mark(event)
        if not event.implicit[0]:  # quoted or tagged: text as it stands
            if event.style == '"' and not _CLEAN(text):
                self._complain(mark, "a text holds a character that cannot be used: NUL or half of a surrogate pair")
                text = "?"
            return Node(mark, text)
        if text and text[0] not in _TYPED:  # most scalars end here
            return Node(mark, text)
        try:
            return Node(mark, plain_value(text))
        except ValueError as error:
            self._complain(mark, str(error))
            node = Node(mark, None)
            node.unread = True
            return node


_TYPED = frozenset("0123456789+-.~nNtTfF")  # the first character of every plain scalar that is not text
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CLEAN = re.compile(r"[^\0\ud800-\udfff]*").fullmatch


def plain_value(text: str) -> Any:
    """The value of an unquoted scalar. Raises ValueError, with a sentence, for numbers that are none."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) or _BASED_INT.fullmatch(text):
        digits = text.lstrip("+-")
        value = int(text, 0) if digits[1:2] in ("o", "x") else int(text) if len(digits) < 100 else MAX_INT + 1
        if not -MAX_INT <= value <= MAX_INT:
            raise ValueError("a whole number has at most 64 bits; in quotes it would be text")
        return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("this number is too large; in quotes it would be text")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("infinity and NaN are not numbers a family file can use")
    return text


def _mark(event: Any) -> Mark:
    start = event.start_mark
    return Mark(start.line + 1, start.column + 1)


def _short(text: str) -> str:
    """Foreign text for a message: printable, and not longer than a glance."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 40 else text[:37] + "..."


def _short_tag(tag: str) -> str:
    return _short(tag.replace("tag:yaml.org,2002:", "!!", 1))


# What libyaml says -> what a person can do about it. The first row whose words occur in the message is told.
_SENTENCES = (
    ("mapping values are not allowed", "no key can stand here: check the indentation, or put the text in quotes"),
    ("could not find expected ':'", "a key without ':' after it"),
    ("unexpected end of stream", "the file ends inside a quoted text"),
    ("cannot start any token", "text cannot start with this character: put it in quotes"),
    ("unknown escape character", "unknown escape: in double quotes a backslash is written twice"),
    ("escape code", "this escape names no character"),
    ("did not find expected ',' or", "a bracket that opened on line {opened} is not closed, or a ',' is missing"),
    ("did not find expected key", "no key of the block that started on line {opened}: check the indentation"),
    (
        "did not find expected '-'",
        "a '- ' is missing: the list that started on line {opened} goes on with something else",
    ),
    ("did not find expected node content", "a value was expected here"),
    ("expected <document start>", "nothing may follow the end of the document"),
)


def _explained(error: yaml.MarkedYAMLError, text: str) -> tuple[Mark, KeyPath, str]:
    """Place and sentence for what the parser could not read."""
    mark = Mark(error.problem_mark.line + 1, error.problem_mark.column + 1) if error.problem_mark else Mark(1, 1)
    opened = Mark(error.context_mark.line + 1, error.context_mark.column + 1) if error.context_mark else mark
    line = (text.splitlines() + [""] * mark.line)[mark.line - 1]
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" in indent:
        return Mark(mark.line, indent.index("\t") + 1), (), "a tab cannot indent: use spaces"
    for words, sentence in _SENTENCES:
        if words in (error.problem or ""):
            at = opened if words == "unexpected end of stream" else mark
            return at, (), sentence.format(opened=opened.line)
    return mark, (), f"not readable as YAML: {error.problem}"
