"""The card of one repo, written from its step's parameters and the facts of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from variantforge.spec.forms import FORMS
from variantforge.stages.card.addresses import addresses
from variantforge.stages.card.benchmarks import result_files
from variantforge.stages.card.descent import started_from, withheld_forms
from variantforge.stages.card.facts import (
    MEANINGS,
    Inputs,
    Measurement,
    as_facts,
    compared,
    forced,
    left_out,
    machines,
    measurements,
    refusal,
    verdicts,
)
from variantforge.stages.card.front_matter import front_matter
from variantforge.stages.card.managed import card_text
from variantforge.stages.card.markdown import render
from variantforge.stages.card.memory import Memory, bf16_bytes, memory_of, read_config
from variantforge.stages.card.repos import PAGE
from variantforge.stages.card.terms import duties_of
from variantforge.step import Step

Told = Mapping[str, Any]  # the card's parameters, or a part of them: see ``params``

# Who should take which file; of other types only the measured columns speak.
ADVICE = {
    "F16": "who converts further: the full weights",
    "BF16": "who converts further: the full weights",
    "Q8_0": "who has the memory: hardly told apart from the full weights",
    "Q6_K": "who wants nearly all of the quality in less memory",
    "Q5_K_M": "who wants more quality than the usual choice",
    "Q5_K_S": "who wants more quality than the usual choice, a little smaller",
    "Q4_K_M": "most people: the usual balance of size and quality",
    "Q4_K_S": "who needs it a little smaller than the usual choice",
    "Q3_K_M": "who is short of memory and accepts a visible loss",
    "Q2_K": "only who can run nothing larger: expect a clear loss",
}

# Perplexity says what the loss says; the gap to llama.cpp's own run speaks of the measurement, not of the file.
_IN_FULL_ONLY = ("perplexity", "runtime_gap", "ended", "prompt_tokens_per_s", "first_token_s", "load_s", "memory_gb")

# Arguments that say how a run is watched and kept, not what is learned.
_HOUSEKEEPING = ("logging_", "save_", "eval_", "report_to", "disable_tqdm", "dataloader_", "output_dir", "run_name")


def repo_card(step: Step, inputs: Inputs) -> tuple[dict[str, str], dict[str, Any]]:
    """Path -> text of README.md and what else tells of the repo (nothing when the repo may not ship); and facts."""
    told, form = step.params, step.method
    subjects = _subjects(told, form, inputs)
    refused = {subject: why for subject in subjects if (why := refusal(inputs, subject))}
    shipped = [subject for subject in subjects if subject not in refused]
    measured = measurements(inputs, told["evaluations"], dict.fromkeys(["base", "merged", *shipped]))
    facts = {
        "repo": told["repo"],
        "form": form,
        "variant": told["variant"]["name"],
        **duties_of(told["terms"], str(inputs["base"].facts.get("license") or ""), _teachers_say(told, inputs)),
        "base_model": started_from(told, withheld_forms(told, inputs)),
        "files": [told["files"][subject] for subject in shipped] if form == "gguf" else [],
        "withheld": {told["files"][subject]: why for subject, why in refused.items()} if form == "gguf" else {},
        "refusal": "" if shipped else _why(refused),
        "measured": as_facts(measured),
        "verdicts": as_facts(verdicts(inputs, subjects)),
        "memory": {
            subject: asdict(it) | {"total_bytes": it.total_bytes}
            for subject in shipped
            if (it := _memory(inputs, subject))
        },
        **({"forced": told_forced} if (told_forced := forced(inputs, shipped)) else {}),
        "steps": _steps(inputs, subjects),
        "versions": _versions(inputs, shipped),
    }
    if not shipped:
        return {}, facts
    values = _values(told, form, inputs, shipped, measured) | {
        name: facts[name] for name in ("license", "duties", "withheld", "steps")
    }
    card = card_text(
        front_matter(form, told, values),
        render(template_of(form), told=told, form=form, held=FORMS[form], forms=FORMS, **values),
    )
    return {PAGE: card, **_benchmarks(told, form, inputs)}, facts


def template_of(form: str) -> str:
    return "quantized.md.jinja" if FORMS[form].is_quantized_folder else f"{form}.md.jinja"


def _subjects(told: Told, form: str, inputs: Inputs) -> list[str]:
    """What this repo ships, as gates name it; files by size, since their order in the spec is not part of the key."""
    if form != "gguf":
        return [form if FORMS[form].quantized else "merged"]
    return sorted(told["files"], key=lambda format: (inputs[f"quantize:{format}"].facts["size_bytes"], format))


def _steps(inputs: Inputs, subjects: Sequence[str]) -> dict[str, str]:
    """Role -> key of every step that this repo comes of; without the gates of other repos that the card looks at."""
    others = {role for role in inputs if role.startswith("gate:") and role.removeprefix("gate:") not in subjects}
    return {role: inputs[role].key for role in sorted(inputs) if role not in others}


def _versions(inputs: Inputs, shipped: Sequence[str]) -> dict[str, dict[str, str]]:
    """Step -> the versions of the tools that did it, then; of the steps that made the very weights."""
    made = ["train", "merge", *(role for subject in shipped if (role := f"quantize:{subject}") in inputs)]
    return {role: inputs[role].versions for role in made}


def _objective(train: Mapping[str, Any]) -> dict[str, Any]:
    """Metric -> its first and last value, of what a method aims at beside its loss."""
    told: Mapping[str, Any] = train.get("objective", {})
    return {name: seen for name, seen in told.items() if isinstance(seen, Mapping)}


def _memory(inputs: Inputs, subject: str) -> Memory | None:
    """What it takes to run a subject: quantized weights as large as their file, others at 16 bit."""
    if quantized := inputs.get(f"quantize:{subject}"):
        weights_bytes = int(quantized.facts["size_bytes"])
    elif parameters := inputs["base"].facts.get("parameters"):
        weights_bytes = bf16_bytes(parameters)
    else:
        return None
    return memory_of(weights_bytes, read_config(inputs["base"].path / "model"))


def _benchmarks(told: Told, form: str, inputs: Inputs) -> dict[str, str]:
    """Results of registered benchmarks, of the very weights in the repo: an adapter has none of its own, and a repo of
    several files would have several."""
    subject = form if form == "merged" or FORMS[form].is_quantized_folder else None
    done = [
        (name, evaluator, inputs[role].facts)
        for name, evaluator in sorted(told["evaluations"].items())
        if (role := f"evaluate:{name}:{subject}") in inputs
    ]
    return result_files(done, f"https://huggingface.co/{told['repo']}" if told["on_hub"] else "")


def _teachers_say(told: Told, inputs: Inputs) -> dict[str, str]:
    """Role -> licence that the files of a teacher name."""
    roles = [teacher["role"] for teacher in told["terms"].get("teachers", ()) if teacher["role"] in inputs]
    return {role: str(inputs[role].facts.get("license") or "") for role in roles}


def _values(
    told: Told, form: str, inputs: Inputs, shipped: Sequence[str], measured: Sequence[Measurement]
) -> dict[str, Any]:
    """Everything a template prints, beside the parameters."""
    facts = {role: inputs[role].facts for role in ("base", "data", "train", "merge")}
    files = [_file(told, inputs, subject) for subject in shipped if f"quantize:{subject}" in inputs]
    withheld = withheld_forms(told, inputs)
    rows = {name: inputs[f"rows:{name}"].facts for name in told["data"]["sources"] if f"rows:{name}" in inputs}
    return facts | {
        "name": told["repo"].partition("/")[2],
        "chat": bool(facts["base"].get("template_sha256")),
        "args": {name: it for name, it in facts["train"]["args"].items() if not name.startswith(_HOUSEKEEPING)},
        "objective": _objective(facts["train"]),
        "memory": _memory(inputs, shipped[0]),
        "withheld_forms": withheld,
        **addresses(told, form, withheld),
        "bad_rows": {name: it["bad"] for name, it in rows.items() if it.get("bad")},
        "shipped": shipped,
        "measured": measured,
        "compared": compared(measured, shipped[0]),
        "meanings": [
            (metric, text) for metric, text in MEANINGS.items() if any(it.metric == metric for it in measured)
        ],
        "left_out": left_out(inputs, measured),
        "machines": machines(inputs, told["evaluations"]),
        "columns": _columns(measured, shipped),
        "verdicts": verdicts(inputs, shipped),
        "forced": forced(inputs, shipped),
        "files": files,
        "best": next((file for file in files if file["type"] == "Q4_K_M"), files[0] if files else None),
    }


def _why(refused: dict[str, str]) -> str:
    reasons = list(dict.fromkeys(refused.values()))
    return reasons[0] if len(refused) == 1 else f"every file was refused: {'; '.join(reasons)}"


def _file(told: Told, inputs: Inputs, format: str) -> dict[str, Any]:
    facts, type = inputs[f"quantize:{format}"].facts, format.removeprefix("gguf:")
    return {
        "name": told["files"].get(format, ""),
        "format": format,
        "type": type,
        "size_bytes": facts["size_bytes"],
        "bits_per_weight": facts["bits_per_weight"],
        "memory": _memory(inputs, format),
        "advice": ADVICE.get(type, ""),
    }


def _columns(measured: Sequence[Measurement], shipped: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics that tell quantized files apart; the others are left to the full table."""
    columns: dict[str, dict[str, Any]] = {}
    for it in measured:
        if it.subject in shipped and it.metric not in _IN_FULL_ONLY:
            columns.setdefault(it.name, {"metric": it, "by": {}})["by"][it.subject] = it
    return list(columns.values())
