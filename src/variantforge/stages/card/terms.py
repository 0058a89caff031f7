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
from variantforge.stages.card.teachers import Lineage, lineage_of, teacher_source
from variantforge.stages.stage import Desk

Terms = Mapping[str, Any]


def terms_params(desk: Desk, name: str) -> dict[str, Any]:
    """The base, every dataset that the variant or one it starts from learned from, and what the user wants."""
    publish, made_of = desk.family.publish, desk.once(lineage_of, name)
    base = dict(vars(desk.once(_base, known_base(desk, name))))
    teachers = _teachers(desk, name, made_of)
    return {
        "base": base,
        **({"teachers": teachers} if teachers else {}),
        "datasets": [dict(vars(source)) for source in _datasets(desk.family, made_of)],
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


def _teachers(desk: Desk, name: str, made_of: Lineage) -> list[dict[str, Any]]:
    """Of a variant that taught, its base, where that is another one: what it learned from is among the datasets."""
    found: dict[str, dict[str, Any]] = {}
    for taught in made_of.teachers:
        variant = taught.teacher.variant
        if variant is None:
            source = teacher_source(desk, taught)
        else:
            known = known_base(desk, variant)
            if known == known_base(desk, name):
                continue
            at = known.pin.at if known.pin and known.pin.at.startswith("hub:") else ""
            source = {**vars(desk.once(_base, known)), "at": at, "role": taught.role}
        found.setdefault(f"{source['name']} {source['key']}", source)
    return [found[name] for name in sorted(found)]


def _datasets(family: FamilySpec, made_of: Lineage) -> Iterator[Source]:
    """Those of the variant, of all that it starts from, and of its teachers: their data is in its weights too."""
    for dataset in sorted(made_of.datasets):
        spec = family.datasets[dataset]
        hub = isinstance(spec, RowsDataset) and Ref.parse(spec.path).kind == "hub"
        yield Source(dataset, "", spec.license or "", spec.license_reason, not hub, f"datasets.{dataset}")


def judged(terms: Terms, target: Target, says: Mapping[str, str]) -> Judgement:
    """``says``: what sources say that could not be known while planning, by their key ('base', 'datasets.chat') or,
    of teachers, by their role."""

    def source(told: Mapping[str, Any]) -> Source:
        return Source(**{**told, "says": told["says"] or says.get(told["key"] or "base", "")})

    def teacher(told: Mapping[str, Any]) -> Source:
        plain = {name: value for name, value in told.items() if name not in ("at", "role")}
        return Source(**{**plain, "says": told["says"] or says.get(told["role"], "")})

    teachers = [teacher(told) for told in terms.get("teachers", ())]
    return judge(source(terms["base"]), teachers, [source(told) for told in terms["datasets"]], target)


def duties_of(terms: Terms, base_says: str, teachers_say: Mapping[str, str] | None = None) -> dict[str, Any]:
    """For a card: ``license`` that the repo goes out under ('' when nobody says), and the duties as plain data."""
    target = Target("folder", (), terms["license"], terms["reason"], tuple(terms["excludes"]))
    found = judged(terms, target, {**(teachers_say or {}), "base": base_says})
    stated, says = str(terms["base"]["stated"]), str(terms["base"]["says"] or base_says)
    if not terms["license"] and stated and not canonical(stated):
        license = stated  # no licence that is known here: its name is all that can be told
    else:
        license = (found.licence if isinstance(found, Allowed) else "") or says
    return {"license": license, "duties": [asdict(duty) for duty in found.duties]}
