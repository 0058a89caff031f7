"""How one licence binds through one source: which of its terms reach the model, and which licences it leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from variantforge.licences.names import canonical, made_of
from variantforge.licences.question import DutyKind, Role, Source
from variantforge.licences.table import LICENCES
from variantforge.licences.terms import (
    Bears,
    Credit,
    Display,
    Licence,
    ManyUsers,
    NamePrefix,
    NoDerivatives,
    NonCommercial,
    Notice,
    Restrictions,
    ShipText,
    StateChanges,
    Term,
    Territory,
)

# Of a licence for works, what reaches a model that learned from such a work.
_OF_DATA = (Credit, NonCommercial, NoDerivatives, Restrictions)


@dataclass(frozen=True)
class Bond:
    """One licence that binds through one source."""

    role: Role
    source: Source
    licence: Licence

    @property
    def who(self) -> str:
        return f"the {self.role} '{self.source.name}'"


def licences_of(role: Role, source: Source) -> list[Licence]:
    """All that bind: what it says and what is stated, and what its name says it was made of. A user who gives a
    reason is believed instead."""
    if source.stated and source.reason:
        ids = [canonical(source.stated, source.name)]
    else:
        ids = [canonical(text, source.name) for text in (source.says, source.stated)]
        ids += [made_of(source.name)] if role != "dataset" else []
    return [LICENCES[id] for id in dict.fromkeys(ids) if id]


def terms_of(bond: Bond) -> list[Term]:
    """What of a licence binds a model made with this source in this role."""
    row, outputs = bond.licence, bond.licence.outputs
    if bond.role == "base":
        return list(row.terms)
    if outputs is None:
        kinds = _OF_DATA if bond.role == "dataset" else (NonCommercial,)
        kept: list[Term] = [term for term in row.terms if isinstance(term, kinds)]
        named = [Credit(term.why) for term in row.terms if isinstance(term, ShipText) and bond.role == "dataset"]
        return [*kept, *named]
    match outputs.rule:
        case "free":
            return []
        case "derivative" | "forbidden":
            return list(row.terms)
        case "some":
            return [term for term in row.terms if isinstance(term, outputs.terms)]
        case _:
            assert_never(outputs.rule)


def bears(bond: Bond) -> Bears:
    """Which licences this source leaves open for what is made with it."""
    row, outputs = bond.licence, bond.licence.outputs
    if bond.role == "base" or (outputs and outputs.rule in ("derivative", "forbidden")):
        return row.bears
    if bond.role == "dataset" and outputs is None:
        return row.bears
    return "noncommercial" if any(isinstance(term, NonCommercial) for term in terms_of(bond)) else "any"


def admits(bond: Bond, licence: str) -> bool:
    which = bears(bond)
    match which:
        case "any":
            return True
        case "noncommercial":
            return licence in LICENCES and LICENCES[licence].noncommercial
        case "same":
            return licence == bond.licence.id or licence in bond.licence.compatible
        case _:
            assert_never(which)


def told(term: Term, bond: Bond) -> tuple[DutyKind, str] | None:
    """What kind of duty a term is, and what there is to do or show."""
    match term:
        case NamePrefix():
            return "name", term.words
        case Notice():
            return "notice", term.text
        case Display():
            return "display", term.text
        case ShipText():
            return "text", bond.licence.url
        case StateChanges():
            return "changes", bond.source.name
        case Credit():
            return "credit", bond.source.name
        case NonCommercial():
            return "noncommercial", bond.licence.name
        case Territory():
            return "territory", ", ".join(term.excluded)
        case Restrictions():
            return "restrictions", term.policy
        case ManyUsers():
            return "size", term.above
        case NoDerivatives():
            return None  # no duty: a reason to refuse
        case _:
            assert_never(term)
