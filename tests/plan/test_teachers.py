"""Teachers while a family is planned: what is laid out first, what enters keys, what is refused before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plan.families import write_base
from variantforge import Resolver, build_plan, load_family
from variantforge.errors import SpecError
from variantforge.plan.plan import Plan
from variantforge.release.lock.needs import needs
from variantforge.stages.stage import Place

MIX = {"kind": "domain", "data": {"mix": {"rows": 1.0}}}
FAMILY: dict[str, Any] = {
    "family": "school",
    "base": {"model": "./base"},
    "datasets": {"rows": {"path": "./rows.jsonl", "format": "prompt_completion"}},
    "publish": {"path": "./published"},
}


def lay_out(folder: Path, variants: dict[str, dict[str, Any]], **sections: Any) -> Plan:
    """Each variant is ``MIX`` with what is said of it."""
    if not (folder / "base").exists():
        for name in ("base", "other"):
            (folder / name).mkdir()
            write_base(folder / name)
        (folder / "other" / "generation_config.json").write_text("{}\n")
        (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    spec = {**FAMILY, "variants": {name: {**MIX, **said} for name, said in variants.items()}, **sections}
    (folder / "family.yaml").write_text(json.dumps(spec))
    return build_plan(load_family(folder / "family.yaml"), Resolver())


def problems(folder: Path, variants: dict[str, dict[str, Any]], **sections: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        lay_out(folder, variants, **sections)
    return {problem.key: problem.text for problem in caught.value.problems}


def distil(teacher: Any = None, **train: Any) -> dict[str, Any]:
    return {"train": {"method": "distill", **({"teacher": teacher} if teacher else {}), **train}}


def test_a_variant_is_planned_before_those_that_learn_from_it(tmp_path: Path) -> None:
    plan = lay_out(tmp_path, {"small": distil("big"), "big": {}})
    train = plan.steps[plan.places[Place("train", "small")]]
    assert train.inputs["teacher"] == plan.places[Place("merge", "big")]
    assert train.method == "distill"
    assert "teacher" not in plan.steps[plan.places[Place("train", "big")]].inputs


def test_a_model_is_pinned_and_materialised_as_a_base_is(tmp_path: Path) -> None:
    plan = lay_out(tmp_path, {"small": distil("./other", answers="rows")})
    train = plan.steps[plan.places[Place("train", "small")]]
    teacher = plan.steps[plan.places[Place("base", "small", "teacher")]]
    assert (teacher.stage, teacher.method, Path(teacher.pins["model"].at).name) == ("base", "folder", "other")
    assert train.inputs["teacher"] == teacher.key
    assert train.params["answers"] == "rows"
    assert (
        lay_out(tmp_path, {"small": distil("./base")}).places[Place("base", "small", "teacher")] == train.inputs["base"]
    )


def test_another_teacher_or_other_answers_make_another_student(tmp_path: Path) -> None:
    said = [distil("./other"), distil("./base"), distil("big"), distil("./other", answers="rows")]
    keys = {lay_out(tmp_path, {"small": one, "big": {}}).places[Place("train", "small")] for one in said}
    assert len(keys) == 4
    (tmp_path / "other" / "tokenizer.json").write_text("{ }\n")
    assert lay_out(tmp_path, {"small": said[0], "big": {}}).places[Place("train", "small")] not in keys


def test_a_teacher_of_defaults_serves_those_that_distil_and_moves_no_key_of_the_others(tmp_path: Path) -> None:
    plain = lay_out(tmp_path, {"big": {}, "small": {"train": {"method": "distill", "teacher": "./other"}}})
    handed = lay_out(tmp_path, {"big": {}, "small": distil()}, defaults={"train": {"teacher": "./other"}})
    assert plain.places[Place("train", "small")] == handed.places[Place("train", "small")]
    assert plain.places[Place("train", "big")] == handed.places[Place("train", "big")]


def test_a_lock_holds_the_models_that_are_distilled(tmp_path: Path) -> None:
    plan = lay_out(tmp_path, {"small": distil(), "big": {}}, defaults={"train": {"teacher": "./other"}})
    teacher = next(need for need in needs(plan.family) if need.name == "./other")
    assert (teacher.section, teacher.pin(plan)) == (
        "base",
        plan.steps[plan.places[Place("base", "small", "teacher")]].pins["model"],
    )
    assert "./other" not in {need.name for need in needs(lay_out(tmp_path, {"small": {}}).family)}


@pytest.mark.parametrize(
    ("variants", "key", "told"),
    [
        ({"a": distil()}, "variants.a.train.method", "distill learns from a teacher: name it in train.teacher"),
        ({"a": distil("bgi"), "big": {}}, "variants.a.train.teacher", "Did you mean 'big'?"),
        ({"a": distil("a")}, "variants.a.train.teacher", "a variant cannot be its own teacher"),
        ({"a": {"train": {"teacher": "./other"}}}, "variants.a.train.teacher", "read by train.method: distill alone"),
        ({"a": {"train": {"answers": "rows"}}}, "variants.a.train.answers", "read by train.method: distill alone"),
        ({"a": distil("./nowhere")}, "variants.a.train.teacher", "nowhere"),
        ({"a": distil("https://example.org/x")}, "variants.a.train.teacher", "a teacher is a variant, a Hub id"),
        ({"a": distil("./other", args={"beta": 1.5})}, "variants.a.train.args.beta", "from 0"),
        ({"a": distil("./other", args={"temperature": 0})}, "variants.a.train.args.temperature", "above 0"),
        (
            {"a": distil("./other", args={"teacher_model_name_or_path": "x/y"})},
            "variants.a.train.args.teacher_model_name_or_path",
            "see 'train.teacher'",
        ),
        (
            {"a": distil("./other", adapter={"target_modules": ["lm_head"]})},
            "variants.a.train.adapter.target_modules",
            "TRL reads the head's own weights",
        ),
        (
            {"a": distil("b"), "b": {"from": "a"}},
            "variants.a.train.teacher",
            "each is made of the next, in a circle: a -> b -> a",
        ),
    ],
)
def test_what_cannot_be_taught_is_told_with_its_place(
    tmp_path: Path, variants: dict[str, dict[str, Any]], key: str, told: str
) -> None:
    found = problems(tmp_path, variants)
    assert list(found) == [key]
    assert told in found[key]


def test_prompts_are_no_answers_to_learn_from(tmp_path: Path) -> None:
    asked = {"rows": {"path": "./rows.jsonl", "format": "prompt_only"}}
    assert not lay_out(tmp_path, {"a": distil("./other")}, datasets=asked).places.get(Place("train", "b"))
    found = problems(tmp_path, {"a": distil("./other", answers="rows")}, datasets=asked)
    assert found == {"variants.a.train.answers": "'rows' holds prompts without answers: set it to student, or use rows "
                     "with answers"}  # fmt: skip


def test_folders_whose_tokenizers_differ_are_told_while_planning(tmp_path: Path) -> None:
    lay_out(tmp_path, {"a": distil("./other")})
    for name, vocabulary in (("base", {"a": 0, "b": 1}), ("other", {"a": 0, "b": 2, "c": 1})):
        told = {"model": {"vocab": vocabulary}, "added_tokens": [{"content": "<s>", "id": 7}]}
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(told))
    found = problems(tmp_path, {"a": distil("./other")})
    assert found == {"variants.a.train.teacher": "'./other' and the base of 'a' have different tokenizers: "
                     "2 tokens have another id, or none ('b': 1 and 2)"}  # fmt: skip
    lay_out(tmp_path, {"a": distil("big"), "big": {}})
    found = problems(tmp_path, {"a": distil("big"), "big": {"base": "./other"}})
    assert list(found) == ["variants.a.train.teacher"]
