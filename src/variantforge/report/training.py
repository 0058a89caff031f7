"""How training went: the curves of ``events.jsonl``, and what the facts tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from variantforge.report.document import Curve, Training
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec

EVENTS = "events.jsonl"
MOST_POINTS = 240  # more are no wider than a pixel
CURVES = {"loss": "training loss", "eval_loss": "evaluation loss", "reward": "reward"}
TOLD = (
    *("steps", "epochs", "rows", "rows_dropped", "rows_cut", "tokens", "supervised_tokens"),
    *("loss_first", "loss_last", "trainable_parameters", "precision"),
)


def trainings(shelf: Shelf, family: FamilySpec) -> list[Training]:
    """Each training that is here, once, at the first variant that uses it."""
    found: dict[str, Training] = {}
    for name, variant in family.variants.items():
        artifact = shelf.artifact("train", name)
        if artifact is None or artifact.key in found:
            continue
        facts, manifest = shelf.facts(artifact) or {}, shelf.manifest(artifact)
        made = manifest.made if manifest else {}
        found[artifact.key] = Training(
            variant=name,
            shared_with=shelf.others(artifact.key, name),
            method=variant.train.method,
            adapter=_adapter(facts),
            curves=curves(shelf.rows(artifact, EVENTS)),
            objective={metric: _ends(it) for metric, it in (facts.get("objective") or {}).items()},
            facts={fact: facts[fact] for fact in TOLD if fact in facts},
            notes=[str(note) for note in made.get("notes", [])],
            seconds=made.get("seconds"),
        )
    return list(found.values())


def _adapter(facts: Mapping[str, Any]) -> str:
    adapter = facts.get("adapter") or {}
    rank = f", r = {adapter['r']}" if "r" in adapter else ""
    return f"{adapter.get('type', '')}{rank}"


def _ends(it: Any) -> tuple[float | None, float | None]:
    return (it.get("first"), it.get("last")) if isinstance(it, dict) else (None, None)


def curves(events: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The curves that events hold, in the order of ``CURVES``."""
    found = []
    for field, name in CURVES.items():
        points = [(float(event["step"]), float(event[field])) for event in events if _has(event, field)]
        if points:
            found.append(Curve(name, thinned(points), len(points)))
    return found


def _has(event: Mapping[str, Any], field: str) -> bool:
    return all(isinstance(event.get(name), int | float) and isfinite(event[name]) for name in ("step", field))


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points: means of as many neighbours each as it takes."""
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(_mean([x for x, _ in group]), _mean([y for _, y in group])) for group in groups]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
