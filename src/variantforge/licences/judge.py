"""May these sources become one model for that target, under which licences, and with which duties? Pure.

The reading is the strict one wherever texts leave room. It is a help for people who release, not legal advice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, assert_never, get_args

from variantforge.licences.bonds import Bond, admits, bears, licences_of, terms_of, told
from variantforge.licences.names import canonical
from variantforge.licences.question import (
    Allowed,
    Duty,
    DutyKind,
    Judgement,
    Reason,
    ReasonKind,
    Refused,
    Role,
    Source,
    Target,
)
from variantforge.licences.table import LICENCES, ROWS
from variantforge.licences.terms import NamePrefix, NoDerivatives, Territory

_KINDS: tuple[DutyKind, ...] = get_args(DutyKind)
_EVEN_PRIVATE: tuple[ReasonKind, ...] = ("unknown", "contradiction", "outputs", "noncommercial", "name")


def judge(base: Source, teachers: Sequence[Source], datasets: Sequence[Source], target: Target) -> Judgement:
    """The same for any order of teachers and datasets. Another source never takes a duty away."""
    known = _known(base, tuple(teachers), tuple(datasets), target.licence, target.excludes)
    reasons = {*known.reasons, *_names(known.bonds, target)}
    binding = {reason for reason in reasons if _binds(reason.kind, target) and not _argued(reason, target)}
    notes = tuple(sorted(reasons - binding))
    if binding:
        return Refused(tuple(sorted(binding)), known.duties, notes)
    return Allowed(known.licence, known.licences, known.duties, notes)


class _Known(NamedTuple):
    """What does not hang on the repos' names, nor on who sees them."""

    bonds: tuple[Bond, ...]
    licence: str
    licences: tuple[str, ...]
    reasons: tuple[Reason, ...]
    duties: tuple[Duty, ...]


@lru_cache(maxsize=1024)  # the same for all repos made of the same things
def _known(
    base: Source, teachers: tuple[Source, ...], datasets: tuple[Source, ...], chosen: str, excludes: tuple[str, ...]
) -> _Known:
    sources: list[tuple[Role, Source]] = [("base", base)]
    sources += [("teacher", each) for each in teachers]
    sources += [("dataset", each) for each in datasets]
    bonds = tuple(Bond(role, source, row) for role, source in sources for row in licences_of(role, source))
    licence, licences = _choice(base, bonds, chosen)
    reasons = (
        *(reason for role, source in sources for reason in _unclear(role, source)),
        *_forbidden(bonds),
        *_territories(bonds, excludes),
        *_licence_problems(bonds, licence, licences),
    )
    return _Known(bonds, licence, licences, reasons, tuple(_duties(bonds)))


def _binds(kind: ReasonKind, target: Target) -> bool:
    match target.visibility:
        case "public":
            return True
        case "private":
            return kind in _EVEN_PRIVATE
        case "folder":
            return False
        case _:
            assert_never(target.visibility)


def _argued(reason: Reason, target: Target) -> bool:
    return reason.kind == "disputed" and bool(target.licence and target.reason)


def _unclear(role: Role, source: Source) -> Iterator[Reason]:
    """What must be said before anything can be judged. A licence stated with a reason settles it."""
    says, stated = (canonical(text, source.name) for text in (source.says, source.stated))
    who, state = f"the {role} '{source.name}'", f"{source.key}.license: its id"
    explain = f"{source.key}.license_reason: why you may say so"
    if not source.key:
        state = explain = f"use a {role} whose licence is known"
    match source:
        case Source(stated=str(mine), reason=str(why)) if mine and why:
            return
        case Source(says="", stated=""):
            fix = state if source.own or state == explain else f"{state}, and {explain}"
            yield Reason("unknown", f"{who} names no licence", fix)
        case Source(stated="") if not says:
            text = f"{who} is under '{source.says}', whose duties are not known here"
            yield Reason("unknown", text, f"{state}, and {explain}")
        case Source(stated=str(mine)) if mine and not stated:
            yield Reason("unknown", f"'{mine}', stated for {who}, is no licence whose duties are known here", explain)
        case Source(says="", stated=str(mine), own=False):
            yield Reason("unknown", f"{who} names no licence, and nothing says why it should be '{mine}'", explain)
        case Source(stated=str(mine)) if mine and source.says and says != stated:
            yield Reason("contradiction", f"{who} names '{source.says}', and '{mine}' is stated for it", explain)


