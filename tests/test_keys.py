"""Every key of a family file does something: changed, it changes the key of a step, and only of steps it may touch.

``CASES`` has a row for each key that exists; a key without a row is an error, and so is a row without a key. The row
says which stages must get new keys first: ``card`` alone means that the key is metadata and costs no GPU time.
"""

from __future__ import annotations

import copy
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tests.e2e.family import write_rows
from tests.tiny import tiny_model
from variantforge import Resolver, build_plan, load_family
from variantforge.plan.build import Plan
from variantforge.spec import family as form
from variantforge.stages.evaluate.lm_eval.evaluator import LmEvalParams
from variantforge.stages.evaluate.parity.evaluator import ParityParams
from variantforge.stages.evaluate.perplexity import PerplexityParams

FAMILY: dict[str, Any] = {
    "family": "keys",
    "base": {"model": "./base", "license": "apache-2.0"},
    "datasets": {
        "rows": {"path": "./rows.jsonl"},
        "code": {"source": "python_source", "packages": ["json"], "folder": "./code"},
        "unused": {"path": "./other.jsonl"},
        "told": {"source": "teacher", "prompts": "rows", "teacher": {"model": "./base"}},
    },
    "variants": {
        "first": {"kind": "instruct", "data": {"mix": {"rows": 1.0, "code": 1.0}}, "quantize": ["gguf:Q4_K_M"]},
        "second": {"kind": "domain", "from": "first", "data": {"mix": {"rows": 1.0}}},
        "third": {"kind": "code", "data": {"mix": {"code": 1.0, "told": 1.0}}},
    },
    "evaluate": {"heldout": {"evaluator": "perplexity"}},
    "gates": [{"metric": "heldout.loss", "at_most": 3.0}],
    "data_policy": {"decontaminate": {"against": ["./suite.jsonl"]}},
    "publish": {"path": "./published"},
}

