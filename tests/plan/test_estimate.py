"""Memory, time and disk of trainings, told by ``plan`` before anything is done."""

from __future__ import annotations

import json
import math
import os
import platform
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import smollm2_gguf
from variantforge import Resolver, build_plan, load_family
from variantforge.cli.estimates import estimates_document
from variantforge.errors import OutOfBudget, OutOfSpace
from variantforge.plan.estimate import Estimates, estimate_plan, refuse_over_budget, refuse_without_room
from variantforge.plan.estimate.machine import Machine
from variantforge.plan.estimate.memory import Memory, memory_of
from variantforge.plan.estimate.recipe import recipe_of
from variantforge.plan.estimate.shape import Shape, shape_of_config, shape_of_gguf
from variantforge.plan.plan import Plan
from variantforge.stages.base.gguf_header import read_gguf_header
from variantforge.step import Step
from variantforge.store.artifacts import Store

CPU = Machine("cpu", True, 16_000_000_000)
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "tie_word_embeddings": True,
}
FAMILY = """\
family: sized
base: {{model: {base}, license: apache-2.0}}
datasets: {{rows: {{path: ./rows.jsonl, format: text}}}}
defaults:
  {resources}
  train: {{args: {{max_length: 512}}}}
  quantize: [nf4, "gguf:Q4_K_M"]
variants:
  small: {{kind: domain, data: {{mix: {{rows: 1}}}}}}
  large: {{kind: domain, data: {{mix: {{rows: 1}}}}, train: {{args: {{per_device_train_batch_size: 32}}}} {more}}}
publish: {{path: ./published}}
"""

DISTILLED = """\
family: sized
base: {model: ./base, license: apache-2.0}
datasets: {chat: {path: ./chat.jsonl, format: prompt_completion}}
variants:
  small:
    kind: domain
    data: {mix: {chat: 1}}
    train: {method: distill, teacher: ./teacher, args: {max_completion_length: 64}}
publish: {path: ./published}
"""


def write(folder: Path, *, resources: str = "", more: str = "", base: str = "./base") -> Path:
    (folder / "rows.jsonl").write_text('{"text": "some words to learn"}\n')
    text = FAMILY.format(base=base, resources=resources and f"resources: {resources}", more=more and f", {more}")
    (folder / "family.yaml").write_text(text)
    return folder / "family.yaml"


def write_base(folder: Path, config: dict[str, Any]) -> Path:
    """A model folder as far as planning looks into one: weights by name and shape, and holes where they would be."""
    folder.mkdir(parents=True)
    header, end = {}, 0
    for name, shape in shape_of_config(config).tensors.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimate")
    write_base(folder / "base", CONFIG)
    return folder


def plan_of(file: Path) -> Plan:
    return build_plan(load_family(file), Resolver(cache=file.parent / "pins.json"))


def estimates_of(plan: Plan, store: Store, machine: Machine = CPU) -> Estimates:
    return estimate_plan(plan, plan.steps, store, machine)


def training(plan: Plan, variant: str) -> Step:
    return next(plan.steps[key] for place, key in plan.places.items() if place[:2] == ("train", variant))


def test_every_training_of_a_local_base_gets_a_figure(folder: Path) -> None:
    plan, store = plan_of(write(folder)), Store(folder / "store")
    estimates = estimates_of(plan, store)
    assert set(estimates.of) == {training(plan, name).key for name in ("small", "large")}
    small, large = (estimates.of[training(plan, name).key] for name in ("small", "large"))
    assert small.memory
    assert large.memory
    assert not small.memory.rough
    assert large.memory.terms["activations"] == pytest.approx(8 * small.memory.terms["activations"], rel=0.01)
    assert large.memory.terms["base weights"] == small.memory.terms["base weights"]


