from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.quantize.conftest import artifact, quantize
from variantforge.errors import QuantizeError
from variantforge.spec.family import FamilySpec, VariantSpec
from variantforge.stages.evaluate.metric import subjects
from variantforge.stages.models import quiet
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_lora import GgufLora
from variantforge.stages.rows import make_row, write_rows
from variantforge.step import Artifact


def variant(**train: Any) -> VariantSpec:
    return VariantSpec.model_validate(
        {"kind": "code", "data": {"mix": {"rows": 1.0}}, "train": train, "quantize": ["gguf_lora:F16"]}
    )


def trained(base: Path, folder: Path, **config: Any) -> tuple[Artifact, Path]:
    """A LoRA adapter of the base's attention, strong enough to be seen, and the merged model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"], **config}
    with quiet():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    made = artifact(folder / "train")
    model.save_pretrained(made.path / "adapter")
    merged = model.merge_and_unload()
    merged.to(torch.bfloat16).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "model")
    return made, folder / "model"


def inputs_of(base: Path, source: Artifact, folder: Path, **config: Any) -> dict[str, Artifact]:
    adapter, merged = trained(base, folder, **config)
    data = artifact(folder / "mix")
    chat = [{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": "It is a kind of blue."}]
    write_rows(data.path / "train.jsonl", [make_row("rows", {"messages": chat})])
    return {
        "model": artifact(folder / "merged", model=merged, facts={"stop_token_ids": [2]}),
        "base": artifact(folder / "base", model=base),
        "adapter": adapter,
        "data": data,
        "source": source,
    }


def test_llama_cpp_with_base_and_adapter_says_what_the_merged_model_says(
    tiny_llama: Path, llama_source: Artifact, tmp_path: Path
) -> None:
    made = quantize(tmp_path, "gguf_lora", "F16", inputs_of(tiny_llama, llama_source, tmp_path, use_rslora=True))
    file = GgufFile.open(made.path / "model.gguf")
    assert (file.get("general.type"), file.get("adapter.type")) == ("adapter", "lora")
    assert file.get("adapter.lora.alpha") == 16 * 4 / 2  # rank-stabilized: alpha / sqrt(r) as alpha' / r
    assert made.facts["format"] == "gguf_lora:F16"
    assert made.facts["tensor_types"] == {"F16": 12}
    assert made.facts["runtime_gap"] < 0.05
    assert made.facts["runtime_gap_of_base"] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("type", ["Q8_0"])
def test_other_types_say_the_same(type: str, tiny_qwen3: Path, qwen3_source: Artifact, tmp_path: Path) -> None:
    inputs = inputs_of(tiny_qwen3, qwen3_source, tmp_path, r=32)
    assert quantize(tmp_path, "gguf_lora", type, inputs).facts["runtime_gap"] < 0.1


@pytest.mark.slow
def test_an_adapter_that_does_not_lead_to_the_merged_model_is_refused(
    tiny_llama: Path, llama_source: Artifact, tmp_path: Path
) -> None:
    inputs = inputs_of(tiny_llama, llama_source, tmp_path)
    config = inputs["adapter"].path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_alpha": 1}))
    with pytest.raises(QuantizeError, match="does not say what the merged model says"):
        quantize(tmp_path, "gguf_lora", "F16", inputs)


def test_an_adapter_of_more_than_pairs_is_refused_before_anything_is_converted(
    tiny_llama: Path, llama_source: Artifact, tmp_path: Path
) -> None:
    inputs = inputs_of(tiny_llama, llama_source, tmp_path, use_dora=True)
    with pytest.raises(QuantizeError, match="cannot be a GGUF file"):
        quantize(tmp_path, "gguf_lora", "F16", inputs)


@pytest.mark.parametrize(
    ("adapter", "why"),
    [
        ({"type": "full"}, "no adapter"),
        ({"type": "dora"}, "no adapters of type dora"),
        ({"type": "ia3"}, "no adapters of type ia3"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save is more than that"),
        ({"target_parameters": "all-experts"}, "target_parameters is more than that"),
        ({"args": {"alpha_pattern": {"q_proj": 8}}}, "alpha_pattern is more than that"),
        ({"type": "rslora"}, ""),
        ({"type": "qlora", "args": {"bias": "none"}}, ""),
    ],
)
def test_what_llama_cpp_cannot_express_is_told_while_planning(adapter: dict[str, Any], why: str) -> None:
    told = GgufLora().lacks(variant(adapter=adapter), "F16")
    assert why in told
    assert bool(told) == bool(why)


def test_an_adapters_file_is_no_subject() -> None:
    assert subjects(variant()) == ["base", "merged"]


def test_the_base_is_converted_once_for_all_variants_that_start_from_it() -> None:
    from tests.stages.quantize.test_stage import Resolver
    from variantforge.plan.build import Draft
    from variantforge.spec.inherit import inherit
    from variantforge.stages.quantize.stage import STAGE
    from variantforge.stages.stage import Place
    from variantforge.step import Step

    entry = {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": ["gguf_lora:F16", "gguf_lora:Q8_0"]}
    spec = {"family": "f", "base": {"model": "./base"}, "variants": {"a": entry, "b": entry}}
    family = inherit(FamilySpec.model_validate(spec))
    draft = Draft(family, Path(), Resolver(), lambda key, text: pytest.fail(text))
    base = draft.add(Place("base", "a"), Step("base", 1, "folder"))
    draft.add(Place("base", "b"), base)
    for name, one in family.variants.items():
        for stage, place in (("data", "mix"), ("train", ""), ("merge", "")):
            draft.add(Place(stage, name, place), Step(stage, 1, "x", {"of": name}))
        STAGE.plan(draft, name, one)
    sources = [step for step in draft.steps.values() if step.params == {"type": "source"}]
    assert [step.inputs for step in sources] == [{"model": base.key, "base": base.key}]
