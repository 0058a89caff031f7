"""Which parity steps a family has, and what is in their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.desk import Table
from variantforge.spec.load import load_family
from variantforge.stages.evaluate.parity.evaluator import Parity, ParityParams
from variantforge.stages.evaluate.stage import STAGE

FAMILY = """\
family: tiny
base: {model: org/tiny}
datasets: {rows: {path: ./rows.jsonl}}
variants: {code: {kind: code, data: {mix: {rows: 1.0}}}}
"""


def evaluators(folder: Path, more: str = "") -> dict[str, str]:
    file = folder / "family.yaml"
    file.write_text(FAMILY + more)
    return {name: one.evaluator for name, one in load_family(file).spec.evaluate.items()}


def planned(**params: Any) -> dict[str, Any]:
    table = Table.of(evaluate={"parity": {"evaluator": "parity", **params}})
    table.plan(STAGE)
    assert table.problems == []
    return {place.name: step for place, step in table.places.items() if place.stage == "evaluate"}


def test_every_family_has_parity_without_writing_it(tmp_path: Path):
    assert evaluators(tmp_path) == {"parity": "parity"}
    written = "evaluate: {heldout: {evaluator: perplexity}}\n"
    assert evaluators(tmp_path, written) == {"heldout": "perplexity", "parity": "parity"}


def test_its_own_entry_or_off_stands_for_it(tmp_path: Path):
    assert evaluators(tmp_path, "evaluate: {near: {evaluator: parity, max_examples: 64}}\n") == {"near": "parity"}
    assert evaluators(tmp_path, "evaluate: {parity: off}\n") == {}
    assert evaluators(tmp_path, "evaluate: {parity: {evaluator: parity, stop_prompts: 64}}\n") == {"parity": "parity"}


def test_merged_weights_and_every_format_are_checked_and_the_base_is_not():
    steps = planned()
    assert list(steps) == ["parity:merged", "parity:nf4", "parity:gguf:Q8_0"]
    assert set(steps["parity:merged"].inputs) == {"model", "data"}
    assert set(steps["parity:nf4"].inputs) == {"model", "data", "reference"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_examples", 64), ("max_length", 512), ("dtype", "bfloat16"), ("stop_prompts", 8), ("stop_tokens", 64)],
)
def test_a_parameter_changes_every_key_and_its_default_written_out_none(name: str, value: Any):
    plain, changed = planned(), planned(**{name: value})
    assert all(plain[subject].key != changed[subject].key for subject in plain)
    default = planned(**{name: ParityParams.model_fields[name].default})
    assert {subject: step.key for subject, step in default.items()} == {s: step.key for s, step in plain.items()}


@pytest.mark.parametrize("changed", [{"runtime_positions": 4}, {"runtime_tolerance": 0.5}], ids=str)
def test_parameters_of_the_run_in_llama_cpp_touch_gguf_files_alone(changed: dict[str, Any]):
    plain, other = planned(), planned(**changed)
    assert [name for name in plain if plain[name].key != other[name].key] == ["parity:gguf:Q8_0"]


def test_a_gate_can_ask_for_what_is_measured_and_for_nothing_else():
    def names(subject: str, **params: Any) -> set[str]:
        return {metric.name for metric in Parity().metrics(ParityParams(**params), subject)}

    assert names("base") == set()
    assert names("merged", stop_prompts=8) == {"turns", "ends", "reload", "stop_rate"}
    divergence = {"kl", "same_top", "flips", "perplexity_ratio"}
    assert names("nf4") == divergence | {"turns", "ends", "reload", "tokenizer"}
    assert names("gguf:Q8_0") == divergence | {"turns", "ends", "tokenizer", "template", "added_tokens", "runtime_gap"}
    assert "runtime_gap" not in names("gguf:Q8_0", runtime_positions=0)
