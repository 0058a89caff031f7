"""The fields of the metadata block on top of a README.md, as the Hub reads them.

Field by field: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from variantforge.licences import LICENCES
from variantforge.spec.forms import FORMS
from variantforge.stages.card.descent import relation
from variantforge.stages.card.facts import SPEED
from variantforge.stages.card.licenses import HUB_LICENSES
from variantforge.stages.card.markdown import one_line


def front_matter(form: str, told: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of a repo's card; ``values`` as ``repo_card`` hands them to the template."""
    return _clean(
        {
            **license_fields(values["license"], "" if told["terms"]["license"] else told["base"].get("hub", "")),
            "language": told["language"],
            "library_name": FORMS[form].loader,
            "pipeline_tag": "text-generation",
            "tags": _tags(form, told, values["base"]),
            "datasets": sorted({source["hub"] for source in told["data"]["sources"].values() if "hub" in source}),
            **relation(form, told, values["withheld_forms"]),
            "model-index": _model_index(told, values) if form != "adapter" else [],
        }
    )


def family_front_matter(told: Mapping[str, Any], licenses: Collection[str]) -> dict[str, Any]:
    """The fields of the family page. A licence only where all repos have one and the same."""
    common = next(iter(licenses)) if len(set(licenses)) == 1 else ""
    tags = list(dict.fromkeys(["variantforge", "model-family", *told["tags"]]))
    return _clean({**license_fields(common, ""), "language": told["language"], "tags": tags})


def license_fields(license: str, hub_base: str) -> dict[str, str]:
    """An id the Hub knows as it is; any other as ``other`` with its name, and where its text is kept: where its maker
    does, or at the base (``hub_base``) that is under it."""
    if not license:
        return {}
    if license.lower() in HUB_LICENSES - {"other"}:
        return {"license": license.lower()}
    link = f"https://huggingface.co/{hub_base}/blob/main/LICENSE" if hub_base else ""
    if row := LICENCES.get(license.lower()):
        link = row.url
    return {"license": "other", "license_name": license, **({"license_link": link} if link else {})}


def _tags(form: str, told: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    train = told["train"]
    own = [told["variant"]["kind"], train["method"], train["adapter"]["type"], *FORMS[form].tags]
    chat = ["conversational"] if base.get("template_sha256") else []
    return list(dict.fromkeys(["variantforge", *own, *chat, *told["tags"]]))


def _model_index(told: Mapping[str, Any], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was measured of the weights in this repo; in a repo of GGUF files each metric names its file's type."""
    metrics: dict[str, list[dict[str, Any]]] = {}
    for it in values["measured"]:
        if it.subject in values["shipped"] and told["evaluations"][it.evaluation] != SPEED:
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


def _clean(block: Mapping[str, Any]) -> dict[str, Any]:
    """Without empty fields, and all text on one line without control characters."""
    return {field: cleaned for field, value in block.items() if (cleaned := _cleaned(value))}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, list):
        return [cleaned for each in value if (cleaned := _cleaned(each)) not in ("", None)]
    return {key: _cleaned(each) for key, each in value.items()} if isinstance(value, dict) else value
