"""The task files of the installed lm-evaluation-harness, found and read without importing it.

Importing its task manager costs seconds and brings datasets and numpy along; a plan only wants to know which file
declares a task, what stands in it, and which metrics it names.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

import yaml

DISTRIBUTION = "lm_eval"
MOST_BYTES = 4 << 20  # of one task file
_DECLARES = re.compile(rb"^[\"']?(task|group|tag|include|class)[\"']?[ \t]*:[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE)


class TaskFileError(Exception):
    """A task file that cannot be read, with one sentence that says why."""


@dataclass(frozen=True)
class Function:
    """``!function utils.process`` in a file of ``folder``: Python code. Read as a name, never imported here."""

    name: str
    folder: Path


class _Loader(yaml.CSafeLoader):
    """Safe, and knows one tag more. ``folder`` is that of the file."""

    folder = Path()

    def function(self, node: yaml.ScalarNode) -> Function:
        return Function(str(self.construct_scalar(node)), self.folder)


_Loader.add_constructor("!function", _Loader.function)


def version() -> str | None:
    """That of the installed harness; None when it is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


@cache
def tasks_folder() -> Path | None:
    """Where the installed harness keeps its tasks; it is not imported."""
    found = util.find_spec("lm_eval")
    places = found.submodule_search_locations if found else None
    folder = Path(next(iter(places))) / "tasks" if places else None
    return folder if folder and folder.is_dir() else None


@dataclass
class TaskFile:
    """A task file with its includes. ``files``: all that were read; ``config``: what holds, as the harness merges."""

    path: Path
    config: dict[str, Any]
    files: list[Path]


Look = Callable[[Path], None]


def read_task_file(path: Path, look: Look = lambda path: None) -> TaskFile:
    """``look`` hears of every file before it is read. Raises TaskFileError."""
    files: list[Path] = []
    return TaskFile(path, _merged(path, files, look), files)


def _merged(path: Path, files: list[Path], look: Look) -> dict[str, Any]:
    """Keys of the file win over those of what it includes; of includes, the later wins."""
    path = Path(os.path.normpath(path))
    if path in files:
        raise TaskFileError(f"{path.name} includes itself")
    look(path)
    config = _read(path)
    files.append(path)
    includes = config.pop("include", None)
    merged: dict[str, Any] = {}
    for include in includes if isinstance(includes, list) else [includes] if includes else []:
        inherited = _merged(path.parent / str(include), files, look)
        inherited.pop("task_list", None)
        merged |= inherited
    return merged | config


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise TaskFileError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB: no task file is")
        loader = _Loader(text)
        loader.folder = path.parent
        config = loader.get_single_data()
    except OSError as error:
        raise TaskFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TaskFileError(f"{path.name} is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict):
        raise TaskFileError(f"{path.name} holds no mapping of keys")
    return config


def functions_in(value: Any) -> Iterator[Function]:
    """Every ``!function`` in a configuration."""
    if isinstance(value, Function):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from functions_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from functions_in(inner)


def code_of(function: Function) -> Path | None:
    """The module beside a task file that a function stands in; None for one that is imported by its whole name."""
    module = function.folder / f"{function.name.rpartition('.')[0].replace('.', '/')}.py"
    return module if module.is_file() else None


@cache
def missing_modules(module: Path) -> tuple[str, ...]:
    """Packages that a module of the harness imports, itself or through others of the harness, and that are not here.

    What is imported within functions, or tried, is not looked at.
    """
    missing: set[str] = set()
    waiting, seen = [module], set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imports(path):
            root = name.partition(".")[0]
            if root == DISTRIBUTION:
                waiting += _modules(name)
            elif root not in sys.stdlib_module_names and not (path.parent / f"{root}.py").is_file():
                missing |= {root} if util.find_spec(root) is None else set()
    return tuple(sorted(missing))


def _imports(path: Path) -> list[str]:
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    plain = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    parts = [node for node in body if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return plain + [f"{node.module}.{alias.name}" for node in parts for alias in node.names]


def _modules(name: str) -> list[Path]:
    """The files of the harness's tasks that a dotted name may mean."""
    folder, parts = tasks_folder(), name.split(".")
    if folder is None or parts[:2] != [DISTRIBUTION, "tasks"]:
        return []
    paths = (folder.joinpath(*parts[2:end]).with_suffix(".py") for end in (len(parts), len(parts) - 1) if end > 2)
    return [path for path in paths if path.is_file()]


# --- which file declares a name ---------------------------------------------------------------------------------


@dataclass
class Index:
    """Name -> the file that declares it, and tag -> names of its tasks; the first file in order of paths wins."""

    tasks: dict[str, Path] = field(default_factory=dict)
    groups: dict[str, Path] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [*self.tasks, *self.groups, *self.tags]


def declared(name: str) -> Path | None:
    """The harness's file that declares a task or group of that name; None when there is none (it may be a tag).

    Folders called as the name begins are looked at first: of 14,000 files, few are read for most names.
    """
    folder = tasks_folder()
    if folder is None:
        return None
    likely = [entry for entry in os.listdir(folder) if entry[:2] == name[:2]]
    for entry in sorted(likely, key=lambda entry: (-_alike(entry, name), entry)):
        for path in _yaml_files(folder / entry):
            if _declares(path, name):
                return path
    return index().tasks.get(name) or index().groups.get(name)


def _alike(one: str, two: str) -> int:
    """How many letters both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def _yaml_files(folder: Path) -> Iterator[Path]:
    found = [
        Path(where, name)
        for where, _, names in os.walk(folder)
        if not where.endswith(("__pycache__", ".ipynb_checkpoints"))
        for name in names
        if name.endswith(".yaml")
    ]
    yield from sorted(found, key=lambda path: path.as_posix())


def _lines(path: Path) -> dict[str, str]:
    """The top-level keys that say what a file declares, as they are written; '' where a block follows."""
    with open(path, "rb") as file:
        found = _DECLARES.findall(file.read(MOST_BYTES))
    return {key.decode(): value.decode(errors="replace").strip("\"'") for key, value in found}


def _declares(path: Path, name: str) -> bool:
    lines = _lines(path)
    return lines.get("group") == name or ("group" not in lines and lines.get("task") == name)


@cache
def index() -> Index:
    """All that the installed harness declares. Takes about a second: asked for unknown names and for tags alone."""
    found = Index()
    folder = tasks_folder()
    for path in _yaml_files(folder) if folder else ():
        lines = _lines(path)
        if lines.get("group") and "class" not in lines:  # a task in Python names its group in an old way
            found.groups.setdefault(lines["group"], path)
        elif lines.get("task"):
            found.tasks.setdefault(lines["task"], path)
            for tag in _tags(path, lines):
                found.tags.setdefault(tag, []).append(lines["task"])
    return found


@cache
def _tags_included(path: Path) -> tuple[str, ...]:
    try:
        return _tags(path, _lines(path))
    except OSError:
        return ()


def _tags(path: Path, lines: dict[str, str]) -> tuple[str, ...]:
    """The tags that a file gives its task: its own, else those of what it includes."""
    if lines.get("tag"):
        return tuple(part.strip(" \"'") for part in lines["tag"].strip("[]").split(","))
    if "tag" not in lines and lines.get("include"):
        return _tags_included(path.parent / lines["include"])
    if not {"tag", "include"} & lines.keys():
        return ()
    try:
        tags = read_task_file(path).config.get("tag") or []
    except TaskFileError:
        return ()
    return tuple(str(tag) for tag in (tags if isinstance(tags, list) else [tags]))
