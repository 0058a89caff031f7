"""Teachers while planning: a variant of the family, or a model that is pinned and materialised as a base is."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from variantforge.errors import BaseError
from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec
from variantforge.stages.base.files import MAX_JSON_BYTES
from variantforge.stages.base.look import inspect_base
from variantforge.stages.base.stage import known_base, one_sentence, step_of_base
from variantforge.stages.stage import Desk, Place
from variantforge.step import Pin, Step

_TOKENIZER = "tokenizer.json"


def pinned_teacher(
    desk: Desk, teacher: str, place: Place, key: str, *, student: str = "", variant: bool | None = None
) -> Step | None:
    """The step whose ``model/`` is the teacher: a variant's merge, or a base laid out at ``place``.

    None after a problem. ``student``: the variant whose tokens the teacher must share, as far as that can be told now.
    ``variant``: whether ``teacher`` names one, where that is not to be told from the name.
    """
    if teacher in desk.family.variants if variant is None else variant:
        merged = desk.step(Place("merge", teacher)) if teacher != student else None
        taught_by = known_base(desk, teacher).pin if merged else None
    else:
        merged = _materialised(desk, teacher, place, key)
        taught_by = merged.pins["model"] if merged else None
    pin = known_base(desk, student).pin if student else None
    if taught_by and pin and (why := desk.once(_tokens_differ, pin, taught_by)):
        desk.problem(key, f"'{teacher}' and the base of '{student}' have different tokenizers: {why}")
        return None
    return merged


def _materialised(desk: Desk, teacher: str, place: Place, key: str) -> Step | None:
    pin = pin_of_teacher(desk, teacher, key)
    return desk.add(place, desk.once(step_of_base, inspect_base(pin).method, pin)) if pin else None


def pin_of_teacher(desk: Desk, teacher: str, key: str) -> Pin | None:
    """The bytes behind a ref, looked at; None after a problem."""
    try:
        ref = Ref.parse(teacher)
    except ValueError as error:
        desk.problem(key, str(error))
        return None
    if ref.kind == "url":
        desk.problem(key, "a teacher is a variant, a Hub id, a local path or package:distribution/file")
        return None
    pin = desk.pin(ref, key=key)
    try:
        if pin:
            inspect_base(pin)
    except BaseError as error:
        desk.problem(key, one_sentence(error))
        return None
    return pin


def _tokens_differ(family: FamilySpec, student: Pin, teacher: Pin) -> str:
    return tokens_differ(student, teacher)


@lru_cache(maxsize=64)
def tokens_differ(student: Pin, teacher: Pin) -> str:
    """Which token has another id, as far as two folders tell; '' also where only the materialised models will."""
    ours, theirs = (_vocabulary(Path(pin.at)) for pin in (student, teacher))
    if not ours or not theirs or ours == theirs:
        return ""
    differ = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    first = differ[0]
    return f"{len(differ):,} tokens have another id, or none ({first!r}: {ours.get(first)} and {theirs.get(first)})"


def _vocabulary(folder: Path) -> dict[str, int]:
    """Token -> id as tokenizer.json of a folder says, {} where there is none or it is of another form."""
    path = folder / _TOKENIZER
    if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
        return {}
    try:
        told = json.loads(path.read_bytes())
        vocabulary = told["model"]["vocab"]
        if not isinstance(vocabulary, dict):  # a list with scores: order is id
            vocabulary = {str(piece[0]): at for at, piece in enumerate(vocabulary)}
        return vocabulary | {str(added["content"]): int(added["id"]) for added in told.get("added_tokens", [])}
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}
