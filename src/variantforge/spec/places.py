"""Where each key of a family file stands: key path -> "family.yaml:17:5"."""

from __future__ import annotations

from dataclasses import dataclass

from variantforge.errors import Problem
from variantforge.spec.yaml_events import Complaint, KeyPath, Mark, Node


@dataclass(frozen=True)
class Places:
    """``file`` is the path as the user wrote it, ``root`` the document."""

    file: str
    root: Node

    def where(self, key: str) -> str:
        """The place of a key path such as ``gates[2].metric``, or of its nearest parent when it is not written."""
        return self.spell(self.mark(self.path_of(key)))

    def mark(self, path: KeyPath, *, at_key: bool = False) -> Mark:
        """The value's place for text, numbers and list items, else its key's; ``at_key`` always asks for the key's."""
        node, key_mark = self.root, None
        for part in path:
            child = _child(node, part)
            if child is None:
                at_key = True
                break
            node, key_mark = child, child.key_mark
        wants_key = at_key or node.children is not None or node.value is None
        return key_mark if key_mark and wants_key else node.mark

    def spell(self, mark: Mark) -> str:
        """Line 0 is the file itself."""
        return f"{self.file}:{mark.line}:{mark.column}" if mark.line else self.file

    def unread(self, path: KeyPath) -> bool:
        """Whether the value at a path, or one around it, could not be read (that was told)."""
        node: Node | None = self.root
        for part in path:
            if node is None or node.unread:
                break
            node = _child(node, part)
        return node is not None and node.unread

    def gaps(self, path: KeyPath) -> bool:
        """Whether the mapping at a path may hold keys that could not be read."""
        node: Node | None = self.root
        for part in path:
            node = _child(node, part) if node else None
        return node is not None and node.gaps

    def problem(self, complaint: Complaint) -> Problem:
        return Problem(self.spell(complaint.mark), spell_path(complaint.path), complaint.text)

    def holds_unread(self, path: KeyPath) -> bool:
        """Whether the mapping at a path has a value that could not be read: what it says as a whole is not known."""
        node: Node | None = self.root
        for part in path:
            node = _child(node, part) if node else None
        children = node.children if node is not None else None
        return any(child.unread for child in (children.values() if isinstance(children, dict) else children or ()))

    def path_of(self, key: str) -> KeyPath:
        """The longest path that a written key path names. Names may hold dots, so the document decides."""
        return _longest(self.root, key)[0]


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.children, dict):
        return node.children.get(part) if isinstance(part, str) else None
    if isinstance(node.children, list) and isinstance(part, int) and 0 <= part < len(node.children):
        return node.children[part]
    return None


def _longest(node: Node, rest: str) -> tuple[KeyPath, int]:
    """The path from ``node`` on that uses up most of the text ``rest``, and how much of it is left, in characters."""
    best: tuple[KeyPath, int] = ((), len(rest))
    for part, child, after in _matches(node, rest.removeprefix(".")):
        path, left = _longest(child, after)
        if left < best[1]:
            best = ((part, *path), left)
    return best


def _matches(node: Node, rest: str) -> list[tuple[str | int, Node, str]]:
    """The children whose name the text ``rest`` starts with, and what follows that name."""
    if isinstance(node.children, list):
        index, bracket, after = rest.removeprefix("[").partition("]")
        child = _child(node, int(index)) if rest.startswith("[") and bracket and index.isdecimal() else None
        return [(int(index), child, after)] if child else []
    found: list[tuple[str | int, Node, str]] = []
    children = node.children or {}
    ends = [i for i in range(1, len(rest) + 1) if i == len(rest) or rest[i] in ".["]
    for name in (rest[:end] for end in ends):
        if name in children:
            found.append((name, children[name], rest[len(name) :]))
    return found


def spell_path(path: KeyPath) -> str:
    """``("gates", 2, "metric")`` -> ``gates[2].metric``; what cannot be printed is escaped, what is long is cut."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.isprintable() and part.strip() == part != "" else repr(part)
            text += ("." if text else "") + (shown if len(shown) <= 60 else shown[:57] + "...")
    return text
