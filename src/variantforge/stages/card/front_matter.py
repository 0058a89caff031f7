"""The metadata block on top of a README.md, as the Hub reads it.

Field by field: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from variantforge.refs import Ref
from variantforge.stages.card.licenses import HUB_LICENSES
from variantforge.stages.card.markdown import one_line

_LIBRARY = {"merged": "transformers", "adapter": "peft", "gguf": "gguf", "nf4": "transformers"}
_FORM_TAGS = {"merged": [], "adapter": [], "gguf": ["gguf", "llama.cpp"], "nf4": ["bitsandbytes", "4-bit"]}


def front_matter(form: str, told: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """YAML between two ``---`` lines; ``values`` as ``repo_card`` hands them to the template."""
    block: dict[str, Any] = {
        **license_fields(values["license"], told["base"].get("hub", "")),
        "language": told["language"],
        "library_name": _LIBRARY[form],
        "pipeline_tag": "text-generation",
        "tags": _tags(form, told, values["base"]),
        "datasets": sorted({source["hub"] for source in told["data"]["sources"].values() if "hub" in source}),
        **base_fields(form, told),
        "model-index": _model_index(told, values) if form != "adapter" else [],
    }
    block = _clean({field: value for field, value in block.items() if value})
    dumped = yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=2**31)
    return f"---\n{dumped}---"


def license_fields(license: str, hub_base: str) -> dict[str, str]:
    """An id the Hub knows as it is; any other as ``other`` with its name, and where the base keeps its text."""
    if not license:
        return {}
    if license.lower() in HUB_LICENSES - {"other"}:
        return {"license": license.lower()}
    link = {"license_link": f"https://huggingface.co/{hub_base}/blob/main/LICENSE"} if hub_base else {}
    return {"license": "other", "license_name": license, **link}


def hub_base(told: Mapping[str, Any]) -> str:
    """The Hub id of what training started from: the parent's repo, the base's id, or ''."""
    if told["parent"]:
        return str(told["parent"]["repo"])
    name = str(told["base"]["name"])
    return name if is_hub_id(name) else ""


def is_hub_id(name: str) -> bool:
    try:
        return Ref.parse(name).kind == "hub"
    except ValueError:
        return False


def base_fields(form: str, told: Mapping[str, Any]) -> dict[str, str]:
    """``base_model`` and how this repo comes of it. Left out when the base has no id on the Hub."""
    merged = told["repos"].get("merged")
    if form in ("gguf", "nf4") and merged:
        return {"base_model": merged, "base_model_relation": "quantized"}
    base = hub_base(told)
    relation = "adapter" if form == "adapter" else "finetune"
    return {"base_model": base, "base_model_relation": relation} if base else {}


def _tags(form: str, told: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    train = told["train"]
    own = [told["variant"]["kind"], train["method"], train["adapter"]["type"], *_FORM_TAGS[form]]
    chat = ["conversational"] if base.get("template_sha256") else []
    return list(dict.fromkeys(["variantforge", *own, *chat, *told["tags"]]))


def _model_index(told: Mapping[str, Any], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was measured of the weights in this repo; in a repo of GGUF files each metric names its file's type."""
    metrics: dict[str, list[dict[str, Any]]] = {}
    for it in values["measured"]:
        if it.subject in values["shipped"]:
            of = f" of {it.subject.removeprefix('gguf:')}" if it.subject.startswith("gguf:") else ""
            metrics.setdefault(it.evaluation, []).append({"type": it.metric, "value": it.value, "name": it.metric + of})
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"type": evaluation, "name": f"{evaluation} of {told['family']['name']}"},
            "metrics": measured,
        }
        for evaluation, measured in metrics.items()
    ]
    return [{"name": values["name"], "results": results}] if results else []


def _clean(value: Any) -> Any:
    """All strings on one line without control characters: YAML then never needs a block over several lines."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, list):
        return [cleaned for each in value if (cleaned := _clean(each)) not in ("", None)]
    return {key: _clean(each) for key, each in value.items()} if isinstance(value, dict) else value
