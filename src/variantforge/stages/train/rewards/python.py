"""A function of the user's own: ``./rewards.py:brevity`` beside the family file, or ``package.module:function``.

It is called as TRL calls reward functions: ``function(prompts=..., completions=..., completion_ids=..., answer=...,
tests=..., entry_point=..., and what 'keep' kept of the rows)``, everything lists of one item per answer, prompts and
completions as lists of messages. It gives a list of numbers, None where it has nothing to say. It runs in this process
with all rights of it: it is the code of who wrote the family file, pinned by its digest.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from variantforge.errors import IntegrityError, TrainError
from variantforge.hashing import file_digest, tree_digest
from variantforge.spec.family import Section
from variantforge.stages.train.rewards.reward import Answer, Plain, Score

if TYPE_CHECKING:
    from variantforge.stages.stage import Desk
    from variantforge.step import Pin

_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_MODULE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
_COLUMNS = ("answer", "tests", "entry_point")
CODE = "code "  # roles of pins that are code of the user's begin so: 'plan' tells of them


class PythonParams(Section):
    function: str = Field(description="./file.py:function beside the family file, or package.module:function")

    @field_validator("function")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not (_FILE.fullmatch(value) or _MODULE.fullmatch(value)):
            raise ValueError("./file.py:function or package.module:function is wanted")
        return value


class Python(Plain):
    Params = PythonParams

    def __init__(self, params: Any, pins: Mapping[str, Pin]) -> None:
        super().__init__(params, pins)
        self._function = _loaded(params.function, pins[CODE + params.function])

    @staticmethod
    def pins(params: Any, desk: Desk, key: str) -> Mapping[str, Pin]:
        file = file_of(params.function, desk.folder)
        if file is None:
            desk.problem(f"{key}.function", f"there is no module '{params.function.partition(':')[0]}' here")
            return {}
        desk.look(file)
        if not file.is_file():
            desk.problem(f"{key}.function", f"there is no file {params.function.partition(':')[0]}")
            return {}
        name = params.function.partition(":")[2]
        if not re.search(rf"^(?:def|class)\s+{name}\b|^{name}\s*=|\bimport\b.*\b{name}\b", _text(file), re.MULTILINE):
            desk.problem(f"{key}.function", f"{file.name} defines no '{name}'")
            return {}
        pin = desk.pin_files([file], key=f"{key}.function")
        return {CODE + params.function: pin} if pin else {}

    def score(self, answers: Sequence[Answer]) -> Sequence[Score]:
        values = self._function(
            prompts=[list(answer.row["prompt"]) for answer in answers],
            completions=[[{"role": "assistant", "content": answer.text}] for answer in answers],
            completion_ids=[list(answer.ids) for answer in answers],
            **columns(answers),
        )
        return [Score(None if value is None else float(value)) for value in values]


def columns(answers: Sequence[Answer]) -> dict[str, list[Any]]:
    """What rows hold for rewards, by name; None where a row lacks what another has."""
    rows = [{**answer.row.get("extra", {}), **_own(answer.row)} for answer in answers]
    return {name: [row.get(name) for row in rows] for name in sorted({name for row in rows for name in row})}


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _COLUMNS if name in row}


def file_of(function: str, folder: Path) -> Path | None:
    """Where a function's source lies; None when its package is not installed. Nothing is imported."""
    if found := _FILE.fullmatch(function):
        return folder / found["file"]
    module = function.partition(":")[0]
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        return None
    if not rest:
        return Path(spec.origin)
    place = Path(spec.origin).parent.joinpath(*rest)
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _loaded(function: str, pin: Pin) -> Callable[..., Sequence[Any]]:
    """The function, of the very bytes that were pinned. Raises IntegrityError, TrainError."""
    where, _, name = function.partition(":")
    file = Path(pin.at) / (file_of(function, Path()) or Path(where)).name
    if tree_digest({file.name: file_digest(file)}) != pin.digest:
        raise IntegrityError(f"{file.name} has changed since the plan was made", next="run the same command again")
    try:
        found = getattr(_run(file) if _FILE.fullmatch(function) else importlib.import_module(where), name)
    except Exception as error:  # the user's own code may fail in any way
        raise TrainError(
            f"the reward {function} cannot be loaded: {type(error).__name__}", why=str(error), next=f"mend {function}"
        ) from error
    if not callable(found):
        raise TrainError(f"the reward {function} is not a function", next=f"name a function in {file.name}")
    return found  # type: ignore[no-any-return]


def _run(file: Path) -> ModuleType:
    """The file as a module; nothing is written beside it."""
    name = f"variantforge_reward_{file_digest(file)[:16]}"
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(file)
    exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    return module
