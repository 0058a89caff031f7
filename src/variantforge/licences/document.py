"""The table as Markdown, for docs/licences.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from variantforge.licences.table import ROWS
from variantforge.licences.terms import (
    Credit,
    Display,
    Kind,
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

_TITLES: dict[Kind, str] = {
    "software": "Licences for software",
    "content": "Licences for texts and other content",
    "data": "Licences for data",
    "model": "Licences for models, and terms for their outputs",
}


def tables() -> str:
    """One table for each kind of licence, in the order of the rows."""
    return "\n".join(line for kind, title in _TITLES.items() for line in _table(kind, title))


def _table(kind: Kind, title: str) -> Iterator[str]:
    outputs = kind == "model"
    yield from (f"### {title}", "")
    yield f"| id | asks for | what is made of it goes out under |{' models that learn from its outputs |' * outputs}"
    yield f"|---|---|---|{'---|' * outputs}"
    for row in ROWS:
        if row.kind == kind:
            asked = " ".join(f"**{_short(term)}**: {term.why}" for term in row.terms) or "nothing"
            cells = [f"[`{row.id}`]({row.url})", asked, _bears(row), *([_outputs(row)] if outputs else [])]
            yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""


def _short(term: Term) -> str:
    match term:
        case NamePrefix():
            return f"a name that begins with “{term.words}”"
        case Notice():
            return "a notice"
        case Display():
            return f"“{term.text}” shown"
        case ShipText():
            return "its text"
        case StateChanges():
            return "changes said"
        case Credit():
            return "credit"
        case NonCommercial():
            return "no earning of money"
        case Territory():
            return f"not in {', '.join(term.excluded)}"
        case Restrictions():
            return f"[forbidden uses]({term.policy}) passed on"
        case ManyUsers():
            return f"more above {term.above}"
        case NoDerivatives():
            return "no changed versions"
        case _:
            assert_never(term)


def _bears(row: Licence) -> str:
    match row.bears:
        case "any":
            return "any licence"
        case "noncommercial":
            return "any that forbids earning money"
        case "same":
            return f"{', '.join(f'`{id}`' for id in (row.id, *row.compatible))}. {row.bears_why}"
        case _:
            assert_never(row.bears)


def _outputs(row: Licence) -> str:
    if row.outputs is None:
        return ""
    words = {"free": "free", "derivative": "bound like it", "some": "bound in part", "forbidden": "forbidden"}
    return f"**{words[row.outputs.rule]}**: {row.outputs.why}"