def test_a_limit_refuses_names_the_terms_and_gives_each_edit_its_figure(folder: Path) -> None:
    plan, store = plan_of(write(folder, more="resources: {max_memory_gb: 2}")), Store(folder / "store")
    with pytest.raises(OutOfBudget) as refused:
        refuse_over_budget(plan, estimates_of(plan, store), store)
    error = refused.value
    assert error.exit_code == 7
    assert "train large would need" in error.what
    assert "allows 2.00 GB" in error.what
    assert "activations" in error.why
    for edit in ("per_device_train_batch_size: 1", "activation_checkpointing: true", "type: qlora", "max_length: 256"):
        assert edit in error.next


def test_the_figure_of_an_edit_is_what_the_edited_family_gets(folder: Path) -> None:
    plan, store = plan_of(write(folder, more="resources: {max_memory_gb: 2}")), Store(folder / "store")
    with pytest.raises(OutOfBudget) as refused:
        refuse_over_budget(plan, estimates_of(plan, store), store)
    told = next(line for line in refused.value.next.splitlines() if "activation_checkpointing" in line)
    step = training(plan, "large")
    edited = replace(step, params={**step.params, "args": {**step.params["args"], "activation_checkpointing": True}})
    changed = Plan(plan.family, {**plan.steps, edited.key: edited}, plan.places)
    memory = estimate_plan(changed, [edited.key], store, CPU).of[edited.key].memory
    assert memory
    assert told.endswith(f": {memory.peak / 1e9:.2f} GB")


def test_a_limit_changes_no_key(folder: Path) -> None:
    without = list(plan_of(write(folder)).steps)
    assert list(plan_of(write(folder, resources="{max_memory_gb: 1}")).steps) == without


def test_a_variant_may_have_another_limit_than_the_others(folder: Path) -> None:
    file = write(folder, resources="{max_memory_gb: 0.001}", more="resources: {max_memory_gb: 99}")
    plan = plan_of(file)
    limits = {name: training(plan, name).hints["max_memory_gb"] for name in ("small", "large")}
    assert limits == {"small": 0.001, "large": 99}


def test_files_for_which_the_disk_has_no_room_are_refused_before_anything_runs(folder: Path) -> None:
    plan, store = plan_of(write(folder)), Store(folder / "store")
    estimates = estimates_of(plan, store)
    refuse_without_room(estimates, store)
    with pytest.raises(OutOfSpace) as refused:
        refuse_without_room(replace(estimates, free_bytes=1000), store)
    assert f"{estimates.written_bytes / 1e9:.2f} GB will be written" in refused.value.what


