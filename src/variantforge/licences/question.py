"""What ``judge`` is asked and what it answers: plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["base", "teacher", "dataset"]
DutyKind = Literal[
    "name", "text", "notice", "changes", "display", "credit", "restrictions", "noncommercial", "territory", "size"
]
# "disputed": whether a model is a derived work of its data is an open question; an argument may answer it.
ReasonKind = Literal[
    "unknown", "contradiction", "outputs", "noncommercial", "name", "licence", "territory", "nd", "disputed"
]


@dataclass(frozen=True)
class Source:
    """Something a model is made of. ``says`` is the licence it names itself, ``stated`` the one the user names for it
    (both as found, '' for none), ``reason`` why the user may say so. ``own``: nobody but the user can say."""

    name: str
    says: str = ""
    stated: str = ""
    reason: str = ""
    own: bool = False
    key: str = ""  # where the user states it: "datasets.chat"


@dataclass(frozen=True)
class Target:
    """Where the model goes. ``names``: the repos' names. ``licence``: what the user wants it under, '' for the
    base's; ``reason``: why it may be, where that is disputed. ``excludes``: territories whose people get no access."""

    visibility: Literal["public", "private", "folder"]
    names: tuple[str, ...] = ()
    licence: str = ""
    reason: str = ""
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Duty:
    """Something to do for a licence, because of the sources ``of``."""

    kind: DutyKind
    licence: str
    text: str
    why: str
    of: tuple[str, ...]


@dataclass(frozen=True, order=True)
class Reason:
    """Why it may not be done, and the edit that would change that."""

    kind: ReasonKind
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Allowed:
    """``licence`` is what the model goes out under, ``licences`` all ids it could. ``notes`` do not bind here."""

    licence: str
    licences: tuple[str, ...]
    duties: tuple[Duty, ...]
    notes: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Refused:
    reasons: tuple[Reason, ...]
    duties: tuple[Duty, ...]
    notes: tuple[Reason, ...] = ()


Judgement = Allowed | Refused
