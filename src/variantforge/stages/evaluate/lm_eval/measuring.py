"""One measurement: tasks made, asked, and their outcomes as rows whose sums are the harness's own scores."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError
from variantforge.hashing import canonical_json, text_digest
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.lm_eval import harness
from variantforge.stages.evaluate.lm_eval.leaves import Leaf, hub_dataset, role_of_dataset
from variantforge.stages.evaluate.lm_eval.measures import Pooled, Scored, count_of
from variantforge.stages.evaluate.lm_eval.tasks import Suite
from variantforge.stages.evaluate.suites import ITEM_NAMES, item_name
from variantforge.step import Artifact, StepContext

if TYPE_CHECKING:
    from variantforge.stages.evaluate.lm_eval.evaluator import LmEvalParams

_SAME = 1e-6  # how near a sum over rows must come to what the harness makes of the same items
Row = dict[str, Any]


def measure(context: StepContext, params: LmEvalParams, suite: Suite) -> Measured:
    """Raises EvaluateError when a task cannot be had, asked or judged."""
    from variantforge.stages.evaluate.lm_eval import running

    with running.hushed():
        running.seed_all(params.random_seed, params.numpy_random_seed, params.torch_random_seed)
        tasks = {name: running.made(leaf, context.step.pins, context.scratch) for name, leaf in suite.leaves.items()}
        for task in tasks.values():
            running.configured(
                task,
                num_fewshot=params.num_fewshot,
                gen_kwargs=params.gen_kwargs,
                fewshot_seed=params.fewshot_random_seed,
            )
        subject = _subject(context, params)
        outcomes = running.asked(
            subject,
            tasks,
            limit=params.limit,
            system_instruction=params.system_instruction,
            apply_chat_template=params.apply_chat_template,
            fewshot_as_multiturn=params.fewshot_as_multiturn and params.apply_chat_template,
        )
    rows = rows_of(suite, outcomes["samples"])
    scores = _scores(outcomes["results"])
    _check_sums(suite, rows, scores)
    return Measured(rows, _facts(context, params, suite, tasks, outcomes, scores, subject), suite.metrics)


def _subject(context: StepContext, params: LmEvalParams) -> Any:
    """The model that the harness asks. That of a GGUF file is the merged model's, with the file's weights."""
    from transformers import AutoConfig

    from variantforge.stages.evaluate.lm_eval.model import Loading, subject_of
    from variantforge.stages.evaluate.scoring import filled, gguf_of
    from variantforge.stages.models import device, load_model

    measured = context.inputs["model"]
    gguf = gguf_of(measured)
    holder = context.inputs["reference"] if gguf else measured

    def load() -> Any:
        model = load_model(_folder(holder), dtype=params.dtype, device=str(device()))
        return filled(model, gguf) if gguf else model

    config = AutoConfig.from_pretrained(_folder(holder), local_files_only=True, trust_remote_code=False)
    seed = params.torch_random_seed
    return subject_of(context, Loading(load, _folder(holder), config, params.dtype, params.max_length, seed))


def _folder(artifact: Artifact) -> Path:
    return artifact.path / "model"


# --- outcomes as rows -------------------------------------------------------------------------------------------


def rows_of(suite: Suite, samples: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Row]:
    """One row per item, with the columns of every metric that it counts for.

    ``samples``: as the harness logs them, one per item and filter.
    """
    counted: dict[tuple[str, str], list[tuple[Scored, Scored | Pooled]]] = {}
    alone: list[tuple[Scored, Scored | Pooled]] = [(one, one) for one in suite.scored if one.is_ratio]
    for part, of in [*alone, *((part, pool) for pool in suite.pooled for part in pool.parts)]:
        counted.setdefault((part.task, part.filter), []).append((part, of))
    rows: list[Row] = []
    for task, leaf in suite.leaves.items():
        logged, items = list(samples[task]), dict[int, Row]()
        count = len({sample["doc_id"] for sample in logged})
        for sample in logged:
            row = items.setdefault(int(sample["doc_id"]), row_of(leaf, sample))
            for part, of in counted.get((task, str(sample["filter"])), ()):
                row |= _columns(row["id"], part, of, sample, count)
        rows += [items[number] for number in sorted(items)]
    return rows


def row_of(leaf: Leaf, sample: Mapping[str, Any]) -> Row:
    row: Row = {"id": f"{leaf.name}/{sample['doc_id']}", "task": leaf.name, "doc_sha256": str(sample["doc_hash"])}
    if leaf.items() and (name := _named(sample)):
        row["item"] = name
    answer = sample["resps"][0][0] if sample["resps"] and sample["resps"][0] else None
    return row | {"answer": answer} if isinstance(answer, str) else row


def _named(sample: Mapping[str, Any]) -> str:
    """What the item of a file is called; '' where what the file says is read as something that is no text."""
    told = [sample["doc"].get(field) for field in ITEM_NAMES]
    plain = all(value is None or isinstance(value, str | int | float) for value in told)
    return item_name(sample["doc"], int(sample["doc_id"]) + 1) if plain else ""


def _columns(id: str, part: Scored, of: Scored | Pooled, sample: Mapping[str, Any], items: int) -> dict[str, float]:
    if part.metric not in sample:
        return {}  # the task does not judge this item by it
    value, share = sample[part.metric], of.share(items)
    try:
        sums = part.sums(value)
    except (TypeError, ValueError, IndexError) as error:
        raise EvaluateError(f"{part.metric} of item {id} cannot be summed: {value!r:.100}", why=str(error)) from error
    if sums is None:
        return {}
    if not all(map(math.isfinite, sums)):
        raise EvaluateError(f"{part.metric} of item {id} is not a finite number: {value!r:.100}")
    return {of.name: sums[0] * share, count_of(of.name): sums[1] * share}


def _scores(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The harness's own figures: task -> ``metric,filter`` -> value."""
    return {
        task: {
            key: float(value)
            for key, value in found.items()
            if "," in key and "_stderr," not in key and isinstance(value, int | float) and math.isfinite(value)
        }
        for task, found in results.items()
    }


