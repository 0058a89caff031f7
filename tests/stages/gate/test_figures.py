"""Figures per format: which one is meant, whose keys it moves, and what is told of formats that are not there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stages.evaluate.desk import Table
from tests.stages.gate.test_gate import planned
from variantforge.spec.gates import GateSpec
from variantforge.stages.stage import Place
from variantforge.step import Step

FORMATS = ["gguf:Q8_0", "gguf:Q4_K_M", "gguf:Q4_K_S", "nf4"]


@pytest.mark.parametrize(
    ("subject", "figure"),
    [
        ("gguf:Q8_0", 0.005),
        ("gguf:Q4_K_M", 0.06),
        ("gguf:Q4_K_S", 0.08),
        ("gguf:Q6_K", 0.09),
        ("nf4", 0.1),
        ("merged", None),
    ],
)
def test_the_most_specific_pattern_that_means_a_file_says_its_figure(subject: str, figure: float | None) -> None:
    figures = {"gguf:*": 0.09, "Q4_*": 0.08, "Q4_K_M": 0.06, "gguf:Q8_0": 0.005, "nf4": 0.1}
    assert GateSpec(metric="heldout.kl", at_most=figures).figure(subject) == figure


def test_a_star_is_for_all_that_no_other_pattern_means() -> None:
    gate = GateSpec(metric="heldout.kl", at_most={"*": 0.1, "Q8_0": 0.005})
    assert [gate.figure(subject) for subject in ("merged", "gguf:Q8_0")] == [0.1, 0.005]
    assert GateSpec(metric="heldout.kl", at_most=1).figure("merged") == 1.0


def step_of(table: Table, subject: str) -> Step:
    step = table.step(Place("gate", "code", subject))
    assert step is not None
    return step


def kl(figures: Any) -> dict[str, Any]:
    return {"metric": "heldout.kl", "at_most": figures}


def test_a_gate_holds_the_figure_of_its_own_file_so_another_one_moves_no_key() -> None:
    first = planned(gates=[kl({"Q8_0": 0.005, "*": 0.1})], quantize=FORMATS)
    second = planned(gates=[kl({"Q8_0": 0.005, "*": 0.2})], quantize=FORMATS)
    assert first.problems == []
    demands = [step_of(first, subject).params["demands"] for subject in ("gguf:Q8_0", "nf4")]
    assert demands == [
        [{"metric": "heldout.kl", "evaluator": "perplexity", "at_most": 0.005}],
        [{"metric": "heldout.kl", "evaluator": "perplexity", "at_most": 0.1}],
    ]
    assert step_of(first, "gguf:Q8_0").key == step_of(second, "gguf:Q8_0").key
    assert step_of(first, "nf4").key != step_of(second, "nf4").key


def test_one_figure_for_all_is_the_same_demand_as_a_star() -> None:
    keys = {step_of(planned(gates=[kl(figures)]), "nf4").key for figures in (0.1, {"*": 0.1}, {"nf4": 0.1})}
    assert len(keys) == 1


def test_formats_without_a_figure_are_not_judged() -> None:
    table = planned(gates=[kl({"Q8_0": 0.005})], quantize=FORMATS)
    assert [place.name for place in table.places if place.stage == "gate"] == ["gguf:Q8_0", "family"]


def test_formats_that_the_family_does_not_make_are_told_with_the_nearest() -> None:
    table = planned(gates=[kl({"Q8_O": 0.005, "iq1*": 0.1, "*": 0.2})], quantize=FORMATS)
    assert table.problems == [
        ("gates[0].at_most.Q8_O", "nothing of this family is called 'Q8_O'. Did you mean 'Q8_0'?"),
        (
            "gates[0].at_most.iq1*",
            "nothing of this family is called 'iq1*'. There is: gguf:Q4_K_M, gguf:Q4_K_S, gguf:Q8_0, merged, nf4.",
        ),
    ]


def test_wildcards_name_metrics_too() -> None:
    table = planned(gates=[{"metric": "heldout.p*", "vs": "base", "worse_by_at_most": 0.1}])
    assert [demand["metric"] for demand in step_of(table, "merged").params["demands"]] == ["heldout.perplexity"]


def test_a_gate_with_a_noise_floor_measures_its_files_twice() -> None:
    gate = {"metric": "heldout.loss", "vs": "base", "worse_by_at_most": 0.1, "on": ["merged"], "noise_floor": True}
    table = planned(gates=[gate])
    step = step_of(table, "merged")
    again, once = (table.place_of(step.inputs[f"heldout:{role}"]) for role in ("again", "subject"))
    assert (again.name, once.name) == ("heldout:merged again", "heldout:merged")
    assert [place.name for place in table.places if place.name.endswith("again")] == ["heldout:merged again"]
    assert table.step(again) != table.step(once)
