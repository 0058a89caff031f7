from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from variantforge.plan.build import Draft
from variantforge.plan.pin import Resolver
from variantforge.spec.family import FamilySpec
from variantforge.spec.inherit import inherit
from variantforge.stages.quantize import QUANTIZERS
from variantforge.stages.quantize.gguf_types import FILE_TYPES
from variantforge.stages.quantize.stage import STAGE
from variantforge.stages.stage import Place
from variantforge.step import Step


def family(**variants: list[str] | None) -> FamilySpec:
    """A family whose variants quantize to these formats; None takes the defaults."""
    rows: dict[str, Any] = {
        name: {"kind": "code", "data": {"mix": {"rows": 1.0}}, **({} if formats is None else {"quantize": formats})}
        for name, formats in variants.items()
    }
    defaults = {"quantize": ["nf4", "gguf:Q4_X"]}
    spec = {"family": "f", "base": {"model": "./base"}, "variants": rows, "defaults": defaults}
    return inherit(FamilySpec.model_validate(spec))


def planned(spec: FamilySpec, *, merged: bool = True) -> tuple[Draft, dict[str, str]]:
    """The desk after this stage planned all variants, and the problems told there."""
    problems: dict[str, str] = {}
    draft = Draft(spec, Path(), Resolver(), problems.__setitem__)
    for name, variant in spec.variants.items():
        draft.at_key = f"variants.{name}"
        if merged:
            draft.add(Place("base", name), Step("base", 1, "folder"))
            draft.add(Place("merge", name), Step("merge", 1, "lora", {"of": name}))
            draft.add(Place("data", name, "mix"), Step("data", 1, "mix", {"of": name}))
            draft.add(Place("data", None, "chat"), Step("data", 1, "rows", {"name": "chat"}))
        STAGE.plan(draft, name, variant)
    STAGE.plan(draft, None, None)
    return draft, problems


def at(draft: Draft, place: str, variant: str = "code") -> Step:
    step = draft.step(Place("quantize", variant, place))
    assert step is not None, draft.places
    return step


def test_every_format_is_a_step_on_the_merged_model() -> None:
    draft, problems = planned(family(code=["nf4", "gguf:Q8_0"]))
    merge = draft.step(Place("merge", "code"))
    assert merge is not None
    assert problems == {}
    assert at(draft, "nf4") == Step("quantize", 1, "nf4", {}, {"model": merge.key})
    assert at(draft, "gguf:Q8_0").params == {"type": "Q8_0"}
    assert at(draft, "gguf:Q8_0").inputs == {"model": merge.key, "source": at(draft, "gguf:source").key}


def test_all_gguf_types_of_a_variant_share_one_conversion() -> None:
    types = [type for type, kind in FILE_TYPES.items() if kind.imatrix != "needs"]
    draft, problems = planned(family(code=[f"gguf:{type}" for type in types]))
    assert problems == {}
    steps = [step for step in draft.steps.values() if step.stage == "quantize"]
    assert len(steps) == len(types) + 1
    assert len({step.inputs.get("source") for step in steps} - {None}) == 1


