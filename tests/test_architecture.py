"""The shape of the house: who may import whom, and that every row of every table stands."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "variantforge"
PACKAGE = "variantforge"

# A module may import from its own rung and from those above it.
LADDER = [
    {"redact"},
    {"errors"},
    {"hashing", "refs", "registry", "fsops", "words"},
    {"sandbox"},
    {"licences"},
    {"spec"},
    {"step"},
    {"stages"},
    {"plan"},
    {"store"},
    {"run"},
    {"release"},
    {"report"},
    {"cli"},
]
RUNG = {room: height for height, rooms in enumerate(LADDER) for room in rooms}
TABLES = [
    "variantforge.stages:STAGES",
    "variantforge.stages.train:METHODS",
    "variantforge.stages.train.rewards:REWARDS",
    "variantforge.stages.quantize:QUANTIZERS",
    "variantforge.stages.evaluate:EVALUATORS",
    "variantforge.stages.publish:PUBLISHERS",
    "variantforge.run:EXECUTORS",
]
HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "gguf", "libgguf", "xllamacpp", "pyarrow")


def modules() -> list[Path]:
    found = [
        path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in ("__init__.py", "__main__.py")
    ]
    assert len(found) > 30
    return found


def name_of(path: Path) -> str:
    parts = (PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(path: Path, *, inside_functions: bool = True) -> Iterator[str]:
    """Names of all modules that a file imports when it runs (what only type checkers read is not among them)."""
    for node in _executed(_tree(path), inside_functions):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names if _is_module(node.module, alias.name)]
            yield from modules
            if len(modules) < len(node.names):
                yield node.module


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _executed(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside_functions:
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _executed(child, inside_functions)


@functools.cache
def _is_module(package: str, name: str) -> bool:
    folder = SOURCE.parent / Path(*package.split("."))
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_up_the_ladder_only(path: Path) -> None:
    own = RUNG[room_of(name_of(path))]
    for imported in imports_of(path):
        if imported.startswith(f"{PACKAGE}."):
            assert RUNG[room_of(imported)] <= own, f"{name_of(path)} imports {imported}"


def test_there_is_no_import_cycle_even_inside_functions() -> None:
    graph: dict[str, set[str]] = {name_of(path): set() for path in modules()}
    for path in modules():
        name = name_of(path)
        graph[name] = {target for target in imports_of(path) if target in graph and target != name}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_libraries_are_imported_only_where_steps_are_done(path: Path) -> None:
    for imported in imports_of(path, inside_functions=False):
        assert imported.split(".")[0] not in HEAVY, f"{name_of(path)} imports {imported} when it is imported"


def test_the_pipeline_is_the_folder_of_stages() -> None:
    from variantforge.stages import PIPELINE, STAGES

    folder = SOURCE / "stages"
    stages = {path.stem for path in folder.glob("*.py") if "STAGE = " in path.read_text()}
    stages |= {path.parent.name for path in folder.glob("*/stage.py")}
    assert set(PIPELINE) == set(STAGES) == stages


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_every_table_loads(table: str) -> None:
    module, _, attr = table.partition(":")
    registry = getattr(import_module(module), attr)
    assert list(registry)
    for name in registry:
        assert registry.load(name) is not None


def test_every_stage_answers_to_its_own_name() -> None:
    from variantforge.stages import PIPELINE, stage

    for name in PIPELINE:
        assert stage(name).name == name
        assert stage(name).version >= 1


def test_only_stages_shown_outside_the_store_can_be_stale() -> None:
    """The others are not asked, so they must have nothing to say."""
    from variantforge.stages import PIPELINE, SHOWN_OUTSIDE, STAGES

    for name in set(PIPELINE) - SHOWN_OUTSIDE:
        tree = ast.parse(Path(str(import_module(STAGES.rows[name].partition(":")[0]).__file__)).read_text())
        stale = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "stale"]
        assert [ast.unparse(node.body[-1]) for node in stale] == ["return ''"], name
        assert len(stale[0].body) == 1, name


def test_planning_imports_no_heavy_library(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from variantforge import Resolver, Store, build_plan, explain, load_family\n"
        f"file = load_family(Path({str(SOURCE.parents[1] / 'specs' / 'quickstart.yaml')!r}))\n"
        f"plan = build_plan(file, Resolver(cache=Path({str(tmp_path / 'pins.json')!r})))\n"
        f"assert len(explain(plan, Store(Path({str(tmp_path)!r})))) > 10\n"
        f"print(sorted(set(sys.modules) & set({HEAVY!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
