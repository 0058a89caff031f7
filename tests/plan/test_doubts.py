"""A file with mistakes is planned as far as it is understood: nothing is told that mending the mistakes would undo."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.plan.families import write_base
from variantforge import Resolver, build_plan
from variantforge.errors import SpecError, UnsafeFile
from variantforge.spec.load import read_family

Told = set[tuple[str, str]]
Path_ = tuple[str | int, ...]

# Whole, and such that nearly every key, were it not there or another, would make planning complain: the family's base
# has no chat template and no licence, the published folders have neighbours, gates ask for what one variant alone has.
WHOLE: dict[str, Any] = {
    "family": "doubts",
    "version": "1.0.0",
    "base": {"model": "./plain", "license": "apache-2.0"},
    "datasets": {
        "rows": {"path": "./rows.jsonl", "format": "prompt_completion", "columns": {"prompt": "a"}},
        "code": {"source": "python_source", "folder": "./code", "task": "write_function"},
    },
    "defaults": {"train": {"args": {"seed": 1}}, "quantize": ["gguf:Q8_0"]},
    "variants": {
        "talk": {"kind": "instruct", "base": "./chatty", "data": {"mix": {"rows": 1}}},
        "more": {"kind": "instruct", "from": "talk", "data": {"mix": {"code": 1}}, "quantize": ["nf4"]},
        "all": {"kind": "domain", "data": {"mix": {"rows": 1}}, "train": {"adapter": {"type": "full"}}, "quantize": []},
        "all-lora": {"kind": "code", "data": {"mix": {"rows": 1}}, "quantize": ["gguf:Q4_K_M"]},
    },
    "evaluate": {
        "heldout": {"evaluator": "perplexity", "fraction": 0.1},
        "again": {"evaluator": "perplexity", "fraction": 0.1, "max_examples": 9},
    },
    "gates": [
        {"metric": "heldout.kl", "on": ["nf4"], "at_most": 0.1},
        {"metric": "again.runtime_gap", "on": ["gguf:Q4_K_M"], "at_most": 0.1},
        {"metric": "again.runtime_gap", "on": ["gguf:Q8_0"], "at_most": 0.1},
        {"metric": "heldout.loss", "vs": "base", "better_by": 0.0},
    ],
    "publish": {"path": "./out", "repo": "{variant}", "artifacts": ["merged", "adapter", "gguf"]},
}
# The same family with as many mistakes as only planning sees.
FAULTY: dict[str, Any] = copy.deepcopy(WHOLE)
FAULTY["base"] = {"model": "./plain"}
FAULTY["datasets"]["rows"]["path"] = "./raws.jsonl"
FAULTY["datasets"]["code"]["folder"] = "./nowhere"
FAULTY["defaults"]["quantize"] = ["gguf:Q8_O"]
FAULTY["variants"]["talk"]["train"] = {"method": "stf"}
FAULTY["variants"]["all"]["kind"] = "instruct"
FAULTY["variants"]["all"]["train"] = {}
FAULTY["evaluate"]["again"]["max_exampels"] = 3
FAULTY["gates"].append({"metric": "heldout.nll", "at_most": 1})
FAULTY["publish"]["to"] = "huub"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doubts")
    for name in ("plain", "chatty", "code", "out", "published/doubts-talk", "out/doubts-talk", "out/all-LoRA"):
        (folder / name).mkdir(parents=True)
    for name in ("published/doubts-talk", "out/doubts-talk", "out/all-LoRA"):
        (folder / name / "mine.txt").write_text("somebody else's\n")
    for base in ("plain", "chatty"):
        write_base(folder / base)
    (folder / "plain" / "README.md").unlink()
    (folder / "chatty" / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "rows.jsonl").write_text('{"a": "a", "completion": "b"}\n')
    (folder / "code" / "module.py").write_text("def f():\n    '''Give one fixed number.'''\n    return 1\n")
    return folder


def told(folder: Path, document: Any) -> tuple[Told, Told]:
    """What reading the file complains of, and what planning adds."""
    path = folder / "family.yaml"
    path.write_text(json.dumps(document))
    try:
        file = read_family(path)
    except SpecError as error:
        return pairs(error), set()
    own = pairs(file.error())
    every: Told = set()
    try:
        build_plan(file, Resolver(cache=None))
    except SpecError as error:
        every = pairs(error)
    assert own <= every
    return own, every - own


def pairs(error: SpecError) -> Told:
    return {(problem.key, problem.text) for problem in error.problems}


def paths(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    if at:
        yield at
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from paths(inner, (*at, key))


def around(document: Any, path: Path_) -> Any:
    for part in path[:-1]:
        document = document[part]
    return document


def wrong(document: Any, path: Path_) -> None:
    around(document, path)[path[-1]] = [[{}]]


def nothing(document: Any, path: Path_) -> None:
    around(document, path)[path[-1]] = None


def misspelt(document: Any, path: Path_) -> None:
    holder = around(document, path)
    if isinstance(holder, dict):
        renamed = {(f"{key}X" if key == path[-1] else key): value for key, value in holder.items()}
        holder.clear()
        holder.update(renamed)


def foreign(document: Any, path: Path_) -> None:
    """The key's whole section is replaced by one that nobody knows."""
    holder = around(document, path)
    if isinstance(holder, dict):
        holder.clear()
        holder["qqq"] = 1


