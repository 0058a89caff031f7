"""The data of a lock: one entry for every name, and what moves from one lock to the next."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

from variantforge.plan.pin import RepoType
from variantforge.refs import Ref

Part = Literal["base", "data", "tools"]  # what ``--upgrade`` names
PARTS: tuple[Part, ...] = get_args(Part)
SECTIONS: Mapping[str, Part] = {"base": "base", "data": "data", "teachers": "data", "tools": "tools"}
SHOWN = 7  # characters of a commit or a digest that people compare

COMMIT = re.compile(r"[0-9a-f]{40}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NONE = "none"  # a base without a chat template


@dataclass(frozen=True)
class Locked:
    """What one name stands for. ``content`` is the digest of its files: for a repo on the Hub of the listing
    ``path -> digest`` at ``commit``, else of the bytes themselves, as the plan pins them.

    ``version`` is of the distribution that carries a ``package:`` file. ``template`` and ``tokenizer`` are of a base.
    """

    content: str
    commit: str = ""
    version: str = ""
    template: str = ""
    tokenizer: str = ""

    @property
    def rows(self) -> dict[str, str]:
        """The facts that are set, in the order they are written."""
        order = ("commit", "version", "content", "template", "tokenizer")
        return {name: value for name in order if (value := getattr(self, name))}

    @property
    def pinned(self) -> str:
        """What a repo that rests on it tells in its variantforge.json: the commit, else the content."""
        return self.commit or self.content

    @property
    def short(self) -> str:
        """What people compare: the commit, else the content."""
        return (self.commit or self.content.partition(":")[2])[:SHOWN]


@dataclass(frozen=True)
class Teacher:
    """A model behind an endpoint, that writes rows or is distilled from: its address (without credentials), the
    model's name there, and what the endpoint said it serves."""

    endpoint: str
    model: str
    fingerprint: str = ""

    @property
    def rows(self) -> dict[str, str]:
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name))}

    @property
    def short(self) -> str:
        return f"{self.model} {self.fingerprint}".strip()


class Change(NamedTuple):
    """One entry that two locks do not share; ``old`` or ``new`` is '' where only one of them has it."""

    section: str
    name: str
    old: str
    new: str

    @property
    def word(self) -> str:
        return "moved" if self.old and self.new else "added" if self.new else "removed"


@dataclass(frozen=True)
class Lock:
    """``base`` and ``data``: name as the family writes it -> what it stands for. ``tools``: name -> version."""

    base: Mapping[str, Locked] = field(default_factory=dict)
    data: Mapping[str, Locked] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    teachers: Mapping[str, Teacher] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, Any]:
        entries: Mapping[str, Any] = getattr(self, name)
        return entries

    def commits(self, moving: Collection[str] = ()) -> dict[tuple[Ref, RepoType], str]:
        """What a resolver takes from here: the locked commits, but of the parts that are to move."""
        kinds: tuple[tuple[str, RepoType], ...] = (("base", "model"), ("data", "dataset"))
        return {
            (Ref.parse(name), repo_type): entry.commit
            for section, repo_type in kinds
            if section not in moving
            for name, entry in self.section(section).items()
            if entry.commit
        }

    def moved_to(self, now: Lock, parts: Collection[str]) -> Lock:
        """This lock after it was written anew: names that are no longer there go, new ones come, those of ``parts``
        become what they are now, and all others stay what they were. Tools stay or move as one."""

        def entries(section: str) -> dict[str, Any]:
            held = {} if SECTIONS[section] in parts else self.section(section)
            return {name: held.get(name, entry) for name, entry in now.section(section).items()}

        tools = self.tools if self.tools and "tools" not in parts else now.tools
        return Lock(entries("base"), entries("data"), tools, entries("teachers"))

    def changes_to(self, other: Lock) -> Iterator[Change]:
        for section in SECTIONS:
            old, new = self.section(section), other.section(section)
            for name in sorted({*old, *new}):
                if old.get(name) != new.get(name):
                    yield Change(section, name, _short(old.get(name)), _short(new.get(name)))


def _short(entry: Any) -> str:
    return "" if entry is None else str(getattr(entry, "short", entry))