WEIGHTS = {"train", "merge"}
# key of the form -> (key path in FAMILY, new value, stages of which some step must get a new key).
# Stages in front of the first one named must keep all their keys.
CASES: dict[str, tuple[str, Any, set[str]]] = {
    "FamilySpec.family": ("family", "other", {"card", "publish"}),
    "FamilySpec.version": ("version", "2.0.0", {"card", "publish"}),
    "FamilySpec.description": ("description", "words", {"card"}),
    "BaseSpec.model": ("base.model", "./other-base", {"base", *WEIGHTS}),
    "BaseSpec.license": ("base.license", "mit", {"card"}),
    "BaseSpec.license_reason": ("base.license_reason", "the paper says so", {"card"}),
    "BaseSpec.name": ("base.name", "acme/base", {"card"}),
    "RowsDataset.path": ("datasets.rows.path", "./other.jsonl", {"data", *WEIGHTS}),
    "RowsDataset.format": ("datasets.rows.format", "prompt_completion", {"data"}),
    "RowsDataset.columns": ("datasets.rows.columns", {"prompt": "completion", "completion": "prompt"}, {"data"}),
    "RowsDataset.keep": ("datasets.rows.keep", ["level"], {"data"}),
    "RowsDataset.limit": ("datasets.rows.limit", 8, {"data"}),
    "RowsDataset.license": ("datasets.rows.license", "mit", {"card"}),
    "RowsDataset.license_reason": ("datasets.rows.license_reason", "asked the author", {"card"}),
    "RowsDataset.description": ("datasets.rows.description", "words", {"card"}),
    "PythonSourceDataset.source": ("datasets.code", {"path": "./other.jsonl"}, {"data"}),
    "PythonSourceDataset.packages": ("datasets.code.packages", ["email"], {"data"}),
    "PythonSourceDataset.folder": ("datasets.code.folder", "./other-code", {"data"}),
    "PythonSourceDataset.task": ("datasets.code.task", "explain_function", {"data"}),
    "PythonSourceDataset.min_lines": ("datasets.code.min_lines", 3, {"data"}),
    "PythonSourceDataset.max_lines": ("datasets.code.max_lines", 30, {"data"}),
    "PythonSourceDataset.limit": ("datasets.code.limit", 8, {"data"}),
    "PythonSourceDataset.license": ("datasets.code.license", "psf-2.0", {"card"}),
    "PythonSourceDataset.license_reason": ("datasets.code.license_reason", "read", {"card"}),
    "PythonSourceDataset.description": ("datasets.code.description", "words", {"card"}),
    "TeacherDataset.source": ("datasets.told", {"path": "./other.jsonl"}, {"data"}),
    "TeacherDataset.prompts": ("datasets.told.prompts", "code", {"data"}),
    "TeacherSpec.variant": ("datasets.told.teacher", {"variant": "first"}, {"data"}),
    "TeacherSpec.model": ("datasets.told.teacher", {"model": "./other-base"}, {"base", "data"}),
    "TeacherSpec.endpoint": ("datasets.told.teacher", {"endpoint": "https://a.org/v1", "model": "m"}, {"data"}),
    "TeacherSpec.license": ("datasets.told.teacher.license", "mit", {"card"}),
    "TeacherSpec.license_reason": ("datasets.told.teacher.license_reason", "read", {"card"}),
    "TeacherDataset.system": ("datasets.told.system", "Be brief.", {"data"}),
    "TeacherDataset.samples": ("datasets.told.samples", 2, {"data"}),
    "TeacherDataset.max_tokens": ("datasets.told.max_tokens", 9, {"data"}),
    "TeacherDataset.temperature": ("datasets.told.temperature", 0.1, {"data"}),
    "TeacherDataset.top_p": ("datasets.told.top_p", 0.5, {"data"}),
    "TeacherDataset.seed": ("datasets.told.seed", 1, {"data"}),
    "TeacherDataset.limit": ("datasets.told.limit", 8, {"data"}),
    "TeacherDataset.license": ("datasets.told.license", "mit", {"card"}),
    "TeacherDataset.license_reason": ("datasets.told.license_reason", "read", {"card"}),
    "TeacherDataset.description": ("datasets.told.description", "words", {"card"}),
    "DeduplicateSpec.exact": ("data_policy.deduplicate.exact", False, {"data"}),
    "DeduplicateSpec.near": ("data_policy.deduplicate.near", 0.85, {"data"}),
    "DataPolicySpec.on_bad_row": ("data_policy.on_bad_row", "skip", {"data"}),
    "DecontaminateSpec.ngram": ("data_policy.decontaminate.ngram", 10, {"data"}),
    "DecontaminateSpec.code": ("data_policy.decontaminate.code", False, {"data"}),
    "DecontaminateSpec.against": ("data_policy.decontaminate.against", ["./other.jsonl"], {"data"}),
    "DecontaminateSpec.on_hit": ("data_policy.decontaminate.on_hit", "report", {"data"}),
    "DecontaminateSpec.max_share": ("data_policy.decontaminate.max_share", 0.1, {"data"}),
    "DataPolicySpec.on_special_tokens": ("data_policy.on_special_tokens", "skip", {"data"}),
    "DataPolicySpec.on_secrets": ("data_policy.on_secrets", "skip", {"data"}),
    "DataPolicySpec.on_broken_unicode": ("data_policy.on_broken_unicode", "error", {"data"}),
    "AdapterSpec.type": ("defaults.train.adapter.type", "qlora", WEIGHTS),
    "AdapterSpec.r": ("defaults.train.adapter.r", 8, WEIGHTS),
    "AdapterSpec.alpha": ("defaults.train.adapter.alpha", 8, WEIGHTS),
    "AdapterSpec.dropout": ("defaults.train.adapter.dropout", 0.1, WEIGHTS),
    "AdapterSpec.target_modules": ("defaults.train.adapter.target_modules", ["q_proj"], WEIGHTS),
    "AdapterSpec.exclude_modules": ("defaults.train.adapter.exclude_modules", ["q_proj"], WEIGHTS),
    "AdapterSpec.target_parameters": ("defaults.train.adapter.target_parameters", ["experts.down_proj"], WEIGHTS),
    "AdapterSpec.modules_to_save": ("defaults.train.adapter.modules_to_save", ["lm_head"], WEIGHTS),
    "AdapterSpec.experts": ("defaults.train.adapter.experts", "frozen", WEIGHTS),
    "AdapterSpec.quantize_base": ("defaults.train.adapter.quantize_base", "nf4", WEIGHTS),
    "AdapterSpec.args": ("defaults.train.adapter.args", {"use_rslora": True}, WEIGHTS),
    "TrainSpec.rewards": (
        "variants.third.train",
        {"method": "grpo", "rewards": [{"reward": "regex", "pattern": "x"}]},
        WEIGHTS,
    ),
    "RewardSpec.reward": (
        "variants.third.train",
        {"method": "grpo", "rewards": [{"reward": "think_format"}]},
        WEIGHTS,
    ),
    "TrainSpec.args": ("variants.first.train.args.learning_rate", 1.0e-3, WEIGHTS),
    "TrainSpec.teacher": ("variants.third.train", {"method": "distill", "teacher": "./base"}, WEIGHTS),
    "MixSpec.mix": ("variants.first.data.mix.rows", 0.5, {"data"}),
    "MixSpec.epochs": ("variants.first.data", {"epochs": {"rows": 1.0, "code": 1.0}}, {"data"}),
    "MixSpec.by": ("variants.first.data.by", "tokens", {"data"}),
    "MixSpec.stopping_strategy": ("variants.first.data.stopping_strategy", "all_exhausted", {"data"}),
    "MixSpec.seed": ("variants.first.data.seed", 1, {"data"}),
    "VariantSpec.kind": ("variants.third.kind", "domain", {"card"}),
    "VariantSpec.description": ("variants.first.description", "words", {"card"}),
    "VariantSpec.base": ("variants.third.base", "./other-base", {"base", *WEIGHTS}),
    "VariantSpec.from_": ("variants.third.from", "first", WEIGHTS),
    "VariantSpec.quantize": ("variants.third.quantize", ["nf4"], {"quantize"}),
    "VariantSpec.calibration": ("variants.first.calibration", {"tokens": 1024}, {"quantize"}),
    "DefaultsSpec.calibration": ("defaults.calibration", {"tokens": 1024}, {"quantize"}),
    "CalibrationSpec.datasets": ("variants.first.calibration", {"datasets": {"rows": 1.0}}, {"quantize"}),
    "CalibrationSpec.tokens": ("variants.first.calibration", {"tokens": 2048}, {"quantize"}),
    "CalibrationSpec.max_length": ("variants.first.calibration", {"max_length": 64}, {"quantize"}),
    "CalibrationSpec.seed": ("variants.first.calibration", {"seed": 1}, {"quantize"}),
    "DefaultsSpec.train": ("defaults.train.args.seed", 1, WEIGHTS),
    "DefaultsSpec.quantize": ("defaults.quantize", ["gguf:Q8_0"], {"quantize"}),
    "EvaluatorSpec.evaluator": ("evaluate.more", {"evaluator": "perplexity", "max_examples": 9}, {"evaluate"}),
    "PerplexityParams.fraction": ("evaluate.heldout.fraction", 0.2, {"data"}),
    "PerplexityParams.max_examples": ("evaluate.heldout.max_examples", 20, {"evaluate"}),
    "PerplexityParams.max_length": ("evaluate.heldout.max_length", 64, {"evaluate"}),
    "PerplexityParams.dtype": ("evaluate.heldout.dtype", "bfloat16", {"evaluate"}),
    "GateSpec.metric": ("gates", [{"metric": "heldout.perplexity", "at_most": 3.0}], {"gate"}),
    "GateSpec.on": ("gates", [{"metric": "heldout.loss", "at_most": 3.0, "on": ["merged"]}], {"gate"}),
    "GateSpec.vs": ("gates", [{"metric": "heldout.loss", "vs": "base", "better_by": 0.0}], {"gate"}),
    "GateSpec.better_by": ("gates", [{"metric": "heldout.loss", "vs": "base", "better_by": 0.1}], {"gate"}),
    "GateSpec.worse_by_at_most": (
        "gates",
        [{"metric": "heldout.loss", "vs": "base", "worse_by_at_most": 0.1}],
        {"gate"},
    ),
    "GateSpec.at_most": ("gates", [{"metric": "heldout.loss", "at_most": 4.0}], {"gate"}),
    "GateSpec.at_least": ("gates", [{"metric": "heldout.loss", "at_least": 0.1}], {"gate"}),
    "GateSpec.min_examples": ("gates", [{"metric": "heldout.loss", "at_most": 3.0, "min_examples": 30}], {"gate"}),
    "GateSpec.noise_floor": (
        "gates",
        [{"metric": "heldout.loss", "vs": "base", "better_by": 0.0, "noise_floor": True}],
        {"evaluate", "gate"},
    ),
    "PublishSpec.namespace": ("publish.namespace", "acme", {"card", "publish"}),
    "PublishSpec.repo": ("publish.repo", "x-{variant}", {"card", "publish"}),
    "PublishSpec.artifacts": ("publish.artifacts", ["merged"], {"card", "publish"}),
    "PublishSpec.collection": ("publish.collection", "Title", {"card"}),
    "PublishSpec.license": ("publish.license", "mit", {"card"}),
    "PublishSpec.license_reason": ("publish.license_reason", "argued", {"card"}),
    "PublishSpec.excluded_territories": ("publish.excluded_territories", ["EU"], {"card"}),
    "PublishSpec.language": ("publish.language", ["de"], {"card"}),
    "PublishSpec.tags": ("publish.tags", ["tag"], {"card"}),
    "PublishSpec.to": ("publish.to", "hub", {"card", "publish"}),
    "PublishSpec.index": ("publish.index", "{family}-all", {"card", "publish"}),
    "PublishSpec.channel": ("publish.channel", "candidate", {"publish"}),
    "PublishSpec.visibility": ("publish.visibility", "private", {"publish"}),
    "PublishSpec.gated": ("publish.gated", "auto", {"publish"}),
}
ON_HUB = {"PublishSpec.to", "PublishSpec.index", "PublishSpec.channel", "PublishSpec.visibility", "PublishSpec.gated"}
PROCESSES = "tests/stages/train/test_processes.py: it reaches the step as a hint, and changes no key"
SHARDING = "tests/test_param_keys.py: it reaches the step as a hint, and transformers knows it"
# Keys that change no step's key, and the test that shows what they do instead.
ELSEWHERE = {
    "TeacherSpec.api_key_env": "tests/plan/test_teachers.py: it names the key of an endpoint, and changes no key here",
    "TeacherDataset.requests_per_minute": "tests/plan/test_teachers.py: how fast is asked changes no key",
    "TeacherDataset.concurrency": "tests/plan/test_teachers.py: how fast is asked changes no key",
    "TeacherDataset.timeout_s": "tests/plan/test_teachers.py: how fast is asked changes no key",
    "TrainSpec.answers": "tests/plan/test_teachers.py: asked about other answers, a teacher makes another student",
    "BaseSpec.revision": "tests/stages/base/test_stage.py: a revision is resolved to the commit that is pinned",
    "RowsDataset.revision": "tests/stages/data/test_stage.py: a dataset's revision is resolved to a commit",
    "RowsDataset.sha256": "tests/stages/data/test_stage.py: a file must hold it, and an address is pinned to it",
    "RowsDataset.subset": "tests/stages/data/test_hub.py: handed to the datasets library",
    "RowsDataset.split": "tests/stages/data/test_stage.py: handed to the datasets library",
    "TrainSpec.method": "tests/stages/train/test_preference.py: each method makes another step",
    **{f"LmEvalParams.{name}": "tests/stages/evaluate/lm_eval/test_tasks.py" for name in LmEvalParams.model_fields},
    **{f"ParityParams.{name}": "tests/stages/evaluate/parity/test_planning.py" for name in ParityParams.model_fields},
    "PerplexityParams.runtime_positions": "tests/stages/evaluate/test_planning.py: in keys of GGUF evaluations only",
    "PerplexityParams.runtime_tolerance": "tests/stages/evaluate/test_planning.py: in keys of GGUF evaluations only",
    "RewardSpec.weight": "tests/stages/train/rewards/test_rewards.py: every parameter counts",
    "TrainSpec.on_spike": "tests/stages/train/test_stage.py: it reaches the step as a hint, and changes no key",
    "ResourcesSpec.max_memory_gb": "tests/plan/test_estimate.py: a limit refuses, and changes no key",
    "ResourcesSpec.processes": PROCESSES,
    "ResourcesSpec.accelerate": PROCESSES,
    "AccelerateSpec.fsdp": PROCESSES,
    "AccelerateSpec.machines": PROCESSES,
    "AccelerateSpec.machine_rank": PROCESSES,
    "AccelerateSpec.main_process_ip": PROCESSES,
    "AccelerateSpec.main_process_port": PROCESSES,
    "FsdpSpec.reshard_after_forward": SHARDING,
    "FsdpSpec.cpu_offload": SHARDING,
    "FsdpSpec.activation_checkpointing": SHARDING,
    "FsdpSpec.auto_wrap_policy": SHARDING,
    "FsdpSpec.transformer_layer_cls_to_wrap": SHARDING,
    "FsdpSpec.min_num_params": SHARDING,
    "PublishSpec.path": "below: a place, not bytes; the published folder is written anew when it is not there",
}
CONTAINERS = {
    "FamilySpec.base", "FamilySpec.datasets", "FamilySpec.data_policy", "FamilySpec.defaults", "FamilySpec.variants",
    "FamilySpec.evaluate", "FamilySpec.gates", "FamilySpec.publish", "DataPolicySpec.deduplicate",
    "DataPolicySpec.decontaminate", "VariantSpec.data",
    "VariantSpec.train", "TeacherDataset.teacher", "TrainSpec.adapter", "VariantSpec.resources",
    "DefaultsSpec.resources",
}  # fmt: skip
ORDER = ("base", "data", "train", "merge", "quantize", "evaluate", "gate", "card", "publish")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation):
        for inner in typing.get_args(annotation):
            yield from models(inner)


