"""Tasks that are not measured here: why, and what to do instead."""

from __future__ import annotations

import re
from typing import Any

from variantforge.stages.evaluate.lm_eval import harness
from variantforge.stages.evaluate.lm_eval.harness import functions_in
from variantforge.stages.evaluate.lm_eval.leaves import BUILDERS, LOCAL, Leaf, hub_dataset, listed
from variantforge.stages.evaluate.lm_eval.measures import DEFAULTS, REGISTERED

_ADDRESS = re.compile(r"^[a-z0-9+]+://", re.IGNORECASE)


def refusal(leaf: Leaf) -> str:
    """Why a task is not measured here, and what to do instead; '' when it is."""
    config, told = leaf.config, leaf.entry if leaf.local else leaf.name
    if config.get("unsafe_code"):
        return f"{told} runs the code that a model writes, in this process: use 'evaluator: code', which has a sandbox"
    if "class" in config:
        return f"{told} is written in Python: its metrics are not known before it runs"
    if leaf.local and (why := _foreign(leaf)):
        return f"{told} {why}"
    if config.get("custom_dataset"):
        return f"{told} makes its data with code of its own, which cannot be pinned"
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        return f"{told} shows images or plays sounds, and these models read text"
    if missing := sorted({name for module in leaf.code() for name in harness.missing_modules(module)}):
        return f"{told} needs {', '.join(missing)}, which is not installed: pip install {' '.join(missing)}"
    if config.get("use_prompt"):
        return f"{told} takes its prompts from promptsource, which is not part of lm_eval any more"
    if why := _data(leaf):
        return f"{told} {why}"
    if not any(one.is_ratio for one in leaf.scored):
        return f"{told} has no metric that is a mean over items ({_told_metrics(leaf)}): nothing can be judged by it"
    return ""


def _foreign(leaf: Leaf) -> str:
    """Code that a user's file would have run here: it may do anything."""
    if found := sorted({function.name for function in functions_in(dict(leaf.config))}):
        return (
            f"runs Python code of its own ({', '.join(found)}), which is not done outside the sandbox: "
            "write templates ({{question}}) and the harness's filters and metrics instead"
        )
    if unknown := sorted({str(one.get("metric")) for one in leaf.config.get("metric_list") or []} - REGISTERED.keys()):
        return f"asks for {', '.join(unknown)}, which is none of {', '.join(REGISTERED)}"
    if str(leaf.config.get("output_type") or "generate_until") not in DEFAULTS:
        return f"has no output_type that there is: {', '.join(DEFAULTS)}"
    return ""


def _data(leaf: Leaf) -> str:
    """What is wrong with where a task's data come from."""
    kwargs = leaf.config.get("dataset_kwargs") or {}
    if not isinstance(kwargs, dict):
        return "has dataset_kwargs that are no mapping"
    if not leaf.dataset:
        return "names no dataset_path"
    names = [str(name) for names in _by_split(kwargs.get("data_files")).values() for name in names]
    if addresses := [name for name in names if _ADDRESS.match(name)]:
        return f"reads {addresses[0]}: an address may hold anything tomorrow; download it and name the file"
    if leaf.dataset in BUILDERS:
        if not names:
            return f"reads {leaf.dataset} files and names none: dataset_kwargs: {{data_files: {{test: ./items.jsonl}}}}"
        if not leaf.local:
            return "reads files that do not come with the harness"
        missing = [name for name in names if not (leaf.path.parent / name).is_file()]
        return f"reads {missing[0]}, which is not beside it" if missing else ""
    if leaf.dataset.startswith(LOCAL):
        return f"reads the folder {leaf.dataset}: write dataset_path: json and its files under data_files"
    return "" if hub_dataset(leaf) else f"names the dataset '{leaf.dataset}', which is no id of the Hub (org/name)"


def _told_metrics(leaf: Leaf) -> str:
    listed = leaf.config.get("metric_list") or []
    return ", ".join(str(getattr(one.get("metric"), "name", one.get("metric"))) for one in listed) or "none listed"


def _by_split(data_files: Any) -> dict[str, list[Any]]:
    by_split = data_files if isinstance(data_files, dict) else {"train": data_files}
    return {str(split): listed(names) for split, names in by_split.items()}
