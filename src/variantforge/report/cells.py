"""Every file of the family: how large it is, what was measured, what the gates said, and whether it ships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from variantforge.report.document import Cell, Estimate
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec, VariantSpec
from variantforge.stages import Place
from variantforge.stages.evaluate.metric import BASE, CLEAN, MERGED, method_of
from variantforge.stages.quantize import is_model
from variantforge.step import Artifact

PASS, FAIL, UNSURE, UNJUDGED, FORCED, MISSING = "pass", "fail", "not enough data", "not judged", "forced", "missing"
WEIGHTS = (".safetensors", ".gguf")


def cells(shelf: Shelf, family: FamilySpec) -> dict[tuple[str, str], Cell]:
    """``(variant, subject)`` -> cell, in the order of the family file; the base of a variant comes first."""
    return {
        (name, subject): _cell(shelf, name, subject)
        for name, variant in family.variants.items()
        for subject in files_of(variant)
    }


def files_of(variant: VariantSpec) -> list[str]:
    """Base, merged weights, and every format; also those that are no model of their own, and not measured."""
    return [BASE, MERGED, *variant.quantize]


def _cell(shelf: Shelf, variant: str, subject: str) -> Cell:
    made = shelf.artifact(*place_of(variant, subject))
    facts = (shelf.facts(made) if made else None) or {}
    size = facts.get("size_bytes")
    ships, withheld = _shipped(shelf, variant, subject)
    return Cell(
        variant=variant,
        subject=subject,
        state=_state(shelf, variant, subject) if made else MISSING,
        size_bytes=size if size is not None or not made else _weights(shelf, variant, subject),
        bits_per_weight=facts.get("bits_per_weight"),
        ships=ships,
        withheld=withheld,
        metrics=metrics_of(shelf, variant, subject),
        awaited=[title for title, made in _measured(shelf, variant, subject) if made is None],
    )


def place_of(variant: str, subject: str) -> Place:
    """Where the weights of a subject are made."""
    named = {BASE: Place("base", variant), MERGED: Place("merge", variant)}
    return named.get(subject, Place("quantize", variant, subject))


def _weights(shelf: Shelf, variant: str, subject: str) -> int | None:
    """Bytes of the weight files of an artifact that does not tell them among its facts."""
    made = shelf.artifact(*place_of(variant, subject))
    manifest = shelf.manifest(made) if made else None
    sizes = [file.size_bytes for file in manifest.files if file.path.endswith(WEIGHTS)] if manifest else []
    return sum(sizes) if sizes else None


def _state(shelf: Shelf, variant: str, subject: str) -> str:
    if Place("gate", variant, subject) not in shelf.plan.places:
        return UNJUDGED
    gate = shelf.artifact("gate", variant, subject)
    if gate is None:
        return UNJUDGED
    facts = shelf.facts(gate) or {}
    verdicts = {verdict["verdict"] for verdict in facts.get("verdicts", [])}
    if facts.get("forced") and not facts.get("refusal"):
        return FORCED
    return next((word for word in (FAIL, UNSURE) if word in verdicts), PASS)


def _shipped(shelf: Shelf, variant: str, subject: str) -> tuple[str, str]:
    """The repo that holds a subject, or why none does."""
    form = method_of(subject) if is_model(subject) else "adapter"
    published = shelf.artifact("publish", variant, form)
    card = shelf.artifact("card", variant, form)
    told = (shelf.facts(published) if published else None) or {}
    why = _withheld(subject, told.get("withheld") or {}) or (card.refusal if card else "")
    return ("", why) if why or not published else (str(told.get("repo", "")), "")


def _withheld(subject: str, withheld: Mapping[str, Any]) -> str:
    """``withheld`` names files: the one of a GGUF format ends with its type."""
    kind = subject.partition(":")[2]
    for file, why in withheld.items():
        if kind and file.removesuffix(".gguf").endswith(f"-{kind}"):
            return str(why)
    return ""


def metrics_of(shelf: Shelf, variant: str, subject: str) -> dict[str, Estimate]:
    """``evaluation.metric`` -> what was measured of a subject."""
    return dict(_metrics(shelf, variant, subject))


def _metrics(shelf: Shelf, variant: str, subject: str) -> Iterator[tuple[str, Estimate]]:
    for title, artifact in _measured(shelf, variant, subject):
        for metric, it in ((shelf.facts(artifact) or {}).get("metrics", {}) if artifact else {}).items():
            yield f"{title}.{metric}", estimate(it)


def _measured(shelf: Shelf, variant: str, subject: str) -> Iterator[tuple[str, Artifact | None]]:
    """The evaluations that the plan has of a subject, by title; None for what is not here."""
    for place in evaluations(shelf, variant):
        title, _, of = place.name.partition(":")
        if of.removesuffix(f" {CLEAN}") == subject:
            yield title, shelf.artifact(*place)


def evaluations(shelf: Shelf, variant: str) -> list[Place]:
    return shelf.of_variant(variant, "evaluate")


def estimate(it: Mapping[str, Any]) -> Estimate:
    return Estimate(it["value"], it.get("low"), it.get("high"), it.get("n"))