def all_keys(model: type[BaseModel] = form.FamilySpec) -> set[str]:
    keys = {f"{model.__name__}.{name}" for name in model.model_fields}
    for field in model.model_fields.values():
        for inner in models(field.annotation):
            keys |= all_keys(inner)
    return keys


def test_every_key_has_a_case() -> None:
    keys = all_keys() | all_keys(LmEvalParams) | all_keys(PerplexityParams) | all_keys(ParityParams)
    assert keys == set(CASES) | set(ELSEWHERE) | CONTAINERS
    assert not set(CASES) & set(ELSEWHERE)


@pytest.mark.parametrize("key", ELSEWHERE)
def test_what_is_shown_elsewhere_is_shown_there(key: str) -> None:
    place = ELSEWHERE[key].partition(":")[0]
    assert place == "below" or key.partition(".")[2] in (Path(__file__).parents[1] / place).read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    tiny_model(folder / "base")
    tiny_model(folder / "other-base", seed=1)
    write_rows(folder / "rows.jsonl", 20)
    write_rows(folder / "other.jsonl", 30)
    write_rows(folder / "suite.jsonl", 3)
    for name, body in (("code", "return 1"), ("other-code", "return 2")):
        (folder / name).mkdir()
        (folder / name / "module.py").write_text(f"def f():\n    '''Give one fixed number.'''\n    {body}\n")
    return folder


