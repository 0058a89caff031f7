"""What of a plan there is: artifacts by place, read so that a broken file is told of and stops nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from variantforge.errors import IntegrityError
from variantforge.plan.explain import Blocked, Decision, Reuse, explain
from variantforge.plan.plan import Plan
from variantforge.report.document import Missing
from variantforge.stages import Place
from variantforge.stages.evaluate.evaluation import metric_of
from variantforge.stages.evaluate.metric import EXAMPLES_FILE, Metric
from variantforge.step import FACTS, Artifact
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal
from variantforge.store.manifest import Manifest

DAMAGED = "damaged"


@dataclass
class Shelf:
    """A plan beside its store. Nothing is verified byte by byte: ``vf apply`` does that before it builds on it."""

    plan: Plan
    store: Store
    damaged: dict[str, str] = field(default_factory=dict)  # key -> what could not be read
    _facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _rows: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.store.root / "journal.sqlite")

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        return explain(self.plan, self.store, self.journal.used(self.plan.family.family))

    @cached_property
    def _places(self) -> dict[tuple[str | None, str], list[Place]]:
        found: dict[tuple[str | None, str], list[Place]] = {}
        for place in self.plan.places:
            found.setdefault((place.variant, place.stage), []).append(place)
        return found

    def of_variant(self, variant: str | None, stage: str) -> list[Place]:
        """The places of one stage in a variant (None: in the family as a whole)."""
        return self._places.get((variant, stage), [])

    def artifact(self, stage: str, variant: str | None, name: str = "") -> Artifact | None:
        """What stands at a place; None when it is not made, or its facts cannot be read."""
        key = self.plan.places.get(Place(stage, variant, name))
        return self.of_key(key) if key else None

    def of_key(self, key: str) -> Artifact | None:
        found = self.store.find(self.plan.steps[key])
        return found if found and key not in self.damaged and self.facts(found) is not None else None

    def facts(self, artifact: Artifact) -> dict[str, Any] | None:
        if artifact.key not in self._facts:
            try:
                facts = artifact.facts
                if not isinstance(facts, dict):
                    raise ValueError("it holds no mapping")
            except (OSError, ValueError) as error:
                self._damage(artifact, FACTS, error)
                return None
            self._facts[artifact.key] = facts
        return self._facts[artifact.key]

    def rows(self, artifact: Artifact, name: str) -> list[dict[str, Any]]:
        """The lines of a ``.jsonl`` file; none, and the artifact told as damaged, when it cannot be read."""
        if (artifact.key, name) not in self._rows:
            try:
                with open(artifact.path / name, "rb") as file:
                    rows = [json.loads(line) for line in file]
                if not all(isinstance(row, dict) for row in rows):
                    raise ValueError("a line holds no mapping")
            except (OSError, ValueError) as error:
                self._damage(artifact, name, error)
                rows = []
            self._rows[artifact.key, name] = rows
        return self._rows[artifact.key, name]

    def examples(self, artifact: Artifact) -> list[dict[str, Any]]:
        return self.rows(artifact, EXAMPLES_FILE)

    def metric(self, artifact: Artifact, name: str) -> Metric | None:
        """How a metric of an evaluation is summed; None of one that this version no longer knows."""
        try:
            return metric_of(self.plan.steps[artifact.key].method, artifact, name)
        except StopIteration:
            return None

    def manifest(self, artifact: Artifact) -> Manifest | None:
        try:
            return Manifest.read(artifact.path)
        except IntegrityError as error:
            self._damage(artifact, "manifest.json", error)
            return None

    def _damage(self, artifact: Artifact, name: str, error: Exception) -> None:
        told = str(error).replace(str(artifact.path), "")
        self.damaged.setdefault(artifact.key, f"{name} cannot be read: {told}")

    def others(self, key: str, variant: str | None) -> list[str]:
        """The other variants that share a step."""
        return list(
            dict.fromkeys(
                place.variant for place in self.plan.places_of[key] if place.variant and place.variant != variant
            )
        )

    def missing(self) -> list[Missing]:
        """The steps that are not here, in the plan's order, each with the reason."""
        return list(self._missing(self.journal.last_outcomes()))

    def _missing(self, ended: Mapping[str, tuple[str, str]]) -> Iterator[Missing]:
        for key, step in self.plan.steps.items():
            place = self.plan.places_of[key][0]
            if key in self.damaged:
                word, why = DAMAGED, self.damaged[key]
            elif self.store.has(step):
                continue
            else:
                word, why = _why_missing(self.decisions[key], ended.get(key))
            yield Missing(self.plan.label(key), step.stage, place.variant or "", word, why)


def _why_missing(decision: Decision, ended: tuple[str, str] | None) -> tuple[str, str]:
    if isinstance(decision, Reuse):
        return "not needed", decision.reason
    if isinstance(decision, Blocked):
        return "blocked", decision.reason
    outcome, message = ended or ("", "")
    return ("failed", message) if outcome == "failed" else ("not made", decision.reason)
