"""What is planned for a family's data, and what moves a key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stages.data.workbench import Workbench, chats, write_jsonl
from variantforge.hashing import bytes_digest
from variantforge.stages.stage import Place
from variantforge.step import Pin, Step


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "a.jsonl", chats(30, "a"))
    write_jsonl(tmp_path / "b.jsonl", chats(30, "b"))
    return tmp_path


FILES = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
A_DIGEST = bytes_digest("".join(json.dumps(row) + "\n" for row in chats(30, "a")).encode())


def problems(folder: Path, datasets: dict[str, Any], **family: Any) -> list[tuple[str, str]]:
    return Workbench(folder, datasets, **family).plan().problems


def test_two_variants_that_use_one_dataset_share_its_rows(folder: Path) -> None:
    variants = {
        "x": {"kind": "code", "data": {"mix": {"a": 1, "b": 1}}},
        "y": {"kind": "code", "data": {"mix": {"a": 1}}},
        "z": {"kind": "domain", "data": {"mix": {"a": 1}}},
    }
    bench = Workbench(folder, FILES, variants=variants).plan()
    assert sorted(map(str, bench.desk.places)) == ["data a", "data b", "data x mix", "data y mix", "data z mix"]
    assert len(bench.desk.steps) == 4
    assert bench.step("mix", "y").key == bench.step("mix", "z").key
    assert bench.step("mix", "x").inputs == {"a": bench.step("a").key, "b": bench.step("b").key}


def test_a_dataset_that_no_variant_uses_is_not_looked_at(folder: Path) -> None:
    bench = Workbench(folder, {**FILES, "gone": {"path": "./gone.jsonl"}}, data={"mix": {"a": 1, "b": 0}}).plan()
    assert bench.problems == []
    assert [str(place) for place in bench.desk.places] == ["data a", "data v mix"]


def test_shares_by_tokens_hang_on_the_base(folder: Path) -> None:
    bench = Workbench(folder, FILES, data={"mix": {"a": 1}, "by": "tokens"})
    base = bench.desk.add(Place("base", "v"), Step("base", 1, "gguf"))
    assert bench.plan().step("mix", "v").inputs["base"] == base.key


def test_a_base_with_problems_of_its_own_leaves_the_mix_unplanned(folder: Path) -> None:
    bench = Workbench(folder, FILES, data={"mix": {"a": 1}, "by": "tokens"}).plan()
    assert bench.desk.step(Place("data", "v", "mix")) is None
    assert bench.problems == []


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, variantforge.stages.data.stage;"
        "print([m for m in ('torch','datasets','pyarrow','numpy','tokenizers','transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- keys -----------------------------------------------------------------------------------------------------------


def key(folder: Path, name: str = "mix", variant: str | None = "v", **change: Any) -> str:
    datasets = {"a": {**FILES["a"], **change.pop("dataset", {})}}
    return Workbench(folder, datasets, **change).plan().step(name, variant).key


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": {"format": "messages"}},
        {"dataset": {"columns": {"messages": "messages"}}},
        {"dataset": {"limit": 3}},
        {"dataset": {"path": "./b.jsonl"}},
        {"data_policy": {"on_bad_row": "skip"}},
        {"data_policy": {"deduplicate": {"exact": False}}},
        {"evaluate": {"heldout": {"evaluator": "perplexity", "fraction": 0.1}}},
        {"evaluate": {}},
        {"data": {"mix": {"a": 1}, "seed": 1}},
        {"data": {"mix": {"a": 1}, "stopping_strategy": "all_exhausted"}},
    ],
)
def test_what_changes_rows_changes_the_key(folder: Path, change: dict[str, Any]) -> None:
    assert key(folder) != key(folder, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": {"license": "mit"}},
        {"dataset": {"description": "words"}},
        {"evaluate": {"heldout": {"evaluator": "perplexity", "fraction": 0.2, "max_length": 64}}},
        {"evaluate": {"h": {"evaluator": "perplexity", "fraction": 0.2}, "g": {"evaluator": "lm_eval", "fraction": 9}}},
        {"version": "2.0.0"},
    ],
)
def test_what_changes_no_row_keeps_the_key(folder: Path, change: dict[str, Any]) -> None:
    assert key(folder) == key(folder, **change)


def test_a_changed_byte_changes_the_key_and_a_moved_checkout_does_not(folder: Path, tmp_path: Path) -> None:
    before = key(folder)
    elsewhere = tmp_path / "elsewhere"
    write_jsonl(elsewhere / "a.jsonl", chats(30, "a"))
    assert key(elsewhere) == before
    write_jsonl(elsewhere / "a.jsonl", chats(31, "a"))
    assert key(elsewhere) != before


def test_an_address_is_planned_without_a_look_at_it(folder: Path) -> None:
    section = {"path": "https://data.example.org/rows.csv.gz?v=1", "sha256": "1" * 64}
    bench = Workbench(folder, {"d": section}).plan()
    assert bench.step("d").pins["data"] == Pin("1" * 64, section["path"])
    other = Workbench(folder, {"d": section | {"sha256": "2" * 64}}).plan()
    assert other.step("d").key != bench.step("d").key


def test_a_file_that_holds_what_its_digest_says_is_planned(folder: Path) -> None:
    assert problems(folder, {"d": {"path": "./a.jsonl", "sha256": A_DIGEST}}) == []


def test_the_default_fraction_is_the_evaluators_own(folder: Path) -> None:
    bench = Workbench(folder, FILES, evaluate={"h": {"evaluator": "perplexity"}}).plan()
    assert bench.step("a").params["fraction"] == 0.05


# --- problems -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "where", "text"),
    [
        ({"path": "./aa.jsonl"}, "path", "no file or folder ./aa.jsonl. Did you mean 'a.jsonl'?"),
        ({"path": "./far/away.jsonl"}, "path", "no file or folder ./far/away.jsonl."),
        ({"path": "./notes.txt"}, "path", "notes.txt is none of .jsonl, .json, .csv, .parquet"),
        ({"path": "./empty"}, "path", "no .jsonl, .json, .csv, .parquet file in empty/."),
        (
            {"path": "./nested"},
            "path",
            "no .jsonl, .json, .csv, .parquet file in nested/. It holds folders (train): name one of them.",
        ),
        ({"path": "./odd"}, "path", "rows.jsonl.bz2 is none of .jsonl, .json, .csv, .parquet"),
        (
            {"path": "./a.jsonl", "revision": "main"},
            "revision",
            "only a dataset on the Hub has a revision; ./a.jsonl is a local path",
        ),
        (
            {"path": "./a.jsonl", "split": "test"},
            "split",
            "only a dataset on the Hub has a split; ./a.jsonl is a local path",
        ),
        (
            {"path": "./a.jsonl", "format": "alpaca", "columns": {"instuction": "q"}},
            "columns.instuction",
            "no field 'instuction' in the format alpaca. Did you mean 'instruction'?",
        ),
        (
            {"path": "./a.jsonl", "columns": {"zzz": "q"}},
            "columns.zzz",
            "no field 'zzz' in the format auto. Fields: chosen, rejected, prompt, input, system, tools, completion, "
            "label, messages, conversations, instruction, output, history, text, answer, solution, tests, entry_point, "
            "extra.",
        ),
        ({"path": "a/b@v1", "revision": "v2"}, "revision", "a/b@v1 names another revision; keep one of them"),
        (
            {"path": "./a.jsonl", "format": "messages", "keep": ["x"]},
            "keep",
            "columns are kept beside prompts (format: prompt_only), not in messages",
        ),
        ({"path": "./a.jsonl", "sha256": "0" * 64}, "sha256", f"a.jsonl holds other bytes: its sha256 is {A_DIGEST}"),
        ({"path": "./pair", "sha256": "0" * 64}, "sha256", "the digest of a file, and ./pair is a folder"),
        (
            {"path": "a/b", "sha256": "0" * 64},
            "sha256",
            "a dataset on the Hub is pinned by its revision; sha256 is for a file",
        ),
        (
            {"path": "https://x.org/a b.jsonl.gz?q=$1".replace(" ", "_")},
            "sha256",
            "an address may hold anything tomorrow: say what is meant. To get it: "
            "curl -fL 'https://x.org/a_b.jsonl.gz?q=$1' | sha256sum",
        ),
        ({"path": "https://x.org/a", "sha256": "0" * 64}, "path", "a is none of .jsonl, .json, .csv, .parquet"),
        (
            {"path": "https://x.org/a.csv", "sha256": "0" * 64, "split": "test"},
            "split",
            "only a dataset on the Hub has a split; https://x.org/a.csv is an address",
        ),
        ({"path": "package:pytest/nothing.txt"}, "path", "nothing.txt is none of .jsonl, .json, .csv, .parquet"),
    ],
)
def test_a_dataset_that_cannot_be_found_is_a_problem_at_its_key(
    folder: Path, section: dict[str, Any], where: str, text: str
) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / "empty").mkdir()
    (folder / "nested/train").mkdir(parents=True)
    (folder / "odd").mkdir()
    write_jsonl(folder / "pair/a.jsonl", chats(2))
    (folder / "odd/rows.jsonl.bz2").write_bytes(b"")
    assert problems(folder, {"d": section}) == [(f"datasets.d.{where}", text)]


def test_a_package_file_that_is_not_there_is_a_problem(folder: Path) -> None:
    [(where, text)] = problems(folder, {"d": {"path": "package:pytest/rows.jsonl"}})
    assert where == "datasets.d.path"
    assert "pytest" in text


def test_a_hub_dataset_is_pinned_by_its_commit(folder: Path) -> None:
    commit = "1" * 40
    bench = Workbench(folder, {"d": {"path": "acme/chat", "revision": commit}}).plan()
    assert bench.step("d").pins["data"].at == f"hub:acme/chat@{commit}"


def test_a_hub_dataset_out_of_reach_is_asked_for_as_a_dataset(folder: Path) -> None:
    [(where, text)] = problems(folder, {"d": {"path": "acme/chat"}})
    assert where == "datasets.d.path"
    assert "hf download acme/chat --repo-type dataset" in text


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, "half", True])
def test_a_fraction_that_is_no_share_is_a_problem(folder: Path, fraction: Any) -> None:
    evaluate = {"h": {"evaluator": "perplexity", "fraction": fraction}}
    assert problems(folder, FILES, evaluate=evaluate)[0][0] == "evaluate.h.fraction"


def test_two_fractions_are_a_problem(folder: Path) -> None:
    evaluate = {"h": {"evaluator": "perplexity"}, "k": {"evaluator": "perplexity", "fraction": 0.1}}
    assert problems(folder, {"a": FILES["a"]}, evaluate=evaluate) == [
        ("evaluate.k.fraction", "rows are held out once, so one fraction for all; given: h: 0.05, k: 0.1")
    ]


def test_a_dataset_named_base_cannot_be_shared_by_tokens(folder: Path) -> None:
    found = problems(folder, {"base": FILES["a"]}, data={"mix": {"base": 1}, "by": "tokens"})
    assert found == [("datasets.base", "where shares count tokens, no dataset can be named 'base'")]


def test_all_problems_are_told_at_once(folder: Path) -> None:
    datasets = {
        "x": {"path": "./gone.jsonl", "columns": {"zzz": "q"}, "split": "test"},
        "y": {"source": "python_source", "packages": ["jsn", "emial"], "folder": "./src"},
    }
    assert [where for where, _ in problems(folder, datasets)] == [
        "datasets.x.columns.zzz",
        "datasets.x.split",
        "datasets.y.packages[1]",
        "datasets.y.packages[0]",
        "datasets.y.folder",
    ]
