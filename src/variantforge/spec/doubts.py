"""A family file with mistakes, understood as far as it goes, so that planning can look at the rest of it.

Every mistake puts a *part* of the file in doubt: a dataset, one key of a variant, a gate, the base. In the spec such a
part is at its default, or something stands in for it; nothing may be said of what rests on it. An unknown key may be
any key of its section that is not written, so it puts all of those in doubt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from variantforge.spec.family import FamilySpec, Name
from variantforge.spec.form import keys_of, section_at
from variantforge.spec.yaml_events import Complaint, KeyPath

# How many keys name a part of these sections; any other section is one part.
_DEPTH = {"variants": 3, "datasets": 2, "defaults": 2, "evaluate": 2, "gates": 2, "publish": 2}
ANY = "*"


@dataclass(frozen=True)
class Doubts:
    """The parts of a file that are not understood."""

    parts: frozenset[KeyPath] = frozenset()

    def about(self, key: str) -> bool:
        """Whether what stands at a key path, around it or in it is in doubt."""
        written, around = self._written
        return key in around or any(start in written for start in _starts(key))

    def touch(self, patterns: Iterable[KeyPath]) -> bool:
        """Whether a part that a pattern names, or one around or in it, is in doubt; ``ANY`` stands for any name."""
        return any(
            all(wanted in (ANY, key) for wanted, key in zip(pattern, part, strict=False))
            for pattern in patterns
            for part in self.parts
        )

    @cached_property
    def _written(self) -> tuple[set[str], set[str]]:
        """The parts as key paths, and all that is around them."""
        return {_spelled(part) for part in self.parts}, {
            _spelled(part[:length]) for part in self.parts for length in range(1, len(part))
        }


NO_DOUBTS = Doubts()


def _spelled(path: KeyPath) -> str:
    """As stages write it: nothing is escaped or cut."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _starts(key: str) -> Iterator[str]:
    """``a.b[0]`` -> ``a``, ``a.b``, ``a.b[0]``."""
    yield from (key[:end] for end, letter in enumerate(key) if letter in ".[")
    yield key


def understood(root: Any, complaints: Collection[Complaint]) -> tuple[FamilySpec, Doubts] | None:
    """The spec of a document that has complaints, and what of it is in doubt; None when it has not the shape of a
    family."""
    if not all(complaint.path for complaint in complaints):
        return None
    broken = {complaint.path[: _DEPTH.get(str(complaint.path[0]), 1)] for complaint in complaints}
    parts = frozenset(part for path in broken for part in _in_doubt(path, root))
    try:
        spec = FamilySpec.model_validate(_mended(root, broken | parts), strict=True, by_alias=True, by_name=False)
    except ValidationError:
        return None
    return spec, Doubts(parts)


def _in_doubt(path: KeyPath, root: Any) -> Iterator[KeyPath]:
    section = section_at(path[:-1], root)
    if section is None or path[-1] in keys_of(section):
        yield path
    else:  # an unknown key
        written = _at(root, path[:-1]) or ()
        yield from ((*path[:-1], key) for key in keys_of(section) if key not in written)


def _mended(root: Any, paths: Iterable[KeyPath]) -> Any:
    """A copy without what stands at the paths, or with what stands in for it."""
    mended = deepcopy(root)
    for path in sorted(paths, key=len):
        around, last = _at(mended, path[:-1]), path[-1]
        stand_in = _stand_in(path)
        if isinstance(around, dict) and stand_in is None:
            around.pop(last, None)
        elif isinstance(around, dict):
            around[last] = stand_in
        elif isinstance(around, list) and stand_in is not None:
            around[int(last)] = stand_in
    return mended


def _at(value: Any, path: KeyPath) -> Any:
    """What stands at a path; None where nothing does."""
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value.get(part) if isinstance(value, dict) else None
    return value


def _stand_in(path: KeyPath) -> Any:
    """For what a family cannot be without, or what others name; None: it is left out."""
    match path:
        case ("family",):
            return "family"
        case ("base",):
            return {"model": "./base"}
        case ("datasets", str(name)) if _is_name(name):
            return {"path": "./rows"}
        case ("variants", str(name)) if _is_name(name):
            return {"kind": "domain", "data": {"mix": {}}}
        case ("variants", _, "kind"):
            return "domain"
        case ("variants", _, "data"):
            return {"mix": {}}
        case ("gates", int()):
            return {"metric": "?", "at_most": 0}
    return None


def _is_name(text: str) -> bool:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        return False
    return True
