"""Python sources of installed packages, found by path: nothing is imported, no code of theirs is run."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

from variantforge.registry import near

# Tests, editors' toys and bundled copies are not code to learn from.
_LEFT_OUT = {"test", "tests", "testing", "idlelib", "turtledemo", "lib2to3", "site-packages", "dist-packages"}
_LEFT_OUT |= {"_vendor", "vendor", "vendored", "node_modules", "build", "dist", "__pycache__"}


Look = Callable[[Path], None]  # told of every folder before it is listed


def _in_silence(path: Path) -> None:
    """For those who remember nothing."""


def of_package(name: str, look: Look = _in_silence) -> list[Path]:
    """The .py files of a package or module (``json``, ``email.mime``), sorted; empty when there are none."""
    roots = [sysconfig.get_path("stdlib"), *(entry for entry in sys.path if entry and Path(entry).is_dir())]
    origin = ""
    for part in name.split("."):
        spec = _find(part, roots, look)
        if spec is None:
            return []
        origin, roots = spec.origin or "", list(spec.submodule_search_locations or [])
    if roots:
        return sorted(path for root in roots for path in _sources(Path(root), look))
    return [Path(origin)] if origin.endswith(".py") else []


def _find(part: str, roots: list[str], look: Look) -> ModuleSpec | None:
    """What Python's own search along ``roots`` finds, looking no further than where it finds it."""
    for root in roots:
        look(Path(root))
        spec = PathFinder.find_spec(part, [root])
        if spec is not None and spec.origin:
            return spec
    return PathFinder.find_spec(part, roots)  # a package without __init__.py may lie in several folders


def of_folder(folder: Path, look: Look = _in_silence) -> list[Path]:
    """The .py files below a folder, sorted; empty when there is no such folder."""
    look(folder)
    return sorted(_sources(folder, look)) if folder.is_dir() else []


def not_found(name: str) -> str:
    """The sentence for a package without sources here."""
    top = name.partition(".")[0]
    if of_package(top) or top in sys.builtin_module_names:
        return f"'{name}' has no Python source (it is compiled, or part of another module)"
    known = [*sys.stdlib_module_names, *packages_distributions()]
    return f"no package '{name}' is installed.{near(top, known)}"


def _sources(root: Path, look: Look) -> Iterator[Path]:
    look(root)
    for path in root.iterdir():
        if path.name.startswith(".") or path.name in _LEFT_OUT:
            continue
        if path.suffix != ".py":
            look(path)  # what is a link to nothing today may be a folder of sources tomorrow
        if path.is_dir():
            yield from _sources(path, look)
        elif path.suffix == ".py" and not _is_test(path.stem):
            yield path


def _is_test(stem: str) -> bool:
    return stem.startswith("test_") or stem.endswith("_test") or stem in ("test", "tests", "conftest")
