"""The rows step of a teacher, laid out. What the teacher is enters its key; how fast it is asked does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from variantforge.refs import Ref
from variantforge.spec.family import RowsDataset, TeacherDataset, TeacherSpec
from variantforge.stages.data.formats import kind_of_format
from variantforge.stages.stage import Desk, Place
from variantforge.stages.teachers import pin_of_teacher, pinned_teacher
from variantforge.step import Pin, Step

METHOD, PROMPTS, TEACHER = "teacher", "prompts", "teacher"
KINDS = ("messages", "prompt_only")  # of rows, that can be asked
_PACE = ("requests_per_minute", "concurrency", "timeout_s")


def plan_teacher(
    desk: Desk,
    name: str,
    section: TeacherDataset,
    rows: Callable[[str], Step | None],
    shared: dict[str, Any],
    version: int,
) -> Step | None:
    """``rows``: the step of a dataset's rows; ``shared``: what all rows steps have in their params. None after a
    problem."""
    key = f"datasets.{name}"
    asked = _askable(desk, key, section) and rows(section.prompts)
    inputs, pins, told = _teacher(desk, name, key, section.teacher)
    if not asked or not (inputs or pins or told):
        return None
    dataset = {field: value for field, value in section.identity().items() if field not in ("prompts", "teacher")}
    params = {**shared, "name": name, "dataset": dataset, "teacher": told}
    return Step("data", version, METHOD, params, {PROMPTS: asked.key, **inputs}, pins, _hints(key, section))


def _askable(desk: Desk, key: str, section: TeacherDataset) -> bool:
    prompts = desk.family.datasets.get(section.prompts)
    kind = kind_of_format(prompts.format) if isinstance(prompts, RowsDataset) else "messages"
    if kind is not None and kind not in KINDS:
        told = f"'{section.prompts}' holds rows of the kind {kind}: a teacher is asked chats or prompts"
        desk.problem(f"{key}.prompts", told)
        return False
    return prompts is not None


def _teacher(
    desk: Desk, name: str, key: str, teacher: TeacherSpec
) -> tuple[dict[str, str], dict[str, Pin], dict[str, str]]:
    """Inputs, pins, and what of an endpoint enters the key; all empty after a problem."""
    if teacher.endpoint:
        return {}, {}, {"endpoint": teacher.endpoint.rstrip("/"), "model": str(teacher.model)}
    ref = teacher.variant or str(teacher.model)
    at = f"{key}.teacher.{'variant' if teacher.variant else 'model'}"
    if not teacher.variant and is_gguf_file(ref):
        pin = pin_of_teacher(desk, ref, at)
        return {}, {TEACHER: pin} if pin else {}, {}
    place = Place("base", None, role_of_teacher(name))
    step = pinned_teacher(desk, ref, place, at, variant=bool(teacher.variant))
    return {role_of_teacher(name): step.key} if step else {}, {}, {}


def role_of_teacher(name: str) -> str:
    """The role and the place's name of a model that writes the dataset ``name``."""
    return f"{TEACHER}:{name}"


def is_gguf_file(ref: str) -> bool:
    """Whether a ref names a GGUF file, which llama.cpp runs as it is."""
    try:
        return Ref.parse(ref).kind in ("path", "package") and ref.endswith(".gguf")
    except ValueError:
        return False


def _hints(key: str, section: TeacherDataset) -> dict[str, Any]:
    teacher = section.teacher
    by = "variant" if teacher.variant else "model"
    hints: dict[str, Any] = {"heavy": True, "at_key": key, "called": teacher.variant or teacher.model, "by": by}
    if teacher.endpoint:
        hints["pace"] = {field: getattr(section, field) for field in _PACE}
    if teacher.api_key_env:
        hints["api_key_env"] = teacher.api_key_env
    return hints


def section_of(step: Step) -> TeacherDataset:
    """The section as the key has it; who is asked, and whose prompts, are inputs."""
    told = {"source": TEACHER, "prompts": "-", "teacher": {"model": "-"}, **step.params["dataset"]}
    return TeacherDataset.model_validate(told)


def identity_of(step: Step) -> dict[str, str]:
    """What the teacher is: as long as this holds, answers that were kept are its answers."""
    if TEACHER in step.pins:
        return {"gguf": step.pins[TEACHER].digest}
    models = [key for role, key in step.inputs.items() if role != PROMPTS]
    return {"artifact": models[0]} if models else dict(step.params[TEACHER])


def missing_key(step: Step) -> str:
    """The environment variable that an endpoint's key is read from, where it is not set; '' else."""
    name = str(step.hints.get("api_key_env", ""))
    return "" if os.environ.get(name) else name


def key_for(step: Step) -> dict[str, str]:
    """The one credential, out of this process's environment, that the endpoint of a teacher or a judge asks for."""
    name = str(step.hints.get("api_key_env", ""))
    return {name: os.environ[name]} if name in os.environ else {}
