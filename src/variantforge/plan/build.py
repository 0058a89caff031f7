"""Spec -> Plan: every step of a family, laid out before anything runs.

Variants are planned parents first (``from``), each through the stages in ``PIPELINE`` order; the family's own steps
come last. Equal steps of two variants become one, since a step *is* its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from variantforge.errors import UsageError
from variantforge.plan.pin import RepoType, Resolver
from variantforge.refs import Ref
from variantforge.registry import near
from variantforge.spec.family import FamilySpec
from variantforge.spec.inherit import in_order, inherit
from variantforge.spec.load import FamilyFile
from variantforge.stages import PIPELINE, Place, stage
from variantforge.step import Pin, Step


@dataclass(frozen=True)
class Plan:
    """``steps``: key -> step, inputs before what needs them. ``places``: where in the family each key stands."""

    family: FamilySpec
    steps: Mapping[str, Step]
    places: Mapping[Place, str]

    @cached_property
    def places_of(self) -> dict[str, list[Place]]:
        by_key: dict[str, list[Place]] = {}
        for place, key in self.places.items():
            by_key.setdefault(key, []).append(place)
        return by_key

    def label(self, key: str) -> str:
        """What people call a step: its place, with the variants that share it."""
        first, *others = self.places_of[key]
        shared = [place.variant for place in others if place.variant and place.variant != first.variant]
        return f"{first}{' = ' + ', '.join(shared) if shared else ''}"

    def select(self, *, until: str | None = None, only: Iterable[str] = ()) -> frozenset[str]:
        """Keys of the steps asked for, and of all that they need. Raises UsageError for unknown names."""
        variants = list(only)
        for variant in variants:
            if variant not in self.family.variants:
                raise UsageError(f"no variant '{variant}'.{near(variant, list(self.family.variants))}")
        if until is not None and until not in PIPELINE:
            raise UsageError(f"no stage '{until}'.{near(until, list(PIPELINE))} Stages: {', '.join(PIPELINE)}.")
        stages = PIPELINE[: PIPELINE.index(until) + 1] if until else PIPELINE
        wanted = [
            key
            for place, key in self.places.items()
            if place.stage in stages and (not variants or place.variant in variants)
        ]
        return frozenset(self._with_inputs(wanted))

    def _with_inputs(self, keys: list[str]) -> Iterator[str]:
        seen: set[str] = set()
        todo = list(keys)
        while todo:
            key = todo.pop()
            if key not in seen:
                seen.add(key)
                yield key
                todo.extend(self.steps[key].inputs.values())


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

    def pin(self, ref: Ref, *, key: str) -> Pin | None:
        if ref.kind == "path":
            ref = Ref("path", str(self.folder / Path(ref.name).expanduser()))
        repo_type: RepoType = "dataset" if key.startswith("datasets.") else "model"
        return self._pinned(lambda: self.resolver.pin(ref, repo_type), key)

    def pin_files(self, files: list[Path], *, key: str) -> Pin | None:
        return self._pinned(lambda: self.resolver.pin_files(files), key)

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
