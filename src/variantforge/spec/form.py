"""The form of a family file as a map: which section stands at a key path, and where a key belongs."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from variantforge.spec.family import DATASET_FORMS, FamilySpec, PythonSourceDataset, dataset_form
from variantforge.spec.yaml_events import KeyPath

Model = type[BaseModel]


def home_of(path: KeyPath) -> KeyPath | None:
    """Where a key that is unknown here would be known: of several places, the one nearest to here."""
    homes = [home for home, section in _sections() if path[-1] in keys_of(section)]
    elsewhere = [home for home in homes if not _shared(home, path) == len(home) == len(path) - 1]
    if not elsewhere:
        return None
    best = max(elsewhere, key=lambda home: (_shared(home, path), -len(home)))
    shared = _shared(best, path)
    return (*path[:shared], *best[shared:])


def _shared(home: KeyPath, path: KeyPath) -> int:
    """How many first parts two paths share; ``NAME`` stands for any name."""
    pairs = zip(home, path[:-1], strict=False)
    return len(list(takewhile(lambda pair: pair[0] in ("NAME", pair[1]), pairs)))


@cache
def _sections() -> list[tuple[KeyPath, Model]]:
    """Every section of the form below the top, with its path."""
    found: list[tuple[KeyPath, Model]] = []

    def walk(home: KeyPath, annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append((home, annotation))
            for key, field in _fields(annotation).items():
                walk((*home, key), field.annotation)
        else:
            inside = (*home, "NAME") if get_origin(annotation) is dict else home
            for argument in get_args(annotation):
                walk(inside, argument)

    walk((), FamilySpec)
    return found[1:]


def _fields(section: Model) -> dict[str, Any]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def keys_of(section: Model | None) -> list[str]:
    return list(_fields(section)) if section else []


def description_of(section: Model | None, key: str | int) -> str:
    field = _fields(section).get(str(key)) if section else None
    return (field.description or "") if field else ""


def section_at(path: KeyPath, root: Any) -> Model | None:
    """The section of the form that a key path names, or None where none is (inside ``args``, say)."""
    annotation: Any = FamilySpec
    value = root
    for part in path:
        annotation = _inside(annotation, part)
        value = value.get(part) if isinstance(value, Mapping) else value[part] if isinstance(part, int) else None
        annotation = _unwrapped(annotation, value)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _inside(annotation: Any, part: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = _fields(annotation).get(str(part))
        return field.annotation if field else None
    arguments = get_args(annotation)
    return arguments[-1] if get_origin(annotation) in (dict, list) and arguments else None


def _unwrapped(annotation: Any, value: Any) -> Any:
    """``Annotated`` and unions taken away; of the dataset forms, the one that was meant."""
    if get_origin(annotation) is Annotated:
        return _unwrapped(get_args(annotation)[0], value)
    if get_origin(annotation) in (Union, types.UnionType):
        members = [_unwrapped(member, value) for member in get_args(annotation)]
        if PythonSourceDataset in members:
            return DATASET_FORMS[dataset_form(value)]
        return next((member for member in members if member is not type(None)), None)
    return annotation