def plan_of(folder: Path, raw: dict[str, Any]) -> Plan:
    file = folder / "family.yaml"
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    return build_plan(load_family(file), Resolver(cache=folder / "pins.json"))


def changed(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    *parents, last = path.split(".")
    block = raw
    for parent in parents:
        block = block.setdefault(parent, {})
    block[last] = value
    return raw


def keys_by_stage(plan: Plan) -> dict[str, set[str]]:
    return {stage: {key for key, step in plan.steps.items() if step.stage == stage} for stage in ORDER}


@pytest.mark.parametrize("key", CASES)
def test_a_changed_key_changes_steps_and_none_before_them(key: str, folder: Path) -> None:
    path, value, stages = CASES[key]
    family = changed(FAMILY, "publish.namespace", "acme") if key in ON_HUB else FAMILY
    family = changed(family, "publish.to", "hub") if key in ON_HUB - {"PublishSpec.to"} else family
    before = keys_by_stage(plan_of(folder, family))
    after = keys_by_stage(plan_of(folder, changed(family, path, value)))
    for stage in stages:
        assert after[stage] != before[stage], f"{path} does not reach {stage}"
    first = min(ORDER.index(stage) for stage in stages)
    for stage in ORDER[:first]:
        assert after[stage] == before[stage], f"{path} reaches {stage}"


def test_the_place_to_publish_to_is_no_part_of_any_key(folder: Path) -> None:
    before = plan_of(folder, FAMILY)
    after = plan_of(folder, changed(FAMILY, "publish.path", "./elsewhere"))
    assert list(before.steps) == list(after.steps)
    moved = [step.hints for step in after.steps.values() if step.stage == "publish"]
    assert moved
    assert all("elsewhere" in json.dumps(hints) for hints in moved)


def test_spelling_out_a_default_changes_nothing(folder: Path) -> None:
    spelled = changed(FAMILY, "defaults.train", {"method": "sft", "adapter": {"type": "lora", "r": 16}})
    assert list(plan_of(folder, FAMILY).steps) == list(plan_of(folder, spelled).steps)
