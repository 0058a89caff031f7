"""What the Hub tells, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Account:
    """Who the Hub takes us for. ``role`` is the token's: read, write, fineGrained; empty when the Hub does not say.

    ``kind`` oidc is a Trusted Publisher: a CI job that gets a token per repo, and has no name of its own.
    """

    kind: Literal["none", "user", "oidc"]
    name: str = ""
    orgs: Mapping[str, str] = field(default_factory=dict)  # organisation -> our role in it
    role: str = ""
    scopes: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of a fine-grained token: name -> permissions


@dataclass(frozen=True)
class Verdict:
    """``allowed`` None: only trying would tell."""

    allowed: bool | None
    reason: str
    next: str = ""


@dataclass(frozen=True)
class RemoteRepo:
    id: str
    private: bool
    gated: Literal["no", "auto", "manual"]
    branches: Mapping[str, str]  # name -> oid of its head
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RemoteFile:
    """``sha256`` is known for files stored as LFS or Xet; regular files are known by their git blob id alone."""

    path: str
    size_bytes: int
    git_oid: str
    sha256: str | None = None


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    message: str  # all after the title
    author: str
    date: str  # ISO 8601

    def has_line(self, line: str) -> bool:
        return line in (text.strip() for text in (self.title, *self.message.splitlines()))


@dataclass(frozen=True)
class CopyFrom:
    """A file as it stands in another revision of the same repo: no bytes are sent for LFS and Xet files."""

    revision: str
    path: str = ""  # empty: the same path


Content = Path | bytes | CopyFrom | None  # None takes the file away


@dataclass(frozen=True)
class CollectionItem:
    repo: str
    note: str = ""
    kind: str = "model"
    id: str = ""  # the Hub's id of the entry, needed to change it


@dataclass(frozen=True)
class RemoteCollection:
    slug: str
    title: str
    description: str
    private: bool
    items: tuple[CollectionItem, ...]
