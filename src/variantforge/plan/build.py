"""Spec -> Plan: every step of a family, laid out before anything runs.

Variants are planned parents first (``from``), each through the stages in ``PIPELINE`` order; the family's own steps
come last. Equal steps of two variants become one, since a step *is* its key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from variantforge.errors import UsageError, VariantforgeError
from variantforge.plan.pin import RepoType, Resolver
from variantforge.plan.plan import Plan
from variantforge.plan.previous import released_in
from variantforge.refs import Ref
from variantforge.spec.doubts import ANY, Doubts
from variantforge.spec.family import FamilySpec
from variantforge.spec.inherit import in_order, inherit
from variantforge.spec.load import FamilyFile
from variantforge.spec.yaml_events import KeyPath
from variantforge.stages import PIPELINE, Place, stage
from variantforge.stages.gate.outcomes import FOLDER
from variantforge.stages.stage import Released
from variantforge.step import Pin, Step

T = TypeVar("T")


@dataclass
class Draft:
    """The desk that stages plan at (see ``stages.stage.Desk``)."""

    family: FamilySpec
    folder: Path
    resolver: Resolver
    tell: Callable[[str, str], None]
    outcomes: Path | None = None  # where earlier releases left theirs; None: beside the folder published into
    reasons: Mapping[str, str] = field(default_factory=dict)  # key of a gate -> why what it refuses ships all the same
    at_key: str = ""
    steps: dict[str, Step] = field(default_factory=dict)
    places: dict[Place, str] = field(default_factory=dict)
    absolute: dict[Ref, Ref] = field(default_factory=dict)  # a path as written -> from the root on
    worked_out: dict[Hashable, Any] = field(default_factory=dict)

    def pin(self, ref: Ref, *, key: str, dataset: bool = False) -> Pin | None:
        if ref.kind == "path":
            ref = self._absolute(ref)
        repo_type: RepoType = "dataset" if dataset or key.startswith("datasets.") else "model"
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

    def once(self, work: Callable[..., T], *arguments: Hashable) -> T:
        asked = (work, *arguments)
        if asked not in self.worked_out:
            self.worked_out[asked] = work(self.family, *arguments)
        found: T = self.worked_out[asked]
        return found

    def add(self, place: Place, step: Step) -> Step:
        self.places[place] = step.key
        return self.steps.setdefault(step.key, step)

    def step(self, place: Place) -> Step | None:
        key = self.places.get(place)
        return self.steps[key] if key else None

    def inputs_of(self, step: Step) -> dict[str, Step]:
        return {role: self.steps[key] for role, key in step.inputs.items()}

    def released_before(self) -> Released | None:
        if FOLDER not in self.worked_out:
            root = self.outcomes or self.folder / Path(self.family.publish.path).expanduser() / FOLDER
            self.worked_out[FOLDER] = released_in(root, self.family.version, self.look, self._pin_file)
        found: Released | None = self.worked_out[FOLDER]
        return found

    def forced(self, gate: str) -> str:
        return self.reasons.get(gate, "")

    def _pin_file(self, path: Path) -> Pin | None:
        return self.pin(Ref("path", str(path)), key="gates")

    def problem(self, key: str, text: str) -> None:
        self.tell(key, text)


def build_plan(
    file: FamilyFile, resolver: Resolver, outcomes: Path | None = None, forced: Mapping[str, str] | None = None
) -> Plan:
    """Lays out the whole family. ``outcomes``: the folder with what earlier releases measured of every item, where
    that is not beside the folder published into. ``forced``: key of a gate -> why what it refuses ships all the same.

    Raises SpecError with every problem that any stage found, and those of the file.
    """
    family = inherit(file.spec)
    problems: dict[tuple[str, str], None] = {}
    unsure = Unsure(file.doubts)

    def tell(key: str, text: str) -> None:
        if not unsure.of(key):
            problems[key, text] = None

    for source in file.sources:
        resolver.seen.look(source)
    draft = Draft(family, file.path.parent.resolve(), resolver, tell, outcomes, forced or {})
    try:
        _lay_out(draft, unsure)
    except VariantforgeError:
        if not file.complaints:  # a file with mistakes is told of those first
            raise
    if problems or file.complaints:
        raise file.error(problems)
    return Plan(family, draft.steps, draft.places)


def _lay_out(draft: Draft, unsure: Unsure) -> None:
    family = draft.family
    for name in in_order(family):
        draft.at_key = f"variants.{name}"
        for stage_name in PIPELINE:
            if stage_name == "base" and unsure.of_base(family, name):
                continue  # without a base, nothing is laid out that hangs on it
            stage(stage_name).plan(draft, name, family.variants[name])
    draft.at_key = ""
    for stage_name in PIPELINE:
        stage(stage_name).plan(draft, None, None)


# What a problem told at these keys rests on, beside what stands there.
_FILES: tuple[KeyPath, ...] = (("defaults", "quantize"), ("variants", ANY, "quantize"))
_REPOS: tuple[KeyPath, ...] = (("family",), ("publish",), ("defaults", "train"), ("variants", ANY, "train"), *_FILES)
_RESTS_ON: dict[str, tuple[KeyPath, ...]] = {
    "gates": (("evaluate",), *_FILES),
    "publish": _REPOS,
    "publish.to": (),
    "publish.namespace": (),
}


class Unsure:
    """What cannot be said of a family file with mistakes: it may be another once they are mended."""

    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts
        self._keys = {key for key, parts in _RESTS_ON.items() if doubts.touch(parts)}
        self._bases: set[str] = set()

    def of(self, key: str) -> bool:
        """Whether a problem at a key path may be none."""
        if not self._doubts.parts:
            return False
        section = key.partition("[")[0]
        of_all = section if section in _RESTS_ON else section.partition(".")[0]
        return of_all in self._keys or self._doubts.about(key)

    def of_base(self, family: FamilySpec, name: str) -> bool:
        """Whether a variant's base is not known. Asked of the variant that it starts from first."""
        if not self._doubts.parts:
            return False
        about, parent = self._doubts.about, family.variants[name].from_
        own = about("base") or about(f"variants.{name}.base") or about(f"variants.{name}.from")
        if own or parent in self._bases or (parent and parent not in family.variants):
            self._bases.add(name)
        return name in self._bases


__all__ = ["Draft", "Plan", "build_plan"]
