"""``.eval_results/*.yaml``: results that the Hub shows on its leaderboards. For registered benchmarks alone.

The format: https://huggingface.co/docs/hub/eval-results. A set of questions of one's own, a part of a benchmark or a
changed one is no result of that benchmark: it stands in the card and in its ``model-index``, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.stages.card.yaml_block import write_yaml

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

FOLDER = ".eval_results"


class Benchmark(NamedTuple):
    """A dataset that the Hub lists as a benchmark, and the id of one of its tasks (from its ``eval.yaml``)."""

    dataset: str
    task: str


# (evaluator, task as that evaluator calls it) -> the benchmark it runs; each is scored by the share of right answers.
BENCHMARKS: Mapping[tuple[str, str], Benchmark] = {
    ("lm_eval", "gsm8k"): Benchmark("openai/gsm8k", "gsm8k"),
    ("lm_eval", "mmlu_pro"): Benchmark("TIGER-Lab/MMLU-Pro", "mmlu_pro"),
    ("lm_eval", "gpqa_diamond_zeroshot"): Benchmark("Idavidrein/gpqa", "diamond"),
}


def entries_of(evaluator: str, facts: Mapping[str, Any], source_url: str = "") -> list[EvalResultEntry]:
    """The entries that one evaluation of one model gives. ``facts``: as its step wrote them.

    A task counts when an evaluator says under ``whole_tasks`` that it ran it whole and as it is: without ``limit``,
    without a subset, no prompt changed. One that does not say so gives no entry. Shares are written as percentages, as
    leaderboards count.
    """
    from huggingface_hub import EvalResultEntry

    whole = facts.get("whole_tasks") or ()
    return [
        EvalResultEntry(
            dataset_id=benchmark.dataset,
            task_id=benchmark.task,
            value=round(100 * it["value"], 4),
            source_url=source_url or None,
            source_name="model card" if source_url else None,
            notes=f"{evaluator}, task {task}",
        )
        for task, it in sorted(facts.get("metrics", {}).items())
        if task in whole and (benchmark := BENCHMARKS.get((evaluator, task)))
    ]


def result_files(evaluations: Iterable[tuple[str, str, Mapping[str, Any]]], source_url: str = "") -> dict[str, str]:
    """Path in the repo -> text, for evaluations given as (name, evaluator, facts)."""
    from huggingface_hub import eval_result_entries_to_yaml

    return {
        f"{FOLDER}/{name}.yaml": write_yaml(eval_result_entries_to_yaml(entries)) + "\n"
        for name, evaluator, facts in evaluations
        if (entries := entries_of(evaluator, facts, source_url))
    }
