"""What a licence can ask: a closed union of terms, and the row that a licence is.

A term says what must be done or shown, and ``why`` in our own words: which clause asks for it, and where the text
leaves room and the stricter reading was taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NamePrefix:
    """The name of what is made must begin with these words."""

    words: str
    why: str


@dataclass(frozen=True)
class Notice:
    """A file NOTICE with this text goes with every copy."""

    text: str
    why: str


@dataclass(frozen=True)
class Display:
    """These words must be seen by people, on the card or in the product."""

    text: str
    why: str


@dataclass(frozen=True)
class ShipText:
    """A copy of the licence goes with every copy of the weights."""

    why: str


@dataclass(frozen=True)
class StateChanges:
    """It must be said that, and what, was changed."""

    why: str


@dataclass(frozen=True)
class Credit:
    """The maker must be named, with a link."""

    why: str


@dataclass(frozen=True)
class NonCommercial:
    """Nobody may use it to earn money."""

    why: str


@dataclass(frozen=True)
class Territory:
    """The licence gives no rights in these territories (EU, UK, KR, ...)."""

    excluded: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Restrictions:
    """Uses are forbidden, and whoever receives a copy must be bound to the same; ``policy`` is where they stand."""

    policy: str
    why: str


@dataclass(frozen=True)
class ManyUsers:
    """Products above this size need a licence of their own, or must show something."""

    above: str
    why: str


@dataclass(frozen=True)
class NoDerivatives:
    """Changed versions may not be passed on."""

    why: str


Term = (
    NamePrefix
    | Notice
    | Display
    | ShipText
    | StateChanges
    | Credit
    | NonCommercial
    | Territory
    | Restrictions
    | ManyUsers
    | NoDerivatives
)


@dataclass(frozen=True)
class Outputs:
    """What holds for a model that learns from what a model under this licence wrote.

    ``free``: nothing. ``derivative``: it counts as made of the model itself. ``some``: the terms of the kinds in
    ``terms`` bind. ``forbidden``: it may not be done, but for models whose base is under one of ``unless_base``.
    """

    rule: Literal["free", "derivative", "some", "forbidden"]
    why: str
    terms: tuple[type[Term], ...] = ()
    unless_base: tuple[str, ...] = ()


Bears = Literal["any", "noncommercial", "same"]
Kind = Literal["software", "content", "data", "model"]


@dataclass(frozen=True)
class Licence:
    """One licence. ``bears`` is what a work made of it may be licensed under: any licence, any that forbids earning
    money, or only the same one (and ``compatible``). ``public`` licences are made for anybody's work; the others
    belong to one maker's models, so nobody else can choose them for a work of their own."""

    id: str
    name: str
    url: str
    kind: Kind
    terms: tuple[Term, ...] = ()
    bears: Bears = "any"
    compatible: tuple[str, ...] = ()
    bears_why: str = ""
    outputs: Outputs | None = None
    public: bool = True

    @property
    def noncommercial(self) -> bool:
        return any(isinstance(term, NonCommercial) for term in self.terms)
