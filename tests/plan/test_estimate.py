"""Memory, time and disk of trainings, told by ``plan`` before anything is done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Vf, vf  # noqa: F401
from variantforge import Resolver, build_plan, load_family
from variantforge.errors import OutOfBudget, OutOfSpace
from variantforge.plan.estimate import Estimates, estimate_plan, refuse_over_budget, refuse_without_room
from variantforge.plan.estimate.machine import Machine
from variantforge.plan.plan import Plan
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


def write(folder: Path, *, resources: str = "", more: str = "", base: str = "./base") -> Path:
    (folder / "rows.jsonl").write_text('{"text": "some words to learn"}\n')
    text = FAMILY.format(base=base, resources=resources and f"resources: {resources}", more=more and f", {more}")
    (folder / "family.yaml").write_text(text)
    return folder / "family.yaml"


def write_base(folder: Path, config: dict[str, Any]) -> Path:
    """A model folder whose weights are there by name and shape, all of them zero."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True)
    with torch.device("meta"):
        shape = {name: value for name, value in config.items() if name not in ("model_type", "architectures")}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **shape))
    tied = set(model.all_tied_weights_keys)
    tensors = {
        name: torch.zeros(1, dtype=torch.bfloat16).expand(value.shape).contiguous()
        for name, value in model.state_dict().items()
        if name not in tied
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
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


def test_plan_ends_with_7_and_apply_runs_nothing_over_the_limit(
    vf: Vf,
    folder: Path,
    tmp_path: Path,  # noqa: F811
) -> None:
    shutil.copytree(folder / "base", tmp_path / "base")
    write(tmp_path, resources="{max_memory_gb: 0.1}")
    planned = vf("plan")
    assert planned.code == 7
    assert "activation_checkpointing: true" in planned.err
    told = json.loads(vf("plan", "--json").out)
    assert told["error"]["kind"] == "OutOfBudget"
    (one, *_) = told["estimates"]["steps"].values()
    assert one["memory_bytes"] > one["limit_bytes"]
    assert sum(one["memory_terms"].values()) == pytest.approx(one["memory_bytes"], rel=1e-6)
    applied = vf("apply")
    assert applied.code == 7
    assert not (tmp_path / ".variantforge" / "data").exists()