def test_planning_with_estimates_imports_no_torch(folder: Path) -> None:
    file = write(folder)
    script = (
        "import sys; from variantforge.cli.app import main\n"
        f"code = main(['plan', {str(file)!r}, '--store', {str(folder / 'fresh')!r}])\n"
        "assert not {'torch', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules), 'heavy'\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert "estimates" in done.stdout
    assert "train small" in done.stdout


def test_more_than_this_machine_has_is_a_warning_and_no_refusal(folder: Path) -> None:
    plan, store = plan_of(write(folder)), Store(folder / "store")
    estimates = estimates_of(plan, store, Machine("cpu", True, 2_000_000_000))
    refuse_over_budget(plan, estimates, store)
    (warning,) = estimates_document(plan, estimates)["warnings"]
    assert warning.startswith("train large is predicted to need")
    assert warning.endswith("and this machine has 2.0 GB to give")


# --- bases --------------------------------------------------------------------------------------------------------


def test_a_base_on_the_hub_is_unknown_until_it_was_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    plan, store = plan_of(write(folder, base=f"acme/base@{commit}")), Store(folder / "store")
    for estimate in estimates_of(plan, store).of.values():
        assert estimate.memory is None
        assert estimate.seconds is None
        assert "unknown until it was read" in estimate.why
    refuse_over_budget(plan, estimates_of(plan, store), store)
    snapshot = folder / "hub" / "models--acme--base" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    assert all(estimate.memory for estimate in estimates_of(plan, store).of.values())


def test_a_gguf_file_has_the_shape_of_its_model() -> None:
    shape = shape_of_gguf(read_gguf_header(smollm2_gguf()))
    assert (shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.head_dim) == (576, 30, 9, 3, 64)
    assert (shape.intermediate, shape.vocab, shape.tied, shape.block_norms) == (1536, 49152, True, 2)
    assert shape.parameters == 134_515_008
    assert len(shape.linears) == 30 * 7
    assert shape.known


CONFIGS: dict[str, dict[str, Any]] = {
    "llama": CONFIG,
    "untied": {**CONFIG, "tie_word_embeddings": False},
    "qwen2": {**CONFIG, "model_type": "qwen2"},
    "qwen3": {**CONFIG, "model_type": "qwen3", "head_dim": 96},
    "mistral": {**CONFIG, "model_type": "mistral"},
    "experts": {
        **CONFIG,
        "model_type": "qwen3_moe",
        "head_dim": 64,
        "num_experts": 16,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 128,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_weights_of_a_config_are_those_that_transformers_makes(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    given = {key: value for key, value in CONFIGS[name].items() if key not in ("model_type", "architectures")}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(CONFIGS[name]["model_type"], **given))
    made = {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert dict(shape_of_config(CONFIGS[name]).tensors) == made


def test_a_teacher_whose_logits_are_learned_is_held_beside_the_student(tmp_path: Path) -> None:
    write_base(tmp_path / "base", CONFIG)
    wide = {**CONFIG, "num_hidden_layers": 24}
    write_base(tmp_path / "teacher", wide)
    file = tmp_path / "family.yaml"
    file.write_text(DISTILLED)
    (tmp_path / "chat.jsonl").write_text('{"prompt": "Why?", "completion": "Because."}\n')
    plan = plan_of(file)
    step = training(plan, "small")
    told = estimates_of(plan, Store(tmp_path / "store")).of[step.key].memory
    assert told
    assert told.rough
    assert told.terms["teacher weights"] == 2 * shape_of_config(wide).parameters


# --- laws ---------------------------------------------------------------------------------------------------------


def memory(
    args: dict[str, Any], adapter: dict[str, Any] | None = None, *, machine: Machine = CPU, method: str = "sft"
) -> Memory:
    step = Step("train", 1, method, {"adapter": adapter or {}, "args": args})
    return memory_of(llama(), recipe_of(step, machine))


def llama() -> Shape:
    return shape_of_config(CONFIG)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"per_device_train_batch_size": 1}, {"per_device_train_batch_size": 2}),
        ({"max_length": 512}, {"max_length": 513}),
        ({"activation_checkpointing": True}, {"activation_checkpointing": False}),
        ({"gradient_accumulation_steps": 1}, {"gradient_accumulation_steps": 2}),
        ({"bf16": True}, {"bf16": False}),
        ({"optim": "sgd"}, {"optim": "adamw_8bit"}),
        ({"optim": "adamw_8bit"}, {"optim": "adamw_torch"}),
    ],
)
def test_what_asks_for_more_is_predicted_to_need_more(less: dict[str, Any], more: dict[str, Any]) -> None:
    assert memory(less).tensors < memory(more).tensors


def test_nf4_and_lora_and_all_weights_stand_in_their_order() -> None:
    qlora, lora, full = (memory({}, {"type": kind}) for kind in ("qlora", "lora", "full"))
    assert qlora.tensors < lora.tensors < full.tensors
    assert qlora.terms["adapter"] == lora.terms["adapter"]


def test_an_adapter_is_counted_as_peft_makes_it() -> None:
    q_and_v = {"target_modules": ["q_proj", "v_proj"], "r": 8}
    pairs = 8 * 8 * ((512 + 512) + (512 + 256))
    assert memory({}, q_and_v).moments["forward"]["adapter"] == 4 * pairs
    assert memory({}, q_and_v).moments["forward"]["optimizer states"] == 8 * pairs


