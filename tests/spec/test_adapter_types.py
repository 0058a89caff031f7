from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from variantforge.spec.adapter_types import (
    FULL,
    NOT_HERE,
    NOT_MERGED,
    OWNED,
    adapter_problems,
    config_fields,
    known_types,
    over_nf4,
    peft_types,
)
from variantforge.spec.family import LORA_FAMILY, AdapterSpec
from variantforge.spec.inherit import inherit
from variantforge.spec.load import load_family


def problems(around: dict[str, Any] | None = None, **own: Any) -> list[str]:
    return [f"{'.'.join(keys)}: {text}" for keys, text in adapter_problems(own, around or {})]


@pytest.mark.filterwarnings("ignore")  # what importing PEFT warns of is not ours
def test_types_and_fields_read_from_the_sources_are_those_of_the_imported_library() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    classes = {kind.value.lower(): config_class for kind, config_class in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    assert set(peft_types()) >= classes.keys()
    assert set(peft_types()) - classes.keys() <= {"adamss"}  # registered only where scikit-learn is installed
    for name, config_class in classes.items():
        told, fields = config_fields(name)
        assert told == config_class.__name__
        assert set(fields) >= {field.name for field in dataclasses.fields(config_class) if field.init}, name


def test_every_type_of_peft_is_trained_or_refused_with_a_reason() -> None:
    assert {*known_types(), *NOT_MERGED, *NOT_HERE} == {*peft_types(), *LORA_FAMILY, FULL}
    assert set(OWNED) - {"init_lora_weights"} <= set(config_fields("lora")[1])


def test_checking_imports_neither_peft_nor_torch() -> None:
    code = (
        "import sys; from variantforge.spec.adapter_types import adapter_problems;"
        "list(adapter_problems({'type': 'loha', 'args': {'r': 4}}, {}));"
        "print([name for name in ('peft', 'transformers', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "adapter",
    [
        {},
        {"type": "dora", "args": {"use_rslora": True}},
        {"type": "dora", "quantize_base": "nf4"},
        {"type": "pissa", "args": {"init_lora_weights": "pissa_niter_16"}},
        {"args": {"init_lora_weights": "olora", "layers_to_transform": [0, 1]}},
        {"args": {"rank_pattern": {"q_proj": 4}}},
        {"type": "loha", "args": {"r": 4, "alpha": 8}, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"type": "ia3", "quantize_base": "nf4"},
        {"target_parameters": "all-experts"},
        {"target_parameters": "all-experts", "target_modules": []},
        {"target_modules": r".*\.(q|v)_proj"},
        {"type": "full"},
    ],
)
def test_what_may_be_written(adapter: dict[str, Any]) -> None:
    assert problems(**adapter) == []


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ({"target_modules": []}, ["target_modules: names no module: nothing would be trained"]),
        ({"target_modules": ""}, ["target_modules: an empty text names no module: remove it"]),
        ({"exclude_modules": ["q_proj", ""]}, ["exclude_modules: an empty text names no module: remove it"]),
        (
            {"target_modules": "(q_proj"},
            [
                "target_modules: a text is read as a regular expression, and this is none: "
                "missing ), unterminated subpattern at position 0"
            ],
        ),
        ({"type": "dorra"}, ["type: the text 'dorra' is not known here. Did you mean 'dora'?"]),
        (
            {"type": "p_tuning"},
            ["type: 'p_tuning' cannot be merged into weights, which is what ships: it learns"],
        ),
        ({"type": "adalora"}, ["type: 'adalora' is not trained here: it moves ranks"]),
        ({"type": "full", "r": 8}, ["r: has no meaning for 'full'"]),
        ({"type": "loha", "r": 8}, ["r: is a key of the LoRA family; what 'loha' takes goes under args: "]),
        ({"type": "vera", "exclude_modules": ["x"]}, ["exclude_modules: 'vera' does not have it: PEFT's VeraConfig"]),
        ({"type": "hra", "target_parameters": ["x"]}, ["target_parameters: 'hra' does not have it"]),
        (
            {"args": {"use_rsora": True}},
            ["args.use_rsora: unknown field of PEFT's LoraConfig. Did you mean 'use_rs"],
        ),
        ({"args": {"use_rslora": 1}}, ["args.use_rslora: true or false is wanted here, not the number 1"]),
        ({"args": {"use_dora": True}}, ["args.use_dora: cannot be set here: write type: dora"]),
        ({"args": {"r": 4}}, ["args.r: cannot be set here: write r beside 'args'"]),
        ({"args": {"init_lora_weights": "eva"}}, ["args.init_lora_weights: 'eva' cannot be used: it wants rows run"]),
        (
            {"args": {"init_lora_weights": "loftq"}},
            ["args.init_lora_weights: 'loftq' cannot be used: it changes"],
        ),
        ({"args": {"init_lora_weights": "pisa"}}, ["args.init_lora_weights: the text 'pisa' is none of"]),
        ({"type": "pissa", "quantize_base": "nf4"}, ["quantize_base: 'pissa' takes a part out of the base's weights"]),
        ({"type": "qlora", "args": {"init_lora_weights": "olora"}}, ["args: 'olora' takes a part out"]),
        (
            {"type": "dora", "args": {"init_lora_weights": "pissa"}},
            ["args: 'pissa' takes a part out of the base's weig"],
        ),
        ({"type": "pissa", "args": {"rank_pattern": {"a": 1}}}, ["args: 'pissa' and rank_pattern exclude each other"]),
        ({"type": "pissa", "args": {"init_lora_weights": True}}, ["args.init_lora_weights: type: pissa says how"]),
        ({"type": "rslora", "args": {"use_rslora": False}}, ["args.use_rslora: type: rslora says the opposite"]),
        ({"type": "loha", "quantize_base": "nf4"}, ["quantize_base: PEFT has no 'loha' over a base in NF4"]),
        ({"type": "dora", "target_parameters": ["x"]}, ["target_parameters: dora does not train target_parameters"]),
        ({"dropout": 0.1, "target_parameters": ["x"]}, ["target_parameters: PEFT trains parameters without"]),
        (
            {"target_parameters": "experts"},
            ["target_parameters: a list of parameters is wanted here, or"],
        ),
    ],
)
def test_what_cannot_stay(adapter: dict[str, Any], expected: list[str]) -> None:
    found = problems(**adapter)
    assert len(found) == len(expected)
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(start)


