"""What an adapter stands on, told: in a step's facts, and in one line while training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from variantforge.stages.train.adapters.experts import expert_weights, trained_experts
from variantforge.stages.train.adapters.modules import kind_of


def report(model: Any, matched: Collection[str]) -> dict[str, Any]:
    """For the facts: ``matched_modules`` by name, ``matched_kinds`` counted, and of a mixture how many ``experts``
    weights there are and how many are trained."""
    told: dict[str, Any] = {"matched_modules": list(matched), "matched_kinds": _kinds(matched)}
    if everything := expert_weights(model):
        reached = trained_experts(model, matched) if matched else everything  # nothing is matched when all is trained
        told["experts"] = {"weights": sum(everything.values()), "trained": sum(reached.values())}
    return told


def _kinds(matched: Collection[str]) -> dict[str, int]:
    return dict(sorted(Counter(kind_of(name) for name in matched).items()))


def matched_line(told: dict[str, Any]) -> str:
    """``the adapter stands on 14 modules: mlp.down_proj (2), …``"""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in told["matched_kinds"].items())
    experts = told.get("experts")
    tail = f"; {experts['trained']:,} of {experts['weights']:,} expert weights are trained" if experts else ""
    return f"the adapter stands on {len(told['matched_modules'])} modules: {kinds}{tail}"
