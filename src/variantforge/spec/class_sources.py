"""The fields of a dataclass, read from its source: nothing is imported, so the library behind it stays unloaded.

Names are followed as Python would: a base class, an enum or a re-export is looked up through the module's imports
(those under ``if TYPE_CHECKING`` too, which is where lazy packages list what they offer).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Field(NamedTuple):
    """``takes``: of int, float, bool, str, list, list[str], dict, any, none, object; ``choices``: its only texts."""

    text: str  # the annotation as written: "int | None"
    takes: tuple[str, ...]
    choices: tuple[str, ...] = ()


class SourceMissing(Exception):
    """A module or class is not where it was expected."""


class Module:
    """One parsed source file."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.tree = ast.parse(path.read_bytes())

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Local name -> (module, name there)."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        found: dict[str, tuple[str, str]] = {}
        for node in _statements(self.tree.body):
            if isinstance(node, ast.ImportFrom):
                parent = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
                module = ".".join(part for part in (parent, node.module) if part)
                found.update({alias.asname or alias.name: (module, alias.name) for alias in node.names})
        return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those inside ``if`` and ``try`` too; functions and classes are not entered."""
    for node in body:
        yield node
        for block in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                yield from _statements(getattr(node, block, []))


class Sources:
    """Reads modules on demand and remembers which files it read."""

    def __init__(self) -> None:
        self.modules: dict[str, Module] = {}

    @property
    def files(self) -> list[Path]:
        return [module.path for module in self.modules.values()]

    def fields(self, module: str, name: str) -> dict[str, Field]:
        """Every dataclass field of a class, inherited ones first. Raises SourceMissing."""
        home, node = self.find(module, name)
        found: dict[str, Field] = {}
        for base in reversed(node.bases):
            if not self._is_plain(home, base):
                found |= self.fields(home.name, ast.unparse(base))
        for statement in node.body:
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            if "ClassVar" not in ast.unparse(statement.annotation):
                found[statement.target.id] = self._field(home, statement)
        return found

    def _is_plain(self, home: Module, base: ast.expr) -> bool:
        """Whether a base class comes from Python itself (object, ABC, Generic[T]) and so brings no fields."""
        name = ast.unparse(base).split("[")[0]
        source, _ = home.imports.get(name.split(".")[0], (name, ""))
        return name == "object" or source.split(".")[0] in sys.stdlib_module_names

    def find(self, module: str, name: str) -> tuple[Module, ast.ClassDef]:
        """The class a name means in a module, and the module that defines it."""
        here = self._module(module)
        if name in here.classes:
            return here, here.classes[name]
        if name in here.imports and here.imports[name] != (module, name):
            return self.find(*here.imports[name])
        raise SourceMissing(f"{name} is not in {here.path}")

    def _module(self, name: str) -> Module:
        if name not in self.modules:
            self.modules[name] = Module(name, _module_path(name))
        return self.modules[name]

    def _field(self, home: Module, statement: ast.AnnAssign) -> Field:
        takes: list[str] = []
        choices: list[str] = []
        for part in _alternatives(statement.annotation):
            kind, options = self._kind(home, part)
            takes.append(kind)
            choices += options
        choices += _metadata_choices(statement.value)
        if "choice" in takes:  # ``SomeEnum | str``: a text, but only the enum's
            takes = ["str" if kind == "choice" else kind for kind in takes]
        return Field(ast.unparse(statement.annotation), tuple(dict.fromkeys(takes)), tuple(choices))

    def _kind(self, home: Module, node: ast.expr) -> tuple[str, list[str]]:
        """What one alternative of an annotation takes, and the texts an enum or a Literal limits it to."""
        text = ast.unparse(node)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
            options = [ast.literal_eval(option) for option in _elements(node.slice)]
            texts = [option for option in options if isinstance(option, str)]
            return ("choice", texts) if texts else (_KINDS.get(type(options[0]).__name__, "object"), [])
        plain = text.split("[")[0].rpartition(".")[2].lower()
        if text.replace(" ", "").lower() in ("list[str]", "typing.list[str]"):
            return "list[str]", []
        if plain in _KINDS or text == "None":
            return _KINDS.get(plain, "none"), []
        try:
            _, enum = self.find(home.name, text)
        except (SourceMissing, OSError):
            return "any", []  # an alias, or a class that cannot be found: TRL itself will check it
        values = list(_enum_values(enum))
        return ("choice", values) if values else ("object", [])


_KINDS = {kind: kind for kind in ("int", "float", "bool", "str", "list", "dict", "any")} | {"mapping": "dict"}


def _module_path(name: str) -> Path:
    """A module's file, found without running it (only the top-level package is asked for its place)."""
    package, *rest = name.split(".")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SourceMissing(f"{package} is not installed")
    stem = Path(next(iter(spec.submodule_search_locations)), *rest)
    path = stem / "__init__.py" if stem.is_dir() else stem.with_name(stem.name + ".py")
    if not path.is_file():
        raise SourceMissing(f"{path} is not there")
    return path


def _alternatives(node: ast.expr) -> Iterator[ast.expr]:
    """``A | B``, ``Union[A, B]`` and ``Optional[A]`` taken apart; a quoted annotation is read."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _alternatives(ast.parse(node.value, mode="eval").body)
    elif isinstance(node, ast.BinOp):
        yield from (*_alternatives(node.left), *_alternatives(node.right))
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] in ("Union", "Optional"):
        for element in _elements(node.slice):
            yield from _alternatives(element)
        if ast.unparse(node.value).endswith("Optional"):
            yield ast.Constant(None)
    else:
        yield node


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _enum_values(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        value = statement.value if isinstance(statement, ast.Assign) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def _metadata_choices(value: ast.expr | None) -> list[str]:
    """The literal ``choices`` of ``field(metadata={"choices": [...]})``."""
    for node in ast.walk(value) if value is not None else ():
        if isinstance(node, ast.Dict):
            for key, choices in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "choices" and isinstance(choices, ast.List):
                    return [str(c.value) for c in choices.elts if isinstance(c, ast.Constant)]
    return []
