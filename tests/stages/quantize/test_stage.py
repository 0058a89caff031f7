from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from variantforge.plan.build import Draft
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
    draft = Draft(spec, Path(), None, problems.__setitem__)  # type: ignore[arg-type]
    for name, variant in spec.variants.items():
        draft.at_key = f"variants.{name}"
        if merged:
            draft.add(Place("base", name), Step("base", 1, "folder"))
            draft.add(Place("merge", name), Step("merge", 1, "lora", {"of": name}))
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
    draft, _ = planned(family(code=[f"gguf:{type}" for type in FILE_TYPES]))
    steps = [step for step in draft.steps.values() if step.stage == "quantize"]
    assert len(steps) == len(FILE_TYPES) + 1
    assert len({step.inputs.get("source") for step in steps} - {None}) == 1


def test_without_gguf_nothing_is_converted() -> None:
    draft, _ = planned(family(code=["nf4"]))
    assert [place.name for place in draft.places if place.stage == "quantize"] == ["nf4"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("gguf:Q4_KM", "gguf has no type 'Q4_KM'. Did you mean 'Q4_K_M'?"),
        ("gguf:q8_0", "gguf has no type 'q8_0'. Did you mean 'Q8_0'?"),
        ("gguf:IQ1_XXL", f"gguf has no type 'IQ1_XXL'. Types: {', '.join(FILE_TYPES)}."),
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