def _choice(base: Source, bonds: tuple[Bond, ...], chosen: str) -> tuple[str, tuple[str, ...]]:
    """The licence it goes out under (what the user wants, else the base's where that may be), and all it could."""
    wanted = canonical(chosen) or chosen
    of_base = [bond.licence.id for bond in bonds if bond.role == "base"]
    if base.stated and base.reason and not of_base:  # a licence that is not in the table: nothing else may replace it
        candidates, of_base = {base.stated}, [base.stated]
    else:
        candidates = {row.id for row in ROWS if row.public}
        candidates |= {bond.licence.id for bond in bonds if bond.role == "base" or bears(bond) == "same"}
        candidates |= {wanted} - {"", *LICENCES}  # terms of the user's own; another maker's cannot be chosen
    licences = tuple(sorted(id for id in candidates if all(admits(bond, id) for bond in bonds)))
    inherited = next((id for id in of_base if id in licences), of_base[0] if of_base else "")
    return wanted or inherited, licences


def _licence_problems(bonds: Sequence[Bond], licence: str, licences: Sequence[str]) -> Iterator[Reason]:
    if not licence or licence in licences:
        return
    against = [bond for bond in bonds if not admits(bond, licence)]
    yield from (_not_under(bond, licence, licences) for bond in against)
    if not against:
        fix = f"publish.license: {licences[0]}" if licences else "leave publish.license out"
        yield Reason("licence", f"'{licence}' cannot be chosen for what is made of this base", fix)


def _not_under(bond: Bond, licence: str, licences: Sequence[str]) -> Reason:
    row = bond.licence
    commercial = licence not in LICENCES or not LICENCES[licence].noncommercial
    kind: ReasonKind = "disputed" if bond.role == "dataset" and row.outputs is None else "licence"
    if row.noncommercial and commercial:
        kind = "noncommercial"
        under = f"{bond.who} is under {row.name}"
        text = f"{under}, which forbids earning money; '{licence}' allows it"
    else:
        only = " or ".join([row.id, *row.compatible])
        text = f"what is made with {bond.who} ({row.name}) goes out under {only}, not '{licence}'"
    argue = ", or argue in publish.license_reason" if kind == "disputed" else ""
    if licences:
        best = row.id if row.id in licences else licences[0]
        return Reason(kind, text, f"publish.license: {best}{argue}")
    return Reason(kind, text, f"no licence suits all sources: leave {bond.source.name} out{argue}")


def _forbidden(bonds: Sequence[Bond]) -> Iterator[Reason]:
    """Outputs that nobody may learn from, and works that may not be changed."""
    of_base = {bond.licence.id for bond in bonds if bond.role == "base"}
    for bond in bonds:
        row, outputs = bond.licence, bond.licence.outputs
        if bond.role != "base" and outputs and outputs.rule == "forbidden" and not of_base & set(outputs.unless_base):
            text = f"{bond.who} is under {row.name}: {outputs.why}"
            yield Reason("outputs", text, f"leave {bond.source.name} out, or use another {bond.role}")
        for term in terms_of(bond):
            if isinstance(term, NoDerivatives):
                kind: ReasonKind = "disputed" if bond.role == "dataset" else "nd"
                argue = ", or argue in publish.license_reason" if kind == "disputed" else ""
                text = f"{bond.who} is under {row.name}. {term.why}"
                yield Reason(kind, text, f"leave {bond.source.name} out{argue}")


def _names(bonds: Sequence[Bond], target: Target) -> Iterator[Reason]:
    prefixes = [(bond, term.words) for bond in bonds for term in terms_of(bond) if isinstance(term, NamePrefix)]
    for bond, words in prefixes:
        for name in (name for name in target.names if not begins_with(name, words)):
            text = f"{name}: with {bond.who}, its name must begin with '{words}'"
            yield Reason("name", text, f"publish.repo: '{words.replace(' ', '-')}-{{family}}-{{variant}}'")


def begins_with(name: str, words: str) -> bool:
    """Repo names know no blanks: 'Llama-3', 'Llama_3' and 'Llama3' all begin with 'Llama 3'."""
    left = name.rpartition("/")[2]
    for word in words.split():
        left = left.lstrip("-_.")
        if not left.startswith(word):
            return False
        left = left.removeprefix(word)
    return True


def _territories(bonds: Sequence[Bond], excludes: Sequence[str]) -> Iterator[Reason]:
    for bond in bonds:
        for term in terms_of(bond):
            if isinstance(term, Territory) and (missing := sorted(set(term.excluded) - set(excludes))):
                where = ", ".join(missing)
                text = f"{bond.who} ({bond.licence.name}) may not be passed on to {where}"
                fix = f"publish.excluded_territories: [{', '.join(term.excluded)}], with publish.gated: manual"
                yield Reason("territory", text, fix)


def _duties(bonds: Iterable[Bond]) -> list[Duty]:
    found: dict[tuple[DutyKind, str, str, str], set[str]] = {}
    for bond in bonds:
        for term in terms_of(bond):
            if duty := told(term, bond):
                kind, text = duty
                found.setdefault((kind, bond.licence.id, text, term.why), set()).add(bond.source.name)
    duties = [Duty(*what, tuple(sorted(of))) for what, of in found.items()]
    return sorted(duties, key=lambda duty: (_KINDS.index(duty.kind), duty.licence, duty.text, duty.why))
