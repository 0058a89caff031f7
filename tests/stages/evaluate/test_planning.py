"""Which measurements are laid out, and which of them are one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stages.evaluate.desk import Table
from variantforge.stages.evaluate.stage import STAGE
from variantforge.stages.stage import Place

ROWS, MORE = {"mix": {"rows": 1.0}}, {"mix": {"more": 1.0}}


def planned(**family: Any) -> Table:
    table = Table.of(**family)
    table.plan(STAGE)
    return table


def evaluations(table: Table) -> dict[str, Any]:
    return {f"{place.variant} {place.name}": step for place, step in table.places.items() if place.stage == "evaluate"}


def heldout(**params: Any) -> dict[str, Any]:
    return {"heldout": {"evaluator": "perplexity", **params}}


def test_the_base_the_merged_weights_and_every_format_are_measured():
    table = planned()
    assert list(evaluations(table)) == [
        "code heldout:base",
        "code heldout:merged",
        "code heldout:nf4",
        "code heldout:gguf:Q8_0",
    ]
    inputs = evaluations(table)["code heldout:gguf:Q8_0"].inputs
    assert {role: table.place_of(key) for role, key in inputs.items()} == {
        "data": Place("data", "code", "mix"),
        "model": Place("quantize", "code", "gguf:Q8_0"),
        "reference": Place("merge", "code"),
    }
    assert set(evaluations(table)["code heldout:base"].inputs) == {"data", "model"}


def test_two_variants_with_the_same_data_measure_their_base_once():
    variants = {
        "one": {"kind": "code", "data": ROWS},
        "two": {"kind": "code", "data": ROWS},
        "other": {"kind": "code", "data": MORE},
    }
    keys = {name: step.key for name, step in evaluations(planned(variants=variants)).items()}
    assert keys["one heldout:base"] == keys["two heldout:base"] != keys["other heldout:base"]
    assert keys["one heldout:merged"] != keys["two heldout:merged"]


def test_a_parameter_changes_the_key_and_its_default_written_out_does_not():
    plain = evaluations(planned())
    for changed, moves in (({"max_examples": 50}, True), ({"max_examples": 200}, False), ({"dtype": "bfloat16"}, True)):
        other = evaluations(planned(evaluate=heldout(**changed)))
        assert all((plain[name].key != other[name].key) is moves for name in plain), changed


def test_the_share_held_out_is_in_the_key_of_the_data_alone():
    plain, other = evaluations(planned()), evaluations(planned(evaluate=heldout(fraction=0.2)))
    assert {name: step.key for name, step in plain.items()} == {name: step.key for name, step in other.items()}


@pytest.mark.parametrize("changed", [{"runtime_positions": 4}, {"runtime_tolerance": 0.5}], ids=str)
def test_parameters_of_the_run_in_llama_cpp_touch_gguf_files_alone(changed: dict[str, Any]):
    plain, other = evaluations(planned()), evaluations(planned(evaluate=heldout(**changed)))
    assert [name for name in plain if plain[name].key != other[name].key] == ["code heldout:gguf:Q8_0"]


def test_what_an_earlier_stage_could_not_lay_out_is_passed_over():
    table = Table.of(missing=[Place("quantize", "code", "nf4")])
    table.plan(STAGE)
    assert "code heldout:nf4" not in evaluations(table)
    assert table.problems == []


@pytest.mark.parametrize(
    ("section", "key", "text"),
    [
        (
            {"evaluator": "perplexty"},
            "evaluate.heldout.evaluator",
            "unknown evaluator 'perplexty'. Did you mean 'perplexity'?",
        ),
        (
            {"evaluator": "perplexity", "max_example": 3},
            "evaluate.heldout.max_example",
            "unknown key. Did you mean 'max_examples'?",
        ),
        (
            {"evaluator": "perplexity", "max_examples": 0},
            "evaluate.heldout.max_examples",
            "the number 0 is out of range: at least 1 is wanted",
        ),
        (
            {"evaluator": "perplexity", "max_length": "long"},
            "evaluate.heldout.max_length",
            "a whole number is wanted here, not the text 'long'",
        ),
        (
            {"evaluator": "perplexity", "dtype": "float16"},
            "evaluate.heldout.dtype",
            "the text 'float16' is none of float32, bfloat16. Did you mean 'bfloat16'?",
        ),
    ],
)
def test_wrong_parameters_are_told_once_at_their_key(section: dict[str, Any], key: str, text: str):
    variants = {"one": {"kind": "code", "data": ROWS}, "two": {"kind": "code", "data": MORE}}
    table = planned(variants=variants, evaluate={"heldout": section})
    assert table.problems == [(key, text)]
    assert evaluations(table) == {}


def test_all_problems_of_an_evaluation_are_told():
    table = planned(evaluate=heldout(max_examples=0, max_length=1, fractoin=0.1))
    assert [key for key, _ in table.problems] == [
        "evaluate.heldout.max_examples",
        "evaluate.heldout.max_length",
        "evaluate.heldout.fractoin",
    ]