def calibrated(*formats: str, variant: dict[str, Any] | None = None, **defaults: Any) -> tuple[Draft, dict[str, str]]:
    """What is planned of a variant in these formats; ``variant``: what it declares beside them."""
    spec = {
        "family": "f",
        "base": {"model": "./base"},
        "datasets": {"chat": {"path": "./chat.jsonl"}},
        "variants": {
            "code": {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": [*formats], **(variant or {})}
        },
        "defaults": defaults,
    }
    family = inherit(FamilySpec.model_validate(spec))
    return planned(family)


OWN = {"calibration": {"tokens": 1024}}


def test_with_calibration_types_take_in_one_importance_matrix_of_the_variants_own_rows() -> None:
    draft, problems = calibrated("gguf:IQ2_M", "gguf:Q4_K_M", "gguf:Q8_0", "gguf:F16", variant=OWN)
    assert problems == {}
    text, matrix = at(draft, "calibration"), at(draft, "imatrix")
    mix, merge = (draft.step(Place(stage, "code", name)) for stage, name in (("data", "mix"), ("merge", "")))
    assert mix
    assert merge
    assert text.params == {"calibration": {"tokens": 1024}}
    assert text.inputs == {"model": merge.key, "data": mix.key}
    assert matrix.inputs == {
        "model": merge.key,
        "source": at(draft, "gguf:source").key,
        "calibration": text.key,
    }
    for format in ("gguf:IQ2_M", "gguf:Q4_K_M"):
        assert at(draft, format).inputs["imatrix"] == matrix.key
    for format in ("gguf:Q8_0", "gguf:F16"):
        assert "imatrix" not in at(draft, format).inputs  # they round all weights alike, or none


def test_named_datasets_are_read_instead_of_the_variants_own_rows() -> None:
    draft, problems = calibrated("gguf:Q4_K_M", variant={"calibration": {"datasets": {"chat": 1.0}}})
    chat = draft.step(Place("data", None, "chat"))
    assert problems == {}
    assert chat
    assert at(draft, "calibration").inputs["dataset:chat"] == chat.key
    assert "data" not in at(draft, "calibration").inputs


@pytest.mark.parametrize("type", [type for type, kind in FILE_TYPES.items() if kind.imatrix == "needs"])
def test_a_type_that_llama_cpp_refuses_without_an_importance_matrix_asks_for_calibration(type: str) -> None:
    draft, problems = calibrated("gguf:Q8_0", f"gguf:{type}")
    assert list(problems) == ["variants.code.quantize[1]"]
    assert "calibration: {tokens: 131072}" in problems["variants.code.quantize[1]"]
    assert draft.step(Place("quantize", "code", f"gguf:{type}")) is None


@pytest.mark.parametrize(
    ("declared", "key"),
    [({"variant": OWN}, "variants.code.calibration"), (OWN, "defaults.calibration")],
    ids=["of the variant", "of the defaults"],
)
def test_calibration_that_no_format_reads_is_a_problem(declared: dict[str, Any], key: str) -> None:
    _, problems = calibrated("gguf:Q8_0", "nf4", **declared)
    assert list(problems) == [key]
    assert "none of the formats" in problems[key]


def test_a_variant_takes_the_defaults_calibration_key_by_key_and_none_when_it_says_null() -> None:
    named = {"calibration": {"seed": 3, "tokens": 2048}}
    assert at(calibrated("gguf:Q4_K_M", **named)[0], "calibration").params["calibration"] == named["calibration"]
    own = calibrated("gguf:Q4_K_M", variant=OWN, **named)[0]
    assert at(own, "calibration").params["calibration"] == {"seed": 3, "tokens": 1024}
    none = calibrated("gguf:Q4_K_M", "gguf:Q8_0", variant={"calibration": None}, **named)[0]
    assert none.step(Place("quantize", "code", "calibration")) is None


def test_without_calibration_keys_are_what_they_were() -> None:
    draft, _ = calibrated("gguf:Q4_K_M")
    assert at(draft, "gguf:Q4_K_M").params == {"type": "Q4_K_M"}
    assert set(at(draft, "gguf:Q4_K_M").inputs) == {"model", "source"}


def test_without_gguf_nothing_is_converted() -> None:
    draft, _ = planned(family(code=["nf4"]))
    assert [place.name for place in draft.places if place.stage == "quantize"] == ["nf4"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("gguf:Q4_KM", "gguf has no type 'Q4_KM'. Did you mean 'Q4_K_M'?"),
        ("gguf:q8_0", "gguf has no type 'q8_0'. Did you mean 'Q8_0'?"),
        ("gguf:W4A16", f"gguf has no type 'W4A16'. Types: {', '.join(FILE_TYPES)}."),
        ("gguf:source", f"gguf has no type 'source'. Types: {', '.join(FILE_TYPES)}."),
        ("gguf", "gguf needs a type, e.g. gguf:Q4_K_M."),
        ("gguf:", "gguf needs a type, e.g. gguf:Q4_K_M."),
        ("nf4:Q4", "nf4 takes no type: write nf4"),
        ("ggfu:Q8_0", "unknown quantizer 'ggfu'. Did you mean 'gguf'?"),
        ("hqq", f"unknown quantizer 'hqq'. Known: {', '.join(sorted(QUANTIZERS))}."),
    ],
)
def test_an_unknown_format_is_told_at_its_place_with_what_there_is(entry: str, sentence: str) -> None:
    draft, problems = planned(family(code=["nf4", entry]))
    assert problems == {"variants.code.quantize[1]": sentence}
    assert [place.name for place in draft.places if place.stage == "quantize"] == ["nf4"]


def test_a_problem_in_the_defaults_is_told_there_and_once() -> None:
    _, problems = planned(family(code=None, law=None, own=["gguf:Q4_Y"]))
    assert list(problems) == ["defaults.quantize[1]", "variants.own.quantize[0]"]


def test_nothing_is_planned_where_the_merge_could_not_be() -> None:
    draft, problems = planned(family(code=["nf4", "gguf:Q8_0"]), merged=False)
    assert (draft.steps, problems) == ({}, {})


def test_every_row_of_the_table_names_a_quantizer() -> None:
    for name in QUANTIZERS:
        assert isinstance(QUANTIZERS.load(name)().types, tuple)