DAMAGES: list[Callable[[Any, Path_], None]] = [wrong, nothing, misspelt, foreign]


def damaged(document: Any, *damages: tuple[Callable[[Any, Path_], None], Path_]) -> Any:
    broken = copy.deepcopy(document)
    for damage, path in damages:
        with suppress(LookupError, TypeError):  # an earlier damage has taken the place away
            damage(broken, path)
    return broken


def test_the_whole_family_plans_and_the_faulty_one_has_every_kind_of_problem(folder: Path) -> None:
    assert told(folder, WHOLE) == (set(), set())
    own, planned = told(folder, FAULTY)
    assert not own
    assert {key.partition(".")[0].partition("[")[0] for key, _ in planned} >= set(WHOLE) - {"family", "version"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("section", list(WHOLE))
def test_one_mistake_anywhere_brings_no_other_complaint_with_it(
    folder: Path, damage: Callable[[Any, Path_], None], section: str
) -> None:
    for path in [path for path in paths(WHOLE) if path[0] == section]:
        own, planned = told(folder, damaged(WHOLE, (damage, path)))
        if own:  # else it was none: a name may end in X
            assert not planned, path


def mistakes() -> list[tuple[Callable[[Any, Path_], None], Path_]]:
    """Damages that are mistakes of the file. Evaluators check what is theirs while planning; another name is none."""
    own = [path for path in paths(FAULTY) if path[0] != "evaluate" and "columns" not in path]
    named = [path for path in own if len(path) == 2 and path[0] in ("variants", "datasets")]
    return [
        (damage, path) for damage in (wrong, misspelt) for path in own if damage is not misspelt or path not in named
    ]


@given(st.lists(st.sampled_from(mistakes()), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_told_beside_mistakes_is_told_when_they_are_mended(folder: Path, damages: list[Any]) -> None:
    own, planned = told(folder, damaged(FAULTY, *damages))
    if own:
        assert planned <= faulty(folder)


@cache
def faulty(folder: Path) -> Told:
    return told(folder, FAULTY)[1]


def test_what_does_not_rest_on_a_mistake_is_told_with_it(folder: Path) -> None:
    places: list[Path_] = [("version",), ("data_policy",), ("variants", "all-lora", "description"), ("gates", 0)]
    own, planned = told(folder, damaged(FAULTY, *((wrong, place) for place in places)))
    assert {key for key, _ in own} == {"version", "data_policy", "variants.all-lora.description", "gates[0]"}
    assert planned == faulty(folder)


def test_a_file_with_mistakes_is_told_of_them_before_a_base_is_refused(folder: Path, tmp_path: Path) -> None:
    unsafe = tmp_path / "base.gguf"
    unsafe.write_bytes(b"\x80\x04K\x01.")
    family = {**WHOLE, "base": {"model": str(unsafe), "license": "mit"}}
    with pytest.raises(UnsafeFile):
        told(folder, family)
    own, planned = told(folder, {**family, "version": "one"})
    assert {key for key, _ in own | planned} == {"version"}
