"""Task files of a user's, with data made of a few words, and measurements of tiny models by them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from tests.bench import do_step
from variantforge.plan.build import Draft
from variantforge.plan.pin import Resolver
from variantforge.spec.family import FamilySpec
from variantforge.stages.evaluate.lm_eval.evaluator import LmEval, LmEvalParams
from variantforge.stages.evaluate.stage import STAGE
from variantforge.step import Artifact, Step

WORDS = ("sun", "moon", "tree", "river", "stone", "cloud", "bird", "horse", "bread", "water", "light", "house")
FAMILY = {
    "family": "f",
    "base": {"model": "./base"},
    "variants": {"v": {"kind": "domain", "data": {"mix": {"d": 1.0}}}},
}
CHOICES: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{q}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
WRITTEN: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{q}} =>",
    "doc_to_target": "{{choices[gold]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
}


def sentence(rng: random.Random, most: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, most + 1)))


def docs(count: int, seed: int = 1) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {"q": sentence(rng, 9), "choices": [sentence(rng, 5) for _ in range(4)], "gold": rng.randrange(4)}
        for _ in range(count)
    ]


def write_task(folder: Path, name: str = "mine", items: list[dict[str, Any]] | None = None, **config: Any) -> str:
    """A task file and its data in ``folder/tasks``; returns what a family file writes."""
    tasks = folder / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    rows = docs(12) if items is None else items
    (tasks / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"test": f"{name}.jsonl", "train": f"{name}.jsonl"}
    whole = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "fewshot_split": "train",
        "num_fewshot": 0,
        "metadata": {"version": 1.0},
        **config,
    }
    (tasks / f"{name}.yaml").write_text(
        yaml.safe_dump({key: value for key, value in whole.items() if value is not None})
    )
    return f"./tasks/{name}.yaml"


def planned(folder: Path, subject: str = "merged", **params: Any) -> tuple[Step | None, list[tuple[str, str]]]:
    """The step of an evaluation called ``general``, and the problems told."""
    problems: list[tuple[str, str]] = []
    draft = Draft(
        FamilySpec.model_validate(FAMILY), folder, Resolver(folder=folder), lambda *told: problems.append(told)
    )
    evaluator, asked = LmEval(), LmEvalParams(**params)
    pins = evaluator.pins(draft, asked, "evaluate.general")
    step = None if pins is None else Step("evaluate", 1, "lm_eval", evaluator.identity(asked, subject), {}, pins)
    return step, problems


def measured(
    folder: Path, model: Artifact, *, reference: Artifact | None = None, run: str = "run", **params: Any
) -> Artifact:
    context = {name: params.pop(name) for name in ("emit", "stopping") if name in params}
    step, problems = planned(folder, **params)
    assert step is not None, problems
    inputs = {"model": model, **({"reference": reference} if reference else {})}
    return do_step(STAGE, step, folder / run, inputs, **context)


def value(artifact: Artifact, metric: str) -> float:
    return float(artifact.facts["metrics"][metric]["value"])
