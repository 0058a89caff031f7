"""What a family names that is not in the family file itself: bases, data, judges, each with the step that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from variantforge.hashing import tree_digest
from variantforge.plan.pin import RepoType
from variantforge.plan.plan import Plan
from variantforge.refs import Ref
from variantforge.release.lock.record import Teacher
from variantforge.spec.edges import DISTILL
from variantforge.spec.family import FamilySpec, PythonSourceDataset, TeacherDataset, TeacherSpec
from variantforge.spec.inherit import inherit
from variantforge.stages import Place
from variantforge.stages.base.stage import base_of
from variantforge.stages.data.pool import AGAINST
from variantforge.stages.data.teacher.planning import TEACHER, is_gguf_file, role_of_teacher
from variantforge.stages.evaluate.evaluation import Evaluation, evaluation
from variantforge.stages.evaluate.judges.planning import JUDGE, place_of_judge
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.stages.evaluate.metric import BASE, subjects
from variantforge.stages.evaluate.suites import HasJudge, HasSuiteFiles, HasTasks, is_looked_for
from variantforge.step import Pin

Section = Literal["base", "data"]
PYTHON = "python:"  # sources that are mined, by package or folder: other files than a dataset of the same path has
_HUB = "hub:"  # how the place of a pin begins that lies there: hub:NAME@COMMIT
TASK = "task:"  # a task file of the user's: with what it includes, and its items


class Need(NamedTuple):
    """One name, and where a plan holds the bytes that it stood for: a step's place and the role of its pin; ``beside``
    are roles of further pins that belong to it, where the step has them."""

    section: Section
    name: str
    place: Place
    role: str
    beside: tuple[str, ...] = ()

    @property
    def ref(self) -> Ref | None:
        return None if self.name.startswith((PYTHON, TASK)) else Ref.parse(self.name)

    @property
    def hub(self) -> Ref | None:
        return self.ref if self.ref and self.ref.kind == "hub" else None

    @property
    def repo_type(self) -> RepoType:
        return "model" if self.section == "base" else "dataset"

    def pin(self, plan: Plan) -> Pin | None:
        """The bytes as the plan has them; None for a plan that does not read them."""
        key = plan.places.get(self.place)
        pins = plan.steps[key].pins if key else {}
        own, roles = pins.get(self.role), [role for role in (self.role, *self.beside) if role in pins]
        if own is None or not self.beside:
            return own
        return Pin(tree_digest({role: pins[role].digest for role in roles}), own.at)


def needs(family: FamilySpec, plan: Plan | None = None) -> list[Need]:
    """One per name, bases first, in the order of the file. ``plan`` adds what stands in files that it has read."""
    found: dict[tuple[str, str], Need] = {}
    for need in (*every_need(family), *(_of_task_files(family, plan) if plan else ())):
        found.setdefault((need.section, need.name), need)
    return list(found.values())


def every_need(family: FamilySpec) -> Iterator[Need]:
    """One per place: variants with one base, and datasets with one path, have needs of one name."""
    yield from _bases(family)
    yield from _teachers(family)
    yield from _judges(family)
    yield from _tasks(family)
    yield from _data(family)
    yield from _suites(family)  # last: a file that is a dataset too is locked as that
    yield from _against(family)


def _bases(family: FamilySpec) -> Iterator[Need]:
    for name, variant in family.variants.items():
        model, revision, _ = base_of(family, name, variant)
        yield Need("base", _at(model, revision), Place("base", name), "model")


def _teachers(family: FamilySpec) -> Iterator[Need]:
    """Models that are distilled; a variant needs no name here, as it is made of what has one."""
    for name, variant in inherit(family).variants.items():
        teacher = variant.train.teacher
        if teacher and variant.train.method == DISTILL and teacher not in family.variants:
            yield Need("base", _at(teacher, None), Place("base", name, "teacher"), "model")


def _judges(family: FamilySpec) -> Iterator[Need]:
    """Models that judge answers: a GGUF file is read by the steps that ask it, any other is laid out as a base."""
    for title, (asked, judge) in _judging(family).items():
        if judge.endpoint:
            continue
        if not is_gguf_file(judge.model):
            yield Need("base", _at(judge.model, None), place_of_judge(title), "model")
        elif place := _first_measured(family, title, asked):
            yield Need("data", judge.model, place, JUDGE)


def _judging(family: FamilySpec) -> dict[str, tuple[Evaluation, JudgeSpec]]:
    """Title -> the evaluations that ask a model, and which."""
    asked = {title: evaluation(spec) for title, spec in family.evaluate.items()}
    return {
        title: (one, judge)
        for title, one in asked.items()
        if one and isinstance(one.evaluator, HasJudge) and (judge := one.evaluator.judge(one.params))
    }


def _first_measured(family: FamilySpec, title: str, asked: Evaluation) -> Place | None:
    """Where the first step of an evaluation stands: all of them hold the same pins."""
    for name, variant in inherit(family).variants.items():
        for subject in subjects(variant):
            if asked.metrics(subject):
                return Place("evaluate", name, f"{title}:{subject}")
    return None


def _tasks(family: FamilySpec) -> Iterator[Need]:
    """Datasets of the Hub that tasks ask, of those that need no file of the family's folder to be known."""
    first = next(iter(family.variants))
    for title, spec in family.evaluate.items():
        asked = evaluation(spec)
        if asked and isinstance(asked.evaluator, HasTasks):
            for role, ref in asked.evaluator.datasets(asked.params).items():
                yield Need("data", str(ref), Place("evaluate", first, f"{title}:{BASE}"), role)


