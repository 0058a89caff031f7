"""What each variant learned from: sources, tokens, duplicates, what was held out, what a suite shares with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from variantforge.report.document import Dataset, Mix, Source, Suspect
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec


def mixes(shelf: Shelf, family: FamilySpec) -> list[Mix]:
    """Each mix that is here, once, at the first variant that uses it."""
    found: dict[str, Mix] = {}
    for name in family.variants:
        artifact = shelf.artifact("data", name, "mix")
        if artifact is None or artifact.key in found:
            continue
        facts = shelf.facts(artifact) or {}
        trained = shelf.artifact("train", name)
        learned = (shelf.facts(trained) if trained else None) or {}
        found[artifact.key] = Mix(
            variant=name,
            shared_with=shelf.others(artifact.key, name),
            train=facts.get("train", 0),
            heldout=facts.get("heldout", 0),
            duplicates=facts.get("duplicates", 0),
            near_duplicates=dict(facts.get("near_duplicates") or {}),
            tokens=learned.get("tokens"),
            supervised_tokens=learned.get("supervised_tokens"),
            sources=[_source(source, it) for source, it in facts.get("sources", {}).items()],
            contamination=_suspects(facts),
        )
    return list(found.values())


def _source(name: str, it: Mapping[str, Any]) -> Source:
    counts = (it.get("train", 0), it.get("heldout", 0), it.get("of"))
    return Source(name, *counts, share=it.get("share"), repeats=it.get("repeats"))


def _suspects(facts: Mapping[str, Any]) -> list[Suspect] | None:
    told = facts.get("contamination")
    if told is None:
        return None
    return [Suspect(suite, it["items"], it["hit"], it["share"], it["rows"]) for suite, it in told.items()]


def datasets(shelf: Shelf, family: FamilySpec) -> list[Dataset]:
    """Each dataset whose rows are here."""
    found = []
    for place in shelf.of_variant(None, "data"):
        artifact = shelf.artifact(*place)
        if artifact is None or place.name not in family.datasets:
            continue
        facts = shelf.facts(artifact) or {}
        section = family.datasets[place.name]
        dropped = {why: count for why, count in (facts.get("dropped") or {}).items() if count}
        bad = sum((facts.get("bad") or {}).values())
        found.append(
            Dataset(
                name=place.name,
                rows=facts.get("rows", 0),
                train=facts.get("train", 0),
                heldout=facts.get("heldout", 0),
                bad=bad,
                dropped=dropped,
                format=str(facts.get("format", "")),
                license=str(section.license or ""),
            )
        )
    return found
