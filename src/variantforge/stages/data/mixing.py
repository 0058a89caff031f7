"""The mix step of a variant, laid out: which rows go into it, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from variantforge.spec.family import FamilySpec, VariantSpec
from variantforge.stages.data.mix import BASE
from variantforge.stages.stage import Desk, Place
from variantforge.step import Step

ACROSS = ("deduplicate", "on_special_tokens")  # keys of the policy that are about rows of several sources


def plan_mix(desk: Desk, name: str, variant: VariantSpec, rows: Callable[[str], Step | None], version: int) -> None:
    """``rows``: the step of a dataset's rows, None after a problem was told."""
    inputs = {dataset: rows(dataset) for dataset in variant.data.sources}
    if why := _why_base(desk.family, variant):
        if BASE in inputs:
            desk.problem(f"datasets.{BASE}", f"where {why}, no dataset can be named 'base'")
        inputs[BASE] = desk.step(Place("base", name))
    keys = {role: step.key for role, step in inputs.items() if step}
    if len(keys) < len(inputs):
        return
    params = {"data": variant.data.identity(), **desk.once(_policy)}
    desk.add(Place("data", name, "mix"), Step("data", version, "mix", params, keys))


def _why_base(family: FamilySpec, variant: VariantSpec) -> str:
    """Why the mix must wait for the base; '' when it need not, and is one for variants of different bases."""
    if variant.data.by == "tokens":
        return "shares count tokens"
    return "control tokens are looked for" if family.data_policy.on_special_tokens == "skip" else ""


def _policy(family: FamilySpec) -> dict[str, Any]:
    """What the policy says of rows of several sources; what it leaves at its default is not there."""
    policy = family.data_policy.identity()
    if policy.get("on_special_tokens") != "skip":  # otherwise training looks for them
        policy.pop("on_special_tokens", None)
    return {key: policy[key] for key in ACROSS if policy.get(key)}