def test_what_excludes_each_other_is_seen_across_defaults_and_variant() -> None:
    assert problems({"dropout": 0.1}, target_parameters=["x"]) != []
    assert problems({"type": "pissa"}, quantize_base="nf4") != []
    assert problems({"dropout": 0.1}, type="loha") == []  # another config class: nothing of it is inherited


def test_types_that_peft_has_over_nf4() -> None:
    assert {name for name in known_types() if over_nf4(name)} >= {"lora", "qlora", "dora", "ia3", "road"}
    assert not over_nf4("lokr")


def test_a_plan_is_known_to_rest_on_the_sources_that_were_read(tmp_path: Path) -> None:
    file = tmp_path / "family.yaml"
    file.write_text("""
family: x
base: {model: ./base}
datasets: {rows: {path: ./rows.jsonl}}
variants: {a: {kind: code, data: {mix: {rows: 1}}, train: {adapter: {type: hra, args: {r: 4}}}}}
""")
    assert any(path.parts[-2:] == ("hra", "config.py") for path in load_family(file).sources)


def test_a_type_of_another_config_class_starts_from_nothing(tmp_path: Path) -> None:
    file = tmp_path / "family.yaml"
    file.write_text("""
family: x
base: {model: ./base}
datasets: {rows: {path: ./rows.jsonl}}
defaults: {train: {adapter: {r: 8, target_modules: [q_proj], args: {layers_to_transform: [0]}}}}
variants:
  same: {kind: code, data: {mix: {rows: 1}}, train: {adapter: {type: dora, args: {use_rslora: true}}}}
  other: {kind: code, data: {mix: {rows: 1}}, train: {adapter: {type: loha, args: {r: 4}}}}
  whole: {kind: code, data: {mix: {rows: 1}}, train: {adapter: {type: full}}}
""")
    variants = inherit(load_family(file).spec).variants
    args = {"layers_to_transform": [0], "use_rslora": True}
    assert variants["same"].train.adapter == AdapterSpec(type="dora", r=8, target_modules=["q_proj"], args=args)
    assert variants["other"].train.adapter == AdapterSpec(type="loha", args={"r": 4})
    assert variants["whole"].train.adapter.r == 8  # as it has always been in the key of such a step
