"""Who taught a variant: by logits, or by data that it learned from; also through what it starts from, and through
teachers of teachers. What a teacher's licence asks reaches every model that learned from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from variantforge.licences import Source
from variantforge.refs import Ref
from variantforge.spec.edges import DISTILL
from variantforge.spec.family import FamilySpec, TeacherDataset, TeacherSpec
from variantforge.stages.base.look import inspect_base
from variantforge.stages.data.teacher.planning import TEACHER, role_of_teacher
from variantforge.stages.stage import Desk, Place
from variantforge.step import Pin


class Taught(NamedTuple):
    """One teacher: of the variant ``by`` (its logits), or, where ``dataset`` is set, who wrote that."""

    teacher: TeacherSpec
    by: str = ""
    dataset: str = ""

    @property
    def place(self) -> Place:
        """Where a teacher that is a model is laid out."""
        if self.dataset:
            return Place("base", None, role_of_teacher(self.dataset))
        return Place("base", self.by, TEACHER)

    @property
    def role(self) -> str:
        """As an input of cards, and as what says its licence."""
        return f"{TEACHER} {self.dataset or self.by}"


@dataclass
class Lineage:
    """All that a variant's weights rest on beside its base, in the order that it is come to."""

    variants: dict[str, None] = field(default_factory=dict)
    datasets: dict[str, None] = field(default_factory=dict)
    teachers: dict[Taught, None] = field(default_factory=dict)


def teacher_of_logits(family: FamilySpec, name: str) -> TeacherSpec | None:
    """Whose distribution a variant is drawn to."""
    train = family.variants[name].train
    if train.method != DISTILL or not train.teacher:
        return None
    return TeacherSpec(variant=train.teacher) if train.teacher in family.variants else TeacherSpec(model=train.teacher)


def lineage_of(family: FamilySpec, name: str) -> Lineage:
    found = Lineage()
    waiting = [name]
    while waiting:
        name = waiting.pop(0)
        if name in found.variants or name not in family.variants:
            continue
        found.variants[name] = None
        variant = family.variants[name]
        waiting.append(variant.from_ or "")
        if own := teacher_of_logits(family, name):
            found.teachers[Taught(own, by=name)] = None
        for dataset in variant.data.sources:
            _add_data(family, dataset, found)
        waiting += [taught.teacher.variant for taught in found.teachers if taught.teacher.variant]
    return found


def _add_data(family: FamilySpec, dataset: str, found: Lineage) -> None:
    while dataset in family.datasets and dataset not in found.datasets:
        found.datasets[dataset] = None
        section = family.datasets[dataset]
        if not isinstance(section, TeacherDataset):
            return
        found.teachers[Taught(section.teacher, dataset=dataset)] = None
        dataset = section.prompts


def teacher_source(desk: Desk, taught: Taught) -> dict[str, Any]:
    """What ``judge`` is asked of a teacher that is no variant, as plain data; ``at`` and ``role`` say who knows its
    licence where that cannot be known while planning."""
    teacher, pin = taught.teacher, _pin(desk, taught)
    key = f"datasets.{taught.dataset}.teacher" if taught.dataset else ""
    says = "" if pin is None or teacher.endpoint else (inspect_base(pin).license or "")
    source = Source(
        called(teacher), says, teacher.license or "", teacher.license_reason, own=bool(teacher.endpoint), key=key
    )
    at = pin.at if pin and pin.at.startswith("hub:") else ""
    return {**vars(source), "at": at, "role": taught.role}


def _pin(desk: Desk, taught: Taught) -> Pin | None:
    base, rows = desk.step(taught.place), desk.step(Place("data", None, taught.dataset))
    return base.pins["model"] if base else rows.pins.get(TEACHER) if rows else None


def called(teacher: TeacherSpec) -> str:
    """What people know it by; no path of this machine."""
    if teacher.endpoint:
        return f"{teacher.model} at {urlsplit(teacher.endpoint).hostname}"
    if teacher.variant:
        return teacher.variant
    ref = Ref.parse(str(teacher.model))
    return ref.name if ref.kind == "hub" else ref.name.rstrip("/").rpartition("/")[2].removesuffix(".gguf")


def teacher_inputs(desk: Desk, name: str) -> Iterator[tuple[str, Place]]:
    """Role and place of the teachers whose materialised files say their licence."""
    for taught in desk.once(lineage_of, name).teachers:
        variant = taught.teacher.variant
        place = Place("base", variant) if variant else taught.place
        if desk.step(place):
            yield taught.role, place
