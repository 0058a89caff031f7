"""Spec -> Plan: every step of a family, laid out before anything runs.

Variants are planned parents first (``from``), each through the stages in ``PIPELINE`` order; the family's own steps
come last. Equal steps of two variants become one, since a step *is* its key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from variantforge.errors import UsageError
from variantforge.plan.pin import RepoType, Resolver
from variantforge.plan.plan import Plan
from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec
from variantforge.spec.inherit import in_order, inherit
from variantforge.spec.load import FamilyFile
from variantforge.stages import PIPELINE, Place, stage
from variantforge.step import Pin, Step


@dataclass
class Draft:
    """The desk that stages plan at (see ``stages.stage.Desk``)."""

    family: FamilySpec
    folder: Path
    resolver: Resolver
    tell: Callable[[str, str], None]
    at_key: str = ""
    steps: dict[str, Step] = field(default_factory=dict)
    places: dict[Place, str] = field(default_factory=dict)
    absolute: dict[Ref, Ref] = field(default_factory=dict)  # a path as written -> from the root on

    def pin(self, ref: Ref, *, key: str) -> Pin | None:
        if ref.kind == "path":
            ref = self._absolute(ref)
        repo_type: RepoType = "dataset" if key.startswith("datasets.") else "model"
        return self._pinned(lambda: self.resolver.pin(ref, repo_type), key)

    def _absolute(self, ref: Ref) -> Ref:
        if ref not in self.absolute:
            self.absolute[ref] = Ref("path", str(self.folder / Path(ref.name).expanduser()))
        return self.absolute[ref]

    def pin_files(self, files: list[Path], *, key: str) -> Pin | None:
        return self._pinned(lambda: self.resolver.pin_files(files), key)

    def look(self, path: Path | str) -> None:
        self.resolver.seen.look(path)

    def _pinned(self, resolve: Callable[[], Pin], key: str) -> Pin | None:
        try:
            return resolve()
        except (UsageError, ValueError) as error:
            self.tell(key, str(error).replace(f"{self.folder}/", "./"))  # as the user wrote it
            return None

    def add(self, place: Place, step: Step) -> Step:
        self.places[place] = step.key
        return self.steps.setdefault(step.key, step)

    def step(self, place: Place) -> Step | None:
        key = self.places.get(place)
        return self.steps[key] if key else None

    def problem(self, key: str, text: str) -> None:
        self.tell(key, text)


def build_plan(file: FamilyFile, resolver: Resolver) -> Plan:
    """Lays out the whole family. Raises SpecError with every problem that any stage found."""
    family = inherit(file.spec)
    problems: list[tuple[str, str]] = []

    def tell(key: str, text: str) -> None:
        problems.append((key, text))

    for source in file.sources:
        resolver.seen.look(source)
    draft = Draft(family, file.path.parent.resolve(), resolver, tell)
    for name in in_order(family):
        draft.at_key = f"variants.{name}"
        for stage_name in PIPELINE:
            stage(stage_name).plan(draft, name, family.variants[name])
    draft.at_key = ""
    for stage_name in PIPELINE:
        stage(stage_name).plan(draft, None, None)
    if problems:
        raise file.error(list(dict.fromkeys(problems)))
    return Plan(family, draft.steps, draft.places)


__all__ = ["Draft", "Plan", "build_plan"]
