"""What the licences of a model's sources ask of its repos: the question as planned, and the answer for cards.

The question is part of a card's parameters, so that ``plan`` can judge it before anything runs and the card, once the
base is here, tells the very duties that were judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from variantforge.licences import Allowed, Judgement, Source, Target, canonical, judge
from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec, RowsDataset
from variantforge.stages.base.look import inspect_base
from variantforge.stages.base.stage import FAMILY_BASE, KnownBase, known_base, name_of
from variantforge.stages.stage import Desk

Terms = Mapping[str, Any]


def terms_params(desk: Desk, name: str) -> dict[str, Any]:
    """The base, every dataset that the variant or one it starts from learned from, and what the user wants."""
    publish = desk.family.publish
    return {
        "base": dict(vars(desk.once(_base, known_base(desk, name)))),
        "datasets": [dict(vars(source)) for source in _datasets(desk.family, name)],
        "license": publish.license or "",
        "reason": publish.license_reason,
        "excludes": list(publish.excluded_territories),
    }


def _base(family: FamilySpec, base: KnownBase) -> Source:
    """A variant's own base has no key to state a licence at: it must say it itself."""
    spec = family.base
    says = (inspect_base(base.pin).license or "") if base.pin else ""
    called = name_of(family, base).replace("\\", "/").rstrip("/")
    if called.startswith(("/", ".", "~")):
        called = called.rpartition("/")[2]
    if base.key != FAMILY_BASE:
        return Source(called, says)
    stated = "" if spec.license == "inherit" else spec.license
    return Source(called, says, stated, spec.license_reason, key="base")


def _datasets(family: FamilySpec, name: str) -> Iterator[Source]:
    for dataset in sorted(_learned_from(family, name)):
        spec = family.datasets[dataset]
        hub = isinstance(spec, RowsDataset) and Ref.parse(spec.path).kind == "hub"
        yield Source(dataset, "", spec.license or "", spec.license_reason, not hub, f"datasets.{dataset}")


def _learned_from(family: FamilySpec, name: str) -> set[str]:
    """The datasets of a variant and of all that it starts from: their data is in its weights too."""
    found: set[str] = set()
    seen: set[str] = set()
    while name in family.variants and name not in seen:
        seen.add(name)
        variant = family.variants[name]
        found |= set(variant.data.sources) & set(family.datasets)
        name = variant.from_ or ""
    return found


def judged(terms: Terms, target: Target, says: Mapping[str, str]) -> Judgement:
    """``says``: what sources say that could not be known while planning, by their key ('base', 'datasets.chat')."""

    def source(told: Mapping[str, Any]) -> Source:
        return Source(**{**told, "says": told["says"] or says.get(told["key"] or "base", "")})

    return judge(source(terms["base"]), (), [source(told) for told in terms["datasets"]], target)


def duties_of(terms: Terms, base_says: str) -> dict[str, Any]:
    """For a card: ``license`` that the repo goes out under ('' when nobody says), and the duties as plain data."""
    target = Target("folder", (), terms["license"], terms["reason"], tuple(terms["excludes"]))
    found = judged(terms, target, {"base": base_says})
    stated, says = str(terms["base"]["stated"]), str(terms["base"]["says"] or base_says)
    if not terms["license"] and stated and not canonical(stated):
        license = stated  # no licence that is known here: its name is all that can be told
    else:
        license = (found.licence if isinstance(found, Allowed) else "") or says
    return {"license": license, "duties": [asdict(duty) for duty in found.duties]}