def test_all_weights_of_a_preference_training_are_there_twice() -> None:
    alone, with_reference = (memory({}, {"type": "full"}, method=method) for method in ("sft", "dpo"))
    assert "reference model" not in alone.moments["forward"]
    assert with_reference.moments["forward"]["reference model"] == 2 * llama().parameters


def test_an_optimizer_that_is_not_known_is_unknown(folder: Path) -> None:
    file = write(folder, more="").parent / "family.yaml"
    file.write_text(file.read_text().replace("max_length: 512", "max_length: 512, optim: schedule_free_adamw"))
    plan = plan_of(file)
    estimates = estimates_of(plan, Store(folder / "store"))
    assert {estimate.why for estimate in estimates.of.values()} == {
        "what the optimizer schedule_free_adamw keeps is not known here"
    }


# --- rows and time ------------------------------------------------------------------------------------------------


def mixed(plan: Plan, store: Store, variant: str, rows: list[str]) -> Path:
    """The data step of a variant, done."""
    key = next(key for place, key in plan.places.items() if place == ("data", variant, "mix"))
    folder = store.root / "data" / key
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(json.dumps({"id": "0", "text": row}) + "\n" for row in rows))
    (folder / "facts.json").write_text(json.dumps({"train": len(rows)}))
    (folder / "manifest.json").write_text("{}")
    return folder


def done(plan: Plan, store: Store, step: Step, *, tokens: int, seconds: float) -> None:
    """A training of the store, as its artifact tells of it."""
    folder = store.root / "train" / step.key
    folder.mkdir(parents=True)
    facts = {"tokens": tokens, "epochs": 1.0, "rows_cut": 0, "args": {**step.params["args"]}}
    (folder / "facts.json").write_text(json.dumps(facts))
    (folder / "events.jsonl").write_text(json.dumps({"train_runtime": seconds}) + "\n")
    here = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    made = {"machine": here, "seconds": seconds + 10}
    (folder / "manifest.json").write_text(json.dumps({"made": made, "step": step.identity}))


def test_short_rows_need_less_than_max_length_would(folder: Path, tmp_path: Path) -> None:
    plan, store = plan_of(write(folder)), Store(tmp_path / "store")
    before = estimates_of(plan, store).of[training(plan, "small").key].memory
    mixed(plan, store, "small", ["word " * 20] * 9)
    after = estimates_of(plan, store).of[training(plan, "small").key].memory
    assert before
    assert after
    assert after.tensors < before.tensors


def test_time_is_unknown_until_this_store_has_trained_and_then_follows_its_speed(folder: Path, tmp_path: Path) -> None:
    plan, store = plan_of(write(folder)), Store(tmp_path / "store")
    small, large = training(plan, "small"), training(plan, "large")
    mixed(plan, store, "small", ["a word or two of text"] * 100)
    unknown = estimate_plan(plan, [large.key], store, CPU)
    assert unknown.seconds is None
    assert "no sft was trained in this store" in unknown.of[large.key].why_no_time
    done(plan, store, small, tokens=5000, seconds=50.0)
    assert estimate_plan(plan, [large.key], store, CPU).seconds == pytest.approx(60.0, rel=0.1)


def test_a_training_on_another_machine_says_nothing_of_this_one(folder: Path, tmp_path: Path) -> None:
    plan, store = plan_of(write(folder)), Store(tmp_path / "store")
    small, large = training(plan, "small"), training(plan, "large")
    done(plan, store, small, tokens=5000, seconds=50.0)
    manifest = store.root / "train" / small.key / "manifest.json"
    told = json.loads(manifest.read_text())
    told["made"]["machine"]["cores"] += 1
    manifest.write_text(json.dumps(told))
    assert estimate_plan(plan, [large.key], store, CPU).seconds is None