def _of_task_files(family: FamilySpec, plan: Plan) -> Iterator[Need]:
    """Datasets of the Hub that the user's own task files ask."""
    first = next(iter(family.variants))
    for title, spec in family.evaluate.items():
        asked, place = evaluation(spec), Place("evaluate", first, f"{title}:{BASE}")
        if asked and isinstance(asked.evaluator, HasTasks) and place in plan.places:
            for role, pin in plan.steps[plan.places[place]].pins.items():
                if pin.at.startswith(_HUB):
                    yield Need("data", pin.at.removeprefix(_HUB).partition("@")[0], place, role)


def _suites(family: FamilySpec) -> Iterator[Need]:
    """Files of the user's that evaluators read, and those that packages carry for them."""
    first = next(iter(family.variants))
    for title, spec in family.evaluate.items():
        asked = evaluation(spec)
        if asked and isinstance(asked.evaluator, HasTasks):
            for entry, role, beside in asked.evaluator.task_pins(asked.params):
                yield Need("data", f"{TASK}{entry}", Place("evaluate", first, f"{title}:{BASE}"), role, beside)
        elif asked and isinstance(asked.evaluator, HasSuiteFiles) and (place := _first_measured(family, title, asked)):
            roles = getattr(asked.evaluator, "pinned_as", {})
            for key, name in asked.evaluator.suite_files(asked.params).items():
                if is_looked_for(name) and _is_ref(name):
                    yield Need("data", name, place, roles.get(key, key))


def _against(family: FamilySpec) -> Iterator[Need]:
    """Files that training data are kept clean of, beside those of evaluations."""
    policy, first = family.data_policy.decontaminate, next(iter(family.variants))
    for name in policy.against if policy else ():
        if name not in family.datasets and is_looked_for(name) and _is_ref(name):
            yield Need("data", name, Place("data", first, "mix"), f"{AGAINST}{name}")


def _is_ref(text: str) -> bool:
    """What is none is told while planning, where it stands."""
    try:
        Ref.parse(text)
    except ValueError:
        return False
    return True


def _data(family: FamilySpec) -> Iterator[Need]:
    used = family.datasets_read
    for name in family.datasets:
        if name not in used:
            continue
        section, place = family.datasets[name], Place("data", None, name)
        if isinstance(section, TeacherDataset):
            yield from _writer(name, section.teacher)
            continue
        if not isinstance(section, PythonSourceDataset):
            yield Need("data", _at(section.path, section.revision), place, "data")
            continue
        for package in sorted(set(section.packages)):
            yield Need("data", f"{PYTHON}{package}", place, f"package:{package}")
        if section.folder:
            yield Need("data", f"{PYTHON}{section.folder}", place, "folder")


def _writer(name: str, teacher: TeacherSpec) -> Iterator[Need]:
    """A model that writes a dataset: a GGUF file is data that its rows step reads, any other is a base."""
    if teacher.endpoint or not teacher.model:
        return
    if is_gguf_file(teacher.model):
        yield Need("data", teacher.model, Place("data", None, name), TEACHER)
    else:
        yield Need("base", _at(teacher.model, None), Place("base", None, role_of_teacher(name)), "model")


def endpoints(family: FamilySpec) -> dict[str, Teacher]:
    """Dataset -> the endpoint whose model writes it, and ``judge:EVALUATION`` -> the endpoint whose model judges."""
    found = {
        f"{JUDGE}:{title}": Teacher(judge.endpoint.rstrip("/"), judge.model)
        for title, (_, judge) in _judging(family).items()
        if judge.endpoint
    }
    for name in sorted(family.datasets_read):
        section = family.datasets[name]
        if isinstance(section, TeacherDataset) and section.teacher.endpoint:
            found[name] = Teacher(section.teacher.endpoint.rstrip("/"), str(section.teacher.model))
    return found


def _at(text: str, revision: str | None) -> str:
    """The name with its revision, as ``str(Ref)`` writes it."""
    ref = Ref.parse(text)
    return str(Ref(ref.kind, ref.name, revision or ref.revision)) if ref.kind == "hub" else text