def _check_sums(suite: Suite, rows: Iterable[Row], scores: Mapping[str, Mapping[str, float]]) -> None:
    """Raises EvaluateError where what gates will resample is not what the harness calls the score."""
    rows = list(rows)
    for one in suite.scored:
        theirs = scores.get(one.task, {}).get(one.key)
        counted = [row for row in rows if count_of(one.name) in row]
        if not one.is_ratio or theirs is None or not counted:
            continue
        ratio = sum(row[one.name] for row in counted) / sum(row[count_of(one.name)] for row in counted)
        ours = math.exp(ratio) if one.as_metric.scale == "exp" else ratio
        if not math.isclose(ours, theirs, rel_tol=_SAME, abs_tol=_SAME):
            raise EvaluateError(
                f"{one.name} is not the score that lm_eval makes of it",
                why=f"Summed over items it is {ours:.6g}; lm_eval says {theirs:.6g}: it aggregates in another way.",
                next=f"leave {one.task} out, or write a task file of your own with another aggregation",
            )


# --- what stands beside the scores ------------------------------------------------------------------------------


def _facts(
    context: StepContext,
    params: LmEvalParams,
    suite: Suite,
    tasks: Mapping[str, Any],
    outcomes: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, float]],
    subject: Any,
) -> dict[str, Any]:
    samples = outcomes["samples"]
    items = sorted((name, one["doc_id"], one["doc_hash"]) for name in tasks for one in samples[name])
    prompts = sorted((name, one["doc_id"], one["prompt_hash"]) for name in tasks for one in samples[name])
    template = str(subject.tokenizer.chat_template or "") if params.apply_chat_template else ""
    return {
        "lm_eval": harness.version(),
        "tasks": {name: _of_task(context, suite, name, task, outcomes) for name, task in tasks.items()},
        "scores": {name: dict(scores.get(name, {})) for name in tasks},
        "tokens_sha256": _digest(items),  # the items: comparable are two measurements of the same ones
        "prompts_sha256": _digest(prompts),
        "apply_chat_template": params.apply_chat_template,
        "template_sha256": text_digest(template) if template else None,
        "seeds": {
            "random": params.random_seed,
            "numpy": params.numpy_random_seed,
            "torch": params.torch_random_seed,
            "fewshot": params.fewshot_random_seed,
        },
        "whole_tasks": _whole(params, suite),
    }


def _of_task(context: StepContext, suite: Suite, name: str, task: Any, outcomes: Mapping[str, Any]) -> dict[str, Any]:
    leaf, count = suite.leaves[name], outcomes["n-samples"][name]
    ref = hub_dataset(leaf)
    data = context.step.pins[role_of_dataset(ref.name)].at.removeprefix("hub:") if ref else leaf.dataset
    return {
        "version": str(outcomes["versions"].get(name)),
        "num_fewshot": int(outcomes["n-shot"].get(name) or 0),
        "items": int(count["effective"]),
        "of": int(count["original"]),
        "output_type": str(task.OUTPUT_TYPE),
        "data": data,
    }


def _whole(params: LmEvalParams, suite: Suite) -> list[str]:
    """Tasks of the harness that were asked whole and as they are."""
    changed = {"num_fewshot", "limit", "apply_chat_template", "system_instruction", "gen_kwargs", "max_length"}
    if changed & params.identity().keys():
        return []
    whole = {name for name, leaf in suite.leaves.items() if not leaf.local}
    pooled = {pool.group for pool in suite.pooled}
    return sorted(({one.task for one in suite.scored} & whole) | pooled)


def _digest(items: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(canonical_json(list(item)).encode() + b"\n")
    return digest.hexdigest()
