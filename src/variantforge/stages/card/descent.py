"""Which repo comes of which: what the Hub shows as a tree of models, and what an adapter is loaded onto.

adapter -> what it was trained on; merged -> the same, as a fine-tune of it; quantized -> our merged repo. A variant
that starts ``from`` another comes of that one's merged repo. Only repos that are on the Hub are named: one that has no
address, or that a gate keeps back, is skipped, and the next one up the chain is named where that is still true.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from variantforge.spec.forms import FORMS
from variantforge.stages.card.facts import Inputs, refusal

PARENT = "parent"


def withheld_forms(told: Mapping[str, Any], inputs: Inputs) -> set[str]:
    """Forms of this variant, and ``parent``, that do not ship, since a gate refused all that they hold."""
    subjects = {"merged": ["merged"], "adapter": ["merged"], PARENT: [PARENT]}
    gated = [role.removeprefix("gate:") for role in inputs if role.startswith("gate:")]
    for form, held in FORMS.items():
        if held.quantized:
            subjects[form] = [subject for subject in gated if subject.partition(":")[0] == form]
    return {form for form, of in subjects.items() if of and all(refusal(inputs, subject) for subject in of)}


def started_from(told: Mapping[str, Any], withheld: Collection[str] = ()) -> str:
    """The Hub id of the very weights that training started from, the parent's repo or the base's id; else ''."""
    if told["parent"]:
        shown = told["on_hub"] and PARENT not in withheld
        return str(told["parent"]["repo"]) if shown else ""
    return str(told["base"]["id"])


def relation(form: str, told: Mapping[str, Any], withheld: Collection[str] = ()) -> dict[str, str]:
    """``base_model`` and ``base_model_relation`` of a repo of this form; {} where no repo on the Hub can be named."""
    merged = told["repos"].get("merged")
    if FORMS[form].quantized and merged and told["on_hub"] and "merged" not in withheld:
        return {"base_model": merged, "base_model_relation": "quantized"}
    start = started_from(told, withheld)
    if form == "adapter":  # to be loaded onto exactly that, and onto nothing further up
        return {"base_model": start, "base_model_relation": "adapter"} if start else {}
    start = start or str(told["base"]["id"])
    return {"base_model": start, "base_model_relation": "finetune"} if start else {}
