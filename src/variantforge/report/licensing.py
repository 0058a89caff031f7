"""What each repo is made of, and what that asks of whoever passes it on. As the cards tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from variantforge.report.document import Duty, Repo
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec
from variantforge.stages import Place


def repos(shelf: Shelf, family: FamilySpec) -> list[Repo]:
    """The repos that the plan lays out, in its order."""
    return [_repo(shelf, place) for name in family.variants for place in shelf.of_variant(name, "card")]


def _repo(shelf: Shelf, place: Place) -> Repo:
    params = shelf.plan.steps[shelf.plan.places[place]].params
    card = shelf.artifact(*place)
    facts = (shelf.facts(card) if card else None) or {}
    terms: Mapping[str, Any] = params.get("terms") or {}
    datasets = [(_name(it), str(it.get("stated") or it.get("says") or "")) for it in terms.get("datasets", [])]
    return Repo(
        repo=str(params.get("repo", "")),
        variant=str(place.variant),
        form=place.name,
        license=str(facts.get("license", "")),
        base=_name(terms.get("base") or {}),
        datasets=datasets,
        teachers=[_name(it) for it in terms.get("teachers", [])],
        duties=[Duty(it["licence"], list(it["of"]), it["text"], it["why"]) for it in facts.get("duties", [])],
        here=card is not None,
        refusal=card.refusal if card else "",
    )


def _name(source: Mapping[str, Any]) -> str:
    return str(source.get("name") or "")
