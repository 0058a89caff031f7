"""What the gates said: one panel for the demands that stand on one axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from variantforge.report.cells import estimate
from variantforge.report.document import GatePanel, GateRow
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec
from variantforge.stages import Place

BOUNDS = ("better_by", "worse_by_at_most", "at_most", "at_least")

Together = Mapping[tuple[str | None, str, str, str], str]  # variant, subject, metric, why -> verdict


def gates(shelf: Shelf, family: FamilySpec) -> list[GatePanel]:
    """Panels in the order in which their first demand is met."""
    panels: dict[tuple[str, str], list[GateRow]] = {}
    together = _together(shelf)
    for name in family.variants:
        for place in shelf.of_variant(name, "gate"):
            for axis, row in _rows(shelf, place, together):
                panels.setdefault(axis, []).append(row)
    return [GatePanel(metric, vs, rows) for (metric, vs), rows in panels.items()]


def _rows(shelf: Shelf, place: Place, together: Together) -> Iterator[tuple[tuple[str, str], GateRow]]:
    artifact = shelf.artifact(*place)
    if artifact is None:
        return
    facts = shelf.facts(artifact) or {}
    demands = shelf.plan.steps[shelf.plan.places[place]].params.get("demands", [])
    verdicts = facts.get("verdicts", [])
    for place_in_list, verdict in enumerate(verdicts):
        demand = demands[place_in_list] if len(demands) == len(verdicts) else {}
        bound, margin = _margin(demand) if demand.get("metric") == verdict["metric"] else ("", None)
        row = GateRow(
            variant=str(place.variant),
            subject=place.name,
            verdict=verdict["verdict"],
            demand=verdict["demand"],
            bound=bound,
            margin=margin,
            estimate=None if verdict.get("value") is None else estimate(verdict),
            why=verdict["why"],
            among_all=together.get((place.variant, place.name, verdict["metric"], verdict["why"]), ""),
            forced=str((facts.get("forced") or {}).get("reason", "")),
        )
        yield (verdict["metric"], verdict.get("vs") or ""), row


def _together(shelf: Shelf) -> Together:
    """What became of each verdict when the whole release was looked at."""
    artifact = shelf.artifact("gate", None, "family")
    rows = (shelf.facts(artifact) or {}).get("verdicts", []) if artifact else []
    return {(row["variant"], row["subject"], row["metric"], row["why"]): row["verdict"] for row in rows}


def _margin(demand: Mapping[str, Any]) -> tuple[str, float | None]:
    """The bound that a demand sets and its figure; a step's demands stand in the order of its verdicts."""
    figures = ((bound, demand[bound]) for bound in BOUNDS if isinstance(demand.get(bound), int | float))
    return next(((bound, float(figure)) for bound, figure in figures), ("", None))
