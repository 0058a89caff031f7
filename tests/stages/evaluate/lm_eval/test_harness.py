"""The harness's task files, found and read without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from variantforge.stages.evaluate.lm_eval import harness
from variantforge.stages.evaluate.lm_eval.harness import Function, TaskFileError, declared, functions_in, read_task_file


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("gsm8k", "gsm8k/gsm8k.yaml"),
        ("arc_easy", "arc/arc_easy.yaml"),
        ("mmlu", "mmlu/default/_mmlu.yaml"),
        ("mmlu_anatomy", "mmlu/default/mmlu_anatomy.yaml"),  # its keys are written in quotes
    ],
)
def test_a_name_is_found_in_its_file(name: str, file: str) -> None:
    folder = harness.tasks_folder()
    assert folder is not None
    assert declared(name) == folder / file


@pytest.mark.slow  # 14,000 files are looked at
def test_a_tag_is_no_file_but_has_tasks() -> None:
    assert declared("ai2_arc") is None
    assert sorted(harness.index().tags["ai2_arc"]) == ["arc_challenge", "arc_easy"]


def test_nothing_of_the_harness_is_imported_to_find_a_task() -> None:
    code = (
        "import sys; from variantforge.stages.evaluate.lm_eval import harness; harness.declared('gsm8k'); "
        "print([name for name in ('lm_eval', 'datasets', 'numpy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_keys_of_a_file_win_over_those_of_what_it_includes(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.yaml").write_text("include: ../two.yaml\na: 1\nb: 1\n")
    (tmp_path / "two.yaml").write_text("b: 2\nc: 2\ntask_list: [x]\n")
    found = read_task_file(tmp_path / "deep" / "one.yaml")
    assert found.config == {"a": 1, "b": 1, "c": 2}
    assert found.files == [tmp_path / "deep" / "one.yaml", tmp_path / "two.yaml"]


def test_every_file_is_looked_at_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("include: two.yaml\n")
    seen: list[Path] = []
    with pytest.raises(TaskFileError, match=r"two\.yaml cannot be read: No such file"):
        read_task_file(tmp_path / "one.yaml", seen.append)
    assert seen == [tmp_path / "one.yaml", tmp_path / "two.yaml"]


def test_code_is_read_as_a_name_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("raise SystemExit('run')")
    (tmp_path / "one.yaml").write_text("task: one\nfilter_list: [{filter: [{fn: !function utils.make}]}]\n")
    config = read_task_file(tmp_path / "one.yaml").config
    assert list(functions_in(config)) == [Function("utils.make", tmp_path)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("include: one.yaml\n", "includes itself"),
        ("- a\n- b\n", "holds no mapping of keys"),
        ("a: [1\n", "is no YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "is no YAML"),
        ("#" * (harness.MOST_BYTES + 1), "is larger than 4 MiB"),
    ],
    ids=["circle", "list", "open bracket", "python", "large"],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(TaskFileError, match=told):
        read_task_file(tmp_path / "one.yaml")


def test_a_package_that_a_task_needs_and_that_is_not_here_is_found_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lm_eval" / "tasks"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "utils.py").write_text("import json\nimport beside\nfrom lm_eval.tasks.mine.rules import rule\n")
    (folder / "mine" / "beside.py").write_text("")
    rules = "try:\n    import maybe_there\nexcept ImportError:\n    pass\nimport not_there_at_all.deep\n"
    (folder / "mine" / "rules.py").write_text(rules)
    monkeypatch.setattr(harness, "tasks_folder", lambda: folder)
    assert harness.missing_modules(folder / "mine" / "utils.py") == ("not_there_at_all",)


@pytest.mark.slow
def test_names_groups_and_tags_are_those_of_the_harness() -> None:
    from lm_eval.tasks import TaskManager

    theirs = TaskManager().task_index
    of = {kind: {name for name, one in theirs.items() if one.kind.name == kind} for kind in ("TASK", "GROUP", "TAG")}
    found = harness.index()
    assert of["GROUP"] == found.groups.keys()
    assert of["TASK"] <= found.tasks.keys()
    assert {name: str(theirs[name].yaml_path) for name in of["TASK"]} == {
        name: str(found.tasks[name]) for name in of["TASK"]
    }
    tags = {name: sorted(theirs[name].tags) for name in of["TAG"]}
    assert tags == {name: sorted(found.tags[name]) for name in of["TAG"]}
