"""The card of one repo, written from its step's parameters and the facts of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from variantforge.stages.card.facts import (
    MEANINGS,
    Inputs,
    Measurement,
    as_facts,
    compared,
    measurements,
    refusal,
    verdicts,
)
from variantforge.stages.card.front_matter import front_matter, hub_base
from variantforge.stages.card.markdown import Markdown, hub_link, plain, render
from variantforge.stages.card.repos import SUFFIXES
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
_IN_FULL_ONLY = ("perplexity", "runtime_gap")

# Arguments that say how a run is watched and kept, not what is learned.
_HOUSEKEEPING = ("logging_", "save_", "eval_", "report_to", "disable_tqdm", "dataloader_", "output_dir", "run_name")

PROMPTS = {
    "instruct": "Give me three tips for a good night's sleep.",
    "code": "Write a Python function that reverses the words of a sentence.",
    "domain": "What can you tell me about this field?",
}


def repo_card(step: Step, inputs: Inputs) -> tuple[str, dict[str, Any]]:
    """The text of README.md ('' when nothing of the repo may ship) and the card's facts."""
    told, form = step.params, step.method
    subjects = _subjects(told, form, inputs)
    refused = {subject: why for subject in subjects if (why := refusal(inputs, subject))}
    shipped = [subject for subject in subjects if subject not in refused]
    measured = measurements(inputs, told["evaluations"], dict.fromkeys(["base", "merged", *shipped]))
    facts = {
        "repo": told["repo"],
        "form": form,
        "variant": told["variant"]["name"],
        "license": license_of(told["base"], inputs),
        "base_model": base_of(told),
        "files": [told["files"][subject] for subject in shipped] if form == "gguf" else [],
        "withheld": {told["files"][subject]: why for subject, why in refused.items()} if form == "gguf" else {},
        "refusal": "" if shipped else _why(refused),
        "measured": as_facts(measured),
        "verdicts": as_facts(verdicts(inputs, subjects)),
        "steps": {role: inputs[role].key for role in sorted(inputs)},
    }
    if not shipped:
        return "", facts
    values = _values(told, form, inputs, shipped, measured) | {
        "license": facts["license"],
        "withheld": facts["withheld"],
    }
    front = Markdown(front_matter(form, told, values))
    return render(f"{form}.md.jinja", told=told, form=form, front=front, **values), facts


def _subjects(told: Told, form: str, inputs: Inputs) -> list[str]:
    """What this repo ships, as gates name it; files by size, since their order in the spec is not part of the key."""
    if form != "gguf":
        return ["nf4" if form == "nf4" else "merged"]
    return sorted(told["files"], key=lambda format: (inputs[f"quantize:{format}"].facts["size_bytes"], format))


def license_of(base: Told, inputs: Inputs) -> str:
    """As planned; a base on the Hub may tell only once it is here. '' when nobody says."""
    return str(base["license"] or inputs["base"].facts.get("license") or "")


def base_of(told: Told) -> str:
    """What an adapter names as its base: a Hub id where there is one, else the package file or the base's own name."""
    base = told["base"]
    package = f"package:{base['package']}/{base['file']}" if "package" in base else ""
    return hub_base(told) or package or str(base["name"])


def _values(
    told: Told, form: str, inputs: Inputs, shipped: Sequence[str], measured: Sequence[Measurement]
) -> dict[str, Any]:
    """Everything a template prints, beside the parameters."""
    facts = {role: inputs[role].facts for role in ("base", "data", "train", "merge")}
    files = [_file(told, inputs, subject) for subject in shipped if f"quantize:{subject}" in inputs]
    rows = {name: inputs[f"rows:{name}"].facts for name in told["data"]["sources"] if f"rows:{name}" in inputs}
    return facts | {
        "name": told["repo"].partition("/")[2],
        "chat": bool(facts["base"].get("template_sha256")),
        "prompt": PROMPTS[told["variant"]["kind"]],
        "args": {name: it for name, it in facts["train"]["args"].items() if not name.startswith(_HOUSEKEEPING)},
        "start": _start(told),
        "bad_rows": {name: it["bad"] for name, it in rows.items() if it.get("bad")},
        "shipped": shipped,
        "measured": measured,
        "compared": compared(measured, shipped[0]),
        "meanings": [
            (metric, text) for metric, text in MEANINGS.items() if any(it.metric == metric for it in measured)
        ],
        "address": told["repo"] if told["on_hub"] else told["repo"].partition("/")[2],
        "parent": _link(told, told["parent"]["repo"]) if told["parent"] and told["parent"]["repo"] else "",
        "others": [_link(told, told["repos"][other]) for other in SUFFIXES if other in told["repos"] and other != form],
        "columns": _columns(measured, shipped),
        "verdicts": verdicts(inputs, shipped),
        "files": files,
        "best": next((file for file in files if file["type"] == "Q4_K_M"), files[0] if files else None),
        "keys": {role: inputs[role].key for role in sorted(inputs)},
    }


def _link(told: Told, id: str) -> Markdown:
    """To another repo of the family: on the Hub, or in the folder beside this one."""
    name = id.partition("/")[2]
    return hub_link(id) if told["on_hub"] else Markdown(f"[{plain(name)}](../{name}/)")


def _start(told: Told) -> dict[str, Any]:
    """What the snippet of an adapter loads first: an id, a file of a package, or a folder the reader has."""
    base, parent = told["base"], told["parent"]
    if "package" in base and not parent:  # the very weights it was trained on, even where the base has a Hub id too
        return {"package": base["package"], "file": base["file"]}
    if id := hub_base(told):
        local = parent and not told["on_hub"]
        return {"model": id.partition("/")[2] if local else id, "note": Markdown("")}
    return {"model": parent.get("name") or base["name"], "note": Markdown("  # your folder of these weights")}


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
        "advice": ADVICE.get(type, ""),
    }


def _columns(measured: Sequence[Measurement], shipped: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics that tell quantized files apart; the others are left to the full table."""
    columns: dict[str, dict[str, Any]] = {}
    for it in measured:
        if it.subject in shipped and it.metric not in _IN_FULL_ONLY:
            columns.setdefault(it.name, {"metric": it, "by": {}})["by"][it.subject] = it
    return list(columns.values())
