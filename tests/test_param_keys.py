"""Every parameter of an evaluator and of a reward does something: changed, it changes the key of a step that reads it.

``tests/test_keys.py`` has the keys of the family file; here is what stands beside ``evaluator:`` and ``reward:``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.family import write_rows
from tests.test_keys import ORDER, all_keys, changed, keys_by_stage, plan_of
from tests.tiny import tiny_model
from variantforge.spec.family import FsdpSpec
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.train.rewards import REWARDS

PROBLEM = {"prompt": "Add two numbers.", "tests": "assert add(1, 2) == 3", "entry_point": "add"}
REWARDED: list[dict[str, Any]] = [
    {"reward": "exact_answer"},
    {"reward": "regex", "pattern": "x"},
    {"reward": "json_valid"},
    {"reward": "unit_tests"},
    {"reward": "python", "function": "./rewards.py:one"},
    {"reward": "repetition_penalty"},
    {"reward": "soft_overlong_punishment", "max_completion_len": 64, "soft_punish_cache": 8},
    {"reward": "exact_answer", "extract": "after"},
]
FAMILY: dict[str, Any] = {
    "family": "params",
    "base": {"model": "./base", "license": "apache-2.0"},
    "datasets": {"rows": {"path": "./rows.jsonl"}},
    "variants": {
        "one": {"kind": "instruct", "data": {"mix": {"rows": 1.0}}, "quantize": ["nf4"]},
        "grouped": {
            "kind": "instruct",
            "data": {"mix": {"rows": 1.0}},
            "train": {"method": "grpo", "rewards": REWARDED},
        },
    },
    "evaluate": {
        "python": {"evaluator": "code", "path": "./problems.jsonl", "samples": 2, "temperature": 0.5},
        "form": {"evaluator": "format", "path": "./prompts.jsonl"},
        "safe": {"evaluator": "safety", "harmful": "./prompts.jsonl", "judge": {"model": "./base"}},
        "duel": {"evaluator": "arena", "judge": {"endpoint": "https://a.example.org/v1", "model": "big"}},
        "speed": {"evaluator": "speed"},
        "parity": "off",
    },
    "publish": {"path": "./published"},
}
# parameter -> (key path in FAMILY, new value)
MEASURED: dict[str, tuple[str, Any]] = {
    "CodeParams.tasks": ("python.tasks", ["humaneval"]),
    "CodeParams.path": ("python.path", "./other-problems.jsonl"),
    "CodeParams.mode": ("python.mode", "completion"),
    "CodeParams.samples": ("python.samples", 3),
    "CodeParams.k": ("python.k", [1, 2]),
    "CodeParams.temperature": ("python.temperature", 0.7),
    "CodeParams.top_p": ("python.top_p", 0.9),
    "CodeParams.seed": ("python.seed", 1),
    "CodeParams.max_new_tokens": ("python.max_new_tokens", 9),
    "CodeParams.limit": ("python.limit", 1),
    "CodeParams.timeout_s": ("python.timeout_s", 1.5),
    "CodeParams.memory_mb": ("python.memory_mb", 128),
    "CodeParams.dtype": ("python.dtype", "bfloat16"),
    "FormatParams.path": ("form.path", "./other-prompts.jsonl"),
    "FormatParams.builtin": ("form.builtin", False),
    "FormatParams.tools": ("form.tools", "never"),
    "FormatParams.fenced": ("form.fenced", True),
    "FormatParams.gram": ("form.gram", 9),
    "FormatParams.repeats": ("form.repeats", 9),
    "FormatParams.max_tokens": ("form.max_tokens", 9),
    "FormatParams.dtype": ("form.dtype", "bfloat16"),
    "SafetyParams.harmful": ("safe.harmful", "./other-prompts.jsonl"),
    "SafetyParams.harmless": ("safe.harmless", "./prompts.jsonl"),
    "SafetyParams.judge": ("safe.judge", None),
    "SafetyParams.max_tokens": ("safe.max_tokens", 9),
    "SafetyParams.dtype": ("safe.dtype", "bfloat16"),
    "ArenaParams.judge": ("duel.judge", {"model": "./base"}),
    "ArenaParams.vs": ("duel.vs", "merged"),
    "ArenaParams.path": ("duel.path", "./prompts.jsonl"),
    "ArenaParams.max_prompts": ("duel.max_prompts", 9),
    "ArenaParams.max_tokens": ("duel.max_tokens", 9),
    "ArenaParams.dtype": ("duel.dtype", "bfloat16"),
    "JudgeSpec.model": ("safe.judge.model", "./other-base"),
    "JudgeSpec.endpoint": ("duel.judge.endpoint", "https://b.example.org/v1"),
    "JudgeSpec.max_tokens": ("duel.judge.max_tokens", 9),
    "JudgeSpec.temperature": ("duel.judge.temperature", 0.5),
    "JudgeSpec.seed": ("duel.judge.seed", 1),
    "JudgeSpec.unparsed_at_most": ("duel.judge.unparsed_at_most", 0.5),
    "SpeedParams.prompt_tokens": ("speed.prompt_tokens", 9),
    "SpeedParams.new_tokens": ("speed.new_tokens", 9),
    "SpeedParams.repeats": ("speed.repeats", 9),
    "SpeedParams.dtype": ("speed.dtype", "bfloat16"),
}
PACE = {
    "JudgeSpec.api_key_env": ("duel.judge.api_key_env", "JUDGE_KEY"),
    "JudgeSpec.requests_per_minute": ("duel.judge.requests_per_minute", 7.5),
    "JudgeSpec.concurrency": ("duel.judge.concurrency", 97),
    "JudgeSpec.timeout_s": ("duel.judge.timeout_s", 7.5),
}
# parameter -> (place in REWARDED, key, new value)
REWARDS_CASES: dict[str, tuple[int, str, Any]] = {
    "ExactAnswerParams.extract": (0, "extract", "boxed"),
    "ExactAnswerParams.marker": (7, "marker", "=>"),
    "ExactAnswerParams.ignore_case": (0, "ignore_case", True),
    "RegexParams.pattern": (1, "pattern", "y"),
    "RegexParams.match": (1, "match", "full"),
    "RegexParams.ignore_case": (1, "ignore_case", True),
    "JsonValidParams.json_schema": (2, "schema", {"type": "object"}),
    "JsonValidParams.fenced": (2, "fenced", True),
    "UnitTestsParams.score": (3, "score", "all"),
    "UnitTestsParams.code": (3, "code", "whole"),
    "UnitTestsParams.timeout_s": (3, "timeout_s", 1.5),
    "UnitTestsParams.memory_mb": (3, "memory_mb", 128),
    "PythonParams.function": (4, "function", "./rewards.py:two"),
    "RepetitionPenaltyParams.ngram_size": (5, "ngram_size", 4),
    "RepetitionPenaltyParams.max_penalty": (5, "max_penalty", -0.5),
    "SoftOverlongPunishmentParams.max_completion_len": (6, "max_completion_len", 99),
    "SoftOverlongPunishmentParams.soft_punish_cache": (6, "soft_punish_cache", 9),
}
IN_TEST_KEYS = {"lm_eval", "perplexity", "parity"}


def test_every_parameter_has_a_case() -> None:
    names = [name for name in EVALUATORS if name not in IN_TEST_KEYS]
    measured = set().union(*(all_keys(EVALUATORS.load(name).Params) for name in names))
    assert measured == MEASURED.keys() | PACE.keys()
    assert set().union(*(all_keys(REWARDS.load(name).Params) for name in REWARDS)) == REWARDS_CASES.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("params")
    tiny_model(folder / "base")
    tiny_model(folder / "other-base", seed=1)
    write_rows(folder / "rows.jsonl", 20)
    for name, more in (("problems", {}), ("other-problems", {"id": "other"})):
        (folder / f"{name}.jsonl").write_text(json.dumps({**PROBLEM, **more}) + "\n")
    for name in ("prompts", "other-prompts"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"prompt": f"Tell me of {name}."}) + "\n")
    (folder / "rewards.py").write_text(
        "def one(**columns):\n    return [1.0]\n\n\ndef two(**columns):\n    return [2.0]\n"
    )
    return folder


def keys_of(folder: Path, family: dict[str, Any]) -> dict[str, set[str]]:
    return keys_by_stage(plan_of(folder, family))


@pytest.mark.parametrize("parameter", MEASURED)
def test_a_changed_parameter_is_another_measurement_and_changes_nothing_before_it(parameter: str, folder: Path) -> None:
    path, value = MEASURED[parameter]
    before, after = keys_of(folder, FAMILY), keys_of(folder, changed(FAMILY, f"evaluate.{path}", value))
    assert after["evaluate"] != before["evaluate"]
    weights = ("data", "train", "merge", "quantize")
    assert [after[stage] for stage in weights] == [before[stage] for stage in weights]


@pytest.mark.parametrize("parameter", PACE)
def test_how_a_judge_is_reached_changes_no_key_and_comes_to_the_step(parameter: str, folder: Path) -> None:
    path, value = PACE[parameter]
    before, after = plan_of(folder, FAMILY), plan_of(folder, changed(FAMILY, f"evaluate.{path}", value))
    assert list(before.steps) == list(after.steps)
    assert json.dumps(value) in json.dumps([step.hints for step in after.steps.values() if step.stage == "evaluate"])
    assert json.dumps(value) not in json.dumps([step.hints for step in before.steps.values()])


@pytest.mark.parametrize("parameter", REWARDS_CASES)
def test_a_changed_reward_is_another_training(parameter: str, folder: Path) -> None:
    place, key, value = REWARDS_CASES[parameter]
    rewards = [{**one, key: value} if at == place else one for at, one in enumerate(REWARDED)]
    before, after = keys_of(folder, FAMILY), keys_of(folder, changed(FAMILY, "variants.grouped.train.rewards", rewards))
    assert after["train"] != before["train"]
    assert [after[stage] for stage in ORDER[:2]] == [before[stage] for stage in ORDER[:2]]


# key of resources.accelerate.fsdp -> a value that is not its default
SHARDING = {
    "reshard_after_forward": False,
    "cpu_offload": True,
    "activation_checkpointing": True,
    "auto_wrap_policy": "NO_WRAP",
    "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
    "min_num_params": 7,
}


def test_every_key_of_sharding_reaches_the_training_and_changes_no_key(folder: Path) -> None:
    assert SHARDING.keys() == FsdpSpec.model_fields.keys()
    plain, resources = plan_of(folder, FAMILY), {"processes": 2, "accelerate": {"fsdp": SHARDING}}
    shared = plan_of(folder, changed(FAMILY, "variants.one.resources", resources))
    assert list(plain.steps) == list(shared.steps)
    (hints,) = [step.hints for step in shared.steps.values() if "accelerate" in step.hints]
    assert hints["accelerate"]["fsdp"] == {"version": 2, **SHARDING}


def test_keys_of_sharding_are_those_of_transformers() -> None:
    from transformers import TrainingArguments

    known = str(TrainingArguments.__doc__).partition("fsdp_config (")[2].partition("deepspeed (")[0]
    assert [name for name in SHARDING if f"- {name} (" not in known] == []
