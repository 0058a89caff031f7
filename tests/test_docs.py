"""Every example of a family file in the docs is one that is understood: completed where it leaves things out, it loads,
and what plug-ins read of it (parameters of evaluators and rewards, formats, methods) is what they know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from variantforge import load_family
from variantforge.spec.family import FamilySpec
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.quantize import QUANTIZERS
from variantforge.stages.train import METHODS
from variantforge.stages.train.rewards import REWARDS

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECTIONS = {*FamilySpec.model_fields, "train", "resources"}


def examples() -> Iterator[Any]:
    for page in sorted(DOCS.glob("*.md")):
        for number, text in enumerate(BLOCK.findall(page.read_text())):
            read = yaml.safe_load(text)
            if isinstance(read, dict) and SECTIONS.issuperset(read):
                yield pytest.param(read, id=f"{page.stem}-{number}")


def completed(told: dict[str, Any]) -> dict[str, Any]:
    """A whole family around what an example shows of one."""
    family = {"family": "docs", "base": {"model": "org/base"}, "datasets": {}, **told}
    variants = family.setdefault("variants", {})
    of_a_variant = {key: family.pop(key) for key in ("train", "resources") if key in family}
    if of_a_variant or not variants:
        variants["example"] = {"kind": "domain", **of_a_variant}
    for variant in variants.values():
        variant.pop("...", None)
        variant.setdefault("kind", "domain")
        variant.setdefault("data", {"mix": dict.fromkeys(family["datasets"], 1.0) or {"rows": 1.0}})
        for parent in filter(None, [variant.get("from"), variant.get("train", {}).get("teacher")]):
            if re.fullmatch(r"\w+", parent) and parent not in variants:
                raise AssertionError(f"the example names {parent}, and does not show it")
    sections = [
        one.get("calibration", {}).get("datasets", {}) for one in (family.get("defaults", {}), *variants.values())
    ]
    sections += [one["data"].get("mix") or one["data"].get("epochs") for one in variants.values()]
    for name in {name for section in sections for name in section}:
        family["datasets"].setdefault(name, {"path": f"./{name}.jsonl"})
    for one in list(family["datasets"].values()):
        if (writer := one.get("teacher", {}).get("variant")) and writer not in variants:
            variants[writer] = {"kind": "domain", "data": {"mix": {next(iter(family["datasets"])): 1.0}}}
    for gate in family.get("gates", []):
        family.setdefault("evaluate", {}).setdefault(gate["metric"].split(".")[0], {"evaluator": "perplexity"})
    if family.get("evaluate", {}).get("parity") == {"evaluator": "perplexity"}:
        del family["evaluate"]["parity"]
    return family


@pytest.mark.parametrize("told", list(examples()))
def test_an_example_is_understood(told: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "family.yaml"
    file.write_text(yaml.safe_dump(completed(told), sort_keys=False))
    spec = load_family(file).spec
    for one in spec.evaluate.values():
        EVALUATORS.load(one.evaluator).Params(**one.params)
    for variant in spec.variants.values():
        assert variant.train.method in METHODS
        for reward in variant.train.rewards:
            REWARDS.load(reward.reward).Params(**reward.params)
        for format in variant.quantize:
            method, _, type = format.partition(":")
            assert not type or type in QUANTIZERS.load(method).types


def test_there_are_examples_on_the_pages_that_explain_the_file() -> None:
    pages = {str(one.id).rpartition("-")[0] for one in examples()}
    expected = {"adapters", "evaluators", "family-file", "formats", "gates", "memory", "methods", "parity", "processes"}
    assert pages >= expected
